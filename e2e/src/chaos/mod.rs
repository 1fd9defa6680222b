//! Servers are killed while clients go on asking, and come back: backends, Redis, dnsmasq, a stand-in for Consul, one after
//! the other and then all at once. What can be served is served, requests that must not be repeated are not, limits do as declared, and all is well again
//! with no hand on it. It prints what was lost, and why. `acts.rs` is the story; whoever adds a kind of server adds its acts.

mod acts;
mod judge;
mod servers;
mod traffic;

use crate::client::Connection;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::redis::server::{Folder, Server};
use crate::redis::{eventually, expect};
use crate::{Settings, Target};
use judge::{Moment, Phase};
use serde_json::Value;
use servers::{Backend, NameServer, Registry};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use traffic::{CLIENTS, Kind, Traffic};

/// What clients ask for. Their requests for `/orders` go to three backends, those for `/catalog` to an only one, those for
/// `/shop` to a name, those for `/stock` to whom Consul lists; `/local` and `/closed` are limited in Redis, with these failure
/// modes.
const KINDS: &[Kind] = &[
    Kind { method: "GET", path: "/orders" },
    Kind { method: "POST", path: "/orders" },
    Kind { method: "PUT", path: "/orders" },
    Kind { method: "GET", path: "/catalog" },
    Kind { method: "GET", path: "/shop" },
    Kind { method: "POST", path: "/shop" },
    Kind { method: "GET", path: "/stock" },
    Kind { method: "GET", path: "/local" },
    Kind { method: "GET", path: "/closed" },
];
/// Requests of each kind that each phase goes on for.
const ENOUGH: usize = 25;
/// The name that dnsmasq knows.
const NAME: &str = "shop.test";

/// An act of the story: something happens, and when it has, more must hold while requests go on.
struct Act {
    phase: Phase,
    /// What happens. Requests that had begun before it is done are `When::UnderWay`.
    happens: fn(&mut World) -> Result<(), String>,
    /// What must hold then.
    holds: fn(&World) -> Result<(), String>,
}

/// The name of the only story.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ["kill-everything"].into_iter()
}

/// Plays the story.
pub(crate) fn run(_: &Path, settings: &Settings) -> Result<(), String> {
    let folder = Folder::make(&settings.scratch)?;
    let mut world = World::make(settings, &folder.0)?;
    let traffic = Traffic::new(KINDS, world.gateway.addresses.proxy);
    let outcome = thread::scope(|scope| {
        for client in 0..CLIENTS {
            let traffic = &traffic;
            scope.spawn(move || traffic.ask(client));
        }
        let outcome = play(&mut world, &traffic);
        traffic.end();
        outcome
    });
    let sent = traffic.take();
    let phases: Vec<&Phase> = acts::ACTS.iter().map(|act| &act.phase).collect();
    let verdict = judge::judge(&phases, KINDS, &sent);
    // In one piece, as other tests print too.
    std::io::stdout().write_all(verdict.table.as_bytes()).ok();
    let mut problems: Vec<String> = outcome.err().into_iter().chain(verdict.problems).collect();
    problems.extend(judge::carried_out(KINDS, &sent, &world.arrived()?));
    problems.extend(acts::probes(&world, &sent).err());
    if world.gateway.output().contains("panicked") {
        problems.push("the gateway panicked".to_owned());
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!("{}\nthe gateway wrote:\n{}", problems.join("\n"), world.gateway.output())),
    }
}

fn play(world: &mut World, traffic: &Traffic) -> Result<(), String> {
    for (phase, act) in acts::ACTS.iter().enumerate() {
        let told = |problem| format!("{}: {problem}", act.phase.name);
        traffic.go_on_to(Moment { phase, settled: false });
        (act.happens)(world).map_err(told)?;
        let moment = Moment { phase, settled: true };
        traffic.go_on_to(moment);
        (act.holds)(world).map_err(told)?;
        eventually(|| match traffic.ended(moment) >= ENOUGH {
            true => Ok(()),
            false => Err(told("requests do not get on".to_owned())),
        })?;
    }
    Ok(())
}

