//! The sample limiters that count in Redis: `examples/seeds/rate-limiting-redis` as it is, but for where its servers are.

use super::server::Server;
use super::{Client, Lab, eventually, expect, told};
use crate::gateway::Gateway;
use crate::message::Message;
use crate::recorder::{Echo, Recorder};
use std::sync::Arc;

/// Tiers and limits by path, each held by two gateways together.
pub(super) fn tiers_and_paths(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let upstream = Recorder::start(Arc::new(Echo)).map_err(|error| format!("upstream: {error}"))?;
    let example = lab.settings.root.join("../examples/seeds/rate-limiting-redis/kong.yml");
    let text =
        std::fs::read_to_string(&example).map_err(|error| format!("{}: {error}", example.display()))?;
    let mut placed =
        text.replace("{host: redis, port: 6379}", &format!("{{host: 127.0.0.1, port: {}}}", redis.port));
    for service in ["order-service", "user-service"] {
        placed = placed.replace(&format!("{service}:8080"), &upstream.address.to_string());
    }
    let gateways = [lab.start("kong.yml", &placed, &[])?, lab.start("kong.yml", &placed, &[])?];
    told(&gateways[0], tiers(&gateways).and_then(|()| paths(&gateways)))
}

fn tiers(gateways: &[Gateway; 2]) -> Result<(), String> {
    let key = |name: &str| format!("apikey: change-this-key-of-{name}");
    for (name, limit) in [("ann", "100"), ("bob", "1000"), ("cleo", "10000")] {
        let reply = Client::of(&gateways[0])?.ask("tiers/orders", &key(name))?;
        expect(name, told_limit(&reply), vec![limit.to_owned()])?;
    }
    // One of the hundred is gone.
    admits(gateways, "tiers/orders", &key("ann"), 99, "API rate limit exceeded")?;
    let other = Client::of(&gateways[1])?.ask("tiers/orders", &key("bob"))?;
    expect("another tier", other.status(), 200)
}

fn paths(gateways: &[Gateway; 2]) -> Result<(), String> {
    let bob = "apikey: change-this-key-of-bob";
    for (path, limit) in [("upload", 5), ("search", 20), ("users", 100)] {
        let message = format!("Rate limit exceeded: {limit}/min");
        admits(gateways, &format!("paths/api/{path}"), bob, limit, &message)?;
    }
    // Somebody without a key is counted by address.
    admits(gateways, "paths/api/upload", "X-Nobody: yes", 5, "Rate limit exceeded: 5/min")
}

/// So many requests in turn get through, and no more: who goes on asking is refused. A window may end meanwhile, and the
/// one before fades then, so that a further one may pass now and then.
fn admits(
    gateways: &[Gateway; 2],
    path: &str,
    line: &str,
    limit: usize,
    message: &str,
) -> Result<(), String> {
    let mut clients = [Client::of(&gateways[0])?, Client::of(&gateways[1])?];
    for number in 0..limit {
        expect(path, clients[number % 2].ask(path, line)?.status(), 200)?;
    }
    let mut further = 0;
    let refusal = eventually(|| {
        let reply = clients[further % 2].ask(path, line)?;
        further += 1;
        if reply.status() == 429 { Ok(reply) } else { Err(format!("{path}: still {}", reply.status())) }
    })?;
    let wait: Option<u64> = refusal.values("retry-after").first().and_then(|value| value.parse().ok());
    match wait.is_some_and(|wait| wait > 0) && refusal.text().contains(message) {
        true => Ok(()),
        false => Err(format!("{path}: {:?} {}", refusal.headers, refusal.text())),
    }
}

fn told_limit(reply: &Message) -> Vec<String> {
    reply.values("x-ratelimit-limit-minute").into_iter().map(str::to_owned).collect()
}
