//! The data plane as a whole: starts the workers, gives them new configurations, stops them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use model::node::Span;
use model::{Config, Place, Problem};
use plugin::services::Worker;
use plugin::{Definition, Services};
use socket2::{Domain, Protocol, Type};
use tokio::sync::watch;

use crate::compile::Compiler;
use crate::dns::Resolver;
use crate::session::Local;
use crate::settings::Settings;
use crate::snapshot::{Publisher, Snapshot};
use crate::stream;
use crate::tls::Keeper;
use crate::upstream::connect::Tcp;
use crate::worker::{self, Order, Socket, Spoken};

/// Longest wait for host names to resolve before a configuration is used.
const SETTLE: Duration = Duration::from_secs(2);

/// An address to listen on for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 takes any free one.
    pub address: SocketAddr,
    /// Connections the kernel may hold before they are accepted.
    pub backlog: i32,
    /// Clients speak TLS.
    pub tls: bool,
    /// Clients may speak HTTP/2.
    pub http2: bool,
    /// Connections begin with a header of the PROXY protocol.
    pub proxied: bool,
    /// What comes in.
    pub carries: Carries,
}

/// What a listener takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Carries {
    /// Requests of HTTP.
    #[default]
    Requests,
    /// Connections that are carried on layer 4.
    Connections,
    /// Datagrams of UDP.
    Datagrams,
}

/// Why the data plane could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be listened on.
    Listen(SocketAddr, io::Error),
    /// A thread could not be started.
    Thread(io::Error),
    /// TLS has no randomness to begin with.
    Tls(io::Error),
    /// The configuration cannot be honoured.
    Configuration(Vec<Problem>),
}

/// What a data plane is made with.
pub struct Parts {
    /// Every plugin there is, in execution order.
    pub definitions: &'static [&'static dyn Definition],
    /// What outlives reloads; its number of workers is the number of threads.
    pub services: Arc<Services>,
    /// Resolves host names.
    pub resolver: Arc<Resolver>,
    /// The operator's settings.
    pub settings: Settings,
    /// Where to listen.
    pub listeners: Vec<Listener>,
}

/// A running data plane.
pub struct Gateway {
    definitions: &'static [&'static dyn Definition],
    services: Arc<Services>,
    resolver: Arc<Resolver>,
    tls: Keeper,
    publisher: Arc<Publisher>,
    addresses: Vec<SocketAddr>,
    orders: watch::Sender<Order>,
    drain_timeout: Duration,
    threads: Mutex<Vec<JoinHandle<()>>>,
    reloading: Mutex<()>,
}

impl Gateway {
    /// Checks whether `config` can be honoured, touching nothing outside the process when `services` say so.
    ///
    /// # Errors
    /// Everything that cannot be.
    pub fn check(
        config: Arc<Config>,
        definitions: &[&'static dyn Definition],
        services: &Arc<Services>,
        resolver: &Arc<Resolver>,
    ) -> Result<(), Vec<Problem>> {
        let tls = Keeper::for_check().map_err(|error| vec![no_tls(&error)])?;
        Compiler { definitions, services, resolver, tls: &tls }.compile(config).map(drop)
    }

    /// Listens and serves `config`.
    ///
    /// # Errors
    /// An address that cannot be listened on, or a configuration that cannot be honoured.
    pub fn start(parts: Parts, config: Arc<Config>) -> Result<Self, StartError> {
        let Parts { definitions, services, resolver, settings, listeners } = parts;
        let (sockets, mut addresses) = bind_all(&listeners, services.workers)?;
        let (datagrams, of_datagrams) = bind_datagrams(&listeners, services.workers)?;
        addresses.extend(of_datagrams);
        let tls =
            Keeper::new(settings.tls.clone()).map_err(|error| StartError::Tls(io::Error::other(error)))?;
        let compiler = Compiler { definitions, services: &services, resolver: &resolver, tls: &tls };
        let snapshot = compiler.compile(config).map_err(StartError::Configuration)?;
        resolver.settle(SETTLE);
        let publisher = Arc::new(Publisher::new(snapshot));
        let (orders, _) = watch::channel(Order::Run);
        let gateway = Self {
            definitions,
            services,
            resolver,
            tls,
            publisher,
            addresses,
            orders,
            drain_timeout: settings.drain_timeout,
            threads: Mutex::default(),
            reloading: Mutex::default(),
        };
        gateway.report_health();
        for (index, sockets) in sockets.into_iter().zip(datagrams).enumerate() {
            gateway.start_worker(index, sockets, settings.clone()).map_err(StartError::Thread)?;
        }
        Ok(gateway)
    }

    fn start_worker(
        &self,
        index: usize,
        (sockets, datagrams): (Vec<Socket>, Vec<UdpSocket>),
        settings: Settings,
    ) -> io::Result<()> {
        let (services, publisher) = (self.services.clone(), self.publisher.clone());
        let orders = self.orders.subscribe();
        let body = move || {
            let make = || {
                let worker = std::rc::Rc::new(Worker::new(index, services));
                Local::new(worker, std::rc::Rc::new(settings), Box::new(Tcp), &publisher)
            };
            if let Err(error) = worker::run(sockets, datagrams, orders, make) {
                tracing::error!(%error, worker = index, "a worker could not start");
            }
        };
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(body)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn report_health(&self) {
        let publisher = self.publisher.clone();
        self.services.report_health(move || publisher.current().balancers.health());
    }

    /// The addresses listened on, with the ports that were taken.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The configuration being served.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.publisher.current().config.clone()
    }

    /// Serves `config` from the next request on. Running requests keep the one they began with.
    ///
    /// # Errors
    /// Everything in `config` that cannot be honoured; the old one stays.
    pub fn reload(&self, config: Arc<Config>) -> Result<(), Vec<Problem>> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let compiler = Compiler {
            definitions: self.definitions,
            services: &self.services,
            resolver: &self.resolver,
            tls: &self.tls,
        };
        let snapshot: Snapshot = compiler.compile(config)?;
        self.resolver.settle(SETTLE);
        self.publisher.publish(snapshot);
        Ok(())
    }