/// Everything that runs.
struct World {
    gateway: Gateway,
    /// The backends of `/orders`.
    orders: Vec<Backend>,
    /// That of `/catalog`.
    only: Backend,
    /// Those that the name may stand for, on the same port.
    shops: [Backend; 2],
    /// Those that Consul may list.
    stocks: [Backend; 2],
    names: NameServer,
    registry: Registry,
    redis: Server,
    folder: std::path::PathBuf,
}

impl World {
    fn make(settings: &Settings, folder: &Path) -> Result<Self, String> {
        let Target::Binary(binary) = &settings.target else { return Err("needs a binary".to_owned()) };
        let own = |last: u8| {
            let [.., third, fourth] = std::process::id().to_be_bytes();
            Ipv4Addr::new(127, 100 + last, third, fourth.max(1))
        };
        let start = |name, last: u8, port| Backend::start((name, own(last), port), &settings.root, folder);
        let orders = vec![start("orders-1", 1, 0)?, start("orders-2", 2, 0)?, start("orders-3", 3, 0)?];
        let (only, first) = (start("catalog", 4, 0)?, start("shop-1", 5, 0)?);
        let shops = [start("shop-2", 6, first.port)?, first];
        let [_, first] = &shops;
        let names = NameServer::start(folder, NAME, first.address)?;
        let stocks = [start("stock-1", 7, 0)?, start("stock-2", 8, 0)?];
        let registry = Registry::start(&settings.root, folder, &stocks[0])?;
        let redis = Server::start(folder, "")?;
        let ports = Ports { shop: first.port, redis: redis.port, registry: registry.port };
        let text = configuration(&orders, &only, &ports);
        let file = folder.join("kong.yml");
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let resolver = ("KONG_DNS_RESOLVER".to_owned(), format!("127.0.0.1:{}", names.port));
        let lasting = ("KONG_NGINX_HTTP_KEEPALIVE_REQUESTS".to_owned(), "1000000000".to_owned());
        let gateway = Gateway::start(binary, &file, &[], &BTreeMap::from([resolver, lasting]))
            .map_err(|failed| format!("the gateway did not start:\n{}", failed.output))?;
        let folder = folder.to_owned();
        Ok(Self { gateway, orders, only, shops, stocks, names, registry, redis, folder })
    }

    /// What reached the backends.
    fn arrived(&self) -> Result<Vec<(String, u64)>, String> {
        let backends = self.orders.iter().chain([&self.only]).chain(&self.shops).chain(&self.stocks);
        let journals: Result<Vec<_>, _> = backends.map(Backend::journal).collect();
        Ok(journals?.concat())
    }

    /// Asks a listener of the gateway for a path.
    fn ask(&self, listener: Option<SocketAddr>, path: &str, line: &str) -> Result<Message, String> {
        let address = listener.ok_or("no such listener")?;
        let mut connection = Connection::open(address, None).map_err(|error| error.to_string())?;
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: chaos\r\n{line}\r\n\r\n").as_bytes());
        let reply = connection.answer("GET").map_err(|error| format!("{path}: {error}"))?;
        Ok(reply.ok_or(format!("{path} was not answered"))?.message)
    }

