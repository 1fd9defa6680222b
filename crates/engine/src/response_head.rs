//! The response head as the client gets it: the gateway's own fields, the framing of the body, the bytes.

use http::header::CONTENT_LENGTH;
use plugin::exchange::{Exchange, Latencies, Source};
use tokio::time::Instant;
use wire::h1::encode;
use wire::{BodyLength, Known, Method, ResponseHead, Version, h2 as messages};

use crate::http2::downstream::Downstream;
use crate::session::Parts;
use crate::settings::Settings;
use crate::{PRODUCT, VIA_2, VIA_11};

/// Adds the fields the gateway itself is responsible for (kong.md 3.5).
pub fn add_own_fields(exchange: &mut Exchange, settings: &Settings, proxied: bool) {
    let on = settings.response_headers;
    let now = exchange.record.upstream_answered.unwrap_or_else(|| Instant::now().into_std());
    let latencies = Latencies::at(&exchange.record, now);
    let via = if exchange.response.version == Version::Http2 { VIA_2 } else { VIA_11 };
    let headers = &mut exchange.response.headers;
    if on.upstream_status
        && let Some(status) = exchange.record.upstream_status
    {
        headers.set_number(Known::XKongUpstreamStatus, status.into());
    }
    if proxied {
        let waited = latencies.proxy.or((exchange.source == Source::Upstream).then_some(0));
        if on.upstream_latency
            && let Some(waited) = waited
        {
            headers.set_number(Known::XKongUpstreamLatency, waited);
        }
        if on.proxy_latency {
            headers.set_number(Known::XKongProxyLatency, latencies.kong);
        }
        if on.via && exchange.source == Source::Upstream {
            headers.append_known(Known::Via, via.as_bytes());
        }
    } else if on.response_latency {
        headers.set_number(Known::XKongResponseLatency, latencies.request);
    }
    if on.server && (exchange.source == Source::Gateway || !headers.contains_known(Known::Server)) {
        headers.set_known(Known::Server, PRODUCT.as_bytes());
    }
    if on.request_id {
        headers.set_known(Known::XKongRequestId, &exchange.request_id);
    }
    if settings.allow_debug_header {
        add_debug_fields(exchange);
    }
}

fn add_debug_fields(exchange: &mut Exchange) {
    let Some(matched) = exchange.matched.clone() else { return };
    if exchange.request.headers.get("Kong-Debug") != Some(b"1") {
        return;
    }
    let service = exchange.service().cloned();
    let headers = &mut exchange.response.headers;
    headers.set("Kong-Route-Id", matched.route.id.to_string().as_bytes());
    if let Some(name) = &matched.route.name {
        headers.set("Kong-Route-Name", name.as_bytes());
    }
    if let Some(service) = &service {
        headers.set("Kong-Service-Id", service.id.to_string().as_bytes());
        if let Some(name) = &service.name {
            headers.set("Kong-Service-Name", name.as_bytes());
        }
    }
}

/// Writes the response head into `to_client`.
pub fn write_head(parts: &mut Parts<'_>, framing: BodyLength, keep_alive: bool) {
    let work = &mut *parts.work;
    let exchange = &work.exchange;
    let response = &exchange.response;
    let out = &mut work.to_client;
    out.clear();
    if out.capacity() == 0 {
        *out = parts.local.buffers.take();
    }
    if let Some(stream) = parts.channel.stream.as_http2() {
        return send_http2_head(stream, response, framing);
    }
    encode::status_line(out, response.status, Some(response.reason()).filter(|reason| !reason.is_empty()));
    // An answer to HEAD and a 304 keep the length the body would have (RFC 9110 8.6).
    let keeps_length = framing == BodyLength::None && response.status != 204 && response.status >= 200;
    // Trailers are announced to those who asked for them only (kong.md 3.5).
    let announces = framing == BodyLength::Chunked && exchange.wants_trailers();
    response.headers.write_where(out, |field| {
        let drop = (field.known.is_hop_by_hop() && !(announces && field.known == Known::Trailer))
            || (field.known == Known::ContentLength && !keeps_length);
        !drop
    });
    match framing {
        BodyLength::Exact(length) => encode::header_number(out, Known::ContentLength, length),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::None | BodyLength::UntilClose => {}
    }
    // Both name the protocols that may follow (RFC 9110 7.8, 15.5.22).
    if let (101 | 426, Some(protocols)) = (response.status, response.headers.known(Known::Upgrade)) {
        encode::header(out, "Upgrade", protocols);
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    } else if keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    encode::end_of_head(out);
}

/// Sends the response head over HTTP/2: frames mark the end of its body.
fn send_http2_head(stream: &mut Downstream, response: &ResponseHead, framing: BodyLength) {
    // A change of protocol is a success like any other here (RFC 8441 5).
    let changed = response.status == 101;
    let status = if changed { 200 } else { response.status };
    let keeps_length = framing == BodyLength::None && status != 204 && !changed;
    let mut head = messages::response(status, &response.headers, |field| {
        let proof = changed && field.name.eq_ignore_ascii_case(b"sec-websocket-accept");
        !proof && (field.known != Known::ContentLength || keeps_length)
    });
    if let BodyLength::Exact(length) = framing {
        head.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    stream.send_head(head, !changed && matches!(framing, BodyLength::None | BodyLength::Exact(0)));
}

/// How the body is framed for the client (RFC 9112 6.3).
pub fn client_framing(exchange: &Exchange, whole: Option<&[u8]>) -> BodyLength {
    let response = &exchange.response;
    // The client goes by the method it sent, which a plugin may have changed for the upstream.
    let asked_head = exchange.request.method == Method::Head;
    if asked_head || response.status < 200 || matches!(response.status, 204 | 304) {
        return BodyLength::None;
    }
    match (whole, response.framing) {
        (Some(body), _) => BodyLength::Exact(body.len() as u64),
        (None, BodyLength::None) => BodyLength::Exact(0),
        (None, BodyLength::Exact(length)) => BodyLength::Exact(length),
        _ if exchange.request.version != Version::Http11 => BodyLength::UntilClose,
        _ => BodyLength::Chunked,
    }
}
