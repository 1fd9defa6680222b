//! Counts of what layer 4 does not carry.

use std::sync::Arc;

use plugin::Services;
use plugin::stats::Tally;

/// What has not been carried. The counts are the process's.
pub struct Tallies {
    /// Connections and datagrams without a route, or whose first bytes did not say where to.
    pub unrouted: Arc<Tally>,
    /// Datagrams that could not be sent on at once.
    pub dropped: Arc<Tally>,
    /// Sessions of UDP that gave way to new ones.
    pub displaced: Arc<Tally>,
}

impl Tallies {
    /// Nothing counted by this worker yet.
    pub fn new(services: &Services) -> Self {
        let tally = |name, help| services.keep(name, || Tally::new(name, help));
        Self {
            unrouted: tally("streams_unrouted", "Connections and datagrams that no stream route matches"),
            dropped: tally("datagrams_dropped", "Datagrams that could not be sent on"),
            displaced: tally("udp_sessions_displaced", "UDP sessions that gave way to new ones"),
        }
    }
}
