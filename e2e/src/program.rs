//! Programs in other languages that are the other side in a test: they say on which port they listen, are told where the gateway
//! is, and say what went wrong.

use crate::Settings;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `script` installs and prints the path of.
pub(crate) fn environment(script: &Path) -> Result<PathBuf, String> {
    let output = Command::new(script).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    match String::from_utf8(output.stdout) {
        Ok(path) if output.status.success() => Ok(PathBuf::from(path.trim())),
        _ => Err(format!("{}:\n{}", script.display(), String::from_utf8_lossy(&output.stderr))),
    }
}

/// A folder of this run, removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn make(settings: &Settings, name: &str) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = settings.scratch.join(format!("{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    output: BufReader<Box<dyn Read>>,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let output = child.stdout.take().ok_or("the program has no output")?;
        Ok(Self { child, output: BufReader::new(Box::new(output)) })
    }

    /// Where its server listens.
    pub(crate) fn port(&mut self) -> Result<u16, String> {
        self.ports()?.first().copied().ok_or_else(|| "the program has no server".to_owned())
    }

    /// Where its servers listen.
    pub(crate) fn ports(&mut self) -> Result<Vec<u16>, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| error.to_string())?;
        let ports = line.trim().strip_prefix("port ");
        let ports = ports.and_then(|ports| ports.split(' ').map(|port| port.parse().ok()).collect());
        ports.ok_or_else(|| format!("the program's server did not start: {line:?}"))
    }

    /// Lets it call through `gateway`: whether all went well, and what it says.
    pub(crate) fn check(&mut self, gateway: &str) -> Result<(bool, String), String> {
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
