//! Sessions in Redis, found by a digest of the id that their cookies hold, and sealed like cookies: whoever reads them
//! there learns nothing, and whoever writes there makes none.
//!
//! Only `access` may wait, so a room fetches a session there before it opens it, and keeps what has changed before the
//! response is made; `header_filter` writes the cookie alone.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::redis::{Store, Unavailable};

/// Where sessions are in Redis.
#[derive(Clone)]
pub struct Shared {
    /// The servers.
    pub store: Arc<Store>,
    /// What keys begin with, before a colon.
    pub prefix: String,
}

impl Shared {
    pub(super) fn key(&self, id: &[u8; 32]) -> Vec<u8> {
        let digest = URL_SAFE_NO_PAD.encode(digest(&SHA256, id));
        format!("{}:session:{digest}", self.prefix).into_bytes()
    }
}

/// A session to be fetched, as the cookies of a request name it.
pub struct Fetching {
    pub(super) shared: Shared,
    pub(super) worker: usize,
    /// Of the first cookie and of the one that remembers.
    pub(super) keys: [Option<Vec<u8>>; 2],
}

/// What Redis has of the session of a request.
#[derive(Debug, Clone, Default)]
pub struct Fetched(pub(super) [Option<Vec<u8>>; 2]);

impl Fetching {
    /// Fetches it; the second cookie's is asked for only where there is none of the first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn settle(self) -> Result<Fetched, Unavailable> {
        let mut fetched = Fetched::default();
        for (found, key) in fetched.0.iter_mut().zip(&self.keys) {
            if let Some(key) = key {
                *found = self.shared.store.read(self.worker, key).await?;
            }
            if found.is_some() {
                break;
            }
        }
        Ok(fetched)
    }
}

/// What has to be done in Redis about a session.
pub struct Chores {
    shared: Shared,
    worker: usize,
    list: Vec<Chore>,
}

enum Chore {
    Write {
        key: Vec<u8>,
        value: String,
        lifetime: Option<Duration>,
    },
    /// In place of what is there; what has ended does not come back.
    Replace {
        key: Vec<u8>,
        value: String,
        lifetime: Option<Duration>,
    },
    /// What takes its place is written only if it is there.
    Shorten {
        key: Vec<u8>,
        lifetime: Duration,
    },
    Delete(Vec<u8>),
}

impl Chores {
    pub(super) fn new(shared: &Shared, worker: usize) -> Self {
        Self { shared: shared.clone(), worker, list: Vec::new() }
    }

    pub(super) fn write(&mut self, id: &[u8; 32], value: String, seconds: Option<u64>) {
        let (key, lifetime) = (self.shared.key(id), seconds.map(Duration::from_secs));
        self.list.push(Chore::Write { key, value, lifetime });
    }

    pub(super) fn replace(&mut self, id: &[u8; 32], value: String, seconds: Option<u64>) {
        let (key, lifetime) = (self.shared.key(id), seconds.map(Duration::from_secs));
        self.list.push(Chore::Replace { key, value, lifetime });
    }

    pub(super) fn shorten(&mut self, id: &[u8; 32], seconds: u64) {
        let (key, lifetime) = (self.shared.key(id), Duration::from_secs(seconds));
        self.list.push(Chore::Shorten { key, lifetime });
    }

    pub(super) fn delete(&mut self, id: &[u8; 32]) {
        let key = self.shared.key(id);
        self.list.push(Chore::Delete(key));
    }

    /// Does it all, in order. False if the session has ended meanwhile, so that what would come after it is left undone.
    ///
    /// # Errors
    /// When Redis does not answer; some of it may have been done.
    pub async fn settle(self) -> Result<bool, Unavailable> {
        let (store, worker) = (&self.shared.store, self.worker);
        for chore in &self.list {
            let goes_on = match chore {
                Chore::Write { key, value, lifetime } => {
                    store.write(worker, key, value.as_bytes(), *lifetime).await.map(|()| true)
                }
                Chore::Replace { key, value, lifetime } => {
                    store.replace(worker, key, value.as_bytes(), *lifetime).await
                }
                Chore::Shorten { key, lifetime } => store.shorten(worker, key, *lifetime).await,
                Chore::Delete(key) => store.delete(worker, key).await.map(|()| true),
            };
            if !goes_on? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
