//! When secrets are looked up again, so that one that has been exchanged counts without a restart.
//!
//! What they stand for is remembered, by reference: for as long as the vault or the setting says, that there is nothing
//! included. What does not hold any more is due, whatever becomes of the system's clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::secret::{Found, Secret, Vaults};
use plugin::Services;
use plugin::figures::{Family, Figure, Kind};
use plugin::remember::{Digest, Learned, Memory, Settings};

static IN_USE: Family = Family {
    name: "secrets_in_use",
    help: "References to secrets that the configuration holds",
    kind: Kind::Gauge,
    labels: &[],
};
static MISSING: Family = Family {
    name: "secrets_missing",
    help: "References whose secret was not to be had when it was last looked up, so that the value before stays in use",
    kind: Kind::Gauge,
    labels: &[],
};
static LOOKED_UP: Family = Family {
    name: "secret_renewals_total",
    help: "Secrets that were looked up again, by what was found: the same, another, or nothing",
    kind: Kind::Counter,
    labels: &["outcome"],
};

/// What the references of a configuration stand for. The environment of a process never changes and is not asked again.
pub struct Renewal {
    /// For references whose vault does not say; none: they are never due.
    interval: Option<Duration>,
    known: Memory<Secret>,
    /// The references that are known, and whether there was nothing to be found the last time, which has been said.
    missed: HashMap<String, bool>,
    in_use: Arc<Figure>,
    missing: Arc<Figure>,
    same: Arc<Figure>,
    other: Arc<Figure>,
    nothing: Arc<Figure>,
}

/// Nobody is asked more often, and the thread sleeps no longer than the other: a new configuration may have other times.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

impl Renewal {
    /// References are due each `interval`, where a vault does not say otherwise.
    pub fn new(interval: Option<Duration>, services: &Services) -> Self {
        let figures = &services.figures;
        let looked_up = |outcome| figures.of(&LOOKED_UP, &[outcome]);
        // What a configuration holds in any case is not bounded once more.
        let bounds = Settings { entries: usize::MAX, bytes: usize::MAX, ..Settings::default() };
        Self {
            interval,
            known: Memory::new(("secrets", ""), &bounds, services.clock.clone(), figures),
            missed: HashMap::new(),
            in_use: figures.of(&IN_USE, &[]),
            missing: figures.of(&MISSING, &[]),
            same: looked_up("same"),
            other: looked_up("changed"),
            nothing: looked_up("missing"),
        }
    }

    /// Looks up what is due in `found`, the secrets now in use. Whether any has changed.
    pub fn changed(&mut self, found: &[Found], vaults: &dyn Vaults) -> bool {
        self.forget_others(found);
        let due: Vec<&Found> = found.iter().filter(|secret| self.is_due(secret)).collect();
        let texts = vaults.read(&due.iter().map(|secret| &secret.wanted).collect::<Vec<_>>());
        let mut changed = false;
        for (secret, text) in due.into_iter().zip(texts) {
            changed |= self.take_in(secret, text.and_then(|text| secret.meaning(text)));
        }
        self.in_use.set(found.len() as u64);
        self.missing.set(self.missed.values().filter(|missed| **missed).count() as u64);
        changed
    }

    fn forget_others(&mut self, found: &[Found]) {
        let in_use: HashSet<&str> = found.iter().map(|found| found.reference.as_str()).collect();
        self.missed.retain(|reference, _| {
            let is_in_use = in_use.contains(reference.as_str());
            if !is_in_use {
                self.known.forget(&key(reference));
            }
            is_in_use
        });
    }

    /// How long what a secret stands for holds; none for ever.
    fn lifetime(&self, secret: &Found) -> Option<Duration> {
        secret.time_to_live().or(self.interval).filter(|_| secret.wanted.kind != "env")
    }

    /// Whether a secret is to be looked up now.
    fn is_due(&mut self, secret: &Found) -> bool {
        let Some(lifetime) = self.lifetime(secret) else { return false };
        if !self.missed.contains_key(&secret.reference) {
            self.missed.insert(secret.reference.clone(), false);
            self.learn(secret, lifetime);
        }
        self.known.holds_for(&key(&secret.reference)).is_none_or(|left| left.is_zero())
    }

