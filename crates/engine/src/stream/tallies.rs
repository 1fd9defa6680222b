//! Counts of what layer 4 does not carry.

use std::sync::Arc;

use plugin::Services;
use plugin::figures::{Family, Figure};

static UNROUTED: Family =
    Family::count("streams_unrouted_total", "Connections and datagrams that no stream route matches");
static DROPPED: Family = Family::count("datagrams_dropped_total", "Datagrams that could not be sent on");
static DISPLACED: Family =
    Family::count("udp_sessions_displaced_total", "UDP sessions that gave way to new ones");

/// What has not been carried. The counts are the process's.
pub struct Tallies {
    /// Connections and datagrams without a route, or whose first bytes did not say where to.
    pub unrouted: Arc<Figure>,
    /// Datagrams that could not be sent on at once, or for whose session there was no file.
    pub dropped: Arc<Figure>,
    /// Sessions of UDP that gave way to new ones.
    pub displaced: Arc<Figure>,
}

impl Tallies {
    /// Nothing counted by this worker yet.
    pub fn new(services: &Services) -> Self {
        let figure = |family| services.figures.of(family, &[]);
        Self { unrouted: figure(&UNROUTED), dropped: figure(&DROPPED), displaced: figure(&DISPLACED) }
    }
}
