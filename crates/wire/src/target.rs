//! Request targets (RFC 9112 3.2), authorities and query strings: where their parts lie and whether they are
//! well formed. Paths are never normalized here; that is routing's business.

mod query;

pub use query::{Pair, Pairs, form_decode, percent_decode, query_pairs};

use crate::message::Method;

/// The four forms of a request target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, for `CONNECT` only.
    Authority,
    /// `*`, for `OPTIONS` only.
    Asterisk,
}

/// Why a request target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// Whitespace, a control byte or a fragment.
    Byte,
    /// A form the method does not allow, or none of the four.
    Form,
    /// A scheme other than `http` and `https`, user information, or an invalid host or port.
    Authority,
    /// A `%` in the path without two hexadecimal digits, or `%00`.
    Escape,
}

impl TargetError {
    /// The rule broken, for a log line.
    pub fn reason(self) -> &'static str {
        match self {
            TargetError::Byte => "forbidden byte in the request target (RFC 9112 3.2)",
            TargetError::Form => "request target in a form the method does not allow (RFC 9112 3.2)",
            TargetError::Authority => "invalid scheme or authority in the request target (RFC 9110 4.2)",
            TargetError::Escape => "malformed percent-encoding in the path (RFC 3986 2.1)",
        }
    }
}

/// Where the parts of a target lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub form: TargetForm,
    authority: (usize, usize),
    path: (usize, usize),
    query: Option<usize>,
}

impl Parts {
    /// Finds the parts of `target` and checks each.
    #[inline]
    pub fn split(method: &Method, target: &[u8]) -> Result<Parts, TargetError> {
        if !are_target_bytes(target) {
            return Err(TargetError::Byte);
        }
        match (method, target) {
            (Method::Connect, _) => split_authority(target),
            (_, [b'/', ..]) => split_path(target, TargetForm::Origin, (0, 0)),
            (Method::Options, b"*") => {
                Ok(Parts { form: TargetForm::Asterisk, authority: (0, 0), path: (0, 1), query: None })
            }
            _ => split_absolute(target),
        }
    }

    #[inline]
    pub fn path<'a>(&self, target: &'a [u8]) -> &'a [u8] {
        let path = &target[self.path.0..self.path.1];
        if path.is_empty() && self.form == TargetForm::Absolute { b"/" } else { path }
    }

    #[inline]
    pub fn query<'a>(&self, target: &'a [u8]) -> Option<&'a [u8]> {
        self.query.map(|start| &target[start..])
    }

    #[inline]
    pub fn authority<'a>(&self, target: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.authority;
        (start != end).then(|| &target[start..end])
    }

    #[inline]
    pub fn scheme<'a>(&self, target: &'a [u8]) -> Option<&'a [u8]> {
        (self.form == TargetForm::Absolute).then(|| &target[..self.authority.0 - b"://".len()])
    }
}

/// Whether a target is well formed and fits the method.
pub(crate) fn check(method: &Method, target: &[u8]) -> Result<(), TargetError> {
    Parts::split(method, target).map(|_| ())
}

/// Whether every byte may stand in a target, so that it cannot break out of its line.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && are_target_bytes(bytes)
}

/// Whether all are bytes taken in a target: all that is printable but `#`, and raw UTF-8, which browsers do send.
#[inline]
fn are_target_bytes(bytes: &[u8]) -> bool {
    // Without an early end, so that the compiler can look at many bytes at a time.
    let allowed = |byte: u8| (byte > b' ') & (byte != 0x7f) & (byte != b'#');
    bytes.iter().fold(true, |all, &byte| all & allowed(byte))
}

fn split_authority(target: &[u8]) -> Result<Parts, TargetError> {
    let port = target.iter().rposition(|&byte| byte == b':').map(|colon| &target[colon + 1..]);
    if !is_authority(target) || port.is_none_or(|port| port.is_empty() || port.contains(&b']')) {
        return Err(TargetError::Form);
    }
    let end = target.len();
    Ok(Parts { form: TargetForm::Authority, authority: (0, end), path: (end, end), query: None })
}

