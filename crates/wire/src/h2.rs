//! HTTP/2 messages (RFC 9113 8): between the types of the `http` crate, which an HTTP/2 connection speaks, and ours.
//! No frames here, and no I/O. What HTTP/1.1 would refuse is refused here too: a message may go on over either.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri, request, response};

use crate::grammar::decimal;
use crate::message::{
    BodyLength, Field, Headers, Known, Method, RequestHead, ResponseHead, Upgrade, Version,
};
use crate::target::is_authority;
use crate::{Limit, Limits, Reject};

const BAD_METHOD: Reject = Reject::new(501, "method longer than 32 bytes (RFC 9110 9.1)");
const OTHER_PROTOCOL: Reject = Reject::new(501, "change to a protocol other than websocket (RFC 8441 4)");
const LONG_TARGET: Reject = Reject::over(414, "request target longer than max_target_bytes", Limit::Target);
const OTHER_SCHEME: Reject = Reject::bad(":scheme other than http and https (RFC 9110 4.2)");
const NO_HOST: Reject = Reject::bad("neither :authority nor Host (RFC 9113 8.3.1)");
const TWO_HOSTS: Reject = Reject::bad("Host differs from :authority, or there are several (RFC 9113 8.3.1)");
const BAD_HOST: Reject = Reject::bad("invalid :authority or Host (RFC 9110 7.2)");
const CONNECTION_FIELD: Reject = Reject::bad("field of one connection in HTTP/2 (RFC 9113 8.2.2)");
const BAD_FIELD: Reject = Reject::bad("invalid field (RFC 9113 8.2.1)");
const BAD_LENGTH: Reject = Reject::bad("malformed or repeated Content-Length (RFC 9110 8.6)");
const MANY_FIELDS: Reject = Reject::over(431, "more fields than max_headers", Limit::Headers);
const MANY_TRAILERS: Reject = Reject::over(431, "more trailer fields than max_headers", Limit::Headers);
const LARGE_HEAD: Reject = Reject::over(431, "head larger than max_head_bytes", Limit::Head);
const BAD_STATUS: Reject = Reject::new(502, "invalid response field (RFC 9113 8.2.1)");

/// How a request arrived, apart from its head.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// No body follows.
    pub ended: bool,
    /// The protocol that the stream is to be changed to, by `:protocol` (RFC 8441 4).
    pub protocol: Option<&'a str>,
}

/// Fills `head` with a request.
///
/// # Errors
/// The status to answer with and the rule that was broken; `head` is not to be used then.
pub fn request_head(
    parts: &request::Parts,
    arrival: Arrival<'_>,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<(), Reject> {
    let ended = arrival.ended;
    head.clear();
    head.version = Version::Http2;
    head.keep_alive = true;
    let method = match arrival.protocol {
        None => Method::from_bytes(parts.method.as_str().as_bytes()).ok_or(BAD_METHOD)?,
        // What it is over HTTP/1.1 (RFC 8441 5).
        Some("websocket") => Method::Get,
        Some(_) => return Err(OTHER_PROTOCOL),
    };
    set_target(method, parts, limits, head)?;
    take_authority(parts, head)?;
    take_fields(&parts.headers, limits, Margins::Refused, &mut head.headers)?;
    join_cookies(&parts.headers, head)?;
    let length = content_length(&head.headers)?;
    head.framing = match length {
        _ if ended || arrival.protocol.is_some() => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::UntilClose,
    };
    head.upgrade = arrival.protocol.map(|_| Upgrade::WebSocket);
    let expects = head.headers.known(Known::Expect);
    head.expect_continue = !ended && expects.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    Ok(())
}

fn set_target(
    method: Method,
    parts: &request::Parts,
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<(), Reject> {
    let target = match (&parts.uri, method) {
        (uri, Method::Connect) => uri.authority().map_or("", |authority| authority.as_str()),
        (uri, _) => uri.path_and_query().map_or("/", |target| target.as_str()),
    };
    if target.len() > limits.max_target_bytes {
        return Err(LONG_TARGET);
    }
    head.set_target(method, target.as_bytes()).map_err(|error| Reject::bad(error.reason()))
}

/// Makes `:authority`, or else the one `Host`, the first field.
fn take_authority(parts: &request::Parts, head: &mut RequestHead) -> Result<(), Reject> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter().map(HeaderValue::as_bytes);
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = hosts.next();
    let differs = matches!((named, host), (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host));
    if differs || hosts.next().is_some() {
        return Err(TWO_HOSTS);
    }
    let authority = named.or(host).ok_or(NO_HOST)?;
    // Without an authority the scheme is not kept, and neither is with CONNECT.
    if named.is_some()
        && head.method != Method::Connect
        && !matches!(parts.uri.scheme_str(), Some("http" | "https"))
    {
        return Err(OTHER_SCHEME);
    }
    if !is_authority(authority) || !head.headers.append_known(Known::Host, authority) {
        return Err(BAD_HOST);
    }
    Ok(())
}

/// What becomes of white space around the value of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Margins {
    /// The message is malformed (RFC 9113 8.2.1).
    Refused,
    /// It is no part of a field that means nothing to HTTP (RFC 9110 5.5).
    LeftOut,
}

impl Margins {
    /// In answers to calls of gRPC, senders write `grpc-message` and other metadata as they are, and whoever passes them
    /// on may leave the white space around them out (gRPC over HTTP/2, "Custom-Metadata"). To refuse the answer would
    /// hide the status of the call.
    fn of_response(map: &HeaderMap) -> Self {
        let content_type = map.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let answers_call = content_type.is_some_and(|value| value.starts_with(b"application/grpc"));
        if answers_call { Self::LeftOut } else { Self::Refused }
    }
}

