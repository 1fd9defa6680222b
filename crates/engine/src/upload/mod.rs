//! The request body on its way from the client to the upstream, while the response may already be flowing back.

mod collecting;
mod passing;
mod source;

use plugin::Exchange;
use plugin::exchange::BodyLimit;
use plugin::identity::{self, Disowned};
use tokio::time::Instant;
use wire::h1::{BodyDecoder, Limits, encode};
use wire::{BodyLength, Headers};

use crate::pace::{Allowed, Pace};
use crate::respond::Failure;
use crate::settings::Settings;

/// Bytes kept of a body that is passed on while it comes, should it have to be sent again.
const KEPT: usize = 64 << 10;

/// Where a request body stands.
#[derive(Default)]
pub struct Upload {
    state: State,
    /// Bytes of body taken from the client so far.
    pub received: u64,
    /// Bytes of the largest body accepted.
    limit: u64,
    /// What a larger one is told, if a plugin does not accept it.
    refusal: Option<&'static str>,
    pending: Vec<u8>,
    written: usize,
    /// Some of it has been handed to an upstream, or given up.
    passed_on: bool,
    /// All bytes are at hand, and the client has not said that there are no more.
    awaits_end: bool,
    /// How the upstream learns where the body ends.
    framing: Framing,
    /// The length of the body is not known beforehand.
    chunked: bool,
    /// A call of gRPC.
    is_call: bool,
    /// Bytes of the body that come before all others, once it is known how they have to be framed.
    returned: Option<Vec<u8>>,
    /// What follows the body.
    trailers: Headers,
    /// What the client cannot say in them.
    disowned: Option<Disowned>,
    /// What has been passed on of a body without framing, as long as it is not much.
    kept: Vec<u8>,
    /// How fast the client sends it.
    pace: Pace,
}

/// How an upstream learns where a body of unknown length ends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By chunks (RFC 9112 7.1).
    #[default]
    Chunks,
    /// By the end of its stream (RFC 9113 8.1): nothing is put around the bytes.
    Stream,
}

#[derive(Default)]
enum State {
    /// Nothing more to come from the client, nothing left to send.
    #[default]
    Done,
    /// This many bytes are still to be passed on as they are.
    Exact(u64),
    /// Chunks are decoded and framed anew.
    Chunked(Box<BodyDecoder>),
    /// All that comes is framed as chunks; the stream ends, and so does the body (RFC 9113 8.1). Its trailer section may
    /// have so many fields.
    Stream(u16),
    /// The last bytes are waiting to be sent.
    Flushing,
    /// An upstream takes no more. What it had was kept, and another can have all of it from here on.
    Halted(Box<State>),
}

/// How many fields a trailer section may have.
fn most_trailers(limits: &Limits) -> u16 {
    u16::try_from(limits.max_headers.min(Limits::MAX_HEADERS)).unwrap_or(u16::MAX)
}

impl Upload {
    /// Begins with a request whose body is framed as `length`; `limit` is the largest that is accepted, 0 any.
    pub fn begin(&mut self, length: BodyLength, limit: u64, limits: &Limits) {
        self.framing = Framing::Chunks;
        self.chunked = matches!(length, BodyLength::UntilClose | BodyLength::Chunked);
        self.is_call = false;
        self.returned = None;
        self.trailers.clear();
        self.disowned = None;
        self.kept.clear();
        self.received = 0;
        self.pace.restart(0);
        self.limit = if limit == 0 { u64::MAX } else { limit };
        self.refusal = None;
        self.pending.clear();
        self.written = 0;
        self.passed_on = false;
        self.awaits_end = false;
        self.state = match length {
            BodyLength::None | BodyLength::Exact(0) => State::Done,
            BodyLength::UntilClose => State::Stream(most_trailers(limits)),
            BodyLength::Exact(count) => State::Exact(count),
            BodyLength::Chunked => State::Chunked(Box::new(BodyDecoder::new(BodyLength::Chunked, limits))),
        };
    }

