//! The answer that shows a request as the gateway saw it.

use plugin::model::Value;
use plugin::target::query_pairs;
use plugin::{Access, Build, Exchange, Flow, Headers, media, query};
use serde_json::{Map, json};

/// Most query and form arguments shown.
const MOST_ARGUMENTS: usize = 100;

/// What is known before any request.
pub(super) struct Echo {
    message: Option<String>,
    gateway: Value,
}

impl Echo {
    pub(super) fn new(message: Option<String>, cx: &Build<'_>) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let gateway = json!({
            "node_id": cx.services.node_id.to_string(),
            "worker_pid": std::process::id(),
            "hostname": hostname.trim(),
        });
        Self { message, gateway }
    }

    /// Answers with the request, its body included.
    pub(super) fn answer(&self, status: u16, cx: &mut Access<'_>) -> Flow {
        if cx.body().is_none() {
            return Flow::ReadBody;
        }
        let matched = cx.matched.as_deref();
        let entity = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let shown = json!({
            "message": self.message,
            "kong": self.gateway,
            "request": request(cx),
            "matched_route": entity(matched.map(|matched| &*matched.route_json)),
            "matched_service": entity(matched.and_then(|matched| matched.service_json.as_deref())),
        });
        cx.answer(status).bytes("application/json", without_nulls(shown).to_string())
    }
}

fn request(cx: &Access<'_>) -> Value {
    let request = &cx.request;
    let host = request.host().unwrap_or_default();
    let (name, _) = plugin::target::split_host_port(host);
    let body = cx.body().unwrap_or_default();
    json!({
        "scheme": cx.scheme.as_str(),
        "host": text(name),
        "port": cx.client.local.port(),
        "method": request.method.as_str(),
        "path": text(request.path()),
        "headers": headers(&request.headers),
        "query": arguments(request.query().unwrap_or_default()),
        "body": parsed_body(cx, body),
        "raw_body": (!body.is_empty()).then(|| text(body)),
    })
}

fn headers(headers: &Headers) -> Value {
    let mut shown = Map::new();
    for (name, value) in headers.iter() {
        add(&mut shown, name.to_ascii_lowercase(), text(value));
    }
    Value::Object(shown)
}

fn arguments(query: &[u8]) -> Value {
    let mut shown = Map::new();
    for pair in query_pairs(query, MOST_ARGUMENTS) {
        let value = pair.value.map_or(Value::Bool(true), |value| text(&query::decoded(value)));
        add(&mut shown, String::from_utf8_lossy(&query::decoded(pair.name)).into_owned(), value);
    }
    Value::Object(shown)
}

/// A name that occurs again gets a list of its values.
fn add(shown: &mut Map<String, Value>, name: String, value: Value) {
    match shown.get_mut(&name) {
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
        None => {
            shown.insert(name, value);
        }
    }
}

/// A body beyond this size is not shown parsed: it would take many times its size.
const MAX_PARSED: usize = 1 << 20;

fn parsed_body(exchange: &Exchange, body: &[u8]) -> Option<Value> {
    let content_type = exchange.request.headers.get("Content-Type")?;
    let essence = media::essence(content_type);
    if body.len() > MAX_PARSED {
        return None;
    }
    if essence.eq_ignore_ascii_case(b"application/json") {
        return serde_json::from_slice(body).ok();
    }
    essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded").then(|| arguments(body))
}

fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes).into_owned())
}

/// Absent parts are left out, as in log lines.
fn without_nulls(shown: Value) -> Value {
    let Value::Object(parts) = shown else { return shown };
    let kept = parts.into_iter().filter(|(_, part)| !part.is_null());
    kept.map(|(name, part)| (name, if part.is_object() { without_nulls(part) } else { part })).collect()
}
