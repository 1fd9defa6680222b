//! Wall-clock time that tests can set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Source of wall-clock time in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Default)]
pub struct Clock {
    fixed: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// A clock that stands at `now_ms` until [`Clock::set`] or [`Clock::advance`] moves it.
    #[must_use]
    pub fn fixed(now_ms: u64) -> Self {
        Self { fixed: Some(Arc::new(AtomicU64::new(now_ms))) }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.fixed {
            Some(fixed) => fixed.load(Ordering::Relaxed),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
        }
    }

    /// Waits for `duration`. A fixed clock goes forward by it, and nobody waits.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        let clock = self.clone();
        async move {
            match clock.fixed {
                Some(_) => clock.advance(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
                None => tokio::time::sleep(duration).await,
            }
        }
    }

    /// Moves a fixed clock to `now_ms`; a system clock ignores it.
    pub fn set(&self, now_ms: u64) {
        if let Some(fixed) = &self.fixed {
            fixed.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Moves a fixed clock forward; a system clock ignores it.
    pub fn advance(&self, by_ms: u64) {
        if let Some(fixed) = &self.fixed {
            fixed.fetch_add(by_ms, Ordering::Relaxed);
        }
    }
}
