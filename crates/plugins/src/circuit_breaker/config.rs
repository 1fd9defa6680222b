//! What can be set.

use std::collections::BTreeMap;

use plugin::model::schema::Value;
use plugin::{BuildError, record};

use super::machine::{Rates, Rules};
use super::window::WindowRule;

record! {
    /// Responses over which shares of failures and of slow responses are looked at.
    pub struct Window {
        /// Seconds that are looked back on, to a tenth of that.
        seconds: f64 = 60, [between(1, 86400)];
        /// Look back on the last so many responses instead.
        requests: Option<i64>, [between(1, 10000)];
        /// Below so many responses in the window the breaker does not open for its sake.
        minimum: i64 = 20, [between(1, 1000000)];
        /// Share of failures that opens the breaker: 0.5 is every other response. Without it, none does.
        failure_ratio: Option<f64>, [custom_value(share)];
        /// Share of slow responses that opens the breaker. Without it, none does.
        slow_ratio: Option<f64>, [custom_value(share)];
        /// A response is slow when its head took more seconds than this, all tries included.
        slow_seconds: f64 = 5, [between(0.001, 3600)];
    }
}

record! {
    /// What counts as a failure of the service.
    pub struct Failures {
        /// Status codes of responses that are failures.
        statuses: Vec<i64> = [500, 502, 503, 504], [each(between(100, 599))];
        /// Troubles that are failures: `connect` (no connection, or none in time), `timeout` (no response in time),
        /// `reset` (the connection ended before the response), `malformed` (what came is no response), `broken` (the
        /// response broke off after its head), `stalled` (nothing more of it came for as long as a read may take).
        errors: Vec<String> = ["connect", "timeout", "reset", "malformed", "broken"],
            [each(one_of(&["connect", "timeout", "reset", "malformed", "broken", "stalled"]))];
        /// A response with this header is a failure, whatever its status.
        header: Option<String>, [header_name()];
        /// A response with this header is none, whatever its status.
        exempt_header: Option<String>, [header_name()];
    }
}

record! {
    /// How long the breaker stays open.
    pub struct Open {
        /// Seconds before it lets probes through.
        seconds: f64 = 30, [between(0.01, 86400)];
        /// By what that grows each time a probe fails: 2 doubles it.
        growth: f64 = 1, [between(1, 10)];
        /// Seconds that it does not grow beyond.
        max_seconds: f64 = 300, [between(0.01, 86400)];
    }
}

record! {
    /// How the breaker finds out that a service is back.
    pub struct HalfOpen {
        /// Requests let through at a time. All others are refused until they have come back.
        probes: i64 = 1, [between(1, 1000)];
        /// Probes that must succeed before the breaker closes. One that fails opens it again.
        successes: i64 = 1, [between(1, 100000)];
        /// Seconds after which a probe whose response has not begun is given up: it counts as nothing, and another may
        /// take its place.
        probe_seconds: f64 = 60, [between(0.01, 3600)];
    }
}

record! {
    /// The answer to a request that is not let through. It has a `Retry-After` in any case.
    pub struct Refusal {
        /// Its status code.
        status: i64 = 503, [between(200, 599)];
        /// The media type of its body.
        content_type: String = "application/json";
        /// Its body. `$(retry_after)` stands for the seconds after which it is worth trying again.
        body: String = "{\"error\":\"Service temporarily unavailable\",\"retryAfter\":$(retry_after)}",
            [len_max(65536)];
        /// Further header fields.
        headers: Option<BTreeMap<String, String>>, [keys(header_name())];
    }
}

