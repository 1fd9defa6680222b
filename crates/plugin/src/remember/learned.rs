//! What was learned, and how long that holds.

use std::time::Duration;

use uuid::Uuid;

use super::milliseconds;

/// By how many hundredths a time is shortened at most, where chance shortens it.
const JITTER: u64 = 10;

/// What a source has said, and how long that holds.
#[derive(Debug)]
pub struct Learned<V> {
    pub(super) value: V,
    pub(super) bytes: usize,
    pub(super) fresh_ms: u64,
    pub(super) stale_ms: u64,
    pub(super) until_ms: u64,
}

impl<V> Learned<V> {
    /// `value`, which holds for so long. A time of zero is for whoever asks at the moment, and not remembered.
    #[must_use]
    pub fn new(value: V, fresh: Duration) -> Self {
        Self { value, bytes: size_of::<V>(), fresh_ms: milliseconds(fresh), stale_ms: 0, until_ms: u64::MAX }
    }

    /// Its size in memory, beyond the type itself.
    #[must_use]
    pub fn holding(mut self, bytes: usize) -> Self {
        self.bytes = self.bytes.saturating_add(bytes);
        self
    }

    /// It may be used for so much longer while its source is down.
    #[must_use]
    pub fn stale(mut self, stale: Duration) -> Self {
        self.stale_ms = milliseconds(stale);
        self
    }

    /// It holds a little shorter, up to a tenth, as chance decides, so that gateways that began together do not ask
    /// together; but for so long at least.
    #[must_use]
    pub fn jittered(mut self, least: Duration) -> Self {
        let chance = Uuid::new_v4().as_u128() as u64 % (JITTER * 10 + 1);
        self.fresh_ms = (self.fresh_ms - self.fresh_ms / 1_000 * chance).max(milliseconds(least));
        self
    }

    /// It holds until this time at the very latest, in milliseconds since 1970, whatever else is said.
    #[must_use]
    pub fn until(mut self, until_ms: u64) -> Self {
        self.until_ms = until_ms;
        self
    }
}
