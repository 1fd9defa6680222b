//! Steps whose request goes over HTTP/2, in cleartext and on a connection of its own. Of the reply the status and the body
//! are read, no fields.

use crate::case::{Step, lines};
use crate::client::{Exchange, Reply};
use crate::frames::{DATA, END_STREAM, Field, GOAWAY, HEADERS, RST_STREAM, Raw, field, frame, section};
use crate::message::Message;
use std::io;
use std::net::SocketAddr;

/// What a request ends with that is to go over HTTP/2.
const VERSION: &str = " HTTP/2";
/// Bytes of a frame of DATA.
const PIECE: usize = 16 << 10;

/// Whether a step goes over HTTP/2.
pub(crate) fn is_meant(step: &Step) -> bool {
    step.request.as_ref().is_some_and(|request| request.ends_with(VERSION))
}

/// Sends the step's request and reads its reply.
pub(crate) fn perform(step: &Step, address: SocketAddr) -> io::Result<Exchange> {
    if step.json.is_some() || step.size.is_some() {
        return Err(io::Error::other("a request over HTTP/2 has a 'body' or 'chunks'"));
    }
    let mut raw = Raw::connect(address, &[])?;
    let mut exchange = Exchange { sent: bytes(step), ..Exchange::default() };
    raw.send(&exchange.sent);
    let heard = hear(&mut raw, 1);
    match heard.outcome.rsplit(' ').next().map(str::parse::<u16>) {
        Some(Ok(status)) => {
            let start_line = format!("HTTP/2 {status}");
            let message = Message { start_line, body: heard.body, ..Message::default() };
            exchange.replies.push(Reply { message, ..Reply::default() });
        }
        _ => exchange.error = Some(heard.outcome),
    }
    Ok(exchange)
}

/// The frames of the request, on stream 1. Names are sent in lower case, as HTTP/2 has them.
fn bytes(step: &Step) -> Vec<u8> {
    let request = step.request.as_deref().unwrap_or_default().trim_end_matches(VERSION);
    let (method, path) = request.split_once(' ').unwrap_or((request, "/"));
    let authority = step.host.as_deref().unwrap_or("gateway.test");
    let lower = |(name, value): (String, String)| field(&name.to_ascii_lowercase(), &value);
    let mut head: Vec<Field> =
        [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
            .map(|(name, value)| field(name, value))
            .into();
    head.extend(lines(&step.headers).into_iter().map(lower));
    let trailers: Vec<_> = lines(&step.trailers).into_iter().map(lower).collect();
    let pieces: Vec<&str> = match (&step.chunks, &step.body) {
        (Some(chunks), _) => chunks.iter().map(String::as_str).collect(),
        (None, Some(body)) => vec![body],
        (None, None) => Vec::new(),
    };
    let payloads: Vec<&[u8]> = pieces.iter().flat_map(|piece| piece.as_bytes().chunks(PIECE)).collect();
    let behind = payloads.len() + usize::from(!trailers.is_empty());
    // The last frame ends the stream.
    let flags = |rest: usize| if rest == 0 { END_STREAM } else { 0 };
    let mut bytes = section(1, flags(behind), &head);
    for (number, payload) in payloads.iter().enumerate() {
        bytes.extend(frame(DATA, flags(behind - number - 1), 1, payload));
    }
    if !trailers.is_empty() {
        bytes.extend(section(1, END_STREAM, &trailers));
    }
    bytes
}

/// What a client got on a stream.
pub(crate) struct Heard {
    /// The statuses, or how the stream or the connection ended.
    pub outcome: String,
    pub body: Vec<u8>,
}

/// Reads up to the end of a stream, or of the connection.
pub(crate) fn hear(raw: &mut Raw, stream: u32) -> Heard {
    let (mut statuses, mut body, mut goaway) = (Vec::new(), Vec::new(), None);
    let outcome = loop {
        let frame = match raw.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => break format!("goaway {}", goaway.unwrap_or("without a word")),
            Err(error) => break format!("nothing: {error}"),
        };
        if frame.kind == GOAWAY {
            goaway = Some(frame.error());
        }
        if frame.stream != stream {
            continue;
        }
        match frame.kind {
            RST_STREAM => break format!("reset {}", frame.error()),
            HEADERS => statuses.extend(frame.status()),
            DATA => body.extend_from_slice(&frame.payload),
            _ => continue,
        }
        if frame.ends_stream() {
            break statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        }
    };
    Heard { outcome, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frame_of_a_step_ends_the_stream() {
        let step = |value| -> Step { serde_json::from_value(value).unwrap() };
        let ends = |step: &Step| {
            let bytes = bytes(step);
            let mut at = 0;
            let mut ends = Vec::new();
            while at < bytes.len() {
                let length = usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2]);
                ends.push((bytes[at + 3], bytes[at + 4] & END_STREAM != 0));
                at += 9 + length;
            }
            ends
        };
        let alone = step(serde_json::json!({"request": "GET /a HTTP/2", "headers": {"X-A": "1"}}));
        assert_eq!(ends(&alone), [(HEADERS, true)]);
        let body = step(serde_json::json!({"request": "POST /a HTTP/2", "body": "ab"}));
        assert_eq!(ends(&body), [(HEADERS, false), (DATA, true)]);
        let whole =
            serde_json::json!({"request": "POST / HTTP/2", "chunks": ["a", "b"], "trailers": {"T": "v"}});
        let whole = step(whole);
        assert_eq!(ends(&whole), [(HEADERS, false), (DATA, false), (DATA, false), (HEADERS, true)]);
        assert!(is_meant(&whole) && bytes(&whole).windows(3).any(|part| part == [1, b't', 1]));
    }
}
