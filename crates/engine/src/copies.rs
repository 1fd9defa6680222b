//! Copies of requests, sent beside the traffic: in tasks of their own, on the worker that served the request, over its
//! pool and within its settings. A copy never waits for a client, and no client for a copy.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Instant;

use plugin::copies::{Answer, Bounds, CopiedRequest, Copier, Later};
use plugin::exchange::{Client, Exchange, Scheme, Upstream};
use plugin::{BodyMode, Detour};
use tokio::io::BufReader;
use wire::{BodyLength, RequestHead};

use crate::chain::Chain;
use crate::channel::Channel;
use crate::deliver::Filters;
use crate::detour;
use crate::download::Download;
use crate::flow;
use crate::respond::Failure;
use crate::session::{Local, Parts};
use crate::snapshot::Held;
use crate::transport::Stream;

/// Copies of one worker that may be under way.
const MAX_COPIES: usize = 256;
/// Bytes of interim responses that may come before an answer; nobody reads them.
const INTERIM: usize = 16 << 10;

/// Makes copies for the rooms of one worker.
struct Copies {
    local: Weak<Local>,
    under_way: Rc<Cell<usize>>,
}

/// Lets the rooms of the worker copy requests.
pub fn offer(local: &Rc<Local>) {
    local.worker.offer_copies(Rc::new(Copies { local: Rc::downgrade(local), under_way: Rc::default() }));
}

/// A copy, and all that is needed to send it.
struct Copy {
    local: Rc<Local>,
    snapshot: Held,
    ordinal: usize,
    client: Client,
    scheme: Scheme,
    request: RequestHead,
    request_id: [u8; 32],
    upstream: Upstream,
    /// Where the request itself went.
    detour: Option<Detour>,
    body: Option<Vec<u8>>,
    under_way: Rc<Cell<usize>>,
}

impl Copier for Copies {
    fn copy(&self, exchange: &Exchange) -> Result<Rc<dyn CopiedRequest>, &'static str> {
        let local = self.local.upgrade().ok_or("reloaded")?;
        let snapshot = local.snapshot();
        let matched = exchange.matched.as_ref().ok_or("protocol")?;
        let known = snapshot.routes.get(matched.ordinal);
        if !known.is_some_and(|route| std::sync::Arc::ptr_eq(&route.matched, matched)) {
            return Err("reloaded");
        }
        let request = &exchange.request;
        let bodiless = matches!(request.framing, BodyLength::None | BodyLength::Exact(0));
        if request.upgrade.is_some() {
            return Err("protocol");
        }
        if !bodiless && exchange.body.is_none() {
            return Err("body");
        }
        if self.under_way.get() >= MAX_COPIES {
            return Err("busy");
        }
        self.under_way.set(self.under_way.get() + 1);
        Ok(Rc::new(Copy {
            snapshot,
            ordinal: matched.ordinal,
            client: exchange.client.clone(),
            scheme: exchange.scheme,
            request: request.clone(),
            request_id: exchange.request_id,
            upstream: exchange.upstream.clone(),
            detour: exchange.detour.clone(),
            body: exchange.body.clone(),
            under_way: self.under_way.clone(),
            local,
        }))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }
}

impl CopiedRequest for Copy {
    fn send(self: Rc<Self>, to: Option<Detour>, bounds: Bounds) -> Later<Result<Answer, &'static str>> {
        Box::pin(async move {
            let answer = tokio::time::timeout(bounds.timeout, self.ask(to, bounds)).await;
            answer.unwrap_or(Err(Failure::UpstreamTimeout)).map_err(|failure| match failure {
                Failure::ConnectTimeout | Failure::UpstreamTimeout => "timeout",
                Failure::ResponseTooLarge => "too large",
                _ => "failed",
            })
        })
    }

    fn spawn(&self, work: Later<()>) {
        // Ends with the worker, or within the bounds of what it waits for.
        drop(tokio::task::spawn_local(work));
    }
}

impl Copy {
    async fn ask(&self, to: Option<Detour>, bounds: Bounds) -> Result<Answer, Failure> {
        // A client that stays and says nothing.
        let (near, _client) = tokio::io::duplex(INTERIM);
        let stream = Stream::Memory(BufReader::new(near));
        let mut channel = Channel::new(stream, self.local.buffers.clone());
        let mut work = self.local.lend(&self.client);
        self.fill(&mut work.exchange);
        work.upload.finish();
        let mut parts = Parts { local: &self.local, channel: &mut channel, work: &mut work };
        let answer = self.exchange(&mut parts, to, bounds).await;
        work.leave();
        self.local.take_back(work);
        answer
    }

    fn fill(&self, exchange: &mut Exchange) {
        exchange.request.clone_from(&self.request);
        exchange.begin(Instant::now());
        exchange.enter_chain(0);
        exchange.request.expect_continue = false;
        exchange.scheme = self.scheme;
        exchange.request_id = self.request_id;
        exchange.matched = Some(self.snapshot.routes[self.ordinal].matched.clone());
        exchange.upstream = self.upstream.clone();
        exchange.detour.clone_from(&self.detour);
        exchange.body.clone_from(&self.body);
    }

    async fn exchange(
        &self,
        parts: &mut Parts<'_>,
        to: Option<Detour>,
        bounds: Bounds,
    ) -> Result<Answer, Failure> {
        let route = &self.snapshot.routes[self.ordinal];
        let plan = detour::plan_again(&mut parts.work.exchange, &self.snapshot, route, to)?;
        if plan.calls {
            return Err(Failure::NoService);
        }
        let upstream = flow::proxy(parts, route, plan).await?;
        let chain = Chain::default();
        let filters = Filters::new(&self.snapshot, &chain);
        let mut download = Download { upstream, filters: &filters, mode: BodyMode::Pass, begun: false };
        let body = download.collect(parts, bounds.body_bytes).await?;
        let response = &parts.work.exchange.response;
        let answer = Answer { status: response.status, headers: response.headers.clone(), body };
        download.end(parts, Ok(()), true);
        Ok(answer)
    }
}
