//! Stories of targets that crash, die slowly, flap, fail in part and recover, told with a clock of their own.

mod world;

use std::net::IpAddr;
use std::time::Duration;

use model::serde_json::{Value, json};
use plugin::services::HealthOrder;
use tokio::time::Instant;

use crate::balance::{Asker, PickError};
use world::{Condition, STEP, TARGETS, World};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Probes, two of them, and failures of traffic, three of them.
fn checks() -> Value {
    json!({
        "active": {"healthy": {"interval": 0.5, "successes": 2}, "unhealthy": {"interval": 0.5, "tcp_failures": 2, "timeouts": 2}},
        "passive": {"unhealthy": {"tcp_failures": 3, "http_failures": 3, "timeouts": 3}},
    })
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_noticed_after_so_many_requests_and_a_recovery_after_so_many_probes() {
    let mut world = World::new(&checks(), 1);
    world.conditions[2] = Condition::Crashed;
    world.pass(seconds(3)).await;
    assert_eq!(world.got[2], 3, "as many as it takes to be sure");
    assert_eq!((world.states()[2], world.refused), ("unhealthy", 0));
    world.conditions[2] = Condition::Well;
    world.pass(seconds(1)).await;
    world.pass(seconds(1)).await;
    assert_eq!(world.got, [100; 4], "as if nothing had happened");
}

#[tokio::test(start_paused = true)]
async fn without_probes_an_unhealthy_target_is_set_healthy_by_hand_only() {
    let passive = json!({"passive": {"healthy": {"successes": 1}, "unhealthy": {"timeouts": 2}}});
    let mut world = World::new(&passive, 1);
    world.conditions[0] = Condition::Silent;
    world.pass(seconds(1)).await;
    assert_eq!(world.got[0], 2);
    world.conditions[0] = Condition::Well;
    world.pass(seconds(60)).await;
    assert_eq!(world.got[0], 0);
    let order = |target, address, healthy| HealthOrder { upstream: "pool", target, address, healthy };
    let set = |world: &World, order: HealthOrder<'_>| world.book().set(&world.checks, &order, Instant::now());
    assert_eq!(set(&world, order("10.0.0.1:0", Some("10.0.0.1:0"), true)), Ok(()));
    assert_eq!(set(&world, order("10.0.0.1:3", None, false)), Ok(()));
    assert!(set(&world, order("10.0.0.1:0", Some("10.0.0.1:1"), true)).is_err(), "not an address of it");
    assert!(set(&world, HealthOrder { upstream: "other", ..order("10.0.0.1:0", None, true) }).is_err());
    world.pass(seconds(3)).await;
    assert!(world.serve(&[0, 1, 2]), "{:?}", world.got);
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_nothing_unless_health_checks_are_turned_off() {
    let mut world = World::new(&checks(), 1);
    world.conditions[1] = Condition::Crashed;
    world.pass(seconds(1)).await;
    let mut other = checks();
    other["threshold"] = json!(10);
    world.reload(&other);
    assert_eq!(world.states(), ["healthy", "unhealthy", "healthy", "healthy"]);
    world.pass(seconds(1)).await;
    assert_eq!(world.got[1], 0, "not tried anew");
    world.reload(&json!({}));
    world.pass(STEP).await;
    world.reload(&checks());
    assert_eq!(world.states(), ["healthy"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_dies_slowly_is_left_out_and_tried_again() {
    let mut world = World::new(
        &json!({"outliers": {"interval": 5, "latency_factor": 4, "ejection_time": 10, "consecutive_failures": 0}}),
        1,
    );
    world.conditions[3] = Condition::Slow(15);
    world.pass(seconds(30)).await;
    assert_eq!(world.got[3], world.got[0], "slower, but not by that factor");
    world.conditions[3] = Condition::Slow(200);
    world.pass(seconds(6)).await;
    assert_eq!(world.states()[3], "unhealthy");
    world.pass(seconds(5)).await;
    assert_eq!(world.got[3], 0);
    world.conditions[3] = Condition::Well;
    world.pass(seconds(10)).await;
    world.pass(seconds(20)).await;
    assert_eq!(world.got, [2000; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_in_part_is_left_out_and_what_all_do_is_nobodys_fault() {
    let outliers = json!({"outliers": {"interval": 5, "success_rate_gap": 20, "consecutive_failures": 0}});
    let mut world = World::new(&outliers, 7);
    world.conditions[0] = Condition::Failing(10);
    world.pass(seconds(20)).await;
    assert_eq!(world.states(), ["healthy"; 4], "within the gap");
    world.conditions[0] = Condition::Failing(60);
    world.pass(seconds(6)).await;
    assert_eq!(world.states(), ["unhealthy", "healthy", "healthy", "healthy"]);
    world.conditions = [Condition::Failing(60); 4];
    world.pass(seconds(120)).await;
    assert_eq!((world.states(), world.refused), (vec!["healthy"; 4], 0));
}

#[tokio::test(start_paused = true)]
async fn never_more_than_the_share_is_left_out_however_many_fail() {
    let outliers = json!({"outliers": {"consecutive_failures": 3, "max_ejected_percent": 50}});
    let mut world = World::new(&outliers, 1);
    world.conditions = [Condition::Crashed; 4];
    world.pass(seconds(5)).await;
    let left_out = world.states().iter().filter(|state| **state == "unhealthy").count();
    assert_eq!((left_out, world.refused), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_is_left_out_comes_back_when_outliers_are_no_longer_looked_for() {
    let mut world = World::new(&json!({"outliers": {"consecutive_failures": 3}}), 1);
    world.conditions[0] = Condition::Crashed;
    world.pass(seconds(1)).await;
    assert_eq!(world.states()[0], "unhealthy");
    world.reload(&checks());
    assert_eq!(world.states()[0], "healthy");
}

#[tokio::test(start_paused = true)]
async fn below_its_threshold_an_upstream_serves_nobody() {
    let mut settings = checks();
    settings["threshold"] = json!(50);
    let mut world = World::new(&settings, 1);
    world.conditions[0] = Condition::Crashed;
    world.pass(seconds(1)).await;
    assert_eq!(world.refused, 0, "75 percent");
    world.conditions[1] = Condition::Crashed;
    world.pass(seconds(1)).await;
    world.pass(seconds(1)).await;
    assert_eq!((world.refused, world.got), (400, [0; 4]), "50 percent is not above 50");
    let asker = Asker { client: IpAddr::from([192, 0, 2, 1]), exchange: None };
    let picked = world.balancer.pick(&[], &asker, &mut Vec::new());
    assert_eq!(picked.err(), Some(PickError::NoPeer));
    world.conditions[1] = Condition::Well;
    world.pass(seconds(2)).await;
    world.pass(seconds(1)).await;
    assert_eq!((world.refused, world.got[0]), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn in_a_panic_all_targets_are_used() {
    let mut settings = checks();
    settings["panic_threshold"] = json!(50);
    let mut world = World::new(&settings, 1);
    world.conditions = [Condition::Well, Condition::Well, Condition::Crashed, Condition::Crashed];
    world.pass(seconds(1)).await;
    world.pass(seconds(1)).await;
    assert!(world.serve(&[0, 1]), "half is enough: {:?}", world.got);
    world.conditions[1] = Condition::Crashed;
    world.pass(seconds(1)).await;
    world.pass(seconds(1)).await;
    assert_eq!((world.got, world.refused), ([100; 4], 0));
    assert_eq!(world.states(), ["healthy", "unhealthy", "unhealthy", "unhealthy"], "as they are");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_flaps_is_tried_the_less_the_longer_it_does() {
    let mut world = World::new(&json!({"outliers": {"consecutive_failures": 3, "ejection_time": 1}}), 1);
    let mut tried = Vec::new();
    for _ in 0..4 {
        let mut got = 0;
        for _ in 0..10 {
            world.conditions[0] = Condition::Crashed;
            world.pass(seconds(1)).await;
            got += world.got[0];
            world.conditions[0] = Condition::Well;
            world.pass(Duration::from_millis(100)).await;
        }
        tried.push(got);
        assert_eq!(world.refused, 0);
    }
    assert!(tried[0] > tried[3], "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_who_can_serve_does_and_all_come_back() {
    let mut settings = checks();
    settings["outliers"] = json!({
        "interval": 2, "success_rate_gap": 20, "latency_factor": 5,
        "ejection_time": 2, "max_ejection_time": 8, "max_ejected_percent": 40,
    });
    for seed in 0..12 {
        let mut world = World::new(&settings, seed);
        for _ in 0..12 {
            let target = usize::try_from(world.random(TARGETS.into())).unwrap();
            world.conditions[target] = match world.random(5) {
                0 => Condition::Crashed,
                1 => Condition::Slow(500),
                2 => Condition::Failing(50),
                3 => Condition::Silent,
                _ => Condition::Well,
            };
            let millis = 500 + world.random(4000);
            world.pass(Duration::from_millis(millis)).await;
            let settled = Duration::from_secs(2);
            world.pass(settled).await;
            let serving =
                world.conditions.iter().any(|one| !matches!(one, Condition::Crashed | Condition::Silent));
            assert!(!serving || world.got.iter().sum::<usize>() > 0, "{seed}: {:?}", world.conditions);
        }
        world.conditions = [Condition::Well; 4];
        world.pass(seconds(20)).await;
        world.pass(seconds(4)).await;
        assert_eq!((world.got, world.refused), ([400; 4], 0), "{seed}: {:?}", world.states());
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_was_removed_is_forgotten() {
    let mut world = World::new(&checks(), 1);
    world.conditions[0] = Condition::Crashed;
    world.pass(seconds(1)).await;
    let standing = world.balancer.members().swap_remove(0).standing;
    assert_eq!((standing.health().state(), standing.available()), ("unhealthy", false));
    world.remove(0);
    assert_eq!((standing.health().state(), standing.available()), ("healthchecks_off", true));
}
