//! Brings a response to the client: head, then body, decorated by the plugins of the chain.

use bytes::Bytes;
use plugin::exchange::{Exchange, Source};
use plugin::reply::Body;
use plugin::serialize::Latencies;
use plugin::{BodyMode, Phase};
use tokio::time::Instant;
use wire::h1::{BodyDecoder, Decoded, encode};
use wire::{BodyLength, Known, Method, Version};

use crate::chain::{Chain, Instances};
use crate::respond::{self, Failure};
use crate::session::{Local, Parts};
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::tunnel;
use crate::upstream::attempt::{FIRST_READ, Pair, Upstream};
use crate::{SERVER, VIA_11};

/// Bytes read from an upstream at a time once the body is known to be large.
const LARGE_READ: usize = 128 << 10;
/// A piece of body up to this size is copied behind the head rather than written beside it.
const SMALL_BODY: usize = 4 << 10;
/// Bytes of framed body collected before they are written.
const FLUSH_AT: usize = 64 << 10;

/// What becomes of the client's connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It may carry another request.
    KeepAlive,
    /// It is closed once the client has what was sent.
    Close,
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

    fn body(&self, exchange: &mut Exchange, piece: &[u8], last: bool) -> Option<Vec<u8>> {
        self.chain.body_filter(self.instances, exchange, piece, last)
    }

    fn mode(&self, exchange: &Exchange) -> BodyMode {
        if self.chain.has(Phase::BodyFilter) { exchange.body_mode } else { BodyMode::Pass }
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
    let mode = filters.mode(exchange);
    if mode != BodyMode::Pass
        && let Some(replacement) = filters.body(exchange, &body, true)
        && mode == BodyMode::Whole
    {
        body = Bytes::from(replacement);
    }
    let proxied = stands_in || failure.is_some_and(Failure::is_from_upstream);
    add_own_fields(exchange, &settings, proxied);
    let keep_alive = may_keep_alive(parts) && upload_is_settled(parts);
    let head_only = parts.work.exchange.request.method == Method::Head;
    let bodiless = matches!(parts.work.exchange.response.status, 204 | 304);
    // What stands in for an answer to HEAD brings the length it was given.
    let unframed = bodiless || (head_only && stands_in);
    let length = if unframed { BodyLength::None } else { BodyLength::Exact(body.len() as u64) };
    write_head(parts, length, keep_alive);
    if !head_only && !bodiless {
        parts.work.to_client.extend_from_slice(&body);
        parts.work.exchange.record.response_body_bytes = body.len() as u64;
    }
    let written = parts.channel.write_all(&parts.work.to_client, settings.send_timeout).await;
    let record = &mut parts.work.exchange.record;
    record.response_bytes += parts.work.to_client.len() as u64;
    record.aborted = written.is_err();
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
    read_timeout: std::time::Duration,
) -> Result<After, Failure> {
    let exchange = &mut parts.work.exchange;
    exchange.source = Source::Upstream;
    exchange.record.upstream_status = Some(exchange.response.status);
    filters.head(exchange);
    let mut download = Download { upstream, filters, read_timeout, mode: filters.mode(exchange) };
    if exchange.response.status == 101 {
        return Ok(download.tunnel(parts).await);
    }
    let whole = if download.mode == BodyMode::Whole { Some(download.collect(parts).await?) } else { None };
    let settings = parts.local.settings.clone();
    add_own_fields(&mut parts.work.exchange, &settings, true);
    let framing = client_framing(&parts.work.exchange, whole.as_deref());
    let keep_alive =
        may_keep_alive(parts) && framing != BodyLength::UntilClose && parts.work.upload.is_done();
    write_head(parts, framing, keep_alive);
    let sent = match whole {
        Some(body) => download.send_whole(parts, &body, framing).await,
        None => download.stream(parts, framing).await,
    };
    Ok(download.end(parts, sent, keep_alive))
}

