//! Message bodies, incoming: where their content lies in the bytes received (RFC 9112 6 and 7.1). Content is
//! never copied; a decoder remembers only where in the grammar it stands.

use super::trailer::TrailerSection;
use super::{Limit, Limits, Reject};
use crate::message::{BodyLength, Headers};
use std::ops::Range;

const BAD_SIZE: Reject = Reject::bad("malformed chunk size (RFC 9112 7.1)");
const LARGE_SIZE: Reject = Reject::bad("chunk size above 64 bits (RFC 9112 7.1)");
const BAD_EXTENSION: Reject = Reject::bad("malformed chunk extension (RFC 9112 7.1.1)");
const LONG_EXTENSION: Reject =
    Reject::over(400, "chunk extension longer than max_chunk_extension_bytes", Limit::ChunkExtension);
const BAD_LINE_END: Reject = Reject::bad("chunk not ended by CRLF (RFC 9112 7.1)");
const TOO_LARGE: Reject = Reject::new(413, "body larger than max_body_bytes");

/// Digits of the largest chunk size, leading zeros included.
const MAX_SIZE_DIGITS: u8 = 16;

/// Finds the content of one body in whatever pieces it arrives.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Content announced so far by chunk sizes, or received up to the close.
    content_bytes: u64,
    max_body_bytes: u64,
    max_extension_bytes: usize,
    trailer: TrailerSection,
}

/// What one call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are dealt with once `data` is; bring the rest again, with more behind it.
    pub consumed: usize,
    /// Where in the input content lies; empty when there was only framing.
    pub data: Range<usize>,
    /// Whether the body has ended. What follows `consumed` belongs to the next message.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Size {
        digits: u8,
        size: u64,
    },
    /// Whitespace after the size: an extension has to follow.
    SizeBlank {
        size: u64,
        seen: usize,
    },
    Extension {
        size: u64,
        seen: usize,
    },
    SizeFeed {
        size: u64,
    },
    Data(u64),
    DataReturn,
    DataFeed,
    Trailer,
    Done,
    Refused(Reject),
}

impl BodyDecoder {
    /// A decoder for a body framed by `length`.
    pub fn new(length: BodyLength, limits: &Limits) -> BodyDecoder {
        let mut decoder = BodyDecoder {
            state: State::Done,
            content_bytes: 0,
            max_body_bytes: 0,
            max_extension_bytes: 0,
            trailer: TrailerSection::default(),
        };
        decoder.reset(length, limits);
        decoder
    }

    /// Makes the decoder ready for another body and keeps its memory.
    pub fn reset(&mut self, length: BodyLength, limits: &Limits) {
        self.max_body_bytes = limits.max_body_bytes.unwrap_or(u64::MAX);
        self.max_extension_bytes = limits.max_chunk_extension_bytes;
        self.content_bytes = 0;
        self.trailer.reset(limits);
        self.state = match length {
            BodyLength::None | BodyLength::Exact(0) => State::Done,
            BodyLength::Exact(length) if length > self.max_body_bytes => State::Refused(TOO_LARGE),
            BodyLength::Exact(length) => State::Length(length),
            BodyLength::Chunked => State::Size { digits: 0, size: 0 },
            BodyLength::UntilClose => State::UntilClose,
        };
    }

    /// Whether the body has ended.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Content bytes still to come where that is known: a body framed by its length, or one that has ended.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The trailer fields received, without those a trailer may not carry (RFC 9110 6.5.1).
    pub fn trailers(&self) -> &Headers {
        self.trailer.fields()
    }

    /// The sender has closed the connection. `true` when the body is whole, `false` when it was cut short.
    pub fn close(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Reads on at the start of `input`, up to the next piece of content, the end of the body or the end of
    /// `input`. Nothing consumed and not done: more bytes are needed. A refused body stays refused.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Reject> {
        let mut place = 0;
        loop {
            if let State::Length(_) | State::UntilClose | State::Data(_) = self.state
                && place < input.len()
            {
                let data = self.take_data(place, input.len())?;
                return Ok(Decoded { consumed: data.end, data, done: self.is_done() });
            }
            if self.state == State::Trailer {
                let (consumed, done) =
                    self.trailer.read(&input[place..]).map_err(|reject| self.refuse(reject))?;
                place += consumed;
                self.state = if done { State::Done } else { State::Trailer };
            }
            if let State::Refused(reject) = self.state {
                return Err(reject);
            }
            let Some(&byte) = input.get(place).filter(|_| !self.is_done()) else {
                return Ok(Decoded { consumed: place, data: place..place, done: self.is_done() });
            };
            self.state = self.step(byte).map_err(|reject| self.refuse(reject))?;
            place += 1;
        }
    }

