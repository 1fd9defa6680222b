//! gRPC as others speak it: a Python program is server and client, and the real binary stands between the two.

use crate::gateway::Gateway;
use crate::{Settings, Target};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs the checks of the program at `path`.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
    let folder = Folder::make(settings)?;
    let mut program = Program::start(&interpreter(settings)?, path)?;
    let port = program.port()?;
    let config = folder.0.join("kong.yml");
    let text = format!(
        "_format_version: \"3.0\"\nservices:\n- name: calls\n  protocol: grpc\n  host: 127.0.0.1\n  port: {port}\n  \
         routes:\n  - {{name: calls, protocols: [grpc], paths: [/]}}\n\
         - name: watched\n  protocol: grpc\n  host: watched.test\n  \
         routes:\n  - {{name: watched, protocols: [grpc], paths: [/check.Watched/]}}\n\
         upstreams:\n- name: watched.test\n  targets: [{{target: \"127.0.0.1:{port}\"}}]\n  healthchecks:\n    active:\n      \
         type: grpc\n      http_path: /check.Watched\n      healthy: {{interval: 0.1, successes: 1}}\n      \
         unhealthy: {{interval: 0.1, http_failures: 1, tcp_failures: 1, timeouts: 1}}\n"
    );
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let listen = ["--proxy-listen".to_owned(), "127.0.0.1:0 http2".to_owned()];
    let gateway = Gateway::start(binary, &config, &listen, &BTreeMap::new())
        .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))?;
    let (passed, report) = program.check(&gateway.addresses.proxy.to_string())?;
    let output = gateway.output();
    if passed && !output.contains("panicked") {
        return Ok(());
    }
    Err(format!("{report}\nthe gateway wrote:\n{output}"))
}

/// The Python interpreter of an environment that has what the programs need.
fn interpreter(settings: &Settings) -> Result<PathBuf, String> {
    let script = settings.root.join("grpc/environment");
    let output = Command::new(&script).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    match String::from_utf8(output.stdout) {
        Ok(path) if output.status.success() => Ok(PathBuf::from(path.trim())),
        _ => Err(format!("{}:\n{}", script.display(), String::from_utf8_lossy(&output.stderr))),
    }
}

/// A folder of this run, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make(settings: &Settings) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = settings.scratch.join(format!("grpc-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The running Python program; killed when dropped.
struct Program {
    child: Child,
    output: BufReader<Box<dyn Read>>,
}

impl Program {
    fn start(interpreter: &Path, path: &Path) -> Result<Self, String> {
        let mut command = Command::new(interpreter);
        command.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", interpreter.display()))?;
        let output = child.stdout.take().ok_or("the program has no output")?;
        Ok(Self { child, output: BufReader::new(Box::new(output)) })
    }

    /// Where its server listens.
    fn port(&mut self) -> Result<u16, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| error.to_string())?;
        let port = line.trim().strip_prefix("port ").and_then(|port| port.parse().ok());
        port.ok_or_else(|| format!("the program's server did not start: {line:?}"))
    }

    /// Lets it call through `gateway`: whether all went well, and what it says.
    fn check(&mut self, gateway: &str) -> Result<(bool, String), String> {
        let mut input = self.child.stdin.take().ok_or("the program has no input")?;
        writeln!(input, "{gateway}").map_err(|error| error.to_string())?;
        let mut report = String::new();
        self.output.read_to_string(&mut report).map_err(|error| error.to_string())?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        Ok((status.success() && report.trim() == "0 failed", report))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
