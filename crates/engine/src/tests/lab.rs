//! A worker whose upstream connections are pipes in the hands of the test.

use std::cell::Cell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Catalog, Problem};
use plugin::Services;
use plugin::clock::Clock;
use plugin::exchange::Client;
use plugin::services::Worker;
use tokio::io::{BufReader, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::LocalSet;

use super::trouble::ROOMS;
use crate::channel::Channel;
use crate::compile::Compiler;
use crate::descriptors::{Descriptors, Files};
use crate::health::Book;
use crate::session::{Arrival, Local, Session};
use crate::settings::Settings;
use crate::snapshot::{Publisher, Snapshot};
use crate::stream;
use crate::tls::{Keeper, Offer};
use crate::transport::Stream;
use crate::upstream::gate::Gate;
use crate::worker::{self, Order, Spoken};
use crate::{DnsSettings, Resolver};

mod dial;
mod peer;

use dial::PipeDial;
pub use peer::{Peer, field};

/// One service on every path, with short timeouts.
pub const PLAIN: &str = r#"
_format_version: "3.0"
services:
- name: one
  url: http://10.0.0.1:80
  connect_timeout: 1000
  write_timeout: 1000
  read_timeout: 1000
  retries: 2
  routes:
  - name: all
    paths: [/]
"#;

/// A request for nothing in particular.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// A response that says that all is well.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Bytes a pipe holds before its writer has to wait.
pub const PIPE: usize = 32 << 10;

/// A worker under test.
pub struct Lab {
    pub local: Rc<Local>,
    pub services: Arc<Services>,
    pub files: Arc<Files>,
    resolver: Arc<Resolver>,
    tls: Keeper,
    publisher: Publisher,
    dialed: Mutex<mpsc::UnboundedReceiver<Peer>>,
    refusing: Rc<Cell<usize>>,
    refusing_after: Rc<Cell<Duration>>,
}

/// Runs `story` with a worker that serves `document`.
pub async fn with<F: Future<Output = ()>>(
    document: &str,
    settings: Settings,
    story: impl FnOnce(Rc<Lab>) -> F,
) {
    LocalSet::new()
        .run_until(async {
            let lab = Rc::new(Lab::new(document, settings));
            tokio::time::timeout(Duration::from_secs(3600), story(lab)).await.expect("the story ends");
        })
        .await;
}

impl Lab {
    fn new(document: &str, settings: Settings) -> Self {
        let services = Services::new(1, Clock::default(), true);
        let resolver = Resolver::start(DnsSettings::default()).unwrap();
        let tls = Keeper::new(settings.tls.clone()).unwrap();
        let publisher = Publisher::new(compile(document, &services, &resolver, &tls).unwrap()).unwrap();
        let (sender, dialed) = mpsc::unbounded_channel();
        let files = Files::new(settings.most_descriptors);
        let refusing = Rc::new(Cell::new(0));
        let refusing_after = Rc::new(Cell::default());
        let (counted, after) = (refusing.clone(), refusing_after.clone());
        let descriptors = Rc::new(Descriptors::of(files.clone()));
        let dial = PipeDial { descriptors, dialed: sender, refusing: counted, refusing_after: after };
        let dial = Box::new(dial);
        let worker = Rc::new(Worker::new(0, services.clone()));
        let local = Rc::new(Local::new(worker, Rc::new(settings), dial, &publisher));
        crate::copies::offer(&local);
        resolver.gates.tell(&local.roused);
        Self {
            local,
            services,
            files,
            resolver,
            tls,
            publisher,
            dialed: Mutex::new(dialed),
            refusing,
            refusing_after,
        }
    }

    /// Serves `document` from now on.
    pub fn reload(&self, document: &str) {
        self.publisher.publish(self.compile(document).unwrap());
    }

    /// Whether `document` can be served, and what is wrong with it.
    pub fn compile(&self, document: &str) -> Result<Snapshot, String> {
        compile(document, &self.services, &self.resolver, &self.tls)
    }

    /// What is found out about the health of targets.
    pub fn book(&self) -> Arc<Book> {
        self.resolver.book.clone()
    }

    /// Whether no certificate is held any more, once replaced snapshots have been freed.
    pub fn lets_go_of_certificates(&self) -> bool {
        self.local.tidy();
        eventually(|| self.tls.kept_certificates() == 0)
    }

    /// A new client connection.
    pub fn client(&self) -> Peer {
        let (channel, far) = pipe();
        worker::start(&self.local, channel, client(), false);
        Peer(far)
    }

    /// The same as it comes from a listener, unless it is refused.
    pub fn admit(&self, spoken: Spoken) -> Peer {
        let (near, far) = tokio::io::duplex(PIPE);
        worker::admit(&self.local, Stream::Memory(BufReader::new(near)), client(), spoken);
        Peer(far)
    }

    /// A new client connection from `peer`.
    pub fn client_at(&self, peer: &str) -> Peer {
        let (channel, far) = pipe();
        let peer: SocketAddr = peer.parse().unwrap();
        worker::start(&self.local, channel, Client { peer, ip: peer.ip(), ..client() }, false);
        Peer(far)
    }

    /// The same over a socket of the loopback, where the kernel is part of what is tested.
    pub async fn tcp_client(&self) -> Peer<TcpStream> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let near = Stream::Tcp(listener.accept().await.unwrap().0);
        worker::start(&self.local, Channel::new(near, Rc::default()), client(), false);
        Peer(far)
    }

    /// A new connection of a client that may speak HTTP/2.
    pub fn modern_client(&self) -> Peer {
        let (channel, far) = pipe();
        worker::start(&self.local, channel, client(), true);
        Peer(far)
    }

    /// A new HTTP/2 connection of a client, driven by a task of its own.
    pub async fn http2(&self) -> h2::client::SendRequest<Bytes> {
        let mut builder = h2::client::Builder::new();
        // As browsers do: one stream that is not read must not use up the window of all.
        builder.initial_connection_window_size(1 << 20);
        let (sender, connection) = builder.handshake(self.modern_client().0).await.unwrap();
        tokio::task::spawn_local(async move {
            // Tests look at the streams; how the connection ends is seen there.
            let _ = connection.await;
        });
        sender.ready().await.unwrap()
    }

    /// A new connection that a proxy in front makes for a client.
    pub fn proxied_client(&self, spoken: Spoken) -> Peer {
        let (channel, far) = pipe();
        worker::start_proxied(&self.local, channel, client(), spoken);
        Peer(far)
    }

    /// A new connection of a client to a listener of streams.
    pub fn stream_client(&self, spoken: Spoken) -> Peer {
        let (channel, far) = pipe();
        stream::start(&self.local, channel, client(), spoken);
        Peer(far)
    }

    /// The client's end of a new connection to a listener for TLS, before the handshake.
    pub fn tls_client(&self) -> DuplexStream {
        self.tls_client_offered(Offer::Http1)
    }

    /// The same, with what the listener offers by ALPN.
    pub fn tls_client_offered(&self, offer: Offer) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE);
        worker::start_tls(&self.local, Stream::Memory(BufReader::new(near)), client(), offer);
        far
    }

    /// A connection that is not served, with the client's end of it.
    pub fn session(&self) -> (Session, Peer) {
        let (channel, far) = pipe();
        let number = self.local.connections.number();
        (
            Session::new(Arrival {
                local: self.local.clone(),
                channel,
                client: client(),
                number,
                idle: Rc::default(),
            }),
            Peer(far),
        )
    }

    /// Tells the worker to finish what runs and waits until it has.
    pub async fn drain(&self, orders: &mut watch::Receiver<Order>) {
        worker::drain(&self.local, orders).await;
    }

    /// Requests and sessions that count as being at some target, where that is counted.
    pub fn in_flight(&self) -> u32 {
        self.resolver.standings.active()
    }

    /// Targets of which it is known how fast they answer.
    pub fn measured_targets(&self) -> usize {
        self.resolver.standings.measured()
    }

    /// Targets of which it is known that they mostly fail.
    pub fn failing_targets(&self) -> usize {
        self.resolver.standings.failing()
    }

    /// The connections to the first address of an upstream that bounds them.
    pub fn gate(&self, upstream: &str) -> Arc<Gate> {
        let balancer = self.publisher.current().balancers.for_host(upstream, 80);
        balancer.peers().remove(0).gate.unwrap()
    }

    /// How many workspaces have been made so far.
    pub fn workspaces_made(&self) -> u64 {
        self.local.worker.count() - 1
    }

    /// How many connections and streams hold the worker's corner.
    pub fn holders(&self) -> usize {
        Rc::strong_count(&self.local)
    }

    /// The upstream's end of the next connection the gateway opens.
    pub async fn upstream(&self) -> Peer {
        self.dialed.lock().await.recv().await.expect("the gateway is running")
    }

    /// A new client whose request has reached its service, with the service's end.
    pub async fn asked(&self, request: &str) -> (Peer, Peer) {
        let mut client = self.client();
        client.send(request).await;
        let mut upstream = self.upstream().await;
        upstream.head().await;
        (client, upstream)
    }

    /// No connection has been opened that the test does not know of.
    pub fn opened_no_more(&self) -> bool {
        self.dialed.try_lock().is_ok_and(|mut dialed| dialed.try_recv().is_err())
    }

    /// Refuses the next connections.
    pub fn refuse(&self, connections: usize) {
        self.refusing.set(connections);
    }

    /// Refuses the next connections, each after some time.
    pub fn refuse_after(&self, connections: usize, after: Duration) {
        self.refusing_after.set(after);
        self.refuse(connections);
    }

    /// Connections still to be refused.
    pub fn still_refusing(&self) -> usize {
        self.refusing.get()
    }
}

