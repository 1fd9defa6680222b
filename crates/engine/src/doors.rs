//! The listeners of one worker: accepts connections, and follows as sockets come and go.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plugin::exchange::Client;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::task::{JoinHandle, yield_now};

use crate::listen::{Bound, Socket};
use crate::load;
use crate::session::Local;
use crate::stream;
use crate::transport::Stream;
use crate::worker::{self, Spoken};

/// Pause after a failed accept, when the system is out of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections taken from the queue of a socket that is no longer listened on: as many as the default queue holds.
const MOST_WAITING: usize = 16_384;
/// How long clients that have begun to connect to a socket that is no longer listened on may take for it. Those that begin
/// now try again after a second (RFC 6298), by when the socket must be gone.
const LAST_CALL: Duration = Duration::from_millis(500);
/// What a client at a Unix socket counts as: it is on this machine.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Sockets for both families tell addresses of IPv4 as ones of IPv6.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The sockets on which a worker accepts.
pub struct Doors {
    local: Rc<Local>,
    open: Vec<Door>,
    /// Those that could not be used, for want of a file say. Clients come there all the same.
    missing: Vec<Socket>,
}

struct Door {
    bound: Arc<Bound>,
    /// None for datagrams.
    acceptor: Option<Rc<Acceptor>>,
    spoken: Rc<Cell<Spoken>>,
    task: JoinHandle<()>,
}

impl Doors {
    /// None yet.
    pub fn new(local: Rc<Local>) -> Self {
        Self { local, open: Vec::new(), missing: Vec::new() }
    }

    /// Accepts on `sockets` and nowhere else.
    pub fn follow(&mut self, sockets: &[Socket]) {
        let is_wanted = |door: &Door| sockets.iter().any(|socket| Arc::ptr_eq(&socket.bound, &door.bound));
        let gone: Vec<_> = self.open.extract_if(.., |door| !is_wanted(door)).collect();
        self.missing.clear();
        for socket in sockets {
            match self.open.iter().find(|door| Arc::ptr_eq(&door.bound, &socket.bound)) {
                Some(door) => door.spoken.set(socket.spoken),
                None => self.enter(socket),
            }
        }
        for door in gone {
            tokio::task::spawn_local(door.leave(self.local.clone()));
        }
    }

    /// Accepts nowhere any more. Others may, on the same sockets.
    pub async fn close(mut self) {
        for door in self.open.drain(..) {
            door.close(&self.local).await;
        }
    }

    /// Tries once more to accept where it was not possible.
    pub fn try_again(&mut self) {
        for socket in std::mem::take(&mut self.missing) {
            self.enter(&socket);
        }
    }

    fn enter(&mut self, socket: &Socket) {
        let Socket { bound, spoken } = socket;
        let spoken = Rc::new(Cell::new(*spoken));
        let entered = match &**bound {
            Bound::Udp(socket) => self.receive(socket).map(|task| (None, task)),
            _ => Acceptor::new(bound).map(|acceptor| {
                let acceptor = Rc::new(acceptor);
                let accepting = accept(self.local.clone(), acceptor.clone(), spoken.clone());
                (Some(acceptor), tokio::task::spawn_local(accepting))
            }),
        };
        match entered {
            Ok((acceptor, task)) => {
                self.open.push(Door { bound: bound.clone(), acceptor, spoken, task });
            }
            Err(error) => {
                tracing::error!(%error, "a listener cannot be used yet");
                self.missing.push(socket.clone());
            }
        }
    }

    /// Takes datagrams.
    fn receive(&self, socket: &std::net::UdpSocket) -> io::Result<JoinHandle<()>> {
        let socket = UdpSocket::from_std(socket.try_clone()?)?;
        Ok(tokio::task::spawn_local(stream::udp::serve(self.local.clone(), socket)))
    }
}

impl Door {
    /// Closes once those are in who had begun to connect.
    async fn leave(self, local: Rc<Local>) {
        if matches!(*self.bound, Bound::Tcp(_)) {
            tokio::time::sleep(LAST_CALL).await;
        }
        self.close(&local).await;
    }

    /// Accepts no more, but serves the connections that had been made before: closing would reset them.
    async fn close(self, local: &Rc<Local>) {
        self.task.abort();
        let _ = self.task.await;
        let Some(acceptor) = self.acceptor else { return };
        for _ in 0..MOST_WAITING {
            let nothing_waits = tokio::time::sleep(Duration::ZERO);
            tokio::select! {
                biased;
                accepted = acceptor.accept(&self.spoken) => match accepted {
                    Ok((stream, client)) => worker::admit(local, stream, client, self.spoken.get()),
                    Err(_) => return,
                },
                () = nothing_waits => return,
            }
        }
    }
}

async fn accept(local: Rc<Local>, acceptor: Rc<Acceptor>, spoken: Rc<Cell<Spoken>>) {
    loop {
        match acceptor.accept(&spoken).await {
            Ok((stream, client)) => {
                worker::admit(&local, stream, client, spoken.get());
                if local.load.is_tight() {
                    yield_now().await;
                }
            }
            Err(error) if load::makes_room(&local, &error) => yield_now().await,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A listening socket, registered with the worker's runtime.
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(bound: &Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket.try_clone()?)?),
            Bound::Unix(socket) => Self::Unix(UnixListener::from_std(socket.try_clone()?)?),
            Bound::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// The next connection that can be used, and who is at its other end.
    async fn accept(&self, spoken: &Cell<Spoken>) -> io::Result<(Stream, Client)> {
        loop {
            let (stream, peer, here) = match self {
                Self::Tcp(socket) => {
                    let (stream, peer) = socket.accept().await?;
                    // It may be gone again.
                    let Ok(here) = stream.local_addr() else { continue };
                    if stream.set_nodelay(true).is_err() {
                        continue;
                    }
                    (Stream::Tcp(stream), peer, here)
                }
                Self::Unix(socket) => {
                    let (stream, _) = socket.accept().await?;
                    // There are no ports; for the service it shall look like an ordinary one.
                    let port = if spoken.get().tls { 443 } else { 80 };
                    (Stream::Unix(stream), SocketAddr::new(HERE, 0), SocketAddr::new(HERE, port))
                }
            };
            let [peer, here] = [peer, here].map(canonical);
            return Ok((stream, Client { peer, local: here, ip: peer.ip(), ..Client::default() }));
        }
    }
}
