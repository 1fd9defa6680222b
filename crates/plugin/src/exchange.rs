//! Everything known about one request, from its head to its log line.
//!
//! The engine owns one [`Exchange`] per connection and reuses it, so that a keep-alive request allocates nothing
//! here after the first. Rooms never hold it: they see it through the [views](crate::views).

use std::any::Any;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::entity::{Consumer, Route, Service};
use uuid::Uuid;
use wire::{Headers, Known, Method, RequestHead, ResponseHead};

use crate::claims::Claims;
pub use crate::client::{Client, ClientCertificate, Demand, Scheme, Tls};
use crate::detour::Detour;
use crate::groups::ConsumerGroups;
use crate::guard::Guard;
use crate::identity::{Caller, Proof, Told};
use crate::repeat;
use crate::reply::Reply;
use crate::services::Worker;

mod record;

pub use record::{Latencies, Record, Trouble, Try};

/// Who made the response (kong.md 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// The gateway itself: an answer of a plugin or an error.
    #[default]
    Gateway,
    /// The upstream service.
    Upstream,
}

/// A route with its service, as the router found it. Compiled at reload.
#[derive(Debug)]
pub struct Matched {
    /// The route.
    pub route: Arc<Route>,
    /// Its service; a route may have none.
    pub service: Option<Arc<Service>>,
    /// Position of the route among the configuration's routes; rooms may index tables built at reload with it.
    pub ordinal: usize,
    /// The route as JSON, for log lines.
    pub route_json: Box<str>,
    /// The service as JSON, for log lines.
    pub service_json: Option<Arc<str>>,
}

/// Captures of the regular expression that matched the path.
#[derive(Debug, Default)]
pub struct Captures {
    /// Names by group number; group 0 is the whole match.
    pub names: Option<Arc<[Option<Box<str>>]>>,
    /// Ranges in `text` by group number.
    pub groups: Vec<Option<Range<usize>>>,
    /// The normalized path that was matched.
    pub text: Vec<u8>,
}

impl Captures {
    /// Forgets the captures and keeps the memory.
    pub fn clear(&mut self) {
        self.names = None;
        self.groups.clear();
        self.text.clear();
    }

    /// A group by number.
    #[must_use]
    pub fn index(&self, group: usize) -> Option<&[u8]> {
        let range = self.groups.get(group)?.clone()?;
        self.text.get(range)
    }

    /// A group by name.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&[u8]> {
        let names = self.names.as_ref()?;
        let group = names.iter().position(|known| known.as_deref() == Some(name))?;
        self.index(group)
    }
}

/// The request as it will be sent upstream. Filled after routing, edited by rooms.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// Path, percent-escaped, never empty once routed.
    pub path: Vec<u8>,
    /// Query without `?`; meaningful only with `has_query`.
    pub query: Vec<u8>,
    /// There is a `?`, possibly with nothing after it.
    pub has_query: bool,
    /// Method to use instead of the client's.
    pub method: Option<Method>,
    /// Value of `Host` demanded by a room; empty for the rule of kong.md 3.2.
    pub host: Vec<u8>,
    /// Part of the path that the route matched and stripped, for `X-Forwarded-Prefix`.
    pub stripped_prefix: Vec<u8>,
}

impl Upstream {
    fn clear(&mut self) {
        self.path.clear();
        self.query.clear();
        self.has_query = false;
        self.method = None;
        self.host.clear();
        self.stripped_prefix.clear();
    }
}

/// Times for the upstream in place of its service's own; none leaves that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Option<Duration>,
    /// Between two writes.
    pub write: Option<Duration>,
    /// Between two reads.
    pub read: Option<Duration>,
}

/// The most that a room accepts of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// Bytes of content.
    pub bytes: u64,
    /// What a client with more is told, with the status 413.
    pub message: &'static str,
}

