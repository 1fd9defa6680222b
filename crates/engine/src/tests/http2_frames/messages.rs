//! Requests and responses: RFC 9113 8.

use super::frames::{END_STREAM, data, fields, get, headers, post};
use super::judge::Expect::{Answered, Malformed};
use super::{Row, row};

const PSEUDO_TRAILERS: &str = "h2 drops pseudo-header fields of trailers unseen";
const FRAGMENT: &str = "the http crate cuts a fragment off before anybody sees it";

/// Every row.
pub fn rows() -> Vec<Row> {
    [
        framing(),
        lengths(),
        field_names(),
        field_values(),
        pseudo_fields(),
        targets(),
        hosts(),
        connects(),
        answers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn framing() -> Vec<Row> {
    let trailers = |flags, fields: &[(&str, &str)]| {
        [post(1, "/", &[]), data(1, 0, b"abc"), headers(1, flags, fields)].concat()
    };
    vec![
        row("8.1", "a request with trailers", trailers(END_STREAM, &[("x-sum", "3")]), {
            Answered(&[200], Some(2))
        }),
        row("8.1", "trailers without END_STREAM", trailers(0, &[("x-sum", "3")]), Malformed),
        row("8.1", "trailers with a pseudo-header field", trailers(END_STREAM, &[(":path", "/")]), Malformed)
            .deviates(PSEUDO_TRAILERS),
        row(
            "8.1",
            "trailers with a response's pseudo-header",
            trailers(END_STREAM, &[(":status", "200")]),
            Malformed,
        )
        .deviates(PSEUDO_TRAILERS),
        row(
            "8.2.1",
            "trailers with a name in upper case",
            trailers(END_STREAM, &[("X-Sum", "3")]),
            Malformed,
        ),
        row(
            "8.1",
            "an empty DATA frame ends a request",
            [post(1, "/", &[]), data(1, 0, b"abc"), data(1, END_STREAM, b"")].concat(),
            Answered(&[200], Some(2)),
        )
        .upstream("abc"),
    ]
}

fn lengths() -> Vec<Row> {
    let sent = |length, body: &[u8]| {
        [post(1, "/", &[("content-length", length)]), data(1, END_STREAM, body)].concat()
    };
    let streamed = |length, body: &[u8]| {
        [post(1, "/streamed", &[("content-length", length)]), data(1, END_STREAM, body)].concat()
    };
    vec![
        row("8.1.1", "a length that is true", sent("3", b"abc"), Answered(&[200], Some(2))).upstream("abc"),
        row("8.1.1", "a length that is too large", sent("4", b"abc"), Malformed),
        row("8.1.1", "a length that is too small", sent("2", b"abc"), Malformed),
        row("8.1.1", "a streamed length that is too large", streamed("4", b"abc"), Malformed),
        row("8.1.1", "a streamed length that is too small", streamed("2", b"abc"), Malformed),
        row("8.1.1", "a length without a body", get(1, "/", &[("content-length", "3")]), Malformed),
        row(
            "8.1.1",
            "a length before trailers that is too large",
            {
                let head = post(1, "/", &[("content-length", "4")]);
                [head, data(1, 0, b"abc"), headers(1, END_STREAM, &[("x-sum", "3")])].concat()
            },
            Malformed,
        ),
        row("8.1.1", "a length of 0 without a body", get(1, "/", &[("content-length", "0")]), {
            Answered(&[200], Some(2))
        }),
        row("9110 8.6", "a length that is no number", sent("3x", b"abc"), Malformed),
        row("9110 8.6", "a length with a sign", sent("+3", b"abc"), Malformed),
        row(
            "9110 8.6",
            "two lengths",
            {
                let two = [("content-length", "3"), ("content-length", "4")];
                [post(1, "/", &two), data(1, END_STREAM, b"abc")].concat()
            },
            Malformed,
        ),
    ]
}

fn malformed(rfc: &'static str, rows: &[(&'static str, Vec<u8>)]) -> Vec<Row> {
    rows.iter().map(|(name, bytes)| row(rfc, name, bytes.clone(), Malformed)).collect()
}

