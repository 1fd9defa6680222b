//! A session of datagrams: the client's way to a target, and the answers that come back by it until it ends.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::slice;
use std::time::Duration;

use plugin::exchange::Try;
use plugin::sessions::{SessionEnd, SessionRecord};
use socket2::SockRef;
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::Instant;

use super::{LARGEST, Listener, is_refusal};
use crate::balance::{InFlight, Outcome, Picked, Trouble};
use crate::connections::Idle;
use crate::stream::session::Way;
use crate::stream::visit::Visit;
use crate::timer::Timer;
use crate::worker::Ending;

/// Answers passed on before others get their turn.
const AT_ONCE: usize = 32;
/// Time for answers that are still to come when the gateway stops, or the listener goes.
const GRACE: Duration = Duration::from_secs(1);

/// A session, as long as its task runs.
pub struct Session {
    pub client: SocketAddr,
    /// Connected to the target.
    socket: UdpSocket,
    /// The target.
    attempt: Try,
    in_flight: InFlight,
    way: Way,
    visit: Option<Box<Visit>>,
    silence: Duration,
    begun: Instant,
    /// When a datagram passed last, either way.
    last: Cell<Instant>,
    /// How long nothing has passed, as other connections have it.
    pub idle: Rc<Idle>,
    /// Bytes from the client.
    received: Cell<u64>,
    /// Bytes to the client.
    sent: Cell<u64>,
    /// The target has refused.
    refused: Cell<bool>,
    /// The target has answered.
    answered: Cell<bool>,
    /// Ends the session; there as long as it runs.
    task: RefCell<Option<AbortHandle>>,
}

impl Session {
    /// One that begins now, with a target that has been picked.
    pub fn new(
        client: SocketAddr,
        (socket, picked): (UdpSocket, Picked),
        attempt: Try,
        (way, visit): (Way, Option<Box<Visit>>),
    ) -> Rc<Self> {
        let now = Instant::now();
        let idle = Rc::new(Idle::since(now));
        idle.take_leave();
        Rc::new(Self {
            client,
            socket,
            attempt,
            in_flight: picked.in_flight,
            silence: way.plan.as_ref().map_or(Duration::ZERO, |plan| plan.timeouts.read),
            way,
            visit,
            begun: now,
            last: Cell::new(now),
            idle,
            received: Cell::default(),
            sent: Cell::default(),
            refused: Cell::default(),
            answered: Cell::default(),
            task: RefCell::default(),
        })
    }

    /// Sends a datagram of the client on.
    ///
    /// # Errors
    /// When it cannot be sent at once, or the target refuses.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        // Past the books of readiness, which know of no socket that is new. The socket never blocks.
        SockRef::from(&self.socket).send(datagram)?;
        self.passed(Instant::now());
        self.received.set(self.received.get() + datagram.len() as u64);
        Ok(())
    }

    /// Passes answers on in a task of its own, until the session ends.
    pub fn run(self: &Rc<Self>, listener: &Rc<Listener>, ending: Ending) -> AbortHandle {
        let leaving = Leaving { listener: listener.clone(), session: self.clone(), _ending: ending };
        let task = tokio::task::spawn_local(leaving.pass_answers_on()).abort_handle();
        self.task.replace(Some(task.clone()));
        task
    }

    /// Ends it at once.
    pub fn stop(&self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    fn passed(&self, now: Instant) {
        self.last.set(now);
        self.idle.rest(now);
    }

    /// An answer has come. Only the first says that the target is there, as a connection does.
    fn hear(&self, now: Instant) {
        self.passed(now);
        if !self.answered.replace(true) {
            self.in_flight.report(Outcome::Connected, || now);
        }
    }

    /// The target refuses what it is sent.
    pub fn refuse(&self) {
        if !self.refused.replace(true) {
            self.in_flight.report(Outcome::Failed(Trouble::Unreachable), Instant::now);
        }
    }
}

/// The task of a session; when it is gone, however it ends, so is the session.
struct Leaving {
    listener: Rc<Listener>,
    session: Rc<Session>,
    _ending: Ending,
}

impl Leaving {
    /// Passes answers on until there is silence, or the target refuses.
    async fn pass_answers_on(self) {
        let Self { listener, session, .. } = &self;
        let mut timer = Timer::default();
        let mut stops_at = None;
        loop {
            let silent_at = session.last.get() + session.silence;
            let deadline = stops_at.map_or(silent_at, |stop: Instant| stop.min(silent_at));
            let event = async {
                tokio::select! {
                    biased;
                    ready = session.socket.ready(Interest::READABLE | Interest::ERROR) => ready.ok(),
                    () = listener.closing(), if stops_at.is_none() => None,
                }
            };
            match timer.until(deadline, event).await {
                Ok(Some(ready)) => match self.pass_some(ready) {
                    Ok(AT_ONCE) => yield_now().await,
                    Ok(_) => {}
                    Err(_) => return,
                },
                Ok(None) => stops_at = Some(Instant::now() + GRACE),
                Err(_) if Instant::now() < session.last.get() + session.silence && stops_at.is_none() => {}
                Err(_) => return,
            }
        }
    }

    /// Passes answers on that have come, and counts them.
    ///
    /// # Errors
    /// When the target refuses, and the session is to end.
    fn pass_some(&self, ready: Ready) -> io::Result<usize> {
        let Self { listener, session, .. } = self;
        if ready.is_error() {
            self.check()?;
        }
        let mut buffer = listener.local.buffers.take();
        let mut outcome = Ok(AT_ONCE);
        for passed in 0..AT_ONCE {
            buffer.clear();
            buffer.reserve(LARGEST);
            match session.socket.try_recv_buf(&mut buffer) {
                Ok(count) => {
                    session.hear(Instant::now());
                    let to = session.client.into();
                    match SockRef::from(&listener.socket).send_to(&buffer, &to) {
                        Ok(_) => session.sent.set(session.sent.get() + count as u64),
                        Err(_) => listener.local.streams.dropped.add(1),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    outcome = Ok(passed);
                    break;
                }
                Err(error) => {
                    if is_refusal(&error) {
                        session.refuse();
                    }
                    outcome = Err(error);
                    break;
                }
            }
        }
        listener.local.buffers.give(buffer);
        outcome
    }

    /// Looks whether the target has refused what was sent.
    fn check(&self) -> io::Result<()> {
        let socket = &self.session.socket;
        if let Some(error) = socket.take_error()?.filter(is_refusal) {
            self.session.refuse();
            return Err(error);
        }
        // Tells the books of readiness that there is no error any more.
        let none = socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        none.or(Ok(()))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Self { listener, session, .. } = self;
        listener.table.borrow_mut().strike(session.client, |entered| Rc::ptr_eq(entered, session));
        let (received, sent) = (session.received.get(), session.sent.get());
        let failed = session.refused.get() && sent == 0;
        let end = if failed { SessionEnd::Unreachable } else { SessionEnd::Carried };
        let (tries, finished) = (slice::from_ref(&session.attempt), Instant::now().into_std());
        let record = SessionRecord { end, received, sent, tries, finished };
        session.way.tell(session.visit.as_deref(), &record);
        tracing::debug!(
            client = %session.client,
            listener = %listener.here,
            route = session.way.series.route,
            service = session.way.series.service,
            target = %session.attempt.address,
            code = end.code(),
            received,
            sent,
            milliseconds = u64::try_from(session.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "a session of datagrams has ended"
        );
    }
}
