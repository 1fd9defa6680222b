//! What a client finds beside each attack.

use super::table::Table;
use super::{Report, marked, mebibytes};
use crate::cases::attacks::Attacked;

/// Microseconds in which 95 of a hundred requests of the other client have to be answered.
const MOST_P95_US: u64 = 100_000;
/// How much more resident memory there may be than before.
const MOST_GROWTH_KIB: u64 = 16 << 10;
/// What attacks are called elsewhere, by how their names begin or what is in them.
const CALLED: [(&str, &str); 13] = [
    ("rapid-reset", "rapid reset"),
    ("made-you-reset", "MadeYouReset"),
    ("continuations", "CONTINUATION flood"),
    ("pings", "PING flood"),
    ("settings", "SETTINGS flood"),
    ("priorities", "priority churn"),
    ("empty-data", "empty DATA frames"),
    ("a-bomb", "HPACK bomb"),
    ("windows", "window stalls"),
    ("handshakes", "handshake flood"),
    ("a-head-that", "slowloris, head"),
    ("a-body-that", "slowloris, body"),
    ("a-response-that", "slowloris, read"),
];

impl Report {
    pub(super) fn attacks(&self) -> Table {
        let mut table = Table::new(&[
            "attack",
            "form",
            "requests",
            "failed",
            "p50 us",
            "p95 us",
            "p99 us",
            "before MiB",
            "peak MiB",
            "grows MiB",
            "ended by",
            "kept",
        ]);
        for attacked in &self.attacks {
            let Attacked { name, canary, before_kib, peak_kib, .. } = attacked;
            table.row(&[
                called(name).to_owned(),
                name.replace('-', " "),
                canary.requests.to_string(),
                marked(canary.errors, canary.first_error.as_deref()),
                canary.p50_us.to_string(),
                canary.p95_us.to_string(),
                canary.p99_us.to_string(),
                mebibytes(*before_kib),
                mebibytes(*peak_kib),
                mebibytes(attacked.growth_kib()),
                attacked.ended(),
                if attacked.is_kept() { "yes" } else { "**no**" }.to_owned(),
            ]);
        }
        table
    }
}

fn called(name: &str) -> &'static str {
    CALLED.iter().find(|(begins, _)| name.starts_with(begins)).map_or("-", |(_, called)| called)
}

impl Attacked {
    fn growth_kib(&self) -> u64 {
        self.peak_kib.saturating_sub(self.before_kib)
    }

    fn is_kept(&self) -> bool {
        self.canary.errors == 0
            && self.canary.p95_us < MOST_P95_US
            && self.growth_kib() < MOST_GROWTH_KIB
            && !self.endings.is_empty()
    }

    /// The most frequent ending first.
    fn ended(&self) -> String {
        let mut endings: Vec<(&String, &u64)> = self.endings.iter().collect();
        endings.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let texts: Vec<String> = endings.iter().map(|(how, count)| format!("{how} ({count}x)")).collect();
        if texts.is_empty() { "**nothing**".to_owned() } else { texts.join(", ") }
    }
}
