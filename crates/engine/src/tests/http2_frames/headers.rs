//! Header sections: their frames (RFC 9113 4.3, 6.2, 6.10) and their compression (RFC 7541).

use super::frames::{
    COMPRESSION_ERROR, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, PROTOCOL_ERROR, block,
    data, fields, frame, get,
};
use super::judge::Expect::{Answered, Connection, Malformed, Refused};
use super::{OTHER_CODE, Row, row};

/// Every row.
pub fn rows() -> Vec<Row> {
    [continuations(), interrupted(), compression(), tables()].into_iter().flatten().collect()
}

fn continuations() -> Vec<Row> {
    let ok = || Answered(&[200], Some(2));
    let block = block(&fields("GET", "/", &[("x-a", "one")]));
    let (first, rest) = block.split_at(20);
    let in_three = [
        frame(HEADERS, END_STREAM, 1, first),
        frame(CONTINUATION, 0, 1, &rest[..1]),
        frame(CONTINUATION, END_HEADERS, 1, &rest[1..]),
    ];
    let with_empty = [
        frame(HEADERS, END_STREAM, 1, b""),
        frame(CONTINUATION, 0, 1, &block),
        frame(CONTINUATION, END_HEADERS, 1, b""),
    ];
    let behind = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &block), frame(CONTINUATION, 4, 1, rest)];
    vec![
        row("6.10", "a header section in three frames", in_three.concat(), ok()).upstream("x-a: one"),
        row("6.10", "empty frames of a header section", with_empty.concat(), ok()),
        row("6.10", "CONTINUATION behind END_HEADERS", behind.concat(), Connection(&[PROTOCOL_ERROR])),
        row(
            "6.10",
            "CONTINUATION behind DATA",
            {
                let post = super::frames::post(1, "/", &[]);
                [post, data(1, 0, b"x"), frame(CONTINUATION, END_HEADERS, 1, rest)].concat()
            },
            Connection(&[PROTOCOL_ERROR]),
        ),
    ]
}

/// Between HEADERS and the end of its section nothing else may come.
fn interrupted() -> Vec<Row> {
    let block = block(&fields("GET", "/", &[]));
    let (first, rest) = block.split_at(20);
    let by = |other: Vec<u8>| {
        let end = frame(CONTINUATION, END_HEADERS, 1, rest);
        [frame(HEADERS, END_STREAM, 1, first), other, end].concat()
    };
    [
        ("a header section interrupted by PING", by(frame(PING, 0, 0, &[0; 8]))),
        ("a header section interrupted by PRIORITY", by(frame(PRIORITY, 0, 1, &[0; 5]))),
        ("a header section interrupted by DATA", by(data(1, 0, b"x"))),
        ("a header section interrupted by another", by(get(3, "/", &[]))),
        ("a header section interrupted by an unknown frame", by(frame(0x42, 0, 0, b"x"))),
        ("a header section continued on another stream", by(frame(CONTINUATION, END_HEADERS, 3, rest))),
    ]
    .into_iter()
    .map(|(name, bytes)| row("6.10", name, bytes, Connection(&[PROTOCOL_ERROR])))
    .collect()
}

fn compression() -> Vec<Row> {
    let padded = |value: &[u8]| [&[0x00, 1, b'a', 0x80 | value.len() as u8], value].concat();
    [
        ("7541 6.1", "the field with index 0", vec![0x80]),
        ("7541 2.3.3", "a field that is in no table", vec![0xff, 0x80, 0x01]),
        ("7541 2.3.3", "a name that is in no table", vec![0x0f, 0x70, 1, b'a']),
        ("7541 5.1", "an index without end", vec![0xff; 12]),
        ("9113 4.3", "a field that breaks off", vec![0x00, 5, b'a']),
        ("9113 4.3", "a value that is missing", vec![0x00, 1, b'a']),
        ("7541 5.2", "padding of 16 bits", padded(b"\xff\xff")),
        ("7541 5.2", "padding that is not ones", padded(b"\x18")),
        ("7541 5.2", "the end of string as a character", padded(b"\xff\xff\xff\xff")),
        ("7541 6.3", "a table larger than allowed", vec![0x3f, 0xe2, 0x1f]),
        ("7541 4.2", "a table resized behind a field", vec![0x82, 0x20]),
    ]
    .into_iter()
    .map(|(rfc, name, bytes)| {
        row(rfc, name, frame(HEADERS, END_STREAM | END_HEADERS, 1, &bytes), Connection(&[COMPRESSION_ERROR]))
            .deviates(OTHER_CODE)
    })
    .collect()
}

fn tables() -> Vec<Row> {
    // GET, http, /, then `:authority: h` kept in the table and used again.
    let kept = b"\x82\x86\x84\x41\x01h\x40\x03x-a\x03one";
    let again = b"\x82\x86\x84\xbf\xbe";
    let section = |stream, bytes: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, stream, bytes);
    let resized = [&[0x20], &kept[..]].concat();
    let malformed = [&kept[..], b"\x00\x0aconnection\x01x"].concat();
    let value = "x".repeat(9_000);
    let large = block(&fields("GET", "/", &[("x-a", &value), ("x-b", &value)]));
    let (first, rest) = large.split_at(16 << 10);
    vec![
        row("7541 2.3", "fields from both tables", [section(1, kept), section(3, again)].concat(), {
            Answered(&[200], Some(2))
        })
        .upstream("x-a: one"),
        row("7541 4.2", "a table of no size", section(1, &resized), Answered(&[200], Some(2))),
        row(
            "4.3",
            "a malformed request leaves the table as it should be",
            [section(1, &malformed), section(3, again)].concat(),
            Refused(1, &[PROTOCOL_ERROR]),
        )
        .upstream("x-a: one"),
        row(
            "6.5.2",
            "a header section larger than announced",
            [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat(),
            Malformed,
        ),
    ]
}
