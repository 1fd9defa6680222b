//! The proxies under test: how each is found, configured, started and recognised as ready. What their
//! configuration files say stands in `configuration`.

mod checks;
pub mod configuration;
mod place;
mod policies;
mod programs;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::floods::all as attacks;

use crate::backend::calls;
use crate::load::{self, Exchange, Plan};
use crate::process::{PROXY_CORE, Running};
use crate::site::{Site, free_address};
use crate::tools;
pub use checks::{Algorithm, Check, MANY_CONSUMERS, Tokens};
use place::Place;
pub use policies::Policy;
pub use programs::{COUNTS, Programs};

/// A million consumers are to be read within 20 seconds; how long it takes is for a case of its own to say.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A proxy in one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// nginx without an access log: the reference of most ratios.
    Nginx,
    /// nginx with its default access log.
    NginxLog,
    /// HAProxy.
    Haproxy,
    /// Envoy with the router filter alone.
    Envoy,
    /// Envoy with token check, rate limit, JSON access log and statistics.
    EnvoyFull,
    /// Biplane with one route and no plugin.
    Plain,
    /// Biplane with the chain of policies that the budgets name.
    Full,
    /// Biplane with 10,000 routes and no plugin.
    Routes,
    /// nginx that passes WebSocket on.
    NginxUpgrade,
    /// nginx with two workers.
    NginxTwo,
    /// Biplane with two workers.
    Two,
    /// nginx over TLS.
    NginxTls,
    /// HAProxy over TLS.
    HaproxyTls,
    /// Biplane over TLS.
    Tls,
    /// nginx that speaks HTTP/2 with clients.
    NginxHttp2,
    /// Biplane that speaks HTTP/2 with clients.
    Http2,
    /// nginx that passes calls of gRPC on.
    NginxCalls,
    /// Envoy that passes calls of gRPC on.
    EnvoyCalls,
    /// Biplane with a service of gRPC.
    Calls,
    /// Biplane in the settings of the attack with this number.
    Attacked(usize),
    /// HAProxy that counts requests of an address in a stick table.
    HaproxyLimited,
    /// Envoy with its local rate limit.
    EnvoyLimited,
    /// Biplane with one policy.
    Policy(Policy),
    /// A gateway that finds out who is asking.
    Check(Check),
}

/// Whose configuration a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Nginx,
    Haproxy,
    Envoy,
    Biplane,
}

/// A proxy that serves.
pub struct Proxy {
    /// Which one.
    pub peer: Peer,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where else, if it has a second listener; otherwise the same.
    pub other: SocketAddr,
    /// Which of the two answers plain HTTP/1.1, which tells that it is ready.
    plain: SocketAddr,
    /// Its process.
    pub process: Running,
    /// Its configuration file.
    pub file: PathBuf,
    /// The access log that belongs to its full chain.
    pub access_log: Option<PathBuf>,
    /// What clients send to prove who they are, a header line for each request.
    pub lines: Option<PathBuf>,
}

