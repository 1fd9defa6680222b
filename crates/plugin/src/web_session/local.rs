//! Sessions of this process, found by a digest of the random number that the cookie holds, and sealed. Bounded in bytes:
//! those not used for longest go first. Where there is an [`Archive`], it has the same sessions, and they outlive the
//! process. Two processes may have the same archive, the old one and the new one of an upgrade: each finds there what the other
//! has begun, and is told what it has ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use tokio::sync::oneshot;

use crate::lru::Lru;
use crate::services::Ending;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;
/// Bytes of all sessions of a shard.
const CAPACITY: usize = 4 << 20;
/// What a session takes beyond its content, about.
const OVERHEAD: usize = 224;
/// How often a session is looked for in the archive while others end.
const MOST_TRIES: usize = 4;
/// Sessions that have ended of which it is remembered that the archive cannot be told.
const MOST_UNTOLD: usize = 65_536;

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

/// What has happened to a session that is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It has begun.
    Begun,
    /// It has changed or ended. Where the archive has it no longer, another process has ended it, and it stays so.
    Changed,
}

/// Where sessions outlive the process.
pub trait Archive: Send + Sync {
    /// Has written what the table has of the session called `name`, or that it has nothing, and tells the table
    /// ([`Table::settle`], [`Table::give_up`]). What cannot be written is lost, and told.
    fn write(&self, name: Name, event: Event) -> Written;

    /// What there is of the session called `name`. Asked about those that the table has not.
    fn read(&self, name: &Name) -> Option<Kept>;

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
pub struct Table {
    shards: [Mutex<Lru<Name, Kept>>; SHARDS],
    /// Those that the archive is about to learn of, by how many orders.
    unwritten: Mutex<AHashMap<Name, u32>>,
    /// How many have been ended.
    ended: AtomicU64,
}

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

    /// All names that there are.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.keys().copied().collect::<Vec<_>>()).collect()
    }

    /// An order to write the session called `name` is done with.
    pub fn settle(&self, name: &Name) {
        let mut unwritten = self.unwritten();
        if let Some(orders) = unwritten.get_mut(name) {
            *orders -= 1;
            if *orders == 0 {
                unwritten.remove(name);
            }
        }
    }

    /// An order to write the session called `name` is done with, and it is not written. One that has ended stays so here.
    pub fn give_up(&self, name: &Name) {
        if self.find(name).is_some() || self.unwritten().len() > MOST_UNTOLD {
            self.settle(name);
        }
    }

    /// Another process has ended the session called `name`, unless the archive has yet to learn of it.
    pub fn end(&self, name: &Name) {
        let mut shard = self.shard(name);
        if !self.unwritten().contains_key(name) {
            shard.remove(name);
        }
    }

    /// Another process lets the session called `name` go on until `gone` and not longer.
    pub fn shorten(&self, name: &Name, gone: u64) {
        let mut shard = self.shard(name);
        if let Some(kept) = shard.find(name).filter(|kept| kept.gone > gone) {
            let kept = Kept { gone, ..(*kept).clone() };
            let cost = kept.cost();
            shard.put(*name, Arc::new(kept), cost, CAPACITY);
        }
    }

    fn shard(&self, name: &Name) -> MutexGuard<'_, Lru<Name, Kept>> {
        self.shards[usize::from(name[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> MutexGuard<'_, AHashMap<Name, u32>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn cost(&self) -> usize {
        OVERHEAD + self.content.len()
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
        self.table.find(name).or_else(|| self.take_over(name)).filter(|kept| now < kept.gone)
    }

    /// A session that another process has begun. Who asks has a cookie that opens, so that this costs nobody much.
    fn take_over(&self, name: &Name) -> Option<Arc<Kept>> {
        let archive = self.archive.as_ref()?;
        for _ in 0..MOST_TRIES {
            let ended = self.table.ended.load(Ordering::Acquire);
            if self.table.unwritten().contains_key(name) {
                return None;
            }
            let kept = archive.read(name)?;
            let mut taken = None;
            self.change(name, |before| {
                // What has been ended since it was read stays so.
                let is_certain = self.table.ended.load(Ordering::Acquire) == ended;
                taken = before.or(Some(&kept)).filter(|_| is_certain).cloned().map(Arc::new);
                (is_certain && before.is_none()).then_some(kept)
            });
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// Keeps a session, in place of what it was before.
    pub(super) fn put(&self, name: Name, kept: Kept) {
        self.change_and_write(&name, Event::Begun, |_| Some(kept));
    }

    /// Changes the content of a session that is there, and not how long it lasts.
    pub(super) fn update(&self, name: &Name, content: Vec<u8>) {
        self.change_and_write(name, Event::Changed, |kept| {
            let kept = kept?;
            Some(Kept { content, gone: kept.gone, subject: kept.subject.clone() })
        });
    }

    /// Forgets a session.
    pub(super) fn remove(&self, name: &Name, forgotten: &mut Forgotten) {
        self.announce(name);
        let mut shard = self.table.shard(name);
        self.table.ended.fetch_add(1, Ordering::AcqRel);
        shard.remove(name);
        drop(shard);
        // One that is not here may be in the archive.
        forgotten.0.extend(self.write(*name, Event::Changed));
    }

    /// Lets a session go on until `gone` and not longer; false if there is none.
    pub(super) fn shorten(&self, name: &Name, gone: u64) -> bool {
        let shortened = |kept: &Kept| (kept.gone > gone).then(|| Kept { gone, ..kept.clone() });
        let mut is_there = false;
        self.change_and_write(name, Event::Changed, |kept| {
            is_there = kept.is_some();
            shortened(kept?)
        });
        is_there
    }

    fn change_and_write(
        &self,
        name: &Name,
        event: Event,
        change: impl FnOnce(Option<&Kept>) -> Option<Kept>,
    ) {
        self.announce(name);
        if self.change(name, change) {
            self.write(*name, event);
        } else {
            self.table.settle(name);
        }
    }

    /// Puts what `change` says in the place of what there is; whether it says anything.
    fn change(&self, name: &Name, change: impl FnOnce(Option<&Kept>) -> Option<Kept>) -> bool {
        let mut evicted = Vec::new();
        let mut shard = self.table.shard(name);
        let before = shard.find(name);
        let Some(kept) = change(before.as_deref()) else { return false };
        let cost = kept.cost();
        shard.put_and_tell(*name, Arc::new(kept), cost, CAPACITY, |name| evicted.push(name));
        drop(shard);
        for name in evicted {
            self.announce(&name);
            self.write(name, Event::Changed);
        }
        true
    }

    /// The archive is to learn of a session: until it has, what it says of it does not count.
    fn announce(&self, name: &Name) {
        if self.archive.is_some() {
            *self.table.unwritten().entry(*name).or_default() += 1;
        }
    }

    fn write(&self, name: Name, event: Event) -> Option<Written> {
        self.archive.as_ref().map(|archive| archive.write(name, event))
    }
}