    /// It has been found with the configuration.
    fn learn(&self, secret: &Found, lifetime: Duration) {
        let _known = self.known.learn(key(&secret.reference), learned(secret.value.clone(), lifetime));
    }

    /// Remembers what was found. Whether that is another value.
    fn take_in(&mut self, secret: &Found, found: Result<Secret, String>) -> bool {
        let lifetime = self.lifetime(secret).unwrap_or(PAUSES.1);
        let pause = secret.time_to_miss().unwrap_or(lifetime);
        let missed = self.missed.insert(secret.reference.clone(), found.is_err()).unwrap_or(false);
        let changed = match &found {
            Ok(value) => {
                let changed = *value != secret.value;
                let count = if changed { &self.other } else { &self.same };
                count.add(1);
                changed
            }
            Err(reason) => {
                if !missed {
                    tracing::warn!(
                        reference = secret.reference,
                        reason,
                        "a secret is no longer there: the last value stays in use"
                    );
                }
                self.nothing.add(1);
                false
            }
        };
        let answer = found.map(|value| learned(value, lifetime));
        let _known = self.known.take_in(key(&secret.reference), answer, Some(pause));
        changed
    }

    /// How long nothing of `found` is due.
    pub fn pause(&self, found: &[Found]) -> Duration {
        let due = found.iter().filter_map(|secret| self.known.holds_for(&key(&secret.reference)));
        due.min().unwrap_or(PAUSES.1).clamp(PAUSES.0, PAUSES.1)
    }
}

fn key(reference: &str) -> Digest {
    Digest::of([reference.as_bytes()])
}