impl Peer {
    /// The name in the tables.
    pub fn label(self) -> &'static str {
        match self {
            Peer::Nginx => "nginx",
            Peer::NginxLog => "nginx, access log on",
            Peer::Haproxy => "HAProxy",
            Peer::Envoy => "Envoy",
            Peer::EnvoyFull => "Envoy, full chain",
            Peer::Plain => "Biplane",
            Peer::Full => "Biplane, full chain",
            Peer::Routes => "Biplane, 10,000 routes",
            Peer::NginxUpgrade | Peer::NginxTls | Peer::NginxHttp2 | Peer::NginxCalls => "nginx",
            Peer::NginxTwo => "nginx, 2 workers",
            Peer::HaproxyTls => "HAProxy",
            Peer::EnvoyCalls => "Envoy",
            Peer::Tls | Peer::Http2 | Peer::Calls => "Biplane",
            Peer::Two => "Biplane, 2 workers",
            Peer::Attacked(_) => "Biplane, attacked",
            Peer::HaproxyLimited => "HAProxy, stick table",
            Peer::EnvoyLimited => "Envoy, local rate limit",
            Peer::Policy(policy) => policy.label(),
            Peer::Check(check) => check.label(),
        }
    }

    fn product(self) -> Product {
        match self {
            Peer::Nginx | Peer::NginxLog | Peer::NginxUpgrade | Peer::NginxTwo => Product::Nginx,
            Peer::NginxTls | Peer::NginxHttp2 | Peer::NginxCalls => Product::Nginx,
            Peer::Haproxy | Peer::HaproxyTls | Peer::HaproxyLimited => Product::Haproxy,
            Peer::Check(Check::EnvoyToken(..)) => Product::Envoy,
            Peer::Envoy | Peer::EnvoyFull | Peer::EnvoyCalls | Peer::EnvoyLimited => Product::Envoy,
            Peer::Plain | Peer::Full | Peer::Routes | Peer::Two | Peer::Attacked(_) => Product::Biplane,
            Peer::Tls | Peer::Http2 | Peer::Calls | Peer::Policy(_) | Peer::Check(_) => Product::Biplane,
        }
    }

    /// The same product with nothing beside proxying, for one that has a policy.
    pub fn without_policy(self) -> Option<Peer> {
        match self {
            Peer::HaproxyLimited => Some(Peer::Haproxy),
            Peer::EnvoyLimited | Peer::Check(Check::EnvoyToken(..)) => Some(Peer::Envoy),
            Peer::Policy(_) | Peer::Check(_) => Some(Peer::Plain),
            _ => None,
        }
    }

    fn is_full(self) -> bool {
        matches!(self, Peer::EnvoyFull | Peer::Full)
    }

    /// What requests ask for.
    fn path(self) -> &'static str {
        match self {
            Peer::Check(check) => check.path(),
            _ => load::PATH,
        }
    }

    /// What a GET of that without a token must be answered: with it, the probe shows that the policies act.
    fn probe_status(self) -> u16 {
        match self {
            Peer::Check(check) => check.refusal(),
            Peer::EnvoyFull | Peer::Full => 401,
            Peer::Routes => 404,
            _ => 200,
        }
    }

    /// Starts the proxy and waits until it answers through to the backend.
    pub async fn start(self, programs: &Programs, site: &Site) -> io::Result<Proxy> {
        let program = programs.find(self).ok_or_else(|| {
            io::Error::new(ErrorKind::NotFound, format!("{} is not installed", self.label()))
        })?;
        let folder = site.folder(&format!("{self:?}"))?;
        let address = free_address()?;
        // A listener of TLS, and one of HTTP/2 where that is nginx's, answers nothing else.
        let is_not_plain = matches!(self, Peer::NginxTls | Peer::HaproxyTls | Peer::Tls | Peer::NginxHttp2);
        let needs_another = is_not_plain || matches!(self, Peer::Attacked(_));
        let other = if needs_another { free_address()? } else { address };
        let plain = if is_not_plain { other } else { address };
        let place = Place { folder: &folder, own: address, other };
        let file = self.write_configuration(&place, site)?;
        let output = folder.join("output");
        let mut command = self.command(programs.command(&program, &folder), &file, &place)?;
        let log = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Running::start(&mut command, PROXY_CORE)?;
        let access_log = self.is_full().then(|| folder.join(configuration::ACCESS_LOG));
        let lines = matches!(self, Peer::Check(_)).then(|| checks::lines_of(&folder));
        let mut proxy = Proxy { peer: self, address, other, plain, process, file, access_log, lines };
        proxy.ready(&output).await?;
        Ok(proxy)
    }

    fn write_configuration(self, place: &Place<'_>, site: &Site) -> io::Result<PathBuf> {
        use configuration as text;
        let (Place { folder, own, .. }, backend) = (*place, site.backend());
        if matches!(self, Peer::NginxTls | Peer::HaproxyTls | Peer::Tls) {
            tools::certificate(folder)?;
        }
        let (name, content) = match self {
            Peer::Nginx => ("nginx.conf", text::nginx(folder, own, backend, text::NGINX_LOG_OFF)),
            Peer::NginxLog => ("nginx.conf", text::nginx(folder, own, backend, text::NGINX_LOG_ON)),
            Peer::Haproxy => ("haproxy.cfg", text::haproxy(own, backend)),
            Peer::Envoy => ("envoy.json", text::envoy(own, backend)),
            Peer::EnvoyFull => ("envoy.json", text::envoy_full(folder, own, backend)),
            Peer::Plain => ("kong.json", text::biplane(backend)),
            Peer::Full => ("kong.json", text::biplane_full(folder, backend)),
            Peer::Routes => ("kong.json", text::biplane_routes(backend, None)),
            Peer::Two | Peer::Tls | Peer::Http2 => ("kong.json", text::biplane(backend)),
            Peer::Calls => ("kong.json", text::biplane_calls(site.calls())),
            Peer::EnvoyCalls => ("envoy.json", text::envoy_calls(own, site.calls())),
            Peer::HaproxyTls => ("haproxy.cfg", text::haproxy_with(&place.haproxy_tls(), backend)),
            Peer::NginxCalls => ("nginx.conf", place.nginx(site.calls(), 1, "grpc_pass grpc://backend;")),
            Peer::NginxUpgrade => ("nginx.conf", place.nginx(backend, 1, text::NGINX_UPGRADES)),
            Peer::NginxTwo => ("nginx.conf", place.nginx(backend, 2, text::NGINX_PROXIES)),
            Peer::NginxTls => ("nginx.conf", place.nginx_tls(backend)),
            Peer::NginxHttp2 => ("nginx.conf", place.nginx(backend, 1, text::NGINX_PROXIES)),
            Peer::Attacked(_) => {
                ("kong.json", text::biplane_attacked(site.sleeping_backend()?, site.attacked()?))
            }
            Peer::HaproxyLimited => ("haproxy.cfg", text::haproxy_limited(own, backend)),
            Peer::EnvoyLimited => ("envoy.json", text::envoy_limited(own, backend)),
            Peer::Policy(policy) if policy.needs_redis() => {
                ("kong.json", policy.file(backend, Some(site.redis()?)))
            }
            Peer::Policy(policy) => ("kong.json", policy.file(backend, None)),
            Peer::Check(Check::EnvoyToken(algorithm, tokens)) => {
                ("envoy.json", checks::envoy_file(algorithm, tokens, folder, own, backend)?)
            }
            Peer::Check(Check::RegoExample) => ("kong.yml", Check::RegoExample.file(folder, site)?),
            Peer::Check(check) => ("kong.json", check.file(folder, site)?),
        };
        let file = folder.join(name);
        fs::write(&file, content)?;
        Ok(file)
    }

    fn command(self, mut command: Command, file: &Path, place: &Place<'_>) -> io::Result<Command> {
        match self.product() {
            Product::Nginx => {
                command.args(["-e", "stderr", "-c"]).arg(file);
            }
            Product::Haproxy => {
                command.args(["-db", "-f"]).arg(file);
            }
            Product::Envoy => {
                command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
                // Its log buffer is written every ten seconds by default: too late to count the lines.
                command.args(["--file-flush-interval-msec", "1000", "-c"]).arg(file);
            }
            Product::Biplane => {
                let Place { folder, own, other } = *place;
                let listen = match self {
                    Peer::Tls => format!("{own} ssl, {other}"),
                    Peer::Attacked(_) => format!("{own} http2, {other} ssl"),
                    Peer::Http2 | Peer::Calls => format!("{own} http2"),
                    _ => own.to_string(),
                };
                let workers = if self == Peer::Two { "2" } else { "1" };
                command.arg("run").arg(file).args(["--workers", workers, "--status-listen", "off"]);
                command.arg("--admin-listen").arg(free_address()?.to_string());
                command.env("KONG_PROXY_LISTEN", listen);
                if matches!(self, Peer::Tls | Peer::Http2 | Peer::Calls) {
                    // h2load opens no new connection when one has had its requests, and says nothing of it.
                    command.env("KONG_NGINX_HTTP_KEEPALIVE_REQUESTS", "1000000000");
                }
                if let Peer::Attacked(number) = self {
                    command.envs(attacks()[number].variables.iter().copied());
                }
                if let Peer::Policy(policy) = self {
                    command.envs(policy.environment(folder));
                }
                if self == Peer::Tls {
                    command.env("KONG_SSL_CERT", folder.join("certificate.pem"));
                    command.env("KONG_SSL_CERT_KEY", folder.join("key.pem"));
                }
            }
        }
        Ok(command)
    }
}

