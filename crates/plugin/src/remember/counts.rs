//! What a memory publishes among the metrics.

use std::sync::Arc;

use crate::figures::{Family, Figure, Figures, Kind};

static HITS: Family = counter("remembered_hits_total", "Questions to others that needed no call");
static MISSES: Family = counter("remembered_misses_total", "Questions to others that waited for a call");
static CALLS: Family =
    counter("remembered_calls_total", "Calls to others, for questions of any number of requests");
static REFRESHES: Family = counter(
    "remembered_refreshes_total",
    "Calls for what was known already, but had grown old or was thought to have changed",
);
static FAILURES: Family = counter("remembered_failures_total", "Calls to others that came to no answer");
static STALE: Family = counter(
    "remembered_stale_total",
    "Questions answered by what had grown old, because who is asked gave no answer or is being asked",
);
static SPARED: Family = counter(
    "remembered_spared_total",
    "Calls that somebody had reason for and that were not made, because there had been one a moment ago",
);
static ENTRIES: Family =
    level("remembered_entries", "Answers of others that are remembered, failures of a moment ago included");
static BYTES: Family = level("remembered_bytes", "What these answers take in memory, roughly");

/// Whose answers, and who is asked, where that is one.
const LABELS: &[&str] = &["cache", "source"];

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Counter, labels: LABELS }
}

const fn level(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: Kind::Gauge, labels: LABELS }
}

/// The figures of a memory.
pub(super) struct Counts {
    pub(super) hits: Arc<Figure>,
    pub(super) misses: Arc<Figure>,
    pub(super) calls: Arc<Figure>,
    pub(super) refreshes: Arc<Figure>,
    pub(super) failures: Arc<Figure>,
    pub(super) stale: Arc<Figure>,
    pub(super) spared: Arc<Figure>,
    /// Entries, and bytes.
    pub(super) sizes: [Arc<Figure>; 2],
}

impl Counts {
    pub(super) fn new(figures: &Figures, cache: &str, source: &str) -> Self {
        let figure = |family| figures.of(family, &[cache, source]);
        Self {
            hits: figure(&HITS),
            misses: figure(&MISSES),
            calls: figure(&CALLS),
            refreshes: figure(&REFRESHES),
            failures: figure(&FAILURES),
            stale: figure(&STALE),
            spared: figure(&SPARED),
            sizes: [figure(&ENTRIES), figure(&BYTES)],
        }
    }

    /// Shows them among these figures, too.
    pub(super) fn show_in(&self, figures: &Figures, cache: &str, source: &str) {
        let [entries, bytes] = &self.sizes;
        for (family, figure) in [
            (&HITS, &self.hits),
            (&MISSES, &self.misses),
            (&CALLS, &self.calls),
            (&REFRESHES, &self.refreshes),
            (&FAILURES, &self.failures),
            (&STALE, &self.stale),
            (&SPARED, &self.spared),
            (&ENTRIES, entries),
            (&BYTES, bytes),
        ] {
            figures.show(family, &[cache, source], figure);
        }
    }

    pub(super) fn resized(&self, before: [u64; 2], after: [u64; 2]) {
        for (figure, (before, after)) in self.sizes.iter().zip(before.into_iter().zip(after)) {
            figure.shift(before, after);
        }
    }
}
