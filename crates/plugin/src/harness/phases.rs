//! The life of a request in the harness: its rooms, phase by phase, as the engine runs them.

use std::net::SocketAddr;
use std::time::Instant;

use model::path;
use wire::Known;
use wire::h1::{Limits, Parsed, parse_request};

use super::{Harness, Outcome};
use crate::exchange::{Client, Exchange, Scheme};
use crate::flow::Flow;
use crate::identity;
use crate::reply::Body;
use crate::room::{Phase, Phases};
use crate::views::{Access, BodyFilter, BodyMode, HeaderFilter, Log, Rewrite};

impl Harness {
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

    /// The same as [`Harness::send`], while something else happens before the response comes.
    ///
    /// # Panics
    /// If the head is not a valid one.
    pub fn send_while(&mut self, request: &str, meanwhile: impl FnOnce(&mut Self)) -> Outcome {
        let (head, body) = split_message(request);
        let mut exchange = self.receive(&head, body.as_bytes());
        let answered = self.arrive(&mut exchange, body.as_bytes());
        meanwhile(self);
        self.leave(exchange, answered, body.as_bytes())
    }

    fn run(&mut self, mut exchange: Exchange, body: &[u8]) -> Outcome {
        let answered = self.arrive(&mut exchange, body);
        self.leave(exchange, answered, body)
    }

    /// Takes a request to a target. Whether there is another answer than its response.
    fn arrive(&mut self, exchange: &mut Exchange, body: &[u8]) -> bool {
        // Rooms may begin tasks in any phase.
        let runtime = self.runtime.handle().clone();
        let _entered = runtime.enter();
        self.each(exchange, Phase::Rewrite, |room, exchange, slot| {
            room.rewrite(&mut Rewrite::new(exchange, slot));
        });
        if exchange.matched.is_none() {
            exchange.matched = self.routes.first().cloned();
        }
        self.access(exchange, body) || refuse_body(exchange, body) || self.ask_targets(exchange)
    }

    fn leave(&mut self, exchange: Exchange, answered: bool, body: &[u8]) -> Outcome {
        let runtime = self.runtime.handle().clone();
        let _entered = runtime.enter();
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
        let mut scratch = Vec::new();
        let path = path::normalize(exchange.request.path(), &mut scratch);
        exchange.normalized_path = path.to_vec();
        exchange.upstream.path = path::escape(path, &mut Vec::new()).to_vec();
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
    pub(super) fn rooms(&self, phase: Phase) -> impl Iterator<Item = (usize, &dyn Phases)> {
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

    fn respond(&self, mut exchange: Exchange, answered: bool, body: &[u8]) -> Outcome {
        let upstream_headers = exchange.request.headers.clone();
        let mut upstream_trailers = self.trailers.clone();
        if let Some(disowned) = identity::disowned(&exchange) {
            disowned.cleanse(&mut upstream_trailers);
        }
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
            upstream_trailers,
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

fn split_message(request: &str) -> (String, String) {
    let normalized = request.replace("\r\n", "\n");
    let (head, body) = normalized.split_once("\n\n").unwrap_or((normalized.as_str(), ""));
    let head: String = head.lines().map(|line| format!("{line}\r\n")).collect();
    (head, body.to_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
