//! The breaker through stories of failure, on a clock of its own and from a seed: whatever happens, there are never more
//! probes than allowed, nobody starves, and a service that is back is used again within a bound.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use plugin::Services;
use plugin::clock::Clock;

use super::breaker::{Breaker, Subject};
use super::machine::{Machine, Outcome, Pass, Phase, Rates, Rules, Verdict};
use super::window::WindowRule;

/// Milliseconds after which a caller gives up.
const TIMEOUT: u64 = 2_000;
/// Milliseconds above which a response is slow.
const SLOW: u64 = 800;
const STEP: u64 = 10;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Health {
    Well,
    Crashed,
    /// Slower and slower since then.
    Dying(u64),
    /// Up and down every so many milliseconds.
    Flapping(u64),
    /// So many percent fail.
    Partly(u64),
}

impl Health {
    /// How long a request takes and what comes of it.
    fn serve(self, now: u64, random: &mut Random) -> (u64, Outcome) {
        let well = (20 + random.next() % 60, Outcome::Success { slow: false });
        let (takes, outcome) = match self {
            Self::Well => well,
            Self::Crashed => (1, Outcome::Failure),
            Self::Dying(since) => {
                (50 + (now - since) / 4 + random.next() % 100, Outcome::Success { slow: false })
            }
            Self::Flapping(period) if (now / period).is_multiple_of(2) => well,
            Self::Flapping(_) => (1, Outcome::Failure),
            Self::Partly(percent) if random.chance(percent) => (5, Outcome::Failure),
            Self::Partly(_) => well,
        };
        match outcome {
            Outcome::Success { .. } if takes >= TIMEOUT => (TIMEOUT, Outcome::Failure),
            Outcome::Success { .. } => (takes, Outcome::Success { slow: takes > SLOW }),
            other => (takes, other),
        }
    }
}

struct World {
    rules: Rules,
    machine: Machine,
    random: Random,
    now: u64,
    under_way: Vec<(u64, Pass, Outcome)>,
    admitted: usize,
    refused: usize,
}

impl World {
    fn new(rules: Rules, seed: u64) -> Self {
        let now = 1_000_000;
        let machine = Machine::new(now);
        Self { rules, machine, random: Random(seed), now, under_way: Vec::new(), admitted: 0, refused: 0 }
    }

    /// Lives through `span` milliseconds and counts anew what was let through.
    fn live(&mut self, health: Health, span: u64) {
        (self.admitted, self.refused) = (0, 0);
        let end = self.now + span;
        while self.now < end {
            self.now += STEP;
            self.finish();
            for _ in 0..self.random.next() % 4 {
                self.arrive(health);
            }
            let probes = self.under_way.iter().filter(|(_, pass, _)| pass.probe.is_some()).count();
            assert!(probes <= self.rules.probes, "{probes} probes at once");
        }
    }

    fn finish(&mut self) {
        let (done, rest) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(end, ..)| *end <= self.now);
        self.under_way = rest;
        let done: Vec<(u64, Pass, Outcome)> = done;
        for (_, pass, outcome) in done {
            self.machine.settle(pass, outcome, &self.rules, self.now);
        }
    }

    fn arrive(&mut self, health: Health) {
        match self.machine.admit(&self.rules, self.now).0 {
            Verdict::Refused(wait) => {
                self.refused += 1;
                assert!(wait <= self.rules.most_open_ms, "told to wait for {wait}");
            }
            Verdict::Pass(pass) => {
                self.admitted += 1;
                let (mut takes, mut outcome) = health.serve(self.now, &mut self.random);
                if self.random.chance(3) {
                    (takes, outcome) = (takes.min(1 + self.random.next() % 50), Outcome::Nothing);
                }
                self.under_way.push((self.now + takes, pass, outcome));
            }
        }
    }

    fn phase(&self) -> Phase {
        self.machine.view(self.now).phase
    }

    /// The longest that a service which is back may be left alone: the time open, and as many rounds of probes as it
    /// takes, each as long as the slowest try from before.
    fn bound(&self) -> u64 {
        self.rules.most_open_ms + (u64::from(self.rules.successes) + 2) * (TIMEOUT + 200)
    }
}

