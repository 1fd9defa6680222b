//! The breakers of one plugin entity, by what they are for: kept over reloads, made when they are needed. Looking one up
//! takes no lock.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use arc_swap::ArcSwap;
use plugin::Services;
use uuid::Uuid;

use super::breaker::{Breaker, Subject};

/// Breakers of targets that one plugin entity has at most.
const MOST_TARGETS: usize = 4096;
/// Milliseconds after its last request when the breaker of a target is forgotten, once another one needs the room.
const IDLE: u64 = 600_000;

/// What a breaker is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The service that is asked; nil is any.
    pub service: Uuid,
    /// The route; nil is any.
    pub route: Uuid,
    /// Where the service is asked.
    pub place: Place,
}

/// Where a service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// At its own targets, wherever they are.
    Home,
    /// At another host, by the name of the detour.
    Host(Arc<str>),
    /// At this target.
    Target(SocketAddr),
}

/// The breakers.
#[derive(Default)]
pub struct Table {
    breakers: ArcSwap<AHashMap<Key, Arc<Breaker>>>,
    making: Mutex<()>,
}

impl Table {
    /// The breaker for `key` at `now`, made for what `subject` says if there is none. None where there are too many.
    pub fn of(
        &self,
        key: Key,
        subject: impl FnOnce() -> Subject,
        services: &Services,
        now: u64,
    ) -> Option<Arc<Breaker>> {
        if let Some(known) = self.breakers.load().get(&key) {
            if matches!(key.place, Place::Target(_)) {
                known.note_seen(now);
            }
            return Some(known.clone());
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut breakers = AHashMap::clone(&self.breakers.load());
        if let Some(known) = breakers.get(&key) {
            return Some(known.clone());
        }
        if matches!(key.place, Place::Target(_)) {
            breakers.retain(|key, breaker| {
                !matches!(key.place, Place::Target(_)) || breaker.was_seen_since(now.saturating_sub(IDLE))
            });
            let targets = breakers.keys().filter(|key| matches!(key.place, Place::Target(_)));
            if targets.count() >= MOST_TARGETS {
                return None;
            }
        }
        let made = Arc::new(Breaker::new(subject(), services));
        breakers.insert(key, made.clone());
        self.breakers.store(Arc::new(breakers));
        Some(made)
    }

    /// Forgets breakers of what is gone.
    pub fn forget_all_but(&self, is_known: impl Fn(&Key) -> bool) {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut breakers = AHashMap::clone(&self.breakers.load());
        breakers.retain(|key, _| is_known(key));
        self.breakers.store(Arc::new(breakers));
    }

    /// All of them, ordered by what they are for.
    pub fn all(&self) -> Vec<Arc<Breaker>> {
        let mut all: Vec<_> = self.breakers.load().values().cloned().collect();
        all.sort_by(|left, right| left.subject.cmp(&right.subject));
        all
    }
}