    /// Members called `member` in the list that the Admin API gives for a path.
    fn told(&self, path: &str, member: &str) -> Result<Vec<String>, String> {
        let reply = self.ask(self.gateway.addresses.admin, path, "Accept: */*")?;
        let body: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        let entries = body["data"].as_array().ok_or_else(|| format!("{path}: {body}"))?;
        Ok(entries.iter().map(|entry| entry[member].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// What a metric without labels, or all with any together, come to.
    fn metric(&self, name: &str) -> Result<f64, String> {
        let text = self.ask(self.gateway.addresses.status, "/metrics", "Accept: */*")?.text();
        let lines = text.lines().filter(|line| line.starts_with(name));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Whether the gateway has written a line with these texts so many times.
    fn wrote(&self, texts: &[&str], times: usize) -> Result<(), String> {
        eventually(|| {
            let output = self.gateway.output();
            let count = output.lines().filter(|line| texts.iter().all(|text| line.contains(text))).count();
            if count >= times { Ok(()) } else { Err(format!("the log does not say {texts:?} {times} times")) }
        })
    }

    /// Three requests of somebody new are within the limit, and the next is not.
    fn limits(&self, tenant: &str) -> Result<(), String> {
        let one = || self.ask(Some(self.gateway.addresses.proxy), "/tenants", &format!("X-Tenant: {tenant}"));
        let statuses: Result<Vec<u16>, String> = (0..4).map(|_| Ok(one()?.status())).collect();
        expect(tenant, statuses?, vec![200, 200, 200, 429])
    }
}

/// Where servers are found that have no address of their own.
struct Ports {
    shop: u16,
    redis: u16,
    registry: u16,
}

fn configuration(orders: &[Backend], only: &Backend, ports: &Ports) -> String {
    let Ports { shop, redis, registry } = ports;
    let targets: Vec<String> =
        orders.iter().map(|one| format!("{{target: \"{}:{}\"}}", one.address, one.port)).collect();
    let limit = |limits: &str, mode: &str| limit(limits, mode, *redis);
    let (local, closed) = (
        limit("year: 1000000, limit_by: service", "failure_mode: local"),
        limit("year: 1000000, limit_by: service", "fault_tolerant: false"),
    );
    let tenants = limit("year: 3, limit_by: header, header_name: X-Tenant", "failure_mode: local");
    format!(
        "_format_version: \"3.0\"
plugins: [{{name: prometheus}}]
upstreams:
- name: orders.upstream
  healthchecks:
    active:
      http_path: /.health
      healthy: {{interval: 0.1, successes: 1}}
      unhealthy: {{interval: 0.1, tcp_failures: 1, timeouts: 2}}
    passive: {{unhealthy: {{tcp_failures: 2}}}}
  targets: [{}]
- name: stock.upstream
  discovery: {{source: consul, service: stock, address: 'http://127.0.0.1:{registry}'}}
services:
- name: orders
  host: orders.upstream
  protocol: http
  routes: [{{name: orders, paths: [/orders]}}]
  plugins:
  - {{name: upstream-retry}}
  - {{name: circuit-breaker, config: {{consecutive_failures: 10}}}}
- name: limited
  host: orders.upstream
  protocol: http
  routes:
  - {{name: local, paths: [/local], plugins: [{local}]}}
  - {{name: closed, paths: [/closed], plugins: [{closed}]}}
- name: catalog
  url: http://{}:{}
  retries: 0
  routes: [{{name: catalog, paths: [/catalog]}}]
  plugins:
  - name: circuit-breaker
    config:
      consecutive_failures: 3
      open: {{seconds: 0.5, growth: 2, max_seconds: 4}}
      fallback: {{type: cached}}
- name: shop
  host: {NAME}
  port: {shop}
  protocol: http
  routes: [{{name: shop, paths: [/shop]}}]
- name: stock
  host: stock.upstream
  protocol: http
  routes: [{{name: stock, paths: [/stock]}}]
routes:
- name: tenants
  paths: [/tenants]
  plugins: [{{name: request-termination, config: {{status_code: 200}}}}, {tenants}]
",
        targets.join(", "),
        only.address,
        only.port
    )
}

/// A limit that is counted in Redis.
fn limit(limits: &str, mode: &str, redis: u16) -> String {
    format!(
        "{{name: rate-limiting, config: {{{limits}, policy: redis, {mode}, redis: {{host: 127.0.0.1, port: {redis}, \
         timeout: 1000}}}}}}"
    )
}
