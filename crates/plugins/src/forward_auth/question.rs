//! What the service is told about a request, and which requests are alike.

use std::net::IpAddr;

use plugin::outbound::Call;
use plugin::remember::{Digest, Parts};
use plugin::{Build, BuildError, Exchange, Headers, Known, Method};

use super::Config;

/// What a question is made of.
pub(super) struct Basis {
    /// Of the configuration: other rules, other decisions.
    fingerprint: Digest,
    method: Method,
    request_headers: Box<[String]>,
    parts: Box<[Part]>,
}

/// What requests may have in common.
enum Part {
    Method,
    Scheme,
    Host,
    Path,
    Query,
    Address,
    Headers,
    Header(String),
}

impl Basis {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let parts = config.cache.by.iter().map(|name| part(name)).collect::<Result<_, _>>()?;
        Ok(Self {
            fingerprint: Digest::of([cx.row.config.to_string().as_bytes()]),
            method: Method::from_bytes(config.method.as_bytes()).unwrap_or_default(),
            request_headers: config.request_headers.clone().into(),
            parts,
        })
    }

    /// The same for requests for which one decision is enough.
    pub(super) fn key(&self, exchange: &Exchange) -> Digest {
        let (mut key, request) = (Parts::default(), &exchange.request);
        key.add(self.fingerprint.as_ref());
        for part in &self.parts {
            match part {
                Part::Method => key.add(request.method.as_str().as_bytes()),
                Part::Scheme => key.add(exchange.scheme.as_str().as_bytes()),
                Part::Host => key.add(host(exchange)),
                Part::Path => key.add(request.path()),
                Part::Query => {
                    // `/a` and `/a?` are not the same.
                    key.add(if request.query().is_some() { b"?" } else { b"" });
                    key.add(request.query().unwrap_or_default());
                }
                Part::Address => match exchange.client.ip {
                    IpAddr::V4(address) => key.add(&address.octets()),
                    IpAddr::V6(address) => key.add(&address.octets()),
                },
                Part::Headers => self.request_headers.iter().for_each(|name| add(&mut key, exchange, name)),
                Part::Header(name) => add(&mut key, exchange, name),
            }
        }
        key.digest()
    }

    /// The question about a request, in the words of Traefik's forward authentication.
    pub(super) fn call(&self, exchange: &Exchange) -> Call {
        let request = &exchange.request;
        let mut headers = Headers::new();
        for name in &self.request_headers {
            for value in request.headers.all(name) {
                headers.append(name, value);
            }
        }
        headers.set("X-Forwarded-Method", request.method.as_str().as_bytes());
        headers.set_known(Known::XForwardedProto, exchange.scheme.as_str().as_bytes());
        headers.set_known(Known::XForwardedHost, host(exchange));
        let mut uri = request.path().to_vec();
        if let Some(query) = request.query() {
            uri.push(b'?');
            uri.extend_from_slice(query);
        }
        headers.set("X-Forwarded-Uri", &uri);
        headers.set_known(Known::XForwardedFor, exchange.client.ip.to_string().as_bytes());
        Call { method: self.method, headers, body: Default::default(), repeatable: true }
    }
}

fn part(name: &str) -> Result<Part, BuildError> {
    Ok(match name {
        "method" => Part::Method,
        "scheme" => Part::Scheme,
        "host" => Part::Host,
        "path" => Part::Path,
        "query" => Part::Query,
        "ip" => Part::Address,
        "headers" => Part::Headers,
        _ => match name.strip_prefix("header:") {
            Some(header) if Headers::new().set(header, b"1") => Part::Header(header.to_owned()),
            _ => {
                let message = format!(
                    "'{name}' is none of method, scheme, host, path, query, ip, headers and header:NAME"
                );
                return Err(BuildError::new("config.cache.by", message));
            }
        },
    })
}

/// Adds all values of a field and how many there are.
fn add(key: &mut Parts, exchange: &Exchange, name: &str) {
    let mut count = 0_u64;
    for value in exchange.request.headers.all(name) {
        key.add(value);
        count += 1;
    }
    key.add(&count.to_le_bytes());
}

/// The host that the client asked for, or that a trusted proxy says it asked for.
fn host(exchange: &Exchange) -> &[u8] {
    let announced = exchange.request.headers.known(Known::XForwardedHost).filter(|_| exchange.client.trusted);
    announced.or_else(|| exchange.request.host()).unwrap_or_default()
}
