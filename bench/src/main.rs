//! The benchmark: CPU time per request of Biplane, nginx, HAProxy and Envoy in one run, and the budgets it must
//! keep. It measures what is installed, says what is not, and installs nothing. See `README.md` beside it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: tables out, progress on stderr"
)]

mod attack;
mod awake;
mod backend;
mod cases;
mod frame;
mod load;
mod loading;
mod machine;
mod measure;
mod messages;
mod peers;
mod process;
mod report;
mod site;
mod slow;
mod statistics;
mod tools;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use cases::{Case, Extent};
use machine::Machine;
use peers::{Peer, Programs};
use report::Report;
use site::Site;

/// Measures Biplane and its peers on this machine.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Args)]
struct Settings {
    /// One second and two rounds per figure: for a first look, not for the record.
    #[arg(long)]
    quick: bool,
    /// Only these cases.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Case>,
    /// Numbers of connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32, 256])]
    connections: Vec<usize>,
    /// Interleaved rounds per figure [default: 5].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds per run [default: 2].
    #[arg(long)]
    seconds: Option<f64>,
    /// Requests per second of the cases latency, reload and slow.
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// The Biplane binary.
    #[arg(long, default_value = "target/release/biplane")]
    biplane: PathBuf,
    /// Also measure nginx with its access log on.
    #[arg(long)]
    nginx_log: bool,
    /// Write the result to this file [default when given without a value: bench/RESULTS.md].
    #[arg(long, num_args = 0..=1, default_missing_value = "bench/RESULTS.md")]
    write: Option<PathBuf>,
}

/// What the bench runs as child processes of its own.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Backend {
        documents: PathBuf,
        /// Leaves the core to others while it waits.
        #[arg(long)]
        sleeps: bool,
    },
    #[command(hide = true)]
    Attacked,
    #[command(hide = true)]
    Attack { plan: String },
    #[command(hide = true)]
    Load { plan: String },
    #[command(hide = true)]
    Slow { plan: String },
    #[command(hide = true)]
    Peak {
        #[arg(trailing_var_arg = true)]
        command: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.part {
        Some(Part::Backend { documents, sleeps }) => backend::run(&documents, sleeps),
        Some(Part::Attacked) => attack::serve(),
        Some(Part::Attack { plan }) => attack::run(&plan),
        Some(Part::Load { plan }) => load::run(&plan),
        Some(Part::Slow { plan }) => slow::run(&plan),
        Some(Part::Peak { command }) => cases::memory::peak(&command),
        None => measure(&arguments.settings),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(settings: &Settings) -> io::Result<()> {
    process::prepare()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Leaving the select drops the measurement, and with it every process it started.
        tokio::select! {
            report = measure_all(settings) => report,
            _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
            _ = terminate.recv() => Err(io::Error::other("terminated")),
        }
    })?;
    let text = report.markdown();
    println!("{text}");
    if let Some(path) = &settings.write {
        std::fs::write(path, text)?;
    }
    Ok(())
}

async fn measure_all(settings: &Settings) -> io::Result<Report> {
    let extent = settings.extent();
    let programs = Programs { biplane: settings.biplane.clone(), valgrind: None };
    let mut report = Report::new(Machine::here(), programs.versions(), &extent);
    for (name, version) in &report.versions {
        if version.is_none() {
            eprintln!("{name} is absent");
        }
    }
    let site = Site::open()?;
    for case in settings.cases() {
        if let Some(groups) = cases::run(case, &extent, &programs, &site, &mut report.problems).await {
            report.groups.extend(groups);
        } else if let Err(error) = measure_alone(case, &extent, &programs, &site, &mut report).await {
            report.problems.push(format!("{case:?}: {error}"));
        }
    }
    Ok(report)
}

/// The cases that are no comparison under one load.
async fn measure_alone(
    case: Case,
    extent: &Extent,
    programs: &Programs,
    site: &Site,
    report: &mut Report,
) -> io::Result<()> {
    match (case, programs.find(Peer::Plain)) {
        (Case::Policies | Case::Identity, _) => {
            let problems = &mut report.problems;
            report.added.extend(cases::added::run(case, extent, programs, site, problems).await);
        }
        (Case::Idle, _) => report.idle = cases::memory::idle(programs, site, &mut report.problems).await,
        (Case::Entities, Some(program)) => report.entities = cases::memory::entities(&program, site)?,
        (Case::Reload, Some(_)) => {
            report.reload = Some(cases::reload::run(programs, site, extent.rate, extent.rounds).await?);
        }
        (Case::Attacks, Some(_)) => {
            report.attacks = cases::attacks::run(programs, site, &mut report.problems).await;
        }
        (Case::Instructions, Some(_)) => {
            report.instructions = cases::instructions::run(programs, site, &mut report.problems).await;
        }
        (Case::Slow, _) => {
            let Extent { rate, rounds, .. } = *extent;
            let problems = &mut report.problems;
            report.slow = cases::slow::run(programs, site, rate, rounds, problems).await;
        }
        _ => {}
    }
    Ok(())
}

impl Settings {
    fn extent(&self) -> Extent {
        let (seconds, rounds) = if self.quick { (1.0, 2) } else { (2.0, 5) };
        Extent {
            seconds: self.seconds.unwrap_or(seconds),
            rounds: self.rounds.unwrap_or(rounds).max(1),
            connections: self.connections.clone(),
            rate: self.rate,
            nginx_log: self.nginx_log,
        }
    }

    fn cases(&self) -> Vec<Case> {
        if self.only.is_empty() { Case::value_variants().to_vec() } else { self.only.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn quick_is_short_and_can_still_be_overridden() {
        let extent = |line: &[&str]| Arguments::parse_from(line).settings.extent();
        assert_eq!(extent(&["bench", "--quick"]).rounds, 2);
        assert_eq!(extent(&["bench", "--quick", "--rounds", "3"]).rounds, 3);
        assert_eq!(extent(&["bench", "--connections", "32"]).connections, [32]);
    }

    #[test]
    fn only_takes_a_list_of_cases() {
        let cases = Arguments::parse_from(["bench", "--only", "plain,full"]).settings.cases();
        assert_eq!(cases, [Case::Plain, Case::Full]);
    }
}
