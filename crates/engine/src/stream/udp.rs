//! Datagrams of one UDP listener: a session for each client, with a socket of its own towards the service.
//!
//! Nothing waits for a receiver: a datagram that cannot be sent on at once is dropped, as networks do. A session ends
//! with silence, and the one whose client has been silent for longest gives way when there are too many.

mod session;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use plugin::sessions::{SessionEnd, SessionRecord};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::session::Session;
use super::connect;
use super::draft::Arrival;
use super::session::Way;
use super::udp_table::Table;
use super::visit::Visit;
use crate::balance::{Asker, Picked};
use crate::bounds::Bound;
use crate::descriptors::is_shortage;
use crate::doors::canonical;
use crate::load;
use crate::session::Local;
use crate::worker::Ending;

/// The largest datagram there is.
const LARGEST: usize = 64 << 10;
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
        if let Err(error) = session.send(datagram) {
            self.local.streams.dropped.add(1);
            if is_refusal(&error) {
                self.end(&session);
            }
        }
    }

    /// Ends a session whose target refuses: the client's next datagram goes to another.
    fn end(&self, session: &Rc<Session>) {
        session.refuse();
        self.table.borrow_mut().strike(session.client, |entered| Rc::ptr_eq(entered, session));
        session.stop();
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
            Ok((socket, picked)) => Some(self.enter(client, (socket, picked), (way, visit))),
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
        opened: (UdpSocket, Picked),
        for_whom: (Way, Option<Box<Visit>>),
    ) -> Rc<Session> {
        self.make_room();
        let local = &self.local;
        let attempt = connect::begun(local, opened.1.peer.address, None);
        let session = Session::new(client, opened, attempt, for_whom);
        self.table.borrow_mut().enter(client, session.clone());
        let number = local.connections.number();
        local.stats().accepted.add(1);
        let task = session.run(self, Ending { local: local.clone(), number });
        local.connections.enter(number, task, session.idle.clone(), client.ip().to_canonical());
        session
    }

    fn make_room(&self) {
        let most = self.local.settings.max_udp_sessions.max(1);
        while self.table.borrow().len() >= most {
            let displaced = self.table.borrow_mut().displace();
            if let Some(session) = displaced {
                session.stop();
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
