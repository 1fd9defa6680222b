//! The gateway's own keys: what it signs tokens with, and what services check them by.
//!
//! A ring is what a set of keys has for one algorithm. The keys are declared (the entities `key_sets` and `keys`), or else made
//! by this process and exchanged from time to time, or come from a URL. One key signs; published are also the one that will be
//! next and the one that was before, so that nobody meets a key that could not be known. Secrets are not published.

mod declared;
mod made;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Answer, Call};
use crate::build::{Build, BuildError};
use crate::jose::{Algorithm, Signer};
use crate::remember::{Failure, Freshness, Published};
use crate::services::Services;
use made::Made;

pub use declared::Declared;

/// The keys of a set for one algorithm.
pub struct KeyRing {
    set: Box<str>,
    source: Source,
}

enum Source {
    Declared(Declared),
    Made(Arc<Made>),
    Fetched(Arc<Published<Declared>>),
    /// Where a configuration is only checked.
    Nothing,
}

/// How a document with keys is got.
pub type Fetch = crate::remember::Source<Vec<u8>>;

/// Why keys are not exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// They are not the process's to make.
    NotMadeHere,
    /// The next ones are being made.
    Early,
}

impl KeyRing {
    /// The ring of the set `name`: the entity of `key_sets` of that name, or else one that the process makes.
    ///
    /// # Errors
    /// The field `field`: no key of the set can sign so, or none can be made.
    pub fn open(
        cx: &Build<'_>,
        name: &str,
        algorithm: Algorithm,
        field: &str,
    ) -> Result<Arc<Self>, BuildError> {
        let refused = |message: String| BuildError::new(field, message);
        let set = name.into();
        if let Some(declared) = Declared::find(cx, name, algorithm).map_err(refused)? {
            let key = format!("keyring {name} {} {}", algorithm.name(), declared.fingerprint());
            return Ok(cx.services.keep(&key, || Self { set, source: Source::Declared(declared) }));
        }
        if cx.services.dry_run {
            return Ok(Arc::new(Self { set, source: Source::Nothing }));
        }
        let key = format!("keyring {name} {} made", algorithm.name());
        if let Some(known) = cx.services.kept::<Self>(&key) {
            return Ok(known);
        }
        let made = Made::new(algorithm, cx.services.steady.clone());
        let made = made.ok_or_else(|| refused("no key can be made for it".to_owned()))?;
        Ok(cx.services.keep(&key, || Self { set, source: Source::Made(Arc::new(made)) }))
    }

    /// The ring of the private keys at `url`, asked for as `settings` (all that the answer depends on) and `fetch` say.
    pub fn at(
        cx: &Build<'_>,
        (url, settings): (&str, &str),
        algorithm: Algorithm,
        freshness: Freshness,
        fetch: Fetch,
    ) -> Arc<Self> {
        let key = format!("keyring {url} {} {freshness:?} {settings}", algorithm.name());
        let services = cx.services;
        services.keep(&key, || {
            let source: crate::remember::Source<Declared> = Box::new(move || {
                let asked = fetch();
                Box::pin(async move { Declared::read(&asked.await?, algorithm) })
            });
            let published = Published::new(("keys", url), source, freshness, services);
            Self { set: url.into(), source: Source::Fetched(Arc::new(published)) }
        })
    }

    /// Changes with the key that signs; what was signed under another number is signed by another key.
    #[must_use]
    pub fn number(&self) -> u64 {
        match &self.source {
            Source::Declared(_) | Source::Nothing => 1,
            Source::Made(made) => made.number(),
            Source::Fetched(published) => published.number(),
        }
    }

    /// What signs, if it is at hand, with the number it was found under.
    #[must_use]
    pub fn at_hand(&self) -> Option<(u64, Arc<Signer>)> {
        match &self.source {
            Source::Declared(declared) => Some((1, declared.signer())),
            Source::Made(made) => Some(made.signer()),
            Source::Fetched(published) => {
                published.at_hand().map(|edition| (edition.number, edition.content.signer()))
            }
            Source::Nothing => None,
        }
    }

    /// What signs, once it is at hand.
    ///
    /// # Errors
    /// Why there is nothing.
    pub async fn obtain(&self) -> Result<(u64, Arc<Signer>), Failure> {
        match &self.source {
            Source::Fetched(published) => {
                published.obtain().await.map(|edition| (edition.number, edition.content.signer()))
            }
            _ => self.at_hand().ok_or_else(|| Failure::from("there are no keys")),
        }
    }