/// How the body is framed for the client (RFC 9112 6.3).
fn client_framing(exchange: &Exchange, whole: Option<&[u8]>) -> BodyLength {
    let response = &exchange.response;
    // The client goes by the method it sent, which a plugin may have changed for the upstream.
    let asked_head = exchange.request.method == Method::Head;
    if asked_head || response.status < 200 || matches!(response.status, 204 | 304) {
        return BodyLength::None;
    }
    match (whole, response.framing) {
        (Some(body), _) => BodyLength::Exact(body.len() as u64),
        (None, BodyLength::None) => BodyLength::Exact(0),
        (None, BodyLength::Exact(length)) => BodyLength::Exact(length),
        _ if exchange.request.version == Version::Http10 => BodyLength::UntilClose,
        _ => BodyLength::Chunked,
    }
}

struct Download<'a> {
    upstream: Upstream,
    filters: &'a Filters<'a>,
    read_timeout: std::time::Duration,
    mode: BodyMode,
}

impl Download<'_> {
    fn decoder(&self, parts: &Parts<'_>) -> BodyDecoder {
        BodyDecoder::new(parts.work.exchange.response.framing, &parts.local.settings.response_limits)
    }

    async fn read(&mut self, parts: &mut Parts<'_>, room: usize) -> Result<usize, Failure> {
        let mut pair = Pair::new(parts.channel, &mut self.upstream, &mut parts.work.upload, parts.local);
        pair.read_upstream(room, self.read_timeout, None).await
    }

    async fn flush(&mut self, parts: &mut Parts<'_>, count: usize) -> Result<(), Failure> {
        let work = &mut *parts.work;
        work.exchange.record.response_bytes += (work.to_client.len() + count) as u64;
        let mut pair = Pair::new(parts.channel, &mut self.upstream, &mut work.upload, parts.local);
        pair.write_client(&work.to_client, count).await?;
        work.to_client.clear();
        Ok(())
    }

    /// Relays the body as it comes; the head is already in `to_client`.
    async fn stream(&mut self, parts: &mut Parts<'_>, framing: BodyLength) -> Result<(), Failure> {
        let announced = parts.work.exchange.response.framing;
        if framing == BodyLength::None || announced == BodyLength::None {
            // A body the client cannot take is left unread, with its connection.
            self.upstream.reusable &= matches!(announced, BodyLength::None | BodyLength::Exact(0));
            self.observe_end(parts);
            return self.flush(parts, 0).await;
        }
        let mut decoder = self.decoder(parts);
        let mut room = FIRST_READ;
        loop {
            let done = self.relay_unread(parts, &mut decoder, framing).await?;
            if done {
                return Ok(());
            }
            let count = self.read(parts, room).await?;
            if count == 0 {
                return self.end_by_close(parts, framing).await;
            }
            if count == room {
                room = LARGE_READ;
            }
        }
    }

    /// Relays what has been received, head included. Whether the body is complete.
    async fn relay_unread(
        &mut self,
        parts: &mut Parts<'_>,
        decoder: &mut BodyDecoder,
        framing: BodyLength,
    ) -> Result<bool, Failure> {
        loop {
            let unread = self.upstream.input.unread();
            let Decoded { consumed, data, done } = decoder
                .decode(unread)
                .map_err(|reject| Failure::UpstreamMalformed { rule: reject.reason })?;
            let piece = &unread[data];
            parts.work.exchange.record.response_body_bytes += piece.len() as u64;
            if self.mode == BodyMode::Observe {
                self.filters.body(&mut parts.work.exchange, piece, done);
            }
            if framing == BodyLength::Chunked {
                if !piece.is_empty() {
                    encode::chunk_head(&mut parts.work.to_client, piece.len());
                    parts.work.to_client.extend_from_slice(piece);
                    encode::chunk_end(&mut parts.work.to_client);
                }
                if done {
                    write_last_chunk(parts, decoder);
                }
                self.upstream.input.consume(consumed);
            } else {
                // Without framing of our own the bytes go out from where they were read to; a few go with the head.
                let mut count = piece.len();
                if count <= SMALL_BODY {
                    parts.work.to_client.extend_from_slice(piece);
                    count = 0;
                }
                if count > 0 || done {
                    self.flush(parts, count).await?;
                }
                self.upstream.input.consume(consumed);
            }
            let stuck = consumed == 0 || self.upstream.input.is_empty();
            if done || stuck || parts.work.to_client.len() >= FLUSH_AT {
                if !parts.work.to_client.is_empty() {
                    self.flush(parts, 0).await?;
                }
                if done || stuck {
                    return Ok(done);
                }
            }
        }
    }

    async fn end_by_close(&mut self, parts: &mut Parts<'_>, framing: BodyLength) -> Result<(), Failure> {
        self.upstream.reusable = false;
        if parts.work.exchange.response.framing != BodyLength::UntilClose {
            return Err(Failure::UpstreamClosed);
        }
        self.observe_end(parts);
        if framing == BodyLength::Chunked {
            encode::last_chunk(&mut parts.work.to_client, None);
        }
        self.flush(parts, 0).await
    }

    fn observe_end(&self, parts: &mut Parts<'_>) {
        if self.mode == BodyMode::Observe {
            self.filters.body(&mut parts.work.exchange, b"", true);
        }
    }

    /// Reads the whole body, within the bound, and lets the plugins replace it.
    async fn collect(&mut self, parts: &mut Parts<'_>) -> Result<Vec<u8>, Failure> {
        let bound = parts.local.settings.response_buffer_bytes;
        let mut body = Vec::new();
        let mut decoder = self.decoder(parts);
        let mut done = parts.work.exchange.response.framing == BodyLength::None;
        while !done {
            let unread = self.upstream.input.unread();
            let piece = decoder
                .decode(unread)
                .map_err(|reject| Failure::UpstreamMalformed { rule: reject.reason })?;
            body.extend_from_slice(&unread[piece.data]);
            self.upstream.input.consume(piece.consumed);
            done = piece.done;
            if body.len() > bound {
                return Err(Failure::ResponseTooLarge);
            }
            if !done && (piece.consumed == 0 || self.upstream.input.is_empty()) {
                let ended = self.read(parts, FIRST_READ).await? == 0;
                if ended && parts.work.exchange.response.framing != BodyLength::UntilClose {
                    return Err(Failure::UpstreamClosed);
                }
                self.upstream.reusable &= !ended;
                done = ended;
            }
        }
        let replacement = self.filters.body(&mut parts.work.exchange, &body, true);
        Ok(replacement.unwrap_or(body))
    }

    async fn send_whole(
        &mut self,
        parts: &mut Parts<'_>,
        body: &[u8],
        framing: BodyLength,
    ) -> Result<(), Failure> {
        if framing != BodyLength::None {
            parts.work.to_client.extend_from_slice(body);
            parts.work.exchange.record.response_body_bytes = body.len() as u64;
        }
        self.flush(parts, 0).await
    }

    /// Switches protocols: the head goes out and the bytes flow both ways until one side has been silent for long.
    async fn tunnel(self, parts: &mut Parts<'_>) -> After {
        let settings = parts.local.settings.clone();
        add_own_fields(&mut parts.work.exchange, &settings, true);
        write_head(parts, BodyLength::None, true);
        let head = std::mem::take(&mut parts.work.to_client);
        let record = &mut parts.work.exchange.record;
        record.response_bytes += head.len() as u64;
        let moved = tunnel::run(parts.channel, self.upstream, &head, settings.tunnel_timeout).await;
        parts.work.to_client = head;
        record.request_bytes += moved.to_upstream;
        record.response_bytes += moved.to_client;
        record.response_body_bytes += moved.to_client;
        After::Close
    }

    /// Settles both connections after the response, or after the failure to send it whole.
    fn end(self, parts: &mut Parts<'_>, sent: Result<(), Failure>, keep_alive: bool) -> After {
        let now = Instant::now().into_std();
        let record = &mut parts.work.exchange.record;
        record.upstream_finished = Some(now);
        record.aborted = sent.is_err();
        let upload_done = parts.work.upload.is_done();
        let Upstream { stream, input, address, requests, reusable, .. } = self.upstream;
        if sent.is_ok() && reusable && upload_done && input.is_empty() {
            parts.local.pool.put(address, stream, requests, now);
        }
        parts.work.upstream_input = input;
        if sent.is_ok() && keep_alive && upload_done && !parts.channel.must_close {
            After::KeepAlive
        } else {
            After::Close
        }
    }
}

