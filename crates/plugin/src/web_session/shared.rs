//! Sessions in a place that gateways share, a Redis or a memcached, found by a digest of the id that their cookies hold, and
//! sealed like cookies: whoever reads them there learns nothing, and whoever writes there makes none.
//!
//! Only `access` may wait, so a room fetches a session there before it opens it, and keeps what has changed before the
//! response is made; `header_filter` writes the cookie alone.

use std::time::Duration;

use super::keeping::Keeping;
use super::listing::{self, Entry};
use super::session::Session;
use super::{Change, Opened, Place, Sessions};
use crate::exchange::Exchange;
use crate::shared::{Unavailable, Values};

/// Where sessions are.
#[derive(Clone)]
pub struct Shared {
    /// The place.
    pub values: Values,
    /// What keys begin with, before a colon.
    pub prefix: String,
}

impl Shared {
    pub(super) fn key(&self, id: &[u8; 32]) -> Vec<u8> {
        format!("{}:session:{}", self.prefix, listing::digest_of(id)).into_bytes()
    }

    fn key_of_list(&self, audience: &str, subject: &str) -> Vec<u8> {
        format!("{}:subject:{}", self.prefix, listing::name(audience, subject)).into_bytes()
    }
}

/// Whether what there is of a session is one that has not ended.
type Judge = Box<dyn Fn(&[u8]) -> bool + Send>;

/// A session to be fetched, as the cookies of a request name it.
pub struct Fetching {
    pub(super) shared: Shared,
    pub(super) worker: usize,
    /// Of the first cookie and of the one that remembers.
    pub(super) keys: [Option<Vec<u8>>; 2],
    /// Whether what there is of the first is good; asked only where there is a second.
    is_good: Judge,
}

/// What the place has of the session of a request.
#[derive(Debug, Clone, Default)]
pub struct Fetched(pub(super) [Option<Vec<u8>>; 2]);

impl Fetching {
    /// Fetches it; the second cookie's is asked for only where there is no good one of the first.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn settle(self) -> Result<Fetched, Unavailable> {
        let mut fetched = Fetched::default();
        for (found, key) in fetched.0.iter_mut().zip(&self.keys) {
            if let Some(key) = key {
                *found = self.shared.values.read(self.worker, key).await?;
            }
            if found.as_deref().is_some_and(|content| self.keys[1].is_none() || (self.is_good)(content)) {
                break;
            }
        }
        Ok(fetched)
    }
}

