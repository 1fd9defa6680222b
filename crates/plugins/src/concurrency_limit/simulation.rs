//! The number that adapts, through stories of overload and failure, on a clock of its own and from a seed: the service stays
//! busy, nobody waits for long, and what was learnt in bad times is forgotten in good ones.

use std::collections::VecDeque;

use super::adaptive::{Adaptive, Rules};

const RULES: Rules = Rules { least: 4, most: 1000, tolerance: 1.5 };
/// Microseconds of a step.
const STEP: u64 = 1_000;

struct Random(u64);

impl Random {
    /// Between 0 and 1, 0 excluded.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// A service that works on so many requests at once, and lets all others wait in the order they came.
#[derive(Clone, Copy)]
struct Service {
    workers: usize,
    /// Microseconds that one takes, on average.
    takes: f64,
    /// Whether all take the same; if not, they vary a lot.
    steady: bool,
}

struct Request {
    came: u64,
    era: u32,
    ends: u64,
}

struct World {
    service: Service,
    adaptive: Adaptive,
    random: Random,
    now: u64,
    waiting: VecDeque<Request>,
    working: Vec<Request>,
    seen: Seen,
}

/// What has happened in a span of time.
#[derive(Debug, Default)]
struct Seen {
    done: usize,
    refused: usize,
    took: u64,
}

impl World {
    fn new(service: Service, seed: u64) -> Self {
        let (waiting, working, seen) = Default::default();
        let random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        Self { service, adaptive: Adaptive::new(RULES), random, now: 1, waiting, working, seen }
    }

    /// Lives through `seconds`, with so many requests a second, and counts anew.
    fn live(&mut self, seconds: u64, rate: f64) -> Seen {
        self.seen = Seen::default();
        let (end, mut due) = (self.now + seconds * 1_000_000, 0.0);
        while self.now < end {
            self.now += STEP;
            due += rate * STEP as f64 / 1_000_000.0;
            while due > 0.0 {
                // Clients do not come in step.
                due += self.random.next().ln();
                self.arrive();
            }
            self.work();
            let limit = self.adaptive.limit();
            assert!((RULES.least..=RULES.most).contains(&limit), "{limit}");
        }
        std::mem::take(&mut self.seen)
    }

    fn arrive(&mut self) {
        let running = self.waiting.len() + self.working.len();
        if running >= self.adaptive.limit() {
            self.seen.refused += 1;
            return;
        }
        let era = self.adaptive.begin(running + 1);
        self.waiting.push_back(Request { came: self.now, era, ends: 0 });
    }

