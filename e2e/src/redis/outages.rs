//! Redis stalls, or dies: the declared failure mode takes over within one timeout, then at once, and ends by itself.

use super::server::Server;
use super::{Client, Lab, eventually, expect, told};
use crate::client::Connection;
use crate::gateway::Gateway;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Requests while Redis is away: if each of them waited for its timeout, the story would take minutes.
const REQUESTS: usize = 200;
/// Clients who ask all the while.
const OTHERS: usize = 4;

/// A gateway with a limit of one a year on each route, and another failure mode on each.
fn gateway(lab: &Lab, port: u16, timeout: u32) -> Result<Gateway, String> {
    let of = |more: &str| {
        format!(
            "{{name: rate-limiting, config: {{year: 1, limit_by: service, policy: redis, redis: {{host: 127.0.0.1, port: \
             {port}, timeout: {timeout}}}, {more}}}}}"
        )
    };
    let (open, closed, local) =
        (of("fault_tolerant: true"), of("fault_tolerant: false"), of("failure_mode: local"));
    lab.gateway(&[("open", &open), ("closed", &closed), ("local", &local)], &[])
}

/// A frozen server takes connections and commands and answers nothing.
pub(super) fn stalled(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let gateway = gateway(lab, redis.port, 500)?;
    told(&gateway, stall(&redis, &gateway))
}

fn stall(redis: &Server, gateway: &Gateway) -> Result<(), String> {
    let mut client = Client::of(gateway)?;
    for path in ["open", "closed", "local"] {
        expect(path, client.statuses(path, 2)?, vec![200, 429])?;
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let others: Vec<_> = (0..OTHERS).map(|_| scope.spawn(|| ask_all_the_while(gateway, &over))).collect();
        redis.signal("STOP")?;
        let outcome = while_away(gateway, &mut client);
        redis.signal("CONT")?;
        let outcome = outcome.and_then(|()| return_of(gateway, &mut client));
        over.store(true, Ordering::Release);
        let ended = others.into_iter().map(|other| other.join().unwrap_or(Err("it panicked".to_owned())));
        ended.fold(outcome, Result::and)
    })?;
    let metrics = metrics(gateway)?;
    expect("outages", value(&metrics, "biplane_redis_outages_total"), Some(1.0))?;
    // One for each client at most: who came later did not try, and was decided about all the same.
    let tried = value(&metrics, "biplane_redis_exchanges_failed_total").unwrap_or_default();
    let decided = value(&metrics, "biplane_rate_limiting_without_store_total").unwrap_or_default();
    match (1.0..=(OTHERS + 1) as f64).contains(&tried) && decided >= 3.0 * REQUESTS as f64 {
        true => Ok(()),
        false => Err(format!("{tried} requests waited for a timeout, {decided} went on without Redis")),
    }
}

/// The process is gone, and connections are refused; another one comes later.
pub(super) fn killed_and_started_anew(lab: &Lab) -> Result<(), String> {
    let mut redis = Server::start(lab.folder(), "")?;
    let gateway = gateway(lab, redis.port, 2000)?;
    let outcome = die(lab, &mut redis, &gateway);
    told(&gateway, outcome)
}

fn die(lab: &Lab, redis: &mut Server, gateway: &Gateway) -> Result<(), String> {
    let mut client = Client::of(gateway)?;
    for path in ["open", "closed", "local"] {
        expect(path, client.statuses(path, 2)?, vec![200, 429])?;
    }
    redis.kill();
    while_away(gateway, &mut client)?;
    let fresh = Server::start_at(lab.folder(), redis.port, "")?;
    gateway.wait_for_line(|line| line.contains("a shared server answers again"));
    expect("it counts anew", client.statuses("closed", 3)?, vec![200, 429, 429])?;
    expect("once each", (lines(gateway, "does not answer"), lines(gateway, "answers again")), (1, 1))?;
    // A server that is replaced while nobody asks is not even noticed.
    drop(fresh);
    let _fresh = Server::start_at(lab.folder(), redis.port, "")?;
    expect("on a new connection", client.statuses("closed", 2)?, vec![200, 429])?;
    expect("nothing to tell", lines(gateway, "does not answer"), 1)
}

/// Each failure mode does what it says, to every request.
fn while_away(gateway: &Gateway, client: &mut Client) -> Result<(), String> {
    expect("open", client.statuses("open", REQUESTS)?, vec![200; REQUESTS])?;
    expect("closed", client.statuses("closed", REQUESTS)?, vec![500; REQUESTS])?;
    let local = client.statuses("local", REQUESTS)?;
    if local.iter().any(|status| ![200, 429].contains(status)) || local.last() != Some(&429) {
        return Err(format!("local: {local:?}"));
    }
    expect("told once", lines(gateway, "does not answer"), 1)
}

fn return_of(gateway: &Gateway, client: &mut Client) -> Result<(), String> {
    gateway.wait_for_line(|line| line.contains("a shared server answers again"));
    eventually(|| expect("closed again", client.get("closed")?, 429))?;
    expect("the counts are those from before", client.statuses("open", 4)?, vec![429; 4])?;
    expect("closed", client.statuses("closed", 4)?, vec![429; 4])?;
    expect("once each", (lines(gateway, "does not answer"), lines(gateway, "answers again")), (1, 1))
}

/// A client who asks before, meanwhile and afterwards.
fn ask_all_the_while(gateway: &Gateway, over: &AtomicBool) -> Result<(), String> {
    let mut client = Client::of(gateway)?;
    while !over.load(Ordering::Acquire) {
        let status = client.get("local")?;
        if ![200, 429].contains(&status) {
            return Err(format!("/local was answered {status}"));
        }
    }
    Ok(())
}

fn lines(gateway: &Gateway, text: &str) -> usize {
    gateway.output().lines().filter(|line| line.contains("Redis") && line.contains(text)).count()
}

fn metrics(gateway: &Gateway) -> Result<String, String> {
    let status = gateway.addresses.status.ok_or("no status listener")?;
    let mut connection = Connection::open(status, None).map_err(|error| error.to_string())?;
    connection.send(b"GET /metrics HTTP/1.1\r\nHost: status\r\n\r\n");
    let reply = connection.answer("GET").map_err(|error| error.to_string())?.ok_or("no metrics")?;
    Ok(reply.message.text())
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
