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

use super::keeping::Keeping;
use super::session::Session;
use super::{Change, Opened, Place, Sessions};
use crate::exchange::Exchange;
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

impl Sessions {
    /// What has to be fetched before the session of the request can be opened; none if that can be done at once.
    #[must_use]
    pub fn fetching(&self, exchange: &Exchange) -> Option<Fetching> {
        let Place::Redis(shared) = &self.place else { return None };
        let key = |keeping: &Keeping| self.id(keeping, exchange).map(|id| shared.key(&id));
        let keys = [key(&self.first), self.remember.as_ref().and_then(key)];
        let worker = exchange.worker.index;
        keys.iter().any(Option::is_some).then(|| Fetching { shared: shared.clone(), worker, keys })
    }

    /// What has to be done in Redis, before the response is made, so that the session can be saved; none where there is
    /// nothing.
    #[must_use]
    pub fn keeping(&self, opened: &mut Opened, exchange: &Exchange) -> Option<Chores> {
        let Place::Redis(shared) = &self.place else { return None };
        if opened.change == Change::Nothing {
            return None;
        }
        let now = exchange.record.started_ms / 1000;
        let mut chores = Chores::new(shared, exchange.worker.index);
        let (session, first) = (&opened.session, &self.first);
        let (value, lifetime) = (self.sealed(first, session)?, lifetime(first, session, now));
        match opened.change {
            Change::Used => {
                chores.replace(&session.id, value, lifetime);
                return Some(chores);
            }
            Change::Renewed(old) => chores.shorten(&old, self.stale_ttl),
            Change::New | Change::Nothing => {}
        }
        let remember = self.remember.as_ref().filter(|_| opened.change == Change::New);
        if let (Some(_), Some(before)) = (remember, &opened.remembered) {
            chores.shorten(&before.id, self.stale_ttl);
        }
        chores.write(&session.id, value, lifetime);
        if let Some(remember) = remember {
            let next = opened.to_remember(now)?;
            chores.write(&next.id, self.sealed(remember, &next)?, self::lifetime(remember, &next, now));
            opened.next_remembered = Some(next);
        }
        Some(chores)
    }

    /// What has to be deleted in Redis for the session to end; none where there is nothing.
    #[must_use]
    pub fn ending(&self, opened: &Opened, exchange: &Exchange) -> Option<Chores> {
        let Place::Redis(shared) = &self.place else { return None };
        let mut chores = Chores::new(shared, exchange.worker.index);
        self.ids(opened, exchange).for_each(|id| chores.delete(&id));
        Some(chores)
    }

    /// A session as Redis gets it: good under its own key and for its own cookie alone.
    fn sealed(&self, keeping: &Keeping, session: &Session) -> Option<String> {
        self.sealer.seal(&keeping.context_of_stored(&session.id), &session.to_bytes())
    }
}

/// Seconds that a session goes on unless it is used; in the last one, it is good, too.
fn lifetime(keeping: &Keeping, session: &Session, now: u64) -> Option<u64> {
    keeping.timeouts.left_unused(session, now).map(|left| left.saturating_add(1))
}