fn split_absolute(target: &[u8]) -> Result<Parts, TargetError> {
    let Some(scheme_end) = target.windows(3).position(|window| window == b"://") else {
        return Err(TargetError::Form);
    };
    let scheme = &target[..scheme_end];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(TargetError::Authority);
    }
    let start = scheme_end + b"://".len();
    let length = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?'));
    let end = length.map_or(target.len(), |length| start + length);
    if !is_authority(&target[start..end]) {
        return Err(TargetError::Authority);
    }
    split_path(target, TargetForm::Absolute, (start, end))
}

#[inline]
fn split_path(target: &[u8], form: TargetForm, authority: (usize, usize)) -> Result<Parts, TargetError> {
    let start = authority.1;
    let mark = memchr::memchr(b'?', &target[start..]).map(|length| start + length);
    let end = mark.unwrap_or(target.len());
    if !escapes_are_sound(&target[start..end]) {
        return Err(TargetError::Escape);
    }
    Ok(Parts { form, authority, path: (start, end), query: mark.map(|mark| mark + 1) })
}

#[inline]
fn escapes_are_sound(mut path: &[u8]) -> bool {
    while let Some(percent) = memchr::memchr(b'%', path) {
        match path[percent + 1..] {
            [b'0', b'0', ..] => return false,
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
            _ => return false,
        }
        path = &path[percent + 3..];
    }
    true
}

/// Whether `bytes` is `host [":" port]` with a non-empty host, as in a `Host` field or a target: no user
/// information, no raw non-ASCII (RFC 3986 3.2.2, RFC 9110 7.2).
#[inline]
pub fn is_authority(bytes: &[u8]) -> bool {
    if let [b'[', rest @ ..] = bytes {
        return is_bracketed(rest);
    }
    let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
    let host = &bytes[..end];
    !host.is_empty()
        && host.iter().all(|&byte| HOST[byte as usize])
        && escapes_are_sound(host)
        && is_port_suffix(&bytes[end..])
}

/// The host and the port of an authority; brackets of an IPv6 address stay. An absent, empty or malformed
/// port is `None`.
pub fn split_host_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let after_brackets = memchr::memchr(b']', authority).map_or(0, |bracket| bracket + 1);
    let Some(colon) = memchr::memchr(b':', &authority[after_brackets..]) else { return (authority, None) };
    let (host, port) = authority.split_at(after_brackets + colon);
    let number = crate::grammar::decimal(&port[1..]);
    (host, number.and_then(|number| u16::try_from(number).ok()))
}

/// Bytes of a `reg-name`: unreserved, sub-delims and `%`.
const HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let marks = matches!(
            byte as u8,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b'%'
        );
        table[byte] = marks || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// The rest of an IPv6 literal after its opening bracket. Future address forms (`v1.x`) are refused.
fn is_bracketed(rest: &[u8]) -> bool {
    let Some(close) = memchr::memchr(b']', rest) else { return false };
    let address =
        std::str::from_utf8(&rest[..close]).ok().and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
    address.is_some() && is_port_suffix(&rest[close + 1..])
}

