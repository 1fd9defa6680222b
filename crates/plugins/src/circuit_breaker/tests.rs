//! What the breaker does, seen from outside, and its states one by one.

use plugin::admin::{Answer, Call};
use plugin::harness::{Harness, Outcome};
use serde_json::{Value, json};

use super::CircuitBreaker;
use super::machine::{self, Machine, Pass, Phase, Rates, Rules, Verdict};
use super::window::WindowRule;

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
        ("{per: target}", "expected one of"),
        ("{fallback: {type: service}}", "needs the name of a service"),
        ("{failures: {errors: [dns]}}", "expected one of"),
        ("{fallback: {type: static, headers: {X: \"a\\nb\"}}}", "no value of a header field"),
    ] {
        let refusal = Harness::new(ROOM, &document(config)).err().unwrap_or_default();
        assert!(refusal.contains(says), "{config}: {refusal}");
    }
}

fn by_share(window: WindowRule) -> Rules {
    let rates = Rates { window, minimum: 4, failures: Some(0.5), slow: Some(0.75) };
    Rules {
        consecutive: None,
        rates: Some(rates),
        open_ms: 1_000,
        growth: 1.0,
        most_open_ms: 1_000,
        probes: 2,
        successes: 3,
        lease_ms: 5_000,
    }
}

const GOOD: machine::Outcome = machine::Outcome::Success { slow: false };
const SLOW: machine::Outcome = machine::Outcome::Success { slow: true };
const BAD: machine::Outcome = machine::Outcome::Failure;

/// What the breaker is after these outcomes, each at its time.
fn after(rules: &Rules, outcomes: &[(u64, machine::Outcome)]) -> Phase {
    let mut machine = Machine::new(0);
    for (now, outcome) in outcomes {
        let (Verdict::Pass(pass), _) = machine.admit(rules, *now) else { break };
        machine.settle(pass, *outcome, rules, *now);
    }
    machine.view(0).phase
}

#[test]
fn shares_open_it_from_the_minimum_volume_on() {
    let rules = by_share(WindowRule::Millis(10_000));
    let at = |outcomes: &[machine::Outcome]| {
        after(&rules, &outcomes.iter().map(|one| (0, *one)).collect::<Vec<_>>())
    };
    assert_eq!(at(&[BAD, BAD, BAD]), Phase::Closed, "too few");
    assert_eq!(at(&[BAD, GOOD, GOOD, BAD]), Phase::Open);
    assert_eq!(at(&[BAD, GOOD, GOOD, GOOD, BAD]), Phase::Closed);
    assert_eq!(at(&[SLOW, SLOW, GOOD, SLOW]), Phase::Open);
    assert_eq!(at(&[SLOW, GOOD, GOOD, SLOW]), Phase::Closed);
}

#[test]
fn what_the_window_has_left_behind_does_not_count() {
    let over_time = by_share(WindowRule::Millis(10_000));
    assert_eq!(after(&over_time, &[(0, BAD), (0, BAD), (9_000, GOOD), (9_999, BAD)]), Phase::Open);
    assert_eq!(after(&over_time, &[(0, BAD), (0, BAD), (10_000, GOOD), (10_001, BAD)]), Phase::Closed);
    let by_number = by_share(WindowRule::Requests(4));
    let five = [(0, BAD), (0, GOOD), (0, GOOD), (0, GOOD), (0, BAD)];
    assert_eq!(after(&by_number, &five), Phase::Closed, "the first is no longer in it");
    assert_eq!(after(&by_number, &five[..4]), Phase::Closed);
    assert_eq!(after(&by_number, &[(0, GOOD), (0, BAD), (0, GOOD), (0, GOOD), (0, BAD)]), Phase::Open);
}

/// A breaker that is half-open at 1000.
fn half_open(rules: &Rules) -> (Machine, Pass) {
    let mut machine = Machine::new(0);
    for _ in 0..4 {
        let (Verdict::Pass(pass), _) = machine.admit(rules, 0) else { panic!("closed") };
        machine.settle(pass, BAD, rules, 0);
    }
    let (Verdict::Pass(pass), Some(_)) = machine.admit(rules, 1_000) else { panic!("its time is over") };
    (machine, pass)
}

fn passes(machine: &mut Machine, rules: &Rules, now: u64) -> Vec<Pass> {
    std::iter::from_fn(|| match machine.admit(rules, now).0 {
        Verdict::Pass(pass) => Some(pass),
        Verdict::Refused(_) => None,
    })
    .take(100)
    .collect()
}

