//! Breakers, health checks, outliers and a limit that adapts, all at once, through stories of failure on a clock of their
//! own and from a seed: nobody gets in another's way for good.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::declarative;
use model::serde_json::{self, Value};
use plugin::admin::Call;
use plugin::clock::Clock;
use plugin::exchange::{Client, Exchange, Source, Try};
use plugin::harness::Dice;
use plugin::services::Worker;
use plugin::{Flow, Services};
use tokio::time::Instant;

use crate::balance::{self, Asker, InFlight, Outcome, Picked};
use crate::compile::Compiler;
use crate::health::{Checks, Sign};
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::tls::Keeper;
use crate::{DnsSettings, Resolver};

const TARGETS: usize = 4;
const STEP: Duration = Duration::from_millis(10);
/// Requests that come in each step.
const REQUESTS: usize = 2;
/// Tries of a request.
const TRIES: usize = 3;
const PROBES: u64 = 2;
/// The longest that a target which is well may be left alone: while it is ejected, and then its breaker is open.
const RECOVERY: Duration = Duration::from_secs(8 + 4 + 3);

const DOCUMENT: &str = r#"
_format_version: "3.0"
services:
- name: s
  host: pool
  protocol: http
  routes: [{name: r, paths: [/]}]
  plugins:
  - name: circuit-breaker
    config:
      per: target
      consecutive_failures: 5
      window: {seconds: 5, minimum: 20, failure_ratio: 0.5, slow_ratio: 0.8, slow_seconds: 0.4}
      open: {seconds: 1, growth: 2, max_seconds: 4}
      half_open: {probes: 2, successes: 3}
  - name: concurrency-limit
    config: {limit: 200, adaptive: {enabled: true, min: 8}}
upstreams:
- name: pool
  targets: [{target: "10.0.0.1:0"}, {target: "10.0.0.1:1"}, {target: "10.0.0.1:2"}, {target: "10.0.0.1:3"}]
  healthchecks:
    active: {healthy: {interval: 0.5, successes: 2}, unhealthy: {interval: 0.5, tcp_failures: 2, timeouts: 2}}
    passive: {unhealthy: {tcp_failures: 8, timeouts: 8}}
    outliers: {interval: 2, success_rate_gap: 20, latency_factor: 5, ejection_time: 2, max_ejection_time: 8, max_ejected_percent: 50}
"#;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Condition {
    Well,
    Crashed,
    Slow(u64),
    Failing(u64),
    Silent,
}

struct World {
    snapshot: Snapshot,
    checks: Checks,
    services: Arc<Services>,
    resolver: Arc<Resolver>,
    worker: Rc<Worker>,
    conditions: [Condition; TARGETS],
    flying: Vec<Flight>,
    dice: Dice,
    steps: u64,
    seen: Seen,
}

/// A request at a target.
struct Flight {
    ends: Instant,
    exchange: Box<Exchange>,
    in_flight: InFlight,
    outcome: Outcome,
}

