//! The log line of a finished exchange as JSON, with the keys of Kong's serializer (kong.md 5.4).
//!
//! Written straight into the journal's buffer: no value tree, no allocation.

use wire::Known;
use wire::h1::encode;

use crate::clock::millis;
use crate::confidential::{Names, REDACTED};
use crate::detour::Detour;
use crate::exchange::{Exchange, Latencies, Source, Tls, Try};
use crate::identity::Caller;
use crate::sessions::{Session, SessionRecord};
use crate::views::Log;

mod fields;
mod json;

pub use fields::{Credentials, headers_object};
pub use json::string;
use json::{escaped, member, number, uuid};

/// The id of the one implicit workspace (kong.md 1.8).
pub const WORKSPACE_ID: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

/// Query arguments of a request that are logged (kong.md 3.5).
const MAX_ARGUMENTS: usize = 100;

/// Appends the log object of the exchange, without a line end and without the credentials that `names` tells.
pub fn write(log: &Log<'_>, names: &Names, out: &mut Vec<u8>) {
    let exchange: &Exchange = log;
    out.extend_from_slice(b"{\"request\":{");
    write_request(exchange, names, out);
    out.extend_from_slice(b"},\"response\":{\"status\":");
    number(out, u64::from(exchange.response.status));
    out.extend_from_slice(b",\"headers\":");
    headers_object(&exchange.response.headers, Credentials::Redacted(names), out);
    out.extend_from_slice(b",\"size\":");
    number(out, exchange.record.response_bytes);
    out.push(b'}');
    write_upstream(exchange, names, out);
    write_latencies(exchange.record.latencies(), out);
    write_tries(&exchange.record.tries, out);
    if let Some(caller) = &exchange.identity.caller {
        write_caller(caller, out);
    }
    write_match(exchange, out);
    out.extend_from_slice(b",\"client_ip\":\"");
    encode::address(out, exchange.client.ip);
    out.extend_from_slice(b"\",\"started_at\":");
    number(out, exchange.record.started_ms);
    let source: &[u8] = if exchange.source == Source::Upstream { b"upstream" } else { b"kong" };
    out.extend_from_slice(b",\"source\":\"");
    out.extend_from_slice(source);
    out.push(b'"');
    for (name, value) in exchange.log_fields.iter() {
        member(out, name, value);
    }
    write_workspace(out);
}

/// Appends the log object of a session on layer 4, without a line end.
pub fn write_session(session: &Session, record: &SessionRecord<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"session\":{");
    if let Some(tls) = &session.tls {
        out.extend_from_slice(b"\"tls\":");
        write_tls(tls, out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"received\":");
    number(out, record.received);
    out.extend_from_slice(b",\"sent\":");
    number(out, record.sent);
    out.extend_from_slice(b",\"status\":");
    number(out, u64::from(record.end.code()));
    out.extend_from_slice(b",\"server_port\":");
    number(out, u64::from(session.listener.port()));
    // What a client is sent comes from the upstream, and the other way round.
    out.extend_from_slice(b"},\"upstream\":{\"received\":");
    number(out, record.sent);
    out.extend_from_slice(b",\"sent\":");
    number(out, record.received);
    let total = millis(record.finished.saturating_duration_since(session.started));
    let own = record.tries.first().map_or(total, |first| first.started_ms.saturating_sub(session.started_ms));
    out.extend_from_slice(b"},\"latencies\":{\"kong\":");
    number(out, own.min(total));
    out.extend_from_slice(b",\"session\":");
    number(out, total);
    out.push(b'}');
    write_tries(record.tries, out);
    out.extend_from_slice(b",\"route\":");
    out.extend_from_slice(session.matched.route_json.as_bytes());
    if let Some(service) = &session.matched.service_json {
        out.extend_from_slice(b",\"service\":");
        out.extend_from_slice(service.as_bytes());
    }
    out.extend_from_slice(b",\"client_ip\":\"");
    encode::address(out, session.client.ip());
    out.extend_from_slice(b"\",\"started_at\":");
    number(out, session.started_ms);
    write_workspace(out);
}

fn write_workspace(out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"workspace\":\"");
    out.extend_from_slice(WORKSPACE_ID.as_bytes());
    out.extend_from_slice(b"\",\"workspace_name\":\"default\"}");
}

fn write_request(exchange: &Exchange, names: &Names, out: &mut Vec<u8>) {
    let request = &exchange.request;
    out.extend_from_slice(b"\"id\":\"");
    out.extend_from_slice(&exchange.request_id);
    out.extend_from_slice(b"\",\"method\":\"");
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.extend_from_slice(b"\",\"uri\":\"");
    let start = out.len();
    names.target(request.target(), |piece| escaped(out, piece));
    let end = out.len();
    out.extend_from_slice(b"\",\"url\":\"");
    out.extend_from_slice(exchange.scheme.as_str().as_bytes());
    out.extend_from_slice(b"://");
    escaped(out, request.headers.known(Known::Host).unwrap_or_default());
    out.extend_from_within(start..end);
    out.extend_from_slice(b"\",\"querystring\":");
    write_query(request.query(), names, out);
    out.extend_from_slice(b",\"headers\":");
    headers_object(&request.headers, Credentials::Redacted(names), out);
    out.extend_from_slice(b",\"size\":");
    number(out, exchange.record.request_bytes);
    if let Some(tls) = &exchange.client.tls {
        out.extend_from_slice(b",\"tls\":");
        write_tls(tls, out);
    }
}

