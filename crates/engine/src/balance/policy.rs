//! How an upstream chooses among its addresses (kong.md 5.1).

use std::time::Duration;

use model::entity::Upstream;

use super::affinity::{Cookie, Keys};
use super::standing::Measured;

/// What an upstream asks for.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) method: Method,
    /// How long a new or recovered address gets less than its weight.
    pub(super) slow_start: Option<Duration>,
    /// What has to be known of the addresses. None where nobody asks how they stand: requests to them then pay for
    /// nothing of it.
    pub(super) measured: Option<Measured>,
}

/// The algorithm of an upstream.
#[derive(Debug)]
pub(super) enum Method {
    /// In turn, by weight.
    RoundRobin,
    /// Where there are the fewest requests for the weight.
    LeastConnections,
    /// Where responses are the fastest for the weight.
    Latency,
    /// The better one of two drawn by weight.
    TwoChoices,
    /// The same for whoever has the same key; by so many slots.
    ConsistentHashing { keys: Keys, slots: usize },
    /// Where the client's cookie says; in turn for a client without.
    Sticky(Cookie),
}

/// The slots of consistent hashing are no fewer than these (kong.md 5.1).
const FEWEST_SLOTS: usize = 1000;

impl Policy {
    /// Weighted round-robin over addresses of which nothing has to be known.
    pub(super) fn plain() -> Self {
        Self { method: Method::RoundRobin, slow_start: None, measured: None }
    }

    /// What `upstream` asks for.
    pub(super) fn of(upstream: &Upstream) -> Self {
        let method = Method::of(upstream);
        let slow_start = upstream.slow_start.map(Duration::from_secs_f64).filter(|time| !time.is_zero());
        let measured = match method {
            Method::LeastConnections => Some(Measured::Number),
            Method::Latency => Some(Measured::Latency),
            Method::TwoChoices => Some(Measured::Peaks),
            _ => (slow_start.is_some() || upstream.healthchecks.are_on()).then_some(Measured::Number),
        };
        Self { method, slow_start, measured }
    }
}

impl Method {
    fn of(upstream: &Upstream) -> Self {
        let slots = usize::try_from(upstream.slots).unwrap_or(0).max(FEWEST_SLOTS);
        match upstream.algorithm.as_str() {
            "least-connections" => Self::LeastConnections,
            "latency" => Self::Latency,
            "p2c" => Self::TwoChoices,
            "consistent-hashing" => Self::ConsistentHashing { keys: Keys::of(upstream), slots },
            "sticky-sessions" => {
                let path = upstream.sticky_sessions_cookie_path.as_deref().unwrap_or("/");
                let name = upstream.sticky_sessions_cookie.as_deref().unwrap_or_default();
                Self::Sticky(Cookie::new(name, path))
            }
            _ => Self::RoundRobin,
        }
    }
}