    fn refuse(&mut self, reject: Reject) -> Reject {
        self.state = State::Refused(reject);
        reject
    }

    /// The content between `start` and `end` that belongs to the current length.
    #[inline]
    fn take_data(&mut self, start: usize, end: usize) -> Result<Range<usize>, Reject> {
        let available = end - start;
        let fitting = |left: u64| usize::try_from(left).map_or(available, |left| left.min(available));
        let taken = match self.state {
            State::Length(left) => {
                let taken = fitting(left);
                let left = left - taken as u64;
                self.state = if left == 0 { State::Done } else { State::Length(left) };
                taken
            }
            State::Data(left) => {
                let taken = fitting(left);
                let left = left - taken as u64;
                self.state = if left == 0 { State::DataReturn } else { State::Data(left) };
                taken
            }
            _ => {
                self.promise(available as u64).map_err(|reject| self.refuse(reject))?;
                available
            }
        };
        Ok(start..start + taken)
    }

    /// Counts content against the bound as soon as it is announced.
    fn promise(&mut self, bytes: u64) -> Result<(), Reject> {
        self.content_bytes = self.content_bytes.saturating_add(bytes);
        if self.content_bytes > self.max_body_bytes { Err(TOO_LARGE) } else { Ok(()) }
    }

    /// One byte of chunk framing.
    #[inline]
    fn step(&mut self, byte: u8) -> Result<State, Reject> {
        match self.state {
            State::Size { digits, size } => step_size(digits, size, byte),
            State::SizeBlank { size, seen } => match byte {
                b' ' | b'\t' => self.extension(State::SizeBlank { size, seen: seen + 1 }, seen + 1),
                b';' => self.extension(State::Extension { size, seen: seen + 1 }, seen + 1),
                _ => Err(BAD_SIZE),
            },
            State::Extension { size, seen } => match byte {
                b'\r' => Ok(State::SizeFeed { size }),
                b'\t' | b' '..=b'~' | 0x80.. => {
                    self.extension(State::Extension { size, seen: seen + 1 }, seen + 1)
                }
                _ => Err(BAD_EXTENSION),
            },
            State::SizeFeed { size } => match (byte, size) {
                (b'\n', 0) => Ok(State::Trailer),
                (b'\n', size) => self.promise(size).map(|()| State::Data(size)),
                _ => Err(BAD_LINE_END),
            },
            State::DataReturn if byte == b'\r' => Ok(State::DataFeed),
            State::DataFeed if byte == b'\n' => Ok(State::Size { digits: 0, size: 0 }),
            State::DataReturn | State::DataFeed => Err(BAD_LINE_END),
            state => Ok(state),
        }
    }

    fn extension(&self, state: State, seen: usize) -> Result<State, Reject> {
        if seen > self.max_extension_bytes { Err(LONG_EXTENSION) } else { Ok(state) }
    }
}

fn step_size(digits: u8, size: u64, byte: u8) -> Result<State, Reject> {
    match (byte as char).to_digit(16) {
        Some(_) if digits == MAX_SIZE_DIGITS => Err(LARGE_SIZE),
        Some(digit) => Ok(State::Size { digits: digits + 1, size: (size << 4) | u64::from(digit) }),
        None if digits == 0 => Err(BAD_SIZE),
        None => match byte {
            b'\r' => Ok(State::SizeFeed { size }),
            b';' => Ok(State::Extension { size, seen: 1 }),
            b' ' | b'\t' => Ok(State::SizeBlank { size, seen: 1 }),
            _ => Err(BAD_SIZE),
        },
    }
}
