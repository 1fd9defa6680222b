//! What the service is told about a request, and which requests are alike.

use plugin::likeness::{self, Trait};
use plugin::model::path;
use plugin::outbound::Call;
use plugin::remember::{Digest, KeyParts};
use plugin::{Build, BuildError, Exchange, Headers, Known, Method};

use super::Config;

/// What a question is made of.
pub(super) struct Basis {
    /// What all keys begin with: other rules, other decisions.
    begin: KeyParts,
    method: Method,
    request_headers: Box<[String]>,
    likeness: Box<[Trait]>,
}

impl Basis {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut likeness = Vec::new();
        for name in &config.cache.by {
            if name == "headers" {
                likeness
                    .extend(config.request_headers.iter().map(|name| Trait::Header(name.as_str().into())));
            } else {
                likeness.push(Trait::named(name).ok_or_else(|| unknown(name))?);
            }
        }
        let mut begin = KeyParts::default();
        begin.add(cx.row.config.to_string().as_bytes());
        Ok(Self {
            begin,
            method: Method::from_bytes(config.method.as_bytes()).unwrap_or_default(),
            request_headers: config.request_headers.clone().into(),
            likeness: likeness.into(),
        })
    }

    /// The same for requests for which one decision is enough.
    pub(super) fn key(&self, exchange: &Exchange) -> Digest {
        let mut key = self.begin.clone();
        self.likeness.iter().for_each(|one| one.add(&mut key, exchange));
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
        headers.set_known(Known::XForwardedHost, likeness::host(exchange));
        // In the form in which it was matched and goes to the upstream: who decides about `/public/../admin` is to see `/admin`.
        let mut scratch = Vec::new();
        let mut uri = path::escape(&exchange.normalized_path, &mut scratch).to_vec();
        if let Some(query) = request.query() {
            uri.push(b'?');
            uri.extend_from_slice(query);
        }
        headers.set("X-Forwarded-Uri", &uri);
        headers.set_known(Known::XForwardedFor, exchange.client.ip.to_string().as_bytes());
        Call { method: self.method, headers, body: Default::default(), repeatable: true }
    }
}

fn unknown(name: &str) -> BuildError {
    BuildError::new("config.cache.by", format!("'{name}' is none of headers, {}", likeness::NAMES))
}
