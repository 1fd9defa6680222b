//! A response on its way into the store.

use std::sync::Arc;

use bytes::Bytes;

use super::key::Key;
use super::store::{Entry, LARGEST, Store};

/// The pieces of a body seen so far. Nothing is stored before all of them are there.
pub struct Collecting {
    key: Key,
    entry: Option<Entry>,
    body: Vec<u8>,
    expected: Option<usize>,
    store: Arc<Store>,
}

impl Collecting {
    /// Begins with no piece; `None` if the response is larger than what is kept, by its `Content-Length`.
    pub fn new(key: Key, entry: Entry, content_length: Option<&[u8]>, store: Arc<Store>) -> Option<Self> {
        let expected = match content_length {
            Some(text) => Some(std::str::from_utf8(text).ok()?.parse().ok()?),
            None => None,
        };
        let fits = expected.is_none_or(|expected| expected <= LARGEST);
        fits.then(|| Self { key, entry: Some(entry), body: Vec::new(), expected, store })
    }

    /// Takes a piece; false if the response has become too large or there are too many at once.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        if self.body.len() + piece.len() > LARGEST || !self.store.reserve(piece.len()) {
            return false;
        }
        self.body.extend_from_slice(piece);
        true
    }

    /// Stores the response, unless it is shorter than announced.
    pub fn store(mut self: Box<Self>) {
        if self.expected.is_some_and(|expected| expected != self.body.len()) {
            return;
        }
        if let Some(entry) = self.entry.take() {
            self.store.put(self.key, Entry { body: Bytes::copy_from_slice(&self.body), ..entry });
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.store.release(self.body.len());
    }
}
