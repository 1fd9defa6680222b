//! What an automatic canary does, seen through the harness.

use std::time::Duration;

use plugin::admin::{Answer, Call};
use plugin::cohort;
use plugin::exchange::{Client, Trouble, Try};
use plugin::harness::Harness;
use plugin::services::Worker;
use plugin::{Exchange, Services, Source};
use serde_json::{Value, json};

use super::super::Canary;
use super::rules::{Automatic, Rules};
use super::tally::Sample;

const ROOM: &dyn plugin::Definition = plugin::room::<Canary>();

fn document(place: &str, automatic: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: shop\n  url: http://old.test\n  plugins:\n  - name: canary\n    config:\n      \
         {{hash: header, hash_header: X-User, upstream_host: {place}, canary_by_header_name: X-Canary, automatic: {automatic}}}\n"
    )
}

const HALF: &str = "{steps: [50, 100], interval: 100, minimum_requests: 20, tries: 2, hold_off: 60}";

fn half() -> Harness {
    Harness::new(ROOM, &document("new.test", HALF)).unwrap()
}

/// Users by whether they are in the first half of the traffic.
#[derive(Clone, Copy, PartialEq)]
enum Users {
    First,
    Second,
}

/// A request of each of twenty users, all answered alike; how many of them came to the canary.
fn ask(harness: &mut Harness, users: Users, status: u16) -> usize {
    ask_with(harness, users, status, "")
}

fn ask_with(harness: &mut Harness, users: Users, status: u16, headers: &str) -> usize {
    harness.upstream.status = status;
    let is_first = |user: &String| cohort::part(cohort::place("", user.as_bytes()), 2) == 0;
    let names = (0..).map(|number| format!("user-{number}"));
    let names = names.filter(|user| is_first(user) == (users == Users::First)).take(20);
    names
        .filter(|user| {
            harness.send(&format!("GET / HTTP/1.1\nX-User: {user}\n{headers}\n")).sent_to.is_some()
        })
        .count()
}

