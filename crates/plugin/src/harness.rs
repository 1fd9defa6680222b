//! Runs rooms without sockets: configuration in, request in, outcome out.
//!
//! The configuration is a declarative document as users write it; the request is a raw HTTP/1.1 message. Instances
//! run by priority and then in the order of the document, all of them on every request, as if each were global.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use model::{Catalog, Config};
use tokio::runtime::{Builder, Runtime};
use wire::h1::{Limits, Parsed, parse_request};
use wire::{Headers, Known};

use crate::build::{Build, Shared};
use crate::clock::Clock;
use crate::detour::Detours;
use crate::exchange::{Client, Exchange, Matched, Scheme, Source, Timeouts, Tls, Trouble, Try};
use crate::flow::Flow;
use crate::guard::{Instead, Nowhere};
use crate::reply::Body;
use crate::room::{Definition, Phase, Phases};
use crate::services::{Services, Worker};
use crate::views::{Access, BodyFilter, BodyMode, HeaderFilter, Log, Rewrite};

mod beside;
mod sessions;

/// The time the harness's clock shows at first: 2026-01-01 00:00:00 UTC, in milliseconds.
pub const START_MS: u64 = 1_767_225_600_000;

/// What random numbers follow from.
const SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834;

/// A request for nothing in particular.
pub const GET: &str = "GET / HTTP/1.1\n\n";

/// A room under test.
#[derive(Clone, Copy)]
pub struct Subject(pub &'static dyn Definition);

impl Subject {
    /// The room with one global instance, see [`Harness::global`].
    ///
    /// # Panics
    /// If the configuration is refused.
    #[must_use]
    pub fn with(self, config: &str) -> Harness {
        Harness::global(self.0, config).expect("the configuration is a good one")
    }

    /// Why the room refuses a configuration, one problem a line.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn refuses(self, config: &str) -> String {
        Harness::global(self.0, config).err().expect("the configuration is a bad one")
    }
}

/// Rooms built from a document, ready to take requests.
pub struct Harness {
    /// The clock the rooms see.
    pub clock: Clock,
    /// What outlives requests; kept by [`Harness::reload`].
    pub services: Arc<Services>,
    definitions: Vec<&'static dyn Definition>,
    worker: Rc<Worker>,
    instances: Vec<Instance>,
    routes: Vec<Arc<Matched>>,
    /// Where rooms wait. Its time passes at once when all of them do.
    runtime: Runtime,
    /// The address requests come from.
    pub peer: SocketAddr,
    /// What the handshake of the connection came to; none in cleartext.
    pub tls: Option<Rc<Tls>>,
    /// Whether requests come from one of `trusted_ips`.
    pub trusted: bool,
    /// What they come over.
    pub scheme: Scheme,
    /// Names of detours that lead to nobody, see [`Detour::name`](crate::Detour::name).
    pub unreachable: Arc<Mutex<Vec<String>>>,
    /// The healthy targets of every service; the first that may be chosen is asked.
    pub targets: Vec<SocketAddr>,
    /// The response the upstream gives; a 200 with a small JSON body at first.
    pub upstream: UpstreamResponse,
}

/// A room with the phases it runs in.
struct Instance {
    runs: &'static [Phase],
    room: Arc<dyn Phases>,
}

/// What the upstream answers.
#[derive(Debug, Clone)]
pub struct UpstreamResponse {
    /// Status code.
    pub status: u16,
    /// Fields.
    pub headers: Vec<(&'static str, String)>,
    /// Body, given to `body_filter` in two pieces where a room observes it.
    pub body: Vec<u8>,
    /// What keeps the rest of the body from coming.
    pub broken: Option<Trouble>,
    /// The targets that do not answer, and what is wrong with them.
    pub down: Vec<(SocketAddr, Trouble)>,
}

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    /// A room answered; the upstream was not asked.
    pub answered: bool,
    /// The targets that were asked, in order.
    pub asked: Vec<SocketAddr>,
    /// Status the client sees.
    pub status: u16,
    /// Fields the client sees, beyond those of the engine.
    pub headers: Headers,
    /// Body the client sees; a templated message is `{"message":"..."}` here.
    pub body: Vec<u8>,
    /// Fields the upstream sees, before the engine's own.
    pub upstream_headers: Headers,
    /// Method the upstream sees.
    pub upstream_method: String,
    /// `Host` a room demanded for the upstream.
    pub upstream_host: Option<String>,
    /// Where a room sent the request instead of to the service of its route, see
    /// [`Detour::name`](crate::Detour::name).
    pub sent_to: Option<String>,
    /// Path the upstream sees.
    pub upstream_path: String,
    /// Query the upstream sees.
    pub upstream_query: Option<String>,
    /// Body the upstream sees.
    pub upstream_body: Vec<u8>,
    /// Times that rooms have set for the upstream.
    pub timeouts: Timeouts,
    /// The message of a templated answer.
    pub message: Option<String>,
    /// Fields the rooms added to the log line.
    pub log_fields: Vec<(String, String)>,
}

