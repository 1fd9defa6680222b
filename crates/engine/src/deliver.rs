//! Brings a response to the client: head, then body, decorated by the plugins of the chain.

use bytes::Bytes;
use plugin::exchange::{Exchange, Source};
use plugin::reply::Body;
use plugin::{BodyMode, Phase};
use wire::{BodyLength, Known, Method};

use crate::chain::{Chain, Instances};
use crate::download::Download;
use crate::respond::{self, Failure};
use crate::response_head::{add_own_fields, client_framing, write_head};
use crate::session::{Local, Parts};
use crate::snapshot::Snapshot;
use crate::transport::Ending;
use crate::upstream::attempt::Upstream;
use crate::upstream::tries::mark_broken;

/// What becomes of the client's connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It may carry another request.
    KeepAlive,
    /// It is closed once the client has what was sent.
    Close,
}

/// Whether something of the response has been sent.
pub fn has_begun(parts: &Parts<'_>) -> bool {
    parts.work.exchange.record.response_bytes > 0 || parts.channel.stream.has_begun()
}

/// Ends a response in a way that does not look complete.
pub fn break_off(parts: &mut Parts<'_>) -> After {
    parts.work.exchange.record.aborted = true;
    After::Close
}

/// The plugins that see a response.
pub struct Filters<'a> {
    /// The instances of the snapshot.
    pub instances: &'a Instances,
    /// The chain of the route, or the global one.
    pub chain: &'a Chain,
}

impl<'a> Filters<'a> {
    /// The filters of a request.
    pub fn new(snapshot: &'a Snapshot, chain: &'a Chain) -> Self {
        Self { instances: &snapshot.instances, chain }
    }

    fn head(&self, exchange: &mut Exchange) {
        exchange.response.headers.set_all(&exchange.decorations);
        self.chain.header_filter(self.instances, exchange);
    }

    pub fn body(&self, exchange: &mut Exchange, piece: &[u8], last: bool) -> Option<Vec<u8>> {
        self.chain.body_filter(self.instances, exchange, piece, last)
    }

    fn mode(&self, exchange: &Exchange) -> BodyMode {
        match exchange.body_mode {
            BodyMode::Withheld => BodyMode::Withheld,
            mode if self.chain.has(Phase::BodyFilter) => mode,
            _ => BodyMode::Pass,
        }
    }
}

/// Sends the reply that a plugin or a failure left in the exchange.
pub async fn reply(parts: &mut Parts<'_>, filters: &Filters<'_>, failure: Option<Failure>) -> After {
    let settings = parts.local.settings.clone();
    let exchange = &mut parts.work.exchange;
    match failure {
        Some(failure) => respond::fail(exchange, failure, &settings),
        None => respond::render(exchange),
    }
    let stands_in = exchange.reply.stands_in;
    exchange.source = if stands_in { Source::Upstream } else { Source::Gateway };
    let mut body = take_reply(exchange, parts.local);
    filters.head(exchange);
    match filters.mode(exchange) {
        BodyMode::Pass => {}
        BodyMode::Withheld => body = Bytes::new(),
        mode => {
            if let Some(replacement) = filters.body(exchange, &body, true)
                && mode == BodyMode::Whole
            {
                body = Bytes::from(replacement);
            }
        }
    }
    let proxied = stands_in || failure.is_some_and(Failure::is_from_upstream);
    add_own_fields(exchange, &settings, proxied);
    let keep_alive = may_keep_alive(parts) && upload_is_settled(parts);
    let head_only = parts.work.exchange.request.method == Method::Head;
    let bodiless = matches!(parts.work.exchange.response.status, 204 | 304);
    if head_only && !bodiless && !stands_in {
        // What stands in for an answer to HEAD brings the length it was given.
        parts.work.exchange.response.headers.set_number(Known::ContentLength, body.len() as u64);
    }
    let unframed = bodiless || head_only;
    let length = if unframed { BodyLength::None } else { BodyLength::Exact(body.len() as u64) };
    write_head(parts, length, keep_alive);
    if !head_only && !bodiless {
        parts.work.to_client.extend_from_slice(&body);
        parts.work.exchange.record.response_body_bytes = body.len() as u64;
    }
    parts.work.exchange.record.response_bytes += parts.work.to_client.len() as u64;
    if let Some(stream) = parts.channel.stream.as_http2() {
        stream.ends_after(parts.work.to_client.len());
    }
    parts.work.exchange.end_response();
    // Nobody is left to read it; it is logged all the same.
    let written = match failure {
        Some(failure) if failure.status() == 499 => Err(failure),
        _ => parts.channel.write_all(&parts.work.to_client, &settings).await,
    };
    let record = &mut parts.work.exchange.record;
    record.aborted = written.is_err();
    if let Err(failure) = written {
        parts.local.bounds.note(failure);
    }
    if keep_alive && written.is_ok() { After::KeepAlive } else { After::Close }
}

