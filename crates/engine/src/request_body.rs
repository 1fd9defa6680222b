//! Takes the request body: announced, read into memory for a plugin, kept for another attempt, or left to stream.

use wire::h1::encode;
use wire::{BodyLength, Method};

use crate::respond::Failure;
use crate::session::Parts;

/// A body up to this size is read whole before an upstream is asked, so that it can be sent again.
const REPLAYABLE: u64 = 64 << 10;

/// Prepares to take the body the head announces.
pub fn open(parts: &mut Parts<'_>) -> Result<(), Failure> {
    let settings = &parts.local.settings;
    let framing = parts.work.exchange.request.framing;
    parts.work.upload.begin(framing, settings.max_body_bytes, &settings.request_limits);
    if framing == BodyLength::Exact(0) && parts.channel.stream.as_http2().is_some() {
        parts.work.upload.await_end();
    }
    if parts.work.exchange.request.method == Method::Connect {
        parts.channel.must_close = true;
        return Err(Failure::malformed(405, "CONNECT is not served"));
    }
    match framing {
        BodyLength::Exact(length) if settings.max_body_bytes > 0 && length > settings.max_body_bytes => {
            Err(Failure::BodyTooLarge)
        }
        _ => Ok(()),
    }
}

/// Makes the body ready for an upstream: a small one in memory where the route buffers requests, the client told to go
/// on where it waits for that.
pub async fn make_ready(parts: &mut Parts<'_>, buffering: bool) -> Result<(), Failure> {
    hold_to_limit(parts)?;
    buffer_small(parts, buffering).await?;
    send_continue(parts).await?;
    if parts.work.exchange.body.is_some() && parts.work.upload.is_awaiting_client() {
        // A plugin made a body of its own: the client's is not to follow it.
        parts.work.upload.finish();
        parts.channel.must_close = true;
    }
    Ok(())
}

/// Reads a small body whole before an upstream is asked, where the route buffers requests, and waits for the end of one
/// that has no bytes, which a head alone would complete. A chunked body that turns out to be large goes on as a stream, and
/// so does one with trailers, which have no place behind a length.
async fn buffer_small(parts: &mut Parts<'_>, buffering: bool) -> Result<(), Failure> {
    let upload = &parts.work.upload;
    let small = upload.remaining().is_none_or(|length| length <= REPLAYABLE);
    let wanted = small && upload.is_awaiting_client() && (buffering || upload.remaining() == Some(0));
    if !wanted || parts.work.exchange.body.is_some() {
        return Ok(());
    }
    let body = collect(parts, usize::try_from(REPLAYABLE).unwrap_or(usize::MAX), true).await?;
    let upload = &mut parts.work.upload;
    if upload.is_awaiting_client() || upload.has_trailers() {
        upload.put_back(body);
    } else {
        parts.work.exchange.body = Some(body);
    }
    Ok(())
}

/// Reads the request body into memory, within the bound.
pub async fn read(parts: &mut Parts<'_>) -> Result<(), Failure> {
    if parts.work.exchange.body.is_some() {
        return Ok(());
    }
    let bound = parts.local.settings.request_buffer_bytes;
    let body = collect(parts, bound, false).await?;
    parts.work.exchange.body = Some(body);
    Ok(())
}

/// Takes up to `bound` bytes of the request body; more is a failure, unless `partly` allows to stop there.
async fn collect(parts: &mut Parts<'_>, bound: usize, partly: bool) -> Result<Vec<u8>, Failure> {
    hold_to_limit(parts)?;
    send_continue(parts).await?;
    let mut body = Vec::new();
    let Parts { local, channel, work } = parts;
    match channel.collect(&mut work.upload, &mut body, bound, &local.settings).await {
        Err(Failure::BodyBeyondBuffer) if partly => Ok(body),
        outcome => outcome.map(|()| body),
    }
}

/// What has not been read of the body is held to the limit that plugins have set by now.
fn hold_to_limit(parts: &mut Parts<'_>) -> Result<(), Failure> {
    parts.work.exchange.body_limit.map_or(Ok(()), |limit| parts.work.upload.narrow(limit))
}

/// Tells a client that waits for it to go on with its body (RFC 9110 10.1.1).
async fn send_continue(parts: &mut Parts<'_>) -> Result<(), Failure> {
    let expected = std::mem::take(&mut parts.work.exchange.request.expect_continue);
    if !expected || !parts.work.upload.is_awaiting_client() || !parts.channel.input.is_empty() {
        return Ok(());
    }
    if let Some(stream) = parts.channel.stream.as_http2() {
        stream.send_interim(wire::h2::response(100, &wire::Headers::new(), |_| true));
        return Ok(());
    }
    parts.work.to_client.clear();
    encode::status_line(&mut parts.work.to_client, 100, None);
    encode::end_of_head(&mut parts.work.to_client);
    parts.channel.write_all(&parts.work.to_client, &parts.local.settings).await
}

/// How the body is framed for the upstream.
pub fn framing(parts: &Parts<'_>) -> BodyLength {
    match (&parts.work.exchange.body, parts.work.exchange.request.framing) {
        (Some(body), framing) if !body.is_empty() || framing != BodyLength::None => {
            BodyLength::Exact(body.len() as u64)
        }
        // Over HTTP/1.1 the end of a stream has to be said.
        (_, BodyLength::UntilClose) => BodyLength::Chunked,
        (_, framing) => framing,
    }
}
