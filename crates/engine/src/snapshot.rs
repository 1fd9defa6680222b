//! A configuration made ready to run: immutable, compiled off the data path, picked up by workers between requests.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use model::Config;
use model::entity::Service;
use plugin::exchange::{Matched, Scheme};
use plugin::{Exchange, Phases};

use crate::balance::{Balancer, Balancers};
use crate::chain::Chain;
use crate::health::Checks;
use crate::retirement::Retirement;
use crate::route::Router;
use crate::tls::{Terminator, Trust};
use crate::upstream::destination::Announcing;

/// Everything a request needs to know of the configuration.
pub struct Snapshot {
    /// The configuration it was made from.
    pub config: Arc<Config>,
    /// Finds the route of a request.
    pub(crate) router: Router,
    /// Finds the route of a connection or a datagram.
    pub(crate) streams: crate::stream::Routes,
    /// The routes by ordinal.
    pub(crate) routes: Vec<CompiledRoute>,
    /// Plugins for requests without a route, and for `rewrite`.
    pub(crate) globals: Chain,
    /// All plugin instances.
    pub(crate) instances: Vec<Arc<dyn Phases>>,
    /// Number of slots: distinct plugin names in use.
    pub(crate) slots: usize,
    /// Targets of all services.
    pub(crate) balancers: Balancers,
    /// What is found out about the health of targets.
    pub(crate) checks: Checks,
    /// Services to whose targets connections are kept ready.
    pub(crate) warm: Box<[Plan]>,
    /// Where rooms may send requests, by number.
    pub(crate) detours: Vec<crate::detour::Compiled>,
    /// Certificates by server name.
    pub(crate) terminator: Terminator,
}

/// A route ready to run: one line of the processor's cache, as there may be thousands and each request has another. What
/// many routes have in common they share.
#[repr(align(64))]
pub struct CompiledRoute {
    /// The entities.
    pub matched: Arc<Matched>,
    /// Its plugins.
    pub chain: Arc<Chain>,
    /// Its service, if it has one.
    pub service: Option<Arc<CompiledService>>,
    /// What its clients have to speak.
    pub speaks: Speaks,
    /// The part of the path that matched is not passed on.
    pub strip_path: bool,
    /// The upstream sees the host that the client asked for.
    pub preserve_host: bool,
    /// A request is waited for before it is passed on.
    pub request_buffering: bool,
}

const _: () = assert!(size_of::<CompiledRoute>() == 64);

/// A service ready to be asked.
pub struct CompiledService {
    /// How it is reached.
    pub plan: Plan,
    /// Its path.
    pub path: Option<String>,
    /// Its position among the configuration's services.
    pub ordinal: usize,
}

impl CompiledRoute {
    /// How its service is reached, if it has one.
    pub fn plan(&self) -> Option<&Plan> {
        self.service.as_ref().map(|service| &service.plan)
    }

    /// The path of its service.
    pub fn service_path(&self) -> Option<&str> {
        self.service.as_ref()?.path.as_deref()
    }
}

/// What the clients of a route have to speak. What it does not ask for is left to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP, with or without TLS.
    Http,
    /// HTTP over TLS.
    Https,
    /// gRPC, with or without TLS.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// WebSocket, with or without TLS.
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
}

/// The versions of HTTP that are spoken to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, which it is known to speak.
    Http2,
    /// What each connection's TLS handshake comes to.
    Negotiated,
}

impl Versions {
    /// The versions for `service`.
    pub fn of(service: &Service) -> Self {
        match (service.protocol.as_str(), service.http2) {
            ("grpc" | "grpcs", _) | ("http", Some(true)) => Self::Http2,
            ("https", Some(true)) => Self::Negotiated,
            _ => Self::Http1,
        }
    }
}

/// Bounds on waits for a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// Between two writes.
    pub write: Duration,
    /// Between two reads.
    pub read: Duration,
}

impl Timeouts {
    /// These, but for those that plugins have `set`.
    pub fn with(self, set: &plugin::exchange::Timeouts) -> Self {
        Self {
            connect: set.connect.unwrap_or(self.connect),
            write: set.write.unwrap_or(self.write),
            read: set.read.unwrap_or(self.read),
        }
    }
}

