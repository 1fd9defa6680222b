//! `/upstreams/{upstream}/health`: how the targets of an upstream are.

use std::collections::HashMap;

use model::{Config, Entity};
use plugin::services::{HealthOrder, TargetHealth};
use serde_json::{Value, json};

use crate::call::{Call, Door};
use crate::entities;
use crate::page::page;
use crate::reply::Reply;

/// The health of every target, or with `balancer_health=1` of the upstream as a whole.
pub fn of_upstream(call: &Call, config: &Config, key: &str) -> Reply {
    let Some(upstream) = config.find("upstreams", key) else { return Reply::not_found() };
    let name = upstream.value["name"].as_str().unwrap_or_default();
    let mut reports = call.control.services.target_health();
    reports.retain(|report| report.upstream == name);
    if call.is_on("balancer_health") && call.door == Door::Admin {
        let health = json!({ "id": upstream.value["id"], "health": of_whole(config, &upstream, &reports) });
        return Reply::ok(&json!({ "data": health, "next": null, "node_id": node(call) }));
    }
    let targets = config.entities("targets").iter();
    let own = targets.filter(|target| target.refers_to("upstream", upstream.id));
    let told = own.map(|target| with_health(target.complete(), &reports));
    let told = told.chain(discovered(&upstream, &reports));
    let mut reply = page(call, &told.collect::<Vec<_>>());
    if let Ok(Value::Object(mut body)) = serde_json::from_slice(&reply.answer.body) {
        body.insert("node_id".to_owned(), node(call));
        reply.answer.body = Value::Object(body).to_string().into_bytes();
    }
    reply
}

/// The state that ends a path; whether it is the healthy one.
pub fn named(state: &str) -> Option<bool> {
    match state {
        "healthy" => Some(true),
        "unhealthy" => Some(false),
        _ => None,
    }
}

/// `PUT /upstreams/{upstream}/targets/{target}[/{address}]/healthy` and `unhealthy`.
pub fn set(
    call: &Call,
    config: &Config,
    (upstream, target, address): (&str, &str, Option<&str>),
    healthy: bool,
) -> Reply {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let Some(found) = config.find("upstreams", upstream) else { return Reply::not_found() };
    let name = &*text(&found.value["name"]);
    let own = entities::target(config, upstream, target).map(|target| text(&target.field("target")));
    let listed = || {
        let mut reports = call.control.services.target_health().into_iter();
        reports
            .any(|report| report.discovered.is_some() && report.upstream == name && report.target == target)
    };
    let Some(target) = own.or_else(|| listed().then(|| target.to_owned())) else { return Reply::not_found() };
    let (upstream, target) = (name, &*target);
    match call.control.services.set_target_health(&HealthOrder { upstream, target, address, healthy }) {
        Ok(()) => Reply::empty(204),
        Err(reason) => Reply::message(400, reason),
    }
}

fn node(call: &Call) -> Value {
    Value::from(call.control.services.node_id.to_string())
}

/// What requests to the upstream can expect: with too little of its weight healthy it is unhealthy (kong.md 5.2).
fn of_whole(config: &Config, upstream: &Entity, reports: &[TargetHealth]) -> &'static str {
    let states: Vec<&str> = reports.iter().map(|report| report.state).collect();
    let rules = config.upstreams.iter().find(|entity| entity.id == upstream.id);
    let targets = config.targets.iter().filter(|target| target.upstream.0 == upstream.id);
    let weights: HashMap<&str, u64> =
        targets.map(|target| (target.target.as_str(), target.weight.into())).collect();
    let weigh = |wanted: &[&str]| {
        let chosen = reports.iter().filter(|report| wanted.contains(&report.state));
        let weight = |report: &TargetHealth| match report.discovered {
            Some(weight) => weight.into(),
            None => weights.get(report.target.as_str()).copied().unwrap_or_default(),
        };
        chosen.map(weight).sum()
    };
    let (healthy, total) = (weigh(&["healthy"]), weigh(&["healthy", "unhealthy"]));
    let judged = total > 0 && states.iter().any(|state| matches!(*state, "healthy" | "unhealthy"));
    match rules {
        Some(rules) if judged && rules.healthchecks.is_too_little(healthy, total) => "UNHEALTHY",
        _ => overall(&states),
    }
}

/// Healthy while something is; a target of several addresses, and an upstream of several targets.
fn overall(states: &[&str]) -> &'static str {
    let has = |state: &str| states.contains(&state);
    match () {
        () if has("healthy") => "HEALTHY",
        () if has("healthchecks_off") => "HEALTHCHECKS_OFF",
        () if has("unhealthy") => "UNHEALTHY",
        () if has("dns_error") => "DNS_ERROR",
        () => "HEALTHCHECKS_OFF",
    }
}

/// Targets that are listed elsewhere: no entities, and so without an id.
fn discovered(upstream: &Entity, reports: &[TargetHealth]) -> Vec<Entity> {
    let mut targets: Vec<(&str, u16)> =
        reports.iter().filter_map(|report| Some((report.target.as_str(), report.discovered?))).collect();
    targets.dedup();
    let entity = |(target, weight): (&str, u16)| {
        let owner = json!({ "id": upstream.value["id"] });
        let value = json!({ "target": target, "weight": weight, "upstream": owner, "discovered": true });
        with_health(Entity { value, ..upstream.clone() }, reports)
    };
    targets.into_iter().map(entity).collect()
}

fn with_health(mut target: Entity, reports: &[TargetHealth]) -> Entity {
    let name = target.value["target"].as_str().unwrap_or_default().to_owned();
    let weight = target.value["weight"].as_u64().unwrap_or_default();
    let own: Vec<&TargetHealth> = reports.iter().filter(|report| report.target == name).collect();
    let states: Vec<&str> = own.iter().map(|report| report.state).collect();
    let reached = own.iter().filter(|report| !report.address.is_empty());
    let addresses: Vec<Value> = reached.map(|report| address(report, weight)).collect();
    let working = own.iter().filter(|report| matches!(report.state, "healthy" | "healthchecks_off"));
    let (total, available) = (addresses.len() as u64 * weight, working.count() as u64 * weight);
    let (host, port) = name.rsplit_once(':').unwrap_or((&name, ""));
    target.value["health"] = json!(overall(&states));
    target.value["data"] = json!({
        "host": host,
        "port": port.parse::<u16>().ok(),
        "nodeWeight": weight,
        "weight": { "total": total, "available": available, "unavailable": total - available },
        "addresses": addresses,
    });
    target
}

fn address(report: &TargetHealth, weight: u64) -> Value {
    let (ip, port) = report.address.rsplit_once(':').unwrap_or((&report.address, ""));
    json!({ "ip": ip, "port": port.parse::<u16>().ok(), "weight": weight, "health": overall(&[report.state]) })
}
