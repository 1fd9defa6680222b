//! Session tickets: what lets a client resume a session, on whichever worker it comes to.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use ahash::AHashMap;
use plugin::exchange::Demand;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use tokio::time::Instant;

use super::fingerprint::Fingerprint;

/// How long a key seals tickets. For as long again it opens them.
pub const LIFETIME: Duration = Duration::from_hours(6);

/// Whose clients may resume each other's sessions. A resumed session skips the check of the client's certificate, so
/// handshakes that demand something else, or certificates of other authorities, are different domains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Domain {
    demand: Demand,
    authorities: Box<[Fingerprint]>,
}

impl Domain {
    /// Clients of whom this is demanded, with certificates of these authorities, given by digest.
    pub fn of(demand: Demand, mut authorities: Vec<Fingerprint>) -> Self {
        authorities.sort_unstable();
        authorities.dedup();
        Self { demand, authorities: authorities.into() }
    }

    /// What is demanded.
    pub fn demand(&self) -> Demand {
        self.demand
    }
}

/// The keys of tickets, by domain. They never leave the process.
#[derive(Default)]
pub struct Tickets(Mutex<AHashMap<Domain, Arc<dyn ProducesTickets>>>);

impl Tickets {
    /// The tickets of a domain: over reloads the same, between domains never.
    ///
    /// # Errors
    /// When there is no randomness for keys.
    pub fn of(&self, domain: &Domain) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        let mut domains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = domains.get(domain) {
            return Ok(known.clone());
        }
        let fresh: Arc<dyn ProducesTickets> = Arc::new(Rotation::new()?);
        domains.insert(domain.clone(), fresh.clone());
        Ok(fresh)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tickets(..)")
    }
}

/// Keys that replace each other. The library's own rotation goes by the time of day and notices at the next handshake only;
/// here a key that nobody has used for long is as old as it is.
struct Rotation(RwLock<Keys>);

struct Keys {
    current: Key,
    previous: Option<Key>,
}

/// A key of the library. What it opens, it opens for at least twice [`LIFETIME`]: its own rotation never comes first.
struct Key {
    tickets: Arc<dyn ProducesTickets>,
    made: Instant,
}

impl Key {
    fn new(now: Instant) -> Result<Self, rustls::Error> {
        Ok(Self { tickets: Ticketer::new()?, made: now })
    }

    fn seals(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.made) < LIFETIME
    }

    fn opens(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.made) < 2 * LIFETIME
    }
}

impl Rotation {
    fn new() -> Result<Self, rustls::Error> {
        let current = Key::new(Instant::now())?;
        Ok(Self(RwLock::new(Keys { current, previous: None })))
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys as they are to be used now. None where a new one is due and there is no randomness for it.
    fn keys(&self, now: Instant) -> Option<RwLockReadGuard<'_, Keys>> {
        let keys = self.read();
        if keys.current.seals(now) {
            return Some(keys);
        }
        drop(keys);
        // Made before the others are kept waiting.
        let fresh = Key::new(now).ok()?;
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !keys.current.seals(now) {
            let replaced = mem::replace(&mut keys.current, fresh);
            keys.previous = Some(replaced);
        }
        drop(keys);
        Some(self.read())
    }
}

impl ProducesTickets for Rotation {
    fn enabled(&self) -> bool {
        true
    }

    /// What clients are told, in seconds: no ticket is opened for longer.
    fn lifetime(&self) -> u32 {
        u32::try_from(2 * LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.keys(Instant::now())?.current.tickets.encrypt(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = Instant::now();
        let keys = self.keys(now)?;
        let previous = || keys.previous.as_ref().filter(|key| key.opens(now))?.tickets.decrypt(ticket);
        keys.current.tickets.decrypt(ticket).or_else(previous)
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Rotation(..)")
    }
}
