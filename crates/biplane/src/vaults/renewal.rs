//! When secrets are looked up again, so that one that has been exchanged counts without a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::secret::{Found, Secret, Vaults};
use plugin::figures::{Family, Figure, Figures, Kind};

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

/// When each reference of a configuration is due. The environment of a process never changes and is not asked again.
pub struct Renewal {
    /// For references whose vault does not say; none: they are never due.
    interval: Option<Duration>,
    due: HashMap<String, Due>,
    in_use: Arc<Figure>,
    missing: Arc<Figure>,
    same: Arc<Figure>,
    other: Arc<Figure>,
    nothing: Arc<Figure>,
}

#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// The last time there was nothing to be found, and it has been said.
    missing: bool,
}

/// Nobody is asked more often, and the thread sleeps no longer than the other: a new configuration may have other times.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

impl Renewal {
    /// References are due each `interval`, where a vault does not say otherwise.
    pub fn new(interval: Option<Duration>, figures: &Figures) -> Self {
        let looked_up = |outcome| figures.of(&LOOKED_UP, &[outcome]);
        Self {
            interval,
            due: HashMap::new(),
            in_use: figures.of(&IN_USE, &[]),
            missing: figures.of(&MISSING, &[]),
            same: looked_up("same"),
            other: looked_up("changed"),
            nothing: looked_up("missing"),
        }
    }

    /// Looks up what is due in `found`, the secrets now in use. Whether any has changed.
    pub fn changed(&mut self, found: &[Found], vaults: &dyn Vaults, now: Instant) -> bool {
        self.due.retain(|reference, _| found.iter().any(|found| found.reference == *reference));
        let due: Vec<&Found> = found.iter().filter(|secret| self.is_due(secret, now)).collect();
        let texts = vaults.read(&due.iter().map(|secret| &secret.wanted).collect::<Vec<_>>());
        let mut changed = false;
        for (secret, text) in due.into_iter().zip(texts) {
            changed |= self.take_in(secret, text.and_then(|text| secret.meaning(text)), now);
        }
        self.in_use.set(found.len() as u64);
        self.missing.set(self.due.values().filter(|due| due.missing).count() as u64);
        changed
    }

    /// Whether a secret is to be looked up now.
    fn is_due(&mut self, secret: &Found, now: Instant) -> bool {
        let Some(usual) = secret.time_to_live().or(self.interval) else { return false };
        let first = Due { at: now + usual, missing: false };
        secret.wanted.kind != "env" && self.due.entry(secret.reference.clone()).or_insert(first).at <= now
    }

    /// Says when a secret is due next, by what was found. Whether it has changed.
    fn take_in(&mut self, secret: &Found, found: Result<Secret, String>, now: Instant) -> bool {
        let usual = secret.time_to_live().or(self.interval).unwrap_or(PAUSES.1);
        let Some(due) = self.due.get_mut(&secret.reference) else { return false };
        match found {
            Ok(value) => {
                *due = Due { at: now + usual, missing: false };
                let changed = value != secret.value;
                let count = if changed { &self.other } else { &self.same };
                count.add(1);
                changed
            }
            Err(reason) => {
                if !due.missing {
                    tracing::warn!(
                        reference = secret.reference,
                        reason,
                        "a secret is no longer there: the last value stays in use"
                    );
                }
                self.nothing.add(1);
                *due = Due { at: now + secret.time_to_miss().unwrap_or(usual), missing: true };
                false
            }
        }
    }

    /// How long nothing is due.
    pub fn pause(&self, now: Instant) -> Duration {
        let next = self.due.values().map(|due| due.at.saturating_duration_since(now)).min();
        next.unwrap_or(PAUSES.1).clamp(PAUSES.0, PAUSES.1)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use model::declarative::load_with;
    use model::secret::Wanted;
    use model::{Catalog, Config};

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
        let figures = Figures::default();
        let mut renewal = Renewal::new(Some(Duration::from_secs(60)), &figures);
        let begin = Instant::now();
        let mut at = |seconds| renewal.changed(&config.secrets, &store, begin + Duration::from_secs(seconds));
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
    }

    #[test]
    fn the_setting_counts_where_no_time_is_given_and_may_be_never() {
        let (store, config) = start("{vault://file/key}");
        store.value.replace(Some(TWO));
        let begin = Instant::now();
        for (interval, expected) in [(Some(Duration::from_secs(60)), true), (None, false)] {
            let mut renewal = Renewal::new(interval, &Figures::default());
            assert!(!renewal.changed(&config.secrets, &store, begin));
            assert!(!renewal.changed(&config.secrets, &store, begin + Duration::from_secs(59)));
            let changed = renewal.changed(&config.secrets, &store, begin + Duration::from_secs(60));
            assert_eq!(changed, expected);
        }
    }

    #[test]
    fn the_environment_is_not_asked_again() {
        let (store, config) = start("{vault://env/key?ttl=1}");
        let mut renewal = Renewal::new(Some(Duration::from_secs(1)), &Figures::default());
        let begin = Instant::now();
        renewal.changed(&config.secrets, &store, begin);
        renewal.changed(&config.secrets, &store, begin + Duration::from_secs(100));
        assert_eq!(store.asked.get(), 0);
    }
}
