//! A document that somebody publishes, keys of an issuer above all: asked for once, parsed once, kept fresh.
//!
//! A document that has grown old is used while a newer one is asked for, and for as long as its publisher is down. A key that
//! is not known has it asked for again, at most once per cool-down, so that made-up ids reach nobody.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Digest, Failure, Learned, Memory, Settings};
use crate::outbound::told;
use crate::services::Services;

/// First wait after a failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How a document is got: a future that yields it, or says why not.
pub type Source<T> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, String>> + Send>> + Send + Sync>;

/// How fresh a document has to be.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// How long it is used before it is asked for again; chance makes it up to a tenth shorter.
    pub lifetime: Duration,
    /// Least time between two requests for it.
    pub cool_down: Duration,
    /// How long it is believed that there is none. Without it a second, and twice as long each time, up to the cool-down.
    pub negative: Option<Duration>,
}

/// A document as it was published at some time.
pub struct Edition<T> {
    /// Which one it is, from 1.
    pub number: u64,
    /// What it says.
    pub content: T,
}

/// A document that somebody publishes.
pub struct Published<T> {
    memory: Arc<Memory<Edition<T>>>,
    /// There is one document in the memory.
    key: Digest,
    source: Source<T>,
    freshness: Freshness,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// A document called `name`, an address, that has not been asked for. In log lines and metrics it is the source of the
    /// cache of that name.
    #[must_use]
    pub fn new(
        (cache, name): (&'static str, &str),
        source: Source<T>,
        freshness: Freshness,
        services: &Services,
    ) -> Self {
        let settings = Settings {
            entries: 1,
            bytes: usize::MAX,
            pause: freshness.negative.unwrap_or(FIRST_RETRY),
            longest_pause: freshness.negative.unwrap_or(freshness.cool_down),
            most_asked: 1,
        };
        let names = (cache, told(name));
        let memory = Arc::new(Memory::new(names, &settings, services.clock.clone(), &services.figures));
        Self { memory, key: Digest::of([]), source, freshness }
    }

    /// The number of the edition that is used; 0 without any. What was found out by another one has to be found out again.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.memory.learned()
    }

    /// The edition at hand, if any, however old. An old one has a newer one asked for, and nobody waits for that. For where
    /// there is a runtime.
    #[must_use]
    pub fn at_hand(self: &Arc<Self>) -> Option<Arc<Edition<T>>> {
        self.memory.at_hand(self.key, || self.clone().ask())
    }

    /// The edition at hand, or else the first one, once it has come.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn obtain(self: &Arc<Self>) -> Result<Arc<Edition<T>>, Failure> {
        match self.at_hand() {
            Some(edition) => Ok(edition),
            None => self.memory.fetch(self.key, self.clone().ask()).await,
        }
    }

    /// A newer edition than the one with that number, if there is one or one can be had; none during the cool-down.
    pub async fn newer_than(self: &Arc<Self>, number: u64) -> Option<Arc<Edition<T>>> {
        let known = match self.number() > number {
            true => self.at_hand(),
            false => {
                let cool_down = self.freshness.cool_down;
                self.memory.renew(self.key, cool_down, self.clone().ask()).await.ok()
            }
        };
        known.filter(|edition| edition.number > number)
    }

    /// Replaces the edition at hand.
    pub fn publish(&self, content: T) {
        let _kept = self.memory.learn(self.key, self.edition(content));
    }

    async fn ask(self: Arc<Self>) -> Result<Learned<Edition<T>>, String> {
        let content = (self.source)().await?;
        Ok(self.edition(content))
    }

    /// The next edition. If two came at once they would have the same number, and [`Published::number`] that of neither: what
    /// was found out by one would not be taken for found out by the other.
    fn edition(&self, content: T) -> Learned<Edition<T>> {
        let Freshness { lifetime, cool_down, .. } = self.freshness;
        let edition = Edition { number: self.number() + 1, content };
        Learned::new(edition, lifetime).jittered(cool_down).stale(Duration::MAX)
    }
}

#[cfg(test)]
mod tests;
