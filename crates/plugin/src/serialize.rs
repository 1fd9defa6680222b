//! The log line of a finished exchange as JSON, with the keys of Kong's serializer (kong.md 5.4).
//!
//! Written straight into the journal's buffer: no value tree, no allocation.

use std::io::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use uuid::Uuid;
use wire::h1::encode;
use wire::{Field, Headers, Known};

use crate::clock::millis;
use crate::detour::Detour;
use crate::exchange::{Exchange, Record, Source, Tls, Try};
use crate::identity::Caller;
use crate::sessions::{Session, SessionRecord};
use crate::views::Log;

/// The id of the one implicit workspace (kong.md 1.8).
pub const WORKSPACE_ID: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

/// Query arguments of a request that are logged (kong.md 3.5).
const MAX_ARGUMENTS: usize = 100;

/// Latencies of an exchange in milliseconds (kong.md 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latencies {
    /// From the first byte of the request to the last byte of the response.
    pub request: u64,
    /// Spent waiting for the upstream's response head; none if no upstream was asked.
    pub proxy: Option<u64>,
    /// Spent in the gateway itself.
    pub kong: u64,
    /// From the upstream's response head to its last byte.
    pub receive: u64,
}

impl Latencies {
    /// The latencies as they stand at `finished`.
    #[must_use]
    pub fn at(record: &Record, finished: Instant) -> Self {
        let total = finished.saturating_duration_since(record.started);
        let proxy = record
            .upstream_started
            .map(|start| record.upstream_answered.unwrap_or(finished).saturating_duration_since(start));
        let receive = match (record.upstream_answered, record.upstream_finished) {
            (Some(answered), Some(last)) => last.saturating_duration_since(answered),
            _ => Duration::ZERO,
        };
        let kong = total.saturating_sub(proxy.unwrap_or_default()).saturating_sub(receive);
        Self {
            request: millis(total),
            proxy: proxy.map(millis),
            kong: millis(kong),
            receive: millis(receive),
        }
    }
}

