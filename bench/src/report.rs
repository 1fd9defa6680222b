//! The result as Markdown: the budgets, then the figures behind them. A row with a failed request is marked, never
//! left out.

mod attacks;
mod instructions;
mod policies;
mod slow;
mod table;

use std::fmt::Write as _;

use crate::cases::added::Added;
use crate::cases::attacks::Attacked;
use crate::cases::instructions::Counted;
use crate::cases::memory::{Entities, Idle};
use crate::cases::reload::Reload;
use crate::cases::slow::Slow;
use crate::cases::{Case, Extent, Group, Series};
use crate::load::Outcome;
use crate::machine::Machine;
use crate::peers::Peer;
use crate::statistics::{median, median_ratio};
use table::Table;

/// Everything a run of the bench found.
pub struct Report {
    machine: Machine,
    /// The programs and their versions; `None` for absent ones.
    pub versions: Vec<(&'static str, Option<String>)>,
    extent: Extent,
    /// The comparisons of peers.
    pub groups: Vec<Group>,
    /// What policies add to bare proxies.
    pub added: Vec<Added>,
    /// Memory of idle connections.
    pub idle: Vec<Idle>,
    /// Checking the large file.
    pub entities: Vec<Entities>,
    /// Reloading under load.
    pub reload: Option<Reload>,
    /// Slow connections beside a load.
    pub slow: Vec<Slow>,
    /// Instructions per request.
    pub instructions: Vec<Counted>,
    /// A client beside each attack.
    pub attacks: Vec<Attacked>,
    /// Peers that did not start, and why.
    pub problems: Vec<String>,
}

/// A ratio the design promises.
struct Budget {
    name: &'static str,
    case: Case,
    subject: Peer,
    reference: Peer,
    most: f64,
}

const BUDGETS: [Budget; 10] = [
    Budget {
        name: "plain proxy",
        case: Case::Plain,
        subject: Peer::Plain,
        reference: Peer::Nginx,
        most: 0.90,
    },
    Budget { name: "full chain", case: Case::Full, subject: Peer::Full, reference: Peer::Nginx, most: 1.00 },
    Budget {
        name: "full chain",
        case: Case::Full,
        subject: Peer::Full,
        reference: Peer::EnvoyFull,
        most: 0.35,
    },
    Budget { name: "full chain", case: Case::Full, subject: Peer::Full, reference: Peer::Plain, most: 1.15 },
    Budget {
        name: "10,000 routes",
        case: Case::Routes,
        subject: Peer::Routes,
        reference: Peer::Plain,
        most: 1.05,
    },
    Budget { name: "HTTPS", case: Case::Tls, subject: Peer::Tls, reference: Peer::NginxTls, most: 1.00 },
    Budget {
        name: "HTTP/2",
        case: Case::Http2,
        subject: Peer::Http2,
        reference: Peer::NginxHttp2,
        most: 1.00,
    },
    Budget { name: "HTTP/2", case: Case::Http2, subject: Peer::Http2, reference: Peer::Envoy, most: 1.00 },
    Budget { name: "gRPC", case: Case::Grpc, subject: Peer::Calls, reference: Peer::NginxCalls, most: 1.00 },
    Budget { name: "gRPC", case: Case::Grpc, subject: Peer::Calls, reference: Peer::EnvoyCalls, most: 1.00 },
];
/// The budgets are promised from so many requests at a time on; one alone measures wake-ups more than work.
const BUDGET_AT_A_TIME: usize = 32;
/// A chain that drops its log lines does less work than it claims.
const LEAST_LOGGED: f64 = 0.99;
const RELOAD_BUDGET_MS: f64 = 300.0;

impl Report {
    /// An empty report.
    pub fn new(machine: Machine, versions: Vec<(&'static str, Option<String>)>, extent: &Extent) -> Self {
        Self {
            machine,
            versions,
            extent: extent.clone(),
            groups: Vec::new(),
            added: Vec::new(),
            idle: Vec::new(),
            entities: Vec::new(),
            reload: None,
            slow: Vec::new(),
            attacks: Vec::new(),
            instructions: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The whole report.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# Results of the benchmark\n\n");
        self.write_machine(&mut text);
        let sections = [
            ("Budgets", self.budgets()),
            ("What policies add", self.added(Case::Policies)),
            ("What it adds to find out who is asking", self.added(Case::Identity)),
            ("Instructions per request", self.instructions()),
            ("CPU time per request", self.cpu()),
            ("Latency at a fixed rate", self.latency()),
            ("Idle connections", self.idle()),
            ("Checking a large file", self.entities()),
            ("Reload under load", self.reload()),
            ("Slow connections", self.slow()),
            ("Beside attackers", self.attacks()),
        ];
        for (title, table) in sections {
            if !table.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n## {title}\n\n{table}");
            }
        }
        if !self.problems.is_empty() {
            text.push_str("\n## Problems\n\n");
            self.problems.iter().for_each(|problem| text.push_str(&format!("- {problem}\n")));
        }
        text
    }

    fn write_machine(&self, text: &mut String) {
        let Machine { date, processor, cores, kernel, busy } = &self.machine;
        let version = |(name, version): &(&str, Option<String>)| match version {
            Some(version) => format!("{name} {version}"),
            None => format!("{name} absent"),
        };
        let versions: Vec<String> = self.versions.iter().map(version).collect();
        let Extent { seconds, rounds, .. } = self.extent;
        text.push_str(&format!(
            "- Date: {date}\n\
             - Machine: {processor}, {cores} cores, Linux {kernel}, load average before the run {busy}\n\
             - Versions: {}\n\
             - Method: {rounds} interleaved rounds of {seconds} s; each proxy on one core, load and backend on \
             another; medians, and medians of the ratios round by round. CPU time is user and system time of the \
             proxy's process tree.\n",
            versions.join(", ")
        ));
    }

    fn budgets(&self) -> Table {
        let mut table = Table::new(&["case", "against", "connections", "ratio", "budget", "kept"]);
        for budget in &BUDGETS {
            for group in self.groups.iter().filter(|group| group.case == budget.case) {
                let find = |peer| group.series.iter().find(|series| series.peer == peer);
                let (Some(subject), Some(reference)) = (find(budget.subject), find(budget.reference)) else {
                    continue;
                };
                let Some(ratio) = ratio(subject, reference) else { continue };
                let kept = verdict(ratio <= budget.most, group.at_a_time, [subject, reference]);
                table.row(&[
                    group.named(budget.name),
                    budget.reference.label().to_owned(),
                    group.connections.to_string(),
                    format!("{ratio:.3}"),
                    format!("{:.2}", budget.most),
                    kept.to_owned(),
                ]);
            }
        }
        table
    }

    fn cpu(&self) -> Table {
        let mut table = Table::new(&[
            "case",
            "connections",
            "proxy",
            "us/request",
            "user",
            "system",
            "x first",
            "requests/s",
            "core %",
            "RSS MiB",
            "logged %",
            "errors",
        ]);
        for group in self.groups.iter().filter(|group| group.case != Case::Latency) {
            for series in &group.series {
                let total = series.median(|sample| sample.cpu_us);
                let user = series.median(|sample| sample.user_us);
                let first = group.series.first().and_then(|first| ratio(series, first)).unwrap_or(f64::NAN);
                let rate = series.median(|sample| sample.outcome.requests as f64 / sample.outcome.seconds);
                table.row(&[
                    group.named(&format!("{:?}", group.case).to_lowercase()),
                    group.connections.to_string(),
                    series.peer.label().to_owned(),
                    format!("{total:.2}"),
                    format!("{user:.2}"),
                    format!("{:.2}", total - user),
                    format!("{first:.3}"),
                    whole(rate),
                    whole(total * rate / 10_000.0),
                    mebibytes(series.resident_kib),
                    series.marked_log(),
                    series.marked_errors(),
                ]);
            }
        }
        table
    }

    fn latency(&self) -> Table {
        let rate = format!("{}/s, us/request", self.extent.rate);
        let mut table = Table::new(&["proxy", "connections", "p50 us", "p99 us", &rate, "errors"]);
        for group in self.groups.iter().filter(|group| group.case == Case::Latency) {
            for series in &group.series {
                table.row(&[
                    series.peer.label().to_owned(),
                    group.connections.to_string(),
                    format!("{:.0}", series.median(|sample| sample.outcome.p50_us as f64)),
                    format!("{:.0}", series.median(|sample| sample.outcome.p99_us as f64)),
                    format!("{:.2}", series.median(|sample| sample.cpu_us)),
                    series.marked_errors(),
                ]);
            }
        }
        table
    }

    fn idle(&self) -> Table {
        let mut table =
            Table::new(&["proxy", "connections", "before MiB", "after MiB", "KiB/connection", "errors"]);
        for idle in &self.idle {
            let growth = idle.after_kib.saturating_sub(idle.before_kib) as f64 / idle.connections as f64;
            table.row(&[
                idle.peer.label().to_owned(),
                idle.connections.to_string(),
                mebibytes(idle.before_kib),
                mebibytes(idle.after_kib),
                format!("{growth:.2}"),
                marked(idle.errors, None),
            ]);
        }
        table
    }

    fn entities(&self) -> Table {
        let mut table = Table::new(&["format", "entities", "file MiB", "wall ms", "peak MiB", "accepted"]);
        for Entities { format, count, bytes, usage } in &self.entities {
            table.row(&[
                (*format).to_owned(),
                count.to_string(),
                mebibytes(*bytes as u64 / 1024),
                usage.wall_ms.to_string(),
                mebibytes(usage.peak_kib),
                if usage.success { "yes" } else { "**no**" }.to_owned(),
            ]);
        }
        table
    }

    fn reload(&self) -> Table {
        let mut table = Table::new(&["reload of 10,000 routes", "value", "budget"]);
        let Some(reload) = &self.reload else { return table };
        let times: Vec<f64> = reload.serves_after_ms.iter().flatten().copied().collect();
        let missed = reload.serves_after_ms.len() - times.len();
        let mut row = |name: &str, value: String, budget: &str| {
            table.row(&[name.to_owned(), value, budget.to_owned()]);
        };
        let limit = format!("{RELOAD_BUDGET_MS:.0}");
        row("new configuration serves after, median ms", shown(median(&times)), &limit);
        row("the slowest, ms", shown(times.iter().copied().reduce(f64::max)), &limit);
        row("reloads that never served", missed.to_string(), "0");
        let Outcome { errors, first_error, .. } = &reload.reloading;
        row("failed requests", marked(*errors, first_error.as_deref()), "0");
        row("requests meanwhile", reload.reloading.requests.to_string(), "");
        row(&format!("p50 us at {}/s without reloads", reload.rate), reload.quiet.p50_us.to_string(), "");
        row("p50 us with reloads", reload.reloading.p50_us.to_string(), "no step");
        row("p99 us without reloads", reload.quiet.p99_us.to_string(), "");
        row("p99 us with reloads", reload.reloading.p99_us.to_string(), "no step");
        let name = |when| format!("RSS MiB {when} {} reloads in a row", reload.repeated);
        row(&name("before"), mebibytes(reload.before_kib), "");
        row(&name("after"), mebibytes(reload.after_kib), "the same");
        table
    }
}

impl Group {
    fn named(&self, name: &str) -> String {
        if self.detail.is_empty() { name.to_owned() } else { format!("{name}, {}", self.detail) }
    }
}

impl Series {
    fn values(&self, of: impl Fn(&crate::cases::Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }

    fn median(&self, of: impl Fn(&crate::cases::Sample) -> f64) -> f64 {
        median(&self.values(of)).unwrap_or(f64::NAN)
    }

    fn errors(&self) -> u64 {
        self.samples.iter().map(|sample| sample.outcome.errors).sum()
    }

    /// The part of the requests that was logged in the worst round.
    fn logged(&self) -> Option<f64> {
        self.samples.iter().filter_map(|sample| sample.logged).reduce(f64::min)
    }

    fn marked_log(&self) -> String {
        match self.logged() {
            Some(part) if part < LEAST_LOGGED => format!("**{:.1}**", part * 100.0),
            Some(part) => format!("{:.1}", part * 100.0),
            None => "-".to_owned(),
        }
    }

    fn marked_errors(&self) -> String {
        let first = self.samples.iter().find_map(|sample| sample.outcome.first_error.as_deref());
        marked(self.errors(), first)
    }
}

fn ratio(subject: &Series, reference: &Series) -> Option<f64> {
    median_ratio(&subject.values(|sample| sample.cpu_us), &reference.values(|sample| sample.cpu_us))
}

fn verdict(kept: bool, at_a_time: usize, series: [&Series; 2]) -> &'static str {
    if series.iter().any(|series| series.errors() > 0) {
        return "**void: errors**";
    }
    if series.iter().any(|series| series.logged().is_some_and(|part| part < LEAST_LOGGED)) {
        return "**void: log lines missing**";
    }
    match (at_a_time >= BUDGET_AT_A_TIME, kept) {
        (false, _) => "(for information)",
        (true, true) => "yes",
        (true, false) => "**no**",
    }
}

fn marked(errors: u64, first: Option<&str>) -> String {
    match (errors, first) {
        (0, _) => "0".to_owned(),
        (errors, Some(first)) => format!("**{errors}** ({first})"),
        (errors, None) => format!("**{errors}**"),
    }
}

/// A run that failed altogether has no figure.
fn whole(value: f64) -> String {
    if value.is_finite() { format!("{value:.0}") } else { "-".to_owned() }
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

fn shown_us(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}

fn shown(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1}"))
}

#[cfg(test)]
mod tests;