/// What has happened of late.
#[derive(Debug, Default)]
struct Seen {
    got: [usize; TARGETS],
    good: usize,
    bad: usize,
    refused: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let services = Services::new(1, Clock::fixed(1_000_000), true);
        let resolver = Resolver::start(DnsSettings::default()).unwrap();
        let tls = Keeper::new(Settings::default().tls).unwrap();
        let config = declarative::load("test.yml", DOCUMENT, &plugins::catalog()).unwrap();
        let compiler =
            Compiler { definitions: plugins::ROOMS, services: &services, resolver: &resolver, tls: &tls };
        let snapshot = compiler.compile(Arc::new(config)).unwrap_or_else(|problems| panic!("{problems:?}"));
        let checks = Checks::without_probes(&snapshot.config, &snapshot.balancers);
        let worker = Rc::new(Worker::seeded(0, services.clone(), u128::from(seed) + 1));
        let (conditions, flying, seen) = ([Condition::Well; TARGETS], Vec::new(), Seen::default());
        Self {
            snapshot,
            checks,
            services,
            resolver,
            worker,
            conditions,
            flying,
            dice: Dice::new(seed),
            steps: 0,
            seen,
        }
    }

    /// A number below `below`.
    fn random(&mut self, below: u64) -> u64 {
        self.dice.below(below)
    }

    async fn pass(&mut self, time: Duration) -> Seen {
        self.seen = Seen::default();
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.steps += 1;
            self.land();
            (0..REQUESTS).for_each(|_| self.arrive());
            if self.steps.is_multiple_of(50) {
                self.probe();
            }
            self.resolver.book.settle(&self.checks, Instant::now());
            if self.steps.is_multiple_of(5) {
                self.check();
            }
            tokio::time::advance(STEP).await;
            self.services.clock.advance(10);
        }
        std::mem::take(&mut self.seen)
    }

    fn arrive(&mut self) {
        let mut exchange = Box::new(Exchange::new(self.worker.clone(), Client::default()));
        let route = &self.snapshot.routes[0];
        exchange.begin(Instant::now().into_std());
        exchange.enter_chain(self.snapshot.slots);
        exchange.matched = Some(route.matched.clone());
        let mut position = 0;
        while let Some(turn) = route.chain.access_at(position, &self.snapshot.instances, &mut exchange) {
            position += 1;
            if !matches!(turn.run(&mut exchange), Flow::Next) {
                self.seen.refused += 1;
                return;
            }
        }
        self.send(exchange);
    }

    fn send(&mut self, mut exchange: Box<Exchange>) {
        let now = Instant::now();
        let tried: Vec<_> = exchange.record.tries.iter().map(|attempt| attempt.address).collect();
        let asker = Asker { client: IpAddr::from([192, 0, 2, 1]), exchange: Some(&exchange) };
        let plan = self.snapshot.routes[0].plan().unwrap();
        let Ok(Picked { peer, in_flight }) = plan.balancer.pick(&tried, &asker, &mut Vec::new()) else {
            self.seen.refused += 1;
            return;
        };
        exchange.record.upstream_started.get_or_insert(now.into_std());
        let (address, trouble) = (peer.address, None);
        exchange.record.tries.push(Try { address, started_ms: 0, balancer_us: 0, failed: None, trouble });
        let target = usize::from(address.port());
        self.seen.got[target] += 1;
        let (condition, lot) = (self.conditions[target], self.random(100));
        let (outcome, millis) = match condition {
            Condition::Well => (Outcome::Responded(200), 5),
            Condition::Crashed => (Outcome::Failed(balance::Trouble::Unreachable), 0),
            Condition::Silent => (Outcome::Failed(balance::Trouble::Late), 1000),
            Condition::Slow(millis) => (Outcome::Responded(200), millis),
            Condition::Failing(percent) if lot < percent => (Outcome::Responded(500), 5),
            Condition::Failing(_) => (Outcome::Responded(200), 5),
        };
        self.flying.push(Flight { ends: now + Duration::from_millis(millis), exchange, in_flight, outcome });
    }

    fn land(&mut self) {
        let now = Instant::now();
        while let Some(next) = self.flying.iter().position(|flight| flight.ends <= now) {
            let Flight { mut exchange, in_flight, outcome, .. } = self.flying.swap_remove(next);
            let record = &mut exchange.record;
            match outcome {
                Outcome::Responded(status) => {
                    (record.upstream_status, record.upstream_answered) = (Some(status), Some(now.into_std()));
                    exchange.response.status = status;
                    exchange.source = Source::Upstream;
                    in_flight.answered(status, || now);
                }
                _ => {
                    let trouble = match outcome {
                        Outcome::Failed(balance::Trouble::Late) => plugin::exchange::Trouble::Timeout,
                        _ => plugin::exchange::Trouble::Unreachable,
                    };
                    in_flight.report(outcome, || now);
                    let last = record.tries.last_mut().unwrap();
                    (last.failed, last.trouble) = (Some(502), Some(trouble));
                    if record.tries.len() < TRIES && trouble == plugin::exchange::Trouble::Unreachable {
                        self.send(exchange);
                        continue;
                    }
                }
            }
            let good = outcome == Outcome::Responded(200);
            (self.seen.good, self.seen.bad) =
                (self.seen.good + usize::from(good), self.seen.bad + usize::from(!good));
            let chain = &self.snapshot.routes[0].chain;
            chain.header_filter(&self.snapshot.instances, &mut exchange);
            chain.log(&self.snapshot.instances, &mut exchange);
        }
    }

    fn probe(&mut self) {
        for check in self.checks.iter() {
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

    /// What the breakers show of themselves.
    fn breakers(&self) -> Value {
        let rooms = plugins::ROOMS.iter().flat_map(|room| room.endpoints());
        let list = rooms.into_iter().find(|one| one.path == "/circuit-breakers").unwrap();
        let call = Call { parameters: &[], query: None, services: &self.services };
        serde_json::from_slice(&(list.handle)(&call).body).unwrap()
    }

    /// What holds at every moment.
    fn check(&self) {
        for breaker in self.breakers()["data"].as_array().unwrap() {
            assert!(breaker["probes"].as_u64().unwrap() <= PROBES, "{breaker}");
        }
        for check in self.checks.iter() {
            let members = check.balancer.members();
            let ejected = members.iter().filter(|member| member.standing.health().is_ejected()).count();
            assert!(ejected <= TARGETS / 2, "{ejected} are left out");
        }
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn whoever_is_well_serves_and_all_are_used_again_when_they_are_back() {
    for seed in 0..2 {
        let mut world = World::new(seed);
        world.pass(seconds(5)).await;
        for _ in 0..6 {
            let target = usize::try_from(world.random(TARGETS as u64)).unwrap();
            world.conditions[target] = match world.random(6) {
                0 => Condition::Crashed,
                1 => Condition::Slow(500),
                2 => Condition::Failing(60),
                3 => Condition::Silent,
                _ => Condition::Well,
            };
            let millis = 200 + world.random(4000);
            world.pass(Duration::from_millis(millis)).await;
            if world.conditions.contains(&Condition::Well) {
                world.pass(RECOVERY).await;
                let settled = world.pass(seconds(3)).await;
                let all = settled.good + settled.bad + settled.refused;
                assert!(settled.good * 2 > all, "{seed}: {:?} {settled:?}", world.conditions);
            }
        }
        world.conditions = [Condition::Well; TARGETS];
        world.pass(seconds(25)).await;
        let Seen { got, bad, refused, .. } = world.pass(seconds(10)).await;
        assert_eq!((bad, refused), (0, 0), "{seed}: {}", world.breakers());
        let breakers = world.breakers();
        let closed = |breaker: &Value| breaker["state"] == "closed";
        assert!(breakers["data"].as_array().unwrap().iter().all(closed), "{seed}: {breakers}");
        let even = got.iter().sum::<usize>() / TARGETS;
        assert!(got.iter().all(|one| one.abs_diff(even) * 10 < even), "{seed}: {got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_flaps_is_spared_and_hardly_anybody_sees_it() {
    let mut world = World::new(3);
    world.pass(seconds(5)).await;
    let (mut good, mut other) = (0, 0);
    for turn in 0..20 {
        world.conditions[1] = if turn % 2 == 0 { Condition::Crashed } else { Condition::Well };
        let Seen { good: went, bad, refused, .. } = world.pass(Duration::from_millis(700)).await;
        (good, other) = (good + went, other + bad + refused);
    }
    assert!(other == 0 && good > 2500, "{good} and {other}: those that fail are sent again");
}

#[tokio::test(start_paused = true)]
async fn when_all_are_down_all_are_tried_again_and_no_faster_than_they_may() {
    let mut world = World::new(5);
    world.pass(seconds(5)).await;
    world.conditions = [Condition::Crashed; TARGETS];
    world.pass(seconds(10)).await;
    let Seen { got, good, .. } = world.pass(seconds(20)).await;
    assert!(good == 0 && got.iter().sum::<usize>() < 200, "{got:?}");
    world.conditions = [Condition::Well; TARGETS];
    world.pass(seconds(12)).await;
    let Seen { bad, refused, .. } = world.pass(seconds(5)).await;
    assert_eq!((bad, refused), (0, 0));
}
