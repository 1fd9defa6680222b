//! Preface, frame layout, and the frames of the connection itself: RFC 9113 3.4, 4, 6.5 to 6.8.

use super::frames::{
    ACK, CONTINUATION, DATA, ENABLE_PUSH, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS,
    INITIAL_WINDOW_SIZE, MAGIC, MAX_FRAME_SIZE, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, data, frame, get, post, settings,
};
use super::judge::Expect::{Acknowledged, Answered, Closed, Connection, Finished, Ignored, Pong, Stream};
use super::{OTHER_CODE, Row, Start, row};

const NO_SETTINGS: &str = "h2 does not insist on SETTINGS as the first frame";

const BYTES: &[u8; 8] = b"\x00\x01payloa";

/// Every row.
pub fn rows() -> Vec<Row> {
    [prefaces(), layout(), sizes(), wrong_streams(), setting_values(), pings(), goaways()]
        .into_iter()
        .flatten()
        .collect()
}

fn prefaces() -> Vec<Row> {
    let wrong = b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n".to_vec();
    let ping = frame(PING, 0, 0, BYTES);
    let protocol = || Connection(&[PROTOCOL_ERROR]);
    vec![
        row("3.4", "a preface that is none", wrong, Closed).start(Start::Nothing),
        row("3.4", "PING before SETTINGS", ping.clone(), protocol())
            .deviates(NO_SETTINGS)
            .start(Start::Magic),
        row("3.4", "HEADERS before SETTINGS", get(1, "/", &[]), protocol())
            .deviates(NO_SETTINGS)
            .start(Start::Magic),
        row("3.4", "PING right behind the preface", [MAGIC, &ping].concat(), protocol())
            .deviates(NO_SETTINGS)
            .start(Start::Nothing),
        row("3.4", "a request right behind SETTINGS", [settings(&[]), get(1, "/", &[])].concat(), Finished)
            .start(Start::Magic),
    ]
}

fn layout() -> Vec<Row> {
    let ok = || Answered(&[200], Some(2));
    let in_between = |kind| [frame(kind, 0xff, 0, b"anything"), get(1, "/", &[])].concat();
    vec![
        row("4.1", "a frame of unknown type on the connection", in_between(0x16), ok()),
        row("5.5", "a frame of unknown type on an idle stream", frame(0xbe, 0, 7, b"x"), Ignored),
        row(
            "5.5",
            "a frame of unknown type on an open stream",
            [post(1, "/", &[]), frame(0x42, 1, 1, b"x"), data(1, END_STREAM, b"abc")].concat(),
            ok(),
        )
        .upstream("abc"),
        row("4.1", "flags without a meaning on PING", frame(PING, 0xfe, 0, BYTES), Pong(&[BYTES])),
        row(
            "4.1",
            "flags without a meaning on DATA",
            [post(1, "/", &[]), data(1, END_STREAM | 0xf6, b"abc")].concat(),
            ok(),
        ),
        row("4.1", "the reserved bit of a stream identifier", get(1 | 1 << 31, "/", &[]), ok()),
        row(
            "6.9",
            "the reserved bit of a window increment",
            [frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 31 | 5).to_be_bytes()), get(1, "/", &[])].concat(),
            ok(),
        ),
    ]
}

