//! Response heads: where the body ends, what becomes of the connection, and what an upstream may not send.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

mod properties;

use wire::{BodyLength, Limits, Method, Parsed, Reject, ResponseHead, Version, parse_response};

fn answer(method: &str, bytes: impl AsRef<[u8]>) -> Result<ResponseHead, Reject> {
    let bytes = bytes.as_ref();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    match properties::response_head(bytes, &method, &Limits::default()) {
        (Parsed::Complete { consumed }, head) if consumed == bytes.len() => Ok(head),
        (Parsed::Reject(reject), _) => Err(reject),
        (other, _) => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn accepted(method: &str, bytes: impl AsRef<[u8]>) -> ResponseHead {
    answer(method, &bytes).unwrap_or_else(|reject| panic!("{}: {reject:?}", bytes.as_ref().escape_ascii()))
}

#[test]
fn a_plain_response() {
    let head = accepted(
        "GET",
        "HTTP/1.1 200 All fine\r\nContent-Length: 5\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n",
    );
    assert_eq!((head.status, head.version, head.reason()), (200, Version::Http11, &b"All fine"[..]));
    assert_eq!(head.headers.all("Set-Cookie").collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!((head.framing, head.keep_alive), (BodyLength::Exact(5), true));
}

#[test]
fn the_reason_may_be_absent_odd_or_not_ascii() {
    for (line, reason) in [
        (&b"HTTP/1.1 200"[..], &b""[..]),
        (b"HTTP/1.1 200 ", b""),
        (b"HTTP/1.1 999 Request denied", b"Request denied"),
        (b"HTTP/1.1 404 Nicht g\xfcltig", b"Nicht g\xfcltig"),
    ] {
        let head = accepted("GET", [line, b"\r\nContent-Length: 0\r\n\r\n"].concat());
        assert_eq!(head.reason(), reason, "{}", line.escape_ascii());
    }
}

#[test]
fn where_the_body_ends() {
    use BodyLength::{Chunked, Exact, None, UntilClose};
    for (method, status, fields, framing, keep_alive) in [
        ("GET", 200, "", UntilClose, false),
        ("GET", 200, "Content-Length: 0\r\n", Exact(0), true),
        ("GET", 200, "Transfer-Encoding: Chunked\r\n", Chunked, true),
        ("POST", 500, "Content-Length: 3\r\nConnection: close\r\n", Exact(3), false),
        ("HEAD", 200, "Content-Length: 500\r\n", None, true),
        ("HEAD", 200, "Transfer-Encoding: chunked\r\n", None, true),
        ("HEAD", 200, "", None, true),
        ("GET", 204, "", None, true),
        ("GET", 204, "Content-Length: 0\r\n", None, true),
        ("GET", 204, "Content-Length: 5\r\n", None, false),
        ("GET", 204, "Transfer-Encoding: chunked\r\n", None, false),
        ("GET", 304, "Content-Length: 500\r\n", None, true),
        ("GET", 304, "", None, true),
        ("GET", 100, "", None, true),
        ("GET", 103, "Link: </a>\r\n", None, true),
        ("GET", 103, "Content-Length: 5\r\n", None, false),
        ("GET", 101, "Connection: upgrade\r\nUpgrade: websocket\r\n", None, false),
        ("CONNECT", 200, "Content-Length: 5\r\n", None, false),
        ("CONNECT", 407, "Content-Length: 5\r\n", Exact(5), true),
    ] {
        let head = accepted(method, format!("HTTP/1.1 {status} \r\n{fields}\r\n"));
        assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{method} {status} {fields:?}");
        assert_eq!(head.is_interim(), status == 100 || status == 103);
    }
}

#[test]
fn http_10_closes_unless_it_says_otherwise() {
    let alive = |fields: &str| {
        accepted("GET", format!("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n{fields}\r\n")).keep_alive
    };
    assert!(!alive("") && alive("Connection: keep-alive\r\n") && !alive("Connection: keep-alive, close\r\n"));
    let head = accepted("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((head.framing, head.keep_alive), (BodyLength::UntilClose, false));
}

#[test]
fn what_could_split_a_response_is_refused() {
    let cases: &[(&str, &[u8])] = &[
        ("RFC 9112 4", b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ("RFC 9112 4", b"SSH-2.0-server\r\n"),
        ("RFC 9112 4", b"HTTP/1.1 20 OK\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/1.1 2000 OK\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/1.1 2x0 OK\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/1.1  200 OK\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/2.0 200 OK\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/1.2 200 OK\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/1.1 200 a\x00b\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/1.1 200 a\rb\r\n\r\n"),
        ("RFC 9112 4", b"HTTP/1.1\r\n\r\n"),
        ("RFC 9110 15", b"HTTP/1.1 099 OK\r\n\r\n"),
        ("RFC 9112 2.2", b"HTTP/1.1 200 OK\n\r\n"),
        ("RFC 9112 2.2", b"HTTP/1.1 200 OK\r\n\n"),
        ("RFC 9112 2.2", b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n"),
        ("RFC 9112 2.2", b"HTTP/1.1 200 OK\r\nA: b\n\r\n"),
        ("RFC 9112 5.2", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"),
        ("RFC 9112 5.1", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"),
        ("RFC 9112 5.1", b"HTTP/1.1 200 OK\r\nA\r\n\r\n"),
        ("RFC 9110 5.5", b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n"),
        ("RFC 9110 5.5", b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n"),
        ("RFC 9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("RFC 9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
        ("RFC 9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n"),
        ("RFC 9112 6.3", b"HTTP/1.1 204 OK\r\nContent-Length: x\r\n\r\n"),
        ("RFC 9112 6.3", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
        ("RFC 9112 6.3", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
        ("RFC 9112 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        (
            "RFC 9112 6.1",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("RFC 9112 6.1", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ];
    for &(section, bytes) in cases {
        let reject = answer("GET", bytes).err().unwrap_or_else(|| panic!("{}", bytes.escape_ascii()));
        assert_eq!(reject.status, 502);
        let named = reject.reason.ends_with(&format!("({section})"));
        assert!(named, "{}: {} instead of {section}", bytes.escape_ascii(), reject.reason);
    }
}

#[test]
fn an_endless_head_is_cut_off() {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(101));
    assert!(answer("GET", endless).unwrap_err().reason.ends_with("max_headers"));
    let long = format!("HTTP/1.1 200 {}", "x".repeat(20_000));
    assert!(answer("GET", long).unwrap_err().reason.ends_with("max_line_bytes"));
    let large = format!("HTTP/1.1 200 OK\r\n{}", format!("A: {}\r\n", "x".repeat(10_000)).repeat(4));
    assert!(answer("GET", large).unwrap_err().reason.ends_with("max_head_bytes"));
}

#[test]
fn interim_heads_precede_the_final_one() {
    let stream = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody";
    let (mut rest, mut head, mut seen) = (&stream[..], ResponseHead::new(), Vec::new());
    while let Parsed::Complete { consumed } =
        parse_response(rest, &Method::Get, &Limits::default(), &mut head)
    {
        seen.push((head.status, head.headers.len()));
        rest = &rest[consumed..];
        if !head.is_interim() {
            break;
        }
    }
    assert_eq!(seen, [(100, 0), (103, 1), (200, 0)]);
    assert_eq!(rest, b"body");
}
