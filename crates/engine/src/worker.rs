//! One worker: a thread, a runtime, its own listeners, pool and workspaces.

use std::cell::Cell;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::time::Duration;

use plugin::exchange::{Client, Scheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::flow;
use crate::session::{Local, Session};
use crate::tls::{self, Handshakes, Offer};
use crate::transport::{Channel, Stream};

/// What the workers are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Serve.
    Run,
    /// Accept nothing more; finish what runs.
    Drain,
    /// End at once.
    Stop,
}

/// A listener of one worker.
pub struct Socket<L = StdListener> {
    /// Where connections come from.
    pub listener: L,
    /// Clients speak TLS.
    pub tls: bool,
}

/// How often a worker tidies up.
const TIDY: Duration = Duration::from_secs(1);
/// How often a draining worker looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// Pause after a failed accept, when the process is out of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a worker on the current thread until it is told to stop. `make` is called on this thread.
pub fn run(
    sockets: Vec<Socket>,
    mut orders: watch::Receiver<Order>,
    make: impl FnOnce() -> Local,
) -> io::Result<()> {
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let local = Rc::new(make());
        let register =
            |Socket { listener, tls }| Ok(Socket { listener: TcpListener::from_std(listener)?, tls });
        let listeners: Rc<Vec<_>> = Rc::new(sockets.into_iter().map(register).collect::<io::Result<_>>()?);
        let accepting: Vec<_> = (0..listeners.len())
            .map(|index| tokio::task::spawn_local(accept(local.clone(), listeners.clone(), index)))
            .collect();
        let mut tidy = tokio::time::interval(TIDY);
        while *orders.borrow_and_update() == Order::Run {
            tokio::select! {
                changed = orders.changed() => if changed.is_err() { break },
                _ = tidy.tick() => tidy_up(&local),
            }
        }
        for task in &accepting {
            task.abort();
        }
        take_waiting(&local, &listeners).await;
        drop(listeners);
        drain(&local, &mut orders).await;
        Ok(())
    })
}

fn tidy_up(local: &Local) {
    local.tidy();
    if local.worker.index == 0 {
        local.worker.services.sweep();
    }
}

async fn accept(local: Rc<Local>, sockets: Rc<Vec<Socket<TcpListener>>>, index: usize) {
    let Socket { listener, tls } = &sockets[index];
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admit(&local, stream, *tls),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves the connections that had been made before the listeners close: closing would reset them.
async fn take_waiting(local: &Rc<Local>, sockets: &[Socket<TcpListener>]) {
    for Socket { listener, tls } in sockets {
        let nothing_waits = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(nothing_waits);
        loop {
            tokio::select! {
                biased;
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => admit(local, stream, *tls),
                    Err(_) => break,
                },
                () = &mut nothing_waits => break,
            }
        }
    }
}

fn admit(local: &Rc<Local>, stream: TcpStream, tls: bool) {
    let stats = local.stats();
    if local.connections() >= local.settings.max_connections {
        stats.refused.add(1);
        tracing::warn!(bound = local.settings.max_connections, "a connection was refused: max_connections");
        return;
    }
    let (Ok(peer), Ok(here)) = (stream.peer_addr(), stream.local_addr()) else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let client = Client { peer, local: here, ip: peer.ip(), trusted: false, scheme: Scheme::Http, tls: None };
    let stream = Stream::Tcp(stream);
    if tls {
        start_tls(local, stream, client, Offer::Http1);
    } else {
        start(local, Channel::new(stream, local.buffers.clone()), client);
    }
}

/// Serves a connection under TLS in a task of its own, beginning with the handshake.
pub fn start_tls(local: &Rc<Local>, stream: Stream, mut client: Client, offer: Offer) {
    let Some(pending) = Handshakes::begin(local, local.settings.tls.max_handshakes) else {
        local.stats().refused.add(1);
        tracing::debug!(
            bound = local.settings.tls.max_handshakes,
            "a connection was refused: ssl_max_handshakes"
        );
        return;
    };
    let number = local.number_connection();
    local.stats().accepted.add(1);
    let ending = Ending { local: local.clone(), number };
    let idle = Rc::new(Cell::new(true));
    let still_idle = idle.clone();
    let task = tokio::task::spawn_local(async move {
        let local = ending.local.clone();
        // In a box, which goes before the first request comes: a served connection need not be as large as a handshake.
        match Box::pin(tls::accept(pending, stream, offer)).await {
            Ok((stream, known)) => {
                (client.scheme, client.tls) = (Scheme::Https, Some(Rc::new(known)));
                let channel = Channel::new(stream, local.buffers.clone());
                let mut session = Session::new(local, channel, client, number);
                session.idle = still_idle;
                flow::serve(session).await;
            }
            Err(reason) => tracing::debug!(peer = %client.peer, %reason, "no TLS session with a client"),
        }
        drop(ending);
    });
    local.register(number, task.abort_handle(), idle);
}

/// Serves a connection in a task of its own.
pub fn start(local: &Rc<Local>, channel: Channel, client: Client) {
    let number = local.number_connection();
    local.stats().accepted.add(1);
    let ending = Ending { local: local.clone(), number };
    let session = Session::new(local.clone(), channel, client, number);
    let idle = session.idle.clone();
    let task = tokio::task::spawn_local(async move {
        let _ending = ending;
        flow::serve(session).await;
    });
    local.register(number, task.abort_handle(), idle);
}

/// Takes the connection off the books however its task ends.
struct Ending {
    local: Rc<Local>,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.local.unregister(self.number);
        self.local.stats().closed.add(1);
    }
}

/// Serves running requests to their end, or until told to stop, and ends what is left.
pub async fn drain(local: &Rc<Local>, orders: &mut watch::Receiver<Order>) {
    local.draining.set(true);
    while local.connections() > 0 && *orders.borrow_and_update() != Order::Stop {
        tokio::select! {
            // Without anybody to give orders there is nobody to wait for, either.
            changed = orders.changed() => if changed.is_err() { break },
            // Only then are connections ended that are idle: on some a request may just have arrived.
            () = tokio::time::sleep(DRAIN_TICK) => local.end_connections(false),
        }
    }
    local.end_connections(true);
}
