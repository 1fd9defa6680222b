//! What an operator sets for the whole data plane. Every bound has a safe default.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::str::FromStr;
use std::time::Duration;

use plugin::Headers;
use plugin::exchange::Client;
use wire::h1::Limits;

use crate::pace::Demand;
use crate::tls::TlsSettings;

/// Settings of the data plane; they do not change while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds on what a client may send in a request head or chunk framing.
    pub request_limits: Limits,
    /// Bounds on what an upstream may send in a response head or chunk framing.
    pub response_limits: Limits,
    /// Largest request body in bytes; 0 is unlimited. Bodies stream, so a large one costs no memory.
    pub max_body_bytes: u64,
    /// Largest request body a plugin may have read into memory, in bytes.
    pub request_buffer_bytes: usize,
    /// Largest response body a plugin may have read into memory, in bytes.
    pub response_buffer_bytes: usize,
    /// Time for a whole request head, from its first byte.
    pub head_timeout: Duration,
    /// Time between two reads of a request body.
    pub body_timeout: Duration,
    /// Time a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Time between two writes to a client.
    pub send_timeout: Duration,
    /// Bytes of a request body a client has to send a second, on average; 0 for any. Calls of gRPC are exempt.
    pub min_body_rate: u64,
    /// Bytes of a response a client has to take a second, on average; 0 for any.
    pub min_send_rate: u64,
    /// Waiting for a client that is forgiven before it has to keep up with these rates.
    pub min_rate_grace: Duration,
    /// Time a plugin may wait for something outside.
    pub plugin_timeout: Duration,
    /// Time a tunnel (an upgraded connection) may stay silent in both directions.
    pub tunnel_timeout: Duration,
    /// Requests served on one connection before it is closed.
    pub max_requests_per_connection: u64,
    /// Connections one worker serves at a time. When there are more, the one that has been idle for longest gives way.
    pub max_connections: usize,
    /// Connections of one address that a worker serves at a time; 0 for any. Trusted peers may make more.
    pub max_connections_per_address: usize,
    /// UDP sessions of a listener that a worker has at a time, at least 1. When there are more, the one whose client has
    /// been silent for longest gives way.
    pub max_udp_sessions: usize,
    /// Memory of the process above which requests are turned away, in bytes; 0 for any.
    pub max_resident_bytes: u64,
    /// The first number of a file that is not for connections: with so many open files, idle connections give way, or new
    /// ones are refused, and requests are turned away. With other listeners there is another one.
    pub most_descriptors: RawFd,
    /// Idle connections to one address of an upstream that a worker keeps. To all it keeps eight times as many.
    pub upstream_pool_size: usize,
    /// Time an idle connection to an upstream is kept.
    pub upstream_idle_timeout: Duration,
    /// Requests sent on one connection to an upstream before it is closed.
    pub upstream_max_requests: u64,
    /// Peers whose forwarding headers are believed.
    pub trusted_networks: Vec<Network>,
    /// Header in which a trusted peer names the client.
    pub real_ip_header: String,
    /// Skip further trusted addresses in `real_ip_header`, from the right.
    pub real_ip_recursive: bool,
    /// Headers the gateway adds to responses.
    pub response_headers: ResponseHeaders,
    /// Send `X-Kong-Request-Id` upstream.
    pub request_id_upstream: bool,
    /// Answer `Kong-Debug: 1` with the names of the route and service.
    pub allow_debug_header: bool,
    /// Media type of errors of malformed requests when the client names none.
    pub error_default_type: String,
    /// Time running requests get to finish when the gateway stops.
    pub drain_timeout: Duration,
    /// Go on for clients that have ended their side of the connection; else their requests are given up.
    pub ignore_client_abort: bool,
    /// TLS.
    pub tls: TlsSettings,
    /// Bounds of HTTP/2 connections of clients.
    pub http2: Http2,
}