/// What authentication found out.
#[derive(Debug, Default)]
pub struct Identity {
    /// Who is calling, if anybody found out.
    pub caller: Option<Arc<Caller>>,
    /// Groups that an authentication plugin vouches for, apart from those the consumer has.
    pub groups: Option<Arc<[Box<str>]>>,
    /// Consumer groups that it vouches for; they choose the configuration of later plugins, as a consumer's own do.
    pub consumer_groups: Option<Arc<ConsumerGroups>>,
    /// What the caller's token says, as far as a room wants to know.
    pub claims: Option<Arc<Claims>>,
    /// What the client claims about who it is has been removed.
    pub(crate) is_disbelieved: bool,
    /// The fields of their own that only rooms may tell. What the client has sent in them has been removed.
    pub(crate) told: Told,
}

impl Identity {
    /// The consumer, real or anonymous. For its id, [`Identity::consumer_id`] looks at fewer places in memory.
    #[must_use]
    pub fn consumer(&self) -> Option<&Arc<Consumer>> {
        self.caller.as_ref()?.consumer.as_ref()
    }

    /// The id of the consumer, real or anonymous.
    #[must_use]
    #[inline]
    pub fn consumer_id(&self) -> Option<Uuid> {
        self.caller.as_ref()?.consumer_id()
    }

    /// The credential; none for an anonymous consumer.
    #[must_use]
    #[inline]
    pub fn credential(&self) -> Option<Proof<'_>> {
        self.caller.as_ref()?.credential()
    }
}

/// The state of one request. See the module documentation.
pub struct Exchange {
    /// The worker that serves the connection.
    pub worker: Rc<Worker>,
    /// Who is asking.
    pub client: Client,
    /// Serial number of the connection, unique within the process.
    pub connection: u64,
    /// Requests begun on the connection, this one included.
    pub requests: u64,
    /// The request head; what rooms change here goes upstream.
    pub request: RequestHead,
    /// Host and port the client asked for, scheme after trusted headers.
    pub scheme: Scheme,
    /// The path in the normal form the router matched, without query.
    pub normalized_path: Vec<u8>,
    /// 32 lower-case hexadecimal digits, `X-Kong-Request-Id`.
    pub request_id: [u8; 32],
    /// The route found, if any.
    pub matched: Option<Arc<Matched>>,
    /// Captures of a regular-expression path.
    pub captures: Captures,
    /// What goes upstream.
    pub upstream: Upstream,
    /// Times that rooms have set for the upstream.
    pub timeouts: Timeouts,
    /// The least that a room accepts of the request body at most. Holds for what has not been read by then.
    pub body_limit: Option<BodyLimit>,
    /// Where a room sends it, if not to the service of the route.
    pub detour: Option<Detour>,
    /// Who has a say in which targets it may go to, if anybody has.
    pub guard: Option<Rc<dyn Guard>>,
    /// Whether and how the request is sent again; without it, as the service says.
    pub repeat: Option<Arc<repeat::Policy>>,
    /// What authentication found out.
    pub identity: Identity,
    /// The request body, where a room asked for it.
    pub body: Option<Vec<u8>>,
    /// An answer of a room or of the engine.
    pub reply: Reply,
    /// The response head; the upstream's or made from `reply`.
    pub response: ResponseHead,
    /// Fields to be set on the response whoever makes it.
    pub decorations: Headers,
    /// Who made the response.
    pub source: Source,
    /// What the rooms asked to do with the response body.
    pub body_mode: crate::views::BodyMode,
    /// Facts and timings.
    pub record: Record,
    /// Members added to the log line.
    pub log_fields: Headers,
    /// The configuration variant chosen per slot of the chain; [`UNDECIDED`] until the slot is reached.
    pub chosen: Vec<u32>,
    /// Rooms' own state per slot.
    pub states: Vec<Option<Box<dyn Any>>>,
    /// The slots whose state goes with the end of the response, and not with that of the request.
    pub passing: Vec<usize>,
}

/// A slot whose variant has not been chosen.
pub const UNDECIDED: u32 = u32::MAX;
/// A slot that does not apply to this request.
pub const ABSENT: u32 = u32::MAX - 1;

