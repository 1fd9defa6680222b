//! A client connection and what its worker lends it while a request is running.

use std::rc::Rc;
use std::time::Duration;

use plugin::Exchange;
use plugin::exchange::Client;
use plugin::services::Worker;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::balance::InFlight;
use crate::channel::{Channel, Fault};
use crate::connections::Idle;
use crate::snapshot::Timeouts;
use crate::upload::Upload;

mod local;

pub use local::Local;

/// Largest buffer a resting [`Workspace`] keeps, in bytes.
const KEPT_BUFFER: usize = 128 << 10;
/// Bytes read from a client at a time while a head is awaited.
pub const HEAD_READ: usize = 8 << 10;
/// Time without a request after which a connection gives back what requests are carried out in.
const MOMENT: Duration = Duration::from_secs(1);
/// Bytes read from a client at a time while a connection lingers.
const LINGER_READ: usize = 16 << 10;
/// Bytes taken from a client after the last response of a connection.
const LINGER_BYTES: usize = 1 << 20;
/// Time a client gets to read the last response of a connection.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The memory a request works in. Idle connections have none.
pub struct Workspace {
    /// The state of the request.
    pub exchange: Exchange,
    /// Bytes on their way to the client.
    pub to_client: Vec<u8>,
    /// Bytes on their way to the upstream.
    pub to_upstream: Vec<u8>,
    /// Small pieces of text.
    pub scratch: Vec<u8>,
    /// The request body's way to the upstream.
    pub upload: Upload,
    /// The request at its target, for as long as it counts among those there.
    pub in_flight: InFlight,
    /// A cookie by which the client comes back to its target, as the field value of `Set-Cookie`; empty for none.
    pub set_cookie: Vec<u8>,
    /// Bounds on waits for the upstream: its service's, but for those that plugins have set.
    pub timeouts: Timeouts,
}