    /// Stops accepting and waits for running requests, at most the configured time. Then ends what is left.
    pub fn drain(&self) {
        self.orders.send_replace(Order::Drain);
        let deadline = Instant::now() + self.drain_timeout;
        while self.is_running() && Instant::now() < deadline && *self.orders.borrow() == Order::Drain {
            thread::park_timeout(Duration::from_millis(10));
        }
        self.stop();
    }

    /// Whether no new connections are taken any more.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.orders.borrow() != Order::Run
    }

    fn is_running(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().any(|thread| !thread.is_finished())
    }

    /// Ends everything at once.
    pub fn stop(&self) {
        self.orders.send_replace(Order::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker that panicked has already been reported by the panic hook.
            let _ = thread.join();
        }
    }

    /// Tells a running [`Gateway::drain`] to wait no longer.
    pub fn hurry(&self) {
        self.orders.send_replace(Order::Stop);
    }
}

fn no_tls(error: &rustls::Error) -> Problem {
    Problem::new(Place(Vec::new()), Span::default(), format!("TLS cannot be used: {error}"))
}

type Sockets = Vec<Vec<Socket>>;

/// Opens every listener once per worker; the kernel spreads connections over them (`SO_REUSEPORT`).
fn bind_all(listeners: &[Listener], workers: usize) -> Result<(Sockets, Vec<SocketAddr>), StartError> {
    let mut sockets: Sockets = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.carries != Carries::Datagrams) {
        let wrong = |error| StartError::Listen(listener.address, error);
        // Without SO_REUSEPORT first, so that a port another process shares is reported as taken.
        probe(listener.address).map_err(wrong)?;
        let mut address = listener.address;
        for worker in &mut sockets {
            let socket = bind(address, listener.backlog).map_err(wrong)?;
            address = socket.local_addr().map_err(wrong)?;
            let Listener { tls, http2, proxied, carries, .. } = *listener;
            let spoken = Spoken { tls, http2, proxied, stream: carries == Carries::Connections };
            worker.push(worker::Socket { listener: socket, spoken });
        }
        addresses.push(address);
    }
    Ok((sockets, addresses))
}

type Datagrams = Vec<Vec<UdpSocket>>;

/// The same for listeners of UDP.
fn bind_datagrams(
    listeners: &[Listener],
    workers: usize,
) -> Result<(Datagrams, Vec<SocketAddr>), StartError> {
    let mut sockets: Datagrams = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.carries == Carries::Datagrams) {
        let wrong = |error| StartError::Listen(listener.address, error);
        let mut address = listener.address;
        if address.port() > 0 {
            UdpSocket::bind(address).map_err(wrong)?;
        }
        for worker in &mut sockets {
            let socket = stream::udp::bind(address).map_err(wrong)?;
            address = socket.local_addr().map_err(wrong)?;
            worker.push(socket);
        }
        addresses.push(address);
    }
    Ok((sockets, addresses))
}

fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn bind(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
