//! What requests come to, counted by each worker for itself until somebody collects it.
//!
//! A worker has a map of its own. Its lock is contended only in the moment in which the map is exchanged for an empty one
//! that has been used before, so that counting again who has been counted before allocates nothing.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use plugin::Matched;
use plugin::model::entity::Consumer;
use uuid::Uuid;

/// Stands for consumers, or routes, beyond the bound.
pub const OTHERS: Uuid = Uuid::max();
/// Milliseconds of a day. Days are those of UTC.
const DAY_MS: u64 = 86_400_000;

/// What some requests come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Those answered with a status of 400 or above.
    pub errors: u64,
    /// Those answered with 500 or above.
    pub server_errors: u64,
    /// Bytes received.
    pub request_bytes: u64,
    /// Bytes sent.
    pub response_bytes: u64,
    /// Thousandths of cost units.
    pub cost: u64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.server_errors, other.server_errors),
            (&mut self.request_bytes, other.request_bytes),
            (&mut self.response_bytes, other.response_bytes),
            (&mut self.cost, other.cost),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Days since 1970.
    pub day: u32,
    /// The consumer, if there is one.
    pub consumer: Option<Uuid>,
    /// The route, if one was found.
    pub route: Option<Uuid>,
}

/// Whose request it was.
#[derive(Clone, Copy)]
pub struct Whose<'a> {
    /// When it came in, in milliseconds since 1970.
    pub started_ms: u64,
    /// Who asked, if that is known.
    pub consumer: Option<&'a Arc<Consumer>>,
    /// The route, if one was found.
    pub matched: Option<&'a Arc<Matched>>,
}

/// The sums of a key, with what it stands for.
pub struct Line {
    /// The sums.
    pub sums: Sums,
    consumer: Option<Arc<Consumer>>,
    matched: Option<Arc<Matched>>,
}

impl Line {
    /// The consumer's name; empty for none.
    pub fn consumer(&self) -> &str {
        let named = self.consumer.as_ref();
        let name = named.and_then(|named| named.username.as_deref().or(named.custom_id.as_deref()));
        name.unwrap_or_default()
    }

    /// The route's name; empty for none.
    pub fn route(&self) -> &str {
        self.matched.as_ref().and_then(|matched| matched.route.name.as_deref()).unwrap_or_default()
    }
}

/// Lines by key.
#[derive(Default)]
pub struct Lines(AHashMap<Key, Line>);

/// What became of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is where it belongs.
    Own,
    /// It made a line of its own, the last for which there was room.
    Last,
    /// There was no room: it is counted for others.
    Others,
}

impl Lines {
    /// Adds `sums`. With `most` lines, new ones are counted for other consumers of the same route, and with twice as many
    /// for other consumers of other routes: nothing is lost but the names.
    fn add(&mut self, key: Key, sums: &Sums, most: usize, names: impl FnOnce() -> Names) -> Place {
        if let Some(line) = self.0.get_mut(&key) {
            line.sums.add(sums);
            return Place::Own;
        }
        let lines = self.0.len();
        let (key, names, place) = match lines < most {
            true if lines + 1 == most => (key, names(), Place::Last),
            true => (key, names(), Place::Own),
            false => {
                let (of_route, names) = (Key { consumer: Some(OTHERS), ..key }, names());
                match lines < most * 2 || self.0.contains_key(&of_route) {
                    true => (of_route, (None, names.1), Place::Others),
                    false => (Key { route: Some(OTHERS), ..of_route }, (None, None), Place::Others),
                }
            }
        };
        let (consumer, matched) = names;
        let line = self.0.entry(key).or_insert(Line { sums: Sums::default(), consumer, matched });
        line.sums.add(sums);
        place
    }

    /// Adds all of `others`, which is empty then and keeps its memory. How many requests have lost their names.
    pub fn absorb(&mut self, others: &mut Self, most: usize) -> u64 {
        let mut unnamed = 0;
        for (key, line) in others.0.drain() {
            let sums = line.sums;
            if self.add(key, &sums, most, || (line.consumer, line.matched)) == Place::Others {
                unnamed += sums.requests;
            }
        }
        unnamed
    }

    /// Every line.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Line)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

type Names = (Option<Arc<Consumer>>, Option<Arc<Matched>>);

/// The counts of all workers.
pub struct Counts {
    shards: Box<[Shard]>,
    most: usize,
}

#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Lines>);

impl Counts {
    /// No counts yet. Each worker has room for `most` lines between two collections; see [`Lines`] for those beyond.
    pub fn new(workers: usize, most: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Shard::default()).collect(), most }
    }

    /// Counts a request of `worker`.
    pub fn add(&self, worker: usize, whose: Whose<'_>, sums: &Sums) -> Place {
        let Whose { started_ms, consumer, matched } = whose;
        let key = Key {
            day: u32::try_from(started_ms / DAY_MS).unwrap_or(u32::MAX),
            consumer: consumer.map(|consumer| consumer.id),
            route: matched.map(|matched| matched.route.id),
        };
        let shard = &self.shards[worker % self.shards.len()];
        let mut lines = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.add(key, sums, self.most, || (consumer.cloned(), matched.cloned()))
    }

    /// Moves everything to `lines`, by way of `spare`, which is empty before and after. How many requests have lost
    /// their names on the way.
    pub fn collect(&self, lines: &mut Lines, spare: &mut Lines, most: usize) -> u64 {
        let mut unnamed = 0;
        for shard in &self.shards {
            std::mem::swap(&mut *shard.0.lock().unwrap_or_else(PoisonError::into_inner), spare);
            unnamed += lines.absorb(spare, most);
        }
        unnamed
    }
}
