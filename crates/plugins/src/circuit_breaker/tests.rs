//! What the breaker does, seen from outside.

use plugin::admin::{Answer, Call};
use plugin::exchange::Trouble;
use plugin::harness::{Harness, Outcome};
use serde_json::{Value, json};

use super::CircuitBreaker;

mod fallback;
mod targets;

const ROOM: &dyn plugin::Definition = plugin::room::<CircuitBreaker>();

fn document(config: &str) -> String {
    format!(
        "_format_version: \"3.0\"\nservices:\n- name: orders\n  url: http://127.0.0.1:1\n  routes:\n  \
         - {{name: a, paths: [/]}}\n  plugins:\n  - {{name: circuit-breaker, config: {config}}}\n"
    )
}

fn harness(config: &str) -> Harness {
    Harness::new(ROOM, &document(config)).unwrap()
}

fn get(harness: &mut Harness, status: u16) -> Outcome {
    harness.upstream.status = status;
    harness.send("GET /x HTTP/1.1\n\n")
}

fn call(harness: &Harness, method: &str, path: &str, parameters: &[&str]) -> (u16, Value) {
    let endpoint = ROOM.endpoints().iter().find(|one| one.method == method && one.path == path).unwrap();
    let call = Call { parameters, query: None, services: &harness.services };
    let Answer { status, body, .. } = (endpoint.handle)(&call);
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn state(harness: &Harness) -> String {
    let (_, seen) = call(harness, "GET", "/circuit-breakers", &[]);
    seen["data"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn five_failures_in_a_row_open_it_for_thirty_seconds() {
    let mut harness = harness("{}");
    (0..4).for_each(|_| assert_eq!(get(&mut harness, 500).status, 500));
    assert_eq!(get(&mut harness, 200).status, 200);
    (0..5).for_each(|_| assert_eq!(get(&mut harness, 503).status, 503));
    let refused = get(&mut harness, 200);
    assert!(refused.answered);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("Retry-After").as_deref(), Some("30"));
    assert_eq!(refused.header("Content-Type").as_deref(), Some("application/json"));
    assert_eq!(refused.body, br#"{"error":"Service temporarily unavailable","retryAfter":30}"#);
    harness.clock.advance(29_001);
    assert_eq!(get(&mut harness, 200).header("Retry-After").as_deref(), Some("1"));
    harness.clock.advance(999);
    assert!(!get(&mut harness, 200).answered, "a probe");
    assert_eq!(state(&harness), "closed");
}

#[test]
fn a_clock_that_is_set_back_keeps_it_open_no_longer() {
    let mut harness = harness("{consecutive_failures: 1, open: {seconds: 30}}");
    get(&mut harness, 500);
    harness.clock.set(plugin::harness::START_MS - 3_600_000);
    harness.clock.advance(20_000);
    assert_eq!(get(&mut harness, 200).header("Retry-After").as_deref(), Some("10"));
    let (_, seen) = call(&harness, "GET", "/circuit-breakers", &[]);
    let since = seen["data"][0]["since"].as_u64().unwrap();
    assert_eq!(since, (plugin::harness::START_MS - 3_600_000) / 1_000, "as the clock shows it now");
    harness.clock.advance(10_000);
    assert!(!get(&mut harness, 200).answered, "a probe");
}

#[test]
fn a_failed_probe_opens_it_for_longer_up_to_a_bound() {
    let mut harness = harness("{consecutive_failures: 1, open: {seconds: 10, growth: 3, max_seconds: 50}}");
    get(&mut harness, 500);
    for seconds in ["10", "30", "50", "50"] {
        assert_eq!(get(&mut harness, 200).header("Retry-After").as_deref(), Some(seconds));
        harness.clock.advance(seconds.parse::<u64>().unwrap() * 1000);
        assert_eq!(get(&mut harness, 500).status, 500);
    }
    harness.clock.advance(50_000);
    get(&mut harness, 200);
    get(&mut harness, 500);
    assert_eq!(get(&mut harness, 200).header("Retry-After").as_deref(), Some("10"), "it begins anew");
}

#[test]
fn what_counts_as_a_failure_can_be_said() {
    let config =
        "{consecutive_failures: 1, failures: {statuses: [429], header: X-Broken, exempt_header: X-Planned}}";
    let mut harness = harness(config);
    get(&mut harness, 500);
    assert_eq!(state(&harness), "closed");
    harness.upstream.headers.push(("X-Planned", "1".to_owned()));
    get(&mut harness, 429);
    assert_eq!(state(&harness), "closed");
    harness.upstream.headers.pop();
    harness.upstream.headers.push(("X-Broken", "1".to_owned()));
    get(&mut harness, 200);
    assert_eq!(state(&harness), "open");
}

#[test]
fn each_service_has_its_own_or_each_route_or_none() {
    let text = |per: &str| {
        format!(
            "_format_version: \"3.0\"\nservices:\n\
             - {{name: one, url: 'http://127.0.0.1:1', routes: [{{name: a, paths: [/a]}}, {{name: b, paths: [/b]}}]}}\n\
             - {{name: two, url: 'http://127.0.0.1:2', routes: [{{name: c, paths: [/c]}}]}}\n\
             plugins: [{{name: circuit-breaker, config: {{per: {per}}}}}]\n"
        )
    };
    for (per, breakers) in [("service", 2), ("route", 3), ("plugin", 1)] {
        let harness = Harness::new(ROOM, &text(per)).unwrap();
        let (_, seen) = call(&harness, "GET", "/circuit-breakers", &[]);
        assert_eq!(seen["data"].as_array().unwrap().len(), breakers, "{per}: {seen}");
    }
}

#[test]
fn a_response_that_breaks_off_is_a_failure() {
    let broken = |config: &str, trouble| {
        let mut harness = harness(config);
        harness.upstream.broken = trouble;
        (0..3).for_each(|_| assert_eq!(get(&mut harness, 200).status, 200));
        state(&harness)
    };
    assert_eq!(broken("{consecutive_failures: 3}", Some(Trouble::Reset)), "open");
    assert_eq!(broken("{consecutive_failures: 3}", Some(Trouble::Malformed)), "open");
    assert_eq!(broken("{consecutive_failures: 3}", Some(Trouble::Timeout)), "closed");
    let stalled = "{consecutive_failures: 3, failures: {errors: [stalled]}}";
    assert_eq!(broken(stalled, Some(Trouble::Timeout)), "open");
    assert_eq!(broken(stalled, Some(Trouble::Reset)), "closed");
    assert_eq!(broken("{consecutive_failures: 3}", None), "closed", "the client has left, if anybody has");
    assert_eq!(broken("{consecutive_failures: 4}", Some(Trouble::Reset)), "closed");
}

#[test]
fn a_probe_that_breaks_off_opens_it_again() {
    let mut harness = harness("{consecutive_failures: 1, open: {seconds: 10}}");
    get(&mut harness, 500);
    harness.clock.advance(10_000);
    harness.upstream.broken = Some(Trouble::Reset);
    assert!(!get(&mut harness, 200).answered);
    assert_eq!(state(&harness), "open");
}

#[test]
fn it_survives_a_reload() {
    let mut harness = harness("{consecutive_failures: 1}");
    get(&mut harness, 500);
    harness.reload(&document("{consecutive_failures: 2}")).unwrap();
    assert!(get(&mut harness, 200).answered);
}

#[test]
fn it_is_opened_and_closed_by_hand() {
    let mut harness = harness("{consecutive_failures: 1}");
    let by_hand = |harness: &Harness, what: &str| call(harness, "POST", what, &["orders"]);
    let (status, seen) = by_hand(&harness, "/circuit-breakers/{of}/open");
    assert_eq!(
        (status, &seen["data"][0]["state"], &seen["data"][0]["forced"]),
        (200, &json!("open"), &json!(true))
    );
    harness.clock.advance(3_600_000);
    assert!(get(&mut harness, 200).answered, "time does not close it");
    by_hand(&harness, "/circuit-breakers/{of}/close");
    (0..9).for_each(|_| assert!(!get(&mut harness, 500).answered, "failures do not open it"));
    by_hand(&harness, "/circuit-breakers/{of}/reset");
    assert!(!get(&mut harness, 500).answered);
    assert!(get(&mut harness, 200).answered, "its own decision again");
    assert_eq!(call(&harness, "POST", "/circuit-breakers/{of}/open", &["nobody"]).0, 404);
    assert_eq!(call(&harness, "GET", "/circuit-breakers/{of}", &["orders"]).0, 200);
}

#[test]
fn its_state_is_among_the_figures() {
    let mut harness = harness("{consecutive_failures: 1}");
    let shown = |harness: &Harness| {
        let mut shown = Vec::new();
        harness.services.figures.each(|family, values| {
            shown.push(format!("{} {} {}", family.name, values[0].0[1], values[0].1));
        });
        shown
    };
    get(&mut harness, 500);
    get(&mut harness, 500);
    assert_eq!(
        shown(&harness),
        [
            "circuit_breaker_fallbacks_total orders 0",
            "circuit_breaker_opened_total orders 1",
            "circuit_breaker_refused_total orders 1",
            "circuit_breaker_state orders 2"
        ]
    );
}

#[test]
fn senseless_settings_are_refused() {
    for (config, says) in [
        ("{consecutive_failures: 0}", "nothing would ever open"),
        ("{window: {requests: 10, failure_ratio: 0.5}}", "never holds 20"),
        ("{window: {failure_ratio: 0}}", "share above 0"),
        ("{open: {seconds: 500}}", "must not be less"),
        ("{per: host}", "expected one of"),
        ("{fallback: {type: service}}", "needs the name of a service"),
        ("{failures: {errors: [dns]}}", "expected one of"),
        ("{fallback: {type: static, headers: {X: \"a\\nb\"}}}", "no value of a header field"),
    ] {
        let refusal = Harness::new(ROOM, &document(config)).err().unwrap_or_default();
        assert!(refusal.contains(says), "{config}: {refusal}");
    }
}
