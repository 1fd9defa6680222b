//! Relays a response body: piece by piece as it comes, or whole where a plugin wants it so.

use plugin::BodyMode;
use tokio::time::Instant;
use wire::h1::{BodyDecoder, Decoded, encode};
use wire::{BodyLength, Headers};

use crate::deliver::{After, Filters};
use crate::respond::Failure;
use crate::response_head::{add_own_fields, write_head};
use crate::session::Parts;
use crate::transport::Stream;
use crate::tunnel;
use crate::upstream::attempt::{FIRST_READ, Upstream};
use crate::upstream::pair::Pair;
use crate::upstream::tries::mark_ended;

/// Bytes read from an upstream at a time once the body is known to be large.
const LARGE_READ: usize = 128 << 10;
/// A piece of body up to this size is copied behind the head rather than written beside it.
const SMALL_BODY: usize = 4 << 10;
/// Bytes of framed body collected before they are written.
const FLUSH_AT: usize = 64 << 10;

/// A response body on its way from the upstream to the client.
pub struct Download<'a> {
    /// Where it comes from.
    pub upstream: Upstream,
    /// The plugins that see it.
    pub filters: &'a Filters<'a>,
    /// What the plugins want of it.
    pub mode: BodyMode,
    /// The client may have got something of it: it is too late for another answer.
    pub begun: bool,
}