/// What has to be done there about a session.
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
    /// In place of what is there; what has ended does not come back, and what was made to end does so all the same.
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
    List {
        key: Vec<u8>,
        added: Vec<Entry>,
        removed: Vec<String>,
        now: u64,
    },
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

    fn list(&mut self, audience: &str, subject: &str, (added, removed): (Vec<Entry>, Vec<String>), now: u64) {
        let key = self.shared.key_of_list(audience, subject);
        self.list.push(Chore::List { key, added, removed, now });
    }

    /// Does it all, in order. False if the session has ended meanwhile, so that what would come after it is left undone.
    ///
    /// # Errors
    /// When the place does not answer; some of it may have been done.
    pub async fn settle(self) -> Result<bool, Unavailable> {
        let (values, worker) = (&self.shared.values, self.worker);
        for chore in &self.list {
            let goes_on = match chore {
                Chore::Write { key, value, lifetime } => {
                    values.write(worker, key, value.as_bytes(), *lifetime).await.map(|()| true)
                }
                Chore::Replace { key, value, lifetime } => {
                    values.replace(worker, key, value.as_bytes(), *lifetime).await
                }
                Chore::Shorten { key, lifetime } => values.shorten(worker, key, *lifetime).await,
                Chore::Delete(key) => values.delete(worker, key).await.map(|()| true),
                Chore::List { key, added, removed, now } => {
                    let change = |before: Option<&[u8]>| listing::changed(before, added, removed, *now);
                    if values.change(worker, key, change).await.is_err() {
                        tracing::warn!(
                            "a session is missing in the list of those of its subject, or too much there"
                        );
                    }
                    Ok(true)
                }
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
        let Place::Shared(shared) = &self.place else { return None };
        let id = |keeping: &Keeping| self.id(keeping, exchange);
        let ids = [id(&self.first), self.remember.as_ref().and_then(id)];
        let (sealer, timeouts, now) =
            (self.sealer.clone(), self.first.timeouts, exchange.record.started_ms / 1000);
        let context = ids[0].map(|id| self.first.context_of_stored(&id)).unwrap_or_default();
        let is_good = move |content: &[u8]| {
            let session = sealer.open(&context, content).and_then(|plain| Session::from_bytes(&plain));
            session.is_some_and(|session| timeouts.allow(&session, now))
        };
        ids.iter().any(Option::is_some).then(|| Fetching {
            shared: shared.clone(),
            worker: exchange.worker.index,
            keys: ids.map(|id| id.map(|id| shared.key(&id))),
            is_good: Box::new(is_good),
        })
    }

    /// What has to be done where sessions are, before the response is made, so that the session can be saved; none where there is
    /// nothing.
    #[must_use]
    pub fn keeping(&self, opened: &mut Opened, exchange: &Exchange) -> Option<Chores> {
        let Place::Shared(shared) = &self.place else { return None };
        if opened.change == Change::Nothing {
            return None;
        }
        let now = exchange.record.started_ms / 1000;
        let mut chores = Chores::new(shared, exchange.worker.index);
        let (session, first) = (&opened.session, &self.first);
        let (value, lifetime) = (self.sealed(first, session)?, lifetime(first, session, now));
        match opened.change {
            Change::Used => {
                // An old id that goes on for a moment only does not become a good one again.
                chores.replace(&session.id, value, lifetime);
                self.list(&mut chores, [(first, session)].into_iter(), Vec::new(), now);
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
        let removed = match opened.change {
            Change::Renewed(old) => Some(old),
            _ => opened.remembered.as_ref().map(|before| before.id),
        };
        let removed = removed.iter().map(listing::digest_of).collect();
        if let Some(remember) = remember {
            let next = opened.to_remember(now)?;
            chores.write(&next.id, self.sealed(remember, &next)?, self::lifetime(remember, &next, now));
            let both = [(first, session), (remember, &next)];
            self.list(&mut chores, both.into_iter(), removed, now);
            opened.next_remembered = Some(next);
        } else {
            self.list(&mut chores, [(first, session)].into_iter(), removed, now);
        }
        Some(chores)
    }

    /// What has to be deleted for the session to end; none where there is nothing.
    #[must_use]
    pub fn ending(&self, opened: &Opened, exchange: &Exchange) -> Option<Chores> {
        let Place::Shared(shared) = &self.place else { return None };
        let mut chores = Chores::new(shared, exchange.worker.index);
        let ids: Vec<_> = self.ids(opened, exchange).collect();
        ids.iter().for_each(|id| chores.delete(id));
        let removed = ids.iter().map(listing::digest_of).collect();
        if self.lists {
            let now = exchange.record.started_ms / 1000;
            chores.list(&self.audience, &opened.session.subject, (Vec::new(), removed), now);
        }
        Some(chores)
    }

    /// Has the list of the subject say which sessions there are.
    fn list<'a>(
        &self,
        chores: &mut Chores,
        sessions: impl Iterator<Item = (&'a Keeping, &'a Session)>,
        removed: Vec<String>,
        now: u64,
    ) {
        if !self.lists {
            return;
        }
        let mut subject = "";
        let mut entry = |(keeping, session): (&Keeping, &'a Session)| {
            subject = &session.subject;
            let ends = keeping.timeouts.left_unused(session, now).map(|left| now.saturating_add(left));
            Entry(listing::digest_of(&session.id), session.created, ends)
        };
        let added = sessions.map(&mut entry).collect();
        chores.list(&self.audience, subject, (added, removed), now);
    }
}

/// Seconds that a session goes on unless it is used; in the last one, it is good, too.
fn lifetime(keeping: &Keeping, session: &Session, now: u64) -> Option<u64> {
    keeping.timeouts.left_unused(session, now).map(|left| left.saturating_add(1))
}
