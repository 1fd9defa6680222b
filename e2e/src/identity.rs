//! A service that is told who calls by the gateway's tokens: a program for Node checks them with a library and the published keys,
//! and the real binary stands before it.

use crate::gateway::Gateway;
use crate::program::{Folder, Program, environment};
use crate::{Settings, Target};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Runs the checks of the program at `path`.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
    // The provider's packages have the library.
    let packages = environment(&settings.root.join("openid/environment"))?;
    let folder = Folder::make(settings, "identity")?;
    let mut command = Command::new("node");
    command.arg(path).arg(packages);
    let mut program = Program::start(command)?;
    let port = program.port()?;
    let config = folder.0.join("kong.yml");
    std::fs::write(&config, configuration(port)).map_err(|error| error.to_string())?;
    let listen =
        ["--proxy-listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let gateway = Gateway::start(binary, &config, &listen.map(str::to_owned), &BTreeMap::new())
        .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))?;
    let addresses = &gateway.addresses;
    let (Some(status), Some(admin)) = (addresses.status, addresses.admin) else {
        return Err("the gateway has no Admin API or no status listener".to_owned());
    };
    let (passed, report) = program.check(&format!("{} {status} {admin}", addresses.proxy))?;
    let output = gateway.output();
    if passed && !output.contains("panicked") {
        return Ok(());
    }
    Err(format!("{report}\nthe gateway wrote:\n{output}"))
}

fn configuration(port: u16) -> String {
    format!(
        r#"
_format_version: "3.0"
services:
- name: orders
  url: http://127.0.0.1:{port}
  routes:
  - name: internal
    paths: [/internal]
    plugins:
    - {{name: key-auth}}
    - {{name: acl, config: {{allow: [buyers]}}}}
    - name: upstream-jwt
      config: {{issuer: gateway, hide_identity_headers: true, set_claims: {{environment: test}}}}
  - name: open
    paths: [/open]
    plugins: [{{name: upstream-jwt, config: {{issuer: gateway}}}}]
  - name: signed
    paths: [/signed]
    plugins:
    - name: jwt-signer
      config:
        access_token_jwks_uri: http://127.0.0.1:{port}/keys
        access_token_issuers_allowed: ["https://login.test"]
        access_token_scopes_required: [read]
        access_token_issuer: gateway
consumers:
- {{username: ada, keyauth_credentials: [{{key: a key of ada}}], acls: [{{group: buyers}}]}}
- {{username: bob, keyauth_credentials: [{{key: a key of bob}}], acls: [{{group: buyers}}]}}
"#
    )
}
