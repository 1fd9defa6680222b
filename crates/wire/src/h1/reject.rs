//! Refusals, and the wording of those that more than one parser gives.

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What to answer the client: 400, 413, 414, 431, 501 or 505; 502 for a response of an upstream.
    pub status: u16,
    /// The rule or bound that was broken, for a log line.
    pub reason: &'static str,
    /// The bound, if it was one that can be set.
    pub limit: Option<Limit>,
}

/// One of the bounds in [`Limits`](super::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max_head_bytes`.
    Head,
    /// `max_line_bytes`.
    Line,
    /// `max_target_bytes`.
    Target,
    /// `max_headers`.
    Headers,
    /// `max_chunk_extension_bytes`.
    ChunkExtension,
    /// `max_trailer_bytes`.
    Trailers,
}

pub(super) const BARE_LINE_END: Reject = Reject::bad("line not ended by CRLF (RFC 9112 2.2)");
pub(super) const BAD_NAME: Reject =
    Reject::bad("invalid field name, or whitespace before its colon (RFC 9112 5.1)");
pub(super) const BAD_VALUE: Reject = Reject::bad("forbidden byte in a field value (RFC 9110 5.5)");
pub(super) const FOLDED: Reject = Reject::bad("folded field line (RFC 9112 5.2)");
pub(super) const HEAD_TOO_LARGE: Reject = Reject::over(431, "head larger than max_head_bytes", Limit::Head);
pub(super) const LINE_TOO_LONG: Reject =
    Reject::over(431, "field line longer than max_line_bytes", Limit::Line);
pub(super) const TOO_MANY: Reject = Reject::over(431, "more fields than max_headers", Limit::Headers);

impl Reject {
    pub(crate) const fn new(status: u16, reason: &'static str) -> Reject {
        Reject { status, reason, limit: None }
    }

    pub(crate) const fn over(status: u16, reason: &'static str, limit: Limit) -> Reject {
        Reject { status, reason, limit: Some(limit) }
    }

    pub(crate) const fn bad(reason: &'static str) -> Reject {
        Reject::new(400, reason)
    }

    /// What httparse found wrong; `bad_line` stands for errors of the start line.
    pub(super) fn of(error: httparse::Error, bad_line: Reject) -> Reject {
        match error {
            httparse::Error::HeaderName => BAD_NAME,
            httparse::Error::HeaderValue => BAD_VALUE,
            httparse::Error::TooManyHeaders => TOO_MANY,
            httparse::Error::NewLine => BARE_LINE_END,
            _ => bad_line,
        }
    }
}
