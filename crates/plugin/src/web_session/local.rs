//! Sessions of this process, found by a digest of the random number that the cookie holds, and sealed. Bounded in bytes:
//! those not used for longest go first. Where there is an [`Archive`], it has the same sessions, and they outlive the
//! process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::lru::Lru;
use crate::services::Ending;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;
/// Bytes of all sessions of a shard.
const CAPACITY: usize = 4 << 20;
/// What a session takes beyond its content, about.
const OVERHEAD: usize = 224;

/// By what a session is found: the SHA-256 of its id.
pub type Name = [u8; 32];

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its content, sealed.
    pub content: Vec<u8>,
    /// Seconds since 1970 from which on it is gone.
    pub gone: u64,
    /// Whose it is, where there are lists: a digest of audience and subject, as in lists elsewhere.
    pub subject: Option<String>,
}

/// Whether something has been written, once that is known.
pub type Written = oneshot::Receiver<bool>;

/// Where sessions outlive the process.
pub trait Archive: Send + Sync {
    /// Has written what the table has of the session called `name`, or that it has nothing. What cannot be written is lost,
    /// and told.
    fn write(&self, name: Name) -> Written;

    /// Waits, for some seconds at most, until what has come so far is written.
    fn finish(&self);
}

/// Sessions that have been forgotten, as far as that has been written.
#[derive(Default)]
pub struct Forgotten(Vec<Written>);

/// The sessions of a process.
#[derive(Default)]
pub struct Local {
    table: Arc<Table>,
    archive: Option<Box<dyn Archive>>,
}

impl Ending for Local {
    fn finish(&self) {
        if let Some(archive) = &self.archive {
            archive.finish();
        }
    }
}

/// Sessions by their names.
#[derive(Default)]
pub struct Table([Mutex<Lru<Name, Kept>>; SHARDS]);

impl Forgotten {
    /// Whether nothing is left to be waited for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until all is written; false if it is not.
    pub async fn settle(self) -> bool {
        let mut all = true;
        for written in self.0 {
            all &= written.await.unwrap_or(false);
        }
        all
    }
}

impl Table {
    /// What there is of the session called `name`.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<Arc<Kept>> {
        self.shard(name).find(name)
    }

    fn shard(&self, name: &Name) -> MutexGuard<'_, Lru<Name, Kept>> {
        self.0[usize::from(name[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Local {
    /// Sessions that are in an archive, too, which is made for their table. Those in `known` are there already.
    pub fn archived(
        known: impl IntoIterator<Item = (Name, Kept)>,
        archive: impl FnOnce(Arc<Table>) -> Box<dyn Archive>,
    ) -> Self {
        let table = Arc::<Table>::default();
        let local = Self { archive: Some(archive(table.clone())), table };
        for (name, kept) in known {
            local.change(&name, |_| Some(kept));
        }
        local
    }

    /// The session called `name`, unless it is gone at `now`.
    pub(super) fn find(&self, name: &Name, now: u64) -> Option<Arc<Kept>> {
        // What is gone gives way to others here; the archive finds out by itself.
        self.table.find(name).filter(|kept| now < kept.gone)
    }

    /// Keeps a session, in place of what it was before.
    pub(super) fn put(&self, name: Name, kept: Kept) {
        self.change(&name, |_| Some(kept));
        self.note(name);
    }

    /// Changes the content of a session that is there, and not how long it lasts.
    pub(super) fn update(&self, name: &Name, content: Vec<u8>) {
        let changed = self.change(name, |kept| {
            let kept = kept?;
            Some(Kept { content, gone: kept.gone, subject: kept.subject.clone() })
        });
        if changed {
            self.note(*name);
        }
    }

    /// Forgets a session.
    pub(super) fn remove(&self, name: &Name, forgotten: &mut Forgotten) {
        let was_there = self.table.shard(name).remove(name);
        if was_there {
            forgotten.0.extend(self.note(*name));
        }
    }

    /// Lets a session go on until `gone` and not longer; false if there is none.
    pub(super) fn shorten(&self, name: &Name, gone: u64) -> bool {
        let shortened = |kept: &Kept| (kept.gone > gone).then(|| Kept { gone, ..kept.clone() });
        let mut is_there = false;
        let changed = self.change(name, |kept| {
            is_there = kept.is_some();
            shortened(kept?)
        });
        if changed {
            self.note(*name);
        }
        is_there
    }

    /// Puts what `change` says in the place of what there is; whether it says anything.
    fn change(&self, name: &Name, change: impl FnOnce(Option<&Kept>) -> Option<Kept>) -> bool {
        let mut evicted = Vec::new();
        let mut shard = self.table.shard(name);
        let before = shard.find(name);
        let Some(kept) = change(before.as_deref()) else { return false };
        let cost = OVERHEAD + kept.content.len();
        shard.put_and_tell(*name, Arc::new(kept), cost, CAPACITY, |name| evicted.push(name));
        drop(shard);
        evicted.into_iter().for_each(|name| drop(self.note(name)));
        true
    }

    fn note(&self, name: Name) -> Option<Written> {
        self.archive.as_ref().map(|archive| archive.write(name))
    }
}
