//! Request methods and protocol versions.

use crate::grammar::is_token;
use std::fmt;

/// A request method. Names are case-sensitive (RFC 9110 9.1), so `get` is `Other`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `PATCH`
    Patch,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `CONNECT`
    Connect,
    /// Any other token of at most [`OtherMethod::MAX_LENGTH`] bytes.
    Other(OtherMethod),
}

/// The name of a method outside RFC 9110, held inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OtherMethod {
    length: u8,
    bytes: [u8; OtherMethod::MAX_LENGTH],
}

impl OtherMethod {
    /// Longest method name taken, in bytes.
    pub const MAX_LENGTH: usize = 32;

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("a method is a token, so ASCII")
    }
}

impl Method {
    /// Reads a method name; `None` when it is no token or too long.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Option<Method> {
        Some(match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"PATCH" => Method::Patch,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            other => return Method::other(other),
        })
    }

    fn other(name: &[u8]) -> Option<Method> {
        if name.len() > OtherMethod::MAX_LENGTH || !is_token(name) {
            return None;
        }
        let mut bytes = [0; OtherMethod::MAX_LENGTH];
        bytes[..name.len()].copy_from_slice(name);
        Some(Method::Other(OtherMethod { length: u8::try_from(name.len()).ok()?, bytes }))
    }

    /// The name as it stands in a request line.
    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Patch => "PATCH",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Connect => "CONNECT",
            Method::Other(other) => other.as_str(),
        }
    }

    /// Whether sending it twice has the effect of sending it once (RFC 9110 9.2.2).
    #[inline]
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }

    /// Whether it asks for no change (RFC 9110 9.2.1).
    #[inline]
    pub fn is_safe(&self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The protocol version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// The name as in a request line or log: `HTTP/1.1`; `HTTP/2.0` for HTTP/2, as nginx and Kong log it.
    #[inline]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        let longest = "M".repeat(OtherMethod::MAX_LENGTH);
        for name in
            ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", &longest]
        {
            assert_eq!(Method::from_bytes(name.as_bytes()).unwrap().as_str(), name);
        }
        assert_ne!(Method::from_bytes(b"get"), Some(Method::Get));
    }

    #[test]
    fn what_is_no_bounded_token_is_refused() {
        let too_long = [b'M'; OtherMethod::MAX_LENGTH + 1];
        for name in [&b""[..], b"GE T", b"GET\x00", b"G(T", b"\xff", &too_long] {
            assert_eq!(Method::from_bytes(name), None, "{name:?}");
        }
    }

    #[test]
    fn idempotent_methods_are_those_of_rfc_9110() {
        let idempotent = |name: &str| Method::from_bytes(name.as_bytes()).unwrap().is_idempotent();
        assert!(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].into_iter().all(idempotent));
        assert!(!["POST", "PATCH", "CONNECT", "PURGE"].into_iter().any(idempotent));
    }
}
