//! Tokens whose signature has been found right, so that the same token is checked by comparing bytes.
//!
//! Bounded in number and size, one table per worker for all instances. Made anew at every reload, so no credential
//! outlives its removal.
//! What depends on the time of use is never remembered.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;
use plugin::claims::Claims;

use super::secrets::Secret;
use super::times::Times;

/// Tokens remembered per worker. A power of two.
const SLOTS: usize = 4096;
/// Longest token remembered.
const LONGEST: usize = 2048;

/// The tables of all workers.
pub(super) struct Verified {
    hasher: RandomState,
    tables: Box<[Table]>,
}

/// One worker's table, on cache lines of its own; nobody else takes the lock.
#[repr(align(128))]
#[derive(Default)]
struct Table(Mutex<Vec<Option<Entry>>>);

struct Entry {
    hash: u64,
    /// The claim that led to the credential: another one may lead to another.
    key_claim: Arc<str>,
    token: Box<[u8]>,
    finding: Finding,
}

/// What stays true of a token.
#[derive(Clone)]
pub(super) struct Finding {
    /// Whose it is.
    pub(super) secret: Arc<Secret>,
    /// What it says about time.
    pub(super) times: Times,
    /// What else it says, as far as a room wants to know.
    pub(super) claims: Option<Arc<Claims>>,
}

impl Verified {
    pub(super) fn new(workers: usize) -> Self {
        let tables = (0..workers.max(1)).map(|_| Table::default()).collect();
        Self { hasher: RandomState::new(), tables }
    }

    /// What has been found out about a token, if it has been verified.
    ///
    /// The whole token is compared, but only after a 64-bit hash with a random seed has matched: timing shows nothing
    /// about a remembered token to who does not have it.
    pub(super) fn find(&self, worker: usize, key_claim: &str, token: &[u8]) -> Option<Finding> {
        let (hash, slot) = self.place(key_claim, token);
        let table = self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.get(slot)?.as_ref()?;
        let same = entry.hash == hash && *entry.key_claim == *key_claim && *entry.token == *token;
        same.then(|| entry.finding.clone())
    }

    /// Remembers a token in place of whichever had its slot.
    pub(super) fn remember(&self, worker: usize, key_claim: &Arc<str>, token: &[u8], finding: &Finding) {
        if token.len() > LONGEST {
            return;
        }
        let (hash, slot) = self.place(key_claim, token);
        let (key_claim, finding) = (key_claim.clone(), finding.clone());
        let entry = Entry { hash, key_claim, token: token.into(), finding };
        let mut table =
            self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.is_empty() {
            table.resize_with(SLOTS, || None);
        }
        table[slot] = Some(entry);
    }

    fn place(&self, key_claim: &str, token: &[u8]) -> (u64, usize) {
        let hash = self.hasher.hash_one((key_claim, token));
        (hash, hash as usize % SLOTS)
    }
}
