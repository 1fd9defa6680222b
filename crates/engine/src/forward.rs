//! Writes the request head that goes upstream (kong.md 3.2 `Host`, 3.5 headers).

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use plugin::Exchange;
use plugin::exchange::Scheme;
use smallvec::SmallVec;
use wire::h1::encode;
use wire::{BodyLength, Headers, Known, Upgrade, Version};

use crate::PRODUCT;
use crate::bounds::Bound;
use crate::respond::Failure;
use crate::route::split_host;
use crate::settings::Settings;

/// What the head says beyond the exchange itself.
pub struct Outgoing<'a> {
    /// The operator's settings.
    pub settings: &'a Settings,
    /// Value of `Host`.
    pub host: &'a [u8],
    /// How the body will be framed.
    pub body: BodyLength,
}

/// Appends the request head for the upstream to `out`.
pub fn write_request_head(exchange: &Exchange, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) {
    write_request_line(exchange, out);
    field(out, b"Host: ", outgoing.host);
    let upgrade = exchange.request.upgrade == Some(Upgrade::WebSocket);
    if upgrade {
        out.extend_from_slice(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
        if exchange.request.version == Version::Http2 {
            write_websocket_key(exchange, out);
        }
    } else {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    write_fields(exchange, outgoing.settings, out);
    match outgoing.body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Exact(length) => encode::header_number(out, Known::ContentLength, length),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    encode::end_of_head(out);
}

/// Appends what opens a WebSocket over HTTP/1.1 and does not over HTTP/2 (RFC 8441 5): proof that the upstream knows
/// what it agrees to.
fn write_websocket_key(exchange: &Exchange, out: &mut Vec<u8>) {
    let nonce = BASE64.encode(exchange.worker.uuid().as_bytes());
    field(out, b"Sec-WebSocket-Key: ", nonce.as_bytes());
}

/// Appends the fields that go upstream over either version of HTTP, as lines.
pub fn write_fields(exchange: &Exchange, settings: &Settings, out: &mut Vec<u8>) {
    copy_fields(exchange, out);
    write_forwarded(exchange, out);
    write_via(exchange, out);
    if settings.request_id_upstream {
        field(out, b"X-Kong-Request-Id: ", &exchange.request_id);
    }
}

/// Appends a field whose value is known to be one: it was parsed, checked when it was set, or is our own.
fn field(out: &mut Vec<u8>, name_and_colon: &[u8], value: &[u8]) {
    debug_assert!(wire::grammar::is_field_value(value), "a field value that was never checked");
    out.extend_from_slice(name_and_colon);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_request_line(exchange: &Exchange, out: &mut Vec<u8>) {
    let upstream = &exchange.upstream;
    let method = exchange.upstream_method();
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&upstream.path);
    if upstream.has_query {
        out.push(b'?');
        out.extend_from_slice(&upstream.query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Copies the client's fields, leaving out those of this hop (RFC 9110 7.6.1) and those written elsewhere.
fn copy_fields(exchange: &Exchange, out: &mut Vec<u8>) {
    exchange.request.headers.write_where(out, |field| {
        let of_this_hop = matches!(
            field.known,
            Known::Host
                | Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Proxy
                | Known::TransferEncoding
                | Known::ContentLength
                | Known::Upgrade
                | Known::Expect
                | Known::Via
                | Known::XRealIp
                | Known::XForwardedFor
                | Known::XForwardedProto
                | Known::XForwardedHost
                | Known::XForwardedPort
                | Known::XForwardedPath
                | Known::XForwardedPrefix
                | Known::TE
                | Known::XKongRequestId
        );
        !of_this_hop
    });
    if exchange.wants_trailers() {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
}

/// Options of `Connection` that name no field, or one that is dealt with by itself.
const USUAL_OPTIONS: [&[u8]; 4] = [b"keep-alive", b"close", b"upgrade", b"te"];
/// Fields `Connection` may name in one message.
const MAX_NOMINATED: usize = 32;

/// Drops the fields that `Connection` names as meant for this hop only (RFC 9110 7.6.1). Called before any plugin has
/// set a field, so that only what the peer sent can be named.
pub fn drop_nominated(headers: &mut Headers) -> Result<(), Failure> {
    let unusual = |option: &&[u8]| !USUAL_OPTIONS.iter().any(|usual| option.eq_ignore_ascii_case(usual));
    let mut named = SmallVec::<[SmallVec<[u8; 32]>; 4]>::new();
    for option in headers.known_all(Known::Connection).flat_map(wire::media::list).filter(unusual) {
        if named.len() == MAX_NOMINATED {
            return Err(Failure::over(400, "more than 32 options in Connection", Bound::ConnectionOptions));
        }
        named.push(SmallVec::from_slice(option));
    }
    if !named.is_empty() {
        headers.retain(|field| {
            let framing = matches!(
                field.known,
                Known::Host | Known::Connection | Known::ContentLength | Known::TransferEncoding
            );
            framing || !named.iter().any(|name| name.eq_ignore_ascii_case(field.name))
        });
    }
    Ok(())
}

fn write_forwarded(exchange: &Exchange, out: &mut Vec<u8>) {
    let headers = &exchange.request.headers;
    let client = &exchange.client;
    out.extend_from_slice(b"X-Real-IP: ");
    encode::address(out, client.ip);
    out.extend_from_slice(b"\r\nX-Forwarded-For: ");
    // Who has come by way of proxies that have told of it is followed by the last of them; who has not stands alone, even
    // where a header or the PROXY protocol tells of the client (kong.md 3.5).
    let mut last = client.ip;
    for value in headers.known_all(Known::XForwardedFor) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
        last = client.peer.ip();
    }
    encode::address(out, last);
    out.extend_from_slice(b"\r\n");
    let given = |known: Known| if client.trusted { headers.known(known) } else { None };
    let scheme = exchange.scheme.as_str().as_bytes();
    field(out, b"X-Forwarded-Proto: ", given(Known::XForwardedProto).unwrap_or(scheme));
    let (host, _) = split_host(headers.known(Known::Host).unwrap_or_default());
    field(out, b"X-Forwarded-Host: ", given(Known::XForwardedHost).unwrap_or(host));
    match given(Known::XForwardedPort) {
        Some(port) => field(out, b"X-Forwarded-Port: ", port),
        None => {
            out.extend_from_slice(b"X-Forwarded-Port: ");
            encode::number(out, u64::from(client.local.port()));
            out.extend_from_slice(b"\r\n");
        }
    }
    let path = given(Known::XForwardedPath).unwrap_or_else(|| exchange.request.path());
    field(out, b"X-Forwarded-Path: ", path);
    let stripped = &exchange.upstream.stripped_prefix;
    let prefix = (!stripped.is_empty() && stripped.as_slice() != b"/").then_some(stripped.as_slice());
    if let Some(prefix) = given(Known::XForwardedPrefix).or(prefix) {
        field(out, b"X-Forwarded-Prefix: ", prefix);
    }
}

fn write_via(exchange: &Exchange, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Via: ");
    for value in exchange.request.headers.known_all(Known::Via) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    let version: &[u8] = match exchange.request.version {
        Version::Http10 => b"1.0 ",
        Version::Http11 => b"1.1 ",
        Version::Http2 => b"2 ",
    };
    out.extend_from_slice(version);
    out.extend_from_slice(PRODUCT.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The value of `Host` for the upstream (kong.md 3.2): what a plugin demands, the client's own, the upstream
/// entity's, or the target's name with its port when that is not the scheme's.
pub fn write_host(
    exchange: &Exchange,
    preserve: bool,
    host_header: Option<&str>,
    target: (&str, SocketAddr, Scheme),
    out: &mut Vec<u8>,
) {
    let client = exchange.request.headers.known(Known::Host);
    if !exchange.upstream.host.is_empty() {
        out.extend_from_slice(&exchange.upstream.host);
    } else if let (true, Some(client)) = (preserve, client) {
        out.extend_from_slice(client);
    } else {
        write_own_host(host_header, target, out);
    }
}

/// Whether that is the client's own.
pub fn passes_host(exchange: &Exchange, preserve: bool) -> bool {
    preserve && exchange.upstream.host.is_empty() && exchange.request.headers.known(Known::Host).is_some()
}

/// The value of `Host` where a request says nothing of it.
pub fn write_own_host(host_header: Option<&str>, target: (&str, SocketAddr, Scheme), out: &mut Vec<u8>) {
    let (name, address, scheme) = target;
    if let Some(configured) = host_header {
        out.extend_from_slice(configured.as_bytes());
    } else {
        let bare_ipv6 = name.contains(':') && !name.starts_with('[');
        if bare_ipv6 {
            out.push(b'[');
        }
        out.extend_from_slice(name.as_bytes());
        if bare_ipv6 {
            out.push(b']');
        }
        if address.port() != scheme.default_port() {
            out.push(b':');
            encode::number(out, u64::from(address.port()));
        }
    }
}
