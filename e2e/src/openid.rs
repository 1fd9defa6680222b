//! Tokens of a real OpenID Connect provider, and people who log in there: programs for Node are the provider and its clients, one
//! of them with a real browser, and the real binary stands before an upstream that answers whatever it is asked.

use crate::gateway::Gateway;
use crate::program::{Folder, Program, environment};
use crate::redis::server::Server;
use crate::{Settings, Target, memcached};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

const EMPTY: &str = "_format_version: \"3.0\"\n";

/// Runs the checks of the program at `path`.
pub(crate) fn run(path: &Path, settings: &Settings) -> Result<(), String> {
    let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
    let packages = environment(&settings.root.join("openid/environment"))?;
    let folder = Folder::make(settings, "openid")?;
    let mut command = Command::new("node");
    command.arg(path).arg(packages);
    let mut program = Program::start(command)?;
    let port = program.port()?;
    let config = folder.0.join("kong.yml");
    // Where people log in, addresses of the gateway stand in the configuration: it comes when they are known.
    let text = if path.ends_with("provider.mjs") { configuration(port) } else { EMPTY.to_owned() };
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let gateway = start(binary, &config)?;
    let (proxy, admin, secure) = addresses(&gateway)?;
    let in_pairs = path.ends_with("shared.mjs") || path.ends_with("together.mjs");
    let (passed, report, output) = if in_pairs {
        let (places, other) = (Places::start(&folder.0)?, start(binary, &config)?);
        let (second, its_admin, _) = addresses(&other)?;
        let places = if path.ends_with("shared.mjs") { places.redis.port.to_string() } else { places.told() };
        let (passed, report) = program.check(&format!("{proxy} {second} {admin} {its_admin} {places}"))?;
        (passed, report, gateway.output() + &other.output())
    } else {
        let (passed, report) = program.check(&format!("{proxy} {admin} {secure}"))?;
        (passed, report, gateway.output())
    };
    if passed && !output.contains("panicked") {
        return Ok(());
    }
    Err(format!("{report}\nthe gateway wrote:\n{output}"))
}

/// Where two gateways may keep sessions.
struct Places {
    redis: Server,
    redis_socket: PathBuf,
    memcached: (memcached::Server, u16),
    memcached_socket: PathBuf,
    _other: memcached::Server,
}

impl Places {
    fn start(folder: &Path) -> Result<Self, String> {
        let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
        let (redis_socket, memcached_socket) = (folder.join("redis.sock"), folder.join("memcached.sock"));
        Ok(Self {
            redis: Server::start(&folder, &format!("unixsocket {}", redis_socket.display()))?,
            memcached: memcached::Server::at_port()?,
            _other: memcached::Server::at_socket(&memcached_socket)?,
            redis_socket,
            memcached_socket,
        })
    }

    /// Each with the fields of the plugin that name it.
    fn told(&self) -> String {
        let port = self.memcached.1;
        json!([
            {"name": "Redis at a socket", "kind": "redis", "socket": self.redis_socket,
             "fields": {"session_storage": "redis", "session_store_metadata": true,
                        "redis": {"socket": self.redis_socket, "prefix": "shop"}}},
            {"name": "memcached", "kind": "memcached", "port": port,
             "fields": {"session_storage": "memcached", "session_store_metadata": true,
                        "session_memcached_port": port, "session_memcached_prefix": "shop"}},
            {"name": "memcached at a socket", "kind": "memcached", "socket": self.memcached_socket,
             "fields": {"session_storage": "memcache", "session_store_metadata": true,
                        "session_memcached_socket": self.memcached_socket, "session_memcached_prefix": "shop"}},
        ])
        .to_string()
    }
}

fn start(binary: &Path, config: &Path) -> Result<Gateway, String> {
    let listen = ["--proxy-listen".to_owned(), "127.0.0.1:0, 127.0.0.1:0 ssl".to_owned()];
    Gateway::start(binary, config, &listen, &BTreeMap::new())
        .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))
}

/// Where a gateway listens: for requests, for its administrator, and under TLS.
fn addresses(gateway: &Gateway) -> Result<(SocketAddr, SocketAddr, SocketAddr), String> {
    let addresses = &gateway.addresses;
    let admin = addresses.admin.ok_or("the gateway has no Admin API")?;
    Ok((addresses.proxy, admin, addresses.secure.ok_or("the gateway does not listen for TLS")?))
}

/// Two routes, answered by the gateway itself: one for tokens that it checks, one for those it asks about.
fn configuration(port: u16) -> String {
    let route = |method: &str, fields: &str| {
        format!(
            "- name: {method}\n  paths: [/{method}]\n  plugins:\n  - name: openid-connect\n    config:\n      \
             issuer: http://127.0.0.1:{port}\n      auth_methods: [{method}]\n{fields}  \
             - {{name: request-termination, config: {{status_code: 200}}}}\n"
        )
    };
    let bearer = "      scopes_required: [orders.read]\n      audience_required: [orders]\n      \
                  rediscovery_lifetime: 0\n";
    let introspection =
        "      client_id: [gateway]\n      client_secret: ['a secret: of the gateway & more']\n";
    format!(
        "_format_version: \"3.0\"\nroutes:\n{}{}",
        route("bearer", bearer),
        route("introspection", introspection)
    )
}