fn write_last_chunk(parts: &mut Parts<'_>, decoder: &BodyDecoder) {
    let trailers = wants_trailers(&parts.work.exchange).then(|| decoder.trailers());
    encode::last_chunk(&mut parts.work.to_client, trailers);
}

/// The client knows what to do with trailers (RFC 9110 10.1.4).
fn wants_trailers(exchange: &Exchange) -> bool {
    exchange.request.headers.known_all(Known::TE).any(|value| wire::media::has_token(value, "trailers"))
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

/// Adds the fields the gateway itself is responsible for (kong.md 3.5).
fn add_own_fields(exchange: &mut Exchange, settings: &Settings, proxied: bool) {
    let on = settings.response_headers;
    let now = exchange.record.upstream_answered.unwrap_or_else(|| Instant::now().into_std());
    let latencies = Latencies::at(&exchange.record, now);
    let headers = &mut exchange.response.headers;
    let mut number = itoa::Buffer::new();
    if on.upstream_status
        && let Some(status) = exchange.record.upstream_status
    {
        headers.set_known(Known::XKongUpstreamStatus, number.format(status).as_bytes());
    }
    if proxied {
        let waited = latencies.proxy.or((exchange.source == Source::Upstream).then_some(0));
        if on.upstream_latency
            && let Some(waited) = waited
        {
            headers.set_known(Known::XKongUpstreamLatency, number.format(waited).as_bytes());
        }
        if on.proxy_latency {
            headers.set_known(Known::XKongProxyLatency, number.format(latencies.kong).as_bytes());
        }
        if on.via && exchange.source == Source::Upstream {
            headers.append_known(Known::Via, VIA_11.as_bytes());
        }
    } else if on.response_latency {
        headers.set_known(Known::XKongResponseLatency, number.format(latencies.request).as_bytes());
    }
    if on.server && (exchange.source == Source::Gateway || !headers.contains_known(Known::Server)) {
        headers.set_known(Known::Server, SERVER.as_bytes());
    }
    if on.request_id {
        headers.set_known(Known::XKongRequestId, &exchange.request_id);
    }
    if settings.allow_debug_header {
        add_debug_fields(exchange);
    }
}

fn add_debug_fields(exchange: &mut Exchange) {
    let Some(matched) = exchange.matched.clone() else { return };
    if exchange.request.headers.get("Kong-Debug") != Some(b"1") {
        return;
    }
    let headers = &mut exchange.response.headers;
    headers.set("Kong-Route-Id", matched.route.id.to_string().as_bytes());
    if let Some(name) = &matched.route.name {
        headers.set("Kong-Route-Name", name.as_bytes());
    }
    if let Some(service) = &matched.service {
        headers.set("Kong-Service-Id", service.id.to_string().as_bytes());
        if let Some(name) = &service.name {
            headers.set("Kong-Service-Name", name.as_bytes());
        }
    }
}

/// Whether a field belongs to one connection only (RFC 9110 7.6.1).
pub fn is_hop_by_hop(known: Known) -> bool {
    matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::TE
    )
}

