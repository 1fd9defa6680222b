//! Holds what came of a step against what the step expects.

use crate::case::Step;
use crate::client::{Exchange, Reply, wants_close};
use crate::echo::Seen;
use crate::expect;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The long form of `reply`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReplyWanted {
    status: Value,
    version: Option<String>,
    headers: Map<String, Value>,
    /// The whole body, or several texts it must hold.
    body: Option<Value>,
    lacks: Vec<String>,
    json: Option<Value>,
    size: Option<usize>,
    trailers: Map<String, Value>,
    /// The statuses of the interim responses before it.
    interim: Option<Vec<u16>>,
}

/// The long form of `upstream`: the last request it saw.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UpstreamWanted {
    requests: Option<usize>,
    /// The targets of all requests, in order.
    uris: Option<Vec<String>>,
    /// The number of different connections they came on.
    connections: Option<usize>,
    server: Option<String>,
    /// The server name of its TLS handshake; empty for none.
    sni: Option<String>,
    /// Whether a client certificate was shown to it.
    client_certificate: Option<bool>,
    servers: Option<Value>,
    method: Option<String>,
    uri: Option<String>,
    version: Option<String>,
    headers: Map<String, Value>,
    body: Option<String>,
    json: Option<Value>,
    size: Option<usize>,
    trailers: Map<String, Value>,
}

/// Whether every expectation of a step can be read.
pub(crate) fn verify(step: &Step) -> Result<(), String> {
    step.answers()?;
    for wanted in step.reply.iter().chain(step.replies.iter().flatten()) {
        reply_wanted(wanted)?;
    }
    match &step.upstream {
        Some(wanted) => upstream_wanted(wanted).map(|_| ()),
        None => Ok(()),
    }
}

/// Every difference between a step and what came of it.
pub(crate) fn differences(step: &Step, exchange: &Exchange, seen: &[Seen]) -> Vec<String> {
    let mut problems: Vec<String> = exchange.error.clone().into_iter().collect();
    if step.reply.as_ref().is_some_and(|reply| reply == "broken") {
        problems.retain(|error| !error.contains("closed"));
        if exchange.error.is_none() {
            problems.push("reply: expected one that breaks off, got a whole one".to_owned());
        }
    }
    if let Some(wanted) = &step.reads {
        let got = String::from_utf8_lossy(&exchange.bytes);
        if *wanted != got {
            problems.push(format!("read: expected {wanted:?}, got {got:?}"));
        }
    }
    let wanted =
        step.replies.clone().or_else(|| step.reply.clone().map(|reply| vec![reply])).unwrap_or_default();
    for (wanted, reply) in wanted.iter().zip(&exchange.replies) {
        problems.extend(reply_differences(wanted, reply));
    }
    if wants_close(step) && !exchange.closed {
        problems.push("the connection was not closed".to_owned());
    }
    if let (Some(route), Some(reply)) = (&step.route, exchange.replies.first()) {
        let found = reply.message.values("kong-route-name");
        if found != [route.as_str()] {
            problems
                .push(format!("route: expected {route}, got {found:?} (status {})", reply.message.status()));
        }
    }
    if let Some(wanted) = &step.upstream {
        problems.extend(upstream_differences(wanted, seen));
    }
    problems
}

fn reply_differences(wanted: &Value, reply: &Reply) -> Vec<String> {
    let wanted = match reply_wanted(wanted) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![error],
    };
    let message = &reply.message;
    let text = message.text();
    let mut problems = Vec::new();
    if !status_fits(&wanted.status, message.status()) {
        problems.push(format!("status: expected {}, got {}", wanted.status, message.status()));
    }
    if wanted.version.as_ref().is_some_and(|version| !message.start_line.starts_with(version.as_str())) {
        problems.push(format!("version: expected {:?}, got '{}'", wanted.version, message.start_line));
    }
    problems.extend(expect::headers(&wanted.headers, &message.headers));
    problems.extend(
        expect::headers(&wanted.trailers, &message.trailers).iter().map(|one| format!("trailer {one}")),
    );
    problems.extend(body_differences(wanted.body.as_ref(), &wanted.lacks, &text));
    if let Some(json) = &wanted.json {
        problems.extend(json_differences("body", json, &text));
    }
    if wanted.size.is_some_and(|size| size != message.body.len()) {
        problems.push(format!("body size: expected {:?}, got {}", wanted.size, message.body.len()));
    }
    let interim: Vec<u16> = reply.interim.iter().map(crate::message::Message::status).collect();
    if wanted.interim.as_ref().is_some_and(|wanted| *wanted != interim) {
        problems.push(format!("interim responses: expected {:?}, got {interim:?}", wanted.interim));
    }
    problems
}

