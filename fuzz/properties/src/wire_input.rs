//! What arrives on connections. Each run parses whole and split at every byte and demands one verdict.

#[path = "../../../crates/wire/tests/properties/mod.rs"]
mod message;

#[path = "../../../crates/wire/tests/properties/proxy_protocol.rs"]
mod header;
#[path = "../../../crates/wire/tests/properties/client_hello.rs"]
mod hello;

use wire::{BodyLength, Limits, Method};

/// Pieces of HTTP/1.1.
pub const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"\"",
    b"%",
    b"#",
    b"@",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Host: b\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"chunked",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n",
    b"F",
    b"/",
    b"*",
    b"http://",
];

/// Pieces of PROXY headers.
pub const PROXY_TOKENS: &[&[u8]] = &[
    b"PROXY ",
    b"TCP4",
    b"TCP6",
    b"UNKNOWN",
    b" ",
    b"\r\n",
    b"\r",
    b"\n",
    b"0",
    b"255",
    b"65535",
    b"65536",
    b"::",
    b"::ffff:1.2.3.4",
    b".",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21",
    b"\x20",
    b"\x11",
    b"\x21\x21",
    b"\0\x0c",
    b"\0\x24",
    b"\0\xd8",
    b"\x03\0\x04",
    b"\x04\0\0",
    b"\xff\xff",
];

/// Pieces of a ClientHello.
pub const TLS_TOKENS: &[&[u8]] = &[
    b"\x16\x03\x01",
    b"\x16\x03\x03\0\x01",
    b"\x01\0\0",
    b"\0",
    b"\0\0",
    b"\0\x01",
    b"\xff\xff",
    b"\0\x10",
    b"\0\x15",
    b"\x17\x03\x03",
    b"\x15\x03\x03",
    b"a.example",
    b".",
    b"-",
    b"h2",
    b"\x02h2",
];

/// The default bounds, and such as mutants reach.
fn bounds() -> [Limits; 2] {
    let tight = Limits {
        max_head_bytes: 160,
        max_line_bytes: 60,
        max_target_bytes: 24,
        max_headers: 5,
        max_chunk_extension_bytes: 8,
        max_trailer_bytes: 40,
        max_body_bytes: Some(64),
    };
    [Limits::default(), tight]
}

/// A request head, under both bounds.
pub fn request_head(bytes: &[u8]) {
    for limits in bounds() {
        message::request_head(bytes, &limits);
    }
}

/// A response head, under both bounds. The first byte picks the method.
pub fn response_head(bytes: &[u8]) {
    if let Some((pick, bytes)) = bytes.split_first() {
        let method = [Method::Get, Method::Head, Method::Connect][usize::from(*pick) % 3];
        for limits in bounds() {
            message::response_head(bytes, &method, &limits);
        }
    }
}

/// A body, under both bounds. The first byte picks the framing.
pub fn body(bytes: &[u8]) {
    if let Some((pick, bytes)) = bytes.split_first() {
        let length = match pick % 4 {
            0 => BodyLength::Exact(u64::from(*pick)),
            1 => BodyLength::UntilClose,
            _ => BodyLength::Chunked,
        };
        // A refusal is an answer; what matters is that every split gives the same.
        for limits in bounds() {
            let _ = message::body(bytes, length, &limits);
        }
    }
}

/// A PROXY header, under the default bound and a narrow one.
pub fn proxy_protocol(bytes: &[u8]) {
    for max_bytes in [wire::proxy_protocol::DEFAULT_MAX_BYTES, 60] {
        header::header(bytes, max_bytes);
    }
}

/// A ClientHello, under the default bound and a narrow one.
pub fn client_hello(bytes: &[u8]) {
    for max_bytes in [wire::client_hello::DEFAULT_MAX_BYTES, 300] {
        hello::hello(bytes, max_bytes);
    }
}
