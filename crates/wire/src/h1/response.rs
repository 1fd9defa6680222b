//! Response heads, client side (RFC 9112 4 and 6.3). What an upstream may not send becomes a 502.

use super::framing::{Framing, take_fields};
use super::lines::{StartLine, find_end};
use super::reject::BARE_LINE_END;
use super::{Limits, Parsed, Reject};
use crate::message::{BodyLength, Method, ResponseHead, Version};
use httparse::{Header, ParserConfig, Status};
use std::mem::MaybeUninit;

const BAD_LINE: Reject = Reject::bad("malformed status line (RFC 9112 4)");
const BAD_STATUS: Reject = Reject::bad("status code below 100 (RFC 9110 15)");
const LONG_LINE: Reject = Reject::bad("status line longer than max_line_bytes");

/// `HTTP/1.1 200`: what a status line has at least.
const SHORTEST_LINE: usize = 12;

/// Looks for a response head at the start of `buf` and fills `head` with it. `method` is that of the request
/// answered: it decides whether there is a body.
///
/// After a head for which [`ResponseHead::is_interim`] holds, another follows: call again behind it. The rules
/// for calling again on [`Parsed::Incomplete`] are those of [`super::parse_request`].
pub fn parse_response(buf: &[u8], method: &Method, limits: &Limits, head: &mut ResponseHead) -> Parsed {
    match buf.first() {
        None => return Parsed::Incomplete,
        Some(b'H') => {}
        Some(_) => return refuse(BAD_LINE, head),
    }
    let whole = &buf[..buf.len().min(limits.max_head_bytes)];
    if head.progress.scanned == 0
        && let Ok(Some(length)) = fill(whole, method, limits, head)
    {
        return Parsed::Complete { consumed: length };
    }
    let start_line = StartLine { max_bytes: limits.max_line_bytes, too_long: LONG_LINE, check: check_line };
    let end = match find_end(buf, limits, &start_line, &mut head.progress) {
        Ok(Some(end)) => end,
        Ok(None) => return Parsed::Incomplete,
        Err(reject) => return refuse(reject, head),
    };
    match fill(&buf[..end], method, limits, head) {
        Ok(Some(length)) => Parsed::Complete { consumed: length },
        Ok(None) => refuse(BAD_LINE, head),
        Err(reject) => refuse(reject, head),
    }
}

/// Whatever is wrong with a response, the client hears of a bad gateway.
fn refuse(reject: Reject, head: &mut ResponseHead) -> Parsed {
    head.clear();
    Parsed::Reject(Reject { status: 502, ..reject })
}

/// Parses a whole head into `head`; `None` when `bytes` ends before it does. `progress` is reset on success only.
fn fill(
    bytes: &[u8],
    method: &Method,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<Option<usize>, Reject> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; Limits::MAX_HEADERS];
    let room = &mut fields[..limits.max_headers.min(Limits::MAX_HEADERS)];
    let mut response = httparse::Response::new(&mut []);
    let length = match ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, room)
    {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(Reject::of(error, BAD_LINE)),
    };
    let first_field =
        response.headers.first().map(|field| field.name.as_ptr().addr() - bytes.as_ptr().addr());
    let block_start = first_field.unwrap_or(length.saturating_sub(2));
    let Some(line) = bytes[..block_start].strip_suffix(b"\r\n") else { return Err(BARE_LINE_END) };
    if line.len() > limits.max_line_bytes {
        return Err(LONG_LINE);
    }
    head.status = response.code.filter(|&status| status >= 100).ok_or(BAD_STATUS)?;
    head.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
    if !head.set_reason(line.get(SHORTEST_LINE + 1..).unwrap_or_default()) {
        return Err(BAD_LINE);
    }
    let framing = take_fields(&bytes[block_start..length], response.headers, limits, &mut head.headers)?;
    apply(&framing, method, head)?;
    head.progress = Default::default();
    Ok(Some(length))
}

/// Judges a status line as soon as it is there. The space before an absent reason may be missing, as many
/// servers leave it out.
fn check_line(line: &[u8], _: &Limits) -> Result<(), Reject> {
    let Some((start, reason)) = line.split_at_checked(SHORTEST_LINE) else { return Err(BAD_LINE) };
    let digits = &start[9..];
    let sound = matches!(&start[..9], b"HTTP/1.1 " | b"HTTP/1.0 ")
        && digits.iter().all(u8::is_ascii_digit)
        && (reason.is_empty() || reason[0] == b' ')
        && crate::grammar::is_field_value(reason);
    match digits[0] {
        _ if !sound => Err(BAD_LINE),
        b'0' => Err(BAD_STATUS),
        _ => Ok(()),
    }
}

/// Derives body and connection from the fields (RFC 9112 6.3).
#[inline]
fn apply(framing: &Framing, method: &Method, head: &mut ResponseHead) -> Result<(), Reject> {
    framing.check(head.version)?;
    let tunnel = head.status == 101 || (*method == Method::Connect && (200..300).contains(&head.status));
    let never_has_body = head.status < 200 || head.status == 204 || tunnel;
    head.framing = match framing.content_length {
        _ if never_has_body || head.status == 304 || *method == Method::Head => BodyLength::None,
        _ if framing.chunked => BodyLength::Chunked,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::UntilClose,
    };
    // A length where none may be (RFC 9110 8.6): should bytes follow, they are not read as another response.
    let announces_body = framing.chunked || framing.content_length.is_some_and(|length| length > 0);
    head.keep_alive = framing.persists(head.version)
        && head.framing != BodyLength::UntilClose
        && !tunnel
        && !(never_has_body && announces_body);
    Ok(())
}