/// Bounds of a client's HTTP/2 connection (RFC 9113).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Requests of a connection that run at a time; more are refused for another try.
    pub max_streams: u32,
    /// Bytes of a request body taken before they are passed on.
    pub stream_window_bytes: u32,
    /// The same for all streams of a connection together.
    pub connection_window_bytes: u32,
    /// The header section, counted as RFC 9113 6.5.2 does.
    pub max_header_list_bytes: u32,
    /// Bytes of a response kept for a client that does not take them, per stream.
    pub send_buffer_bytes: usize,
    /// Streams that a client may reset, or have reset by its faults, before its connection is closed.
    pub max_reset_streams: usize,
    /// Frames within ten seconds that bring nothing, on top of those that requests and bodies warrant; 0 for any.
    pub max_control_frames: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_streams: 128,
            stream_window_bytes: 256 << 10,
            connection_window_bytes: 1 << 20,
            max_header_list_bytes: 16 << 10,
            send_buffer_bytes: 64 << 10,
            max_reset_streams: 100,
            max_control_frames: 1000,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            request_limits: Limits::default(),
            response_limits: Limits::default(),
            max_body_bytes: 0,
            request_buffer_bytes: 8 << 20,
            response_buffer_bytes: 8 << 20,
            head_timeout: seconds(60),
            body_timeout: seconds(60),
            idle_timeout: seconds(65),
            send_timeout: seconds(60),
            min_body_rate: 100,
            min_send_rate: 100,
            min_rate_grace: seconds(10),
            plugin_timeout: seconds(60),
            tunnel_timeout: seconds(3600),
            max_requests_per_connection: 10_000,
            max_connections: 16_384,
            max_connections_per_address: 0,
            max_udp_sessions: 4096,
            max_resident_bytes: 0,
            most_descriptors: RawFd::MAX,
            upstream_pool_size: 512,
            upstream_idle_timeout: seconds(60),
            upstream_max_requests: 10_000,
            trusted_networks: Vec::new(),
            real_ip_header: "X-Real-IP".to_owned(),
            real_ip_recursive: false,
            response_headers: ResponseHeaders::default(),
            request_id_upstream: true,
            allow_debug_header: false,
            error_default_type: "text/plain".to_owned(),
            drain_timeout: seconds(30),
            ignore_client_abort: false,
            tls: TlsSettings::default(),
            http2: Http2::default(),
        }
    }
}

impl Settings {
    /// What is demanded of a client that sends a body.
    #[must_use]
    pub(crate) fn body_demand(&self) -> Demand {
        Demand { timeout: self.body_timeout, rate: self.min_body_rate, grace: self.min_rate_grace }
    }

    /// What is demanded of a client that takes a response.
    #[must_use]
    pub(crate) fn send_demand(&self) -> Demand {
        Demand { timeout: self.send_timeout, rate: self.min_send_rate, grace: self.min_rate_grace }
    }
}

/// Which headers the gateway adds to responses (kong.md 3.5, setting `headers`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// `Server` on the gateway's own responses.
    pub server: bool,
    /// `Via` on proxied responses.
    pub via: bool,
    /// `X-Kong-Proxy-Latency`.
    pub proxy_latency: bool,
    /// `X-Kong-Upstream-Latency`.
    pub upstream_latency: bool,
    /// `X-Kong-Response-Latency`.
    pub response_latency: bool,
    /// `X-Kong-Upstream-Status`.
    pub upstream_status: bool,
    /// `X-Kong-Request-Id`.
    pub request_id: bool,
}

impl Default for ResponseHeaders {
    fn default() -> Self {
        Self {
            server: true,
            via: true,
            proxy_latency: true,
            upstream_latency: true,
            response_latency: true,
            upstream_status: false,
            request_id: true,
        }
    }
}

impl FromStr for ResponseHeaders {
    type Err = String;

    /// Reads the comma-separated list of Kong's `headers` setting.
    fn from_str(list: &str) -> Result<Self, String> {
        let mut headers = Self {
            server: false,
            via: false,
            proxy_latency: false,
            upstream_latency: false,
            response_latency: false,
            upstream_status: false,
            request_id: false,
        };
        for item in list.split(',').map(|item| item.trim().to_ascii_lowercase()) {
            match item.as_str() {
                "off" | "" | "x-kong-admin-latency" => {}
                "server_tokens" => (headers.server, headers.via) = (true, true),
                "latency_tokens" => {
                    headers.proxy_latency = true;
                    headers.upstream_latency = true;
                    headers.response_latency = true;
                }
                "server" => headers.server = true,
                "via" => headers.via = true,
                "x-kong-proxy-latency" => headers.proxy_latency = true,
                "x-kong-upstream-latency" => headers.upstream_latency = true,
                "x-kong-response-latency" => headers.response_latency = true,
                "x-kong-upstream-status" => headers.upstream_status = true,
                "x-kong-request-id" => headers.request_id = true,
                other => return Err(format!("'{other}' is not a header the gateway adds to responses")),
            }
        }
        Ok(headers)
    }
}

