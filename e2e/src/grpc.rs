//! gRPC as others speak it: a Python program is server and client, and the real binary stands between the two.

use crate::case::Case;
use crate::certificates::Certificates;
use crate::gateway::Gateway;
use crate::program::{Folder, Program, environment};
use crate::{Settings, Target};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Certificates for servers that the gateway trusts, and for one that it does not.
const CERTIFICATES: &str = "authorities: [ca, other]\ncertificates:\n  server: {names: [127.0.0.1, health.test], by: ca}\n  \
                            stranger: {names: [127.0.0.1, health.test], by: other}\nrefuses: {exit: 1}\n";

/// Runs the checks of the program at `path`: `health` for those of the health of services, else those of calls.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
    let folder = Folder::make(settings, "grpc")?;
    let is_about_health = path.ends_with("health.py");
    let mut command = Command::new(environment(&settings.root.join("grpc/environment"))?);
    command.arg(path);
    let mut env = BTreeMap::new();
    if is_about_health {
        let certificates = Certificates::make(&Case::parse(CERTIFICATES)?)?;
        certificates.placeholders(&folder.0).map_err(|error| error.to_string())?;
        let file = |name: &str| folder.0.join(name).display().to_string();
        command.args(["server.crt", "server.key", "stranger.crt", "stranger.key"].map(file));
        env.insert("KONG_LUA_SSL_TRUSTED_CERTIFICATE".to_owned(), file("ca.crt"));
    }
    let mut program = Program::start(command)?;
    let ports = program.ports()?;
    let config = folder.0.join("kong.yml");
    let text = if is_about_health { watched(&ports)? } else { calls(&ports)? };
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let listen = ["--proxy-listen".to_owned(), "127.0.0.1:0 http2".to_owned()];
    let gateway = Gateway::start(binary, &config, &listen, &env)
        .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))?;
    let (passed, report) = program.check(&gateway.addresses.proxy.to_string())?;
    let output = gateway.output();
    if passed && !output.contains("panicked") {
        return Ok(());
    }
    Err(format!("{report}\nthe gateway wrote:\n{output}"))
}

fn calls(ports: &[u16]) -> Result<String, String> {
    let [port] = ports else { return Err("the program has one server".to_owned()) };
    Ok(format!(
        "_format_version: \"3.0\"\nservices:\n- name: calls\n  protocol: grpc\n  host: 127.0.0.1\n  port: {port}\n  \
         routes:\n  - {{name: calls, protocols: [grpc], paths: [/]}}\n"
    ))
}

/// Two upstreams, in cleartext and under TLS, whose targets are asked whether `check.Watched` serves. One failure is enough, and no
/// call is tried twice, so that a target that is still called is seen.
fn watched(ports: &[u16]) -> Result<String, String> {
    let (clear, secure) = ports.split_at_checked(3).ok_or("the program has three servers in cleartext")?;
    let targets = |ports: &[u16]| {
        let targets = ports.iter().map(|port| format!("{{target: \"127.0.0.1:{port}\"}}"));
        targets.collect::<Vec<_>>().join(", ")
    };
    let (clear, secure) = (targets(clear), targets(secure));
    let asked = "http_path: /check.Watched, healthy: {interval: 0.1, successes: 1}, \
                 unhealthy: {interval: 0.1, http_failures: 1, tcp_failures: 1, timeouts: 1}";
    Ok(format!(
        "_format_version: \"3.0\"
services:
- {{name: clear, protocol: grpc, host: clear.upstream, retries: 0}}
- {{name: secure, protocol: grpcs, host: secure.upstream, retries: 0}}
routes:
- {{name: clear, service: clear, protocols: [grpc], paths: [/check.Clear/]}}
- {{name: secure, service: secure, protocols: [grpc], paths: [/check.Secure/]}}
upstreams:
- name: clear.upstream
  targets: [{clear}]
  healthchecks: {{active: {{type: grpc, {asked}}}}}
- name: secure.upstream
  targets: [{secure}]
  healthchecks: {{active: {{type: grpcs, https_sni: health.test, {asked}}}}}
"
    ))
}
