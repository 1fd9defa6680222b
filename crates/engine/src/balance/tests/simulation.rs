//! What the algorithms promise, under load and with targets that are slow, fail, come and go.

use std::time::Duration;

use model::serde_json::{Value, json};
use plugin::harness::Dice;
use tokio::time::{Instant, advance};

use super::world::{Manner, World, address, is_about};
use crate::balance::PickError;
use crate::balance::standing::{InFlight, Measured, Outcome, Trouble};

const SECOND: Duration = Duration::from_secs(1);

fn algorithms() -> [Value; 6] {
    [
        json!({"algorithm": "round-robin", "slow_start": 1}),
        json!({"algorithm": "least-connections"}),
        json!({"algorithm": "latency"}),
        json!({"algorithm": "p2c"}),
        json!({"hash_on": "ip", "slow_start": 1}),
        json!({"algorithm": "sticky-sessions", "sticky_sessions_cookie": "c", "slow_start": 1}),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_tries_all_targets_before_it_tries_one_again() {
    for upstream in algorithms() {
        let world = World::new(upstream.clone(), &[1, 20, 300, 4000, 4000]);
        for _ in 0..50 {
            let mut tried = Vec::new();
            for _ in 0..5 {
                let peer = world.pick(&tried).unwrap().peer;
                assert!(!tried.contains(&peer.address), "{upstream}");
                tried.push(peer.address);
            }
            assert!(world.pick(&tried).is_ok(), "all failed: start over");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_algorithm_sends_anything_where_nothing_may_go() {
    for upstream in algorithms() {
        let world = World::new(upstream.clone(), &[5, 5, 5, 0]);
        world.standing(0).set_available(false, Instant::now());
        for number in 0..100 {
            let first = world.pick(&[]).unwrap().peer;
            assert!([1, 2].contains(&first.target), "{upstream}");
            let second = world.pick(&[first.address]).unwrap().peer;
            assert_eq!(second.target, 3 - first.target, "{upstream}");
            let third = world.pick(&[first.address, second.address]).unwrap().peer;
            assert!([1, 2].contains(&third.target), "{upstream}: {number}");
        }
        for target in 1..3 {
            world.standing(target).set_available(false, Instant::now());
        }
        assert_eq!(world.pick(&[]).err(), Some(PickError::NoPeer), "{upstream}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_target_is_picked_as_long_as_it_is_available() {
    for upstream in algorithms() {
        let world = World::new(upstream, &[7]);
        assert_eq!(world.pick(&[]).unwrap().peer.target, 0);
        assert_eq!(world.pick(&[address(0)]).unwrap().peer.target, 0);
        world.standing(0).set_available(false, Instant::now());
        assert_eq!(world.pick(&[]).err(), Some(PickError::NoPeer));
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_left_counted_whatever_becomes_of_it() {
    for upstream in algorithms() {
        let world = World::new(upstream, &[1, 2, 3]);
        let mut dice = Dice::new(7);
        let mut running = Vec::new();
        for _ in 0..2000 {
            advance(Duration::from_millis(dice.below(20))).await;
            let picked = world.pick(&[]).unwrap();
            match dice.below(5) {
                0 => picked.in_flight.report(Outcome::Failed(Trouble::Late), Instant::now),
                1 => picked.in_flight.report(Outcome::Responded(200), Instant::now),
                2 => running.push(picked.in_flight),
                3 => running.clear(),
                _ => {}
            }
        }
        let counted: u32 = (0..3).map(|target| world.standing(target).active()).sum();
        assert_eq!(counted as usize, running.len());
        drop(running);
        assert!((0..3).all(|target| world.standing(target).active() == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn least_connections_never_prefers_the_busier() {
    let mut dice = Dice::new(3);
    for _ in 0..300 {
        let weights: Vec<u64> = (0..=dice.below(7)).map(|_| 1 + dice.below(100)).collect();
        let world = World::new(json!({"algorithm": "least-connections"}), &weights);
        let mut running = Vec::new();
        for target in 0..weights.len() {
            let standing = world.standing(target);
            let begin = |_| InFlight::begin(&standing, Measured::Number, Instant::now());
            running.extend((0..dice.below(30)).map(begin));
        }
        let active = |target: usize| u64::from(world.standing(target).active());
        let before: Vec<u64> = (0..weights.len()).map(active).collect();
        let picked = world.pick(&[]).unwrap().peer.target;
        for other in 0..weights.len() {
            let (ours, theirs) =
                ((before[picked] + 1) * weights[other], (before[other] + 1) * weights[picked]);
            assert!(ours <= theirs, "{picked} rather than {other}: {before:?} by {weights:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn under_load_requests_spread_by_weight() {
    for algorithm in ["least-connections", "p2c"] {
        let world = World::new(json!({"algorithm": algorithm}), &[30, 20, 10]);
        let shares = world.run(60, 20 * SECOND, &[Manner::Answers(20); 3]).await;
        let sum = shares.iter().sum::<usize>() as f64;
        for (share, expected) in shares.iter().zip([0.5, 1.0 / 3.0, 1.0 / 6.0]) {
            assert!(is_about(*share, sum * expected, 0.1), "{algorithm}: {shares:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_load_two_choices_spread_by_weight_and_so_do_new_sessions() {
    for upstream in
        [json!({"algorithm": "p2c"}), json!({"algorithm": "sticky-sessions", "sticky_sessions_cookie": "c"})]
    {
        let world = World::new(upstream.clone(), &[50, 30, 20]);
        let shares = world.shares(10_000);
        for (share, expected) in shares.iter().zip([5000.0, 3000.0, 2000.0]) {
            assert!(is_about(*share, expected, 0.05), "{upstream}: {shares:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn equals_take_turns() {
    for algorithm in ["least-connections", "latency"] {
        let world = World::new(json!({"algorithm": algorithm}), &[5, 5, 5]);
        assert_eq!(world.shares(30), [10, 10, 10], "{algorithm}");
    }
}

#[tokio::test(start_paused = true)]
async fn least_connections_sends_a_slow_target_less() {
    let world = World::new(json!({"algorithm": "least-connections"}), &[1, 1]);
    let shares = world.run(20, 20 * SECOND, &[Manner::Answers(10), Manner::Answers(90)]).await;
    let sum = shares.iter().sum::<usize>() as f64;
    assert!(is_about(shares[1], sum * 0.1, 0.2), "as many at a time, nine times as long: {shares:?}");
}

#[tokio::test(start_paused = true)]
async fn latency_prefers_the_fast_and_asks_the_slow_again_now_and_then() {
    let world = World::new(json!({"algorithm": "latency"}), &[1, 1, 1]);
    let manners = [Manner::Answers(50), Manner::Answers(5), Manner::Answers(50)];
    world.run(4, 5 * SECOND, &manners).await;
    let shares = world.run(4, 60 * SECOND, &manners).await;
    let sum = shares.iter().sum::<usize>();
    assert!(shares[1] * 100 > sum * 95, "{shares:?}");
    assert!(shares[0] > 0 && shares[2] > 0, "nothing is forgotten for ever: {shares:?}");
    let manners = [Manner::Answers(2), Manner::Answers(50), Manner::Answers(50)];
    world.run(4, 60 * SECOND, &manners).await;
    let shares = world.run(4, 10 * SECOND, &manners).await;
    assert!(shares[0] > shares[1] * 10, "times change: {shares:?}");
}

#[tokio::test(start_paused = true)]
async fn latency_counts_by_weight() {
    let world = World::new(json!({"algorithm": "latency"}), &[10, 40]);
    for (target, takes) in [(0, 10), (1, 30)] {
        let request = InFlight::begin(&world.standing(target), Measured::Latency, Instant::now());
        advance(Duration::from_millis(takes)).await;
        request.report(Outcome::Responded(200), Instant::now);
    }
    assert_eq!(world.pick(&[]).unwrap().peer.target, 1, "30/40 is less than 10/10");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_at_once_is_not_taken_for_a_fast_one() {
    for algorithm in ["latency", "p2c"] {
        let world = World::new(json!({"algorithm": algorithm}), &[1, 1, 1]);
        let manners = [Manner::Answers(20), Manner::IsAway, Manner::Answers(20)];
        world.run(10, 5 * SECOND, &manners).await;
        let shares = world.run(10, 20 * SECOND, &manners).await;
        let sum = shares.iter().sum::<usize>();
        assert!(shares[1] * 50 < sum, "{algorithm}: {shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_choices_avoid_what_fails_or_is_slow_and_come_back_to_what_has_recovered() {
    for bad in [Manner::Refuses(503, 1), Manner::Answers(400), Manner::IsAway] {
        let world = World::new(json!({"algorithm": "p2c"}), &[1, 1, 1, 1]);
        let fine = Manner::Answers(20);
        let manners = [fine, fine, bad, fine];
        world.run(12, SECOND, &manners).await;
        let shares = world.run(12, 20 * SECOND, &manners).await;
        let sum = shares.iter().sum::<usize>();
        assert!(shares[2] * 50 < sum, "less than 2 %: {shares:?}");
        world.run(12, 30 * SECOND, &[fine; 4]).await;
        let shares = world.run(12, 10 * SECOND, &[fine; 4]).await;
        let sum = shares.iter().sum::<usize>() as f64;
        assert!(is_about(shares[2], sum / 4.0, 0.2), "back to a fair share: {shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_choices_leave_a_queue_for_a_shorter_one() {
    let world = World::new(json!({"algorithm": "p2c"}), &[1, 1]);
    let standing = world.standing(0);
    let busy: Vec<_> = (0..5).map(|_| InFlight::begin(&standing, Measured::Peaks, Instant::now())).collect();
    assert_eq!(world.shares(100), [0, 100]);
    drop(busy);
    let shares = world.shares(100);
    assert!(shares.iter().all(|share| *share > 25), "{shares:?}");
}

/// The share of a third target that was added just now or `age` ago, beside two that were there before.
async fn share_of_the_new(upstream: Value, age: Duration) -> f64 {
    let mut world = World::new(upstream, &[10, 10]);
    advance(1000 * SECOND).await;
    world.set_targets(&[10, 10, 10]);
    advance(age).await;
    let shares = world.shares(9000);
    shares[2] as f64 / 9000.0
}

#[tokio::test(start_paused = true)]
async fn a_new_target_comes_to_its_weight_slowly_where_that_is_asked_for() {
    for upstream in [
        json!({"slow_start": 60}),
        json!({"algorithm": "p2c", "slow_start": 60}),
        json!({"algorithm": "sticky-sessions", "sticky_sessions_cookie": "c", "slow_start": 60}),
    ] {
        for (age, weight) in [(0, 0.1), (15, 0.25), (30, 0.5), (60, 1.0), (600, 1.0)] {
            let expected = weight / (2.0 + weight);
            let share = share_of_the_new(upstream.clone(), age * SECOND).await;
            assert!((share - expected).abs() < 0.015, "{upstream}: {share} after {age} s");
        }
    }
    let share = share_of_the_new(json!({}), Duration::ZERO).await;
    assert!((share - 1.0 / 3.0).abs() < 0.01, "at once where it is not: {share}");
}

#[tokio::test(start_paused = true)]
async fn least_connections_and_latency_count_with_the_weight_that_has_been_reached() {
    let mut world = World::new(json!({"algorithm": "least-connections", "slow_start": 100}), &[10]);
    advance(1000 * SECOND).await;
    world.set_targets(&[10, 10]);
    advance(50 * SECOND).await;
    let shares = world.run(30, SECOND, &[Manner::Answers(10); 2]).await;
    let sum = shares.iter().sum::<usize>() as f64;
    assert!(is_about(shares[1], sum / 3.0, 0.1), "half the weight: {shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_recovers_starts_slowly_too() {
    let world = World::new(json!({"slow_start": 60}), &[10, 10]);
    advance(1000 * SECOND).await;
    assert_eq!(world.shares(1000), [500, 500]);
    world.standing(1).set_available(false, Instant::now());
    assert_eq!(world.shares(1000), [1000, 0]);
    world.standing(1).set_available(true, Instant::now());
    advance(30 * SECOND).await;
    let shares = world.shares(10_000);
    assert!(is_about(shares[1], 3333.0, 0.05), "{shares:?}");
    advance(30 * SECOND).await;
    assert_eq!(world.shares(1000), [500, 500]);
}

#[tokio::test(start_paused = true)]
async fn targets_that_all_start_share_as_ever() {
    let world = World::new(json!({"slow_start": 60}), &[20, 10]);
    let shares = world.shares(9000);
    assert!(is_about(shares[0], 6000.0, 0.1), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_target_outlives_a_new_configuration() {
    let mut world = World::new(json!({"algorithm": "least-connections"}), &[10, 10]);
    let standing = world.standing(0);
    let running: Vec<_> =
        (0..3).map(|_| InFlight::begin(&standing, Measured::Number, Instant::now())).collect();
    world.set_targets(&[10, 10, 10]);
    assert_eq!(world.shares(10)[0], 0, "it is still busy");
    drop(running);
    assert!(world.shares(9)[0] > 0);
}
