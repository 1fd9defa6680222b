//! The last good responses, one store for all breakers: bounded in bytes, the least recently used going first.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;
use bytes::Bytes;
use plugin::collect::{Body, Budget, dependencies, repeatable};
use plugin::lru::Lru;
use plugin::{Access, HeaderFilter, Headers, Known, Method, media};

const SHARDS: usize = 8;
/// Bytes of all responses together.
const CAPACITY: usize = 32 << 20;
/// Bytes of the largest response kept.
const LARGEST: usize = 1 << 20;
/// Bytes of responses on their way in.
const MOST_IN_FLIGHT: usize = 16 << 20;
/// What a response costs beyond its bytes.
const OVERHEAD: usize = 512;
/// Request fields that a response may depend on without being left out. They are part of the key, the secret ones
/// included: nobody gets what was meant for another.
const DEPENDED_ON: [&str; 6] =
    ["accept", "accept-encoding", "accept-language", "authorization", "cookie", "origin"];

/// What is said of a response that is not to be given out once more, or not when it is no longer fresh (RFC 9111 4.2.4): a
/// fallback has nobody to ask whether it still holds.
const KEEP_OFF: [&str; 6] =
    ["no-store", "private", "no-cache", "must-revalidate", "proxy-revalidate", "s-maxage"];

/// All that a response may depend on, each part behind its length.
pub type Key = Box<[u8]>;

/// A stored response.
pub struct Stored {
    /// Its status code.
    pub status: u16,
    /// Fields worth repeating.
    pub headers: Headers,
    /// The whole body.
    pub body: Bytes,
    /// When it came, by a clock that nobody sets.
    pub stored_ms: u64,
}

/// The responses.
pub struct Store {
    shards: [Mutex<Lru<Key, Stored>>; SHARDS],
    hasher: RandomState,
    incoming: Arc<Budget>,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        let incoming = Arc::new(Budget::new(MOST_IN_FLIGHT));
        Self { shards: Default::default(), hasher: RandomState::new(), incoming }
    }

    /// The response under `key`.
    pub fn find(&self, key: &Key) -> Option<Arc<Stored>> {
        self.with(key, |lru| lru.find(key))
    }

    fn put(&self, key: Key, stored: Stored) {
        let fields: usize = stored.headers.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        let cost = key.len() + fields + stored.body.len() + OVERHEAD;
        self.with(&key.clone(), |lru| lru.put(key, Arc::new(stored), cost, CAPACITY / SHARDS));
    }

    fn with<T>(&self, key: &Key, run: impl FnOnce(&mut Lru<Key, Stored>) -> T) -> T {
        let shard = &self.shards[self.hasher.hash_one(key) as usize % SHARDS];
        run(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The key of a request; none if its responses are not kept.
pub fn key(cx: &Access<'_>) -> Option<Key> {
    let request = &cx.request;
    if request.method != Method::Get || cx.upstream_method() != Method::Get || cx.body().is_some() {
        return None;
    }
    if has_directive(&request.headers, &["no-store"]) {
        return None;
    }
    let matched = cx.matched.as_ref()?;
    let mut key = Vec::with_capacity(256);
    let mut part = |bytes: &[u8]| {
        key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        key.extend_from_slice(bytes);
    };
    part(matched.route.id.as_bytes());
    let credential = cx.identity.credential().map(|credential| credential.id);
    for id in [cx.identity.consumer_id(), credential] {
        part(id.as_ref().map_or(&[][..], |id| id.as_bytes()));
    }
    part(request.host().unwrap_or_default());
    part(request.target());
    part(&cx.upstream.path);
    part(&cx.upstream.query);
    dependencies(cx, &mut part);
    for name in DEPENDED_ON {
        for value in request.headers.all(name) {
            part(value);
        }
        part(name.as_bytes());
    }
    Some(key.into_boxed_slice())
}

/// A response of which the head is known and the body is on its way.
pub struct Keeping {
    key: Key,
    stored: Stored,
    body: Body,
    store: Arc<Store>,
}

impl Keeping {
    /// Begins to keep a response, if it is a good one that others may get.
    pub fn begin(cx: &HeaderFilter<'_>, key: Key, store: &Arc<Store>, now: u64) -> Option<Self> {
        let response = &cx.response;
        if response.status != 200 || !may_be_kept(&response.headers) {
            return None;
        }
        let stored = Stored {
            status: response.status,
            headers: repeatable(&response.headers, false),
            body: Bytes::new(),
            stored_ms: now,
        };
        let length = response.headers.known(Known::ContentLength);
        let body = Body::new(length, LARGEST, store.incoming.clone())?;
        Some(Self { key, stored, body, store: store.clone() })
    }

    /// Takes a piece; false if it has become too large.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        self.body.push(piece)
    }

    /// Stores the response, unless it is shorter than announced.
    pub fn finish(self) {
        if let Some(body) = self.body.finish() {
            self.store.put(self.key, Stored { body, ..self.stored });
        }
    }
}

/// Whether a response says nothing against being given out once more.
fn may_be_kept(headers: &Headers) -> bool {
    let varies = headers.known_all(Known::Vary).flat_map(media::list).any(|name| {
        !DEPENDED_ON.iter().any(|known| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
    });
    !varies && !has_directive(headers, &KEEP_OFF) && !headers.contains_known(Known::SetCookie)
}

fn has_directive(headers: &Headers, wanted: &[&str]) -> bool {
    headers.known_all(Known::CacheControl).flat_map(media::list).any(|one| {
        let name = one.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        wanted.iter().any(|directive| name.eq_ignore_ascii_case(directive.as_bytes()))
    })
}
