//! What keeps a client on its target: the keys of consistent hashing, and cookies.

use std::net::IpAddr;

use model::entity::Upstream;
use plugin::Exchange;
use plugin::guard::Guard;
use smallvec::SmallVec;
use wire::Known;

use super::hashing::Hash;

/// What a pick may look at.
pub struct Asker<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The request; none on layer 4.
    pub exchange: Option<&'a Exchange>,
}

/// The keys of consistent hashing: the first that a request has is its own.
#[derive(Debug)]
pub(super) struct Keys {
    on: Key,
    fallback: Key,
    cookie: Option<Cookie>,
}

/// Something about a request (`hash_on`, `hash_fallback`).
#[derive(Debug)]
enum Key {
    None,
    Consumer,
    Ip,
    Header(Box<str>),
    Cookie,
    Path,
    QueryArg(Box<str>),
    UriCapture(Box<str>),
}

/// A cookie that the gateway sets.
#[derive(Debug)]
pub(super) struct Cookie {
    name: Box<str>,
    /// What follows its value.
    attributes: Box<str>,
}

impl<'a> Asker<'a> {
    /// Who has a say in which addresses the request may go to.
    #[inline]
    pub(super) fn guard(&self) -> Option<(&'a dyn Guard, &'a Exchange)> {
        let exchange = self.exchange?;
        exchange.guard.as_deref().map(|guard| (guard, exchange))
    }
}

impl Keys {
    /// What `upstream` says.
    pub(super) fn of(upstream: &Upstream) -> Self {
        let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
        let key = |input: &str, header, query_arg, uri_capture| match input {
            "consumer" => Key::Consumer,
            "ip" => Key::Ip,
            "header" => Key::Header(text(header)),
            "cookie" => Key::Cookie,
            "path" => Key::Path,
            "query_arg" => Key::QueryArg(text(query_arg)),
            "uri_capture" => Key::UriCapture(text(uri_capture)),
            _ => Key::None,
        };
        let on = key(
            &upstream.hash_on,
            &upstream.hash_on_header,
            &upstream.hash_on_query_arg,
            &upstream.hash_on_uri_capture,
        );
        let fallback = key(
            &upstream.hash_fallback,
            &upstream.hash_fallback_header,
            &upstream.hash_fallback_query_arg,
            &upstream.hash_fallback_uri_capture,
        );
        let cookie = upstream.hash_on_cookie.as_deref();
        let cookie = cookie.map(|name| Cookie::new(name, &upstream.hash_on_cookie_path));
        Self { on, fallback, cookie }
    }

    /// The hash of the request's key; that of nothing where it has none. A cookie that is asked for and absent is made
    /// up, and left in `set_cookie`.
    pub(super) fn hash(&self, asker: &Asker<'_>, set_cookie: &mut Vec<u8>) -> u64 {
        let mut hash = Hash::default();
        let _found = self.enter(&self.on, asker, set_cookie, &mut hash)
            || self.enter(&self.fallback, asker, set_cookie, &mut hash);
        hash.finish()
    }

    /// Enters what the request has for `key`. Whether it has any.
    fn enter(&self, key: &Key, asker: &Asker<'_>, set_cookie: &mut Vec<u8>, hash: &mut Hash) -> bool {
        match (key, asker.exchange) {
            (Key::Ip, _) => {
                match asker.client {
                    IpAddr::V4(address) => hash.write(&address.octets()),
                    IpAddr::V6(address) => hash.write(&address.octets()),
                }
                true
            }
            (Key::None, _) | (_, None) => false,
            (Key::Consumer, Some(exchange)) => {
                let identity = &exchange.identity;
                let id =
                    identity.consumer_id().or_else(|| identity.credential().map(|credential| credential.id));
                hash.write_if(id.as_ref().map(|id| id.as_bytes().as_slice()))
            }
            (Key::Header(name), Some(exchange)) => hash.write_all(exchange.request.headers.all(name)),
            (Key::Path, Some(exchange)) => hash.write_if(Some(&exchange.normalized_path)),
            (Key::QueryArg(name), Some(exchange)) => {
                let query = exchange.request.query().unwrap_or_default();
                let mut values: SmallVec<[_; 4]> = plugin::query::values(query, name).collect();
                values.sort_unstable();
                hash.write_all(values.iter().map(AsRef::as_ref))
            }
            (Key::UriCapture(name), Some(exchange)) => {
                let captures = &exchange.captures;
                let numbered = || name.parse().ok().and_then(|number| captures.index(number));
                hash.write_if(captures.name(name).or_else(numbered))
            }
            (Key::Cookie, Some(exchange)) => {
                let Some(cookie) = &self.cookie else { return false };
                if let Some(value) = cookie.value(exchange) {
                    return hash.write_if(Some(value));
                }
                // An attempt after the first has its value already.
                if set_cookie.is_empty() {
                    let mut text = uuid::Uuid::encode_buffer();
                    let value = exchange.worker.uuid().hyphenated().encode_lower(&mut text);
                    cookie.set(value.as_bytes(), set_cookie);
                }
                hash.write_if(cookie.value_set(set_cookie))
            }
        }
    }
}

impl Cookie {
    /// A cookie for everything below `path`.
    pub(super) fn new(name: &str, path: &str) -> Self {
        Self { name: name.into(), attributes: format!("; Path={path}; SameSite=Lax; HttpOnly").into() }
    }

    /// Its value in a request.
    pub(super) fn value<'a>(&self, exchange: &'a Exchange) -> Option<&'a [u8]> {
        let mut lines = exchange.request.headers.known_all(Known::Cookie);
        lines.find_map(|line| wire::media::cookie(line, &self.name))
    }

    /// Writes the field value of `Set-Cookie`.
    pub(super) fn set(&self, value: &[u8], out: &mut Vec<u8>) {
        out.clear();
        for part in [self.name.as_bytes(), b"=", value, self.attributes.as_bytes()] {
            out.extend_from_slice(part);
        }
    }

    /// The value in what [`Self::set`] has written.
    fn value_set<'a>(&self, field: &'a [u8]) -> Option<&'a [u8]> {
        field.get(self.name.len() + 1..field.len().checked_sub(self.attributes.len())?)
    }
}