    fn work(&mut self) {
        let now = self.now;
        let (done, working) = std::mem::take(&mut self.working).into_iter().partition(|one| one.ends <= now);
        self.working = working;
        let done: Vec<Request> = done;
        for Request { came, era, .. } in done {
            self.seen.done += 1;
            self.seen.took += now - came;
            self.adaptive.enter(era, now - came, now);
        }
        while self.working.len() < self.service.workers
            && let Some(mut next) = self.waiting.pop_front()
        {
            let varies = if self.service.steady { 1.0 } else { -self.random.next().ln() };
            next.ends = now + (self.service.takes * varies) as u64;
            self.working.push(next);
        }
    }
}

impl Seen {
    /// Milliseconds that a response took, on average.
    fn millis(&self) -> f64 {
        self.took as f64 / self.done.max(1) as f64 / 1_000.0
    }
}

/// 500 requests a second, 20 milliseconds each.
const TEN: Service = Service { workers: 10, takes: 20_000.0, steady: false };

fn each(story: impl Fn(Service, u64)) {
    for seed in 1..=2 {
        for steady in [true, false] {
            story(Service { steady, ..TEN }, seed);
        }
    }
}

#[test]
fn a_lasting_overload_is_borne_and_never_taken_for_normal() {
    each(|service, seed| {
        let mut world = World::new(service, seed);
        world.live(30, 2_000.0);
        for minute in 0..10 {
            let seen = world.live(60, 2_000.0);
            assert!(seen.done > 27_000, "{seed}, {minute}: {} of 30000 that it bears", seen.done);
            assert!(seen.millis() < 60.0, "{seed}, {minute}: {} ms", seen.millis());
        }
        assert!(world.adaptive.limit() < 40, "{seed}: {}", world.adaptive.limit());
    });
}

#[test]
fn there_are_no_pauses() {
    each(|service, seed| {
        let mut world = World::new(service, seed);
        world.live(30, 2_000.0);
        for second in 0..120 {
            let seen = world.live(1, 2_000.0);
            assert!(seen.done > 300, "{seed}, {second}: {} of 500 that it bears", seen.done);
        }
    });
}

#[test]
fn who_has_room_refuses_nobody() {
    each(|service, seed| {
        let mut world = World::new(Service { workers: 100, ..service }, seed);
        world.live(30, 500.0);
        for rate in [50.0, 500.0, 2_000.0, 1.0, 1_000.0] {
            world.live(20, rate);
            let seen = world.live(60, rate);
            assert!(seen.refused * 200 <= seen.done, "{seed}, {rate}: {} of {}", seen.refused, seen.done);
        }
    });
}

#[test]
fn what_has_not_been_used_is_not_relied_on() {
    each(|service, seed| {
        let mut world = World::new(Service { workers: 100, ..service }, seed);
        world.live(120, 200.0);
        assert_eq!(world.adaptive.limit(), 20, "{seed}");
    });
}

#[test]
fn capacity_that_goes_and_comes_back_is_followed() {
    each(|service, seed| {
        let mut world = World::new(Service { workers: 50, ..service }, seed);
        world.live(60, 4_000.0);
        for workers in [50, 5, 50, 15, 100] {
            world.service.workers = workers;
            world.live(40, 6_000.0);
            let (seen, bears) = (world.live(20, 6_000.0), workers * 1_000);
            assert!(seen.done * 100 > bears * 85, "{seed}, {workers}: {} of {bears}", seen.done);
            assert!(seen.millis() < 70.0, "{seed}, {workers}: {} ms", seen.millis());
        }
    });
}

#[test]
fn a_service_that_dies_slowly_is_spared_and_used_again_when_it_is_back() {
    each(|service, seed| {
        let mut world = World::new(service, seed);
        world.live(30, 400.0);
        for factor in 1..=40 {
            world.service.takes = service.takes * f64::from(factor);
            world.live(1, 400.0);
        }
        let dying = world.live(30, 400.0);
        assert!(dying.done > 100, "{seed}: nobody starves: {dying:?}");
        assert!(world.waiting.len() < 20, "{seed}: {} wait there", world.waiting.len());
        world.service.takes = service.takes;
        world.live(40, 400.0);
        let seen = world.live(20, 400.0);
        assert!(seen.done > 7_500, "{seed}: {} of 8000", seen.done);
    });
}

#[test]
fn a_service_that_is_slower_for_good_gets_its_requests_all_the_same() {
    each(|service, seed| {
        let mut world = World::new(Service { workers: 500, ..service }, seed);
        world.live(60, 1_000.0);
        world.service.takes = 100_000.0;
        world.live(90, 1_000.0);
        let seen = world.live(60, 1_000.0);
        assert!(seen.refused * 50 < seen.done, "{seed}: {} of {}", seen.refused, seen.done);
    });
}

#[test]
fn a_start_under_overload_is_no_excuse() {
    each(|service, seed| {
        let mut world = World::new(Service { workers: 1, ..service }, seed);
        world.live(120, 200.0);
        let seen = world.live(60, 200.0);
        assert!(seen.done > 2_500, "{seed}: {} of 3000", seen.done);
        assert!(seen.millis() < 180.0, "{seed}: {} ms", seen.millis());
    });
}
