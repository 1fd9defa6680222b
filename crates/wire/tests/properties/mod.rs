//! What must hold for every input, hostile or not. Tests and fuzz targets share these; a breach panics.

#![allow(dead_code, reason = "each test and each fuzz target uses its own part")]
#![allow(missing_docs, clippy::panic, clippy::unwrap_used, reason = "test code")]

use wire::h1::encode;
use wire::{
    BodyDecoder, BodyLength, Headers, Limits, Method, Parsed, Reject, RequestHead, ResponseHead, Version,
    parse_request, parse_response,
};

/// Parses a request head whole and byte by byte, demands one verdict, and that printing it is stable.
pub fn request_head(bytes: &[u8], limits: &Limits) -> (Parsed, RequestHead) {
    let mut whole = RequestHead::new();
    let verdict = parse_request(bytes, limits, &mut whole);
    let mut split = RequestHead::new();
    let bytewise = one_by_one(bytes, |prefix| parse_request(prefix, limits, &mut split));
    assert_eq!(verdict, bytewise, "whole and byte by byte differ: {}", bytes.escape_ascii());
    if let Parsed::Complete { consumed } = verdict {
        assert!(consumed <= bytes.len());
        assert_same_request(&whole, &split);
        assert_unsplittable(&whole.headers);
        assert_framed(&whole.headers, whole.framing);
        assert!(!whole.target().iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()));
        let mut printed = Vec::new();
        assert!(encode::request_head(&mut printed, &whole));
        let mut again = RequestHead::new();
        let roomy = Limits { max_head_bytes: usize::MAX, max_line_bytes: usize::MAX, ..limits.clone() };
        let length = printed.len();
        assert_eq!(parse_request(&printed, &roomy, &mut again), Parsed::Complete { consumed: length });
        assert_same_request(&whole, &again);
    }
    (verdict, whole)
}

/// The same for a response head answering `method`.
pub fn response_head(bytes: &[u8], method: &Method, limits: &Limits) -> (Parsed, ResponseHead) {
    let mut whole = ResponseHead::new();
    let verdict = parse_response(bytes, method, limits, &mut whole);
    let mut split = ResponseHead::new();
    let bytewise = one_by_one(bytes, |prefix| parse_response(prefix, method, limits, &mut split));
    assert_eq!(verdict, bytewise, "whole and byte by byte differ: {}", bytes.escape_ascii());
    if let Parsed::Complete { consumed } = verdict {
        assert!(consumed <= bytes.len());
        assert_same_response(&whole, &split);
        assert_unsplittable(&whole.headers);
        let mut printed = Vec::new();
        encode::response_head(&mut printed, &whole);
        let mut again = ResponseHead::new();
        let roomy = Limits { max_head_bytes: usize::MAX, max_line_bytes: usize::MAX, ..limits.clone() };
        let length = printed.len();
        assert_eq!(
            parse_response(&printed, method, &roomy, &mut again),
            Parsed::Complete { consumed: length }
        );
        // Responses are printed as HTTP/1.1; what follows from the version alone may change.
        if whole.version == Version::Http11 {
            assert_same_response(&whole, &again);
        }
        assert_eq!(
            (whole.status, whole.reason(), &whole.headers),
            (again.status, again.reason(), &again.headers)
        );
    }
    (verdict, whole)
}

/// A body as decoded: content, bytes consumed, whether it ended, trailers.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    pub content: Vec<u8>,
    pub consumed: usize,
    pub done: bool,
    pub trailers: Headers,
}