fn take_fields(
    map: &HeaderMap,
    limits: &Limits,
    margins: Margins,
    headers: &mut Headers,
) -> Result<(), Reject> {
    if map.len() > limits.max_headers {
        return Err(MANY_FIELDS);
    }
    let mut bytes_left = limits.max_head_bytes;
    for (name, value) in map {
        let size = name.as_str().len() + value.len() + 4;
        bytes_left = bytes_left.checked_sub(size).ok_or(LARGE_HEAD)?;
        let known = Known::classify(name.as_str().as_bytes());
        match known {
            Known::Host | Known::Cookie => continue,
            Known::TE if value.as_bytes().eq_ignore_ascii_case(b"trailers") => {}
            // It announces, and frames nothing (RFC 9110 6.6.2).
            Known::Trailer => {}
            known if known.is_hop_by_hop() || known == Known::ProxyConnection => {
                return Err(CONNECTION_FIELD);
            }
            _ => {}
        }
        let taken = match known {
            Known::Other if margins == Margins::LeftOut => headers.append(name.as_str(), value.as_bytes()),
            _ if is_surrounded(value.as_bytes()) => false,
            Known::Other => headers.append(name.as_str(), value.as_bytes()),
            known => headers.append_known(known, value.as_bytes()),
        };
        if !taken {
            return Err(BAD_FIELD);
        }
    }
    Ok(())
}

/// Whether a value has spaces around it, which is malformed (RFC 9113 8.2.1).
fn is_surrounded(value: &[u8]) -> bool {
    crate::grammar::trim_whitespace(value).len() != value.len()
}

/// A client may send its cookies in pieces; elsewhere they are one field (RFC 9113 8.2.3).
fn join_cookies(map: &HeaderMap, head: &mut RequestHead) -> Result<(), Reject> {
    let all = map.get_all(http::header::COOKIE);
    if all.iter().any(|piece| is_surrounded(piece.as_bytes())) {
        return Err(BAD_FIELD);
    }
    let mut pieces = all.iter().map(HeaderValue::as_bytes);
    let Some(first) = pieces.next() else { return Ok(()) };
    let taken = match pieces.next() {
        None => head.headers.append_known(Known::Cookie, first),
        Some(second) => {
            let mut joined = [first, b"; ", second].concat();
            for piece in pieces {
                joined.extend_from_slice(b"; ");
                joined.extend_from_slice(piece);
            }
            head.headers.append_known(Known::Cookie, &joined)
        }
    };
    taken.then_some(()).ok_or(BAD_FIELD)
}

fn content_length(headers: &Headers) -> Result<Option<u64>, Reject> {
    let mut lengths = headers.known_all(Known::ContentLength);
    let Some(length) = lengths.next() else { return Ok(None) };
    match (decimal(length), lengths.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(BAD_LENGTH),
    }
}

/// The head of a response with those fields of `headers` that `keep` wants. Fields of one connection are left out.
pub fn response(status: u16, headers: &Headers, keep: impl FnMut(Field<'_>) -> bool) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = header_map(headers, keep);
    response
}

/// A request to `uri` with the fields of `lines`, each `Name: value CRLF`. None when the method or a field cannot be
/// sent.
pub fn request(method: Method, uri: Uri, lines: &[u8]) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = http::Method::from_bytes(method.as_str().as_bytes()).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri;
    let mut rest = lines;
    while let Some(end) = memchr::memchr(b'\r', rest) {
        let (line, behind) = (&rest[..end], rest.get(end + 2..)?);
        let colon = memchr::memchr(b':', line)?;
        let value = crate::grammar::trim_whitespace(&line[colon + 1..]);
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        rest = behind;
    }
    Some(request)
}

/// Those fields of `headers` that `keep` wants, in lower case and without the fields of one connection.
pub fn header_map(headers: &Headers, mut keep: impl FnMut(Field<'_>) -> bool) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for field in headers.entries() {
        let of_this_hop = field.known.is_hop_by_hop() || field.known == Known::ProxyConnection;
        if of_this_hop || !keep(field) {
            continue;
        }
        let name = HeaderName::from_bytes(field.name);
        let value = HeaderValue::from_bytes(field.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

/// Fills `head` with an upstream's response. `ended` says that no body follows.
///
/// # Errors
/// As [`request_head`].
pub fn response_head(
    parts: &response::Parts,
    ended: bool,
    limits: &Limits,
    head: &mut ResponseHead,
) -> Result<(), Reject> {
    head.clear();
    head.status = parts.status.as_u16();
    head.version = Version::Http2;
    head.keep_alive = true;
    let fault = |reject: Reject| Reject { status: BAD_STATUS.status, ..reject };
    let margins = Margins::of_response(&parts.headers);
    take_fields(&parts.headers, limits, margins, &mut head.headers).map_err(fault)?;
    for value in parts.headers.get_all(http::header::COOKIE) {
        head.headers.append_known(Known::Cookie, value.as_bytes());
    }
    head.framing = match content_length(&head.headers).map_err(fault)? {
        _ if ended => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::UntilClose,
    };
    Ok(())
}

/// Appends a trailer section to `fields`, without what comes too late in one (RFC 9110 6.5.1).
///
/// # Errors
/// It has more than `most` fields: a part of it would look like all of it.
pub fn take_trailers(map: &HeaderMap, most: usize, fields: &mut Headers) -> Result<(), Reject> {
    if map.len() > most {
        return Err(MANY_TRAILERS);
    }
    for (name, value) in map {
        if !crate::h1::is_forbidden_trailer(Known::classify(name.as_str().as_bytes())) {
            fields.append(name.as_str(), value.as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
