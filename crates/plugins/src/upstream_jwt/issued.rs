//! Tokens that have been made, by who they are about. A caller that is known from the last reload on is found by comparing
//! addresses; nothing is written or hashed for it. Bounded in number; one table for each worker.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;
use plugin::claims::Claims;
use plugin::clock::{Clocks, End};
use plugin::exchange::Matched;
use plugin::identity::Caller;
use plugin::{Exchange, Services};
use serde_json::Value;

/// Callers remembered per worker.
const SLOTS: usize = 4096;

/// Who calls, and what for.
#[derive(Clone)]
pub(super) struct Who {
    pub(super) caller: Arc<Caller>,
    pub(super) groups: Option<Arc<[Box<str>]>>,
    pub(super) claims: Option<Arc<Claims>>,
    matched: Option<Arc<Matched>>,
}

/// A token.
pub(super) struct Issued {
    /// The value of its header.
    pub(super) value: Box<[u8]>,
    /// Which keys it was signed with.
    pub(super) number: u64,
    /// It goes with no further request from then on.
    pub(super) end: End,
}

pub(super) struct Known {
    hasher: RandomState,
    pub(super) clocks: Clocks,
    tables: Box<[Table]>,
}

/// One worker's table, on cache lines of its own; nobody else takes the lock.
#[repr(align(128))]
struct Table(Mutex<Vec<Slot>>);

type Slot = Option<(Who, Arc<Issued>)>;

impl Who {
    /// None where nobody has found out.
    pub(super) fn of(exchange: &Exchange) -> Option<Self> {
        let identity = &exchange.identity;
        Some(Self {
            caller: identity.caller.clone()?,
            groups: identity.groups.clone(),
            claims: identity.claims.clone(),
            matched: exchange.matched.clone(),
        })
    }

    /// The name of the service, or else its id.
    pub(super) fn audience(&self) -> Option<Value> {
        let service = self.matched.as_ref()?.service.as_ref()?;
        Some(Value::from(service.name.clone().unwrap_or_else(|| service.id.to_string())))
    }

    /// Addresses of what is said; they stand for it as long as it is held.
    fn places(&self) -> [usize; 4] {
        [
            Arc::as_ptr(&self.caller).addr(),
            self.groups.as_ref().map_or(0, |groups| Arc::as_ptr(groups).addr()),
            self.claims.as_ref().map_or(0, |claims| Arc::as_ptr(claims).addr()),
            self.matched.as_ref().map_or(0, |matched| Arc::as_ptr(matched).addr()),
        ]
    }
}

impl Known {
    pub(super) fn new(services: &Services) -> Self {
        let tables = (0..services.workers).map(|_| Table(Mutex::default())).collect();
        Self { hasher: RandomState::new(), clocks: Clocks::new(&services.clock), tables }
    }

    /// The token of a caller, if the keys of that number have signed it and it may go with another request.
    pub(super) fn find(&self, worker: usize, who: &Who, number: u64, now_ms: u64) -> Option<Arc<Issued>> {
        let places = who.places();
        let table = self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, issued) = table.get(self.slot(places))?.as_ref()?;
        let is_same = known.places() == places;
        let holds = is_same && issued.number == number && self.clocks.is_before(issued.end, now_ms);
        holds.then(|| issued.clone())
    }

    /// Remembers a token in place of whichever had its slot.
    pub(super) fn remember(&self, worker: usize, who: Who, issued: Arc<Issued>) {
        let slot = self.slot(who.places());
        let mut table =
            self.tables[worker % self.tables.len()].0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.is_empty() {
            table.resize_with(SLOTS, || None);
        }
        table[slot] = Some((who, issued));
    }

    fn slot(&self, places: [usize; 4]) -> usize {
        self.hasher.hash_one(places) as usize % SLOTS
    }
}
