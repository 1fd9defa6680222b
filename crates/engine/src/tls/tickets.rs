//! Session tickets: what lets a client resume a session, on whichever worker it comes to.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use plugin::exchange::Demand;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use super::fingerprint::Fingerprint;

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

/// The keys of tickets, by domain. They are changed every six hours and never leave the process.
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
        let fresh = Ticketer::new()?;
        domains.insert(domain.clone(), fresh.clone());
        Ok(fresh)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tickets(..)")
    }
}