#[test]
fn half_open_lets_no_more_through_than_there_may_be_probes() {
    let rules = by_share(WindowRule::Requests(10));
    let (mut machine, first) = half_open(&rules);
    let more = passes(&mut machine, &rules, 1_000);
    assert_eq!(more.len(), 1);
    machine.settle(first, machine::Outcome::Nothing, &rules, 1_001);
    let third = passes(&mut machine, &rules, 1_001);
    assert_eq!(third.len(), 1, "a client that left gives its probe back");
    machine.settle(first, GOOD, &rules, 1_001);
    assert_eq!(passes(&mut machine, &rules, 1_001).len(), 0, "and can give it back once only");
}

#[test]
fn it_closes_after_enough_successes_and_opens_at_one_failure() {
    let rules = by_share(WindowRule::Requests(10));
    let (mut machine, first) = half_open(&rules);
    machine.settle(first, GOOD, &rules, 1_001);
    let two = passes(&mut machine, &rules, 1_001);
    machine.settle(two[0], GOOD, &rules, 1_002);
    assert_eq!(machine.view(1_002).phase, Phase::HalfOpen);
    machine.settle(two[1], GOOD, &rules, 1_003);
    assert_eq!(machine.view(1_003).phase, Phase::Closed);
    for bad in [BAD, SLOW] {
        let (mut machine, first) = half_open(&rules);
        let other = passes(&mut machine, &rules, 1_000)[0];
        machine.settle(first, bad, &rules, 1_001);
        assert_eq!(machine.view(1_001).phase, Phase::Open);
        assert_eq!(machine.settle(other, GOOD, &rules, 1_002), None, "what comes late changes nothing");
        assert_eq!(machine.view(1_002).phase, Phase::Open);
    }
}

#[test]
fn a_probe_that_never_comes_back_is_given_up() {
    let rules = by_share(WindowRule::Requests(10));
    let (mut machine, _lost) = half_open(&rules);
    assert_eq!(passes(&mut machine, &rules, 1_000).len(), 1);
    assert_eq!(passes(&mut machine, &rules, 5_999).len(), 0);
    assert_eq!(passes(&mut machine, &rules, 6_000).len(), 2);
}

#[test]
fn probes_of_before_are_counted_with_those_of_now() {
    let rules = by_share(WindowRule::Requests(10));
    let (mut machine, failing) = half_open(&rules);
    let hanging = passes(&mut machine, &rules, 1_000)[0];
    machine.settle(failing, BAD, &rules, 1_001);
    assert_eq!(passes(&mut machine, &rules, 2_001).len(), 1, "the service is still at work for the other");
    machine.settle(hanging, GOOD, &rules, 2_002);
    assert_eq!(passes(&mut machine, &rules, 2_002).len(), 1);
}

#[test]
fn late_responses_of_better_days_do_not_open_it() {
    let rules = Rules { consecutive: Some(2), rates: None, ..by_share(WindowRule::Requests(10)) };
    let mut machine = Machine::new(0);
    let early: Vec<Pass> = (0..6)
        .filter_map(|_| match machine.admit(&rules, 0).0 {
            Verdict::Pass(pass) => Some(pass),
            Verdict::Refused(_) => None,
        })
        .collect();
    for pass in &early[..2] {
        machine.settle(*pass, BAD, &rules, 0);
    }
    let probe = passes(&mut machine, &rules, 1_000)[0];
    for successes in 0..3 {
        let pass = if successes == 0 { probe } else { passes(&mut machine, &rules, 1_000)[0] };
        machine.settle(pass, GOOD, &rules, 1_001);
    }
    for pass in &early[2..] {
        machine.settle(*pass, BAD, &rules, 1_002);
    }
    assert_eq!(machine.view(1_002).phase, Phase::Closed);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_it_open() {
    let rules = Rules { consecutive: Some(1), rates: None, ..by_share(WindowRule::Requests(10)) };
    let mut machine = Machine::new(50_000);
    let pass = passes(&mut machine, &rules, 50_000)[0];
    machine.settle(pass, BAD, &rules, 50_000);
    assert_eq!(machine.admit(&rules, 10_000).0, Verdict::Refused(1_000));
    assert!(matches!(machine.admit(&rules, 11_000).0, Verdict::Pass(_)));
}