/// Appends the log object of the exchange, without a line end.
pub fn write(log: &Log<'_>, out: &mut Vec<u8>) {
    let exchange: &Exchange = log;
    out.extend_from_slice(b"{\"request\":{");
    write_request(exchange, out);
    out.extend_from_slice(b"},\"response\":{\"status\":");
    number(out, u64::from(exchange.response.status));
    out.extend_from_slice(b",\"headers\":");
    write_headers(&exchange.response.headers, out);
    out.extend_from_slice(b",\"size\":");
    number(out, exchange.record.response_bytes);
    out.push(b'}');
    write_upstream(exchange, out);
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

fn write_request(exchange: &Exchange, out: &mut Vec<u8>) {
    let request = &exchange.request;
    out.extend_from_slice(b"\"id\":\"");
    out.extend_from_slice(&exchange.request_id);
    out.extend_from_slice(b"\",\"method\":\"");
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.extend_from_slice(b"\",\"uri\":\"");
    let start = out.len();
    escaped(out, request.target());
    let end = out.len();
    out.extend_from_slice(b"\",\"url\":\"");
    out.extend_from_slice(exchange.scheme.as_str().as_bytes());
    out.extend_from_slice(b"://");
    escaped(out, request.headers.known(Known::Host).unwrap_or_default());
    out.extend_from_within(start..end);
    out.extend_from_slice(b"\",\"querystring\":");
    write_query(request.query(), out);
    out.extend_from_slice(b",\"headers\":");
    write_headers(&request.headers, out);
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

fn write_upstream(exchange: &Exchange, out: &mut Vec<u8>) {
    if exchange.upstream.path.is_empty() {
        out.extend_from_slice(b",\"upstream_uri\":\"\"");
    } else {
        out.extend_from_slice(b",\"upstream_uri\":\"");
        escaped(out, &exchange.upstream.path);
        if exchange.upstream.has_query {
            out.push(b'?');
            escaped(out, &exchange.upstream.query);
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

/// Appends fields as [`headers_object`] does, without credentials.
fn write_headers(headers: &Headers, out: &mut Vec<u8>) {
    headers_object(headers, Credentials::Redacted, out);
}

/// What becomes of fields that carry credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Their values are `REDACTED`.
    Redacted,
    /// They are shown, to whoever decides about the request.
    Shown,
}

/// Appends fields as an object of lower-case names; a repeated field becomes an array.
pub fn headers_object(headers: &Headers, credentials: Credentials, out: &mut Vec<u8>) {
    if headers.is_empty() {
        return out.extend_from_slice(b"{}");
    }
    let repeated = if headers.are_distinct() { Repeated::default() } else { Repeated::among(headers) };
    if repeated.is_none() && headers.is_plain() {
        write_plain_headers(headers, credentials, out);
    } else {
        write_any_headers(headers, credentials, &repeated, out);
    }
}

/// The names told apart by [`Known`], each as it begins a member behind another one whose value is text.
static KEYS: LazyLock<Vec<Box<[u8]>>> = LazyLock::new(|| {
    let key = |known: &Known| [b"\",\"", known.lower_case(), b"\":\""].concat().into_boxed_slice();
    Known::ALL.iter().map(key).collect()
});

/// The usual case: every name stands once and nothing needs escaping.
fn write_plain_headers(headers: &Headers, credentials: Credentials, out: &mut Vec<u8>) {
    let keys = &**KEYS;
    out.reserve(headers.text_bytes() + headers.len() * 8);
    out.push(b'{');
    // The first member has neither value nor comma before it.
    let mut skipped = 2;
    for field in headers.entries() {
        match keys.get(field.known as usize) {
            Some(key) => out.extend_from_slice(&key[skipped..]),
            None => {
                out.extend_from_slice(&b"\",\""[skipped..]);
                out.extend(field.name.iter().map(u8::to_ascii_lowercase));
                out.extend_from_slice(b"\":\"");
            }
        }
        skipped = 0;
        out.extend_from_slice(if credentials.hide(&field) { b"REDACTED" } else { field.value });
    }
    out.extend_from_slice(b"\"}");
}

fn write_any_headers(headers: &Headers, credentials: Credentials, repeated: &Repeated, out: &mut Vec<u8>) {
    let mut opening = b"{\"";
    for (index, field) in headers.entries().enumerate() {
        let is_repeated = repeated.may_be(&field);
        if is_repeated && headers.entries().take(index).any(|other| same_name(&other, &field)) {
            continue;
        }
        out.extend_from_slice(opening);
        opening = b",\"";
        write_name(&field, out);
        out.extend_from_slice(b"\":");
        if credentials.hide(&field) {
            out.extend_from_slice(b"\"REDACTED\"");
        } else if is_repeated {
            write_values(headers.entries().skip(index).filter(|other| same_name(other, &field)), out);
        } else {
            string(out, field.value);
        }
    }
    out.push(b'}');
}

fn write_name(field: &Field<'_>, out: &mut Vec<u8>) {
    if field.known == Known::Other {
        out.extend(field.name.iter().map(u8::to_ascii_lowercase));
    } else {
        out.extend_from_slice(field.known.lower_case());
    }
}

impl Credentials {
    fn hide(self, field: &Field<'_>) -> bool {
        self == Self::Redacted && matches!(field.known, Known::Authorization | Known::ProxyAuthorization)
    }
}

fn write_values<'a>(fields: impl Iterator<Item = Field<'a>>, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(b'[');
    let mut count = 0;
    for field in fields {
        if count > 0 {
            out.push(b',');
        }
        count += 1;
        string(out, field.value);
    }
    if count == 1 {
        out.remove(start);
    } else {
        out.push(b']');
    }
}

/// Unclassified names looked through for repetitions in one pass; beyond, each is looked up again.
const MANY_NAMES: usize = 32;

/// The names that stand more than once in a header section, found in one pass.
#[derive(Default)]
struct Repeated {
    known: u128,
    others: bool,
}

impl Repeated {
    fn among(headers: &Headers) -> Self {
        let (mut seen, mut known, mut others) = (0u128, 0u128, false);
        let mut names: [&[u8]; MANY_NAMES] = [b""; MANY_NAMES];
        let mut count = 0;
        for field in headers.entries() {
            if field.known != Known::Other {
                let bit = 1 << (field.known as u32);
                known |= seen & bit;
                seen |= bit;
            } else if count == MANY_NAMES {
                others = true;
            } else {
                others |= names[..count].iter().any(|name| name.eq_ignore_ascii_case(field.name));
                names[count] = field.name;
                count += 1;
            }
        }
        Self { known, others }
    }

    fn is_none(&self) -> bool {
        self.known == 0 && !self.others
    }

    fn may_be(&self, field: &Field<'_>) -> bool {
        match field.known {
            Known::Other => self.others,
            known => self.known & (1 << (known as u32)) != 0,
        }
    }
}

fn same_name(one: &Field<'_>, other: &Field<'_>) -> bool {
    one.known == other.known && (one.known != Known::Other || one.name.eq_ignore_ascii_case(other.name))
}

/// Appends a query as an object, names and values percent-decoded; the first of repeated names wins.
fn write_query(query: Option<&[u8]>, out: &mut Vec<u8>) {
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
            Some(value) => decoded(value, out),
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

fn member(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(out, value);
}

fn uuid(out: &mut Vec<u8>, id: Uuid) {
    let mut text = Uuid::encode_buffer();
    out.push(b'"');
    out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, value: u64) {
    encode::number(out, value);
}

/// Appends a JSON string; bytes that are not UTF-8 become U+FFFD.
pub fn string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escaped(out, value);
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    // Without an early end, so that the compiler can look at many bytes at a time.
    let special = |byte: &u8| !(0x20..0x7f).contains(byte) | (*byte == b'"') | (*byte == b'\\');
    if !value.iter().fold(false, |found, byte| found | special(byte)) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            escape_letter(out, letter);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_letter(out: &mut Vec<u8>, letter: char) {
    match letter {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        control if u32::from(control) < 0x20 => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(control));
        }
        other => {
            let mut bytes = [0; 4];
            out.extend_from_slice(other.encode_utf8(&mut bytes).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_valid_json_whatever_the_bytes() {
        for bytes in [&b"plain"[..], b"q\"uote\\", b"\x00\x1f\n\t", b"\xff\xfe ok", "é😀".as_bytes()] {
            let mut out = Vec::new();
            string(&mut out, bytes);
            let back: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(back, String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_query_is_an_object_of_first_values() {
        for (query, expected) in
            [("a=1&b=&c&a=2", r#"{"a":"1","b":"","c":true}"#), ("a%20b=x+y", r#"{"a b":"x y"}"#), ("", "{}")]
        {
            let mut out = Vec::new();
            write_query(Some(query.as_bytes()), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn the_usual_header_section_is_an_object_of_strings() {
        let mut headers = Headers::new();
        headers.append("Host", b"example.test");
        headers.append("X-Other", b"a/b;c=1");
        headers.append("Proxy-Authorization", b"secret");
        for (extra, expected) in [(&b"plain"[..], "plain"), (b"q\"uote", "q\"uote")] {
            headers.set("X-Last", extra);
            let mut out = Vec::new();
            write_headers(&headers, &mut out);
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let wanted = serde_json::json!({
                "host": "example.test", "x-other": "a/b;c=1", "proxy-authorization": "REDACTED", "x-last": expected
            });
            assert_eq!(read, wanted);
        }
    }

    #[test]
    fn repeated_fields_become_arrays_and_credentials_are_redacted() {
        let mut headers = Headers::new();
        headers.append("X-A", b"1");
        headers.append("Authorization", b"secret");
        headers.append("x-a", b"2");
        let mut out = Vec::new();
        write_headers(&headers, &mut out);
        assert_eq!(out, br#"{"x-a":["1","2"],"authorization":"REDACTED"}"#);
    }
}