/// The long form of every short form; `None` for the texts that are judged elsewhere.
fn reply_wanted(wanted: &Value) -> Result<Option<ReplyWanted>, String> {
    let text = match wanted {
        Value::String(text) if text == "none" || text == "broken" => return Ok(None),
        Value::String(text) => text.as_str(),
        Value::Object(_) => {
            return serde_json::from_value(wanted.clone())
                .map(Some)
                .map_err(|error| format!("reply: {error}"));
        }
        status => return Ok(Some(ReplyWanted { status: status.clone(), ..ReplyWanted::default() })),
    };
    if text == "404R" {
        return Ok(Some(templated(404, "no Route matched with those values")));
    }
    let (code, message) = text.split_once(' ').unwrap_or((text, ""));
    let kind = code.chars().next();
    let status: u16 =
        code.get(1..).and_then(|code| code.parse().ok()).ok_or_else(|| format!("reply '{text}'"))?;
    match kind {
        Some('T') => Ok(Some(templated(status, message))),
        Some('C') => Ok(Some(compact(status, &json!({ "message": message })))),
        _ => Err(format!(
            "reply '{text}' is none of NUMBER, 404R, T<code> message, C<code> message, none, broken"
        )),
    }
}

/// The error template's JSON form, to the byte.
fn templated(status: u16, message: &str) -> ReplyWanted {
    let message = regex::escape(&Value::from(message).to_string());
    let body = format!("~^\\{{\\n  \"message\":{message},\\n  \"request_id\":\"[0-9a-f]{{32}}\"\\n\\}}$");
    let headers = json!({"Content-Type": "application/json; charset=utf-8"});
    ReplyWanted {
        status: Value::from(status),
        headers: headers.as_object().cloned().unwrap_or_default(),
        body: Some(Value::from(body)),
        ..ReplyWanted::default()
    }
}

fn compact(status: u16, body: &Value) -> ReplyWanted {
    ReplyWanted {
        status: Value::from(status),
        body: Some(Value::from(body.to_string())),
        ..ReplyWanted::default()
    }
}

fn status_fits(wanted: &Value, status: u16) -> bool {
    match wanted {
        Value::Null => true,
        Value::Array(several) => several.iter().any(|one| status_fits(one, status)),
        one => *one == status,
    }
}

fn body_differences(wanted: Option<&Value>, lacks: &[String], text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    match wanted {
        Some(Value::Array(parts)) => {
            let missing =
                parts.iter().filter_map(Value::as_str).filter(|part| !expect::text_holds(part, text));
            problems.extend(missing.map(|part| format!("body: lacks {part:?}")));
        }
        Some(Value::String(body)) if !expect::text_matches(body, text) => {
            problems.push(format!("body: expected {body:?}"));
        }
        _ => {}
    }
    let present = lacks.iter().filter(|part| expect::text_holds(part, text));
    problems.extend(present.map(|part| format!("body: holds {part:?}")));
    problems
}

fn json_differences(path: &str, wanted: &Value, text: &str) -> Vec<String> {
    match serde_json::from_str(text) {
        Ok(found) => expect::json(path, wanted, &found),
        Err(error) => vec![format!("{path}: no JSON ({error})")],
    }
}

fn upstream_differences(wanted: &Value, seen: &[Seen]) -> Vec<String> {
    let wanted = match upstream_wanted(wanted) {
        Ok(wanted) => wanted,
        Err(error) => return vec![error],
    };
    let mut problems = all_requests(&wanted, seen);
    if wanted.requests == Some(0) {
        return problems;
    }
    match seen.last() {
        Some(last) => problems.extend(last_request(&wanted, last)),
        None => problems.push("upstream: no request reached it".to_owned()),
    }
    problems
}

fn upstream_wanted(wanted: &Value) -> Result<UpstreamWanted, String> {
    match wanted {
        Value::String(text) if text == "none" => {
            Ok(UpstreamWanted { requests: Some(0), ..Default::default() })
        }
        Value::String(uri) => Ok(UpstreamWanted { uri: Some(uri.clone()), ..Default::default() }),
        other => serde_json::from_value(other.clone()).map_err(|error| format!("upstream: {error}")),
    }
}