impl Proxy {
    /// The same with the token of the full chain, or over the paths of many routes, where that is what it has.
    pub fn fitting_plan(&self, connections: usize, seconds: f64) -> Plan {
        let exchange = if self.peer == Peer::Routes { Exchange::ManyPaths } else { Exchange::Small };
        Plan { token: self.peer.is_full(), exchange, ..self.plan(connections, seconds) }
    }

    /// Small requests with what clients of this proxy send, in a closed loop.
    pub fn plan(&self, connections: usize, seconds: f64) -> Plan {
        let (lines, path) = (self.lines.clone(), self.peer.path().to_owned());
        Plan { lines, path, ..Plan::small(self.address, connections, seconds) }
    }

    async fn ready(&mut self, output: &Path) -> io::Result<()> {
        let limit = Instant::now() + START_LIMIT;
        let mut answer = None;
        while !self.process.has_ended() && Instant::now() < limit {
            if matches!(self.peer, Peer::NginxCalls | Peer::EnvoyCalls | Peer::Calls) {
                if calls::call(self.address).is_ok() {
                    return Ok(());
                }
            } else {
                answer = status(self.plain, self.peer.path()).ok().or(answer);
                if answer == Some(self.peer.probe_status()) {
                    return self.handshake().await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let text = fs::read_to_string(output).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(8).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(io::Error::other(format!(
            "{} did not start: its last answer was {}, not {}. {}",
            self.peer.label(),
            answer.map_or("none".to_owned(), |status| status.to_string()),
            self.peer.probe_status(),
            last.join(" | ")
        )))
    }

    /// A proxy that is to speak TLS must do so: one that does not know how may still listen.
    async fn handshake(&self) -> io::Result<()> {
        if !matches!(self.peer, Peer::NginxTls | Peer::HaproxyTls | Peer::Tls)
            || tools::shakes_hands(self.address).await
        {
            return Ok(());
        }
        Err(io::Error::other(format!("{} did not speak TLS", self.peer.label())))
    }
}

/// The status of a GET on a connection of its own.
pub fn status(address: SocketAddr, path: &str) -> io::Result<u16> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    let code = line.strip_prefix(b"HTTP/1.1 ").and_then(|code| std::str::from_utf8(code).ok());
    code.and_then(|code| code.parse().ok()).ok_or_else(|| ErrorKind::InvalidData.into())
}
