//! The life of a request, from top to bottom.
//!
//! A connection is read one request at a time. Each goes through [`carry_out`]: the snapshot is loaded once, plugins
//! run phase by phase, and whatever the outcome (an upstream's response, a plugin's answer, a failure) it rejoins at
//! `header_filter`, so that all are decorated and logged alike. No plugin is named here.

use std::pin::pin;

use tokio::time::Instant;

use plugin::flow::{Resume, Waiting};
use plugin::{BodyMode, Flow, Scheme};
use wire::Known;
use wire::h1::{Parsed, parse_request};

use crate::bounds::Bound;
use crate::caught::{Caught, Panicked, caught, report_panic};
use crate::chain::Chain;
use crate::channel::Fault;
use crate::deliver::{self, After, Filters};
use crate::detour;
use crate::forward;
use crate::hops;
use crate::protocol;
use crate::request_body;
use crate::respond::Failure;
use crate::route::{Lookup, upstream_path};
use crate::session::{HEAD_READ, Parts, Session};
use crate::settings::{client_address, is_trusted};
use crate::snapshot::{CompiledRoute, Held, Plan, Snapshot};
use crate::upstream::attempt::Upstream;
use crate::upstream::{reach, repeat, tries};
use crate::worker::Ending;

/// Serves a connection until it ends, and gives up its place then.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would hold both of them twice")]
pub fn serve(mut session: Session, place: Ending) -> impl Future<Output = ()> {
    async move {
        let _place = &place;
        while session.await_request().await {
            // Apart, so that connections on which nothing happens stay small.
            if Box::pin(serve_requests(&mut session)).await == After::Close {
                return;
            }
        }
    }
}

/// Serves requests for as long as they follow one another closely.
pub async fn serve_requests(session: &mut Session) -> After {
    loop {
        let head = read_head(session).await;
        if head == Err(Failure::ClientGone) {
            return After::Close;
        }
        if carry_out(session, head).await == After::Close {
            session.linger().await;
            return After::Close;
        }
        session.rest();
        if !session.await_another().await {
            return After::KeepAlive;
        }
    }
}

/// Serves one request of an HTTP/2 connection, whose head has been received; `ended` says that no body follows.
pub async fn serve_stream(mut session: Session, request: &http::request::Parts, ended: bool) {
    session.begin_work();
    let head = take_head(&mut session, request, ended);
    carry_out(&mut session, head).await;
    if let Some(stream) = session.channel.stream.as_http2() {
        stream.close();
    }
}

/// Takes the head of an HTTP/2 request into the exchange.
fn take_head(session: &mut Session, request: &http::request::Parts, ended: bool) -> Result<(), Failure> {
    session.requests += 1;
    let Parts { local, work, .. } = session.parts();
    let protocol = request.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
    let arrival = wire::h2::Arrival { ended, protocol };
    let limits = &local.settings.request_limits;
    let taken = wire::h2::request_head(request, arrival, limits, &mut work.exchange.request);
    work.exchange.begin(Instant::now().into_std());
    taken.map_err(Failure::from)
}

/// Reads a request head into the exchange.
async fn read_head(session: &mut Session) -> Result<(), Failure> {
    session.requests += 1;
    let Parts { local, channel, work } = session.parts();
    let settings = &local.settings;
    let now = Instant::now();
    let (started, deadline) = (now.into_std(), now + settings.head_timeout);
    channel.begin_request(settings);
    work.exchange.request.clear();
    loop {
        match parse_request(channel.input.unread(), &settings.request_limits, &mut work.exchange.request) {
            Parsed::Complete { consumed } => {
                work.exchange.begin(started);
                work.exchange.record.request_bytes = consumed as u64;
                channel.input.consume(consumed);
                return Ok(());
            }
            Parsed::Incomplete => {
                let silent = channel.input.is_empty();
                channel.fill(HEAD_READ, deadline).await.map_err(|fault| {
                    work.exchange.begin(started);
                    match fault {
                        Fault::Timeout if !silent => Failure::ClientTimeout { bound: Bound::HeadTimeout },
                        // Whoever sent nothing is owed nothing.
                        Fault::Timeout | Fault::Closed => Failure::ClientGone,
                    }
                })?;
            }
            Parsed::Reject(reject) => {
                work.exchange.begin(started);
                return Err(reject.into());
            }
        }
    }
}

/// Carries out the request whose head has been read, and logs it.
async fn carry_out(session: &mut Session, head: Result<(), Failure>) -> After {
    session.local.stats().requests.add(1);
    let snapshot = session.local.snapshot();
    let last = session.requests >= session.local.settings.max_requests_per_connection;
    let head = head.and_then(|()| session.local.load.take_on());
    let mut running = Running { parts: session.parts(), snapshot, finished: None };
    let Running { parts, snapshot, .. } = &mut running;
    parts.channel.must_close |= last || head.is_err();
    parts.work.exchange.enter_chain(snapshot.slots);
    parts.work.upload.finish();
    let responded = Caught(pin!(respond(parts, snapshot, head))).await;
    let after = match responded {
        Ok(after) => after,
        // Apart, so that connections without such a thing stay small.
        Err(Panicked) => Box::pin(respond_to_panic(parts, snapshot)).await,
    };
    // A response of the upstream ends for both sides at once.
    let upstream_finished = parts.work.exchange.record.upstream_finished;
    let finished = upstream_finished.map_or_else(Instant::now, Instant::from_std);
    running.finished = Some(finished);
    drop(running);
    session.quiet_since = finished;
    after
}

