//! Sessions on layer 4, as rooms see them, and counts of them: the engine counts, and who shows metrics finds the counts
//! with [`Services::all_kept`](crate::Services::all_kept).

use std::any::Any;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::exchange::{Matched, Tls, Try};

/// A session on layer 4: a connection, or the datagrams of one client.
#[derive(Debug)]
pub struct Session {
    /// Who began it: the peer, or whom a trusted peer makes the connection for.
    pub client: SocketAddr,
    /// Where the connection was made to, or the datagrams are sent.
    pub listener: SocketAddr,
    /// What the handshake with the client came to, once there was one; none where TLS does not end here.
    pub tls: Option<Tls>,
    /// Its route and its service.
    pub matched: Arc<Matched>,
    /// When it began.
    pub started: Instant,
    /// The same in milliseconds since 1970.
    pub started_ms: u64,
    /// The worker that carries it.
    pub worker: usize,
}

/// What came of a session.
#[derive(Debug)]
pub struct SessionRecord<'a> {
    /// How it ended.
    pub end: SessionEnd,
    /// Bytes received from the client.
    pub received: u64,
    /// Bytes sent to the client.
    pub sent: u64,
    /// The targets that were tried, in order.
    pub tries: &'a [Try],
    /// When it ended.
    pub finished: Instant,
}

/// What a room says to a session that is about to begin.
pub enum Admission {
    /// It may.
    Pass,
    /// It may, and holds this until it ends.
    Hold(Box<dyn Any>),
    /// It may not: the connection is closed, a datagram dropped, and the session counts with this status.
    Refuse(u16),
}

/// How a session ended, as Kong's status codes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// It had been carried to a service, however it ended then.
    Carried,
    /// A plugin has refused it, with this status.
    Refused(u16),
    /// The client has left before there was a target for it.
    Left,
    /// No target could be reached.
    Unreachable,
    /// There was no target to reach, or as many connections to it as its upstream allows, or no time to wait for one.
    NoTarget,
}

impl SessionEnd {
    /// The status code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Carried => 200,
            Self::Refused(status) => status,
            Self::Left => 499,
            Self::Unreachable => 502,
            Self::NoTarget => 503,
        }
    }
}

/// Codes that a session may end with.
const CODES: RangeInclusive<u16> = 200..=599;

/// A count for each code.
type Counts = [AtomicU64; (*CODES.end() - *CODES.start()) as usize + 1];

/// What is counted for one route of streams; kept over reloads under its labels.
#[derive(Default)]
pub struct SessionSeries {
    /// The service's name or else host; empty for a route without one.
    pub service: String,
    /// The route's name or else id.
    pub route: String,
    carried: AtomicU64,
    /// Those that were not carried; there with the first.
    others: OnceLock<Box<Counts>>,
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
        let counter = match end {
            SessionEnd::Carried => &self.carried,
            _ => &self.others.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))))
                [place(end.code())],
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.ingress.fetch_add(received, Ordering::Relaxed);
        self.egress.fetch_add(sent, Ordering::Relaxed);
    }

    /// Sessions that ended with the code of `end`, carried ones apart.
    #[must_use]
    pub fn ended(&self, end: SessionEnd) -> u64 {
        let counter = match end {
            SessionEnd::Carried => Some(&self.carried),
            _ => self.others.get().map(|counts| &counts[place(end.code())]),
        };
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Sessions that were not carried to a service, by their codes.
    pub fn others(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.others.get().into_iter().flat_map(|counts| counts.iter());
        CODES.zip(counts.map(|count| count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
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

/// The place of a code among the counts.
fn place(code: u16) -> usize {
    usize::from(code.clamp(*CODES.start(), *CODES.end()) - *CODES.start())
}