fn call(harness: &Harness, method: &str, path: &str, of: &str) -> (u16, Value) {
    let endpoint = ROOM.endpoints().iter().find(|one| one.method == method && one.path == path).unwrap();
    let parameters: &[&str] = if path.contains("{of}") { &[of] } else { &[] };
    let call = Call { parameters, query: None, services: &harness.services };
    let Answer { status, body, .. } = (endpoint.handle)(&call);
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn shown(harness: &Harness) -> Value {
    call(harness, "GET", "/canaries/{of}", "shop").1["data"][0].clone()
}

fn order(harness: &Harness, order: &str) -> Value {
    call(harness, "POST", &format!("/canaries/{{of}}/{order}"), "shop").1["data"][0].clone()
}

/// Both halves are answered with 200, and the time of a step passes.
fn a_good_step(harness: &mut Harness) {
    ask(harness, Users::First, 200);
    ask(harness, Users::Second, 200);
    harness.clock.advance(100_000);
}

#[test]
fn a_release_that_does_no_worse_gets_everything_step_by_step() {
    let mut harness = half();
    assert_eq!((ask(&mut harness, Users::First, 200), ask(&mut harness, Users::Second, 200)), (20, 0));
    harness.clock.advance(99_999);
    assert_eq!(
        (shown(&harness)["state"].as_str(), &shown(&harness)["share"]),
        (Some("stepping"), &json!(50.0))
    );
    harness.clock.advance(1);
    assert_eq!((ask(&mut harness, Users::First, 200), ask(&mut harness, Users::Second, 200)), (20, 20));
    let seen = shown(&harness);
    assert_eq!((seen["state"].as_str(), &seen["share"]), (Some("finished"), &json!(100.0)));
    let reason = "no worse than the service: 0 of 20 requests failed at the canary, 0 of 20 at the service";
    assert_eq!(seen["reason"], reason);
    ask(&mut harness, Users::First, 503);
    harness.clock.advance(100_000);
    assert_eq!(ask(&mut harness, Users::Second, 503), 20, "what is finished is no longer judged");
}

#[test]
fn one_that_fails_steps_back_and_says_why() {
    let mut harness = half();
    ask(&mut harness, Users::Second, 200);
    ask(&mut harness, Users::First, 503);
    harness.clock.advance(9_999);
    assert_eq!(ask(&mut harness, Users::First, 503), 20, "not before a tenth of the step is over");
    harness.clock.advance(1);
    assert_eq!(ask(&mut harness, Users::First, 200), 0);
    let seen = shown(&harness);
    let reason = "errors: 40 of 40 requests (100.00 %) at the canary, 0 of 20 requests (0.00 %) at the service; \
                  allowed are 1.00 percentage points more";
    assert_eq!((seen["state"].as_str(), seen["reason"].as_str()), (Some("rolled back"), Some(reason)));
    assert_eq!(seen["in_this_step"]["canary"], json!({"requests": 40, "failed": 40, "percentile_ms": null}));
    assert_eq!(seen["in_this_step"]["service"]["requests"], 20, "and what comes after that is not mixed in");
    assert_eq!(seen["next_try_at"], seen["since"].as_u64().unwrap() + 60);
    let mut figures = Vec::new();
    harness.services.figures.each(|family, values| {
        figures.push(format!("{} {} {}", family.name, values[0].0[1], values[0].1));
    });
    assert_eq!(
        figures,
        ["canary_rolled_back_total shop 1", "canary_share_millionths shop 0", "canary_state shop 2"]
    );
}

#[test]
fn it_is_tried_again_as_often_as_may_be() {
    let mut harness = half();
    for tries in 1..=2 {
        ask(&mut harness, Users::Second, 200);
        assert_eq!(ask(&mut harness, Users::First, 500), 20);
        harness.clock.advance(10_000);
        assert_eq!(ask(&mut harness, Users::First, 200), 0);
        assert_eq!(shown(&harness)["tries"], json!({"begun": tries, "most": 2}));
        harness.clock.advance(59_999);
        assert_eq!(ask(&mut harness, Users::First, 200), 0);
        harness.clock.advance(10_001);
    }
    harness.clock.advance(1_000_000);
    assert_eq!(ask(&mut harness, Users::First, 200), 0);
    assert_eq!(shown(&harness)["next_try_at"], Value::Null);
}

#[test]
fn nothing_follows_from_few_requests() {
    let mut harness = half();
    ask(&mut harness, Users::First, 500);
    harness.clock.advance(1_000_000);
    assert_eq!(ask(&mut harness, Users::First, 500), 20, "there is nothing to compare with");
    let seen = shown(&harness);
    let reason = "the service had 0 requests; 20 are needed";
    assert_eq!((seen["state"].as_str(), seen["reason"].as_str()), (Some("holding"), Some(reason)));
}

#[test]
fn a_doubt_holds_it_until_more_is_known() {
    let mut harness = half();
    a_good_step_but_for_one(&mut harness);
    let seen = shown(&harness);
    let reason = "errors: 1 of 21 requests (4.76 %) at the canary, 0 of 20 requests (0.00 %) at the service; \
                  allowed are 1.00 percentage points more";
    assert_eq!((seen["state"].as_str(), seen["reason"].as_str()), (Some("holding"), Some(reason)));
    (0..4).for_each(|_| assert_eq!(ask(&mut harness, Users::First, 200), 20));
    harness.clock.advance(10_000);
    assert_eq!(ask(&mut harness, Users::Second, 200), 20, "one of 101 is within what is allowed");
}

fn a_good_step_but_for_one(harness: &mut Harness) {
    harness.upstream.status = 500;
    let first = (0..).map(|number| format!("user-{number}"));
    let mut first = first.filter(|user| cohort::part(cohort::place("", user.as_bytes()), 2) == 0);
    harness.send(&format!("GET / HTTP/1.1\nX-User: {}\n\n", first.next().unwrap()));
    a_good_step(harness);
}

#[test]
fn those_who_choose_and_those_who_cannot_be_sent_do_not_count() {
    let mut harness = half();
    ask(&mut harness, Users::Second, 200);
    assert_eq!(ask_with(&mut harness, Users::First, 500, "X-Canary: always\n"), 20);
    assert_eq!(ask_with(&mut harness, Users::Second, 500, "X-Canary: never\n"), 0);
    let requests = |harness: &Harness| {
        let seen = shown(harness)["in_this_step"].clone();
        (seen["canary"]["requests"].as_u64(), seen["service"]["requests"].as_u64())
    };
    assert_eq!(requests(&harness), (Some(0), Some(20)));
    let with_fallback = document("new.test", HALF).replace("X-Canary,", "X-Canary, upstream_fallback: true,");
    harness.reload(&with_fallback).unwrap();
    harness.unreachable.lock().unwrap().push("new.test".into());
    assert_eq!(ask(&mut harness, Users::First, 200), 0);
    assert_eq!(requests(&harness), (Some(0), Some(20)));
}

#[test]
fn it_goes_on_after_a_reload_unless_the_release_is_another() {
    let mut harness = half();
    a_good_step(&mut harness);
    let share = |harness: &Harness| shown(harness)["share"].as_f64().unwrap();
    assert_eq!(share(&harness), 100.0);
    harness.reload(&document("new.test", &HALF.replace("interval: 100", "interval: 50"))).unwrap();
    assert_eq!(share(&harness), 100.0);
    harness.reload(&document("newer.test", HALF)).unwrap();
    assert_eq!(share(&harness), 50.0, "another place");
    a_good_step(&mut harness);
    assert_eq!(share(&harness), 100.0);
    harness.reload(&document("newer.test", &HALF.replace('{', "{release: v3, "))).unwrap();
    assert_eq!((share(&harness), shown(&harness)["release"].as_str()), (50.0, Some("v3")));
}

#[test]
fn other_steps_never_bring_more_to_it_than_there_was() {
    let mut harness = half();
    for (steps, share, step) in
        [("[10, 40, 60, 100]", 40.0, 2), ("[50, 100]", 50.0, 1), ("[20, 50]", 50.0, 2)]
    {
        harness.reload(&document("new.test", &HALF.replace("[50, 100]", steps))).unwrap();
        harness.clock.advance(10_000);
        ask(&mut harness, Users::First, 200);
        let seen = shown(&harness);
        assert_eq!((&seen["share"], &seen["step"]), (&json!(share), &json!(step)), "{steps}");
    }
}

#[test]
fn an_operator_has_the_last_word() {
    let mut harness = half();
    assert_eq!(order(&harness, "pause")["paused"], true);
    a_good_step(&mut harness);
    assert_eq!(shown(&harness)["state"], "holding");
    assert_eq!(shown(&harness)["reason"], "paused by hand");
    order(&harness, "resume");
    assert_eq!(shown(&harness)["share"], 100.0);
    assert_eq!(order(&harness, "rollback")["by_hand"], true);
    harness.clock.advance(1_000_000);
    assert_eq!(ask(&mut harness, Users::First, 200), 0, "no further try is made against a will");
    assert_eq!(order(&harness, "promote")["state"], "finished");
    assert_eq!(ask(&mut harness, Users::Second, 200), 20);
    let anew = order(&harness, "restart");
    assert_eq!(
        (&anew["share"], &anew["by_hand"], &anew["tries"]["begun"]),
        (&json!(50.0), &json!(false), &json!(1))
    );
    assert_eq!((ask(&mut harness, Users::First, 200), ask(&mut harness, Users::Second, 200)), (20, 0));
    assert_eq!(call(&harness, "POST", "/canaries/{of}/pause", "nobody").0, 404);
    assert_eq!(call(&harness, "GET", "/canaries", "").1["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_pause_does_not_keep_it_from_stepping_back() {
    let mut harness = half();
    order(&harness, "pause");
    ask(&mut harness, Users::Second, 200);
    ask(&mut harness, Users::First, 500);
    harness.clock.advance(10_000);
    assert_eq!(ask(&mut harness, Users::First, 500), 0);
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_it() {
    let mut harness = half();
    ask(&mut harness, Users::Second, 200);
    harness.clock.advance(90_000);
    ask(&mut harness, Users::First, 200);
    harness.clock.set(plugin::harness::START_MS - 1_000_000);
    ask(&mut harness, Users::First, 200);
    harness.clock.advance(99_999);
    assert_eq!(shown(&harness)["share"], 50.0, "the step has begun anew");
    harness.clock.advance(1);
    assert_eq!(ask(&mut harness, Users::Second, 200), 20);
}

#[test]
fn what_a_request_says_about_its_side() {
    let ago = |exchange: &Exchange, millis: u64| exchange.record.started - Duration::from_millis(millis);
    let answered = |exchange: &mut Exchange, status: u16| {
        exchange.source = Source::Upstream;
        exchange.record.upstream_status = Some(status);
        exchange.record.upstream_started = Some(ago(exchange, 90));
        exchange.record.upstream_answered = Some(ago(exchange, 40));
    };
    let tried = |exchange: &mut Exchange, trouble: Option<Trouble>, status: u16| {
        exchange.response.status = status;
        exchange.record.upstream_started = Some(ago(exchange, 90));
        let address = ([127, 0, 0, 1], 80).into();
        exchange.record.tries.push(Try {
            address,
            started_ms: 0,
            balancer_us: 0,
            failed: Some(status),
            trouble,
        });
    };
    let after = |prepare: &dyn Fn(&mut Exchange)| {
        let services = Services::new(1, plugin::clock::Clock::default(), true);
        let mut exchange = Exchange::new(std::rc::Rc::new(Worker::new(0, services)), Client::default());
        exchange.begin(std::time::Instant::now());
        prepare(&mut exchange);
        super::sample(&exchange, &rules(&json!({"error_statuses": [404, 500]})))
    };
    let took = |micros| Some(Sample::Took(micros));
    assert_eq!(after(&|exchange| answered(exchange, 200)), took(50_000));
    assert_eq!(after(&|exchange| answered(exchange, 404)), Some(Sample::Failed));
    assert_eq!(after(&|exchange| answered(exchange, 503)), took(50_000), "not one of those");
    let refused = |exchange: &mut Exchange| tried(exchange, Some(Trouble::Unreachable), 502);
    assert_eq!(after(&refused), Some(Sample::Failed));
    assert_eq!(
        after(&|exchange| exchange.response.status = 503),
        Some(Sample::Failed),
        "nobody could be asked"
    );
    assert_eq!(after(&|exchange| exchange.response.status = 413), None, "that was the client's fault");
    let left = after(&|exchange| tried(exchange, None, 499));
    assert!(matches!(left, Some(Sample::Took(90_000..))), "a client that left had waited: {left:?}");
}

/// The settings as they are written, made ready.
pub fn rules(automatic: &Value) -> Rules {
    use plugin::model::Record;
    let value = Automatic::schema().check(automatic).unwrap();
    Rules::new(&Automatic::from_value(&value).unwrap()).unwrap()
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let refusal =
        |config: &str| Harness::global(ROOM, config).err().unwrap_or_else(|| panic!("{config} was taken"));
    let cases = [
        ("automatic: {steps: [5, 5]}", "config.automatic.steps: each step must be larger"),
        ("automatic: {steps: [50, 10]}", "config.automatic.steps: each step must be larger"),
        ("automatic: {steps: [100]}", "config.automatic.steps: the first step must leave some"),
        ("automatic: {steps: []}", "length must be at least 1"),
        ("automatic: {steps: [0]}", "between 0.01 and 100"),
        ("automatic: {}, percentage: 5", "config.percentage: automatic finds the share by itself"),
        ("automatic: {}, start: 5", "config.start: automatic finds the share by itself"),
        ("automatic: {}, hash: allow, groups: [a]", "config.automatic: hash: allow knows no share"),
    ];
    for (config, expected) in cases {
        let refusal = refusal(&format!("{{upstream_host: n, {config}}}"));
        assert!(refusal.contains(expected), "{config}: {refusal}");
    }
}
