//! What plugins have to do with a session: they may refuse it when it begins, and report it when it has ended. Nothing of
//! this is there for routes without such plugins.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use plugin::Phases;
use plugin::exchange::{Matched, Tls};
use plugin::sessions::{Admission, Session, SessionRecord};
use tokio::time::Instant;

use crate::caught::caught;
use crate::session::Local;

/// The status of a session over which a plugin has panicked.
const PANICKED: u16 = 500;

/// The plugins of a route of streams, in execution order.
#[derive(Default)]
pub struct Rooms {
    /// Those that have a say in who begins a session.
    pub admitting: Box<[Arc<dyn Phases>]>,
    /// Those that report sessions.
    pub logging: Box<[Arc<dyn Phases>]>,
}

impl Rooms {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.admitting.is_empty() && self.logging.is_empty()
    }
}

/// One session among the plugins of its route.
pub struct Visit {
    rooms: Arc<Rooms>,
    session: Session,
    /// What plugins want to be held until it ends.
    _held: Vec<Box<dyn Any>>,
    /// The status with which one of them has refused it.
    pub refused: Option<u16>,
}

impl Visit {
    /// A session of `client` with `listener` begins, on a route whose plugins are `rooms`.
    pub fn begin(
        local: &Local,
        rooms: &Arc<Rooms>,
        matched: Arc<Matched>,
        (client, listener): (SocketAddr, SocketAddr),
    ) -> Self {
        let session = Session {
            client,
            listener,
            tls: None,
            matched,
            started: Instant::now().into_std(),
            started_ms: local.worker.services.clock.now_ms(),
            worker: local.worker.index,
        };
        let mut held = Vec::new();
        let refused = rooms.admitting.iter().find_map(|room| match caught(|| room.admit(&session)) {
            Ok(Admission::Pass) => None,
            Ok(Admission::Hold(what)) => {
                held.push(what);
                None
            }
            Ok(Admission::Refuse(status)) => Some(status),
            // Nobody begins a session that a plugin might have refused.
            Err(_) => {
                report_panic(&session);
                Some(PANICKED)
            }
        });
        Self { rooms: rooms.clone(), session, _held: held, refused }
    }

    /// What the handshake with the client has come to.
    pub fn note_tls(&mut self, tls: Tls) {
        self.session.tls = Some(tls);
    }

    /// The session has ended.
    pub fn end(&self, record: &SessionRecord<'_>) {
        for room in &self.rooms.logging {
            if caught(|| room.log_session(&self.session, record)).is_err() {
                report_panic(&self.session);
            }
        }
    }
}

/// Says whose session has met a panic; what has, the hook says.
fn report_panic(session: &Session) {
    let (client, route) = (session.client, session.matched.route.id);
    tracing::error!(%client, %route, "a plugin has panicked over a session; others are not affected");
}