impl Download<'_> {
    fn decoder(&self, parts: &Parts<'_>) -> BodyDecoder {
        BodyDecoder::new(self.framing(parts), &parts.local.settings.response_limits)
    }

    /// How the body ends. Over HTTP/2 it does with its stream, whatever length was announced: that has been held
    /// against it by then, and trailers may follow.
    fn framing(&self, parts: &Parts<'_>) -> BodyLength {
        match (&self.upstream.stream, parts.work.exchange.response.framing) {
            (Stream::Call(_), BodyLength::Exact(_)) => BodyLength::UntilClose,
            (_, framing) => framing,
        }
    }

    async fn read(&mut self, parts: &mut Parts<'_>, room: usize) -> Result<usize, Failure> {
        let limit = parts.work.timeouts.read;
        let mut pair = Pair::new(parts.channel, &mut self.upstream, &mut parts.work.upload, parts.local);
        pair.read_upstream(room, limit, None).await
    }

    /// Sends what is in `to_client` and `count` unread bytes behind it; `last` says that nothing follows.
    async fn flush(&mut self, parts: &mut Parts<'_>, count: usize, last: bool) -> Result<(), Failure> {
        if let Some(stream) = parts.channel.stream.as_http2().filter(|_| last) {
            stream.ends_after(parts.work.to_client.len() + count);
        }
        self.begun = true;
        let work = &mut *parts.work;
        work.exchange.record.response_bytes += (work.to_client.len() + count) as u64;
        let mut pair = Pair::new(parts.channel, &mut self.upstream, &mut work.upload, parts.local);
        pair.write_client(&work.to_client, count).await?;
        work.to_client.clear();
        Ok(())
    }

    /// Relays the body as it comes; the head is already in `to_client`.
    pub async fn stream(&mut self, parts: &mut Parts<'_>, framing: BodyLength) -> Result<(), Failure> {
        let announced = parts.work.exchange.response.framing;
        if framing == BodyLength::None || announced == BodyLength::None {
            // A body the client cannot take is left unread, with its connection.
            self.upstream.reusable &= matches!(announced, BodyLength::None | BodyLength::Exact(0));
            mark_ended(parts);
            self.observe_end(parts);
            return self.flush(parts, 0, true).await;
        }
        let mut decoder = self.decoder(parts);
        let mut room = FIRST_READ;
        loop {
            let done = self.relay_unread(parts, &mut decoder, framing).await?;
            if done {
                finish(parts, &decoder);
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
            if done {
                mark_ended(parts);
            }
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
                    self.flush(parts, count, done && decoder.trailers().is_empty()).await?;
                }
                self.upstream.input.consume(consumed);
            }
            let stuck = consumed == 0 || self.upstream.input.is_empty();
            if done || stuck || parts.work.to_client.len() >= FLUSH_AT {
                if !parts.work.to_client.is_empty() {
                    self.flush(parts, 0, false).await?;
                }
                if done || stuck {
                    return Ok(done);
                }
            }
        }
    }

    async fn end_by_close(&mut self, parts: &mut Parts<'_>, framing: BodyLength) -> Result<(), Failure> {
        self.upstream.reusable = false;
        if self.framing(parts) != BodyLength::UntilClose {
            return Err(Failure::UpstreamClosed);
        }
        let trailers = self.read_trailers(parts).await?;
        mark_ended(parts);
        self.observe_end(parts);
        if framing == BodyLength::Chunked {
            let wanted = parts.work.exchange.wants_trailers().then_some(&trailers);
            encode::last_chunk(&mut parts.work.to_client, wanted);
        }
        self.flush(parts, 0, false).await?;
        if let Some(stream) = parts.channel.stream.as_http2() {
            stream.finish(Some(&trailers));
        }
        Ok(())
    }

    /// What follows a body that ends with its stream; with a connection of HTTP/1.1 nothing can.
    async fn read_trailers(&mut self, parts: &mut Parts<'_>) -> Result<Headers, Failure> {
        let mut trailers = Headers::new();
        if matches!(self.upstream.stream, Stream::Call(_)) {
            let limit = parts.work.timeouts.read;
            let mut pair = Pair::new(parts.channel, &mut self.upstream, &mut parts.work.upload, parts.local);
            pair.read_trailers(limit, &mut trailers).await?;
        }
        Ok(trailers)
    }

    fn observe_end(&self, parts: &mut Parts<'_>) {
        if self.mode == BodyMode::Observe {
            self.filters.body(&mut parts.work.exchange, b"", true);
        }
    }

    /// Leaves the body unread, and with it its connection, unless all of it is at hand.
    pub fn withhold(&mut self, parts: &Parts<'_>) {
        let complete = self.upstream.skip(self.framing(parts));
        let changed_protocols = parts.work.exchange.record.upstream_status == Some(101);
        self.upstream.reusable &= complete && !changed_protocols;
    }

    /// Reads the whole body, of `bound` bytes at most, and lets the plugins replace it.
    pub async fn collect(&mut self, parts: &mut Parts<'_>, bound: usize) -> Result<Vec<u8>, Failure> {
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
                if ended && self.framing(parts) != BodyLength::UntilClose {
                    return Err(Failure::UpstreamClosed);
                }
                self.upstream.reusable &= !ended;
                done = ended;
            }
        }
        mark_ended(parts);
        let replacement = self.filters.body(&mut parts.work.exchange, &body, true);
        Ok(replacement.unwrap_or(body))
    }

    pub async fn send_whole(
        &mut self,
        parts: &mut Parts<'_>,
        body: &[u8],
        framing: BodyLength,
    ) -> Result<(), Failure> {
        if framing != BodyLength::None {
            parts.work.to_client.extend_from_slice(body);
            parts.work.exchange.record.response_body_bytes = body.len() as u64;
        }
        self.flush(parts, 0, true).await
    }

    /// Switches protocols: the head goes out and the bytes flow both ways until one side has been silent for long.
    pub async fn tunnel(self, parts: &mut Parts<'_>) -> After {
        let settings = parts.local.settings.clone();
        add_own_fields(&mut parts.work.exchange, &settings, true);
        write_head(parts, BodyLength::None, true);
        let head = std::mem::take(&mut parts.work.to_client);
        let record = &mut parts.work.exchange.record;
        record.response_bytes += head.len() as u64;
        let moved = tunnel::run(parts.channel, self.upstream, &head, parts.local).await;
        parts.work.to_client = head;
        record.request_bytes += moved.received.get();
        record.response_bytes += moved.sent.get();
        record.response_body_bytes += moved.sent.get();
        After::Close
    }

    /// Settles both connections after the response, or after the failure to send it whole.
    pub fn end(self, parts: &mut Parts<'_>, sent: Result<(), Failure>, keep_alive: bool) -> After {
        let now = Instant::now().into_std();
        let record = &mut parts.work.exchange.record;
        record.upstream_finished = Some(now);
        record.aborted = sent.is_err();
        if let Err(failure) = sent {
            parts.local.bounds.note(failure);
        }
        let upload_done = parts.work.upload.is_done();
        let Upstream { stream, input, destination, requests, reusable, .. } = self.upstream;
        if sent.is_ok() && reusable && upload_done && input.is_empty() {
            parts.local.pool.put(destination, stream, requests, now);
        }
        if sent.is_ok() && keep_alive && upload_done && !parts.channel.must_close {
            After::KeepAlive
        } else {
            After::Close
        }
    }
}

/// Ends a response over HTTP/2, where that is not said by its last piece.
fn finish(parts: &mut Parts<'_>, decoder: &BodyDecoder) {
    if let Some(stream) = parts.channel.stream.as_http2() {
        stream.finish(Some(decoder.trailers()));
    }
}

fn write_last_chunk(parts: &mut Parts<'_>, decoder: &BodyDecoder) {
    let trailers = parts.work.exchange.wants_trailers().then(|| decoder.trailers());
    encode::last_chunk(&mut parts.work.to_client, trailers);
}