    /// Exchanges keys that were made here longer than `period` ago. The time it takes to make new ones is nobody's: a thread's.
    pub fn exchange_after(&self, period: Duration) {
        if let Source::Made(made) = &self.source {
            made.exchange_after(period);
        }
    }

    /// Has the next key sign, and keeps the one before published.
    ///
    /// # Errors
    /// Why not.
    pub fn exchange(&self) -> Result<(), Unchanged> {
        match &self.source {
            Source::Made(made) => made.exchange(),
            _ => Err(Unchanged::NotMadeHere),
        }
    }

    /// Makes all keys anew, and publishes none of the old ones: what they have signed is good no more.
    ///
    /// # Errors
    /// Why not.
    pub fn replace(&self) -> Result<(), Unchanged> {
        match &self.source {
            Source::Made(made) => made.replace(),
            _ => Err(Unchanged::NotMadeHere),
        }
    }

    fn published(&self) -> Vec<Value> {
        match &self.source {
            Source::Declared(declared) => declared.published().to_vec(),
            Source::Made(made) => made.published(),
            Source::Fetched(published) => {
                published.at_hand().map_or_else(Vec::new, |edition| edition.content.published().to_vec())
            }
            Source::Nothing => Vec::new(),
        }
    }
}

/// The sets that something signs with, by name.
#[must_use]
pub fn sets(services: &Services) -> Vec<String> {
    let rings = services.all_kept::<KeyRing>();
    let mut names: Vec<String> = rings.iter().map(|(_, ring)| ring.set.to_string()).collect();
    names.sort();
    names.dedup();
    names
}

/// The rings of a set.
#[must_use]
pub fn rings(services: &Services, set: &str) -> Vec<Arc<KeyRing>> {
    let rings = services.all_kept::<KeyRing>().into_iter().map(|(_, ring)| ring);
    rings.filter(|ring| *ring.set == *set).collect()
}

/// The public keys of a set, or of all sets, as a JWK Set (RFC 7517 5).
#[must_use]
pub fn jwks(services: &Services, set: Option<&str>) -> Value {
    let rings = services.all_kept::<KeyRing>().into_iter().map(|(_, ring)| ring);
    let wanted = rings.filter(|ring| set.is_none_or(|set| *ring.set == *set));
    let mut keys: Vec<Value> = Vec::new();
    for key in wanted.flat_map(|ring| ring.published()) {
        // Two algorithms of a declared set show the same key twice, and a reload shows it in two rings.
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    json!({ "keys": keys })
}

/// Answers with the public keys of a set, or of all. 404 if there is no such set.
#[must_use]
pub fn answer(call: &Call<'_>, set: Option<&str>) -> Answer {
    if set.is_some_and(|set| rings(call.services, set).is_empty()) {
        return Answer::not_found();
    }
    let mut answer = Answer::json(200, &jwks(call.services, set));
    // RFC 7517 8.5.1. Whoever meets a key that it does not know asks again at once.
    answer.content_type = "application/jwk-set+json";
    answer.headers.push(("Cache-Control", "public, max-age=300".to_owned()));
    answer
}

/// Exchanges the keys of the set that the path names.
#[must_use]
pub fn rotate(call: &Call<'_>) -> Answer {
    change(call, KeyRing::exchange)
}

/// Replaces the keys of the set that the path names.
#[must_use]
pub fn renew(call: &Call<'_>) -> Answer {
    change(call, KeyRing::replace)
}

fn change(call: &Call<'_>, change: impl Fn(&KeyRing) -> Result<(), Unchanged>) -> Answer {
    let set = call.parameters.first().copied().unwrap_or_default();
    let rings = rings(call.services, set);
    let mut outcome = Err(Unchanged::NotMadeHere);
    for ring in &rings {
        match change(ring) {
            Err(Unchanged::NotMadeHere) => {}
            made_here => outcome = made_here,
        }
    }
    let refused = |message: &str| Answer::json(409, &json!({ "message": message }));
    match outcome {
        _ if rings.is_empty() => Answer::not_found(),
        Ok(()) => answer(call, Some(set)),
        Err(Unchanged::Early) => refused("the next keys are still being made: try again in a moment"),
        Err(Unchanged::NotMadeHere) => {
            refused("these keys are not made here: exchange them where they are declared")
        }
    }
}
