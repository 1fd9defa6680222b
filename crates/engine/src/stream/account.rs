//! What there is to tell of a session. It is counted and reported when it is gone, however that comes about: one that is
//! cut at the end of a drain is told of like the others.

use std::net::SocketAddr;

use plugin::exchange::Try;
use plugin::sessions::{SessionEnd, SessionRecord};
use tokio::time::Instant;

use super::session::Way;
use super::visit::Visit;
use crate::relay::{End, Moved};

/// A session that is under way.
pub struct Account {
    pub way: Way,
    pub visit: Option<Box<Visit>>,
    /// The client and the listener.
    pub ends: (SocketAddr, SocketAddr),
    pub begun: Instant,
    /// The targets that were tried, in order.
    pub tries: Vec<Try>,
    /// How it ends, if nothing else happens. None where nobody is told of it: TLS has failed.
    pub end: Option<SessionEnd>,
    /// How the relay has ended; none for one that was cut, or that never came to it.
    pub relay: Option<End>,
    pub moved: Moved,
}

impl Account {
    /// Of a session between `ends`, which leads `way`.
    pub fn open(way: Way, visit: Option<Box<Visit>>, ends: (SocketAddr, SocketAddr), begun: Instant) -> Self {
        let (tries, moved) = (Vec::new(), Moved::default());
        Self { way, visit, ends, begun, tries, end: None, relay: None, moved }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Some(end) = self.end else { return };
        let Self { way, tries, moved, .. } = self;
        let (received, sent, now) = (moved.received.get(), moved.sent.get(), Instant::now());
        way.tell(
            self.visit.as_deref(),
            &SessionRecord { end, received, sent, tries, finished: now.into_std() },
        );
        let (client, listener) = self.ends;
        tracing::debug!(
            %client,
            %listener,
            route = way.series.route,
            service = way.series.service,
            target = tries.last().map(|attempt| attempt.address.to_string()),
            code = end.code(),
            end = (end == SessionEnd::Carried).then(|| self.relay.map_or("cut", End::name)),
            received,
            sent,
            milliseconds = u64::try_from(now.duration_since(self.begun).as_millis()).unwrap_or(u64::MAX),
            "a session has ended"
        );
    }
}
