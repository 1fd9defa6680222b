//! Counters that rooms show among the gateway's metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::services::Services;

/// A counter with its labels. Lives as long as a room holds it.
pub struct Metric {
    /// Name of the family, such as `biplane_mirror_total`.
    pub name: &'static str,
    /// What the family counts.
    pub help: &'static str,
    /// Labels and their values.
    pub labels: Vec<(&'static str, String)>,
    value: AtomicU64,
}

impl Metric {
    /// The counter of that name with these labels: the one that is kept, if there is one.
    #[must_use]
    pub fn kept(
        services: &Services,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Arc<Self> {
        let key = format!("{name}{labels:?}");
        services.keep(&key, || {
            let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
            Self { name, help, labels, value: AtomicU64::new(0) }
        })
    }

    /// Counts one.
    pub fn count(&self) {
        self.value.fetch_add(1, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}
