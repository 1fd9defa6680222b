//! Requests that come over another protocol than their route asks for (kong.md 3.2), or over a TLS session that was not
//! opened for them.

use std::time::Duration;

use plugin::Exchange;
use plugin::exchange::{Client, Scheme};
use plugin::reply::Body;
use wire::{Headers, Known, Upgrade, Version};

use crate::respond::Failure;
use crate::route::split_host;
use crate::session::Parts;
use crate::snapshot::{CompiledRoute, Snapshot, Speaks};

/// Refuses a request under TLS for a host in whose handshakes something else is demanded of clients than was in that of
/// the connection (RFC 9110 15.5.20): its certificate, or that there is none, says nothing about that host. The client
/// may ask again on a connection of its own.
///
/// # Errors
/// That it is misdirected.
pub fn check_demand(parts: &mut Parts<'_>, snapshot: &Snapshot) -> Result<(), Failure> {
    let exchange = &parts.work.exchange;
    let Some(tls) = &exchange.client.tls else { return Ok(()) };
    // Without a host there is nothing that it could be misdirected to.
    let Some(host) = exchange.request.host() else { return Ok(()) };
    if snapshot.terminator.demand(Some(split_host(host).0)) == tls.demand {
        return Ok(());
    }
    parts.channel.must_close = true;
    Err(Failure::Misdirected)
}

/// Whether the handshakes for the connection's own server name demand something else by now: it is of no more use.
pub fn is_outdated(client: &Client, snapshot: &Snapshot) -> bool {
    let tls = client.tls.as_deref();
    tls.is_some_and(|tls| {
        let name = tls.server_name.as_deref().map(str::as_bytes);
        snapshot.terminator.demand(name) != tls.demand
    })
}

/// Answers a request that does not speak what its route asks for. False when it does.
pub fn refuse(exchange: &mut Exchange, route: &CompiledRoute) -> bool {
    match route.speaks {
        Speaks::Http => return false,
        Speaks::Https if exchange.scheme == Scheme::Https => return false,
        Speaks::Https => demand_tls(exchange, route),
        Speaks::WebSocket | Speaks::SecureWebSocket => {
            if route.speaks == Speaks::SecureWebSocket && exchange.scheme != Scheme::Https {
                demand_tls(exchange, route);
            } else if exchange.request.upgrade != Some(Upgrade::WebSocket) {
                message(exchange, 426, "Please use WebSocket protocol");
                exchange.reply.headers.set("Connection", b"Upgrade");
                exchange.reply.headers.set("Upgrade", b"websocket");
            } else {
                return false;
            }
        }
        Speaks::Grpc | Speaks::Grpcs => {
            if !is_grpc(&exchange.request.headers) {
                message(exchange, 415, "Non-gRPC request matched gRPC route");
            } else if exchange.request.version != Version::Http2 {
                message(exchange, 426, "Please use HTTP2 protocol");
                exchange.reply.headers.set("Connection", b"Upgrade");
                exchange.reply.headers.set("Upgrade", b"HTTP/2");
            } else if route.speaks == Speaks::Grpcs && exchange.scheme != Scheme::Https {
                demand_tls_of_grpc(exchange);
            } else {
                return false;
            }
        }
    }
    true
}

/// Whether the request is a call of gRPC.
pub fn is_grpc(headers: &Headers) -> bool {
    let media_type = headers.known(Known::ContentType);
    media_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// The time a caller of gRPC gives a call: at most eight digits and a unit. None where it gives none.
pub fn call_timeout(headers: &Headers) -> Option<Duration> {
    let (unit, digits) = headers.get("grpc-timeout")?.split_last()?;
    let nanoseconds = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    let is_count = digits.len() <= 8 && digits.iter().all(u8::is_ascii_digit);
    let count: u32 = std::str::from_utf8(digits).ok().filter(|_| is_count)?.parse().ok()?;
    Some(Duration::from_nanos(u64::from(count).saturating_mul(nanoseconds)))
}

fn message(exchange: &mut Exchange, status: u16, text: &'static str) {
    exchange.reply.clear();
    exchange.reply.status = status;
    exchange.reply.body = Body::Message(text.into());
}

fn demand_tls_of_grpc(exchange: &mut Exchange) {
    let reply = &mut exchange.reply;
    reply.clear();
    reply.status = 200;
    reply.headers.set("Content-Type", b"application/grpc");
    reply.headers.set("grpc-status", b"1");
    reply.headers.set("grpc-message", b"gRPC request matched gRPCs route");
}

/// Says that the route is for TLS only, or sends the client there.
fn demand_tls(exchange: &mut Exchange, route: &CompiledRoute) {
    let status = route.matched.route.https_redirect_status_code;
    if status == 426 {
        message(exchange, status, "Please use HTTPS protocol");
        exchange.reply.headers.set("Connection", b"Upgrade");
        exchange.reply.headers.set("Upgrade", b"TLS/1.2, HTTP/1.1");
        return;
    }
    let (host, _) = split_host(exchange.request.host().unwrap_or_default());
    let query = exchange.request.query();
    let mark: &[u8] = if query.is_some() { b"?" } else { b"" };
    let location = [b"https://", host, exchange.request.path(), mark, query.unwrap_or_default()].concat();
    let reply = &mut exchange.reply;
    reply.clear();
    reply.status = status;
    reply.headers.set("Location", &location);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_call_is_a_number_and_a_unit() {
        let timeout = |value: &str| {
            let mut headers = Headers::new();
            headers.append("grpc-timeout", value.as_bytes());
            call_timeout(&headers)
        };
        let second = Duration::from_secs(1);
        for (value, expected) in [("2S", second * 2), ("3M", second * 180), ("1H", second * 3600)] {
            assert_eq!(timeout(value), Some(expected), "{value}");
        }
        for (value, nanoseconds) in [("5m", 5_000_000), ("7u", 7_000), ("9n", 9), ("99999999n", 99_999_999)] {
            assert_eq!(timeout(value), Some(Duration::from_nanos(nanoseconds)), "{value}");
        }
        assert_eq!(timeout("5124096H"), Some(Duration::from_nanos(u64::MAX)), "as good as none");
        for wrong in ["", "S", "5", "5s", "-1S", "+1S", "123456789n", "1.5S"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
