//! What policies add to a bare proxy. Differences, not ratios: the budget is a time. A difference without its interval
//! would be read as if it were known.

use super::table::Table;
use super::{BUDGET_AT_A_TIME, Report, marked, mebibytes, shown_us};
use crate::cases::Case;
use crate::cases::added::{Added, Block};
use crate::peers::{Peer, Policy};
use crate::statistics::{Estimate, estimate, mean, median};

/// Microseconds that limiting may add when it counts here.
const LOCAL_LIMIT: f64 = 0.3;

impl Report {
    /// What each peer of a case adds to the bare proxy of the same product.
    pub(super) fn added(&self, case: Case) -> Table {
        let mut table = Table::new(&[
            "with",
            "connections",
            "bare us",
            "adds us",
            "95 % within",
            "mean",
            "budget",
            "kept",
            "RSS MiB",
            "errors",
        ]);
        for added in self.added.iter().filter(|added| added.case == case) {
            let values = |of: fn(&Block) -> f64| added.blocks.iter().map(of).collect::<Vec<f64>>();
            let differences = values(|block| block.peer_us - block.bare_us);
            let Some(adds) = estimate(&differences) else { continue };
            let budget = budget(added.peer);
            table.row(&[
                added.peer.label().to_owned(),
                added.connections.to_string(),
                shown_us(median(&values(|block| block.bare_us))),
                format!("{:+.2}", adds.median),
                adds.within.map_or("-".to_owned(), |(low, high)| format!("{low:+.2} to {high:+.2}")),
                mean(&differences).map_or("-".to_owned(), |mean| format!("{mean:+.2}")),
                budget.map_or(String::new(), |most| format!("{most:.1}")),
                budget.map_or("", |most| kept(added, &adds, most)).to_owned(),
                mebibytes(added.resident_kib),
                marked(added.errors, added.first_error.as_deref()),
            ]);
        }
        table
    }
}

fn budget(peer: Peer) -> Option<f64> {
    match peer {
        Peer::Policy(Policy::Local) => Some(LOCAL_LIMIT),
        Peer::Check(check) => check.budget(),
        _ => None,
    }
}

/// Whether a budget is kept, where the interval says so.
fn kept(added: &Added, adds: &Estimate, most: f64) -> &'static str {
    match adds.within {
        _ if added.errors > 0 => "**void: errors**",
        _ if added.connections < BUDGET_AT_A_TIME => "(for information)",
        Some((_, high)) if high <= most => "yes",
        Some((low, _)) if low > most => "**no**",
        Some(_) | None => "not decided",
    }
}
