//! Which requests are alike, for rooms that ask somebody about one and let the answer hold for those like it.

use std::net::IpAddr;

use wire::Headers;
use wire::Known;

use crate::exchange::Exchange;
use crate::remember::KeyParts;

/// The names that [`Trait::named`] knows, for messages.
pub const NAMES: &str = "method, scheme, host, path, query, ip and header:NAME";

/// Something that requests may have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trait {
    /// The method.
    Method,
    /// The scheme.
    Scheme,
    /// The host that was asked for.
    Host,
    /// The path in its normal form, as routes are chosen by it.
    Path,
    /// The query, as received.
    Query,
    /// The client's address.
    Address,
    /// All values of a header field.
    Header(Box<str>),
}

impl Trait {
    /// The one with this name in configurations.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "method" => Self::Method,
            "scheme" => Self::Scheme,
            "host" => Self::Host,
            "path" => Self::Path,
            "query" => Self::Query,
            "ip" => Self::Address,
            _ => {
                let header = name.strip_prefix("header:")?;
                Self::Header(header.into()).checked()?
            }
        })
    }

    fn checked(self) -> Option<Self> {
        match &self {
            Self::Header(name) if !Headers::new().set(name, b"1") => None,
            _ => Some(self),
        }
    }

    /// Adds what the request has of it to `key`.
    pub fn add(&self, key: &mut KeyParts, exchange: &Exchange) {
        let request = &exchange.request;
        match self {
            Self::Method => key.add(request.method.as_str().as_bytes()),
            Self::Scheme => key.add(exchange.scheme.as_str().as_bytes()),
            Self::Host => key.add(host(exchange)),
            Self::Path => key.add(&exchange.normalized_path),
            Self::Query => {
                // `/a` and `/a?` are not the same.
                key.add(if request.query().is_some() { b"?" } else { b"" });
                key.add(request.query().unwrap_or_default());
            }
            Self::Address => match exchange.client.ip {
                IpAddr::V4(address) => key.add(&address.octets()),
                IpAddr::V6(address) => key.add(&address.octets()),
            },
            Self::Header(name) => {
                let mut count = 0_u64;
                for value in request.headers.all(name) {
                    key.add(value);
                    count += 1;
                }
                key.add(&count.to_le_bytes());
            }
        }
    }
}

/// The host that the client asked for, or that a trusted proxy says it asked for.
#[must_use]
pub fn host(exchange: &Exchange) -> &[u8] {
    let announced = exchange.request.headers.known(Known::XForwardedHost).filter(|_| exchange.client.trusted);
    announced.or_else(|| exchange.request.host()).unwrap_or_default()
}
