//! What policies are told about a request: the `input` document, with the members that Kong documents for its plugin.
//!
//! It is made as JSON text, the same for a server and for policies in the gateway. Text that is not UTF-8 has U+FFFD where it
//! is not; a header, argument or capture is never left out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use plugin::likeness;
use plugin::model::entity::Consumer;
use plugin::query::decoded;
use plugin::serialize::{Credentials, headers_object, string};
use plugin::{Build, BuildError, Exchange, Known, media, target};

use super::config::Config;

/// Levels of a body that is told as JSON, at most. A server and the evaluator have bounds of their own, above this.
const DEEPEST: usize = 100;

type Text<'a> = Cow<'a, [u8]>;

/// Which members the document has.
pub(super) struct Document {
    service: bool,
    route: bool,
    consumer: bool,
    body: bool,
    parsed_body: bool,
    captures: bool,
    /// Names and numbers of claims.
    claims: Box<[(String, usize)]>,
}

impl Document {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let claims = &config.include_claims_in_opa_input;
        Ok(Self {
            service: config.include_service_in_opa_input,
            route: config.include_route_in_opa_input,
            consumer: config.include_consumer_in_opa_input,
            body: config.include_body_in_opa_input,
            parsed_body: config.include_parsed_json_body_in_opa_input,
            captures: config.include_uri_captures_in_opa_input,
            claims: match claims.is_empty() {
                true => Box::default(),
                false => {
                    let wanted = cx.wanted_claims()?;
                    claims.iter().map(|name| (name.clone(), wanted.want_json(name))).collect()
                }
            },
        })
    }

    /// Whether it tells of the body of this request.
    pub(super) fn needs_body(&self, exchange: &Exchange) -> bool {
        self.body || (self.parsed_body && is_json(exchange))
    }

    /// The document, a JSON object. `body` is there if it is needed.
    pub(super) fn write(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"request\":{\"http\":{");
        write_head(exchange, out);
        self.write_body(exchange, out);
        if self.captures {
            write_captures(exchange, out);
        }
        out.extend_from_slice(b"}},\"client_ip\":");
        string(out, exchange.client.ip.to_string().as_bytes());
        if let Some(matched) = exchange.matched.as_deref() {
            if let Some(service) = matched.service_json.as_deref().filter(|_| self.service) {
                member(out, "service", service.as_bytes());
            }
            if self.route {
                member(out, "route", matched.route_json.as_bytes());
            }
        }
        if let Some(consumer) = exchange.identity.consumer().filter(|_| self.consumer) {
            write_consumer(consumer, out);
        }
        if !self.claims.is_empty() {
            out.extend_from_slice(b",\"claims\":");
            self.write_claims(exchange, out);
        }
        out.push(b'}');
    }

    /// The claims that the caller's token has, an object.
    pub(super) fn write_claims(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let claims = exchange.identity.claims.as_deref();
        let known = self.claims.iter().filter_map(|(name, number)| Some((name, claims?.json(*number)?)));
        out.push(b'{');
        for (index, (name, value)) in known.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(out, name.as_bytes());
            out.push(b':');
            write_json(value, out);
        }
        out.push(b'}');
    }

    fn write_body(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let body = exchange.body.as_deref().unwrap_or_default();
        if self.body {
            out.extend_from_slice(b",\"body\":");
            string(out, body);
            member(out, "body_size", body.len().to_string().as_bytes());
        }
        if self.parsed_body
            && is_json(exchange)
            && !is_deep(body)
            && let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(body)
        {
            out.extend_from_slice(b",\"parsed_body\":");
            write_json(&parsed, out);
        }
    }
}

