//! Upstreams: a virtual host name that stands for a set of targets.

use serde_json::{Value, json};

use super::{Discovery, PoolLimits};
use crate::schema::{Faults, Map, Reference};

crate::record! {
    /// What counts as healthy when the gateway asks.
    pub struct ActiveHealthy {
        /// Seconds between two probes of a healthy target, a tenth at least; 0 turns them off.
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
        /// Seconds between two probes of an unhealthy target, a tenth at least; 0 turns them off.
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
        /// Seconds a probe may take, connection and handshake included; 0 is 60.
        timeout: f64 = 1, [between(0, 65535)];
        /// Probes at the same time.
        concurrency: i64 = 10, [between(1, 2_147_483_648_i64)];
        /// The path of a probe. For gRPC, the service that is asked about behind the slash; `/` is the whole server.
        http_path: String = "/", [path_and_query()];
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
    /// When an address is taken for worse than the others of its upstream, and left out for a while.
    pub struct Outliers {
        /// Seconds over which shares of successes and latencies are compared.
        interval: f64 = 10, [between(0.1, 3600)];
        /// Failed requests in a row (a status of 500 and more, or no response) after which an address is left out at
        /// once; 0 turns this off.
        consecutive_failures: u16 = 5, [between(0, 10000)];
        /// How many percentage points the share of successes of an address may lie below the median of all; 0 turns
        /// this off.
        success_rate_gap: f64 = 0, [between(0, 100)];
        /// How many times the median of all the mean latency of an address may be; 0 turns this off.
        latency_factor: f64 = 0, [between(0, 1000)];
        /// Requests an address must have had in an interval to be compared.
        minimum_requests: u32 = 20, [between(1, 1000000)];
        /// Seconds an address is left out the first time; each further time in a row it is twice as long.
        ejection_time: f64 = 30, [between(0.1, 86400)];
        /// Seconds it is left out at most.
        max_ejection_time: f64 = 300, [between(0.1, 86400)];
        /// The percentage of addresses that may be left out at a time. One may be in any case, if there are others.
        max_ejected_percent: f64 = 50, [between(0, 99)];
    }
}

crate::record! {
    /// How the health of targets is found out.
    pub struct Healthchecks {
        /// Where no more than this percentage of the weight is healthy, the whole upstream is unhealthy; 0 leaves that
        /// to there being nothing healthy at all.
        threshold: f64 = 0, [between(0, 100)];
        /// Where less than this percentage of the weight is healthy, all targets are used, as health is no guide then;
        /// unset and 0 are never. Not a field of Kong's.
        panic_threshold: Option<f64>, [between(0, 100), extension()];
        /// Leaves out addresses that do worse than the others; unset is not at all. Not a field of Kong's.
        outliers: Option<Outliers>, [extension()];
        /// By asking.
        active: Active;
        /// By watching.
        passive: Passive;
    }
}

impl Healthchecks {
    /// Whether anything is found out that may make a target unhealthy (kong.md 5.2).
    #[must_use]
    pub fn are_on(&self) -> bool {
        let unhealthy = &self.passive.unhealthy;
        let watches = [unhealthy.tcp_failures, unhealthy.timeouts, unhealthy.http_failures]
            .iter()
            .any(|most| *most > 0);
        watches || self.probes() || self.outliers.is_some()
    }

    /// Whether the gateway asks targets by itself.
    #[must_use]
    pub fn probes(&self) -> bool {
        self.active.healthy.interval > 0.0 || self.active.unhealthy.interval > 0.0
    }

    /// Whether an upstream with so much of its weight healthy is unhealthy as a whole (kong.md 5.2).
    #[must_use]
    pub fn is_too_little(&self, available: u64, total: u64) -> bool {
        available == 0 || (self.threshold > 0.0 && percentage(available, total) <= self.threshold)
    }

    /// Whether so little of the weight is healthy that health is no guide.
    #[must_use]
    pub fn is_panic(&self, available: u64, total: u64) -> bool {
        self.panic_threshold.is_some_and(|least| total > 0 && percentage(available, total) < least)
    }
}

fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Of both thresholds, one would keep requests from where the other sends them.
fn one_threshold(upstream: &Value, faults: &mut Faults) {
    let health = &upstream["healthchecks"];
    let is_set = |field: &str| health[field].as_f64().is_some_and(|value| value > 0.0);
    if is_set("threshold") && is_set("panic_threshold") {
        faults.field(
            "healthchecks.panic_threshold",
            "sends requests to all targets where 'threshold' sends them to none; set one of both",
        );
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
        /// Where further targets are listed, which come and go without a reload. Not a field of Kong's.
        discovery: Option<Discovery>, [extension()];
        /// What bounds connections to targets, and how many are kept ready. Not a field of Kong's.
        pool: Option<PoolLimits>, [extension()];
        /// How the health of targets is found out.
        healthchecks: Healthchecks;
        /// The `Host` that targets see.
        host_header: Option<String>, [host_with_optional_port()];
        /// The certificate shown to targets.
        client_certificate: Option<Reference>, [to("certificates")];
        /// Whether targets that are found by SRV records see the names in these as `Host`, rather than their own.
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
        custom_fields(one_threshold),
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
