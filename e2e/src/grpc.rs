//! gRPC as others speak it: a Python program is server and client, and the real binary stands between the two.

use crate::gateway::Gateway;
use crate::program::{Folder, Program, environment};
use crate::{Settings, Target};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Runs the checks of the program at `path`.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
    let folder = Folder::make(settings, "grpc")?;
    let mut command = Command::new(environment(&settings.root.join("grpc/environment"))?);
    command.arg(path);
    let mut program = Program::start(command)?;
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
