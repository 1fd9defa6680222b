//! The settings that are applied one by one: what each is called, and what it sets.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Reading;
use super::values::{Given, duration};

/// Applies a setting of this name.
type Apply = fn(&mut Reading, Given<'_>);

/// All of them. Those of TLS and of secrets are read elsewhere.
pub(super) const SETTINGS: &[(&str, Apply)] = &[
    // As in Kong.
    ("trusted_ips", |to, mut given| to.settings.trusted_networks = given.list()),
    ("real_ip_header", |to, given| to.settings.real_ip_header = given.value.to_owned()),
    ("real_ip_recursive", |to, mut given| given.switch(&mut to.settings.real_ip_recursive)),
    ("headers", |to, mut given| given.parse(&mut to.settings.response_headers)),
    ("headers_upstream", |to, mut given| match given.value.trim().to_ascii_lowercase().as_str() {
        "x-kong-request-id" => to.settings.request_id_upstream = true,
        _ => given.switch(&mut to.settings.request_id_upstream),
    }),
    ("allow_debug_header", |to, mut given| given.switch(&mut to.settings.allow_debug_header)),
    ("error_default_type", |to, mut given| {
        let essence = given.value.split(';').next().unwrap_or_default().trim();
        match ERROR_TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
            true => given.value.clone_into(&mut to.settings.error_default_type),
            false => given.is_not("one of text/plain, application/json, application/xml and text/html"),
        }
    }),
    ("upstream_keepalive_pool_size", |to, mut given| given.parse(&mut to.settings.upstream_pool_size)),
    ("upstream_keepalive_max_requests", |to, mut given| given.parse(&mut to.settings.upstream_max_requests)),
    ("upstream_keepalive_idle_timeout", |to, mut given| given.time(&mut to.settings.upstream_idle_timeout)),
    ("nginx_http_client_max_body_size", |to, mut given| given.size(&mut to.settings.max_body_bytes)),
    ("client_max_body_size", |to, mut given| given.size(&mut to.settings.max_body_bytes)),
    ("nginx_http_client_header_timeout", |to, mut given| given.time(&mut to.settings.head_timeout)),
    ("nginx_http_client_body_timeout", |to, mut given| given.time(&mut to.settings.body_timeout)),
    ("nginx_http_send_timeout", |to, mut given| given.time(&mut to.settings.send_timeout)),
    ("nginx_http_keepalive_timeout", |to, mut given| given.time(&mut to.settings.idle_timeout)),
    ("nginx_http_keepalive_requests", |to, mut given| {
        given.parse(&mut to.settings.max_requests_per_connection);
    }),
    ("nginx_http_http2_max_concurrent_streams", |to, mut given| {
        given.parse(&mut to.settings.http2.max_streams);
    }),
    ("nginx_proxy_proxy_ignore_client_abort", |to, mut given| {
        given.switch(&mut to.settings.ignore_client_abort);
    }),
    ("nginx_events_worker_connections", |to, mut given| {
        if given.value != "auto" {
            given.parse(&mut to.settings.max_connections);
        }
    }),
    ("nginx_main_worker_shutdown_timeout", |to, mut given| given.time(&mut to.settings.drain_timeout)),
    ("dns_resolver", |to, mut given| given.servers(&mut to.servers)),
    ("dns_order", |to, mut given| match given.value.parse() {
        Ok(order) => to.order = order,
        Err(()) => given.is_not("an order of LAST, SRV, A, AAAA (after A) and CNAME"),
    }),
    // Those that Kong does not have follow its way of naming.
    ("discovery_folder", |_, given| given.filled("the path of a folder")),
    ("discovery_max_age", |to, mut given| {
        to.discovery_max_age = duration(given.value);
        if to.discovery_max_age.is_none() {
            given.is_not("a time such as 24h, or 0 for any age");
        }
    }),
    ("usage_database", |_, given| given.filled("the path of a file")),
    ("usage_flush_interval", |to, mut given| {
        to.usage_interval = duration(given.value).filter(|time| USAGE_INTERVALS.contains(time));
        if to.usage_interval.is_none() {
            given.is_not("a time from 100ms to 1h");
        }
    }),
    ("usage_retention_days", |to, mut given| given.parse(to.usage_retention_days.insert(0))),
    ("identity_headers", |to, given| match given.value.parse() {
        Ok(names) => to.identity_headers = names,
        Err(problem) => given.problems.push(format!("KONG_IDENTITY_HEADERS: {problem}")),
    }),
    ("max_head_size", |to, mut given| given.size(&mut to.settings.request_limits.max_head_bytes)),
    ("max_header_count", |to, mut given| given.parse(&mut to.settings.request_limits.max_headers)),
    ("max_line_size", |to, mut given| given.size(&mut to.settings.request_limits.max_line_bytes)),
    ("max_uri_size", |to, mut given| given.size(&mut to.settings.request_limits.max_target_bytes)),
    ("request_buffer_size", |to, mut given| given.size(&mut to.settings.request_buffer_bytes)),
    ("response_buffer_size", |to, mut given| given.size(&mut to.settings.response_buffer_bytes)),
    ("min_body_rate", |to, mut given| given.rate(&mut to.settings.min_body_rate)),
    ("min_send_rate", |to, mut given| given.rate(&mut to.settings.min_send_rate)),
    ("min_rate_grace", |to, mut given| given.time(&mut to.settings.min_rate_grace)),
    ("plugin_timeout", |to, mut given| given.time(&mut to.settings.plugin_timeout)),
    ("max_connections_per_address", |to, mut given| {
        given.parse(&mut to.settings.max_connections_per_address);
    }),
    ("max_udp_sessions", |to, mut given| given.parse(&mut to.settings.max_udp_sessions)),
    ("max_resident_size", |to, mut given| given.size(&mut to.settings.max_resident_bytes)),
    ("tunnel_timeout", |to, mut given| given.time(&mut to.settings.tunnel_timeout)),
    ("http2_stream_window_size", |to, mut given| given.window(&mut to.settings.http2.stream_window_bytes)),
    ("http2_connection_window_size", |to, mut given| {
        given.window(&mut to.settings.http2.connection_window_bytes);
    }),
    ("http2_max_header_list_size", |to, mut given| {
        given.window(&mut to.settings.http2.max_header_list_bytes);
    }),
    ("http2_send_buffer_size", |to, mut given| given.size(&mut to.settings.http2.send_buffer_bytes)),
    ("http2_max_control_frames", |to, mut given| given.parse(&mut to.settings.http2.max_control_frames)),
    ("http2_max_reset_streams", |to, mut given| given.parse(&mut to.settings.http2.max_reset_streams)),
];

/// The media types that errors can have.
const ERROR_TYPES: [&str; 4] = ["text/plain", "application/json", "application/xml", "text/html"];
/// Times between two writes of usage: longer ones lose too much, shorter ones write for nothing.
const USAGE_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
