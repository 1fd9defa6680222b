//! Datagrams of one UDP listener: a session for each client, with a socket of its own towards the service.
//!
//! Nothing waits for a receiver: a datagram that cannot be sent on at once is dropped, as networks do. A session ends
//! with silence, and the one whose client has been silent for longest gives way when there are too many.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::pin::pin;
use std::rc::Rc;
use std::slice;
use std::time::Duration;

use plugin::exchange::Try;
use plugin::sessions::{SessionEnd, SessionRecord};
use socket2::SockRef;
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::Instant;

use super::connect;
use super::draft::Arrival;
use super::session::Way;
use super::udp_table::Table;
use super::visit::Visit;
use crate::balance::{Asker, InFlight, Outcome, Picked, Trouble};
use crate::bounds::Bound;
use crate::connections::Idle;
use crate::descriptors::is_shortage;
use crate::doors::canonical;
use crate::load;
use crate::session::Local;
use crate::timer::Timer;
use crate::worker::Ending;

/// The largest datagram there is.
const LARGEST: usize = 64 << 10;
/// Answers passed on before others get their turn.
const AT_ONCE: usize = 32;
/// Time for answers that are still to come when the gateway stops, or the listener goes.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed receipt.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves the datagrams of a listener.
pub async fn serve(local: Rc<Local>, socket: UdpSocket) {
    let Ok(here) = socket.local_addr() else { return };
    let (table, closed) = (RefCell::default(), Cell::new(false));
    let listener = Rc::new(Listener { local, socket, here, table, closed, closing: Notify::new() });
    let _closing = Closing(listener.clone());
    let mut buffer = vec![0; LARGEST];
    loop {
        match listener.socket.recv_from(&mut buffer).await {
            Ok((count, client)) => listener.take(client, &buffer[..count]),
            Err(error) => {
                tracing::warn!(%error, "a datagram could not be received");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Listener {
    local: Rc<Local>,
    socket: UdpSocket,
    here: SocketAddr,
    table: RefCell<Table<Rc<Session>>>,
    /// Nobody receives any more.
    closed: Cell<bool>,
    closing: Notify,
}

/// However serving ends, the sessions end soon after: clients would be sent to a socket that nobody reads.
struct Closing(Rc<Listener>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.closed.set(true);
        self.0.closing.notify_waiters();
    }
}

struct Session {
    client: SocketAddr,
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
    idle: Rc<Idle>,
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

impl Listener {
    /// Waits until nobody receives any more.
    async fn closing(&self) {
        let mut notified = pin!(self.closing.notified());
        notified.as_mut().enable();
        if !self.closed.get() {
            notified.await;
        }
    }

    /// Sends a datagram on, in the session of its client or in a new one.
    fn take(self: &Rc<Self>, client: SocketAddr, datagram: &[u8]) {
        let session = self.table.borrow_mut().heard_of(client).cloned();
        let Some(session) = session.or_else(|| self.begin(client)) else { return };
        // Past the books of readiness, which know of no socket that is new. The socket never blocks.
        match SockRef::from(&session.socket).send(datagram) {
            Ok(_) => {
                session.passed(Instant::now());
                session.received.set(session.received.get() + datagram.len() as u64);
            }
            Err(error) => {
                self.local.streams.dropped.add(1);
                if is_refusal(&error) {
                    self.end(&session);
                }
            }
        }
    }

    /// Ends a session whose target refuses: the client's next datagram goes to another.
    fn end(&self, session: &Rc<Session>) {
        session.refuse();
        self.table.borrow_mut().strike(session.client, |entered| Rc::ptr_eq(entered, session));
        if let Some(task) = session.task.take() {
            task.abort();
        }
    }

    /// Begins a session, if there is a route and room for it.
    fn begin(self: &Rc<Self>, client: SocketAddr) -> Option<Rc<Session>> {
        let local = &self.local;
        let source = canonical(client);
        if local.load.take_on().is_err() || !load::admits_session(local, source.ip()) {
            local.stats().refused.add(1);
            return None;
        }
        let snapshot = local.snapshot();
        let arrival = Arrival { source, destination: self.here, name: None };
        let way = snapshot.streams.datagram(&arrival).and_then(|found| Way::of(&snapshot, found));
        let Some(way) = way else {
            local.streams.unrouted.add(1);
            tracing::debug!(%client, listener = %self.here, "no route matches a datagram");
            return None;
        };
        let visit = way.visit(local, (source, self.here));
        let opened = match visit.as_ref().and_then(|visit| visit.refused) {
            None => open(local, &way, source.ip()),
            Some(status) => Err(SessionEnd::Refused(status)),
        };
        match opened {
            Ok((socket, picked)) => Some(self.enter(client, (socket, picked), way, visit)),
            Err(end) => {
                let finished = Instant::now().into_std();
                way.tell(
                    visit.as_deref(),
                    &SessionRecord { end, received: 0, sent: 0, tries: &[], finished },
                );
                tracing::debug!(%client, route = way.series.route, code = end.code(), "a datagram is not sent on");
                None
            }
        }
    }

    fn enter(
        self: &Rc<Self>,
        client: SocketAddr,
        (socket, picked): (UdpSocket, Picked),
        way: Way,
        visit: Option<Box<Visit>>,
    ) -> Rc<Session> {
        self.make_room();
        let local = &self.local;
        let now = Instant::now();
        let idle = Rc::new(Idle::since(now));
        idle.take_leave();
        let session = Rc::new(Session {
            client,
            socket,
            attempt: connect::begun(local, picked.peer.address, None),
            in_flight: picked.in_flight,
            silence: way.plan.as_ref().map_or(Duration::ZERO, |plan| plan.timeouts.read),
            way,
            visit,
            begun: now,
            last: Cell::new(now),
            idle: idle.clone(),
            received: Cell::default(),
            sent: Cell::default(),
            refused: Cell::default(),
            answered: Cell::default(),
            task: RefCell::default(),
        });
        self.table.borrow_mut().enter(client, session.clone());
        let number = local.connections.number();
        local.stats().accepted.add(1);
        let leaving = Leaving {
            listener: self.clone(),
            session: session.clone(),
            _ending: Ending { local: local.clone(), number },
        };
        let task = tokio::task::spawn_local(async move { leaving.pass_answers_on().await }).abort_handle();
        session.task.replace(Some(task.clone()));
        local.connections.enter(number, task, idle, client.ip().to_canonical());
        session
    }

    fn make_room(&self) {
        let most = self.local.settings.max_udp_sessions.max(1);
        while self.table.borrow().len() >= most {
            let displaced = self.table.borrow_mut().displace();
            if let Some(task) = displaced.and_then(|session| session.task.take()) {
                task.abort();
            }
            self.local.streams.displaced.add(1);
        }
    }
}

/// A socket connected to a target of the route's service.
fn open(local: &Local, way: &Way, client: IpAddr) -> Result<(UdpSocket, Picked), SessionEnd> {
    let plan = way.plan.as_ref().ok_or(SessionEnd::NoTarget)?;
    let asker = Asker { client, exchange: None };
    let picked = plan.balancer.pick(&[], &asker, &mut Vec::new()).map_err(|_| SessionEnd::NoTarget)?;
    let target = picked.peer.address;
    match local.load.descriptors.spare(socket_to(target)) {
        Ok(socket) => Ok((socket, picked)),
        Err(error) => {
            if is_shortage(&error) {
                local.streams.dropped.add(1);
                local.bounds.reached(Bound::OpenFiles);
            } else if let Some(left_out) = local.complaints.now() {
                tracing::warn!(%error, %target, left_out, "no socket for a session of UDP");
            }
            Err(SessionEnd::Unreachable)
        }
    }
}

/// Whether it is the target that takes no datagrams, and not this one that cannot be sent.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}

fn socket_to(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = StdSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

impl Session {
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
    fn refuse(&self) {
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
}

impl Leaving {
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
