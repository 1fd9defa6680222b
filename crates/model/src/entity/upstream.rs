//! Upstreams: a virtual host name that stands for a set of targets.

use serde_json::{Value, json};

use crate::schema::{Map, Reference};

crate::record! {
    /// What counts as healthy when the gateway asks.
    pub struct ActiveHealthy {
        /// Seconds between two probes of a healthy target; 0 turns them off.
        interval: f64 = 0, [between(0, 65535)];
        /// Statuses that are a success.
        http_statuses: Vec<u16> = [200, 302], [each(between(100, 999))];
        /// Successes in a row after which a target is healthy again; 0 turns this off.
        successes: u8 = 0, [between(0, 255)];
    }
}

crate::record! {
    /// What counts as unhealthy when the gateway asks.
    pub struct ActiveUnhealthy {
        /// Seconds between two probes of an unhealthy target; 0 turns them off.
        interval: f64 = 0, [between(0, 65535)];
        /// Statuses that are a failure.
        http_statuses: Vec<u16> = [429, 404, 500, 501, 502, 503, 504, 505], [each(between(100, 999))];
        /// Failed connections in a row after which a target is unhealthy; 0 turns this off.
        tcp_failures: u8 = 0, [between(0, 255)];
        /// Timeouts in a row after which a target is unhealthy; 0 turns this off.
        timeouts: u8 = 0, [between(0, 255)];
        /// Failing statuses in a row after which a target is unhealthy; 0 turns this off.
        http_failures: u8 = 0, [between(0, 255)];
    }
}

crate::record! {
    /// Probes that the gateway sends.
    pub struct Active {
        /// What a probe is.
        r#type: String = "http", [one_of(&["tcp", "http", "https", "grpc", "grpcs"])];
        /// Seconds a probe may take.
        timeout: f64 = 1, [between(0, 65535)];
        /// Probes at the same time.
        concurrency: i64 = 10, [between(1, 2_147_483_648_i64)];
        /// The path of a probe.
        http_path: String = "/", [path()];
        /// The server name of a TLS probe.
        https_sni: Option<String>, [wildcard_host()];
        /// Whether a TLS probe checks the certificate.
        https_verify_certificate: bool = true;
        /// Headers of a probe.
        headers: Option<Map<Vec<String>>>, [keys(header_name())];
        /// When a target is healthy.
        healthy: ActiveHealthy;
        /// When a target is unhealthy.
        unhealthy: ActiveUnhealthy;
    }
}

crate::record! {
    /// What counts as healthy in proxied traffic.
    pub struct PassiveHealthy {
        /// Statuses that are a success.
        http_statuses: Vec<u16> = [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308], [each(between(100, 999))];
        /// Successes in a row after which a target is healthy again; 0 turns this off.
        successes: u8 = 0, [between(0, 255)];
    }
}

crate::record! {
    /// What counts as unhealthy in proxied traffic.
    pub struct PassiveUnhealthy {
        /// Statuses that are a failure.
        http_statuses: Vec<u16> = [429, 500, 503], [each(between(100, 999))];
        /// Failed connections in a row after which a target is unhealthy; 0 turns this off.
        tcp_failures: u8 = 0, [between(0, 255)];
        /// Timeouts in a row after which a target is unhealthy; 0 turns this off.
        timeouts: u8 = 0, [between(0, 255)];
        /// Failing statuses in a row after which a target is unhealthy; 0 turns this off.
        http_failures: u8 = 0, [between(0, 255)];
    }
}

crate::record! {
    /// What proxied traffic tells about targets.
    pub struct Passive {
        /// What is watched.
        r#type: String = "http", [one_of(&["tcp", "http", "https", "grpc", "grpcs"])];
        /// When a target is healthy.
        healthy: PassiveHealthy;
        /// When a target is unhealthy.
        unhealthy: PassiveUnhealthy;
    }
}

crate::record! {
    /// How the health of targets is found out.
    pub struct Healthchecks {
        /// Below this percentage of healthy weight the whole upstream is unhealthy.
        threshold: f64 = 0, [between(0, 100)];
        /// By asking.
        active: Active;
        /// By watching.
        passive: Passive;
    }
}

