//! A real server of OpenBao, which keeps the HTTP API of HashiCorp Vault, on a free port of the loopback interface. It holds
//! everything in memory: what was stored ends with it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::client::Connection;
use crate::redis::eventually;

/// Who may do everything.
pub(super) const ROOT: &str = "root-of-all";
/// Starts before it is given up: between finding a free port and taking it, somebody else may take it.
const STARTS: usize = 5;

/// A running server; killed when dropped.
pub(super) struct Server {
    child: Child,
    pub port: u16,
    program: PathBuf,
    folder: PathBuf,
}

impl Server {
    /// Starts one.
    pub fn start(program: &Path, folder: &Path) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..STARTS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
            let port = listener.local_addr().map_err(|error| error.to_string())?.port();
            drop(listener);
            match run(program, folder, port, None) {
                Ok(child) => {
                    let server = Self { child, port, program: program.to_owned(), folder: folder.to_owned() };
                    match server.await_it() {
                        Ok(()) => return Ok(server),
                        Err(error) => last = error,
                    }
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts an empty one in its place.
    pub fn start_again(&mut self) -> Result<(), String> {
        self.child = run(&self.program, &self.folder, self.port, None)?;
        self.await_it()
    }

    /// Starts an empty one in its place that speaks TLS. The certificate of its authority.
    pub fn start_again_under_tls(&mut self) -> Result<PathBuf, String> {
        let folder = self.folder.join("tls");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        self.child = run(&self.program, &self.folder, self.port, Some(&folder))?;
        let authority = folder.join("vault-ca.pem");
        eventually(|| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            Connection::open(address, None).map_err(|error| error.to_string())?;
            if authority.exists() { Ok(()) } else { Err("no certificate of an authority".to_owned()) }
        })?;
        Ok(authority)
    }

    fn await_it(&self) -> Result<(), String> {
        eventually(|| self.ask("GET", "sys/health", &Value::Null).map(drop))
    }

    /// What it answers about a path; errors are those of any status but success.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.ask_with(method, path, body, "X-Vault-Request: true")
    }

    /// The same with a further line in the head.
    pub fn ask_with(&self, method: &str, path: &str, body: &Value, line: &str) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut connection = Connection::open(address, None).map_err(|error| error.to_string())?;
        connection.send(
            format!(
                "{method} /v1/{path} HTTP/1.1\r\nHost: vault\r\nX-Vault-Token: {ROOT}\r\n{line}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        let reply = connection.answer(method).map_err(|error| error.to_string())?.ok_or("closed")?;
        let text = String::from_utf8_lossy(&reply.message.body).into_owned();
        match reply.message.status() {
            200 => serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}")),
            204 => Ok(Value::Null),
            status => Err(format!("{path}: {status}: {text}")),
        }
    }

    /// Stores a secret with the engine that keeps versions.
    pub fn store(&self, path: &str, secret: &Value) -> Result<(), String> {
        self.ask("POST", &format!("secret/data/{path}"), &json!({ "data": secret })).map(drop)
    }

    /// Makes a role that may read everything, whose tokens hold for so long. Its ids are given: they are the same in
    /// another server.
    pub fn make_role(&self, lasts: &str) -> Result<(), String> {
        self.ask("POST", "sys/auth/approle", &json!({"type": "approle"}))?;
        let policy = "path \"secret/data/*\" { capabilities = [\"read\"] }";
        self.ask("PUT", "sys/policies/acl/reader", &json!({ "policy": policy }))?;
        let role = json!({"token_policies": "reader", "token_ttl": lasts});
        self.ask("POST", "auth/approle/role/gateway", &role)?;
        self.ask("POST", "auth/approle/role/gateway/role-id", &json!({"role_id": "the-role"}))?;
        Ok(())
    }

    /// A token that wraps a secret id of the role, and is good for one use.
    pub fn wrapped_secret_id(&self) -> Result<String, String> {
        let path = "auth/approle/role/gateway/secret-id";
        let answer = self.ask_with("POST", path, &json!({}), "X-Vault-Wrap-TTL: 300s")?;
        answer["wrap_info"]["token"].as_str().map(str::to_owned).ok_or_else(|| answer.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(program: &Path, folder: &Path, port: u16, tls: Option<&Path>) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.args(["server", "-dev-no-store-token"]).arg(format!("-dev-root-token-id={ROOT}"));
    command.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
    match tls {
        None => command.arg("-dev"),
        Some(folder) => command.arg("-dev-tls").arg(format!("-dev-tls-cert-dir={}", folder.display())),
    };
    command.env("HOME", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| format!("{}: {error}", program.display()))
}