fn pipe() -> (Channel, DuplexStream) {
    let (near, far) = tokio::io::duplex(PIPE);
    (Channel::new(Stream::Memory(BufReader::new(near)), std::rc::Rc::default()), far)
}

fn client() -> Client {
    let peer: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    let local = "192.0.2.2:8000".parse().unwrap();
    Client { peer, local, ip: peer.ip(), ..Client::default() }
}

/// Lets everything happen that can.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Whether `condition` comes true in another thread within a generous time.
pub fn eventually(condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() && Instant::now() < end {
        thread::yield_now();
    }
    condition()
}

/// A snapshot of `document` that serves nobody.
pub fn snapshot(document: &str) -> Snapshot {
    let resolver = Resolver::start(DnsSettings::default()).unwrap();
    let tls = Keeper::new(Settings::default().tls).unwrap();
    compile(document, &Services::new(1, Clock::default(), true), &resolver, &tls).unwrap()
}

fn compile(
    document: &str,
    services: &Arc<Services>,
    resolver: &Arc<Resolver>,
    tls: &Keeper,
) -> Result<Snapshot, String> {
    let told = |problems: Vec<Problem>| {
        problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("\n")
    };
    let catalog = Catalog {
        plugins: ROOMS.iter().map(|room| room.schema()).collect(),
        entities: ROOMS.iter().flat_map(|room| room.entities()).collect(),
    };
    let config = model::declarative::load("test.yml", document, &catalog).map_err(told)?;
    let compiler = Compiler { definitions: ROOMS, services, resolver, tls };
    compiler.compile(Arc::new(config)).map_err(told)
}
