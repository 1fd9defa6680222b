//! One worker: a thread, a runtime, its own listeners, pool and workspaces.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use plugin::exchange::{Client, Scheme};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::time::Instant;
use wire::proxy_protocol::Origin;

use crate::announcement;
use crate::caught::caught;
use crate::channel::Channel;
use crate::connections::Idle;
use crate::doors::Doors;
use crate::flow;
use crate::http2;
use crate::listen::Socket;
use crate::load;
use crate::session::{Arrival, Local, Session};
use crate::stream;
use crate::tls::{self, Handshakes, Offer};
use crate::transport::Stream;
use crate::upstream::warm::warm_up;

/// What the workers are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Serve.
    Run,
    /// Accept nothing more; finish what runs.
    Drain,
    /// The same while another process accepts: there is no haste.
    HandOver,
    /// End at once.
    Stop,
}

/// What is spoken on the connections of a listener.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spoken {
    /// Clients speak TLS.
    pub tls: bool,
    /// Clients may speak HTTP/2.
    pub http2: bool,
    /// Connections begin with a header of the PROXY protocol.
    pub proxied: bool,
    /// Connections are carried on layer 4.
    pub stream: bool,
}

/// How often a worker tidies up.
const TIDY: Duration = Duration::from_secs(1);
/// How often a draining worker looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// Runs a worker on the current thread until it is told to stop. `make` is called on this thread.
pub fn run(
    mut sockets: watch::Receiver<Vec<Socket>>,
    mut orders: watch::Receiver<Order>,
    make: impl FnOnce() -> Local,
) -> io::Result<()> {
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let local = Rc::new(make());
        crate::copies::offer(&local);
        let mut doors = Doors::new(local.clone());
        let roused = local.roused.clone();
        sockets.mark_changed();
        // Before the first request comes: memory may be short already.
        tidy_up(&local);
        let mut tidy = tokio::time::interval(TIDY);
        while *orders.borrow_and_update() == Order::Run {
            tokio::select! {
                changed = orders.changed() => if changed.is_err() { break },
                Ok(()) = sockets.changed() => {
                    let now = sockets.borrow_and_update().clone();
                    // All sockets go when the order to end has been given, and others may accept on them.
                    if *orders.borrow() == Order::Run {
                        doors.follow(&now);
                    }
                }
                () = roused.notified() => local.yield_idle(),
                // A panic there must not end the worker; the next time may go well.
                _ = tidy.tick() => {
                    drop(caught(|| tidy_up(&local)));
                    doors.try_again();
                }
            }
        }
        doors.close().await;
        drain(&local, &mut orders).await;
        Ok(())
    })
}

/// What a worker does about every second.
pub fn tidy_up(local: &Rc<Local>) {
    local.tidy();
    warm_up(local);
    // Once a second and not at each request, which costs the request nothing.
    local.stats().writing.set(local.connections.busy() as u64);
    load::watch_memory(local);
    load::watch_files(local);
    if local.worker.index == 0 {
        local.worker.services.sweep();
    }
}

/// Serves a connection that has been made, unless there are too many.
pub fn admit(local: &Rc<Local>, stream: Stream, client: Client, spoken: Spoken) {
    // In this order: nobody gives way to one that is refused.
    if !may_begin(local, &client, spoken) || !load::admits(local, client.peer.ip(), stream.descriptor()) {
        local.stats().refused.add(1);
        return;
    }
    let channel = Channel::new(stream, local.buffers.clone());
    if spoken.stream {
        stream::start(local, channel, client, spoken);
    } else if spoken.proxied {
        start_proxied(local, channel, client, spoken);
    } else {
        begin(local, channel, client, spoken);
    }
}

/// Whether there is a place for what a connection begins with.
fn may_begin(local: &Local, client: &Client, spoken: Spoken) -> bool {
    if spoken.stream {
        return stream::may_begin(local, client, spoken);
    }
    !(spoken.tls || spoken.proxied) || Handshakes::have_room(local)
}

