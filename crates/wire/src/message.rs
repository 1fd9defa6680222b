//! HTTP messages as the gateway handles them, whatever protocol brought them. No parsing and no I/O here.

mod headers;
mod known;
mod method;
mod values;

pub use headers::{Field, Headers};
pub use known::Known;
pub use method::{Method, OtherMethod, Version};
pub use values::Values;

use crate::target::{Parts, TargetError, TargetForm};

/// How the end of a body is found (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    #[default]
    None,
    /// This many bytes, by `Content-Length`; zero is possible.
    Exact(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Everything up to the end of the connection, in HTTP/1; of the stream, in HTTP/2.
    UntilClose,
}

/// The protocol a request asks to change to (RFC 9110 7.8). The full wish is in the `Upgrade` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `websocket` is the first protocol asked for.
    WebSocket,
    /// Another protocol.
    Other,
}

/// The head of a request: all that precedes its body.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version the client speaks.
    pub version: Version,
    /// The header section.
    pub headers: Headers,
    /// How the body ends; `UntilClose` over HTTP/2 only.
    pub framing: BodyLength,
    /// Whether the client wants the connection to live on (RFC 9112 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before its body (RFC 9110 10.1.1).
    pub expect_continue: bool,
    /// The wish to change protocol: `Connection: upgrade` and an `Upgrade` field on HTTP/1.1.
    pub upgrade: Option<Upgrade>,
    target: Vec<u8>,
    parts: Parts,
    pub(crate) progress: Progress,
}

/// How far an unfinished head has been searched, so that no byte is looked at twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Bytes searched for a line end.
    pub scanned: usize,
    /// Where the line under search begins.
    pub line_start: usize,
    /// Whole lines found so far.
    pub lines: usize,
}

impl RequestHead {
    /// An empty head, to be filled by a parser.
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// Forgets the message and keeps the memory.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.version = Version::Http11;
        self.headers.clear();
        self.framing = BodyLength::None;
        self.keep_alive = false;
        self.expect_continue = false;
        self.upgrade = None;
        self.target.clear();
        self.parts = Parts::default();
        self.progress = Progress::default();
    }

    /// Sets method and target; refused, and nothing changes, when the target does not fit the method
    /// (RFC 9112 3.2). The `Host` field is the caller's business.
    pub fn set_target(&mut self, method: Method, target: &[u8]) -> Result<(), TargetError> {
        self.parts = Parts::split(&method, target)?;
        self.method = method;
        self.target.clear();
        self.target.extend_from_slice(target);
        Ok(())
    }

    /// The request target as received.
    #[inline]
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// Which of the four forms the target has.
    #[inline]
    pub fn form(&self) -> TargetForm {
        self.parts.form
    }

    /// The path as received, without query. `/` for an absolute target without path, `*` for the asterisk
    /// form, empty for the authority form.
    #[inline]
    pub fn path(&self) -> &[u8] {
        self.parts.path(&self.target)
    }

    /// What follows the first `?`, as received; `None` without `?`.
    #[inline]
    pub fn query(&self) -> Option<&[u8]> {
        self.parts.query(&self.target)
    }

    /// The authority named by the target itself, in absolute or authority form.
    #[inline]
    pub fn authority(&self) -> Option<&[u8]> {
        self.parts.authority(&self.target)
    }

    /// Makes the authority of the target, where it has one, the only `Host` (RFC 9112 3.2.2).
    pub(crate) fn adopt_authority(&mut self) {
        if let Some(authority) = self.parts.authority(&self.target) {
            self.headers.set_known(Known::Host, authority);
        }
    }

    /// The scheme named by an absolute target, as spelled by the client.
    #[inline]
    pub fn scheme(&self) -> Option<&[u8]> {
        self.parts.scheme(&self.target)
    }

    /// The host asked for: the value of `Host`, which a parser has replaced by the authority of an absolute
    /// target (RFC 9112 3.2.2).
    #[inline]
    pub fn host(&self) -> Option<&[u8]> {
        self.headers.known(Known::Host)
    }
}

/// The head of a response: all that precedes its body.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status code: three digits, not below 100.
    pub status: u16,
    /// The version the sender speaks.
    pub version: Version,
    /// The header section.
    pub headers: Headers,
    /// How the body ends.
    pub framing: BodyLength,
    /// Whether the connection can serve another request after this response.
    pub keep_alive: bool,
    reason: Vec<u8>,
    pub(crate) progress: Progress,
}

impl ResponseHead {
    /// An empty head, to be filled by a parser or a caller.
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    /// Forgets the message and keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.version = Version::Http11;
        self.headers.clear();
        self.framing = BodyLength::None;
        self.keep_alive = false;
        self.reason.clear();
        self.progress = Progress::default();
    }

    /// The reason phrase as received or set; may be empty.
    #[inline]
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// Sets the reason phrase; one with CR, LF, NUL or another control byte changes nothing and returns `false`.
    pub fn set_reason(&mut self, reason: &[u8]) -> bool {
        let accepted = crate::grammar::is_field_value(reason);
        if accepted {
            self.reason.clear();
            self.reason.extend_from_slice(reason);
        }
        accepted
    }

    /// Whether this is a 1xx head with the final one still to come. `101` is final: the protocol changes.
    #[inline]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleared_head_tells_nothing_of_the_message_before() {
        let mut head = RequestHead::new();
        head.set_target(Method::Post, b"http://a:1/b?c").unwrap();
        head.headers.append("A", b"1");
        head.framing = BodyLength::Chunked;
        head.clear();
        assert_eq!((head.method, head.target(), head.query()), (Method::Get, &b""[..], None));
        assert_eq!((head.authority(), head.headers.len(), head.framing), (None, 0, BodyLength::None));
    }

    #[test]
    fn a_reason_cannot_split_the_response() {
        let mut head = ResponseHead::new();
        assert!(head.set_reason(b"Fine"));
        assert!(!head.set_reason(b"x\r\nSet-Cookie: a"));
        assert_eq!(head.reason(), b"Fine");
    }

    #[test]
    fn every_informational_head_but_101_is_interim() {
        let interim = |status| ResponseHead { status, ..ResponseHead::new() }.is_interim();
        assert!(interim(100) && interim(103) && !interim(101) && !interim(200));
    }
}
