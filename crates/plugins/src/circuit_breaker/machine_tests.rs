//! The states of a breaker, one by one.

use super::machine::{self, Machine, Pass, Phase, Rates, Receipt, Rules, Verdict};
use super::window::WindowRule;

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

#[test]
fn successes_that_are_taken_back_are_failures_of_the_window() {
    let rules = by_share(WindowRule::Requests(4));
    for rules in [rules, by_share(WindowRule::Millis(10_000))] {
        let mut machine = Machine::new(0);
        let receipts: Vec<Receipt> = passes(&mut machine, &rules, 0)[..4]
            .iter()
            .map(|pass| {
                machine.settle(*pass, GOOD, &rules, 0);
                Receipt { pass: *pass, run: 0 }
            })
            .collect();
        assert_eq!(machine.take_back(receipts[0], &rules, 1), None, "one of four");
        assert_eq!(machine.view(1).sums.total, 4, "nothing is counted twice");
        assert!(machine.take_back(receipts[1], &rules, 2).is_some(), "two of four");
        assert_eq!(machine.take_back(receipts[2], &rules, 3), None, "of an earlier state");
        assert_eq!(machine.view(3).phase, Phase::Open);
    }
}

#[test]
fn successes_that_are_taken_back_are_failures_in_a_row() {
    let rules = Rules { consecutive: Some(3), rates: None, ..by_share(WindowRule::Requests(4)) };
    let mut machine = Machine::new(0);
    let one = |machine: &mut Machine, whole: bool| {
        let (pass, run) = (passes(machine, &rules, 0)[0], machine.run());
        machine.settle(pass, GOOD, &rules, 0);
        if !whole {
            machine.take_back(Receipt { pass, run }, &rules, 0);
        }
        machine.run()
    };
    assert_eq!([false, false, true, false].map(|whole| one(&mut machine, whole)), [1, 2, 0, 1]);
    assert_eq!(one(&mut machine, false), 2);
    assert_eq!(machine.view(0).phase, Phase::Closed);
    one(&mut machine, false);
    assert_eq!(machine.view(0).phase, Phase::Open);
}

#[test]
fn whoever_looks_takes_nothing() {
    let rules = by_share(WindowRule::Requests(10));
    let (mut machine, _first) = half_open(&rules);
    assert_eq!((machine.look(&rules, 1_000), machine.look(&rules, 1_000)), (None, None));
    assert_eq!(passes(&mut machine, &rules, 1_000).len(), 1);
    assert_eq!(machine.look(&rules, 1_000), Some(1));
    assert_eq!(machine.look(&rules, 6_000), None, "the probes have been given up");
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
