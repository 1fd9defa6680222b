//! Bodies: content found in any split, chunk grammar held to the letter, bounds kept.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

mod properties;

use properties::Body;
use wire::{BodyDecoder, BodyLength, Decoded, Limits, Reject};

fn body(bytes: &[u8], length: BodyLength) -> Result<Body, Reject> {
    properties::body(bytes, length, &Limits::default())
}

fn chunked(bytes: impl AsRef<[u8]>) -> Body {
    let bytes = bytes.as_ref();
    body(bytes, BodyLength::Chunked).unwrap_or_else(|reject| panic!("{}: {reject:?}", bytes.escape_ascii()))
}

#[test]
fn a_length_ends_the_body_and_leaves_the_next_message() {
    let found = body(b"helloGET / ", BodyLength::Exact(5)).unwrap();
    assert_eq!((&found.content[..], found.consumed, found.done), (&b"hello"[..], 5, true));
    let cut = body(b"hel", BodyLength::Exact(5)).unwrap();
    assert_eq!((&cut.content[..], cut.done), (&b"hel"[..], false));
    for empty in [BodyLength::None, BodyLength::Exact(0)] {
        let found = body(b"GET", empty).unwrap();
        assert_eq!((found.consumed, found.done), (0, true));
    }
}

#[test]
fn a_close_ends_only_what_may_end_so() {
    let closed = |length, bytes: &[u8]| {
        let mut decoder = BodyDecoder::new(length, &Limits::default());
        decoder.decode(bytes).unwrap();
        decoder.close()
    };
    assert!(closed(BodyLength::UntilClose, b"x") && closed(BodyLength::UntilClose, b""));
    assert!(closed(BodyLength::Exact(1), b"x") && closed(BodyLength::None, b""));
    assert!(!closed(BodyLength::Exact(2), b"x") && !closed(BodyLength::Chunked, b"0\r\n"));
    assert_eq!(body(b"all of it", BodyLength::UntilClose).unwrap().content, b"all of it");
}

#[test]
fn chunks_give_their_content_only() {
    for bytes in [
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "00005\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
        "5;a\r\nhello\r\n6;b=c;d=\"e;\\\" f\"\r\n world\r\n0;x\r\n\r\n",
        "5 ;a\r\nhello\r\n6\t; b = c\r\n world\r\n0\r\n\r\n",
        "1\r\nh\r\nA\r\nello world\r\n0\r\n\r\n",
        "b\r\nhello world\r\n0\r\n\r\n",
    ] {
        let found = chunked(bytes);
        assert_eq!(
            (&found.content[..], found.consumed, found.done),
            (&b"hello world"[..], bytes.len(), true),
            "{bytes}"
        );
    }
    let found = chunked("2\r\nab\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 9\r\n\r\nGET / HTTP/1.1\r\n");
    assert_eq!((&found.content[..], found.done), (&b"ab"[..], true));
    assert_eq!(found.consumed, b"2\r\nab\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 9\r\n\r\n".len());
    assert_eq!(found.trailers.iter().collect::<Vec<_>>(), [("Grpc-Status", &b"0"[..])]);
    assert!(!chunked("5\r\nhello\r\n0\r\n").done && !chunked("").done && !chunked("5\r\nhel").done);
}

#[test]
fn broken_chunks_are_refused() {
    let cases = [
        ("", "chunk size", "\r\n"),
        ("", "chunk size", "\n"),
        ("", "chunk size", ";a\r\n"),
        ("", "chunk size", " 5\r\n"),
        ("", "chunk size", "+5\r\n"),
        ("", "chunk size", "-5\r\n"),
        ("", "chunk size", "0x5\r\n"),
        ("", "chunk size", "5_0\r\n"),
        ("", "chunk size", "5\n"),
        ("", "chunk size", "5 \r\n"),
        ("", "chunk size", "5 5\r\n"),
        ("", "chunk size", "5g\r\n"),
        ("", "64 bits", "10000000000000000\r\n"),
        ("", "64 bits", "00000000000000005\r\n"),
        ("", "CRLF", "5\rx"),
        ("", "CRLF", "5;a\rx"),
        ("", "extension", "5;a\nhello"),
        ("", "extension", "5;\x00\r\n"),
        ("", "extension", "5;a\x7f\r\n"),
        ("5\r\nhello", "CRLF", "\n"),
        ("5\r\nhello", "CRLF", "\r\r"),
        ("5\r\nhello", "CRLF", "!\r\n"),
        ("5\r\nhello\r\n", "chunk size", "\r\n"),
        ("0\r\n", "CRLF", "\n"),
        ("0\r\n", "field name", "GET / HTTP/1.1\r\n"),
        ("0\r\n", "folded", " A: b\r\n"),
        ("0\r\n", "CRLF", "A: b\nC: d\r\n"),
    ];
    for (before, named, broken) in cases {
        let bytes = format!("{before}{broken}");
        let reject = body(bytes.as_bytes(), BodyLength::Chunked).expect_err(&bytes);
        assert_eq!(
            (reject.status, reject.reason.contains(named)),
            (400, true),
            "{bytes:?}: {}",
            reject.reason
        );
    }
}

#[test]
fn every_bound_is_kept() {
    let limits = Limits {
        max_body_bytes: Some(8),
        max_chunk_extension_bytes: 6,
        max_trailer_bytes: 12,
        max_headers: 2,
        ..Limits::default()
    };
    let outcome = |bytes: &str, length| properties::body(bytes.as_bytes(), length, &limits);
    let status = |bytes: &str, length| outcome(bytes, length).err().map(|reject| reject.status);
    assert_eq!(status("12345678", BodyLength::Exact(8)), None);
    assert_eq!(status("", BodyLength::Exact(9)), Some(413));
    assert_eq!(status("123456789", BodyLength::UntilClose), Some(413));
    assert_eq!(status("4\r\n1234\r\n4\r\n5678\r\n0\r\n\r\n", BodyLength::Chunked), None);
    assert_eq!(status("4\r\n1234\r\n5\r\n", BodyLength::Chunked), Some(413));
    assert_eq!(status("ffffffffffffffff\r\n", BodyLength::Chunked), Some(413));
    assert_eq!(status("1;a=bcd\r\n1\r\n", BodyLength::Chunked), None);
    assert_eq!(status("1;a=bcde", BodyLength::Chunked), Some(400));
    assert_eq!(status("1       ", BodyLength::Chunked), Some(400));
    assert_eq!(status("0\r\nA: b\r\n\r\n", BodyLength::Chunked), None);
    assert_eq!(status("0\r\nA: bcdefghijk", BodyLength::Chunked), Some(431));
    assert_eq!(status("0\r\nA:\r\nB:\r\n\r\n", BodyLength::Chunked), None);
    assert_eq!(status("0\r\nA:\r\nB:\r\nC:\r\n\r\n", BodyLength::Chunked), Some(431));
}

#[test]
fn a_refused_body_stays_refused_until_reset() {
    let limits = Limits::default();
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
    let reject = decoder.decode(b"x").unwrap_err();
    assert_eq!(decoder.decode(b"5\r\nhello"), Err(reject));
    assert!(!decoder.close());
    decoder.reset(BodyLength::Exact(2), &limits);
    assert_eq!(decoder.remaining(), Some(2));
    assert_eq!(decoder.decode(b"ab"), Ok(Decoded { consumed: 2, data: 0..2, done: true }));
    assert_eq!(decoder.decode(b"cd"), Ok(Decoded { consumed: 0, data: 0..0, done: true }));
}
