//! Releases through their stories, on a clock of its own and from seeds: good ones come to everything, bad ones step
//! back within a bound, and none ever has more than its share.

use std::collections::BTreeSet;
use std::sync::Arc;

use plugin::clock::Clock;
use plugin::{Services, cohort};
use serde_json::json;

use super::machine::{Machine, Phase};
use super::rules::{PARTS, Rules};
use super::tally::{Sample, Side};
use super::{Release, Subject, tests};

/// Milliseconds of a turn.
const TURN: u64 = 100;
/// Clients; each keeps its place.
const CLIENTS: u64 = 2_000;
/// Milliseconds that a step of these releases lasts.
const INTERVAL: u64 = 20_000;
const MINIMUM: u64 = 100;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }
}

/// How a side does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Health {
    /// As the service always did: some errors, and a tail of slow responses.
    Usual,
    /// So many of a thousand requests fail.
    Failing(u64),
    /// All that reach one endpoint fail; it has so many of a thousand requests.
    Endpoint(u64),
    /// Everything takes so many percent of the usual time.
    Slow(u64),
    /// So many of a thousand requests take ten times as long.
    Tail(u64),
    /// Fails whenever a second of four begins.
    Flapping,
}

impl Health {
    fn serve(self, now: u64, random: &mut Random) -> Sample {
        // One in a hundred takes ten times as long, one in two hundred fails.
        let tail = if random.chance(10) { 10 } else { 1 };
        let micros = (20_000 + random.below(40_000)) * tail;
        let failed = match self {
            Self::Failing(share) | Self::Endpoint(share) => random.chance(share),
            Self::Flapping => (now / 1000).is_multiple_of(4),
            _ => false,
        };
        match self {
            _ if failed || random.chance(5) => Sample::Failed,
            Self::Slow(percent) => Sample::Took(micros * percent / 100),
            Self::Tail(share) if random.chance(share) => Sample::Took(micros * 10),
            _ => Sample::Took(micros),
        }
    }
}

struct World {
    clock: Clock,
    rules: Arc<Rules>,
    release: Release,
    random: Random,
    /// Requests in a turn.
    rate: u64,
    /// Clients seen at the canary since it last began.
    members: BTreeSet<u64>,
    /// Requests that have reached the canary.
    reached: u64,
}

impl World {
    fn new(seed: u64, rate: u64, tries: u32) -> Self {
        let clock = Clock::fixed(1_000_000);
        let rules = Arc::new(tests::rules(&json!({
            "steps": [5, 25, 50, 100], "interval": INTERVAL / 1000, "minimum_requests": MINIMUM, "tries": tries,
            "hold_off": 60,
        })));
        let services = Services::new(2, clock.clone(), false);
        let [plugin, service, route, release] = ["p", "s", "", ""].map(str::to_owned);
        let subject = Subject { plugin, service, route, release };
        let release = Release::new(subject, rules.clone(), &services);
        let random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        Self { clock, rules, release, random, rate, members: BTreeSet::new(), reached: 0 }
    }

    /// Lives through `span` milliseconds, or until the release is in one of `ends`.
    fn live(&mut self, sides: [Health; 2], span: u64, ends: &[Phase]) {
        let end = self.clock.now_ms() + span;
        while self.clock.now_ms() < end && !ends.contains(&self.see(|machine| machine.phase)) {
            self.clock.advance(TURN);
            for _ in 0..self.rate {
                self.request(sides);
            }
            self.check();
        }
    }

    fn request(&mut self, [service, canary]: [Health; 2]) {
        let client = self.random.below(CLIENTS);
        let place = cohort::place("", &client.to_le_bytes());
        let (side, health) = if cohort::part(place, PARTS) < self.release.share(&self.rules) {
            self.members.insert(client);
            self.reached += 1;
            (Side::Canary, canary)
        } else {
            assert!(!self.members.remove(&client) || self.share() == 0, "a client was thrown out");
            (Side::Service, service)
        };
        let (now, worker) = (self.clock.now_ms(), self.random.below(2) as usize);
        self.release.tally.add(worker, side, health.serve(now, &mut self.random));
    }

    /// What must be true at any moment.
    fn check(&mut self) {
        let (phase, step, share) = self.see(|machine| (machine.phase, machine.step, machine.share));
        let allowed = if phase == Phase::RolledBack { 0 } else { self.rules.steps[step] };
        assert_eq!((share, self.share()), (allowed, allowed), "{phase:?}");
        if share == 0 {
            self.members.clear();
        }
        // A twentieth of 2000 clients is 100, give or take four standard deviations.
        let expected = CLIENTS * share / PARTS;
        assert!(
            self.members.len() as u64 <= expected + 4 * expected.isqrt(),
            "{} at {share}",
            self.members.len()
        );
    }

