//! What must come of a row, and whether it did.

use std::fmt::Write as _;

use super::frames::{self, DATA, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, u32_at};
use super::talk::{Outcome, PROBE};
use super::{Row, Start};

/// What must come of the bytes of a row. What is wrong is sent on stream 1.
pub enum Expect {
    /// A connection error of one of these types (5.4.1).
    Connection(&'static [u32]),
    /// A stream error of one of these types; each may be taken for one of the connection (5.4.2).
    Stream(&'static [u32]),
    /// A malformed request (8.1.1): a stream error, or an answer that says so. It must not be forwarded.
    Malformed,
    /// The connection ends, with or without a word.
    Closed,
    /// Stream 1 gets whole responses of these statuses, the last of them final, with a body of so many bytes if it is
    /// known how many, and the connection goes on.
    Answered(&'static [u16], Option<usize>),
    /// Stream 1 gets an answer of status 200; the connection may end behind it.
    Finished,
    /// So many bytes of an answer come on stream 1, which does not end, and the connection goes on.
    Held(usize),
    /// A stream has an error of one of these types.
    Refused(u32, &'static [u32]),
    /// So many SETTINGS frames are acknowledged.
    Acknowledged(usize),
    /// Nothing but that the connection goes on.
    Ignored,
    /// One of several is right.
    Either(&'static [Expect]),
    /// PING frames with ACK and these bytes come back.
    Pong(&'static [&'static [u8]]),
}

/// What is wrong with what came of the row.
pub fn problem(row: &Row, outcome: &Outcome) -> Option<String> {
    let mut problem = unmet(&row.expect, outcome);
    if let Some(text) = row.upstream
        && !outcome.upstream.iter().any(|request| request.contains(text))
    {
        problem = problem.or_else(|| Some(format!("the upstream lacks {text:?}")));
    }
    if row.start != Start::Nothing {
        problem = problem.or_else(|| broken(outcome));
    }
    problem.map(|problem| format!("{problem}; {}", described(outcome)))
}

fn unmet(expect: &Expect, outcome: &Outcome) -> Option<String> {
    let ends_with = |codes: &[u32]| {
        outcome.closed && outcome.goaway().is_some_and(|code| codes.contains(&code)) && !outcome.goes_on()
    };
    let is_met = match expect {
        Expect::Connection(codes) => ends_with(codes),
        Expect::Stream(codes) => {
            let reset = outcome.reset(1).is_some_and(|code| codes.contains(&code));
            ends_with(codes) || reset && outcome.goes_on()
        }
        Expect::Malformed => {
            let answered = matches!(outcome.statuses(1)[..], [400..500]) && outcome.goes_on();
            let untouched = outcome.upstream.iter().all(|request| request.starts_with("GET /probe "));
            let refused = unmet(&Expect::Stream(&[frames::PROTOCOL_ERROR]), outcome).is_none();
            untouched && (answered || refused)
        }
        Expect::Closed => outcome.closed && !outcome.goes_on(),
        Expect::Answered(statuses, length) => {
            outcome.is_answered(statuses)
                && length.is_none_or(|length| outcome.body(1) == length)
                && outcome.goes_on()
        }
        Expect::Finished => outcome.is_answered(&[200]),
        Expect::Held(length) => outcome.body(1) == *length && !outcome.has_ended(1) && outcome.goes_on(),
        Expect::Refused(stream, codes) => {
            outcome.reset(*stream).is_some_and(|code| codes.contains(&code)) && outcome.goes_on()
        }
        Expect::Acknowledged(count) => {
            outcome.of(SETTINGS).filter(|frame| frame.has(frames::ACK)).count() == *count && outcome.goes_on()
        }
        Expect::Ignored => outcome.goaway().is_none() && outcome.reset(1).is_none() && outcome.goes_on(),
        Expect::Either(several) => several.iter().any(|one| unmet(one, outcome).is_none()),
        Expect::Pong(expected) => {
            let pongs = outcome.of(PING).filter(|frame| frame.has(frames::ACK));
            pongs.map(|frame| &frame.payload[..]).eq(expected.iter().copied())
        }
    };
    (!is_met).then(|| "something else came of it".to_owned())
}

/// What no server may do, whatever it is sent.
fn broken(outcome: &Outcome) -> Option<String> {
    let mut ended = Vec::new();
    for frame in &outcome.frames {
        if frame.payload.len() > 16 << 10 {
            return Some(format!("a frame of {} bytes (4.2)", frame.payload.len()));
        }
        if matches!(frame.kind, DATA | HEADERS) {
            if ended.contains(&frame.stream) {
                return Some(format!("a frame behind the end of stream {} (5.1)", frame.stream));
            }
            if frame.has(END_STREAM) {
                ended.push(frame.stream);
            }
        }
    }
    None
}

impl Outcome {
    fn of(&self, kind: u8) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(move |frame| frame.kind == kind)
    }

    fn on(&self, kind: u8, stream: u32) -> impl Iterator<Item = &Frame> {
        self.of(kind).filter(move |frame| frame.stream == stream)
    }

    fn goaway(&self) -> Option<u32> {
        self.of(GOAWAY).last().map(|frame| u32_at(&frame.payload[4..]))
    }

    fn reset(&self, stream: u32) -> Option<u32> {
        self.on(RST_STREAM, stream).next().map(|frame| u32_at(&frame.payload))
    }

    fn statuses(&self, stream: u32) -> Vec<u16> {
        self.on(HEADERS, stream).filter_map(Frame::status).collect()
    }

    fn has_ended(&self, stream: u32) -> bool {
        self.frames.iter().any(|frame| {
            frame.stream == stream && matches!(frame.kind, DATA | HEADERS) && frame.has(END_STREAM)
        })
    }

    fn body(&self, stream: u32) -> usize {
        self.on(DATA, stream).map(|frame| frame.payload.len()).sum()
    }

    fn is_answered(&self, statuses: &[u16]) -> bool {
        // A stream whose request is not needed to its end may be reset behind its answer (8.1).
        let reset = matches!(self.reset(1), None | Some(frames::NO_ERROR));
        self.statuses(1) == statuses && self.has_ended(1) && reset
    }

    /// The probe was served.
    fn goes_on(&self) -> bool {
        self.statuses(PROBE) == [200] && self.has_ended(PROBE)
    }
}

fn described(outcome: &Outcome) -> String {
    let mut text = String::from("got");
    for frame in &outcome.frames {
        let what = match frame.kind {
            DATA => format!("DATA {} bytes", frame.payload.len()),
            HEADERS => format!("HEADERS {:?}", frame.status()),
            RST_STREAM => format!("RST_STREAM {}", u32_at(&frame.payload)),
            GOAWAY => format!("GOAWAY {}", u32_at(&frame.payload[4..])),
            kind => format!("frame {kind}"),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, " [{what} on {}]", frame.stream);
    }
    if outcome.closed {
        text.push_str(" and the end");
    }
    if !outcome.rest.is_empty() {
        let _ = write!(text, ", bytes {:?}", String::from_utf8_lossy(&outcome.rest));
    }
    format!(
        "{text}; upstream {:?}",
        outcome.upstream.iter().map(|one| one.lines().next()).collect::<Vec<_>>()
    )
}
