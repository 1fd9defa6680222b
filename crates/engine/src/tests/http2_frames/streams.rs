//! Streams: their states and numbers, windows, priorities: RFC 9113 5, 6.1 to 6.4, 6.9.

use super::frames::{
    CANCEL, CONTINUATION, END_STREAM, FLOW_CONTROL_ERROR, INITIAL_WINDOW_SIZE, PADDED, PRIORITIZED, PRIORITY,
    PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, block, data, fields, frame, get, headers, post, reset,
    settings, window_update,
};
use super::judge::Expect::{self, Answered, Connection, Either, Held, Ignored, Malformed, Refused, Stream};
use super::{Row, row};

const NOT_STREAM_CLOSED: &str = "h2 ends the connection with PROTOCOL_ERROR";

/// Every row.
pub fn rows() -> Vec<Row> {
    [idle(), half_closed(), closed(), numbers(), priorities(), padding(), credit(), overflow(), received()]
        .into_iter()
        .flatten()
        .collect()
}

const PROTOCOL: Expect = Connection(&[PROTOCOL_ERROR]);
const CLOSED: Expect = Stream(&[STREAM_CLOSED]);
/// What opens a stream that was used before: such a number is a fault of the connection too (5.1.1).
const USED: Expect = Either(&[CLOSED, PROTOCOL]);

fn idle() -> Vec<Row> {
    vec![
        row("5.1", "DATA on an idle stream", data(1, 0, b"x"), PROTOCOL),
        row("5.1", "RST_STREAM on an idle stream", reset(1, CANCEL), PROTOCOL),
        row("5.1", "WINDOW_UPDATE on an idle stream", window_update(1, 1), PROTOCOL),
        row("6.10", "CONTINUATION on an idle stream", frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL),
        row("5.1", "PRIORITY on an idle stream", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]), Ignored),
    ]
}

/// The request is complete, its answer is not.
fn half_closed() -> Vec<Row> {
    let open = || get(1, "/stuck", &[]);
    let trailers = headers(1, END_STREAM, &[("x-a", "1")]);
    vec![
        row("5.1", "DATA behind END_STREAM", [open(), data(1, 0, b"x")].concat(), CLOSED)
            .deviates(NOT_STREAM_CLOSED),
        row("5.1", "HEADERS behind END_STREAM", [open(), trailers].concat(), CLOSED)
            .deviates(NOT_STREAM_CLOSED),
        row(
            "5.1",
            "DATA behind the END_STREAM of DATA",
            [post(1, "/stuck", &[]), data(1, END_STREAM, b"x"), data(1, END_STREAM, b"y")].concat(),
            CLOSED,
        )
        .deviates(NOT_STREAM_CLOSED),
        row("5.1", "WINDOW_UPDATE behind END_STREAM", [open(), window_update(1, 5)].concat(), Ignored),
        row("5.1", "PRIORITY behind END_STREAM", [open(), frame(PRIORITY, 0, 1, &[0; 5])].concat(), Ignored),
        row("5.1", "RST_STREAM behind END_STREAM", [open(), reset(1, CANCEL)].concat(), Ignored),
    ]
}

fn closed() -> Vec<Row> {
    let answered = || get(1, "/", &[]);
    let cancelled = || [post(1, "/", &[]), reset(1, CANCEL)].concat();
    let upper = || post(1, "/", &[("X-A", "1")]);
    vec![
        row("5.1", "DATA on an answered stream", answered(), CLOSED).then(data(1, 0, b"x")),
        row("5.1", "HEADERS on an answered stream", answered(), USED).then(answered()),
        row("5.1", "WINDOW_UPDATE on an answered stream", answered(), Ignored).then(window_update(1, 5)),
        row("5.1", "RST_STREAM on an answered stream", answered(), Ignored).then(reset(1, CANCEL)),
        row("5.1", "PRIORITY on an answered stream", answered(), Ignored)
            .then(frame(PRIORITY, 0, 1, &[0; 5])),
        row("5.1", "DATA on a stream that was reset", cancelled(), CLOSED).then(data(1, 0, b"x")),
        row("5.1", "HEADERS on a stream that was reset", cancelled(), USED).then(answered()),
        row("5.1", "RST_STREAM on a stream that was reset", cancelled(), Ignored).then(reset(1, CANCEL)),
        row("5.4.2", "DATA on a stream that the server reset", upper(), Malformed).then(data(1, 0, b"x")),
    ]
}

fn numbers() -> Vec<Row> {
    let many: Vec<u8> = (0..129).flat_map(|number| get(number * 2 + 1, "/stuck", &[])).collect();
    vec![
        row("5.1.1", "a stream with an even number", get(2, "/", &[]), PROTOCOL),
        row("5.1.1", "a stream with a lower number", [get(5, "/", &[]), get(3, "/", &[])].concat(), {
            Connection(&[PROTOCOL_ERROR, STREAM_CLOSED])
        }),
        row(
            "5.1.1",
            "DATA on a stream that was passed over",
            [get(5, "/", &[]), data(3, 0, b"x")].concat(),
            Either(&[Refused(3, &[STREAM_CLOSED]), Connection(&[PROTOCOL_ERROR, STREAM_CLOSED])]),
        ),
        // Room is made for the request behind it.
        row("5.1.2", "more streams than allowed", many, Refused(257, &[REFUSED_STREAM, PROTOCOL_ERROR]))
            .then([reset(1, CANCEL), reset(3, CANCEL)].concat()),
    ]
}

