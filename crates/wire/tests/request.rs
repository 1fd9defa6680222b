//! Request heads: what is understood, and what is refused under which rule.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

mod properties;

use wire::{BodyLength, Known, Limits, Method, Parsed, Reject, RequestHead, Upgrade, Version, parse_request};

fn accepted(bytes: impl AsRef<[u8]>) -> RequestHead {
    let bytes = bytes.as_ref();
    match properties::request_head(bytes, &Limits::default()) {
        (Parsed::Complete { consumed }, head) if consumed == bytes.len() => head,
        (other, _) => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn refused(bytes: impl AsRef<[u8]>, limits: &Limits) -> Reject {
    let bytes = bytes.as_ref();
    match properties::request_head(bytes, limits) {
        (Parsed::Reject(reject), _) => reject,
        (other, _) => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

/// A request with these field lines besides `Host`.
fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_plain_request() {
    let head = accepted(
        "GET /a/b?c=d HTTP/1.1\r\nHost: example.com:8000\r\naccept:*/*\r\nX-Empty:\r\nX-Pad: \t a b \t\r\n\r\n",
    );
    assert_eq!((head.method, head.version), (Method::Get, Version::Http11));
    assert_eq!((head.target(), head.path()), (&b"/a/b?c=d"[..], &b"/a/b"[..]));
    assert_eq!((head.query(), head.host()), (Some(&b"c=d"[..]), Some(&b"example.com:8000"[..])));
    let fields: Vec<_> = head.headers.iter().skip(1).collect();
    assert_eq!(fields, [("accept", &b"*/*"[..]), ("X-Empty", b""), ("X-Pad", b"a b")]);
    assert_eq!((head.framing, head.keep_alive, head.expect_continue), (BodyLength::None, true, false));
}

#[test]
fn what_lenient_reading_allows_and_no_rule_forbids() {
    accepted("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    accepted("GET / HTTP/1.0\r\n\r\n");
    accepted("PURGE /a HTTP/1.1\r\nHost: a\r\n\r\n");
    accepted("GET /caf\u{e9}|{x}?\"<> HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\nX_under: 1\r\n\r\n");
    accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    accepted("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    accepted("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
}

#[test]
fn an_absolute_target_decides_the_host() {
    let head = accepted("GET http://b:81/x?y HTTP/1.1\r\nA: 1\r\nHost: a\r\n\r\n");
    assert_eq!((head.host(), head.authority()), (Some(&b"b:81"[..]), Some(&b"b:81"[..])));
    assert_eq!((head.path(), head.query(), head.scheme()), (&b"/x"[..], Some(&b"y"[..]), Some(&b"http"[..])));
    assert_eq!(accepted("GET http://b HTTP/1.0\r\n\r\n").host(), Some(&b"b"[..]));
}

#[test]
fn framing_of_bodies() {
    for (fields, framing) in [
        ("", BodyLength::None),
        ("Content-Length: 0\r\n", BodyLength::Exact(0)),
        ("content-length:18446744073709551615\r\n", BodyLength::Exact(u64::MAX)),
        ("Content-Length: 007 \r\n", BodyLength::Exact(7)),
        ("Transfer-Encoding: chunked\r\n", BodyLength::Chunked),
        ("transfer-encoding:\tCHUNKED \r\n", BodyLength::Chunked),
    ] {
        assert_eq!(accepted(with(fields)).framing, framing, "{fields:?}");
    }
}

#[test]
fn the_connection_lives_on_or_not() {
    for (version, fields, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = accepted(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(head.keep_alive, keep_alive, "{version} {fields:?}");
    }
}

#[test]
fn upgrades_and_expectations() {
    let upgrade = |fields: &str| accepted(with(fields)).upgrade;
    assert_eq!(
        upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"),
        Some(Upgrade::WebSocket)
    );
    assert_eq!(upgrade("Upgrade: h2c\r\nConnection: upgrade\r\n"), Some(Upgrade::Other));
    assert_eq!(upgrade("Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("Connection: upgrade\r\n"), None);
    let old = accepted("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.upgrade, None);

    let expects = |fields: &str| accepted(with(fields)).expect_continue;
    assert!(expects("Expect: 100-Continue\r\nContent-Length: 1\r\n"));
    assert!(expects("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"));
    assert!(!expects("Expect: 100-continue\r\n") && !expects("Expect: x\r\nContent-Length: 1\r\n"));
    assert!(
        !accepted("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").expect_continue
    );
}

/// Heads refused: status, the section the reason has to name, bytes.
const REFUSED: &[(u16, &str, &[u8])] = &[
    // Request line.
    (400, "RFC 9112 3", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    (400, "RFC 9112 3", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / \r\n\r\n"),
    (400, "RFC 9112 3", b"GET /\r\n\r\n"),
    (400, "RFC 9112 3", b"GET\r\n\r\n"),
    (400, "RFC 9112 3", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9110 9.1", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9110 9.1", b"GET\x00 / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9110 9.1", b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (501, "RFC 9112 3", b"AMETHODNAMELONGERTHANTHIRTYTWOBYTES / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / HTTP/1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / HTTP/1.\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / HTTP/11.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / HTTP/1.01\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / HTTP1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / HTTP/x.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / ICY/1.1\r\nHost: a\r\n\r\n"),
    (505, "RFC 9110 15.6.6", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    (505, "RFC 9110 15.6.6", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    (505, "RFC 9110 15.6.6", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (505, "RFC 9110 15.6.6", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (505, "RFC 9110 15.6.6", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
    // Request target.
    (400, "RFC 9112 3.2", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET /\x0b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9110 4.2", b"GET http://u:p@b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9110 4.2", b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9110 4.2", b"GET gopher://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 9110 4.2", b"GET http://b:99999/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 3986 2.1", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 3986 2.1", b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "RFC 3986 2.1", b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Host.
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET http://b/ HTTP/1.1\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET http://b/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    (400, "RFC 9112 3.2", b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n"),
    // Line ends.
    (400, "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    (400, "RFC 9112 2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    (400, "RFC 9112 2.2", b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n"),
    (400, "RFC 9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    (400, "RFC 9112 2.2", b"GET / HTTP/1.1\n\n"),
    (400, "RFC 9110 5.5", b"GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n"),
    (400, "RFC 9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB\rC: d\r\n\r\n"),
    (400, "RFC 9112 2.3", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    // Field lines.
    (400, "RFC 9112 5.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    (400, "RFC 9112 5.2", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n d\r\n\r\n"),
    (400, "RFC 9112 5.2", b"GET / HTTP/1.1\r\nHost: a\r\nB:\r\n\tc\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB C: d\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB\x00: d\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\nB\xe9: d\r\n\r\n"),
    (400, "RFC 9112 5.1", b"GET / HTTP/1.1\r\nHost: a\r\n\"B\": d\r\n\r\n"),
    (400, "RFC 9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: \x00\r\n\r\n"),
    (400, "RFC 9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: \x01c\r\n\r\n"),
    (400, "RFC 9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\x7f\r\n\r\n"),
    (400, "RFC 9110 5.5", b"GET / HTTP/1.1\r\nHost: a\r\nB: c\x0bd\r\n\r\n"),
];

/// Field lines that make the framing of a request ambiguous, refused under RFC 9112 6.
const MISFRAMED: &[(u16, &str)] = &[
    (400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    (400, "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
    (400, "Content-Length: 5\r\nContent-Length: 6\r\n"),
    (400, "Content-Length: 5\r\ncontent-length: 5\r\n"),
    (400, "Content-Length: 5, 5\r\n"),
    (400, "Content-Length: 5,6\r\n"),
    (400, "Content-Length:\r\n"),
    (400, "Content-Length: -1\r\n"),
    (400, "Content-Length: +5\r\n"),
    (400, "Content-Length: 0x5\r\n"),
    (400, "Content-Length: 5 5\r\n"),
    (400, "Content-Length: 5.0\r\n"),
    (400, "Content-Length: 5;\r\n"),
    (400, "Content-Length: \"5\"\r\n"),
    (400, "Content-Length: 1_000\r\n"),
    (400, "Content-Length: 18446744073709551616\r\n"),
    (400, "Content-Length: \u{665}\r\n"),
    (400, "Transfer-Encoding:\r\n"),
    (400, "Transfer-Encoding: identity\r\n"),
    (400, "Transfer-Encoding: gzip\r\n"),
    (400, "Transfer-Encoding: chunked, gzip\r\n"),
    (400, "Transfer-Encoding: chunked, identity\r\n"),
    (400, "Transfer-Encoding: chunked, chunked\r\n"),
    (400, "Transfer-Encoding: gzip, chunked, chunked\r\n"),
    (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
    (400, "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
    (400, "Transfer-Encoding: ,chunked\r\n"),
    (400, "Transfer-Encoding: chunked,\r\n"),
    (400, "Transfer-Encoding: chunked;q=1\r\n"),
    (400, "Transfer-Encoding: \"chunked\"\r\n"),
    (400, "Transfer-Encoding: xchunked\r\n"),
    (400, "Transfer-Encoding: x chunked\r\n"),
    (400, "Transfer-Encoding: \u{a0}chunked\r\n"),
    (501, "Transfer-Encoding: gzip, chunked\r\n"),
    (501, "Transfer-Encoding: cow, Chunked\r\n"),
];

#[test]
fn malformed_heads_are_refused_under_their_rule() {
    for &(status, section, bytes) in REFUSED {
        let reject = refused(bytes, &Limits::default());
        assert_eq!(reject.status, status, "{}: {}", bytes.escape_ascii(), reject.reason);
        let named = reject.reason.ends_with(&format!("({section})"));
        assert!(named, "{}: {} instead of {section}", bytes.escape_ascii(), reject.reason);
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    for &(status, fields) in MISFRAMED {
        let reject = refused(with(fields), &Limits::default());
        assert_eq!(reject.status, status, "{fields:?}: {}", reject.reason);
        assert!(reject.reason.contains("(RFC 9112 6."), "{fields:?}: {}", reject.reason);
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(refused(old, &Limits::default()).reason.contains("HTTP/1.0"));
}

#[test]
fn every_bound_is_kept_and_named() {
    let limits = Limits {
        max_head_bytes: 300,
        max_line_bytes: 100,
        max_target_bytes: 40,
        max_headers: 5,
        ..Limits::default()
    };
    let cases = [
        (414, "max_target_bytes", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40))),
        (414, "max_target_bytes", format!("GET /{}", "x".repeat(400))),
        (431, "max_line_bytes", format!("GET / HTTP/1.1\r\nHost: a\r\nB: {}\r\n\r\n", "x".repeat(98))),
        (431, "max_line_bytes", format!("GET / HTTP/1.1\r\nHost: a\r\nB: {}", "x".repeat(99))),
        (431, "max_headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "B: c\r\n".repeat(5))),
        (431, "max_headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "B: c\r\n".repeat(5))),
        (
            431,
            "max_head_bytes",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}", format!("B: {}\r\n", "x".repeat(90)).repeat(3)),
        ),
    ];
    for (status, bound, bytes) in cases {
        let reject = refused(&bytes, &limits);
        assert_eq!(
            (reject.status, reject.reason.ends_with(bound)),
            (status, true),
            "{bytes:?}: {}",
            reject.reason
        );
    }
    for bytes in [
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(39)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nB: {}\r\n\r\n", "x".repeat(97)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "B: c\r\n".repeat(4)),
    ] {
        let (verdict, _) = properties::request_head(bytes.as_bytes(), &limits);
        assert_eq!(verdict, Parsed::Complete { consumed: bytes.len() }, "{bytes:?}");
    }
}

#[test]
fn pipelined_requests_come_apart_exactly() {
    let requests = [
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /2 HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n",
        "HEAD /3 HTTP/1.0\r\n\r\n",
    ];
    let stream = requests.concat();
    let (mut rest, mut head) = (stream.as_bytes(), RequestHead::new());
    for request in requests {
        assert_eq!(
            parse_request(rest, &Limits::default(), &mut head),
            Parsed::Complete { consumed: request.len() }
        );
        let target = request.trim_start().split(' ').nth(1).unwrap();
        assert_eq!(head.target(), target.as_bytes());
        assert_eq!(head.headers.len(), request.matches(": ").count());
        rest = &rest[request.len()..];
    }
    assert_eq!(parse_request(rest, &Limits::default(), &mut head), Parsed::Incomplete);
}

#[test]
fn a_head_reused_after_any_verdict_starts_afresh() {
    let mut head = RequestHead::new();
    let limits = Limits::default();
    assert_eq!(parse_request(b"GET / HTTP/1.1\r\nHos", &limits, &mut head), Parsed::Incomplete);
    head.clear();
    let request = b"GET /b HTTP/1.0\r\n\r\n";
    assert_eq!(parse_request(request, &limits, &mut head), Parsed::Complete { consumed: request.len() });
    assert_eq!((head.target(), head.headers.len()), (&b"/b"[..], 0));
    assert!(matches!(parse_request(b"GET / HTTP/1.1\n", &limits, &mut head), Parsed::Reject(_)));
    assert_eq!(parse_request(request, &limits, &mut head), Parsed::Complete { consumed: request.len() });
    assert_eq!(head.headers.known(Known::Host), None);
}

#[test]
fn a_head_arriving_byte_by_byte_is_accepted_at_its_last_byte() {
    let request =
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", format!("B: {}\r\n", "x".repeat(300)).repeat(90));
    let limits = Limits { max_head_bytes: 64 * 1024, ..Limits::default() };
    let mut head = RequestHead::new();
    for end in 0..request.len() {
        assert_eq!(
            parse_request(&request.as_bytes()[..end], &limits, &mut head),
            Parsed::Incomplete,
            "{end}"
        );
    }
    let whole = Parsed::Complete { consumed: request.len() };
    assert_eq!(parse_request(request.as_bytes(), &limits, &mut head), whole);
    assert_eq!(head.headers.len(), 91);
}