    /// Expects no bytes, but the end of the stream, which has not come yet.
    pub fn await_end(&mut self) {
        self.state = State::Exact(0);
    }

    /// The request is a call of gRPC.
    pub fn carry_call(&mut self) {
        self.is_call = true;
    }

    /// No trailer tells the upstream who calls, where authentication has a say in that.
    pub fn disown(&mut self, exchange: &Exchange) {
        if self.chunked {
            self.disowned = identity::disowned(exchange);
            // A plugin may have read all of it already.
            self.cleanse_trailers();
        }
    }

    /// The next bytes go to an upstream that wants the body framed like this.
    pub fn frame(&mut self, framing: Framing) {
        if self.chunked && self.has_pending() && self.framing == Framing::Chunks && framing == Framing::Stream
        {
            self.take_chunks_apart();
        }
        self.framing = framing;
    }

    /// What has been framed for an upstream that took nothing of it loses its frames for another.
    fn take_chunks_apart(&mut self) {
        let framed = std::mem::take(&mut self.pending);
        let (mut content, mut rest) = (Vec::with_capacity(framed.len()), &framed[..]);
        // Trailers are remembered apart.
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &Limits::default());
        while let Ok(piece) = decoder.decode(rest)
            && piece.consumed > 0
        {
            content.extend_from_slice(&rest[piece.data]);
            rest = &rest[piece.consumed..];
        }
        self.returned = Some(content);
        self.written = 0;
    }

    /// Nothing is left to do.
    #[inline]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Halted(_))
    }

    /// The client's part of the body has not been received whole.
    pub fn is_awaiting_client(&self) -> bool {
        matches!(self.state, State::Exact(_) | State::Chunked(_) | State::Stream(_))
    }

    /// Bytes still expected of a body of known length.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Exact(count) => Some(count),
            _ => None,
        }
    }

    /// More has been received than is allowed at all.
    pub fn is_over_limit(&self) -> bool {
        self.received > self.limit
    }

    /// A plugin accepts no more than `limit`.
    ///
    /// # Errors
    /// It is known already that there is more.
    pub fn narrow(&mut self, limit: BodyLimit) -> Result<(), Failure> {
        if limit.bytes < self.limit {
            self.limit = limit.bytes;
            self.refusal = Some(limit.message);
        }
        let expected = self.received.saturating_add(self.remaining().unwrap_or(0));
        if self.is_awaiting_client() && expected > self.limit { Err(self.too_large()) } else { Ok(()) }
    }

    fn too_large(&self) -> Failure {
        self.refusal.map_or(Failure::BodyTooLarge, |message| Failure::BodyRefused { message })
    }

    /// Until when the client has to send more. Calls of gRPC may stay silent for a while: they need not keep a pace.
    pub fn allowed(&mut self, now: Instant, settings: &Settings) -> Allowed {
        let mut demand = settings.body_demand();
        if self.is_call {
            demand.rate = 0;
        }
        self.pace.wait(now, self.received, &demand)
    }

    /// Somebody else than the client is waited for.
    pub fn pause(&mut self, now: Instant) {
        self.pace.pause(now);
    }

    /// Nothing moves before the client sends more, or says that there is no more.
    pub fn is_up_to_client(&self, at_hand: bool) -> bool {
        self.is_awaiting_client() && !self.has_pending() && (!at_hand || self.awaits_end)
    }

    /// Bytes are waiting to be taken by the upstream.
    pub fn has_pending(&self) -> bool {
        self.written < self.pending.len()
    }

    /// Sends a body that is in memory, from its beginning, behind a head that announces its length.
    pub fn resend(&mut self, body: &[u8]) {
        self.kept.clear();
        self.returned = None;
        self.chunked = false;
        self.pending.clear();
        self.pending.extend_from_slice(body);
        self.written = 0;
        self.state = State::Flushing;
    }

    /// Something follows the body that its length does not tell of.
    pub fn has_trailers(&self) -> bool {
        !self.trailers.is_empty()
    }

    /// Gives back what was collected of a body of unknown length, to be passed on first.
    pub fn put_back(&mut self, body: Vec<u8>) {
        self.returned = Some(body);
        if self.is_done() {
            self.state = State::Flushing;
        }
    }

    /// Frames what was given back, and what ends it, should it be all there is.
    fn take_returned(&mut self, body: &[u8]) {
        self.push(body);
        if !self.is_awaiting_client() && self.chunked && self.framing == Framing::Chunks {
            encode::last_chunk(&mut self.pending, Some(&self.trailers));
        }
    }

    fn push(&mut self, piece: &[u8]) {
        if piece.is_empty() || !self.chunked || self.framing == Framing::Stream {
            return self.pending.extend_from_slice(piece);
        }
        encode::chunk_head(&mut self.pending, piece.len());
        self.pending.extend_from_slice(piece);
        encode::chunk_end(&mut self.pending);
    }

    /// All has come: what ends the body is to follow.
    fn end(&mut self, trailers: &Headers) {
        self.keep_trailers(trailers);
        if self.framing == Framing::Chunks {
            encode::last_chunk(&mut self.pending, Some(&self.trailers));
        }
        self.state = State::Flushing;
    }

    /// Keeps what follows the body, but for what the client may not tell: another upstream may want it in another form.
    fn keep_trailers(&mut self, trailers: &Headers) {
        self.trailers.clone_from(trailers);
        self.cleanse_trailers();
    }

    fn cleanse_trailers(&mut self) {
        if let Some(disowned) = &self.disowned {
            disowned.cleanse(&mut self.trailers);
        }
    }

    /// Forgets everything and keeps the memory, unless it has grown beyond `keep` bytes.
    pub fn rest(&mut self, keep: usize) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.clear();
        *self =
            Self { pending: if pending.capacity() > keep { Vec::new() } else { pending }, ..Self::default() };
    }

    /// The body has been taken by other means: nothing is to be passed on.
    pub fn finish(&mut self) {
        self.state = State::Done;
        self.returned = None;
        self.passed_on = true;
    }

    /// The upstream takes no more of it. Another may still have it, where all of it was kept.
    pub fn halt(&mut self) {
        if self.framing == Framing::Stream && !self.passed_on && !self.is_done() {
            self.state = State::Halted(Box::new(std::mem::take(&mut self.state)));
        } else {
            self.finish();
        }
    }

    /// Another upstream can still have all of it: nothing has been handed to one, or what has been was kept.
    pub fn is_whole(&self) -> bool {
        !self.passed_on
    }

    /// Notes that a range of `unread`, or else of what was pending, has been handed to an upstream.
    fn pass_on(&mut self, sent: std::ops::Range<usize>, unread: Option<&[u8]>) {
        if self.framing == Framing::Stream && !self.passed_on && self.kept.len() + sent.len() <= KEPT {
            let source = unread.unwrap_or(&self.pending);
            self.kept.extend_from_slice(&source[sent]);
        } else {
            self.passed_on = true;
            self.kept.clear();
        }
    }

    /// Begins anew with what was kept, for another upstream.
    pub fn rewind(&mut self) {
        if self.framing == Framing::Chunks || self.passed_on {
            return;
        }
        self.state = match std::mem::take(&mut self.state) {
            State::Halted(state) => *state,
            state => state,
        };
        let mut whole = std::mem::take(&mut self.kept);
        whole.extend_from_slice(&self.pending[self.written..]);
        whole.extend_from_slice(self.returned.as_deref().unwrap_or_default());
        if self.is_done() && (self.chunked || !whole.is_empty()) {
            self.state = State::Flushing;
        }
        self.returned = Some(whole);
        self.pending.clear();
        self.written = 0;
    }
}
