//! Counts of sessions on layer 4. No room sees a session; the engine counts, and who shows metrics finds the counts
//! with [`Services::all_kept`](crate::Services::all_kept).

use std::sync::atomic::{AtomicU64, Ordering};

/// How a session ended, as Kong's status codes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// It had been carried to a service, however it ended then.
    Carried,
    /// No target could be reached.
    Unreachable,
    /// There was no target to reach, or as many connections to it as its upstream allows.
    NoTarget,
}

impl SessionEnd {
    /// All ends, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Carried, Self::Unreachable, Self::NoTarget];

    /// The status code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Carried => 200,
            Self::Unreachable => 502,
            Self::NoTarget => 503,
        }
    }
}

/// What is counted for one route of streams; kept over reloads under its labels.
#[derive(Default)]
pub struct SessionSeries {
    /// The service's name or else host; empty for a route without one.
    pub service: String,
    /// The route's name or else id.
    pub route: String,
    ends: [AtomicU64; SessionEnd::ALL.len()],
    ingress: AtomicU64,
    egress: AtomicU64,
}

impl SessionSeries {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(service: String, route: String) -> Self {
        Self { service, route, ..Self::default() }
    }

    /// Counts a session that has ended, with the bytes received from its client and sent to it.
    pub fn count(&self, end: SessionEnd, received: u64, sent: u64) {
        self.ends[end as usize].fetch_add(1, Ordering::Relaxed);
        self.ingress.fetch_add(received, Ordering::Relaxed);
        self.egress.fetch_add(sent, Ordering::Relaxed);
    }

    /// Sessions that ended so.
    #[must_use]
    pub fn ended(&self, end: SessionEnd) -> u64 {
        self.ends[end as usize].load(Ordering::Relaxed)
    }

    /// Bytes received from clients.
    #[must_use]
    pub fn ingress(&self) -> u64 {
        self.ingress.load(Ordering::Relaxed)
    }

    /// Bytes sent to clients.
    #[must_use]
    pub fn egress(&self) -> u64 {
        self.egress.load(Ordering::Relaxed)
    }
}