/// Decodes a body whole and byte by byte, demands one outcome, and that printing it is stable.
pub fn body(bytes: &[u8], length: BodyLength, limits: &Limits) -> Result<Body, Reject> {
    let whole = decode(bytes, length, limits, usize::MAX);
    for step in [1, 3] {
        let split = decode(bytes, length, limits, step);
        assert_eq!(whole, split, "whole and in steps of {step} differ: {}", bytes.escape_ascii());
    }
    if let (Ok(body), BodyLength::Chunked) = (&whole, length)
        && body.done
    {
        let mut printed = Vec::new();
        for piece in body.content.chunks(7) {
            encode::chunk_head(&mut printed, piece.len());
            printed.extend_from_slice(piece);
            encode::chunk_end(&mut printed);
        }
        encode::last_chunk(&mut printed, Some(&body.trailers));
        let roomy = Limits { max_trailer_bytes: usize::MAX, ..limits.clone() };
        let again = decode(&printed, length, &roomy, usize::MAX).expect("what we print is well formed");
        assert_eq!((&again.content, &again.trailers), (&body.content, &body.trailers));
        assert_eq!((again.consumed, again.done), (printed.len(), true));
    }
    whole
}

/// Feeds every prefix in turn, as a slow peer would send them, until there is a verdict.
fn one_by_one(bytes: &[u8], mut parse: impl FnMut(&[u8]) -> Parsed) -> Parsed {
    (0..=bytes.len())
        .map(|end| parse(&bytes[..end]))
        .find(|verdict| *verdict != Parsed::Incomplete)
        .unwrap_or(Parsed::Incomplete)
}

/// Decodes with at most `step` new bytes at a time.
fn decode(bytes: &[u8], length: BodyLength, limits: &Limits, step: usize) -> Result<Body, Reject> {
    let mut decoder = BodyDecoder::new(length, limits);
    let (mut content, mut consumed, mut end) = (Vec::new(), 0, 0);
    loop {
        let input = &bytes[consumed..end];
        let decoded = decoder.decode(input)?;
        assert!(decoded.consumed <= input.len() && decoded.data.end <= decoded.consumed);
        content.extend_from_slice(&input[decoded.data]);
        consumed += decoded.consumed;
        assert_eq!(decoded.done, decoder.is_done());
        if decoded.done || (decoded.consumed == 0 && end == bytes.len()) {
            let trailers = decoder.trailers().clone();
            assert_unsplittable(&trailers);
            return Ok(Body { content, consumed, done: decoded.done, trailers });
        }
        if decoded.consumed == 0 || consumed == end {
            end = end.saturating_add(step).min(bytes.len());
        }
    }
}

fn assert_unsplittable(headers: &Headers) {
    let mut printed = Vec::new();
    headers.write_to(&mut printed);
    let breaks = printed.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    assert_eq!(breaks, 2 * headers.len());
    for (name, value) in headers.iter() {
        assert!(wire::grammar::is_token(name.as_bytes()) && wire::grammar::is_field_value(value));
        assert_eq!(wire::grammar::trim_whitespace(value), value);
    }
}

/// No accepted request leaves room for a second reading of its framing.
fn assert_framed(headers: &Headers, framing: BodyLength) {
    let (lengths, codings) = (headers.count("content-length"), headers.count("transfer-encoding"));
    let wanted = match framing {
        BodyLength::None => (0, 0),
        BodyLength::Exact(_) => (1, 0),
        BodyLength::Chunked => (0, 1),
        BodyLength::UntilClose => panic!("a request never ends with its connection"),
    };
    assert_eq!((lengths, codings), wanted);
    assert!(headers.count("host") <= 1);
}

fn assert_same_request(one: &RequestHead, other: &RequestHead) {
    assert_eq!((one.method, one.version, one.target()), (other.method, other.version, other.target()));
    assert_eq!((one.form(), one.path(), one.query()), (other.form(), other.path(), other.query()));
    assert_eq!((one.framing, one.keep_alive, one.upgrade), (other.framing, other.keep_alive, other.upgrade));
    assert_eq!((one.expect_continue, &one.headers), (other.expect_continue, &other.headers));
}

fn assert_same_response(one: &ResponseHead, other: &ResponseHead) {
    assert_eq!((one.status, one.version, one.reason()), (other.status, other.version, other.reason()));
    assert_eq!(
        (one.framing, one.keep_alive, &one.headers),
        (other.framing, other.keep_alive, &other.headers)
    );
}