fn all_requests(wanted: &UpstreamWanted, seen: &[Seen]) -> Vec<String> {
    let mut problems = Vec::new();
    if wanted.requests.is_some_and(|count| count != seen.len()) {
        problems.push(format!("upstream requests: expected {:?}, got {}", wanted.requests, seen.len()));
    }
    let uris: Vec<&str> = seen.iter().map(Seen::uri).collect();
    if wanted.uris.as_ref().is_some_and(|list| *list != uris) {
        problems.push(format!("upstream uris: expected {:?}, got {uris:?}", wanted.uris));
    }
    let mut connections: Vec<usize> = seen.iter().map(|one| one.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    if wanted.connections.is_some_and(|count| count != connections.len()) {
        problems.push(format!(
            "upstream connections: expected {:?}, got {}",
            wanted.connections,
            connections.len()
        ));
    }
    if let Some(servers) = &wanted.servers {
        let mut found = Map::new();
        for one in seen {
            let count = found.get(&one.server).and_then(Value::as_u64).unwrap_or(0) + 1;
            found.insert(one.server.clone(), Value::from(count));
        }
        problems.extend(expect::json("upstream servers", servers, &Value::Object(found)));
    }
    problems
}

fn last_request(wanted: &UpstreamWanted, seen: &Seen) -> Vec<String> {
    let body = seen.message.text();
    let sni = seen.tls.as_ref().and_then(|known| known.name.clone()).unwrap_or_default();
    let parts = [
        ("sni", &wanted.sni, sni.as_str()),
        ("server", &wanted.server, seen.server.as_str()),
        ("method", &wanted.method, seen.method()),
        ("uri", &wanted.uri, seen.uri()),
        ("version", &wanted.version, seen.version()),
        ("body", &wanted.body, body.as_str()),
    ];
    let mut problems = Vec::new();
    for (name, expected, actual) in parts {
        if let Some(expected) = expected.as_ref().filter(|expected| !expect::text_matches(expected, actual)) {
            problems.push(format!("upstream {name}: expected {expected:?}, got {actual:?}"));
        }
    }
    let shown = seen.tls.as_ref().is_some_and(|known| known.certificate.is_some());
    if wanted.client_certificate.is_some_and(|wanted| wanted != shown) {
        problems.push(format!("upstream client_certificate: got {shown}"));
    }
    let headers = expect::headers(&wanted.headers, &seen.message.headers);
    problems.extend(headers.iter().map(|one| format!("upstream {one}")));
    let trailers = expect::headers(&wanted.trailers, &seen.message.trailers);
    problems.extend(trailers.iter().map(|one| format!("upstream trailer {one}")));
    if let Some(json) = &wanted.json {
        problems.extend(json_differences("upstream body", json, &body));
    }
    if wanted.size.is_some_and(|size| size != seen.message.body.len()) {
        problems.push(format!(
            "upstream body size: expected {:?}, got {}",
            wanted.size,
            seen.message.body.len()
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn reply(status: u16, body: &str) -> Reply {
        let message = Message {
            start_line: format!("HTTP/1.1 {status} X"),
            headers: vec![("content-type".into(), "application/json; charset=utf-8".into())],
            body: body.as_bytes().to_vec(),
            ..Message::default()
        };
        Reply { message, ..Reply::default() }
    }

    #[test]
    fn a_templated_error_is_matched_to_the_byte() {
        let id = "0123456789abcdef0123456789abcdef";
        let wanted = Value::from("T401 No API key found in request");
        let good =
            format!("{{\n  \"message\":\"No API key found in request\",\n  \"request_id\":\"{id}\"\n}}");
        assert_eq!(reply_differences(&wanted, &reply(401, &good)), Vec::<String>::new());
        assert_eq!(reply_differences(&wanted, &reply(401, &good.replace("  ", " "))).len(), 1);
        assert_eq!(reply_differences(&wanted, &reply(403, &good)).len(), 1);
    }

    #[test]
    fn a_misspelt_expectation_is_a_difference() {
        assert_eq!(reply_differences(&json!({"statu": 200}), &reply(200, "")).len(), 1);
        assert_eq!(reply_differences(&Value::from("X401 no"), &reply(401, "")).len(), 1);
        assert_eq!(upstream_differences(&json!({"urii": "/"}), &[]).len(), 1);
    }
}