fn priorities() -> Vec<Row> {
    let dependent = |on: u32| {
        let payload = [&on.to_be_bytes()[..], b"\x10", &block(&fields("GET", "/", &[]))].concat();
        frame(1, 5 | PRIORITIZED, 1, &payload)
    };
    vec![
        row("6.2", "HEADERS with a priority", dependent(0), Answered(&[200], Some(2))),
        // RFC 7540 made a fault of it, RFC 9113 does not say.
        row("7540 5.3.1", "HEADERS that depend on themselves", dependent(1), {
            Either(&[Answered(&[200], Some(2)), Stream(&[PROTOCOL_ERROR])])
        }),
        row(
            "7540 5.3.1",
            "PRIORITY of a stream that depends on itself",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9]),
            Either(&[Ignored, Stream(&[PROTOCOL_ERROR])]),
        ),
    ]
}

fn padding() -> Vec<Row> {
    let padded = |more: usize| {
        let block = block(&fields("GET", "/", &[]));
        let padding = vec![0; more];
        frame(1, 5 | PADDED, 1, &[&[more as u8], &block[..], &padding].concat())
    };
    let body = |payload: &[u8]| [post(1, "/", &[]), frame(0, END_STREAM | PADDED, 1, payload)].concat();
    vec![
        row("6.2", "HEADERS with padding", padded(200), Answered(&[200], Some(2))),
        row("6.2", "HEADERS with more padding than there is", frame(1, 5 | PADDED, 1, b"\x05\x82"), PROTOCOL),
        row("6.1", "DATA with padding", body(b"\x03abc\0\0\0"), Answered(&[200], Some(2)))
            .upstream("\r\n\r\nabc"),
        row("6.1", "DATA that is all padding", body(b"\x03\0\0\0"), Answered(&[200], Some(2))),
        row("6.1", "DATA with as much padding as there are bytes", body(b"\x05abc\0"), PROTOCOL),
        row("6.1", "DATA with more padding than bytes", body(b"\xffabc"), PROTOCOL),
        row("6.1", "DATA without the length of its padding", body(b""), {
            Connection(&[PROTOCOL_ERROR, super::frames::FRAME_SIZE_ERROR])
        }),
    ]
}

/// What the client's windows have room for.
fn credit() -> Vec<Row> {
    // So that only the window of the stream counts.
    let roomy = || [window_update(0, 1 << 20), get(1, "/large", &[])].concat();
    let initial = |size| settings(&[(INITIAL_WINDOW_SIZE, size)]);
    vec![
        row("6.9.1", "an answer larger than the window of its stream", roomy(), Held(65_535)),
        row("6.9.1", "an answer for which the window grows", roomy(), Answered(&[200], Some(100_000)))
            .then(window_update(1, 34_465)),
        row("6.9.2", "a first window of 10 bytes", [initial(10), get(1, "/large", &[])].concat(), Held(10)),
        row("6.9.2", "windows of open streams grow with the first window", roomy(), Held(70_000))
            .then(initial(70_000))
            .then(initial(65_535)),
        row("6.9.2", "a window below zero takes nothing", roomy(), Held(65_535))
            .then(initial(65_000))
            .then(window_update(1, 535)),
        row("6.9.2", "a window that has been below zero", roomy(), Held(65_536))
            .then(initial(65_000))
            .then(window_update(1, 536)),
    ]
}

fn overflow() -> Vec<Row> {
    const MOST: u32 = (1 << 31) - 1;
    let open = || get(1, "/stuck", &[]);
    let flow = || Connection(&[FLOW_CONTROL_ERROR]);
    vec![
        row("6.9", "WINDOW_UPDATE of 0 on the connection", window_update(0, 0), PROTOCOL),
        row("6.9", "WINDOW_UPDATE of 0 on a stream", [open(), window_update(1, 0)].concat(), {
            Stream(&[PROTOCOL_ERROR])
        }),
        row("6.9.1", "a connection's window over 2^31-1", window_update(0, MOST), flow()),
        row("6.9.1", "a connection's window of 2^31-1", window_update(0, MOST - 65_535), Ignored),
        row("6.9.1", "a stream's window over 2^31-1", [open(), window_update(1, MOST)].concat(), {
            Stream(&[FLOW_CONTROL_ERROR])
        }),
        row(
            "6.9.2",
            "a stream's window over 2^31-1 by a setting",
            {
                [open(), window_update(1, MOST - 65_535), settings(&[(INITIAL_WINDOW_SIZE, 65_536)])].concat()
            },
            flow(),
        ),
    ]
}

/// What the gateway's windows have room for: 256 KiB on a stream, 1 MiB on a connection.
fn received() -> Vec<Row> {
    let piece = vec![b'x'; 16 << 10];
    let body = |stream, pieces| {
        let head = post(stream, "/streamed/stuck", &[]);
        let body = (0..pieces).flat_map(|_| data(stream, 0, &piece));
        head.into_iter().chain(body).collect::<Vec<u8>>()
    };
    vec![
        row("6.9.1", "as much as a stream's window takes", body(1, 16), Ignored),
        row("6.9.1", "more than a stream's window takes", body(1, 24), Stream(&[FLOW_CONTROL_ERROR])),
        row(
            "6.9.1",
            "more than a connection's window takes",
            (0..6).flat_map(|number| body(number * 2 + 1, 16)).collect(),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
    ]
}