record! {
    /// What a request gets in place of the refusal.
    pub struct Fallback {
        /// `none`; `cached`: the last good response to the same `GET` request; `static`: a fixed answer;
        /// `service`: the response of another service. Where there is no response to repeat, the answer is the refusal.
        r#type: String = "none", [one_of(&["none", "cached", "static", "service"])];
        /// With `service`: name or id of the service that gets the requests.
        service: Option<String>, [len_min(1)];
        /// With `cached`: seconds after which a response is too old to be repeated.
        max_age: i64 = 3600, [between(1, 31536000)];
        /// With `static`: the status code.
        status: i64 = 200, [between(200, 599)];
        /// With `static`: the media type.
        content_type: String = "application/json";
        /// With `static`: further header fields.
        headers: Option<BTreeMap<String, String>>, [keys(header_name())];
        /// With `static`: the body.
        body: String = "", [len_max(1048576)];
    }
}

record! {
    /// Stops sending requests to a service that fails, and finds out when it is back.
    pub struct Config {
        /// What has a breaker of its own: each `service`, each `route`, each `target` of a service (an address; others are
        /// chosen while its breaker is open), or all requests of this `plugin` entity together.
        per: String = "service", [one_of(&["service", "route", "target", "plugin"])];
        /// Failures in a row that open the breaker; 0 for none.
        consecutive_failures: i64 = 5, [between(0, 1000000)];
        /// Shares of failures and slow responses that open it.
        window: Window;
        /// What counts as a failure.
        failures: Failures;
        /// How long it stays open.
        open: Open;
        /// How it finds out that the service is back.
        half_open: HalfOpen;
        /// What a request gets that is not let through.
        answer: Refusal;
        /// What it gets instead, if there is such a thing.
        fallback: Fallback;
    }
    checks: [custom_fields(something_opens_it)]
}

fn share(value: &Value) -> Result<(), String> {
    if value.as_f64().is_some_and(|share| share > 0.0 && share <= 1.0) {
        return Ok(());
    }
    Err("expected a share above 0, up to 1".to_owned())
}

fn something_opens_it(config: &Value, faults: &mut plugin::model::schema::Faults) {
    let window = &config["window"];
    let by_share = window["failure_ratio"].is_number() || window["slow_ratio"].is_number();
    if config["consecutive_failures"] == 0 && !by_share {
        let message = "nothing would ever open the breaker: give consecutive_failures, window.failure_ratio or window.slow_ratio";
        faults.record(message);
    }
    if let (Some(requests), Some(minimum)) = (window["requests"].as_i64(), window["minimum"].as_i64())
        && by_share
        && requests < minimum
    {
        faults.field("window.minimum", format!("a window of {requests} responses never holds {minimum}"));
    }
    if config["open"]["max_seconds"].as_f64() < config["open"]["seconds"].as_f64() {
        faults.field("open.max_seconds", "must not be less than open.seconds");
    }
}

fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// The state machine's rules.
///
/// # Errors
/// None that the schema lets through.
pub fn rules(config: &Config) -> Result<Rules, BuildError> {
    let count = |field: &str, value: i64| {
        u32::try_from(value).map_err(|_| BuildError::new(format!("config.{field}"), "out of range"))
    };
    let window = &config.window;
    let rule = match window.requests {
        Some(requests) => WindowRule::Requests(count("window.requests", requests)? as usize),
        None => WindowRule::Millis(millis(window.seconds)),
    };
    let by_share = window.failure_ratio.is_some() || window.slow_ratio.is_some();
    let rates = Rates {
        window: rule,
        minimum: count("window.minimum", window.minimum)?,
        failures: window.failure_ratio,
        slow: window.slow_ratio,
    };
    Ok(Rules {
        consecutive: Some(count("consecutive_failures", config.consecutive_failures)?)
            .filter(|most| *most > 0),
        rates: by_share.then_some(rates),
        open_ms: millis(config.open.seconds),
        growth: config.open.growth,
        most_open_ms: millis(config.open.max_seconds),
        probes: count("half_open.probes", config.half_open.probes)? as usize,
        successes: count("half_open.successes", config.half_open.successes)?,
        lease_ms: millis(config.half_open.probe_seconds),
    })
}
