//! A response on its way into the store.

use std::sync::Arc;

use plugin::collect::Body;

use super::key::Key;
use super::store::{Edition, Entry, LARGEST, Store};

/// A response of which the head is known. Nothing is stored before its body is there.
pub struct Collecting {
    key: Key,
    edition: Edition,
    entry: Entry,
    body: Body,
    store: Arc<Store>,
}

impl Collecting {
    /// Begins with no piece; `None` if the response is larger than what is kept, by its `Content-Length`.
    pub fn new(
        (key, edition): (Key, Edition),
        entry: Entry,
        content_length: Option<&[u8]>,
        store: Arc<Store>,
    ) -> Option<Self> {
        let body = Body::new(content_length, LARGEST, store.incoming.clone())?;
        Some(Self { key, edition, entry, body, store })
    }

    /// Takes a piece; false if the response has become too large or there are too many at once.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        self.body.push(piece)
    }

    /// Stores the response, unless it is shorter than announced or has been made untrue meanwhile.
    pub fn store(self) {
        if let Some(body) = self.body.finish() {
            self.store.put(self.key, self.edition, Entry { body, ..self.entry });
        }
    }
}