fn take_reply(exchange: &mut Exchange, local: &Local) -> Bytes {
    exchange.response.clear();
    exchange.response.status = exchange.reply.status;
    std::mem::swap(&mut exchange.response.headers, &mut exchange.reply.headers);
    if !exchange.response.headers.contains_known(Known::Date) {
        let mut date = Vec::with_capacity(32);
        local.date.write(exchange.record.started_ms, &mut date);
        exchange.response.headers.append_known(Known::Date, &date);
    }
    match std::mem::take(&mut exchange.reply.body) {
        Body::Bytes(bytes) => bytes,
        Body::Empty | Body::Message(_) => Bytes::new(),
    }
}

/// Sends the upstream's response, whose head is in the exchange.
///
/// # Errors
/// The failure to answer with, as long as nothing has been sent to the client.
pub async fn proxied(
    parts: &mut Parts<'_>,
    filters: &Filters<'_>,
    upstream: Upstream,
) -> Result<After, Failure> {
    let exchange = &mut parts.work.exchange;
    exchange.source = Source::Upstream;
    exchange.record.upstream_status = Some(exchange.response.status);
    filters.head(exchange);
    // After the plugins: a cache may not keep what is for one client only.
    if !parts.work.set_cookie.is_empty() {
        exchange.response.headers.append_known(Known::SetCookie, &parts.work.set_cookie);
    }
    let begun = parts.channel.stream.as_http2().is_some();
    let mut download = Download { upstream, filters, mode: filters.mode(exchange), begun };
    if exchange.response.status == 101 {
        // Apart, so that connections without a tunnel stay small.
        return Ok(Box::pin(download.tunnel(parts)).await);
    }
    let bound = parts.local.settings.response_buffer_bytes;
    let whole = match download.mode {
        BodyMode::Whole => {
            let collected = download.collect(parts, bound).await;
            Some(collected.inspect_err(|failure| mark_broken(parts, *failure))?)
        }
        BodyMode::Withheld => {
            download.withhold(parts);
            Some(Vec::new())
        }
        BodyMode::Pass | BodyMode::Observe => None,
    };
    let settings = parts.local.settings.clone();
    add_own_fields(&mut parts.work.exchange, &settings, true);
    let framing = client_framing(&parts.work.exchange, whole.as_deref());
    let keep_alive =
        may_keep_alive(parts) && framing != BodyLength::UntilClose && parts.work.upload.is_done();
    write_head(parts, framing, keep_alive);
    let sent = match whole {
        Some(body) => download.send_whole(parts, &body, framing).await,
        None if framing == BodyLength::UntilClose => send_open_ended(parts, &mut download).await,
        None => download.stream(parts, framing).await,
    };
    if let Err(failure) = sent {
        mark_broken(parts, failure);
    }
    if let (Err(failure), false) = (sent, download.begun) {
        parts.work.exchange.record.response_body_bytes = 0;
        return Err(failure);
    }
    Ok(download.end(parts, sent, keep_alive))
}

/// Sends a response whose end is that of its connection: for as long as it is not whole, the connection, however it ends,
/// does not end like one.
async fn send_open_ended(parts: &mut Parts<'_>, download: &mut Download<'_>) -> Result<(), Failure> {
    parts.channel.stream.end_as(Ending::Reset);
    download.stream(parts, BodyLength::UntilClose).await?;
    parts.channel.stream.end_as(Ending::Orderly);
    Ok(())
}

fn may_keep_alive(parts: &Parts<'_>) -> bool {
    parts.work.exchange.request.keep_alive && !parts.local.draining.get() && !parts.channel.must_close
}

/// What is left of the request body is at hand and can be skipped, or there is none.
fn upload_is_settled(parts: &mut Parts<'_>) -> bool {
    let upload = &mut parts.work.upload;
    if upload.is_done() {
        return true;
    }
    let unread = parts.channel.input.unread().len() as u64;
    match upload.remaining() {
        Some(left) if left <= unread => {
            parts.channel.input.consume(usize::try_from(left).unwrap_or(usize::MAX));
            upload.finish();
            true
        }
        _ => false,
    }
}