/// Serves a connection once the proxy in front has said whose it is.
pub fn start_proxied(local: &Rc<Local>, mut channel: Channel, mut client: Client, spoken: Spoken) {
    let Some(pending) = Handshakes::begin(local) else {
        local.stats().refused.add(1);
        return;
    };
    let deadline = Instant::now() + local.settings.tls.handshake_timeout;
    let local = local.clone();
    tokio::task::spawn_local(async move {
        match announcement::read(&mut channel, deadline).await {
            Ok(origin) => {
                drop(pending);
                if let Origin::Forwarded { source, .. } = origin {
                    client.announced = Some(source);
                }
                begin(&local, channel, client, spoken);
            }
            Err(reason) => tracing::debug!(peer = %client.peer, %reason, "no PROXY protocol header"),
        }
    });
}

fn begin(local: &Rc<Local>, channel: Channel, client: Client, spoken: Spoken) {
    if spoken.tls {
        let offer = if spoken.http2 { Offer::Http2 } else { Offer::Http1 };
        start_tls(local, channel.into_stream(), client, offer);
    } else {
        start(local, channel, client, spoken.http2);
    }
}

/// Serves a connection under TLS in a task of its own, beginning with the handshake.
pub fn start_tls(local: &Rc<Local>, stream: Stream, mut client: Client, offer: Offer) {
    let Some(pending) = Handshakes::begin(local) else {
        local.stats().refused.add(1);
        return;
    };
    let number = local.connections.number();
    local.stats().accepted.add(1);
    let ending = Ending { local: local.clone(), number };
    let address = client.peer.ip();
    let idle = Rc::new(Idle::since(Instant::now()));
    let still_idle = idle.clone();
    let task = tokio::task::spawn_local(async move {
        let local = ending.local.clone();
        // In a box, which goes before the first request comes: a served connection need not be as large as a handshake.
        match Box::pin(tls::accept(pending, stream, offer)).await {
            Ok(accepted) => {
                (client.scheme, client.tls) = (Scheme::Https, Some(Rc::new(accepted.known)));
                let channel = Channel::new(accepted.stream, local.buffers.clone());
                let arrival = Arrival { local, channel, client, number, idle: still_idle };
                if accepted.http2 {
                    Box::pin(http2::server::serve(arrival)).await;
                } else {
                    flow::serve(Session::new(arrival), ending).await;
                }
            }
            Err(reason) => tracing::debug!(peer = %client.peer, %reason, "no TLS session with a client"),
        }
    });
    local.connections.enter(number, task.abort_handle(), idle, address);
}

/// Serves a connection in a task of its own; with `http2` its first bytes say what it speaks.
pub fn start(local: &Rc<Local>, channel: Channel, client: Client, http2: bool) {
    let number = local.connections.number();
    local.stats().accepted.add(1);
    let ending = Ending { local: local.clone(), number };
    let idle = Rc::new(Idle::since(Instant::now()));
    let address = client.peer.ip();
    let arrival = Arrival { local: local.clone(), channel, client, number, idle: idle.clone() };
    let task = if http2 {
        tokio::task::spawn_local(http2::server::serve_either(arrival, ending))
    } else {
        tokio::task::spawn_local(flow::serve(Session::new(arrival), ending))
    };
    local.connections.enter(number, task.abort_handle(), idle, address);
}

/// Takes the connection off the books however its task ends.
pub struct Ending {
    /// The worker's corner.
    pub local: Rc<Local>,
    /// The connection's number.
    pub number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.local.connections.strike(self.number);
        self.local.stats().closed.add(1);
    }
}

/// Serves running requests to their end, or until told to stop, and ends what is left.
pub async fn drain(local: &Rc<Local>, orders: &mut watch::Receiver<Order>) {
    let patient = *orders.borrow() == Order::HandOver;
    local.begin_drain(patient);
    while local.connections.count() > 0 && *orders.borrow_and_update() != Order::Stop {
        tokio::select! {
            // Without anybody to give orders there is nobody to wait for, either.
            changed = orders.changed() => if changed.is_err() { break },
            // Only then are connections ended that are idle: on some a request may just have arrived. And where there
            // is no haste they are told with their next response, so that no request meets a closing connection.
            () = tokio::time::sleep(DRAIN_TICK) => if !patient { local.connections.end(false) },
        }
    }
    local.connections.end(true);
}
