//! What 0 means where it is no bound: as in Kong and nginx, or that nothing could be served, which is an error. It never
//! stands for "at once" by accident.

use std::time::Duration;

use engine::Settings;

/// As good as no time at all to wait for: about a hundred years.
const AGES: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// Room for header fields that is set aside for each request.
const MOST_FIELDS: usize = 256;

/// Gives zeros their meaning.
///
/// # Errors
/// The settings under which no request could be served, one line each.
pub fn settle(settings: &mut Settings) -> Vec<String> {
    if settings.upstream_max_requests == 0 {
        settings.upstream_max_requests = u64::MAX;
    }
    if settings.upstream_idle_timeout.is_zero() {
        settings.upstream_idle_timeout = AGES;
    }
    if settings.idle_timeout.is_zero() {
        // A connection has one request, and the usual time until it comes.
        settings.max_requests_per_connection = 1;
        settings.idle_timeout = Settings::default().idle_timeout;
    }
    let limits = &settings.request_limits;
    let barred = [
        ("MAX_HEAD_SIZE", limits.max_head_bytes == 0),
        ("MAX_LINE_SIZE", limits.max_line_bytes == 0),
        ("MAX_URI_SIZE", limits.max_target_bytes == 0),
        ("MAX_HEADER_COUNT", limits.max_headers == 0),
        ("NGINX_EVENTS_WORKER_CONNECTIONS", settings.max_connections == 0),
        ("NGINX_HTTP_CLIENT_HEADER_TIMEOUT", settings.head_timeout.is_zero()),
        ("NGINX_HTTP_CLIENT_BODY_TIMEOUT", settings.body_timeout.is_zero()),
        ("NGINX_HTTP_SEND_TIMEOUT", settings.send_timeout.is_zero()),
        ("SSL_HANDSHAKE_TIMEOUT", settings.tls.handshake_timeout.is_zero()),
        ("PLUGIN_TIMEOUT", settings.plugin_timeout.is_zero()),
        ("TUNNEL_TIMEOUT", settings.tunnel_timeout.is_zero()),
        ("NGINX_HTTP_HTTP2_MAX_CONCURRENT_STREAMS", settings.http2.max_streams == 0),
    ];
    let barred = barred.into_iter().filter(|(_, is_barred)| *is_barred);
    let mut problems: Vec<String> =
        barred.map(|(name, _)| format!("KONG_{name}: '0' would let nothing through")).collect();
    if limits.max_headers > MOST_FIELDS {
        let given = limits.max_headers;
        problems.push(format!("KONG_MAX_HEADER_COUNT: '{given}' is more than {MOST_FIELDS}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::from_environment;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        from_environment(owned.collect::<Vec<_>>().into_iter()).map(|read| read.settings)
    }

    #[test]
    fn zero_is_no_bound_where_kong_says_so() {
        let settings = read(&[
            ("KONG_UPSTREAM_KEEPALIVE_MAX_REQUESTS", "0"),
            ("KONG_UPSTREAM_KEEPALIVE_IDLE_TIMEOUT", "0"),
            ("KONG_UPSTREAM_KEEPALIVE_POOL_SIZE", "0"),
        ])
        .unwrap();
        assert_eq!(settings.upstream_max_requests, u64::MAX);
        assert!(settings.upstream_idle_timeout > Duration::from_secs(1 << 31));
        assert_eq!(settings.upstream_pool_size, 0, "none is kept");
    }

    #[test]
    fn clients_without_keep_alive_have_one_request_and_the_time_to_send_it() {
        let settings = read(&[
            ("KONG_NGINX_HTTP_KEEPALIVE_TIMEOUT", "0"),
            ("KONG_NGINX_HTTP_KEEPALIVE_REQUESTS", "100"),
        ])
        .unwrap();
        assert_eq!((settings.max_requests_per_connection, settings.idle_timeout.as_secs()), (1, 65));
    }

    #[test]
    fn what_would_let_nothing_through_is_named_and_so_is_what_there_is_no_room_for() {
        for name in ["MAX_HEAD_SIZE", "MAX_HEADER_COUNT", "NGINX_HTTP_SEND_TIMEOUT", "PLUGIN_TIMEOUT"] {
            let problem = read(&[(&format!("KONG_{name}"), "0")]).unwrap_err();
            assert_eq!(problem, format!("KONG_{name}: '0' would let nothing through"));
        }
        let problem = read(&[("KONG_MAX_HEADER_COUNT", "257")]).unwrap_err();
        assert_eq!(problem, "KONG_MAX_HEADER_COUNT: '257' is more than 256");
        assert_eq!(read(&[("KONG_MAX_HEADER_COUNT", "256")]).unwrap().request_limits.max_headers, 256);
        let usual = read(&[("KONG_NGINX_EVENTS_WORKER_CONNECTIONS", "auto")]).unwrap();
        assert_eq!(usual.max_connections, Settings::default().max_connections);
    }
}
