//! How much a memory holds, and how long it waits.

use std::time::Duration;

/// The bounds of a memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Entries at most.
    pub entries: usize,
    /// Bytes at most, by what whoever learns says of them.
    pub bytes: usize,
    /// How long it is believed that there is no answer, the first time.
    pub pause: Duration,
    /// The same at most: it doubles each time there is none again.
    pub longest_pause: Duration,
    /// Questions at a time at most; further ones fail.
    pub most_asked: usize,
}

impl Default for Settings {
    /// 10,000 entries in 16 MiB; failures for a second; 1024 questions at a time.
    fn default() -> Self {
        let pause = Duration::from_secs(1);
        Self { entries: 10_000, bytes: 16 << 20, pause, longest_pause: pause, most_asked: 1024 }
    }
}

impl Settings {
    /// How long it is believed that there is no answer, when there was none so many times.
    pub(super) fn pause_after(&self, failures: u32) -> Duration {
        let doubled = self.pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest_pause.max(self.pause))
    }
}