fn field_names() -> Vec<Row> {
    let with = |name: &str, value: &str| get(1, "/", &[(name, value)]);
    let mut rows = malformed(
        "8.2.1",
        &[
            ("a name in upper case", with("X-A", "1")),
            ("a name with a space", with("x a", "1")),
            ("a name with a line break", with("x\r\na", "1")),
            ("a name with NUL", with("x\0a", "1")),
            ("a name with a colon", with("x:a", "1")),
            ("a name beyond ASCII", with("x\u{e9}", "1")),
            ("a name of no length", with("", "1")),
        ],
    );
    rows.extend(malformed(
        "8.2.2",
        &[
            ("connection", with("connection", "close")),
            ("connection that names a field", get(1, "/", &[("connection", "x-a"), ("x-a", "1")])),
            ("keep-alive", with("keep-alive", "timeout=5")),
            ("proxy-connection", with("proxy-connection", "keep-alive")),
            ("transfer-encoding", with("transfer-encoding", "chunked")),
            ("upgrade", with("upgrade", "websocket")),
            ("te other than trailers", with("te", "gzip")),
            ("te with more than trailers", with("te", "trailers, gzip")),
        ],
    ));
    rows.push(row("8.2.2", "te: trailers", with("te", "trailers"), Answered(&[200], Some(2))));
    let cookies = get(1, "/", &[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2")]);
    rows.push(
        row("8.2.3", "cookies in pieces", cookies, Answered(&[200], Some(2))).upstream("ookie: a=1; b=2\r\n"),
    );
    rows
}

fn field_values() -> Vec<Row> {
    let with = |value: &str| get(1, "/", &[("x-a", value)]);
    let mut rows = malformed(
        "8.2.1",
        &[
            ("a value with CR", with("a\rb")),
            ("a value with LF", with("a\nb")),
            ("a value with another field", with("a\r\nx-b: c")),
            ("a value with NUL", with("a\0b")),
        ],
    );
    let around = [
        ("a value that begins with a space", with(" a")),
        ("a value that ends with a space", with("a ")),
        ("a value that begins with a tab", with("\ta")),
        ("a value that ends with a tab", with("a\t")),
    ];
    rows.extend(malformed("8.2.1", &around));
    rows.push(row("8.2.1", "a value with spaces inside", with("a \t b"), Answered(&[200], Some(2))));
    rows.push(row("8.2.1", "a value of no length", with(""), Answered(&[200], Some(2))));
    rows.push(row("8.2.1", "a value beyond ASCII", with("\u{e9}"), Answered(&[200], Some(2))));
    rows
}

fn pseudo_fields() -> Vec<Row> {
    let all = || fields("GET", "/", &[]);
    let without = |name: &str| {
        let rest: Vec<_> = all().into_iter().filter(|(field, _)| *field != name).collect();
        headers(1, END_STREAM, &rest)
    };
    let twice = |field| {
        let fields: Vec<_> = all().into_iter().chain([field]).collect();
        headers(1, END_STREAM, &fields)
    };
    let late = [&[("x-a", "1")][..], &all()].concat();
    let (head, path) = (&all()[..3], &all()[3..]);
    let split = [head, &[("x-a", "1")], path].concat();
    malformed(
        "8.3",
        &[
            ("an unknown pseudo-header field", twice((":else", "1"))),
            ("a pseudo-header field of no name", twice((":", "1"))),
            ("a pseudo-header field of responses", twice((":status", "200"))),
            (":protocol that was not offered", twice((":protocol", "websocket"))),
            ("pseudo-header fields behind others", headers(1, END_STREAM, &late)),
            (":path behind another field", headers(1, END_STREAM, &split)),
            (":method twice", twice((":method", "GET"))),
            (":scheme twice", twice((":scheme", "http"))),
            (":authority twice", twice((":authority", "h"))),
            (":path twice", twice((":path", "/"))),
            (":path in upper case", twice((":PATH", "/"))),
            ("no :method", without(":method")),
            ("no :scheme", without(":scheme")),
            ("no :path", without(":path")),
            ("no fields", headers(1, END_STREAM, &[])),
            ("a method with a space", headers(1, END_STREAM, &fields("GE T", "/", &[]))),
            ("a method of no length", headers(1, END_STREAM, &fields("", "/", &[]))),
        ],
    )
}

fn targets() -> Vec<Row> {
    let path = |path: &str| get(1, path, &[]);
    let mut rows = malformed(
        "8.3.1",
        &[
            (":path of no length", path("")),
            (":path without a slash", path("abc")),
            (":path of GET that is *", path("*")),
            (":path with a space", path("/a b")),
            (":path with another line", path("/ HTTP/1.1\r\nx-b: c")),
            (":path with a line break", path("/a\nb")),
            (":path with NUL", path("/a\0b")),
            (":path that is a whole URI", path("http://h/a")),
        ],
    );
    rows.push(row("8.3.1", ":path with a fragment", path("/a#b"), Malformed).deviates(FRAGMENT));
    let options = headers(1, END_STREAM, &fields("OPTIONS", "*", &[]));
    rows.push(row("8.3.1", ":path of OPTIONS that is *", options, {
        // No path of a route is `*`.
        Answered(&[404], None)
    }));
    rows
}

fn authority(authority: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    headers(1, END_STREAM, &[&pseudo[..], authority, more].concat())
}

fn hosts() -> Vec<Row> {
    let named = |name| authority(&[(":authority", name)], &[]);
    let mut rows = malformed(
        "8.3.1",
        &[
            ("neither :authority nor host", authority(&[], &[])),
            (":authority of no length", named("")),
            (":authority with user information", named("user@h")),
            (":authority with a space", named("a b")),
            (":authority with a path", named("h/a")),
            (":authority with a line break", named("h\r\nx-b: c")),
            (":authority with a port that is none", named("h:port")),
            ("host that differs from :authority", authority(&[(":authority", "h")], &[("host", "other")])),
            ("host twice", authority(&[], &[("host", "h"), ("host", "h")])),
        ],
    );
    rows.push(
        row("8.3.1", "host in place of :authority", authority(&[], &[("host", "only.test")]), {
            Answered(&[200], Some(2))
        })
        .upstream("only.test"),
    );
    rows.push(row(
        "8.3.1",
        "host that is :authority",
        authority(&[(":authority", "h")], &[("host", "h")]),
        Answered(&[200], Some(2)),
    ));
    rows
}

fn connects() -> Vec<Row> {
    let connect = |more: &[(&str, &str)]| headers(1, END_STREAM, &[&[(":method", "CONNECT")], more].concat());
    malformed(
        "8.5",
        &[
            ("CONNECT with :path", connect(&[(":authority", "h:80"), (":path", "/")])),
            ("CONNECT with :scheme", connect(&[(":authority", "h:80"), (":scheme", "http")])),
            ("CONNECT without :authority", connect(&[])),
            // It is no proxy of that kind.
            ("CONNECT", connect(&[(":authority", "h:80")])),
        ],
    )
}

fn answers() -> Vec<Row> {
    let head = |path| headers(1, END_STREAM, &fields("HEAD", path, &[]));
    vec![
        row("8.1", "an answer", get(1, "/", &[]), Answered(&[200], Some(2))),
        row("9110 9.3.2", "an answer to HEAD has no body", head("/no-body"), Answered(&[200], Some(0))),
        row("9110 15.3.5", "204 has no body", get(1, "/no-content", &[]), Answered(&[204], Some(0))),
        row("9110 15.4.5", "304 has no body", get(1, "/not-modified", &[]), Answered(&[304], Some(0))),
        row("8.1", "an interim response", get(1, "/early", &[]), Answered(&[103, 200], Some(2))),
        row("8.6", "101 does not exist", get(1, "/switch", &[]), Answered(&[502], None)),
        row(
            "8.1",
            "an answer before the request is complete",
            post(1, "/streamed/at-once", &[("content-length", "3")]),
            Answered(&[200], Some(2)),
        ),
    ]
}
