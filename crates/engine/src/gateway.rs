//! The data plane as a whole: starts the workers, gives them new configurations, stops them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use model::node::Span;
use model::{Config, Place, Problem};
use plugin::services::{DiscoveryReport, Worker};
use plugin::{Definition, Services};
use tokio::sync::watch;

use crate::compile::Compiler;
use crate::descriptors::{Descriptors, Files};
use crate::dns::Resolver;
use crate::health::Prober;
use crate::listen::{Address, Bound, Inherited, Listener, Listening};
use crate::session::Local;
use crate::settings::Settings;
use crate::snapshot::{Publisher, Snapshot};
use crate::tls::{Keeper, TlsSettings};
use crate::upstream::connect::Tcp;
use crate::worker::{self, Order};

/// Longest wait for lists of targets and host names before a configuration is used.
const SETTLE: Duration = Duration::from_secs(2);

/// Why the data plane could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be listened on.
    Listen(Address, io::Error),
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
    /// Sockets that listen already. Those at none of these addresses are closed.
    pub inherited: Vec<Inherited>,
}

/// A running data plane.
pub struct Gateway {
    definitions: &'static [&'static dyn Definition],
    services: Arc<Services>,
    resolver: Arc<Resolver>,
    tls: Keeper,
    publisher: Arc<Publisher>,
    listening: Listening,
    files: Arc<Files>,
    prober: Prober,
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
        let Parts { definitions, services, resolver, settings, listeners, mut inherited } = parts;
        let listening = Listening::start(&listeners, services.workers, &mut inherited)?;
        let tls =
            Keeper::new(settings.tls.clone()).map_err(|error| StartError::Tls(io::Error::other(error)))?;
        let roots = tls.roots();
        services
            .provide_client_tls(move |verify| roots.client_config(verify).map_err(|error| error.to_string()));
        let compiler = Compiler { definitions, services: &services, resolver: &resolver, tls: &tls };
        let snapshot = compiler.compile(config).map_err(StartError::Configuration)?;
        settle(&resolver);
        let publisher = Arc::new(Publisher::new(snapshot).map_err(StartError::Thread)?);
        let prober = Prober::start(resolver.book.clone(), publisher.clone()).map_err(StartError::Thread)?;
        let (orders, _) = watch::channel(Order::Run);
        let gateway = Self {
            definitions,
            services,
            resolver,
            tls,
            publisher,
            listening,
            files: Files::new(settings.most_descriptors),
            prober,
            orders,
            drain_timeout: settings.drain_timeout,
            threads: Mutex::default(),
            reloading: Mutex::default(),
        };
        gateway.follow_health();
        for index in 0..gateway.services.workers {
            gateway.start_worker(index, settings.clone()).map_err(StartError::Thread)?;
        }
        Ok(gateway)
    }

    fn start_worker(&self, index: usize, settings: Settings) -> io::Result<()> {
        let (services, publisher) = (self.services.clone(), self.publisher.clone());
        let (gates, files) = (self.resolver.gates.clone(), self.files.clone());
        let (sockets, orders) = (self.listening.follow(index), self.orders.subscribe());
        let (started, word) = mpsc::channel();
        let body = move || {
            let failed = started.clone();
            let make = || {
                let worker = Rc::new(Worker::new(index, services));
                let tcp = Tcp(Rc::new(Descriptors::of(files)));
                let local = Local::new(worker, Rc::new(settings), Box::new(tcp), &publisher);
                gates.tell(&local.roused);
                // Nobody stops listening to a worker that is starting.
                let _ = started.send(Ok(()));
                local
            };
            if let Err(error) = worker::run(sockets, orders, make) {
                let _ = failed.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(body)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        // Connections would come to its sockets and not be accepted.
        word.recv().unwrap_or_else(|_| Err(io::Error::other("a worker could not start")))
    }

    /// Lets the control plane see the health of targets, and set it.
    fn follow_health(&self) {
        let publisher = self.publisher.clone();
        self.services.report_health(move || publisher.current().balancers.health());
        let (publisher, resolver) = (self.publisher.clone(), self.resolver.clone());
        self.services.report_discovery(move || DiscoveryReport {
            sources: publisher.current().balancers.sources(),
            names: resolver.counts(),
            pools: publisher.current().balancers.pools(),
        });
        let (publisher, book) = (self.publisher.clone(), self.resolver.book.clone());
        self.services.steer_health(move |order| {
            book.set(&publisher.current().checks, order, tokio::time::Instant::now())
        });
        self.settle_health();
    }

    /// Draws the consequences of what another snapshot wants to know.
    fn settle_health(&self) {
        let book = &self.resolver.book;
        book.settle(&self.publisher.current().checks, tokio::time::Instant::now());
        book.rouse().notify_one();
    }

    /// What is listened on, with the ports that were taken.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        self.listening.listeners()
    }

    /// The addresses and ports among that.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners().iter().filter_map(|listener| listener.address.inet()).collect()
    }

    /// The sockets that listen, and the addresses they were asked for by, to be given to another process.
    #[must_use]
    pub fn sockets(&self) -> Vec<(Address, Arc<Bound>)> {
        self.listening.sockets()
    }

    /// Listens where `listeners` say and nowhere else, which leaves connections the files below `most_descriptors`.
    /// Connections that have been made stay.
    ///
    /// # Errors
    /// The address that cannot be listened on; everything stays as it was.
    pub fn listen(&self, listeners: &[Listener], most_descriptors: RawFd) -> Result<(), StartError> {
        self.listening.change(listeners, &mut Vec::new())?;
        self.files.allow(most_descriptors);
        Ok(())
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
        settle(&self.resolver);
        self.publisher.publish(snapshot);
        self.settle_health();
        Ok(())
    }

    /// Shows the default certificates of `settings` from the next connection on. Whether they are others than before.
    ///
    /// # Errors
    /// When they cannot be used; the old ones stay.
    pub fn renew_certificates(&self, settings: &TlsSettings) -> Result<bool, String> {
        let renewed = self.tls.renew(settings).map_err(|error| error.to_string())?;
        if renewed {
            let told = |problems: Vec<Problem>| problems.first().map(|problem| problem.message.clone());
            self.reload(self.config()).map_err(|problems| told(problems).unwrap_or_default())?;
        }
        Ok(renewed)
    }

    /// Stops accepting and waits for running requests, at most the configured time. Then ends what is left.
    pub fn drain(&self) {
        self.wind_down(Order::Drain);
    }

    /// The same when another process has taken the sockets over: each connection gets to have one more request.
    pub fn hand_over(&self) {
        self.wind_down(Order::HandOver);
    }

    fn wind_down(&self, order: Order) {
        self.orders.send_replace(order);
        self.listening.close(order == Order::HandOver);
        let deadline = Instant::now() + self.drain_timeout;
        while self.is_running() && Instant::now() < deadline && *self.orders.borrow() == order {
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
        self.prober.stop();
    }

    /// Tells a running [`Gateway::drain`] to wait no longer.
    pub fn hurry(&self) {
        self.orders.send_replace(Order::Stop);
    }
}

/// Waits a while for lists of targets, and for the names in them and elsewhere.
fn settle(resolver: &Resolver) {
    let begun = Instant::now();
    resolver.directory.settle(SETTLE);
    resolver.settle(SETTLE.saturating_sub(begun.elapsed()));
}

fn no_tls(error: &rustls::Error) -> Problem {
    Problem::new(Place(Vec::new()), Span::default(), format!("TLS cannot be used: {error}"))
}