crate::entity! {
    /// A virtual host name that stands for a set of targets and how requests spread over them.
    pub struct Upstream in "upstreams" {
        /// The name; services use it as their host.
        name: String, [unique(), host_name()];
        /// How a target is picked.
        algorithm: String = "round-robin", [one_of(&["consistent-hashing", "least-connections", "round-robin", "latency", "sticky-sessions", "p2c"])];
        /// What keeps a client on its target.
        hash_on: String = "none", [one_of(&HASH_INPUTS)];
        /// What to use instead when that is absent.
        hash_fallback: String = "none", [one_of(&HASH_INPUTS)];
        /// The header to hash on.
        hash_on_header: Option<String>, [header_name()];
        /// The header to fall back to.
        hash_fallback_header: Option<String>, [header_name()];
        /// The cookie to hash on; the gateway sets it when absent.
        hash_on_cookie: Option<String>, [matches("^[A-Za-z0-9_-]+$")];
        /// The path of that cookie.
        hash_on_cookie_path: String = "/", [path()];
        /// The query argument to hash on.
        hash_on_query_arg: Option<String>, [len_min(1)];
        /// The query argument to fall back to.
        hash_fallback_query_arg: Option<String>, [len_min(1)];
        /// The capture of the route's regular expression to hash on.
        hash_on_uri_capture: Option<String>, [len_min(1)];
        /// The capture to fall back to.
        hash_fallback_uri_capture: Option<String>, [len_min(1)];
        /// The cookie of sticky sessions, which names the target; the gateway sets it. A field of Kong's since 3.11.
        sticky_sessions_cookie: Option<String>, [matches("^[A-Za-z0-9_-]+$"), extension()];
        /// The path of that cookie; unset is `/`. A field of Kong's since 3.11.
        sticky_sessions_cookie_path: Option<String>, [path(), extension()];
        /// Slots of consistent hashing.
        slots: i64 = 10000, [between(10, 65536)];
        /// Seconds in which a target that is new, or healthy again, comes from a tenth of its weight to all of it; unset
        /// and 0 are at once. Not a field of Kong's.
        slow_start: Option<f64>, [between(0, 86400), extension()];
        /// How the health of targets is found out.
        healthchecks: Healthchecks;
        /// The `Host` that targets see.
        host_header: Option<String>, [host_with_optional_port()];
        /// The certificate shown to targets.
        client_certificate: Option<Reference>, [to("certificates")];
        /// Whether the names of SRV records are used as host.
        use_srv_name: bool = false;
    }
    endpoint_key: "name"
    checks: [
        conditional("hash_on", equals("header"), "hash_on_header", required()),
        conditional("hash_fallback", equals("header"), "hash_fallback_header", required()),
        conditional("hash_on", equals("cookie"), "hash_on_cookie", required()),
        conditional("hash_fallback", equals("cookie"), "hash_on_cookie", required()),
        conditional("hash_on", equals("query_arg"), "hash_on_query_arg", required()),
        conditional("hash_fallback", equals("query_arg"), "hash_fallback_query_arg", required()),
        conditional("hash_on", equals("uri_capture"), "hash_on_uri_capture", required()),
        conditional("hash_fallback", equals("uri_capture"), "hash_fallback_uri_capture", required()),
        conditional("hash_on", one_of(&["none", "cookie"]), "hash_fallback", one_of(&["none"])),
        conditional("hash_on", equals("consumer"), "hash_fallback", one_of(&["none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"])),
        conditional("hash_on", equals("ip"), "hash_fallback", one_of(&["none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"])),
        conditional("hash_on", equals("path"), "hash_fallback", one_of(&["none", "consumer", "ip", "header", "cookie", "query_arg", "uri_capture"])),
        conditional("algorithm", equals("sticky-sessions"), "sticky_sessions_cookie", required()),
        distinct(&["hash_on_header", "hash_fallback_header"]),
        distinct(&["hash_on_query_arg", "hash_fallback_query_arg"]),
        distinct(&["hash_on_uri_capture", "hash_fallback_uri_capture"]),
    ]
}

const HASH_INPUTS: [&str; 8] =
    ["none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"];

/// What `algorithm` and `hash_on` become together: hashing on something forces consistent hashing, the
/// algorithms that look at load forbid hashing, and without hashing the rest is round-robin.
pub(crate) fn settle_algorithm(algorithm: Option<&str>, hash_on: Option<&str>) -> Vec<(&'static str, Value)> {
    match (algorithm, hash_on) {
        (Some("least-connections" | "latency" | "sticky-sessions" | "p2c"), _) => {
            vec![("hash_on", Value::Null)]
        }
        (_, Some("none")) => vec![("algorithm", json!("round-robin"))],
        (_, Some(input)) if HASH_INPUTS.contains(&input) => vec![("algorithm", json!("consistent-hashing"))],
        _ => Vec::new(),
    }
}