/// The last value stays in use while there is no other.
fn learned(value: Secret, lifetime: Duration) -> Learned<Secret> {
    let size = value.reveal().len();
    Learned::new(value, lifetime).stale(Duration::MAX).holding(size)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use model::declarative::load_with;
    use model::secret::Wanted;
    use model::{Catalog, Config};
    use plugin::clock::Clock;

    use super::*;

    struct Store {
        value: RefCell<Option<&'static str>>,
        asked: Cell<u32>,
    }

    impl Vaults for Store {
        fn read(&self, wanted: &[&Wanted]) -> Vec<Result<Secret, String>> {
            self.asked.set(self.asked.get() + wanted.len() as u32);
            wanted
                .iter()
                .map(|_| self.value.borrow().map(Secret::new).ok_or_else(|| "gone".to_owned()))
                .collect()
        }
    }

    const ONE: &str = r#"{"kid":"k","n":1}"#;
    const TWO: &str = r#"{"kid":"k","n":2}"#;

    fn start(reference: &str) -> (Store, Config) {
        let store = Store { value: RefCell::new(Some(ONE)), asked: Cell::new(0) };
        let text = format!("{{_format_version: '3.0', keys: [{{kid: k, jwk: '{reference}'}}]}}");
        let config = load_with("kong.yml", &text, &Catalog::default(), &store).unwrap();
        store.asked.set(0);
        (store, config)
    }

    #[test]
    fn a_secret_is_looked_up_when_its_time_is_over() {
        let (store, config) = start("{vault://file/key?ttl=10&neg_ttl=2}");
        let services = Services::new(1, Clock::fixed(0), false);
        let figures = &services.figures;
        let mut renewal = Renewal::new(Some(Duration::from_secs(60)), &services);
        let mut at = |seconds: u64| {
            services.clock.advance(seconds * 1_000 - services.clock.now_ms());
            renewal.changed(&config.secrets, &store)
        };
        assert!(!at(0) && !at(9));
        assert_eq!(store.asked.get(), 0, "nothing is due");
        assert!(!at(10), "it is the same");
        store.value.replace(Some(TWO));
        assert!(!at(19));
        assert_eq!(store.asked.get(), 1);
        assert!(at(20), "it has changed");
        store.value.replace(None);
        assert!(!at(30) && !at(31));
        assert_eq!(store.asked.get(), 3, "what is not there is asked for again after neg_ttl");
        store.value.replace(Some(TWO));
        assert_eq!(figures.of(&MISSING, &[]).value(), 1, "it is known that it is missing");
        assert!(at(32));
        let count = |outcome| figures.of(&LOOKED_UP, &[outcome]).value();
        assert_eq!((count("same"), count("changed"), count("missing")), (1, 2, 1));
        assert_eq!((figures.of(&IN_USE, &[]).value(), figures.of(&MISSING, &[]).value()), (1, 0));
        let mut told = Vec::new();
        figures.each(|family, values| {
            let of_secrets =
                values.iter().find(|(labels, _)| labels.first().is_some_and(|one| one == "secrets"));
            told.extend(of_secrets.map(|(_, value)| (family.name, *value)));
        });
        for expected in [
            ("calls_total", 4),
            ("refreshes_total", 4),
            ("failures_total", 1),
            ("misses_total", 5),
            ("entries", 1),
        ] {
            let expected = (&*format!("remembered_{}", expected.0), expected.1);
            assert!(told.contains(&expected), "{expected:?} in {told:?}");
        }
    }

    #[test]
    fn the_next_look_is_when_the_next_secret_is_due() {
        let (store, config) = start("{vault://file/key?ttl=10&neg_ttl=2}");
        let services = Services::new(1, Clock::fixed(0), false);
        let mut renewal = Renewal::new(None, &services);
        let mut pause_at = |seconds: u64| {
            services.clock.advance(seconds * 1_000 - services.clock.now_ms());
            renewal.changed(&config.secrets, &store);
            renewal.pause(&config.secrets).as_secs()
        };
        assert_eq!((pause_at(0), pause_at(7), pause_at(9)), (5, 3, 1));
        store.value.replace(None);
        assert_eq!((pause_at(10), pause_at(12)), (2, 2));
    }

    #[test]
    fn the_setting_counts_where_no_time_is_given_and_may_be_never() {
        let (store, config) = start("{vault://file/key}");
        store.value.replace(Some(TWO));
        for (interval, expected) in [(Some(Duration::from_secs(60)), true), (None, false)] {
            let services = Services::new(1, Clock::fixed(0), false);
            let mut renewal = Renewal::new(interval, &services);
            assert!(!renewal.changed(&config.secrets, &store));
            services.clock.advance(59_000);
            assert!(!renewal.changed(&config.secrets, &store));
            services.clock.advance(1_000);
            assert_eq!(renewal.changed(&config.secrets, &store), expected);
        }
    }

    #[test]
    fn a_clock_that_is_set_makes_nothing_due_and_keeps_nothing_from_it() {
        let (store, config) = start("{vault://file/key?ttl=10}");
        let services = Services::new(1, Clock::fixed(7_200_000), false);
        let mut renewal = Renewal::new(None, &services);
        let mut asked_at = |clock_ms: u64, passed_ms: u64| {
            services.clock.set(clock_ms);
            services.clock.advance(passed_ms);
            renewal.changed(&config.secrets, &store);
            store.asked.get()
        };
        assert_eq!(asked_at(7_200_000, 0), 0);
        assert_eq!(asked_at(3_600_000, 9_000), 0);
        assert_eq!(asked_at(3_600_000, 1_000), 1, "an hour back, and ten seconds later");
        assert_eq!(asked_at(90_000_000, 9_000), 1, "a day ahead");
        assert_eq!(asked_at(90_000_000, 1_000), 2);
    }

    #[test]
    fn the_environment_is_not_asked_again() {
        let (store, config) = start("{vault://env/key?ttl=1}");
        let services = Services::new(1, Clock::fixed(0), false);
        let mut renewal = Renewal::new(Some(Duration::from_secs(1)), &services);
        renewal.changed(&config.secrets, &store);
        services.clock.advance(100_000);
        renewal.changed(&config.secrets, &store);
        assert_eq!(store.asked.get(), 0);
    }
}