fn is_port_suffix(suffix: &[u8]) -> bool {
    match suffix {
        [] | [b':'] => true,
        [b':', port @ ..] => {
            port.len() <= 5 && crate::grammar::decimal(port).is_some_and(|port| port <= 65_535)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(method: &str, target: &str) -> Result<Parts, TargetError> {
        Parts::split(&Method::from_bytes(method.as_bytes()).unwrap(), target.as_bytes())
    }

    #[test]
    fn the_parts_of_every_form() {
        let cases = [
            ("GET", "/", "/", None, None),
            ("GET", "/a/b?c=d?e", "/a/b", Some("c=d?e"), None),
            ("GET", "/a?", "/a", Some(""), None),
            ("GET", "//a//b", "//a//b", None, None),
            ("GET", "/%20%aF", "/%20%aF", None, None),
            ("GET", "/a?x=%zz", "/a", Some("x=%zz"), None),
            ("GET", "/caf\u{e9}", "/caf\u{e9}", None, None),
            ("GET", "http://h", "/", None, Some("h")),
            ("GET", "HTTPS://h:81?q", "/", Some("q"), Some("h:81")),
            ("GET", "http://[::1]:8000/a?b", "/a", Some("b"), Some("[::1]:8000")),
            ("OPTIONS", "*", "*", None, None),
            ("OPTIONS", "/a", "/a", None, None),
            ("CONNECT", "a.b:443", "", None, Some("a.b:443")),
        ];
        for (method, target, path, query, authority) in cases {
            let parts = split(method, target).unwrap_or_else(|error| panic!("{target}: {error:?}"));
            let bytes = target.as_bytes();
            assert_eq!(parts.path(bytes), path.as_bytes(), "{target}");
            assert_eq!(parts.query(bytes), query.map(str::as_bytes), "{target}");
            assert_eq!(parts.authority(bytes), authority.map(str::as_bytes), "{target}");
        }
        assert_eq!(split("GET", "hTTp://h/").unwrap().scheme(b"hTTp://h/"), Some(&b"hTTp"[..]));
    }

    #[test]
    fn what_no_form_allows_is_refused() {
        use TargetError::{Authority, Byte, Escape, Form};
        let cases = [
            ("GET", "", Form),
            ("GET", "a", Form),
            ("GET", "*", Form),
            ("OPTIONS", "*a", Form),
            ("GET", "example.com:80", Form),
            ("GET", "?a", Form),
            ("CONNECT", "/", Form),
            ("CONNECT", "a", Form),
            ("CONNECT", "a:", Form),
            ("CONNECT", "[::1]", Form),
            ("CONNECT", "u@a:1", Form),
            ("CONNECT", "http://a:1", Form),
            ("GET", "/a#b", Byte),
            ("GET", "/a b", Byte),
            ("GET", "/a\x7f", Byte),
            ("GET", "/a\0", Byte),
            ("GET", "/a\tb", Byte),
            ("GET", "ftp://a/", Authority),
            ("GET", "http:///a", Authority),
            ("GET", "http://u:p@a/", Authority),
            ("GET", "http://a:b/", Authority),
            ("GET", "http://a:65536/", Authority),
            ("GET", "http://[::1/", Authority),
            ("GET", "/%", Escape),
            ("GET", "/%4", Escape),
            ("GET", "/%zz/", Escape),
            ("GET", "/%00", Escape),
            ("GET", "http://a/%0", Escape),
        ];
        for (method, target, error) in cases {
            assert_eq!(split(method, target).err(), Some(error), "{method} {target:?}");
        }
    }

    #[test]
    fn authorities_are_host_and_port() {
        for good in ["a", "a.b-c_d:80", "1.2.3.4", "[::1]", "[2001:db8::1]:443", "a:", "%41", "a.", "*.x"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        let bad = [
            "",
            ":80",
            "a:b",
            "a:65536",
            "a:000080",
            "a@b",
            "a/b",
            "a b",
            "a:1:2",
            "[::1",
            "::1",
            "[::g]",
            "[::1]x",
            "[v1.x]",
            "a\0",
            "caf\u{e9}",
            "a%",
            "a%0g",
            "a\\b",
            "a?b",
            "<a>",
        ];
        for host in bad {
            assert!(!is_authority(host.as_bytes()), "{host:?}");
        }
    }

    #[test]
    fn host_and_port_come_apart() {
        assert_eq!(split_host_port(b"a"), (&b"a"[..], None));
        assert_eq!(split_host_port(b"a:80"), (&b"a"[..], Some(80)));
        assert_eq!(split_host_port(b"a:"), (&b"a"[..], None));
        assert_eq!(split_host_port(b"[::1]"), (&b"[::1]"[..], None));
        assert_eq!(split_host_port(b"[::1]:81"), (&b"[::1]"[..], Some(81)));
        assert_eq!(split_host_port(b"a:99999"), (&b"a"[..], None));
    }
}