    fn share(&self) -> u64 {
        self.release.share.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn see<T>(&self, show: impl FnOnce(&Machine) -> T) -> T {
        show(&self.release.machine.lock().unwrap())
    }

    fn phase(&self) -> Phase {
        self.see(|machine| machine.phase)
    }
}

const ENDS: &[Phase] = &[Phase::RolledBack, Phase::Finished];

#[test]
fn good_releases_get_everything_in_time() {
    let mut stepped_back = 0;
    for seed in 1..=100 {
        let mut world = World::new(seed, 10, 1);
        // Three steps, and more than as much again for doubts.
        world.live([Health::Usual, Health::Usual], 8 * INTERVAL, ENDS);
        match world.phase() {
            Phase::Finished => {
                assert_eq!(world.share(), PARTS);
                assert!(world.clock.now_ms() >= 1_000_000 + 3 * INTERVAL, "{seed}: each step has its time");
            }
            Phase::RolledBack => stepped_back += 1,
            other => panic!("{seed}: {other:?}: {}", world.see(|machine| machine.why.clone())),
        }
    }
    // Three intervals of a hundred releases, each wrong once in a thousand times at most.
    assert!(stepped_back <= 1, "{stepped_back} of 100 good releases were taken for bad ones");
}

#[test]
fn bad_releases_step_back_and_say_why() {
    // (how bad, milliseconds it may take, what the reason begins with)
    let stories = [
        (Health::Failing(1000), 30_000, "errors: "),
        (Health::Failing(200), 40_000, "errors: "),
        (Health::Endpoint(50), 2 * INTERVAL + 60_000, "errors: "),
        (Health::Flapping, 40_000, "errors: "),
        (Health::Slow(300), 40_000, "latency: "),
        (Health::Tail(200), 60_000, "latency: "),
    ];
    for (canary, bound, why) in stories {
        for seed in 1..=20 {
            let mut world = World::new(seed, 10, 1);
            world.live([Health::Usual, canary], bound, ENDS);
            let reason = world.see(|machine| machine.why.clone());
            assert_eq!(world.phase(), Phase::RolledBack, "{seed}: {canary:?}: {reason}");
            assert!(reason.starts_with(why), "{canary:?}: {reason}");
            let before = world.reached;
            world.live([Health::Usual, canary], 100_000, &[]);
            assert_eq!(world.reached, before, "{seed}: {canary:?} is left alone");
        }
    }
}

#[test]
fn a_broken_release_costs_no_more_than_it_takes_to_know() {
    for seed in 1..=20 {
        let mut world = World::new(seed, 100, 1);
        world.live([Health::Usual, Health::Failing(1000)], INTERVAL, ENDS);
        assert_eq!(world.phase(), Phase::RolledBack);
        // The minimum, and what comes until the next comparison: a tenth of the step, at 1000 a second and 5 %.
        let bound = MINIMUM + INTERVAL / 10 + 40;
        assert!(world.reached <= bound, "{seed}: {} requests", world.reached);
    }
}

#[test]
fn what_both_sides_suffer_from_is_not_held_against_the_canary() {
    for health in [Health::Failing(300), Health::Slow(500), Health::Flapping] {
        let mut world = World::new(11, 10, 1);
        world.live([health, health], 10 * INTERVAL, ENDS);
        assert_eq!(
            world.phase(),
            Phase::Finished,
            "{health:?}: {}",
            world.see(|machine| machine.why.clone())
        );
    }
}

#[test]
fn with_too_little_traffic_it_waits() {
    for canary in [Health::Usual, Health::Failing(1000)] {
        let mut world = World::new(5, 0, 1);
        for _ in 0..1_000 {
            // One request in ten seconds: in three hours the canary has half of the minimum.
            world.clock.advance(10_000);
            world.request([Health::Usual, canary]);
            world.check();
        }
        let (phase, step, why) = world.see(|machine| (machine.phase, machine.step, machine.why.clone()));
        assert_eq!((phase, step), (Phase::Holding, 0), "{canary:?}");
        assert!(why.contains("100 are needed"), "{why}");
    }
}

#[test]
fn one_that_was_mended_gets_there_with_the_next_try() {
    for seed in 1..=10 {
        let mut world = World::new(seed, 10, 3);
        world.live([Health::Usual, Health::Failing(500)], 60_000, &[Phase::RolledBack]);
        assert_eq!(world.phase(), Phase::RolledBack);
        world.live([Health::Usual, Health::Usual], 59_000, &[]);
        assert_eq!(world.share(), 0, "{seed}: not before it is time");
        world.live([Health::Usual, Health::Usual], 2_000, &[]);
        assert_eq!(world.share(), 50_000, "{seed}: from the first step");
        world.live([Health::Usual, Health::Usual], 8 * INTERVAL, &[Phase::Finished]);
        assert_eq!(world.phase(), Phase::Finished, "{seed}");
    }
}

#[test]
fn many_threads_count_each_request_once() {
    let services = Services::new(8, Clock::fixed(1_000_000), false);
    let rules = Arc::new(tests::rules(&json!({"steps": [50, 100], "interval": 0.1})));
    let subject = Subject {
        plugin: String::new(),
        service: String::new(),
        route: String::new(),
        release: String::new(),
    };
    let release = Release::new(subject, rules.clone(), &services);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (release, rules, clock) = (&release, &rules, &services.clock);
            scope.spawn(move || {
                for number in 0..5_000 {
                    clock.advance(1);
                    let side = if release.share(rules) == PARTS { Side::Canary } else { Side::Service };
                    release.tally.add(worker, side, Sample::Took(number));
                }
            });
        }
    });
    let sums = release.tally.sums();
    assert_eq!(sums.service.total() + sums.canary.total(), 40_000);
    assert!(sums.service.total() >= 100, "{}", sums.service.total());
}
