//! What slow connections do to the latency of others.

use super::table::Table;
use super::{Report, marked, shown, whole};
use crate::cases::slow::{Slow, Turn};
use crate::statistics::{estimate, mean, median, percentile};

/// How many times as long the slowest requests may take beside them.
const BUDGET: f64 = 1.2;

impl Report {
    pub(super) fn slow(&self) -> Table {
        let labels = self.slow.iter().map(|slow| slow.peer.label());
        let header: Vec<&str> = ["slow connections"].into_iter().chain(labels).chain(["budget"]).collect();
        let mut table = Table::new(&header);
        let Some(Slow { rate, turns, .. }) = self.slow.first() else { return table };
        let mut row = |name: &str, value: fn(&Slow) -> String, budget: &str| {
            let cells = [name.to_owned()].into_iter().chain(self.slow.iter().map(value));
            table.row(&cells.chain([budget.to_owned()]).collect::<Vec<_>>());
        };
        row("a third each: head, body, response unread", |slow| slow.connections.to_string(), "");
        let without = format!("p99 us at {rate}/s without them, median of {} turns", turns.len());
        row(&without, |slow| slow.shown(|turn| turn.quiet.p99_us as f64), "");
        row("p99 us beside them", |slow| slow.shown(|turn| turn.beside.p99_us as f64), "");
        row("times as long, turn by turn", Slow::step, &format!("{BUDGET:.2}"));
        row("95 % within", Slow::step_within, "");
        row(
            "p99 us that one turn in ten exceeds, without them",
            |slow| slow.exceeded(|turn| turn.quiet.p99_us),
            "",
        );
        row("beside them", |slow| slow.exceeded(|turn| turn.beside.p99_us), "");
        row("p50 us without them", |slow| slow.shown(|turn| turn.quiet.p50_us as f64), "");
        row("p50 us beside them", |slow| slow.shown(|turn| turn.beside.p50_us as f64), "");
        row("failed requests", Slow::failed, "0");
        row("KiB of the proxy for each", Slow::kib_each, "");
        row("core % of the proxy without them", |slow| slow.percent(|turn| turn.core[0]), "");
        row("core % beside them", |slow| slow.percent(|turn| turn.core[1]), "");
        row("core % of the load's core for them", |slow| whole(slow.crowd_core * 100.0), "");
        row("octets they sent", |slow| slow.crowd.octets.to_string(), "");
        row("cut off meanwhile", |slow| slow.crowd.cut.to_string(), "");
        row("not let in again", |slow| slow.crowd.refused.to_string(), "0");
        table
    }
}

impl Slow {
    fn values(&self, of: impl Fn(&Turn) -> f64) -> Vec<f64> {
        self.turns.iter().map(of).collect()
    }

    fn shown(&self, of: impl Fn(&Turn) -> f64) -> String {
        median(&self.values(of)).map_or("-".to_owned(), whole)
    }

    /// What a tenth of the turns exceeds.
    fn exceeded(&self, of: impl Fn(&Turn) -> u64) -> String {
        let mut values: Vec<u64> = self.turns.iter().map(of).collect();
        values.sort_unstable();
        percentile(&values, 90.0).map_or("-".to_owned(), |value| value.to_string())
    }

    fn percent(&self, of: impl Fn(&Turn) -> f64) -> String {
        mean(&self.values(of)).map_or("-".to_owned(), |core| whole(core * 100.0))
    }

    fn steps(&self) -> Vec<f64> {
        self.values(|turn| turn.beside.p99_us as f64 / turn.quiet.p99_us.max(1) as f64)
    }

    fn step(&self) -> String {
        match median(&self.steps()) {
            Some(step) if step > BUDGET => format!("**{step:.2}**"),
            Some(step) => format!("{step:.2}"),
            None => "-".to_owned(),
        }
    }

    fn step_within(&self) -> String {
        let within = estimate(&self.steps()).and_then(|estimate| estimate.within);
        within.map_or("-".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}"))
    }

    fn failed(&self) -> String {
        let outcomes = || self.turns.iter().flat_map(|turn| [&turn.quiet, &turn.beside]);
        let first = outcomes().find_map(|outcome| outcome.first_error.as_deref());
        marked(outcomes().map(|outcome| outcome.errors).sum(), first)
    }

    fn kib_each(&self) -> String {
        shown(Some(self.grown_kib as f64 / self.connections as f64))
    }
}
