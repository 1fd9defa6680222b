//! Request heads, server side (RFC 9112 2, 3, 5 and 6).

use super::framing::{Framing, take_fields};
use super::lines::{StartLine, find_end};
use super::reject::BARE_LINE_END;
use super::{Limit, Limits, Parsed, Reject};
use crate::grammar::{is_token, is_token_byte};
use crate::message::{BodyLength, Known, Method, RequestHead, Version};
use crate::target::{TargetForm, is_authority};
use httparse::{Header, ParserConfig, Status};
use std::mem::MaybeUninit;

const NO_METHOD: Reject = Reject::bad("request does not begin with a method (RFC 9112 3)");
const BAD_LINE: Reject = Reject::bad("malformed request line (RFC 9112 3)");
const BAD_METHOD: Reject = Reject::bad("method is no token (RFC 9110 9.1)");
const LONG_METHOD: Reject = Reject::new(501, "method longer than 32 bytes (RFC 9112 3)");
const BAD_VERSION: Reject = Reject::bad("malformed HTTP version (RFC 9112 2.3)");
const OTHER_VERSION: Reject = Reject::new(505, "HTTP version other than 1.0 and 1.1 (RFC 9110 15.6.6)");
const LONG_TARGET: Reject = Reject::over(414, "request target longer than max_target_bytes", Limit::Target);
const NO_HOST: Reject = Reject::bad("HTTP/1.1 request without Host (RFC 9112 3.2)");
const SEVERAL_HOSTS: Reject = Reject::bad("several Host fields (RFC 9112 3.2)");
const BAD_HOST: Reject = Reject::bad("invalid Host (RFC 9112 3.2)");

/// Longest method, two spaces and a version: what a request line holds besides the target.
const LINE_OVERHEAD: usize = 32 + 2 + 8;

/// Looks for a request head at the start of `buf` and fills `head` with it.
///
/// While the answer is [`Parsed::Incomplete`], `head` remembers how far `buf` was searched: call again with the
/// same bytes and more behind them, or [`RequestHead::clear`] it before using it for something else. One empty
/// line before the request is passed over (RFC 9112 2.2).
pub fn parse_request(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Parsed {
    let (skipped, bytes) = match buf {
        [b'\r', b'\n', rest @ ..] => (2, rest),
        [] | [b'\r'] => return Parsed::Incomplete,
        _ => (0, buf),
    };
    let Some(&first) = bytes.first() else { return Parsed::Incomplete };
    if !is_token_byte(first) {
        return refuse(NO_METHOD, head);
    }
    // Nearly every head arrives whole: one pass. Whatever is not accepted so is looked at line by line.
    let whole = &bytes[..bytes.len().min(limits.max_head_bytes)];
    if head.progress.scanned == 0
        && let Ok(Some(length)) = fill(whole, limits, head)
    {
        return Parsed::Complete { consumed: skipped + length };
    }
    let start_line = StartLine {
        max_bytes: limits.max_line_bytes.min(limits.max_target_bytes.saturating_add(LINE_OVERHEAD)),
        too_long: LONG_TARGET,
        check: check_line,
    };
    let end = match find_end(bytes, limits, &start_line, &mut head.progress) {
        Ok(Some(end)) => end,
        Ok(None) => return Parsed::Incomplete,
        Err(reject) => return refuse(reject, head),
    };
    match fill(&bytes[..end], limits, head) {
        Ok(Some(length)) => Parsed::Complete { consumed: skipped + length },
        Ok(None) => refuse(BAD_LINE, head),
        Err(reject) => refuse(reject, head),
    }
}

fn refuse(reject: Reject, head: &mut RequestHead) -> Parsed {
    head.clear();
    Parsed::Reject(reject)
}

/// Parses a whole head into `head`; `None` when `bytes` ends before it does. `progress` is reset on success only.
fn fill(bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Option<usize>, Reject> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; Limits::MAX_HEADERS];
    let room = &mut fields[..limits.max_headers.min(Limits::MAX_HEADERS)];
    let mut request = httparse::Request::new(&mut []);
    let length = match ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, room) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(Reject::of(error, BAD_LINE)),
    };
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let line_bytes = method.len() + target.len() + 2 + "HTTP/1.1".len();
    if bytes.get(line_bytes..line_bytes + 2) != Some(b"\r\n") {
        return Err(BARE_LINE_END);
    }
    if line_bytes > limits.max_line_bytes {
        return Err(LONG_TARGET);
    }
    head.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    take_target(method.as_bytes(), target.as_bytes(), limits, head)?;
    let block = &bytes[line_bytes + 2..length];
    let framing = take_fields(block, request.headers, limits, &mut head.headers)?;
    apply(&framing, head)?;
    head.progress = Default::default();
    Ok(Some(length))
}

#[inline]
fn take_target(method: &[u8], target: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<(), Reject> {
    if target.len() > limits.max_target_bytes {
        return Err(LONG_TARGET);
    }
    let method =
        Method::from_bytes(method).ok_or_else(|| if is_token(method) { LONG_METHOD } else { BAD_METHOD })?;
    head.set_target(method, target).map_err(|error| Reject::bad(error.reason()))
}

/// Judges a request line as soon as it is there, before the rest of the head.
fn check_line(line: &[u8], limits: &Limits) -> Result<(), Reject> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BAD_LINE);
    };
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(OTHER_VERSION);
        }
        _ => return Err(BAD_VERSION),
    }
    let method =
        Method::from_bytes(method).ok_or_else(|| if is_token(method) { LONG_METHOD } else { BAD_METHOD })?;
    if target.len() > limits.max_target_bytes {
        return Err(LONG_TARGET);
    }
    crate::target::check(&method, target).map_err(|error| Reject::bad(error.reason()))
}

/// Checks `Host` and the framing and derives the fields of the head from them.
#[inline]
fn apply(framing: &Framing, head: &mut RequestHead) -> Result<(), Reject> {
    framing.check(head.version)?;
    match head.headers.known(Known::Host) {
        _ if framing.host_count > 1 => return Err(SEVERAL_HOSTS),
        Some(host) if !is_authority(host) => return Err(BAD_HOST),
        None if head.version != Version::Http10 => return Err(NO_HOST),
        _ => {}
    }
    if head.form() == TargetForm::Absolute {
        head.adopt_authority();
    }
    head.framing = match framing.content_length {
        _ if framing.chunked => BodyLength::Chunked,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::None,
    };
    head.keep_alive = framing.persists(head.version);
    let has_body = !matches!(head.framing, BodyLength::None | BodyLength::Exact(0));
    head.expect_continue = framing.expect_continue && has_body && head.version == Version::Http11;
    head.upgrade = framing.upgrade(head.version);
    Ok(())
}