fn write_tls(tls: &Tls, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"version\":\"");
    out.extend_from_slice(tls.version.as_bytes());
    out.extend_from_slice(b"\",\"cipher\":\"");
    out.extend_from_slice(tls.cipher.as_bytes());
    out.extend_from_slice(b"\",\"client_verify\":\"");
    let (word, reason) = tls.client_verify();
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\"}");
}

fn write_upstream(exchange: &Exchange, names: &Names, out: &mut Vec<u8>) {
    if exchange.upstream.path.is_empty() {
        out.extend_from_slice(b",\"upstream_uri\":\"\"");
    } else {
        out.extend_from_slice(b",\"upstream_uri\":\"");
        escaped(out, &exchange.upstream.path);
        if exchange.upstream.has_query {
            out.push(b'?');
            names.query(&exchange.upstream.query, |piece| escaped(out, piece));
        }
        out.push(b'"');
    }
    out.extend_from_slice(b",\"upstream_status\":\"");
    let mut first = true;
    let failed = exchange.record.tries.iter().filter_map(|attempt| attempt.failed);
    for status in failed.chain(exchange.record.upstream_status) {
        if !first {
            out.extend_from_slice(b", ");
        }
        first = false;
        number(out, u64::from(status));
    }
    out.push(b'"');
}

fn write_latencies(latencies: Latencies, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"latencies\":{\"kong\":");
    number(out, latencies.kong);
    out.extend_from_slice(b",\"proxy\":");
    match latencies.proxy {
        Some(proxy) => number(out, proxy),
        None => out.extend_from_slice(b"-1"),
    }
    out.extend_from_slice(b",\"request\":");
    number(out, latencies.request);
    out.extend_from_slice(b",\"receive\":");
    number(out, latencies.receive);
    out.push(b'}');
}

fn write_tries(tries: &[Try], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"tries\":[");
    for (index, attempt) in tries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"balancer_start\":");
        number(out, attempt.started_ms);
        out.extend_from_slice(b",\"balancer_start_ns\":");
        number(out, attempt.started_ms.saturating_mul(1_000_000));
        out.extend_from_slice(b",\"balancer_latency\":");
        number(out, attempt.balancer_us / 1000);
        out.extend_from_slice(b",\"balancer_latency_ns\":");
        number(out, attempt.balancer_us.saturating_mul(1000));
        out.extend_from_slice(b",\"ip\":\"");
        encode::address(out, attempt.address.ip());
        out.extend_from_slice(b"\",\"port\":");
        number(out, u64::from(attempt.address.port()));
        if let Some(code) = attempt.failed {
            out.extend_from_slice(b",\"state\":\"failed\",\"code\":");
            number(out, u64::from(code));
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// Appends what is logged of a caller who is a consumer (kong.md 5.4).
fn write_caller(caller: &Caller, out: &mut Vec<u8>) {
    if caller.consumer.is_none() {
        return;
    }
    let id = caller.consumer_id_text();
    if let Some(credential) = caller.credential() {
        out.extend_from_slice(b",\"authenticated_entity\":{\"id\":");
        uuid(out, credential.id);
        out.extend_from_slice(b",\"consumer_id\":\"");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b",\"consumer\":{\"id\":\"");
    out.extend_from_slice(id);
    out.push(b'"');
    if let Some(username) = caller.username() {
        member(out, "username", username);
    }
    if let Some(custom_id) = caller.custom_id() {
        member(out, "custom_id", custom_id);
    }
    out.push(b'}');
}

fn write_match(exchange: &Exchange, out: &mut Vec<u8>) {
    let Some(matched) = exchange.matched.as_deref() else { return };
    out.extend_from_slice(b",\"route\":");
    out.extend_from_slice(matched.route_json.as_bytes());
    let elsewhere = exchange.detour.as_ref().and_then(Detour::service_json);
    if let Some(service) = elsewhere.or(matched.service_json.as_deref()) {
        out.extend_from_slice(b",\"service\":");
        out.extend_from_slice(service.as_bytes());
    }
    if let Some(detour) = &exchange.detour {
        member(out, "sent_to", detour.name().as_bytes());
    }
}

/// Appends a query as an object, names and values percent-decoded; the first of repeated names wins.
fn write_query(query: Option<&[u8]>, names: &Names, out: &mut Vec<u8>) {
    out.push(b'{');
    let query = query.unwrap_or_default();
    for (index, pair) in wire::target::query_pairs(query, MAX_ARGUMENTS).enumerate() {
        if wire::target::query_pairs(query, index).any(|earlier| earlier.name == pair.name) {
            continue;
        }
        if index > 0 {
            out.push(b',');
        }
        decoded(pair.name, out);
        out.push(b':');
        match pair.value {
            Some(value) if value.is_empty() || names.shows_argument(pair.name) => decoded(value, out),
            Some(_) => string(out, REDACTED),
            None => out.extend_from_slice(b"true"),
        }
    }
    out.push(b'}');
}

fn decoded(argument: &[u8], out: &mut Vec<u8>) {
    if !argument.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return string(out, argument);
    }
    let mut text = Vec::with_capacity(argument.len());
    wire::target::form_decode(argument, &mut text);
    string(out, &text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confidential::Confidential;

    #[test]
    fn a_query_is_an_object_of_first_values() {
        for (query, expected) in
            [("a=1&b=&c&a=2", r#"{"a":"1","b":"","c":true}"#), ("a%20b=x+y", r#"{"a b":"x y"}"#), ("", "{}")]
        {
            let mut out = Vec::new();
            write_query(Some(query.as_bytes()), Confidential::default().names(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
