//! `/upstreams/{upstream}/health`: how the targets of an upstream are.

use model::{Config, Entity};
use plugin::services::TargetHealth;
use serde_json::{Value, json};

use crate::call::{Call, Door};
use crate::entities::refers_to;
use crate::page::page;
use crate::reply::Reply;

/// The health of every target, or with `balancer_health=1` of the upstream as a whole.
pub fn of_upstream(call: &Call, config: &Config, key: &str) -> Reply {
    let Some(upstream) = config.find("upstreams", key) else { return Reply::not_found() };
    let name = upstream.value["name"].as_str().unwrap_or_default();
    let mut reports = call.control.services.target_health();
    reports.retain(|report| report.upstream == name);
    if call.is_on("balancer_health") && call.door == Door::Admin {
        let states: Vec<&str> = reports.iter().map(|report| report.state).collect();
        let health = json!({ "id": upstream.value["id"], "health": overall(&states) });
        return Reply::ok(&json!({ "data": health, "next": null, "node_id": node(call) }));
    }
    let targets = config.entities("targets").iter();
    let own = targets.filter(|target| refers_to(target, "upstream", upstream.id));
    let told = own.map(|target| with_health(target.complete(), &reports));
    let mut reply = page(call, &told.collect::<Vec<_>>());
    if let Ok(Value::Object(mut body)) = serde_json::from_slice(&reply.answer.body) {
        body.insert("node_id".to_owned(), node(call));
        reply.answer.body = Value::Object(body).to_string().into_bytes();
    }
    reply
}

fn node(call: &Call) -> Value {
    Value::from(call.control.services.node_id.to_string())
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
