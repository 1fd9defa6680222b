//! What the breaker does, seen from outside.

use plugin::admin::{Answer, Call};
use plugin::exchange::Trouble;
use plugin::harness::{Harness, Outcome};
use serde_json::{Value, json};

use super::CircuitBreaker;

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

const ONE: &str = "10.0.0.1:80";
const TWO: &str = "10.0.0.2:80";

/// Two targets, the first of which is down.
fn targets(config: &str) -> Harness {
    let mut harness = harness(config);
    harness.targets = [ONE, TWO].map(|target| target.parse().unwrap()).to_vec();
    harness.upstream.down = vec![(harness.targets[0], Trouble::Unreachable)];
    harness
}

fn asked(harness: &mut Harness) -> Vec<String> {
    get(harness, 200).asked.iter().map(ToString::to_string).collect()
}

fn states(harness: &Harness) -> Vec<(String, String)> {
    let (_, seen) = call(harness, "GET", "/circuit-breakers", &[]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = seen["data"].as_array().unwrap().iter();
    each.map(|one| (text(&one["target"]), text(&one["state"]))).collect()
}

#[test]
fn a_target_that_fails_is_left_out_and_tried_again() {
    let mut harness = targets("{per: target, consecutive_failures: 2, open: {seconds: 10}}");
    assert_eq!(asked(&mut harness), [ONE, TWO]);
    assert_eq!(asked(&mut harness), [ONE, TWO]);
    assert_eq!(asked(&mut harness), [TWO], "it is open");
    let open = |target: &str, state: &str| (target.to_owned(), state.to_owned());
    assert_eq!(states(&harness), [open(ONE, "open"), open(TWO, "closed")]);
    harness.clock.advance(10_000);
    assert_eq!(asked(&mut harness), [ONE, TWO], "a probe, and a response all the same");
    assert_eq!(asked(&mut harness), [TWO]);
    harness.clock.advance(10_000);
    harness.upstream.down.clear();
    assert_eq!(asked(&mut harness), [ONE]);
    assert_eq!(states(&harness), [open(ONE, "closed"), open(TWO, "closed")]);
}

#[test]
fn a_status_counts_for_the_target_that_it_came_from() {
    let mut harness = targets("{per: target, consecutive_failures: 1}");
    harness.upstream.down.clear();
    get(&mut harness, 500);
    assert_eq!(asked(&mut harness), [TWO]);
}

#[test]
fn when_all_targets_are_open_the_first_that_is_tried_again_says_when() {
    let config =
        "{per: target, consecutive_failures: 1, open: {seconds: 10}, fallback: {type: static, body: spare}}";
    for (config, status, body) in [
        (config, 200, "spare".to_owned()),
        (
            "{per: target, consecutive_failures: 1, open: {seconds: 10}}",
            503,
            "{\"error\":\"Service temporarily unavailable\",\"retryAfter\":7}".to_owned(),
        ),
    ] {
        let mut harness = targets(config);
        get(&mut harness, 200);
        harness.clock.advance(3_000);
        harness.upstream.down.push((harness.targets[1], Trouble::Reset));
        get(&mut harness, 200);
        let refused = get(&mut harness, 200);
        assert!(refused.answered && refused.asked.is_empty());
        assert_eq!((refused.status, String::from_utf8(refused.body).unwrap()), (status, body));
        assert_eq!(states(&harness).iter().filter(|(_, state)| state == "open").count(), 2);
    }
}

#[test]
fn a_target_is_opened_by_hand() {
    let mut harness = targets("{per: target}");
    harness.upstream.down.clear();
    assert_eq!(asked(&mut harness), [ONE]);
    assert_eq!(call(&harness, "POST", "/circuit-breakers/{of}/open", &[ONE]).0, 200);
    assert_eq!(asked(&mut harness), [TWO]);
    assert_eq!(call(&harness, "POST", "/circuit-breakers/{of}/open", &[TWO]).0, 200);
    assert_eq!(get(&mut harness, 200).status, 503);
    harness.reload(&document("{per: target}")).unwrap();
    assert_eq!(get(&mut harness, 200).status, 503, "nothing is forgotten");
    assert_eq!(call(&harness, "POST", "/circuit-breakers/{of}/reset", &["orders"]).0, 200);
    assert_eq!(asked(&mut harness), [ONE]);
}

#[test]
fn targets_that_come_and_go_are_forgotten() {
    let mut harness = targets("{per: target}");
    harness.upstream.down.clear();
    for number in 0..5_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        harness.targets = vec![([10, a, b, c], 80).into()];
        assert_eq!(get(&mut harness, 200).status, 200, "with a breaker or without");
    }
    assert_eq!(states(&harness).len(), 4096, "there is room for so many");
    harness.clock.advance(700_000);
    harness.targets = vec![([10, 9, 9, 9], 80).into()];
    get(&mut harness, 200);
    assert_eq!(states(&harness).len(), 1);
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
fn the_last_good_response_is_repeated_to_whom_it_was_for() {
    let mut harness = harness("{consecutive_failures: 1, fallback: {type: cached, max_age: 100}}");
    harness.upstream.headers.push(("X-Kept", "yes".to_owned()));
    harness.upstream.body = b"{\"good\":1}".to_vec();
    assert_eq!(harness.send("GET /x?q=1 HTTP/1.1\nAuthorization: a\n\n").status, 200);
    harness.clock.advance(7_000);
    harness.upstream.status = 500;
    harness.send("GET /y HTTP/1.1\n\n");
    let repeated = harness.send("GET /x?q=1 HTTP/1.1\nAuthorization: a\n\n");
    assert!(repeated.answered);
    assert_eq!((repeated.status, &*repeated.body), (200, &b"{\"good\":1}"[..]));
    let header = |name| repeated.header(name).unwrap_or_default();
    assert_eq!(
        (header("Age"), header("X-Circuit-Breaker"), header("X-Kept")),
        ("7".into(), "open".into(), "yes".into())
    );
    for other in [
        "GET /x?q=2 HTTP/1.1\nAuthorization: a\n\n",
        "GET /x?q=1 HTTP/1.1\n\n",
        "POST /x?q=1 HTTP/1.1\nAuthorization: a\n\n",
    ] {
        assert_eq!(harness.send(other).status, 503, "{other}");
    }
    harness
        .reload(&document(
            "{consecutive_failures: 1, open: {seconds: 300}, fallback: {type: cached, max_age: 5}}",
        ))
        .unwrap();
    assert_eq!(harness.send("GET /x?q=1 HTTP/1.1\nAuthorization: a\n\n").status, 503, "too old");
}

#[test]
fn where_no_target_is_healthy_the_fallback_stands_in_and_nothing_counts() {
    for (fallback, status) in
        [("{type: cached}", 200), ("{type: static, status: 203}", 203), ("{type: none}", 503)]
    {
        let mut harness = harness(&format!("{{consecutive_failures: 1, fallback: {fallback}}}"));
        get(&mut harness, 200);
        let healthy = std::mem::take(&mut harness.targets);
        let answer = get(&mut harness, 200);
        assert_eq!((answer.answered, answer.status), (true, status), "{fallback}");
        let told = (status != 503).then(|| "no-target".to_owned());
        assert_eq!(answer.header("X-Circuit-Breaker"), told, "{fallback}");
        assert_eq!(answer.header("Retry-After"), None, "it is no refusal");
        assert_eq!(state(&harness), "closed");
        harness.targets = healthy;
        assert!(!get(&mut harness, 200).answered, "{fallback}: it is asked as soon as there is a target");
    }
}

#[test]
fn the_fallback_stands_in_for_who_cannot_be_reached_and_it_counts() {
    for (trouble, told) in [(Trouble::Unreachable, Some("unreachable")), (Trouble::Reset, None)] {
        let mut harness = targets("{consecutive_failures: 2, fallback: {type: static, status: 203}}");
        harness.targets.truncate(1);
        harness.upstream.down = vec![(harness.targets[0], trouble)];
        for number in 1..=2 {
            let answer = get(&mut harness, 200);
            assert_eq!(answer.status, if told.is_some() { 203 } else { 502 }, "{trouble:?} {number}");
            assert_eq!(answer.header("X-Circuit-Breaker").as_deref(), told);
        }
        assert_eq!(state(&harness), "open", "{trouble:?}: both count");
        assert_eq!(get(&mut harness, 200).header("X-Circuit-Breaker").as_deref(), Some("open"));
    }
}

#[test]
fn what_must_not_be_stored_is_not_repeated() {
    for (name, value) in [
        ("Cache-Control", "max-age=5, private"),
        ("Cache-Control", "no-store"),
        ("Set-Cookie", "a=b"),
        ("Vary", "X-Any"),
        ("Vary", "*"),
    ] {
        let mut harness = harness("{consecutive_failures: 1, fallback: {type: cached}}");
        harness.upstream.headers.push((name, value.to_owned()));
        get(&mut harness, 200);
        get(&mut harness, 500);
        assert_eq!(get(&mut harness, 200).status, 503, "{name}: {value}");
    }
}

#[test]
fn a_fixed_answer_may_stand_in() {
    let config = "{consecutive_failures: 1, fallback: {type: static, status: 203, body: '[]', headers: {X-Stale: 'yes'}}}";
    let mut harness = harness(config);
    get(&mut harness, 500);
    let answer = get(&mut harness, 200);
    assert_eq!((answer.status, &*answer.body), (203, &b"[]"[..]));
    assert_eq!(answer.header("X-Stale").as_deref(), Some("yes"));
    assert_eq!(answer.header("Content-Type").as_deref(), Some("application/json"));
}

#[test]
fn another_service_may_stand_in_and_its_outcomes_do_not_count() {
    let config = |to: &str| {
        format!(
            "_format_version: '3.0'\nservices:\n- {{name: orders, url: 'http://127.0.0.1:1', routes: [{{name: a, paths: [/]}}]}}\n\
             - {{name: spare, url: 'http://127.0.0.1:2'}}\nplugins:\n- {{name: circuit-breaker, config: {{consecutive_failures: 1, \
             open: {{seconds: 10}}, fallback: {{type: service, service: {to}}}}}}}\n"
        )
    };
    let mut harness = Harness::new(ROOM, &config("spare")).unwrap();
    assert_eq!(get(&mut harness, 500).sent_to, None);
    let stood_in = get(&mut harness, 200);
    assert_eq!((stood_in.sent_to.as_deref(), stood_in.status), (Some("spare"), 200));
    assert_eq!(stood_in.header("X-Circuit-Breaker").as_deref(), Some("open"));
    harness.clock.advance(10_000);
    let probe = get(&mut harness, 200);
    assert_eq!((probe.sent_to, state(&harness)), (None, "closed".to_owned()));
    get(&mut harness, 500);
    (0..3).for_each(|_| assert_eq!(get(&mut harness, 500).sent_to.as_deref(), Some("spare")));
    harness.clock.advance(10_000);
    assert_eq!(get(&mut harness, 200).sent_to, None, "failures elsewhere keep it open no longer");
    let mut itself = Harness::new(ROOM, &config("orders")).unwrap();
    get(&mut itself, 500);
    assert!(get(&mut itself, 200).answered, "a service does not stand in for itself");
    let refusal = Harness::new(ROOM, &config("nobody")).err().unwrap_or_default();
    assert!(
        refusal.contains("config.fallback.service") || refusal.contains("there is no service 'nobody'"),
        "{refusal}"
    );
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
