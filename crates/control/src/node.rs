//! What the gateway says about itself: `/`, `/status`, `/status/ready`, `/plugins/enabled`.

use std::collections::BTreeSet;
use std::fs;

use model::Config;
use plugin::services::SourceReport;
use serde_json::{Map, Value, json};

use crate::Control;
use crate::call::Call;
use crate::reply::{Fault, Reply};

/// Bytes of a page of memory, as Linux counts them in `/proc` on the machines we know.
const PAGE: f64 = 4096.0;

/// `GET /`
pub fn root(control: &Control, config: &Config) -> Reply {
    let process = std::process::id();
    Reply::ok(&json!({
        "tagline": "Welcome to kong",
        "version": control.kong_version,
        "edition": "community",
        "biplane": { "version": control.services.version },
        "hostname": hostname(),
        "node_id": control.services.node_id.to_string(),
        "timers": { "running": 0, "pending": 0 },
        "plugins": {
            "available_on_server": available_plugins(control),
            "enabled_in_cluster": used_plugins(config),
        },
        "configuration": configuration(control),
        "pids": { "master": process, "workers": [process] },
    }))
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or_else(|| "localhost".to_owned(), |name| name.trim().to_owned())
}

fn available_plugins(control: &Control) -> Map<String, Value> {
    let facts = |priority: i64| json!({ "version": control.kong_version, "priority": priority });
    let plugins = control.definitions.iter();
    plugins.map(|plugin| (plugin.name().to_owned(), facts(plugin.priority()))).collect()
}

fn used_plugins(config: &Config) -> Vec<&str> {
    let names: BTreeSet<&str> = config.plugins.iter().map(|row| row.name.as_str()).collect();
    names.into_iter().collect()
}

/// The settings, with those that clients read to find out what they talk to.
fn configuration(control: &Control) -> Value {
    let loaded: Map<String, Value> =
        control.definitions.iter().map(|plugin| (plugin.name().to_owned(), Value::Bool(true))).collect();
    let mut shown = json!({
        "database": "off",
        "role": "traditional",
        "router_flavor": "traditional_compatible",
        "loaded_plugins": loaded,
    });
    if let (Value::Object(shown), Value::Object(given)) = (&mut shown, &control.settings_shown) {
        shown.extend(given.iter().map(|(name, value)| (name.clone(), masked(name, value))));
    }
    shown
}

/// What stands for a secret.
const MASK: &str = "******";
/// Parts of the names of settings that are secrets, or have some in them.
const SECRETS: [&str; 9] = [
    "password",
    "secret",
    "token",
    "_cert_key",
    "declarative_config_string",
    "role_id",
    "session_conf",
    "auth_conf",
    "license",
];

/// Secrets are masked by the names that settings of Kong give them, whoever hands them over.
fn masked(name: &str, value: &Value) -> Value {
    let is_secret = SECRETS.iter().any(|part| name.to_ascii_lowercase().contains(part));
    match value {
        Value::Null => Value::Null,
        _ if is_secret => json!(MASK),
        Value::String(text) => json!(without_user(text)),
        other => other.clone(),
    }
}

/// The same without what stands before the host of URLs in it.
fn without_user(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', '?', '#', ',', ' ']).unwrap_or(part.len());
        let host = part[..end].rfind('@');
        shown.push_str("://");
        shown.push_str(if host.is_some() { MASK } else { "" });
        shown.push_str(&part[host.unwrap_or(0)..]);
    }
    shown
}

/// `GET /status?unit=m&scale=2`
pub fn status(call: &Call, config: &Config) -> Reply {
    let memory = match memory(call) {
        Ok(memory) => memory,
        Err(message) => return Reply::fault(Fault::InvalidOptions, &message, Value::Null),
    };
    let stats = &call.control.services.stats;
    let handled = stats.sum(|shard| shard.accepted.value());
    let refused = stats.sum(|shard| shard.refused.value());
    let closed = stats.sum(|shard| shard.closed.value());
    let (reading, writing) =
        (stats.sum(|shard| shard.reading.value()), stats.sum(|shard| shard.writing.value()));
    let active = handled.saturating_sub(closed);
    let mut status = json!({
        "server": {
            "connections_accepted": handled + refused,
            "connections_handled": handled,
            "connections_active": active,
            "connections_reading": reading,
            "connections_writing": writing,
            "connections_waiting": active.saturating_sub(reading + writing),
            "total_requests": stats.sum(|shard| shard.requests.value()),
        },
        "memory": memory,
        "configuration_hash": config.hash,
    });
    let report = call.control.services.discovery();
    if !report.sources.is_empty() {
        status["discovery"] = report.sources.iter().map(source).collect();
    }
    Reply::ok(&status)
}

/// How a source of targets is doing.
fn source(report: &SourceReport) -> Value {
    json!({
        "upstream": report.upstream,
        "source": report.source,
        "up": report.up,
        "targets": report.targets,
        "age": report.age.map(|age| age.as_secs()),
        "restored": report.restored,
        "expired": report.expired,
        "problem": report.trouble,
    })
}

/// Memory of the process. The members that describe Lua stay empty: there is none.
fn memory(call: &Call) -> Result<Value, String> {
    let unit = call.argument("unit").unwrap_or_else(|| "m".to_owned());
    let (divisor, suffix) = match unit.as_str() {
        "b" | "B" => (1.0, "B"),
        "k" | "K" => (1024.0, "KiB"),
        "m" | "M" => (1024.0 * 1024.0, "MiB"),
        "g" | "G" => (1024.0 * 1024.0 * 1024.0, "GiB"),
        _ => return Err(format!("invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')")),
    };
    let scale = call.argument("scale").unwrap_or_else(|| "2".to_owned());
    let digits = scale.parse::<usize>().ok().filter(|digits| *digits <= 10);
    let digits = digits.ok_or_else(|| format!("invalid scale '{scale}' (expected a number from 0 to 10)"))?;
    let mut memory = json!({ "lua_shared_dicts": {}, "workers_lua_vms": [] });
    if let Some(pages) = resident_pages() {
        memory["resident"] = json!(format!("{:.digits$} {suffix}", pages * PAGE / divisor));
    }
    Ok(memory)
}

fn resident_pages() -> Option<f64> {
    fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// `GET /status/ready`
pub fn ready(control: &Control) -> Reply {
    match control.source.is_ready() {
        Ok(()) => Reply::message(200, "ready"),
        Err(reason) => Reply::message(503, &reason),
    }
}

/// `GET /plugins/enabled`
pub fn enabled_plugins(control: &Control) -> Reply {
    let names: Vec<&str> = control.definitions.iter().map(|plugin| plugin.name()).collect();
    Reply::ok(&json!({ "enabled_plugins": names }))
}
