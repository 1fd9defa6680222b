//! Sessions of layer 4 in the harness: begun and ended, and nothing in between.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Instant;

use super::Harness;
use crate::room::Phase;
use crate::sessions::{Admission, Session, SessionRecord};

impl Harness {
    /// Begins a session of layer 4 on the first route, with what rooms want to be held meanwhile.
    ///
    /// # Errors
    /// The status with which one refuses it.
    ///
    /// # Panics
    /// If there is no route.
    pub fn begin_session(&self) -> Result<(Session, Vec<Box<dyn Any>>), u16> {
        let session = Session {
            client: self.peer,
            listener: SocketAddr::from(([127, 0, 0, 1], 9000)),
            tls: None,
            matched: self.routes.first().expect("the document has a route").clone(),
            started: Instant::now(),
            started_ms: self.clock.now_ms(),
            worker: self.worker.index,
        };
        let mut held = Vec::new();
        for (_, room) in self.rooms(Phase::Session) {
            match room.admit(&session) {
                Admission::Pass => {}
                Admission::Hold(what) => held.push(what),
                Admission::Refuse(status) => return Err(status),
            }
        }
        Ok((session, held))
    }

    /// Reports a session of layer 4 that has ended.
    pub fn end_session(&self, session: &Session, record: &SessionRecord<'_>) {
        for (_, room) in self.rooms(Phase::SessionLog) {
            room.log_session(session, record);
        }
    }
}