/// How a service is reached.
#[derive(Clone)]
pub struct Plan {
    /// Chooses targets.
    pub balancer: Arc<Balancer>,
    /// Scheme of the service.
    pub scheme: Scheme,
    /// What is spoken to it.
    pub versions: Versions,
    /// Requests to it are calls of gRPC.
    pub calls: bool,
    /// How it is told of clients, if it is.
    pub announcing: Option<Announcing>,
    /// Whom to believe about it under TLS; none in cleartext.
    pub trust: Option<Arc<Trust>>,
    /// Bounds on waits for it.
    pub timeouts: Timeouts,
    /// Further attempts after the first.
    pub retries: usize,
}

impl Plan {
    /// How `service` is reached through `balancer`, believing whom `trust` says. Not for the data path.
    pub fn new(service: &Service, balancer: Arc<Balancer>, trust: Option<Arc<Trust>>) -> Self {
        let tls = matches!(service.protocol.as_str(), "https" | "grpcs" | "wss");
        Self {
            balancer,
            scheme: if tls { Scheme::Https } else { Scheme::Http },
            versions: Versions::of(service),
            calls: service.protocol.starts_with("grpc"),
            announcing: Announcing::to(service),
            trust,
            timeouts: Timeouts {
                connect: millis(service.connect_timeout),
                write: millis(service.write_timeout),
                read: millis(service.read_timeout),
            },
            retries: usize::try_from(service.retries).unwrap_or(usize::MAX),
        }
    }
}

fn millis(timeout: impl TryInto<u64>) -> Duration {
    Duration::from_millis(timeout.try_into().unwrap_or(u64::MAX))
}

impl Snapshot {
    /// The chain of the route that matched, or the global one.
    pub(crate) fn chain(&self, exchange: &Exchange) -> &Chain {
        match &exchange.matched {
            Some(matched) => &self.routes[matched.ordinal].chain,
            None => &self.globals,
        }
    }
}

/// Hands new snapshots to the workers.
pub struct Publisher {
    shared: Arc<Shared>,
    retirement: Retirement,
}

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
}

impl Publisher {
    /// Begins with `snapshot`.
    ///
    /// # Errors
    /// When there cannot be a thread that frees snapshots.
    pub fn new(snapshot: Snapshot) -> io::Result<Self> {
        snapshot.balancers.take_effect(None);
        let shared = Shared { snapshot: ArcSwap::from_pointee(snapshot), generation: AtomicU64::new(1) };
        Ok(Self { shared: Arc::new(shared), retirement: Retirement::start()? })
    }

    /// Makes `snapshot` the one every request from now on is served by.
    pub fn publish(&self, snapshot: Snapshot) {
        let new = Arc::new(snapshot);
        let old = self.shared.snapshot.swap(new.clone());
        new.balancers.take_effect(Some(&old.balancers));
        self.shared.generation.fetch_add(1, Ordering::Release);
        self.retirement.take(old);
    }

    /// The newest snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// A worker's view of the newest snapshot.
    pub fn follow(&self) -> Current {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let held = RefCell::new(Rc::new(self.current()));
        Current { shared: self.shared.clone(), generation: Cell::new(generation), held }
    }
}

/// A worker's view of the newest snapshot: one relaxed load per request while nothing changes.
pub struct Current {
    shared: Arc<Shared>,
    generation: Cell<u64>,
    held: RefCell<Held>,
}

/// A worker's handle on a snapshot: counted without atomics, so that workers do not share a cache line per request.
pub type Held = Rc<Arc<Snapshot>>;

impl Current {
    /// The newest snapshot.
    #[inline]
    pub fn get(&self) -> Held {
        self.refresh();
        self.held.borrow().clone()
    }

    /// Lets go of a snapshot that has been replaced. Workers without requests call it now and then.
    #[inline]
    pub fn refresh(&self) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation.get() {
            self.generation.set(generation);
            *self.held.borrow_mut() = Rc::new(self.shared.snapshot.load_full());
        }
    }
}
