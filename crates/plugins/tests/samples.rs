//! The sample limiters and breakers beside their counterparts in `examples/seeds`: where a sample is wrong, it is shown to
//! be, and the counterpart not. The samples are written down here as they are, with the time as a parameter.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

use plugin::harness::{Harness, START_MS};
use plugin::model::{Catalog, Config, declarative};
use plugin::{Definition, room};
use plugins::circuit_breaker::CircuitBreaker;
use plugins::rate_limiting_advanced::RateLimitingAdvanced;

const LIMITERS: &str = include_str!("../../../examples/seeds/rate-limiting/kong.yml");
const IN_REDIS: &str = include_str!("../../../examples/seeds/rate-limiting-redis/kong.yml");
const BREAKERS: &str = include_str!("../../../examples/seeds/circuit-breaker/kong.yml");
const LIMITER: &dyn Definition = room::<RateLimitingAdvanced>();
const BREAKER: &dyn Definition = room::<CircuitBreaker>();
const SECOND: u64 = 1000;

fn example(text: &str) -> Config {
    let catalog = Catalog {
        plugins: plugins::ROOMS.iter().map(|room| room.schema()).collect(),
        entities: plugins::ROOMS.iter().flat_map(|room| room.entities()).collect(),
    };
    declarative::load("kong.yml", text, &catalog).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// What the example's service has for the plugin `name`.
fn settings(config: &Config, service: &str, name: &str) -> serde_json::Value {
    let id = config.services.iter().find(|one| one.name.as_deref() == Some(service)).unwrap().id;
    let row = config.plugins.iter().find(|row| row.name == name && row.service == Some(id)).unwrap();
    row.config.clone()
}

fn limiter(service: &str) -> Harness {
    let config = settings(&example(LIMITERS), service, "rate-limiting-advanced");
    Harness::global(LIMITER, &config.to_string()).unwrap()
}

fn admitted(harness: &mut Harness, requests: usize) -> usize {
    (0..requests).filter(|_| harness.send("GET / HTTP/1.1\n\n").status == 200).count()
}

/// The limiters with FastAPI and in Go: a window begins with a client's first request.
#[derive(Default)]
struct FixedWindow {
    count: u32,
    reset_at: u64,
}

impl FixedWindow {
    fn allows(&mut self, now: u64) -> bool {
        if now > self.reset_at {
            (self.count, self.reset_at) = (0, now + 60 * SECOND);
        }
        self.count += 1;
        self.count <= 100
    }
}

#[test]
fn around_a_boundary_the_samples_admit_twice_the_limit_and_the_counterparts_do_not() {
    for service in ["fastapi", "go"] {
        let (mut sample, mut ours) = (FixedWindow::default(), limiter(service));
        // One request begins the sample's window; the burst comes at its end, and the next one right behind it.
        assert!(sample.allows(START_MS));
        assert_eq!(admitted(&mut ours, 1), 1);
        let mut burst = |at: u64| {
            ours.clock.set(START_MS + at);
            ((0..150).filter(|_| sample.allows(START_MS + at)).count(), admitted(&mut ours, 150))
        };
        assert_eq!(burst(59_900), (99, 99), "{service}");
        assert_eq!(burst(60_001), (100, 0), "{service}: 100 more, a tenth of a second later");
        // What was used comes back evenly, not all at once.
        assert_eq!(burst(90_000).1, 50, "{service}");
    }
}

#[test]
fn what_a_client_is_told_to_wait_for_is_true() {
    let mut ours = limiter("fastapi");
    ours.clock.set(START_MS + 10_000);
    assert_eq!(admitted(&mut ours, 100), 100);
    let refused = ours.send("GET / HTTP/1.1\n\n");
    assert_eq!((refused.status, refused.body.as_slice()), (429, &br#"{"detail":"Rate limit exceeded"}"#[..]));
    let wait: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    ours.clock.set(START_MS + 10_000 + (wait - 1) * SECOND);
    assert_eq!(admitted(&mut ours, 1), 0);
    ours.clock.set(START_MS + 10_000 + wait * SECOND);
    assert_eq!(admitted(&mut ours, 1), 1);
    let mut flask = limiter("flask");
    assert_eq!(admitted(&mut flask, 101), 100);
    let refused = flask.send("GET / HTTP/1.1\n\n");
    let wait: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert_eq!(refused.json()["retry_after"], wait, "the body tells what the field does");
}

/// The limiter by paths: the time of its counter begins anew with every request.
#[derive(Default)]
struct NeverEnding {
    count: u32,
    expires: u64,
}

impl NeverEnding {
    fn allows(&mut self, now: u64, limit: u32) -> bool {
        if now >= self.expires {
            self.count = 0;
        }
        if self.count >= limit {
            return false;
        }
        (self.count, self.expires) = (self.count + 1, now + 60 * SECOND);
        true
    }
}

#[test]
fn a_client_well_within_its_limit_is_refused_by_the_sample_and_never_by_the_counterpart() {
    let config = example(IN_REDIS);
    let route = config.routes.iter().find(|route| route.name.as_deref() == Some("upload")).unwrap().id;
    let row = config.plugins.iter().find(|row| row.route == Some(route)).unwrap();
    let mut settings = row.config.clone();
    // The same limits, counted here.
    settings["strategy"] = "local".into();
    settings["sync_rate"] = (-1).into();
    let mut ours = Harness::global(LIMITER, &settings.to_string()).unwrap();
    let mut sample = NeverEnding::default();
    // Two uploads a minute, where five are allowed.
    let outcomes: Vec<(bool, usize)> = (0..60)
        .map(|number| {
            let now = START_MS + number * 30 * SECOND;
            ours.clock.set(now);
            (sample.allows(now, 5), admitted(&mut ours, 1))
        })
        .collect();
    assert!(outcomes.iter().any(|(theirs, _)| !theirs), "the sample refuses the sixth");
    assert!(outcomes.iter().all(|(_, ours)| *ours == 1));
}

/// Requests that a breaker, half-open, lets through before the first of them has come back: the samples let everyone.
#[test]
fn half_open_the_counterparts_let_one_request_through_at_a_time() {
    let config = example(BREAKERS);
    for service in ["fastapi", "flask", "typescript", "go", "middleware", "cached"] {
        let mut settings = settings(&config, service, "circuit-breaker");
        let open = settings["open"]["seconds"].as_f64().unwrap() as u64;
        // The samples' failures are broken connections, which the harness cannot have.
        settings["failures"]["statuses"] = [500].as_slice().into();
        let document = format!(
            "_format_version: \"3.0\"\nservices:\n- name: s\n  url: http://127.0.0.1:1\n  routes:\n  - {{name: a, paths: [/]}}\n  \
             plugins:\n  - {{name: circuit-breaker, config: {settings}}}\n"
        );
        let mut harness = Harness::new(BREAKER, &document).unwrap();
        harness.upstream.status = 500;
        (0..5).for_each(|_| assert!(!harness.send("POST / HTTP/1.1\n\n").answered));
        harness.clock.advance(open * SECOND - 1);
        assert_eq!(harness.pass_at_once("POST / HTTP/1.1\n\n", 50), 0, "{service}: open");
        harness.clock.advance(1);
        assert_eq!(harness.pass_at_once("POST / HTTP/1.1\n\n", 50), 1, "{service}: half-open");
    }
}
