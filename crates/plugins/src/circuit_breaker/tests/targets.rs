//! A breaker for each target.

use plugin::exchange::Trouble;
use plugin::harness::Harness;
use serde_json::Value;

use super::{call, document, get, harness};

const ONE: &str = "10.0.0.1:80";
const TWO: &str = "10.0.0.2:80";

/// Two targets, the first of which is down.
pub(super) fn targets(config: &str) -> Harness {
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