/// A range of addresses, such as `10.0.0.0/8` or `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` lies in the range; an IPv4 address in IPv6 form counts as IPv4, in the range too.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                same_prefix(u128::from(base.to_bits()), u128::from(address.to_bits()), self.prefix, 32)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                same_prefix(base.to_bits(), address.to_bits(), self.prefix, 128)
            }
            _ => false,
        }
    }
}

fn same_prefix(left: u128, right: u128, prefix: u8, width: u8) -> bool {
    prefix == 0 || (left ^ right) >> (width - prefix) == 0
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not an IP address or a range like 10.0.0.0/8");
        // What clients at Unix sockets count as.
        let text = if text == "unix:" { "127.0.0.1" } else { text };
        let (base, prefix) = model::network::parse(text).ok_or_else(wrong)?;
        Ok(Self { base, prefix })
    }
}

/// The client's address: the peer's, or what a trusted peer says in `real_ip_header` (kong.md 3.5).
#[must_use]
pub fn client_address(settings: &Settings, client: &Client, headers: &Headers) -> IpAddr {
    let peer = client.peer.ip();
    if !client.trusted {
        return peer;
    }
    if settings.real_ip_header == "proxy_protocol" {
        return client.announced.map_or(peer, |announced| announced.ip());
    }
    let mut address = peer;
    let mut lines: Vec<&[u8]> = headers.all(&settings.real_ip_header).collect();
    while let Some(line) = lines.pop() {
        for item in line.rsplit(|byte| *byte == b',') {
            let Some(named) = parse_address(item) else { return address };
            address = named;
            if !settings.real_ip_recursive || !is_trusted(settings, address) {
                return address;
            }
        }
    }
    address
}

/// Whether `address` is one of `trusted_ips`.
#[must_use]
pub fn is_trusted(settings: &Settings, address: IpAddr) -> bool {
    settings.trusted_networks.iter().any(|network| network.contains(address))
}

fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let inside = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(inside("10.0.0.0/8", "10.255.1.2"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "1.2.3.4"));
        assert!(!inside("0.0.0.0/0", "::1"));
        assert!(inside("127.0.0.1", "::ffff:127.0.0.1"));
        for address in ["10.255.1.2", "::ffff:10.255.1.2"] {
            assert!(inside("::ffff:10.0.0.0/104", address), "{address}");
        }
        assert!(!inside("::ffff:10.0.0.0/104", "11.0.0.1"));
        assert!(inside("unix:", "127.0.0.1") && !inside("unix:", "127.0.0.2"));
        assert!(inside("2001:db8::/32", "2001:db8:1::1"));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("example.com".parse::<Network>().is_err());
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let mut settings = Settings {
            trusted_networks: vec!["10.0.0.0/8".parse().unwrap()],
            real_ip_header: "X-Forwarded-For".to_owned(),
            ..Settings::default()
        };
        let mut headers = Headers::new();
        headers.append("X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 10.0.0.9");
        let mut client = Client { peer: "10.0.0.1:1".parse().unwrap(), trusted: true, ..Client::default() };
        let address =
            |settings: &Settings, client: &Client| client_address(settings, client, &headers).to_string();
        assert_eq!(address(&settings, &client), "10.0.0.9");
        settings.real_ip_recursive = true;
        assert_eq!(address(&settings, &client), "2.2.2.2");
        settings.real_ip_header = "proxy_protocol".to_owned();
        assert_eq!(address(&settings, &client), "10.0.0.1");
        client.announced = Some("3.3.3.3:3".parse().unwrap());
        assert_eq!(address(&settings, &client), "3.3.3.3");
        client.trusted = false;
        assert_eq!(address(&settings, &client), "10.0.0.1");
    }

    #[test]
    fn the_headers_setting_is_a_list_of_names() {
        let headers: ResponseHeaders = "server_tokens, X-Kong-Upstream-Status".parse().unwrap();
        assert!(headers.server && headers.via && headers.upstream_status);
        assert!(!headers.request_id && !headers.proxy_latency);
        assert!("X-Nonsense".parse::<ResponseHeaders>().is_err());
    }
}