fn write_head(exchange: &Exchange, out: &mut Vec<u8>) {
    let request = &exchange.request;
    let (host, _) = target::split_host_port(likeness::host(exchange));
    out.extend_from_slice(b"\"host\":");
    string(out, &host.to_ascii_lowercase());
    out.extend_from_slice(b",\"port\":");
    string(out, exchange.client.local.port().to_string().as_bytes());
    out.extend_from_slice(b",\"tls\":{");
    if let Some(tls) = &exchange.client.tls {
        let (word, reason) = tls.client_verify();
        out.extend_from_slice(b"\"version\":");
        string(out, tls.version.as_bytes());
        out.extend_from_slice(b",\"cipher\":");
        string(out, tls.cipher.as_bytes());
        out.extend_from_slice(b",\"client_verify\":");
        string(out, [word, reason].concat().as_bytes());
        if let Some(name) = &tls.server_name {
            out.extend_from_slice(b",\"requested_server_name\":");
            string(out, name.as_bytes());
        }
    }
    out.extend_from_slice(b"},\"method\":");
    string(out, request.method.as_str().as_bytes());
    out.extend_from_slice(b",\"scheme\":");
    string(out, exchange.scheme.as_str().as_bytes());
    out.extend_from_slice(b",\"path\":");
    string(out, &exchange.normalized_path);
    out.extend_from_slice(b",\"querystring\":");
    write_arguments(request.query().unwrap_or_default(), out);
    out.extend_from_slice(b",\"headers\":");
    headers_object(&request.headers, Credentials::Shown, out);
}

/// Arguments by name: text, `true` for one without `=`, and a list for one that is given several times.
fn write_arguments(query: &[u8], out: &mut Vec<u8>) {
    let mut arguments: BTreeMap<Text<'_>, Vec<Option<Text<'_>>>> = BTreeMap::new();
    for pair in target::query_pairs(query, usize::MAX) {
        arguments.entry(decoded(pair.name)).or_default().push(pair.value.map(decoded));
    }
    out.push(b'{');
    for (index, (name, values)) in arguments.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        write_values(values, out, |value, out| match value {
            Some(value) => string(out, value),
            None => out.extend_from_slice(b"true"),
        });
    }
    out.push(b'}');
}

/// The only value, or a list.
fn write_values<T>(values: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    match values {
        [value] => write(value, out),
        _ => write_list(values, out, write),
    }
}

fn write_list<T>(values: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(value, out);
    }
    out.push(b']');
}

/// What the groups have captured, by name and in their order. One that took no part is null.
fn write_captures(exchange: &Exchange, out: &mut Vec<u8>) {
    let captures = &exchange.captures;
    let captured = |group: &usize, out: &mut Vec<u8>| match captures.index(*group) {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    };
    out.extend_from_slice(b",\"uri_captures\":{\"named\":{");
    let names = captures.names.as_deref().unwrap_or_default().iter().enumerate();
    let named = names.filter_map(|(group, name)| Some((group, name.as_deref()?)));
    for (index, (group, name)) in named.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name.as_bytes());
        out.push(b':');
        captured(&group, out);
    }
    out.extend_from_slice(b"},\"unnamed\":");
    let groups: Vec<usize> = (1..captures.groups.len()).collect();
    write_list(&groups, out, captured);
    out.push(b'}');
}

fn write_consumer(consumer: &Consumer, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"consumer\":{\"id\":");
    string(out, consumer.id.to_string().as_bytes());
    for (name, value) in [("username", &consumer.username), ("custom_id", &consumer.custom_id)] {
        if let Some(value) = value {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            string(out, value.as_bytes());
        }
    }
    if let Some(tags) = &consumer.tags {
        out.extend_from_slice(b",\"tags\":");
        write_list(tags, out, |tag, out| string(out, tag.as_bytes()));
    }
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, name: &str, json: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json);
}

fn write_json(value: &serde_json::Value, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
}

fn is_json(exchange: &Exchange) -> bool {
    let content_type = exchange.request.headers.known(Known::ContentType).unwrap_or_default();
    media::essence(content_type).eq_ignore_ascii_case(b"application/json")
}

/// Whether lists and objects are nested more deeply than is told. Looks at brackets alone, so it is for any text.
fn is_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
