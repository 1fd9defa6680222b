//! Stories of targets that crash, die slowly, flap, fail in part and recover, told with a clock of their own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::declarative::{self, Catalog, Config};
use model::entity::Service;
use model::serde_json::{Value, json};
use plugin::harness::Dice;
use plugin::services::HealthOrder;
use tokio::time::Instant;

use super::book::Book;
use super::checks::Checks;
use super::counters::Sign;
use crate::balance::{Asker, Balancer, Balancers, Outcome, PickError, Trouble};
use crate::dns::{DnsSettings, Resolver};

/// The world moves on in steps of this.
const STEP: Duration = Duration::from_millis(10);
/// Targets of the upstream; target `n` has port `n`.
const TARGETS: u16 = 4;
/// Requests that are sent in each step.
const REQUESTS: usize = 4;

/// How a target is, whatever the gateway believes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Condition {
    Well,
    Crashed,
    /// So many milliseconds for each response.
    Slow(u64),
    /// Out of a hundred requests, so many are answered with 500.
    Failing(u64),
    /// Responses do not come.
    Silent,
}

struct World {
    resolver: Arc<Resolver>,
    config: Config,
    checks: Checks,
    balancer: Arc<Balancer>,
    conditions: [Condition; TARGETS as usize],
    /// Requests each target got since somebody last looked.
    got: [usize; TARGETS as usize],
    refused: usize,
    dice: Dice,
    steps: u64,
}

fn load(healthchecks: &Value) -> Config {
    let targets: Vec<_> = (0..TARGETS).map(|port| json!({"target": format!("10.0.0.1:{port}")})).collect();
    let upstream = json!({"name": "pool", "healthchecks": healthchecks, "targets": targets});
    let service = json!({"name": "s", "host": "pool"});
    let document = json!({"_format_version": "3.0", "upstreams": [upstream], "services": [service]});
    declarative::load("kong.json", &document.to_string(), &Catalog::default()).unwrap()
}

fn connect(config: &Config, resolver: &Arc<Resolver>) -> (Checks, Arc<Balancer>) {
    let balancers = Balancers::new(config, resolver);
    let service: &Service = &config.services[0];
    (Checks::without_probes(config, &balancers), balancers.for_service(service))
}

impl World {
    fn new(healthchecks: &Value, seed: u64) -> Self {
        let resolver = Resolver::start(DnsSettings::default()).unwrap();
        let config = load(healthchecks);
        let (checks, balancer) = connect(&config, &resolver);
        let conditions = [Condition::Well; TARGETS as usize];
        let got = [0; TARGETS as usize];
        let world = Self {
            resolver,
            config,
            checks,
            balancer,
            conditions,
            got,
            refused: 0,
            dice: Dice::new(seed),
            steps: 0,
        };
        world.settle();
        world
    }

    fn book(&self) -> &Book {
        &self.resolver.book
    }

    fn reload(&mut self, healthchecks: &Value) {
        self.config = load(healthchecks);
        (self.checks, self.balancer) = connect(&self.config, &self.resolver);
        self.settle();
    }

    fn settle(&self) {
        self.book().settle(&self.checks, Instant::now());
    }

    /// A number below `below`.
    fn random(&mut self, below: u64) -> u64 {
        self.dice.below(below)
    }

    /// What comes of a request, and after how long.
    fn happens(&mut self, target: usize) -> (Outcome, Duration) {
        match self.conditions[target] {
            Condition::Well => (Outcome::Responded(200), Duration::from_millis(5)),
            Condition::Crashed => (Outcome::Failed(Trouble::Unreachable), Duration::ZERO),
            Condition::Silent => (Outcome::Failed(Trouble::Late), Duration::from_secs(1)),
            Condition::Slow(millis) => (Outcome::Responded(200), Duration::from_millis(millis)),
            Condition::Failing(percent) => {
                let fails = self.random(100) < percent;
                (Outcome::Responded(if fails { 500 } else { 200 }), Duration::from_millis(5))
            }
        }
    }

    /// Time passes, with requests, and with probes twice a second.
    async fn pass(&mut self, time: Duration) {
        self.got = [0; TARGETS as usize];
        self.refused = 0;
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.steps += 1;
            for _ in 0..REQUESTS {
                self.request();
            }
            if self.steps.is_multiple_of(50) {
                self.probe();
            }
            self.settle();
            self.check();
            tokio::time::advance(STEP).await;
        }
    }

    fn request(&mut self) {
        let asker = Asker { client: IpAddr::from([192, 0, 2, 1]), exchange: None };
        let Ok(picked) = self.balancer.pick(&[], &asker, &mut Vec::new()) else {
            self.refused += 1;
            return;
        };
        let target = usize::from(picked.peer.address.port());
        self.got[target] += 1;
        let (outcome, took) = self.happens(target);
        picked.in_flight.report(outcome, || Instant::now() + took);
    }

    fn probe(&mut self) {
        for check in self.checks.iter().filter(|check| check.rules.healthchecks.probes()) {
            for member in check.balancer.members() {
                let sign = match self.conditions[usize::from(member.address.port())] {
                    Condition::Crashed => Sign::TcpFailure,
                    Condition::Silent => Sign::Timeout,
                    _ => Sign::Success,
                };
                member.standing.health().count(sign, &check.rules.active.thresholds);
            }
        }
    }

    /// What holds at every moment.
    fn check(&self) {
        for check in self.checks.iter() {
            let members = check.balancer.members();
            let count =
                |of: &dyn Fn(&crate::balance::Member) -> bool| members.iter().filter(|one| of(one)).count();
            let ejected = count(&|member| member.standing.health().is_ejected());
            let most = check.rules.outliers.as_ref().map_or(0, |limits| limits.most(members.len()));
            assert!(ejected <= most, "{ejected} of {most} are left out");
            let healthy = count(&|member| member.standing.health().is_healthy());
            let available = count(&|member| member.standing.available());
            if check.rules.healthchecks.threshold == 0.0 {
                assert_eq!(available > 0, healthy > 0 || available == members.len(), "nobody serves");
            }
        }
    }

    /// Whether these targets serve all requests, each about as many.
    fn serve(&self, targets: &[usize]) -> bool {
        let even = self.got.iter().sum::<usize>() / targets.len();
        let fits = |(target, got): (usize, &usize)| match targets.contains(&target) {
            true => got.abs_diff(even) < even / 5,
            false => *got == 0,
        };
        self.refused == 0 && self.got.iter().enumerate().all(fits)
    }

    fn states(&self) -> Vec<&'static str> {
        let members = self.balancer.members();
        members.iter().map(|member| member.standing.health().state()).collect()
    }
}

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
    let address: SocketAddr = world.balancer.members()[0].address;
    let mut config = load(&checks());
    config.targets.retain(|target| target.target != address.to_string());
    (world.checks, world.balancer) = connect(&config, &world.resolver);
    world.settle();
    assert_eq!((standing.health().state(), standing.available()), ("healthchecks_off", true));
}