fn rules(random: &mut Random) -> Rules {
    let window = if random.chance(50) {
        WindowRule::Requests(20 + (random.next() % 100) as usize)
    } else {
        WindowRule::Millis(2_000 + random.next() % 8_000)
    };
    let rates = Rates { window, minimum: 10, failures: Some(0.3), slow: Some(0.5) };
    Rules {
        consecutive: random.chance(50).then_some(5),
        rates: Some(rates),
        open_ms: 500 + random.next() % 2_000,
        growth: 1.0 + (random.next() % 3) as f64 / 2.0,
        most_open_ms: 5_000,
        probes: 1 + (random.next() % 4) as usize,
        successes: 1 + (random.next() % 4) as u32,
        lease_ms: 2 * TIMEOUT,
    }
}

#[test]
fn stories_of_failure_end_well() {
    for seed in 1..=60 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let mut world = World::new(rules(&mut random), random.next());
        let stories = [
            Health::Crashed,
            Health::Dying(0),
            Health::Flapping(1_500 + random.next() % 4_000),
            Health::Partly(60),
            Health::Crashed,
        ];
        world.live(Health::Well, 5_000);
        assert_eq!(
            (world.phase(), world.refused),
            (Phase::Closed, 0),
            "{seed}: one that is well is left alone"
        );
        for story in stories {
            let story = if story == Health::Dying(0) { Health::Dying(world.now) } else { story };
            world.live(story, 20_000);
            let (admitted, refused) = (world.admitted, world.refused);
            assert!(refused > 0, "{seed}: {story:?} goes unnoticed");
            match story {
                Health::Crashed => {
                    assert!(admitted * 5 < refused, "{seed}: {admitted} of {refused} get through");
                }
                // Those that waited for a probe were not refused for ever.
                _ => assert!(admitted > 0, "{seed}: {story:?} starves everybody"),
            }
            world.live(Health::Well, world.bound());
            assert_eq!(
                world.phase(),
                Phase::Closed,
                "{seed}: {:?} does not recover from {story:?}",
                world.rules
            );
            world.live(Health::Well, 10_000);
            assert_eq!(world.refused, 0, "{seed}: {story:?} is held against it");
        }
    }
}

#[test]
fn an_open_breaker_tries_again_as_often_as_it_says() {
    let mut random = Random(7);
    let rules = Rules { growth: 1.0, open_ms: 1_000, probes: 1, ..rules(&mut random) };
    let mut world = World::new(rules, 99);
    world.live(Health::Crashed, 2_000);
    world.live(Health::Crashed, 60_000);
    assert!((50..=70).contains(&world.admitted), "{} probes in 60 s, one a second", world.admitted);
}

#[test]
fn many_threads_never_send_more_probes_than_allowed() {
    const PROBES: usize = 3;
    let clock = Clock::fixed(1_000_000);
    let services = Services::new(8, clock.clone(), false);
    let subject = Subject { plugin: "p".to_owned(), service: "s".to_owned(), ..Subject::default() };
    let breaker = Breaker::new(subject, &services);
    let rules =
        Rules { open_ms: 50, growth: 1.0, probes: PROBES, lease_ms: u64::MAX, ..rules(&mut Random(3)) };
    let (well, at_once, most, probed) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let work = |seed: u64| {
        let mut random = Random(seed);
        for turn in 0..20_000 {
            well.store(turn > 15_000, Ordering::Relaxed);
            let Verdict::Pass(pass) = breaker.admit(&rules, clock.now_ms()) else {
                clock.advance(1);
                continue;
            };
            if pass.probe.is_some() {
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                probed.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
                at_once.fetch_sub(1, Ordering::SeqCst);
            }
            let outcome = match random.next() % 10 {
                0 => Outcome::Nothing,
                _ if well.load(Ordering::Relaxed) => Outcome::Success { slow: false },
                _ => Outcome::Failure,
            };
            breaker.settle(pass, outcome, &rules, clock.now_ms());
        }
    };
    std::thread::scope(|scope| {
        for seed in 1..=8 {
            scope.spawn(move || work(seed));
        }
    });
    let (most, probed) = (most.into_inner(), probed.into_inner());
    assert!(most <= PROBES && probed > 100, "{most} at once, {probed} in all");
    clock.advance(1_000_000);
    for _ in 0..100 {
        if let Verdict::Pass(pass) = breaker.admit(&rules, clock.now_ms()) {
            breaker.settle(pass, Outcome::Success { slow: false }, &rules, clock.now_ms());
        }
    }
    assert_eq!(breaker.view(clock.now_ms()).phase, Phase::Closed, "no probe was lost");
}
