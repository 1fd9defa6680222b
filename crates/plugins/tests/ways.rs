//! Rooms that send requests elsewhere, and rooms that judge who was asked: what comes of a request counts for the service
//! that really had it.

use plugin::Definition;
use plugin::admin::{Answer, Call};
use plugin::harness::{Harness, Outcome};
use plugins::{canary::Canary, circuit_breaker::CircuitBreaker, traffic_split::TrafficSplit};
use serde_json::Value;

const SPLIT: &dyn Definition = plugin::room::<TrafficSplit>();
const BREAKER: &dyn Definition = plugin::room::<CircuitBreaker>();
const CANARY: &dyn Definition = plugin::room::<Canary>();

fn harness(release: &str, per: &str) -> Harness {
    let document = format!(
        "_format_version: '3.0'\nservices:\n\
         - {{name: old, url: 'http://127.0.0.1:1/v1', routes: [{{name: a, paths: [/]}}], plugins: [\n\
         {{name: circuit-breaker, config: {{per: {per}, consecutive_failures: 2}}}}, {release}]}}\n\
         - {{name: new, url: 'http://127.0.0.1:2', routes: [{{name: b, paths: [/b]}}]}}\n"
    );
    Harness::chain(&[SPLIT, BREAKER, CANARY], &document).expect("a valid document")
}

const BY_SPLIT: &str = "{name: traffic-split, config: {services: [{}], \
                        matches: [{on: header, name: X-To, values: [always], service: new}]}}";
const BY_CANARY: &str =
    "{name: canary, config: {upstream_host: new.test, percentage: 0, canary_by_header_name: X-To}}";

fn send(harness: &mut Harness, to: &str, status: u16) -> Outcome {
    harness.upstream.status = status;
    harness.send(&format!("GET / HTTP/1.1\nX-To: {to}\n\n"))
}

/// Service, target and state of each breaker.
fn breakers(harness: &Harness) -> Vec<[String; 3]> {
    let list =
        BREAKER.endpoints().iter().find(|one| one.path == "/circuit-breakers").expect("there is a list");
    let call = Call { parameters: &[], query: None, services: &harness.services };
    let Answer { body, .. } = (list.handle)(&call);
    let seen: Value = serde_json::from_slice(&body).expect("JSON");
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let all = seen["data"].as_array().expect("a list").iter();
    all.map(|one| ["service", "target", "state"].map(|name| text(one, name))).collect()
}

#[test]
fn a_breaker_counts_for_who_was_asked() {
    for (release, new) in [(BY_SPLIT, ["new", ""]), (BY_CANARY, ["old", "new.test"])] {
        let mut harness = harness(release, "service");
        (0..3).for_each(|_| drop(send(&mut harness, "never", 200)));
        (0..2).for_each(|_| assert_eq!(send(&mut harness, "always", 500).status, 500));
        assert_eq!(send(&mut harness, "always", 200).status, 503, "{release}");
        assert_eq!(send(&mut harness, "never", 200).status, 200, "the other is not to blame");
        let [service, target] = new;
        let mut expected =
            [["old", "", "closed"], [service, target, "open"]].map(|one| one.map(str::to_owned));
        expected.sort();
        assert_eq!(breakers(&harness), expected);
    }
}

#[test]
fn who_is_well_gets_what_is_sent_there_while_the_other_is_open() {
    for release in [BY_SPLIT, BY_CANARY] {
        let mut harness = harness(release, "service");
        (0..2).for_each(|_| drop(send(&mut harness, "never", 500)));
        assert_eq!(send(&mut harness, "never", 200).status, 503);
        let reached = send(&mut harness, "always", 200);
        assert_eq!((reached.status, reached.sent_to.is_some()), (200, true), "{release}");
    }
}

#[test]
fn routes_are_told_apart_and_one_for_all_is_for_all() {
    let mut by_route = harness(BY_SPLIT, "route");
    (0..2).for_each(|_| drop(send(&mut by_route, "always", 500)));
    assert_eq!(send(&mut by_route, "always", 200).status, 503);
    assert_eq!(send(&mut by_route, "never", 200).status, 200);
    let mut together = harness(BY_SPLIT, "plugin");
    (0..2).for_each(|_| drop(send(&mut together, "always", 500)));
    assert_eq!(send(&mut together, "never", 200).status, 503);
}