impl Exchange {
    /// An empty exchange for a new connection.
    #[must_use]
    pub fn new(worker: Rc<Worker>, client: Client) -> Self {
        let scheme = client.scheme;
        let connection = worker.count() * worker.services.workers as u64 + worker.index as u64;
        Self {
            worker,
            client,
            connection,
            requests: 0,
            request: RequestHead::default(),
            scheme,
            normalized_path: Vec::new(),
            request_id: [b'0'; 32],
            matched: None,
            captures: Captures::default(),
            upstream: Upstream::default(),
            timeouts: Timeouts::default(),
            body_limit: None,
            detour: None,
            guard: None,
            repeat: None,
            identity: Identity::default(),
            body: None,
            reply: Reply::default(),
            response: ResponseHead::default(),
            decorations: Headers::new(),
            source: Source::Gateway,
            body_mode: crate::views::BodyMode::Pass,
            record: Record::new(Instant::now()),
            log_fields: Headers::new(),
            chosen: Vec::new(),
            states: Vec::new(),
            passing: Vec::new(),
        }
    }

    /// Prepares for the next request of the connection; `request` is left to the parser.
    pub fn begin(&mut self, started: Instant) {
        self.record.clear(started, self.worker.ms_at(started));
        self.requests += 1;
        self.scheme = self.client.scheme;
        self.normalized_path.clear();
        self.request_id = self.worker.hex_id();
        self.matched = None;
        self.captures.clear();
        self.upstream.clear();
        self.timeouts = Timeouts::default();
        self.body_limit = None;
        self.detour = None;
        self.guard = None;
        self.repeat = None;
        self.identity = Identity::default();
        self.body = None;
        self.reply.clear();
        self.response.clear();
        self.decorations.clear();
        self.source = Source::Gateway;
        self.body_mode = crate::views::BodyMode::Pass;
        self.log_fields.clear();
        self.chosen.clear();
        self.states.clear();
        self.passing.clear();
    }

    /// Lets go of what the last request referred to and keeps the memory. For a connection that falls idle.
    pub fn rest(&mut self) {
        self.matched = None;
        self.captures.clear();
        self.detour = None;
        self.guard = None;
        self.repeat = None;
        self.identity = Identity::default();
        self.body = None;
        self.reply.clear();
        self.states.clear();
        self.passing.clear();
    }

    /// When the request began, by a clock that nobody sets ([`Services::steady`](crate::Services)): for what lasts some time,
    /// not until some time.
    #[must_use]
    pub fn steady_ms(&self) -> u64 {
        self.worker.services.steady.ms_at(self.record.started)
    }

    /// The service the request is for: the route's own, unless a room sends it to another one.
    #[must_use]
    pub fn service(&self) -> Option<&Arc<Service>> {
        let elsewhere = self.detour.as_ref().and_then(Detour::service);
        elsewhere.or_else(|| self.matched.as_ref()?.service.as_ref())
    }

    /// The method the upstream sees: the client's, unless a room has changed it.
    #[must_use]
    pub fn upstream_method(&self) -> Method {
        self.upstream.method.unwrap_or(self.request.method)
    }

    /// Whether the client knows what to do with trailers (RFC 9110 10.1.4).
    #[must_use]
    pub fn wants_trailers(&self) -> bool {
        self.request.headers.known_all(Known::TE).any(|value| wire::media::has_token(value, "trailers"))
    }

    /// The response has ended, whether or not its last bytes have gone out: drops what rooms keep no longer, so that
    /// whoever has received it finds it given back.
    pub fn end_response(&mut self) {
        for slot in self.passing.drain(..) {
            if let Some(state) = self.states.get_mut(slot) {
                *state = None;
            }
        }
    }

    /// Makes room for the choices and states of a chain of `slots` slots.
    pub fn enter_chain(&mut self, slots: usize) {
        self.chosen.resize(slots, UNDECIDED);
        self.states.resize_with(slots, || None);
    }
}