fn sizes() -> Vec<Row> {
    let size = || Connection(&[FRAME_SIZE_ERROR]);
    let large = vec![b'x'; (16 << 10) + 1];
    vec![
        row(
            "4.2",
            "DATA larger than allowed",
            [post(1, "/", &[]), data(1, 0, &large)].concat(),
            Stream(&[FRAME_SIZE_ERROR]),
        ),
        row("4.2", "HEADERS larger than allowed", frame(HEADERS, 5, 1, &large), size()),
        row("4.2", "an unknown frame larger than allowed", frame(0x42, 0, 0, &large), size()),
        row("6.3", "PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4]), Stream(&[FRAME_SIZE_ERROR]))
            .deviates(OTHER_CODE),
        row(
            "6.4",
            "RST_STREAM of 3 bytes",
            [get(1, "/stuck", &[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            size(),
        )
        .deviates(OTHER_CODE),
        row(
            "6.4",
            "RST_STREAM of 5 bytes",
            [get(1, "/stuck", &[]), frame(RST_STREAM, 0, 1, &[0; 5])].concat(),
            size(),
        )
        .deviates(OTHER_CODE),
        row("6.5", "SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), size()).deviates(OTHER_CODE),
        row("6.5", "SETTINGS with ACK and a payload", frame(SETTINGS, ACK, 0, &[0; 6]), size())
            .deviates(OTHER_CODE),
        row("6.7", "PING of 7 bytes", frame(PING, 0, 0, &[0; 7]), size()).deviates(OTHER_CODE),
        row("6.7", "PING of 9 bytes", frame(PING, 0, 0, &[0; 9]), size()).deviates(OTHER_CODE),
        row("6.8", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, &[0; 7]), size()).deviates(OTHER_CODE),
        row("6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), size())
            .deviates(OTHER_CODE),
        row(
            "6.9",
            "WINDOW_UPDATE of 5 bytes on a stream",
            [get(1, "/stuck", &[]), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1, 0])].concat(),
            size(),
        )
        .deviates(OTHER_CODE),
    ]
}

/// Frames of a stream on stream 0, and frames of the connection on a stream.
fn wrong_streams() -> Vec<Row> {
    let promise = [&2_u32.to_be_bytes()[..], b"\x82"].concat();
    [
        ("6.1", "DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("6.2", "HEADERS on stream 0", frame(HEADERS, 5, 0, b"\x82")),
        ("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("6.4", "RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("6.6", "PUSH_PROMISE on stream 0", frame(PUSH_PROMISE, 4, 0, &promise)),
        (
            "8.4",
            "PUSH_PROMISE of a client",
            [post(1, "/", &[]), frame(PUSH_PROMISE, 4, 1, &promise)].concat(),
        ),
        ("6.7", "PING on a stream", frame(PING, 0, 1, BYTES)),
        ("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("6.10", "CONTINUATION on stream 0", frame(CONTINUATION, 4, 0, b"\x82")),
    ]
    .into_iter()
    .map(|(rfc, name, bytes)| row(rfc, name, bytes, Connection(&[PROTOCOL_ERROR])))
    .collect()
}

fn setting_values() -> Vec<Row> {
    let set = |id, value| settings(&[(id, value)]);
    let protocol = || Connection(&[PROTOCOL_ERROR]);
    vec![
        row("6.5.2", "ENABLE_PUSH of 2", set(ENABLE_PUSH, 2), protocol()),
        row("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", set(INITIAL_WINDOW_SIZE, 1 << 31), {
            Connection(&[FLOW_CONTROL_ERROR])
        })
        .deviates(OTHER_CODE),
        row("6.5.2", "INITIAL_WINDOW_SIZE of 2^31-1", set(INITIAL_WINDOW_SIZE, (1 << 31) - 1), Ignored),
        row("6.5.2", "MAX_FRAME_SIZE of 2^14-1", set(MAX_FRAME_SIZE, (1 << 14) - 1), protocol()),
        row("6.5.2", "MAX_FRAME_SIZE of 2^24", set(MAX_FRAME_SIZE, 1 << 24), protocol()),
        row("6.5.2", "MAX_FRAME_SIZE of 2^24-1", set(MAX_FRAME_SIZE, (1 << 24) - 1), Ignored),
        row("6.5.2", "an unknown setting", set(0xfade, 1), Acknowledged(1)),
        row("6.5.3", "settings are acknowledged", [set(3, 10), set(3, 11), set(3, 12)].concat(), {
            Acknowledged(3)
        }),
    ]
}

fn pings() -> Vec<Row> {
    vec![
        row("6.7", "PING", frame(PING, 0, 0, BYTES), Pong(&[BYTES])),
        row("6.7", "PING with ACK is not answered", frame(PING, ACK, 0, BYTES), Pong(&[])),
        row(
            "6.8",
            "PING behind GOAWAY while a stream is open",
            [get(1, "/stuck", &[]), frame(GOAWAY, 0, 0, &[0; 8])].concat(),
            Pong(&[BYTES]),
        )
        .then(frame(PING, 0, 0, BYTES)),
    ]
}

fn goaways() -> Vec<Row> {
    vec![
        row(
            "6.8",
            "a running request is answered behind GOAWAY",
            [post(1, "/", &[]), frame(GOAWAY, 0, 0, &[0; 8])].concat(),
            Finished,
        )
        .then(data(1, END_STREAM, b"abc"))
        .upstream("abc"),
        row("6.8", "GOAWAY without streams ends the connection", frame(GOAWAY, 0, 0, &[0; 8]), Closed),
    ]
}