/// A request that is being carried out. Its log runs however it ends, a stop of the gateway included.
struct Running<'a> {
    parts: Parts<'a>,
    snapshot: Held,
    finished: Option<Instant>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let work = &mut *self.parts.work;
        work.leave();
        work.exchange.record.aborted |= self.finished.is_none();
        work.exchange.record.request_bytes += work.upload.received;
        work.exchange.record.close(self.finished.unwrap_or_else(Instant::now).into_std());
        if !std::thread::panicking() {
            let chain = self.snapshot.chain(&work.exchange);
            let logged = caught(|| chain.log(&self.snapshot.instances, &mut work.exchange));
            if logged.is_err() {
                report_panic(&work.exchange);
            }
        }
        // What plugins hold of a request ends with it, and not when its connection does.
        work.exchange.states.clear();
        work.exchange.guard = None;
    }
}

/// From the head to the last byte of the response.
async fn respond(parts: &mut Parts<'_>, snapshot: &Snapshot, head: Result<(), Failure>) -> After {
    let outcome = match head {
        Ok(()) => prepare(parts, snapshot).await,
        Err(failure) => Err(failure),
    };
    answer(parts, snapshot, outcome).await
}

/// Responds for a request that has panicked, as long as nothing has been sent: decorated by the plugins or, where one
/// of those panics once more, without them. Nothing more is taken from the client.
async fn respond_to_panic(parts: &mut Parts<'_>, snapshot: &Snapshot) -> After {
    report_panic(&parts.work.exchange);
    parts.channel.must_close = true;
    if deliver::has_begun(parts) {
        return deliver::break_off(parts);
    }
    let answered = Caught(pin!(answer(parts, snapshot, Err(Failure::Panicked)))).await;
    match answered {
        Ok(after) => after,
        Err(Panicked) if deliver::has_begun(parts) => deliver::break_off(parts),
        Err(Panicked) => {
            let chain = Chain::default();
            deliver::reply(parts, &Filters::new(snapshot, &chain), Some(Failure::Panicked)).await
        }
    }
}

/// How far a request came before its response.
enum Outcome {
    /// The upstream's response head is in the exchange.
    Proxied(Upstream),
    /// A plugin, or the engine, answered.
    Answered,
}

/// From the head to the response head: rewrite, route, access, upstream.
async fn prepare(parts: &mut Parts<'_>, snapshot: &Snapshot) -> Result<Outcome, Failure> {
    request_body::open(parts)?;
    forward::drop_nominated(&mut parts.work.exchange.request.headers)?;
    identify_client(parts);
    protocol::check_demand(parts, snapshot)?;
    if hops::count(&mut parts.work.exchange)? {
        return Ok(Outcome::Answered);
    }
    snapshot.globals.rewrite(&snapshot.instances, &mut parts.work.exchange);
    let route = find_route(parts, snapshot)?;
    if protocol::refuse(&mut parts.work.exchange, route) || access(parts, snapshot, route).await? {
        route.chain.settle(&mut parts.work.exchange);
        return Ok(Outcome::Answered);
    }
    route.chain.settle(&mut parts.work.exchange);
    let plan = detour::plan(parts, snapshot, route)?;
    let failure = match proxy(parts, route, plan).await {
        Ok(upstream) => return Ok(Outcome::Proxied(upstream)),
        Err(failure) => failure,
    };
    let why = failure.nowhere().ok_or(failure)?;
    match detour::plan_instead(&mut parts.work.exchange, snapshot, route, (failure, why))? {
        // Apart, so that requests that get through stay small.
        Some(plan) => Box::pin(proxy(parts, route, plan)).await.map(Outcome::Proxied),
        None => Ok(Outcome::Answered),
    }
}

/// From the response head to the last byte.
async fn answer(parts: &mut Parts<'_>, snapshot: &Snapshot, outcome: Result<Outcome, Failure>) -> After {
    let filters = Filters::new(snapshot, snapshot.chain(&parts.work.exchange));
    parts.channel.begin_response();
    let failure = match outcome {
        Ok(Outcome::Answered) => None,
        Ok(Outcome::Proxied(upstream)) => match deliver::proxied(parts, &filters, upstream).await {
            Ok(after) => return after,
            Err(failure) => Some(failure),
        },
        Err(failure) => Some(failure),
    };
    if let Some(failure) = failure {
        parts.local.bounds.note(failure);
        reach::note(parts, failure);
    }
    parts.work.exchange.body_mode = BodyMode::Pass;
    deliver::reply(parts, &filters, failure).await
}