/// Writes the response head into `to_client`.
fn write_head(parts: &mut Parts<'_>, framing: BodyLength, keep_alive: bool) {
    let work = &mut *parts.work;
    let exchange = &work.exchange;
    let response = &exchange.response;
    let out = &mut work.to_client;
    out.clear();
    encode::status_line(out, response.status, Some(response.reason()).filter(|reason| !reason.is_empty()));
    // An answer to HEAD and a 304 keep the length the body would have (RFC 9110 8.6).
    let keeps_length = framing == BodyLength::None && response.status != 204 && response.status >= 200;
    // Trailers are announced to those who asked for them only (kong.md 3.5).
    let announces = framing == BodyLength::Chunked && wants_trailers(exchange);
    response.headers.write_where(out, |field| {
        let drop = is_hop_by_hop(field.known)
            || (field.known == Known::Trailer && !announces)
            || (field.known == Known::ContentLength && !keeps_length);
        !drop
    });
    match framing {
        BodyLength::Exact(length) => encode::header_number(out, Known::ContentLength, length),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::None | BodyLength::UntilClose => {}
    }
    // Both name the protocols that may follow (RFC 9110 7.8, 15.5.22).
    if let (101 | 426, Some(protocols)) = (response.status, response.headers.known(Known::Upgrade)) {
        encode::header(out, "Upgrade", protocols);
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    } else if keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    encode::end_of_head(out);
}
