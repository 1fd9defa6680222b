//! What policies add to a bare proxy. Differences, not ratios: the budget is a time.

use super::table::Table;
use super::{Report, verdict};
use crate::cases::{Case, Sample};
use crate::peers::{Peer, Policy};
use crate::statistics::median_difference;

/// Microseconds that limiting may add when it counts here.
const LOCAL_LIMIT: f64 = 0.3;

impl Report {
    /// What each peer of a case adds to the bare proxy of the same product, in the same rounds.
    pub(super) fn added(&self, case: Case) -> Table {
        let mut table =
            Table::new(&["policy", "connections", "bare us", "adds us", "of that user", "budget", "kept"]);
        for group in self.groups.iter().filter(|group| group.case == case) {
            for series in &group.series {
                let bare = series.peer.without_policy();
                let Some(bare) = group.series.iter().find(|other| Some(other.peer) == bare) else { continue };
                let added = |of: fn(&Sample) -> f64| {
                    median_difference(&series.values(of), &bare.values(of)).unwrap_or(f64::NAN)
                };
                let adds = added(|sample| sample.cpu_us);
                let budget = match series.peer {
                    Peer::Policy(Policy::Local) => Some(LOCAL_LIMIT),
                    Peer::Check(check) => check.budget(),
                    _ => None,
                };
                let kept = |most: f64| verdict(adds < most, group.at_a_time, [series, bare]);
                table.row(&[
                    series.peer.label().to_owned(),
                    group.connections.to_string(),
                    format!("{:.2}", bare.median(|sample| sample.cpu_us)),
                    format!("{adds:+.2}"),
                    format!("{:+.2}", added(|sample| sample.user_us)),
                    budget.map_or(String::new(), |most| format!("{most:.1}")),
                    budget.map_or("", kept).to_owned(),
                ]);
            }
        }
        table
    }
}