/// Finds out who is asking, and over what, where a trusted proxy stands in between (kong.md 3.5).
fn identify_client(parts: &mut Parts<'_>) {
    let settings = &parts.local.settings;
    if settings.trusted_networks.is_empty() {
        return;
    }
    let exchange = &mut parts.work.exchange;
    let peer = exchange.client.peer.ip();
    exchange.client.trusted = is_trusted(settings, peer);
    exchange.client.ip = client_address(settings, &exchange.client, &exchange.request.headers);
    if exchange.client.trusted
        && let Some(proto) = exchange.request.headers.known(Known::XForwardedProto)
    {
        let tls = proto.eq_ignore_ascii_case(b"https");
        exchange.scheme = if tls { Scheme::Https } else { Scheme::Http };
    }
}

/// Finds the route and computes what it asks of the upstream.
fn find_route<'s>(parts: &mut Parts<'_>, snapshot: &'s Snapshot) -> Result<&'s CompiledRoute, Failure> {
    let exchange = &mut parts.work.exchange;
    let request = &exchange.request;
    let scratch = &mut parts.work.scratch;
    let path = model::path::normalize(request.path(), scratch);
    exchange.normalized_path.extend_from_slice(path);
    let lookup = Lookup {
        method: &request.method,
        host: request.host(),
        listen_port: exchange.client.local.port(),
        path: &exchange.normalized_path,
        headers: &request.headers,
        https: exchange.client.scheme == Scheme::Https,
        sni: exchange.client.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
    };
    let found = snapshot.router.find(&lookup, &mut exchange.captures).ok_or(Failure::NoRoute)?;
    let route = &snapshot.routes[found.ordinal];
    let strip = route.strip_path && found.by_path;
    let upstream = &mut exchange.upstream;
    upstream_path(
        &mut upstream.path,
        route.service_path(),
        &exchange.normalized_path,
        found.matched_len,
        strip,
    );
    if strip {
        // Normalization has decoded it: what could end a field is escaped again.
        let prefix = model::path::escape(&exchange.normalized_path[..found.matched_len], scratch);
        upstream.stripped_prefix.extend_from_slice(prefix);
    }
    if let Some(query) = request.query() {
        upstream.has_query = true;
        upstream.query.extend_from_slice(query);
    }
    exchange.matched = Some(route.matched.clone());
    Ok(route)
}

/// Runs `access`. Whether a plugin answered.
async fn access(parts: &mut Parts<'_>, snapshot: &Snapshot, route: &CompiledRoute) -> Result<bool, Failure> {
    let mut position = 0;
    while let Some(turn) = route.chain.access_at(position, &snapshot.instances, &mut parts.work.exchange) {
        position += 1;
        let mut flow = turn.run(&mut parts.work.exchange);
        loop {
            flow = match flow {
                Flow::Next => break,
                Flow::Answer => return Ok(true),
                Flow::ReadBody => {
                    request_body::read(parts).await?;
                    turn.run(&mut parts.work.exchange)
                }
                Flow::Wait(waiting) => {
                    let resume = wait(parts, waiting).await?;
                    resume(&mut turn.view(&mut parts.work.exchange))
                }
            };
        }
    }
    Ok(false)
}

/// Waits for a plugin, within its bound and as long as the client is there.
async fn wait(parts: &mut Parts<'_>, waiting: Waiting) -> Result<Resume, Failure> {
    let limit = parts.local.settings.plugin_timeout;
    parts.channel.within(&parts.work.upload, limit, waiting).await.map_err(|fault| match fault {
        Fault::Timeout => Failure::PluginTimeout,
        Fault::Closed => Failure::ClientGone,
    })
}

/// Asks targets until one answers or the attempts are used up (kong.md 5.3).
pub async fn proxy(parts: &mut Parts<'_>, route: &CompiledRoute, plan: &Plan) -> Result<Upstream, Failure> {
    if parts.work.exchange.is_barred() {
        return Err(Failure::Barred);
    }
    if plan.calls {
        parts.work.upload.carry_call();
    }
    parts.work.upload.disown(&parts.work.exchange);
    // Calls may go both ways at once: their requests are never waited for.
    let buffering = route.request_buffering && !plan.calls;
    request_body::make_ready(parts, buffering).await?;
    parts.work.timeouts = plan.timeouts.with(&parts.work.exchange.timeouts);
    if let Some(policy) = parts.work.exchange.repeat.clone() {
        // Apart, so that requests without one stay small.
        return Box::pin(repeat::proxy(parts, route, plan, &policy)).await;
    }
    let mut attempts_left = plan.retries;
    let mut fresh = false;
    loop {
        let missed = match tries::one(parts, route, plan, fresh).await {
            Ok(upstream) => return Ok(upstream),
            Err(missed) => missed,
        };
        let may_repeat = tries::may_repeat(parts, &missed);
        if missed.stale && !fresh && may_repeat {
            fresh = true;
            tries::take_back(parts);
            continue;
        }
        tries::mark_failed(parts, &missed);
        if attempts_left == 0 || !may_repeat {
            return Err(missed.failure);
        }
        parts.work.upload.rewind();
        attempts_left -= 1;
    }
}