impl Workspace {
    fn new(worker: Rc<Worker>, client: Client) -> Self {
        Self {
            exchange: Exchange::new(worker, client),
            to_client: Vec::new(),
            to_upstream: Vec::new(),
            scratch: Vec::new(),
            upload: Upload::default(),
            in_flight: InFlight::default(),
            set_cookie: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    /// The request has left its target, and nothing is owed to its client any more.
    pub fn leave(&mut self) {
        self.in_flight = InFlight::default();
        self.set_cookie.clear();
    }

    fn rest(&mut self) {
        self.exchange.rest();
        self.upload.rest(KEPT_BUFFER);
        self.scratch.clear();
        if self.scratch.capacity() > KEPT_BUFFER {
            self.scratch = Vec::new();
        }
    }
}

/// A client connection that has just been made.
pub struct Arrival {
    /// The worker's corner.
    pub local: Rc<Local>,
    /// The connection's bytes.
    pub channel: Channel,
    /// Who is at the other end.
    pub client: Client,
    /// Number of the connection, unique within the worker.
    pub number: u64,
    /// Whether no request is running; shared with the worker's books.
    pub idle: Rc<Idle>,
}

/// A client connection.
pub struct Session {
    /// The worker's corner.
    pub local: Rc<Local>,
    /// The connection's bytes.
    pub channel: Channel,
    /// Who is at the other end.
    pub client: Client,
    /// Number of this connection, unique within the worker.
    pub number: u64,
    /// Requests begun on this connection.
    pub requests: u64,
    /// When the connection was made, or its last response was complete.
    pub quiet_since: Instant,
    /// Whether no request is running; shared with the worker's books.
    pub idle: Rc<Idle>,
    workspace: Option<Box<Workspace>>,
}

impl Session {
    /// Begins with a connection that has been made.
    pub fn new(arrival: Arrival) -> Self {
        let Arrival { local, channel, client, number, idle } = arrival;
        Self {
            local,
            channel,
            client,
            number,
            requests: 0,
            quiet_since: Instant::now(),
            idle,
            workspace: None,
        }
    }

    /// Waits for the first byte of the next request, holding no memory meanwhile. False when the connection is over.
    pub async fn await_request(&mut self) -> bool {
        let arrived = self.request_within(self.local.settings.idle_timeout).await;
        if arrived.is_err() && self.channel.stream.is_tls() {
            self.take_leave(Instant::now() + LINGER_TIME).await;
        }
        arrived.unwrap_or(false)
    }

    /// The same for a moment only. False when nothing came, whatever the reason.
    pub async fn await_another(&mut self) -> bool {
        let moment = MOMENT.min(self.local.settings.idle_timeout);
        self.request_within(moment).await.unwrap_or(false)
    }

    /// Whether a request begins, and not the end of the connection, within `limit` of the last response.
    async fn request_within(&mut self, limit: Duration) -> Result<bool, Fault> {
        if self.channel.input.is_empty() {
            if self.local.draining.get() && !self.local.patient.get() && self.requests > 0 {
                return Ok(false);
            }
            self.rest();
            if !self.hears(self.quiet_since + limit).await? {
                return Ok(false);
            }
        }
        self.begin_work();
        Ok(true)
    }

    /// Whether something comes, and not the end of the connection.
    async fn hears(&mut self, deadline: Instant) -> Result<bool, Fault> {
        if self.requests > 0 {
            return self.channel.readable(deadline).await;
        }
        // A new connection passes for readable until something has been read of it or nothing was there.
        match self.channel.fill(HEAD_READ, deadline).await {
            Err(Fault::Closed) => Ok(false),
            filled => filled.map(|_| true),
        }
    }

    /// Gives a client that is still sending the chance to read the response before the connection goes: closing with
    /// unread bytes would reset it (RFC 9112 9.6). Bounded in time and bytes. The farewell tells the client that the
    /// response is whole, where nothing else does (RFC 9112 8, RFC 8446 6.1), so there is none after one that broke off.
    pub async fn linger(&mut self) {
        let unread = !self.channel.input.is_empty() || self.channel.must_close;
        let work = self.workspace.as_ref();
        let uploading = work.is_some_and(|work| !work.upload.is_done());
        let tls = self.channel.stream.is_tls();
        let broken_off = work.is_some_and(|work| work.exchange.record.aborted);
        if !broken_off && (unread || uploading || tls) {
            let deadline = Instant::now() + LINGER_TIME;
            let gone = self.take_leave(deadline).await;
            if !gone && (unread || uploading) {
                self.discard(deadline).await;
            }
        }
        self.rest();
    }

    /// Says that nothing more will be sent. Whether the client cannot be told.
    async fn take_leave(&mut self, deadline: Instant) -> bool {
        let Channel { stream, timer, .. } = &mut self.channel;
        timer.until(deadline, stream.shutdown()).await.is_err()
    }

    async fn discard(&mut self, deadline: Instant) {
        let mut discarded = 0;
        while let Ok(count) = self.channel.fill(LINGER_READ, deadline).await {
            self.channel.input.consume(count);
            discarded += count;
            if discarded > LINGER_BYTES {
                break;
            }
        }
    }

    /// Takes a workspace from the worker.
    pub fn begin_work(&mut self) {
        if self.workspace.is_none() {
            let mut workspace = self.local.lend(&self.client);
            let worker = &self.local.worker;
            workspace.exchange.connection =
                self.number * worker.services.workers as u64 + worker.index as u64;
            workspace.exchange.requests = self.requests;
            self.workspace = Some(workspace);
        }
        self.idle.work();
    }

    /// Gives the workspace back.
    pub fn rest(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            self.local.take_back(workspace);
        }
        self.idle.rest(self.quiet_since);
    }

    /// The parts of a session in which a request is running.
    pub fn parts(&mut self) -> Parts<'_> {
        let workspace = self.workspace.as_mut().expect("a running request has a workspace");
        Parts { local: &self.local, channel: &mut self.channel, work: workspace }
    }
}

impl Drop for Session {
    /// However a connection ends, its memory serves the next one.
    fn drop(&mut self) {
        self.rest();
    }
}

/// A running request's parts, borrowed separately.
pub struct Parts<'a> {
    /// The worker's corner.
    pub local: &'a Rc<Local>,
    /// The client's bytes.
    pub channel: &'a mut Channel,
    /// The request's memory.
    pub work: &'a mut Workspace,
}