impl Outcome {
    /// A field the client sees, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// A field the upstream sees, as text.
    #[must_use]
    pub fn upstream_header(&self, name: &str) -> Option<String> {
        self.upstream_headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The body the client sees, as JSON; null if it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Default for UpstreamResponse {
    fn default() -> Self {
        Self {
            status: 200,
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: b"{\"ok\":true}".to_vec(),
            broken: None,
            down: Vec::new(),
        }
    }
}

impl Harness {
    /// Builds the plugin's instances in `document`, a declarative file.
    ///
    /// # Errors
    /// The problems of the document, one a line.
    pub fn new(definition: &'static dyn Definition, document: &str) -> Result<Self, String> {
        Self::chain(&[definition], document)
    }

    /// Builds the instances of several plugins in `document`; the plugins are given by descending priority.
    ///
    /// # Errors
    /// The problems of the document, one a line.
    pub fn chain(definitions: &[&'static dyn Definition], document: &str) -> Result<Self, String> {
        Self::chain_beside(Path::new(":memory:"), definitions, document)
    }

    /// The same with one global instance configured by `config`, which is YAML or JSON in flow style (`{...}`).
    ///
    /// # Errors
    /// The problems of the document, one a line.
    pub fn global(definition: &'static dyn Definition, config: &str) -> Result<Self, String> {
        let name = definition.name();
        Self::new(
            definition,
            &format!("_format_version: \"3.0\"\nplugins:\n- name: {name}\n  config: {config}\n"),
        )
    }

    /// Replaces the configuration as a reload does: services are kept.
    ///
    /// # Errors
    /// The problems of the document, one a line; the old instances stay.
    pub fn reload(&mut self, document: &str) -> Result<(), String> {
        let catalog = Catalog {
            plugins: self.definitions.iter().map(|definition| definition.schema()).collect(),
            entities: self.definitions.iter().flat_map(|definition| definition.entities()).collect(),
        };
        let config = model::declarative::load("kong.yml", document, &catalog).map_err(|problems| {
            problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n")
        })?;
        self.routes = matched_routes(&config);
        self.instances = self.build(&config)?;
        self.services.sweep();
        Ok(())
    }

    fn build(&self, config: &Config) -> Result<Vec<Instance>, String> {
        let shared = Shared::default();
        let mut instances = Vec::new();
        for definition in &self.definitions {
            for row in config.plugins.iter().filter(|row| row.name == definition.name()) {
                let cx =
                    Build { config, row, routes: &self.routes, services: &self.services, shared: &shared };
                let room = definition.build(row, &cx).map_err(|error| error.to_string())?;
                instances.push(Instance { runs: definition.runs(), room });
            }
        }
        for detour in shared.known::<Detours>().map_or_else(Vec::new, |detours| detours.list()) {
            let (unreachable, name) = (self.unreachable.clone(), detour.name().to_owned());
            detour.report_reachable(move || {
                !unreachable.lock().unwrap_or_else(PoisonError::into_inner).contains(&name)
            });
        }
        Ok(instances)
    }

    /// Lets time pass as it does outside, for rooms that wait for real servers. The clock that rooms see stands still.
    ///
    /// # Panics
    /// If there is no runtime to be had.
    #[must_use]
    pub fn in_real_time(mut self) -> Self {
        self.runtime = Builder::new_current_thread().enable_all().build().expect("there is a runtime");
        self
    }

    /// Sends a raw request: a head with `\n` or `\r\n` line ends, an empty line, a body. `Host` and
    /// `Content-Length` are added where they are missing.
    ///
    /// # Panics
    /// If the head is not a valid one: the harness is for tests.
    pub fn send(&mut self, request: &str) -> Outcome {
        self.send_bytes(request, b"")
    }

    /// The statuses of so many requests alike.
    ///
    /// # Panics
    /// If the head is not a valid one.
    pub fn statuses(&mut self, request: &str, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.send(request).status).collect()
    }

    /// The same with a binary body.
    ///
    /// # Panics
    /// If the head is not a valid one.
    pub fn send_bytes(&mut self, request: &str, body: &[u8]) -> Outcome {
        let (head, text_body) = split_message(request);
        let body = if body.is_empty() { text_body.as_bytes() } else { body };
        let exchange = self.receive(&head, body);
        self.run(exchange, body)
    }

    /// The same with a head of any bytes, sent as it is; none if the gateway would refuse it before any room sees it.
    pub fn send_head(&mut self, head: &[u8], body: &[u8]) -> Option<Outcome> {
        let exchange = self.begin(head)?;
        Some(self.run(exchange, body))
    }

    fn run(&mut self, mut exchange: Exchange, body: &[u8]) -> Outcome {
        // Rooms may begin tasks in any phase.
        let runtime = self.runtime.handle().clone();
        let _entered = runtime.enter();
        self.each(&mut exchange, Phase::Rewrite, |room, exchange, slot| {
            room.rewrite(&mut Rewrite::new(exchange, slot));
        });
        if exchange.matched.is_none() {
            exchange.matched = self.routes.first().cloned();
        }
        let answered = self.access(&mut exchange, body)
            || refuse_body(&mut exchange, body)
            || self.ask_targets(&mut exchange);
        self.respond(exchange, answered, body)
    }

    /// How many of so many requests that come at once get past all rooms before the first has come back. Then all of them
    /// end without a response.
    ///
    /// # Panics
    /// If the head is not a valid one.
    pub fn pass_at_once(&mut self, request: &str, count: usize) -> usize {
        let (head, _) = split_message(request);
        let under_way: Vec<(Exchange, bool)> = (0..count)
            .map(|_| {
                let mut exchange = self.receive(&head, b"");
                exchange.matched = self.routes.first().cloned();
                let answered = self.access(&mut exchange, b"") || self.ask_targets(&mut exchange);
                (exchange, answered)
            })
            .collect();
        under_way.iter().filter(|(_, answered)| !answered).count()
    }

    fn receive(&self, head: &str, body: &[u8]) -> Exchange {
        let mut text = head.to_owned();
        let has = |name: &str| head.to_ascii_lowercase().contains(&format!("\n{name}:"));
        if !has("host") {
            text.push_str("Host: gateway.test\r\n");
        }
        if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.begin(text.as_bytes()).expect("the head is a valid one")
    }

    /// The exchange of a request with this head, if it is a valid one.
    fn begin(&self, head: &[u8]) -> Option<Exchange> {
        let client = Client {
            peer: self.peer,
            local: SocketAddr::from(([127, 0, 0, 1], 8000)),
            ip: self.peer.ip(),
            trusted: self.trusted,
            scheme: if self.tls.is_some() { Scheme::Https } else { self.scheme },
            tls: self.tls.clone(),
            announced: None,
        };
        let mut exchange = Exchange::new(self.worker.clone(), client);
        let parsed = parse_request(head, &Limits::default(), &mut exchange.request);
        if !matches!(parsed, Parsed::Complete { .. }) {
            return None;
        }
        exchange.begin(Instant::now());
        exchange.enter_chain(self.instances.len());
        exchange.normalized_path = exchange.request.path().to_vec();
        exchange.upstream.path = exchange.request.path().to_vec();
        exchange.upstream.query = exchange.request.query().unwrap_or_default().to_vec();
        exchange.upstream.has_query = exchange.request.query().is_some();
        Some(exchange)
    }

    fn each(
        &self,
        exchange: &mut Exchange,
        phase: Phase,
        mut run: impl FnMut(&dyn Phases, &mut Exchange, usize),
    ) {
        for (slot, room) in self.rooms(phase) {
            run(room, exchange, slot);
        }
    }

    /// The rooms that take part in `phase`, with their slots.
    fn rooms(&self, phase: Phase) -> impl Iterator<Item = (usize, &dyn Phases)> {
        let instances = self.instances.iter().enumerate();
        instances
            .filter(move |(_, instance)| instance.runs.contains(&phase))
            .map(|(slot, instance)| (slot, instance.room.as_ref()))
    }

    fn access(&self, exchange: &mut Exchange, body: &[u8]) -> bool {
        for (slot, room) in self.rooms(Phase::Access) {
            let mut flow = room.access(&mut Access::new(exchange, slot));
            loop {
                flow = match flow {
                    Flow::Next => break,
                    Flow::Answer => return true,
                    Flow::ReadBody => {
                        exchange.body = Some(body.to_vec());
                        room.access(&mut Access::new(exchange, slot))
                    }
                    Flow::Wait(future) => self.runtime.block_on(future)(&mut Access::new(exchange, slot)),
                };
            }
        }
        false
    }

    /// Asks targets in turn, as the engine does, until one is well. Whether there is another answer than its response.
    fn ask_targets(&self, exchange: &mut Exchange) -> bool {
        while !exchange.is_barred() {
            let may = |target: &&SocketAddr| {
                exchange
                    .guard
                    .as_ref()
                    .is_none_or(|guard| guard.allows(exchange, **target) && guard.enter(exchange, **target))
            };
            let is_new =
                |target: &&SocketAddr| exchange.record.tries.iter().all(|one| one.address != **target);
            let Some(address) = self.targets.iter().filter(is_new).find(may).copied() else { break };
            let down = self.upstream.down.iter().find(|(target, _)| *target == address);
            let (trouble, failed) = (down.map(|(_, trouble)| *trouble), down.map(|_| 502));
            exchange.record.tries.push(Try { address, started_ms: 0, balancer_us: 0, failed, trouble });
            if trouble.is_none() {
                return false;
            }
        }
        let tries = exchange.record.tries.len();
        exchange.reply.clear();
        exchange.reply.status = if tries == 0 { 503 } else { 502 };
        let trouble = exchange.record.tries.last().and_then(|attempt| attempt.trouble);
        let why = match trouble {
            None if self.targets.is_empty() => Nowhere::NoTarget,
            Some(Trouble::Unreachable) if tries == self.targets.len() => Nowhere::Unreachable,
            Some(_) if tries == self.targets.len() => return true,
            _ => Nowhere::Barred,
        };
        let guard = exchange.guard.take();
        let instead = guard.and_then(|guard| guard.stand_in(&mut Access::apart(exchange), why));
        instead != Some(Instead::SentElsewhere)
    }

    fn respond(&self, mut exchange: Exchange, answered: bool, body: &[u8]) -> Outcome {
        let upstream_headers = exchange.request.headers.clone();
        let (message, mut response_body) = self.fill_response(&mut exchange, answered);
        let decorations = std::mem::take(&mut exchange.decorations);
        for (name, value) in decorations.iter() {
            exchange.response.headers.set(name, value);
        }
        self.each(&mut exchange, Phase::HeaderFilter, |room, exchange, slot| {
            room.header_filter(&mut HeaderFilter::new(exchange, slot));
        });
        self.filter_body(&mut exchange, &mut response_body);
        exchange.record.response_body_bytes = response_body.len() as u64;
        exchange.record.response_bytes = response_body.len() as u64;
        exchange.record.broken = self.upstream.broken.filter(|_| !answered);
        exchange.record.close(Instant::now());
        self.each(&mut exchange, Phase::Log, |room, exchange, slot| {
            room.log(&Log::new(exchange, slot));
        });
        let method = exchange.upstream_method();
        Outcome {
            answered,
            asked: exchange.record.tries.iter().map(|attempt| attempt.address).collect(),
            status: exchange.response.status,
            headers: exchange.response.headers.clone(),
            body: response_body,
            upstream_headers,
            upstream_method: method.as_str().to_owned(),
            upstream_host: Some(text(&exchange.upstream.host)).filter(|host| !host.is_empty()),
            sent_to: exchange.detour.as_ref().map(|detour| detour.name().to_owned()),
            upstream_path: text(&exchange.upstream.path),
            upstream_query: exchange.upstream.has_query.then(|| text(&exchange.upstream.query)),
            upstream_body: exchange.body.take().unwrap_or_else(|| body.to_vec()),
            timeouts: exchange.timeouts,
            message,
            log_fields: exchange
                .log_fields
                .iter()
                .map(|(name, value)| (name.to_owned(), text(value)))
                .collect(),
        }
    }

    fn fill_response(&self, exchange: &mut Exchange, answered: bool) -> (Option<String>, Vec<u8>) {
        if !answered {
            exchange.source = Source::Upstream;
            exchange.record.upstream_status = Some(self.upstream.status);
            exchange.response.status = self.upstream.status;
            for (name, value) in &self.upstream.headers {
                exchange.response.headers.append(name, value.as_bytes());
            }
            let length = self.upstream.body.len().to_string();
            if !exchange.response.headers.contains_known(Known::TransferEncoding) {
                exchange.response.headers.set_known(Known::ContentLength, length.as_bytes());
            }
            return (None, self.upstream.body.clone());
        }
        if exchange.reply.stands_in {
            exchange.source = Source::Upstream;
        }
        exchange.response.status = exchange.reply.status;
        exchange.response.headers = std::mem::take(&mut exchange.reply.headers);
        match std::mem::take(&mut exchange.reply.body) {
            Body::Empty => (None, Vec::new()),
            Body::Bytes(bytes) => (None, bytes.to_vec()),
            Body::Message(message) => {
                let body = serde_json::json!({ "message": message }).to_string().into_bytes();
                exchange.response.headers.set("Content-Type", b"application/json; charset=utf-8");
                (Some(message.into_owned()), body)
            }
        }
    }

    fn filter_body(&self, exchange: &mut Exchange, body: &mut Vec<u8>) {
        match exchange.body_mode {
            BodyMode::Pass => {}
            BodyMode::Withheld => {
                body.clear();
                exchange.response.headers.set_known(Known::ContentLength, b"0");
            }
            BodyMode::Observe => {
                let (first, second) = body.split_at(body.len() / 2);
                for (piece, last) in [(first, false), (second, true)] {
                    for (slot, room) in self.rooms(Phase::BodyFilter) {
                        room.body_filter(&mut BodyFilter::new(exchange, slot, piece, last));
                    }
                }
            }
            BodyMode::Whole => {
                for (slot, room) in self.rooms(Phase::BodyFilter) {
                    let mut view = BodyFilter::new(exchange, slot, body, true);
                    room.body_filter(&mut view);
                    if let Some(replacement) = view.into_replacement() {
                        *body = replacement;
                    }
                }
                let length = body.len().to_string();
                exchange.response.headers.set_known(Known::ContentLength, length.as_bytes());
            }
        }
    }
}

/// Answers, as the engine does, for a body beyond the limit that a room has set.
fn refuse_body(exchange: &mut Exchange, body: &[u8]) -> bool {
    let beyond = exchange.body_limit.filter(|limit| body.len() as u64 > limit.bytes);
    let Some(limit) = beyond else { return false };
    exchange.reply.clear();
    exchange.reply.status = 413;
    exchange.reply.body = Body::Message(limit.message.into());
    true
}

fn matched_routes(config: &Config) -> Vec<Arc<Matched>> {
    let matched = |(ordinal, route): (usize, &Arc<model::entity::Route>)| {
        let service = route.service.and_then(|reference| config.service(reference.0)).cloned();
        Arc::new(Matched {
            route: route.clone(),
            service_json: service.as_ref().map(|service| Arc::from(format!("{{\"id\":\"{}\"}}", service.id))),
            service,
            ordinal,
            route_json: Box::from(format!("{{\"id\":\"{}\"}}", route.id)),
        })
    };
    config.routes.iter().enumerate().map(matched).collect()
}

fn split_message(request: &str) -> (String, String) {
    let normalized = request.replace("\r\n", "\n");
    let (head, body) = normalized.split_once("\n\n").unwrap_or((normalized.as_str(), ""));
    let head: String = head.lines().map(|line| format!("{line}\r\n")).collect();
    (head, body.to_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(true).build()
}
