//! Bytes of a request body as they come from the client.

use std::task::{Context, Poll, ready};

use wire::Headers;
use wire::h1::{BodyDecoder, Decoded};

use crate::channel::Channel;
use crate::respond::Failure;

/// Bytes read from the client at a time.
pub(super) const PIECE: usize = 64 << 10;

pub(super) fn decode(decoder: &mut BodyDecoder, unread: &[u8]) -> Result<Decoded, Failure> {
    decoder.decode(unread).map_err(Failure::from)
}

/// Reads on in a body that ends with its stream; false at that end.
pub(super) fn poll_stream_piece(cx: &mut Context<'_>, client: &mut Channel) -> Poll<Result<bool, Failure>> {
    let count = ready!(client.poll_fill(cx, PIECE));
    Poll::Ready(count.map(|count| count > 0).map_err(|_| Failure::ClientGone))
}

/// The trailer section of a body that ends with its stream, of `most` fields.
pub(super) fn poll_trailers(
    cx: &mut Context<'_>,
    client: &mut Channel,
    most: usize,
) -> Poll<Result<Headers, Failure>> {
    let mut trailers = Headers::new();
    if let Some(stream) = client.stream.as_http2() {
        let read = stream.incoming().poll_trailers(cx, most, &mut trailers);
        ready!(read).map_err(|_| Failure::ClientGone)??;
    }
    Poll::Ready(Ok(trailers))
}

/// Waits for the end of a request whose announced length has come: a stream may go on, which makes it malformed
/// (RFC 9113 8.1.1). Over HTTP/1.1 the length is the end.
pub(super) fn poll_ended(cx: &mut Context<'_>, client: &mut Channel) -> Poll<Result<(), Failure>> {
    let Some(stream) = client.stream.as_http2() else { return Poll::Ready(Ok(())) };
    let ended = ready!(stream.incoming().poll_ended(cx));
    Poll::Ready(if matches!(ended, Ok(true)) { Ok(()) } else { Err(Failure::ClientGone) })
}

pub(super) fn poll_client(cx: &mut Context<'_>, client: &mut Channel) -> Poll<Result<(), Failure>> {
    match ready!(client.poll_fill(cx, PIECE)) {
        Ok(0) => Poll::Ready(Err(CUT_SHORT)),
        Err(_) => Poll::Ready(Err(Failure::ClientGone)),
        Ok(_) => Poll::Ready(Ok(())),
    }
}

/// A client that ends its side within a body may still listen (RFC 9112 8).
const CUT_SHORT: Failure = Failure::malformed(400, "body cut short (RFC 9112 8)");
