//! What one worker has.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashSet;
use plugin::exchange::Client;
use plugin::services::Worker;
use plugin::stats::Shard;
use tokio::sync::Notify;

use super::Workspace;
use crate::bounds::Bounds;
use crate::buffers::Buffers;
use crate::connections::Connections;
use crate::date::DateCache;
use crate::http2::pool::Http2Pool;
use crate::load::Load;
use crate::settings::Settings;
use crate::snapshot::{Current, Held, Publisher};
use crate::tls::{Handshakes, Seldom};
use crate::upstream::connect::Dial;
use crate::upstream::pool::Pool;

/// Workspaces one worker keeps for later.
const KEPT_WORKSPACES: usize = 256;

/// What one worker has, shared by its connections. Never leaves its thread.
pub struct Local {
    /// The worker as plugins see it.
    pub worker: Rc<Worker>,
    /// The operator's settings.
    pub settings: Rc<Settings>,
    /// Idle connections to upstreams.
    pub pool: Pool,
    /// HTTP/2 connections to upstreams.
    pub http2_pool: Http2Pool,
    /// Told when another worker waits for the place of a connection that is idle here.
    pub roused: Arc<Notify>,
    /// Addresses to which connections are being opened ahead.
    pub warming: RefCell<AHashSet<SocketAddr>>,
    /// The connections of clients.
    pub connections: Connections,
    /// What is turned away.
    pub load: Load,
    /// What layer 4 does not carry.
    pub streams: crate::stream::Tallies,
    /// Which bounds were reached of late.
    pub bounds: Bounds,
    /// Memory for bytes on their way.
    pub buffers: Rc<Buffers>,
    /// Opens connections to upstreams.
    pub dial: Box<dyn Dial>,
    /// TLS handshakes of clients under way.
    pub handshakes: Handshakes,
    /// Lines about services that do not answer, or are not trusted.
    pub complaints: Seldom,
    /// The text of the `Date` field.
    pub date: DateCache,
    /// The gateway is stopping: no connection is kept alive.
    pub draining: Cell<bool>,
    /// Connections that have not been told so yet stay open until they have.
    pub(super) patient: Cell<bool>,
    stopping: Notify,
    snapshots: Current,
    #[expect(clippy::vec_box, reason = "workspaces are large and change hands")]
    workspaces: RefCell<Vec<Box<Workspace>>>,
    /// Fewest workspaces that lay idle at any time since the last tidying.
    fewest_workspaces: Cell<usize>,
}

impl Local {
    /// The corner of one worker.
    pub fn new(
        worker: Rc<Worker>,
        settings: Rc<Settings>,
        dial: Box<dyn Dial>,
        publisher: &Publisher,
    ) -> Self {
        let pool = Pool::new(
            worker.index,
            settings.upstream_pool_size,
            settings.upstream_idle_timeout,
            settings.upstream_max_requests,
        );
        Self {
            http2_pool: Http2Pool::new(
                worker.index,
                settings.upstream_pool_size,
                settings.upstream_max_requests,
            ),
            roused: Arc::default(),
            warming: RefCell::default(),
            settings,
            pool,
            connections: Connections::default(),
            load: Load::new(&worker.services, dial.descriptors()),
            streams: crate::stream::Tallies::new(&worker.services),
            bounds: Bounds::default(),
            buffers: Rc::default(),
            dial,
            handshakes: Handshakes::default(),
            complaints: Seldom::default(),
            date: DateCache::default(),
            draining: Cell::new(false),
            patient: Cell::new(false),
            worker,
            stopping: Notify::new(),
            snapshots: publisher.follow(),
            workspaces: RefCell::default(),
            fewest_workspaces: Cell::new(0),
        }
    }

    /// The newest snapshot.
    #[inline]
    pub fn snapshot(&self) -> Held {
        self.snapshots.get()
    }

    /// Lets go of what is no longer needed. Called about every second.
    pub fn tidy(&self) {
        self.worker.read_clock();
        self.snapshots.refresh();
        self.pool.sweep();
        self.yield_idle();
        self.http2_pool.sweep(self.settings.upstream_idle_timeout);
        let mut kept = self.workspaces.borrow_mut();
        // Those that nobody has needed since the last time.
        let needed = kept.len() - self.fewest_workspaces.get().min(kept.len());
        kept.truncate(needed);
        self.fewest_workspaces.set(kept.len());
    }

    /// Closes idle connections whose places others wait for.
    pub fn yield_idle(&self) {
        self.pool.yield_idle();
        self.http2_pool.yield_idle();
    }

    /// From now on no connection is kept alive; a `patient` worker lets each have one more request.
    pub fn begin_drain(&self, patient: bool) {
        self.draining.set(true);
        self.patient.set(patient);
        self.stopping.notify_waiters();
    }

    /// Waits until the gateway stops.
    pub async fn stopping(&self) {
        let mut notified = std::pin::pin!(self.stopping.notified());
        notified.as_mut().enable();
        if !self.draining.get() {
            notified.await;
        }
    }

    /// This worker's counters.
    #[inline]
    pub fn stats(&self) -> &Shard {
        self.worker.services.stats.shard(self.worker.index)
    }

    /// Lends memory for a request of `client`.
    pub fn lend(self: &Rc<Self>, client: &Client) -> Box<Workspace> {
        let mut kept = self.workspaces.borrow_mut();
        let lent = kept.pop();
        self.fewest_workspaces.set(self.fewest_workspaces.get().min(kept.len()));
        match lent {
            Some(mut workspace) => {
                workspace.exchange.client.clone_from(client);
                workspace
            }
            None => Box::new(Workspace::new(self.worker.clone(), client.clone())),
        }
    }

    /// Takes it back.
    pub fn take_back(&self, mut workspace: Box<Workspace>) {
        let mut kept = self.workspaces.borrow_mut();
        if kept.len() < KEPT_WORKSPACES {
            self.buffers.give(std::mem::take(&mut workspace.to_client));
            workspace.rest();
            kept.push(workspace);
        }
    }
}
