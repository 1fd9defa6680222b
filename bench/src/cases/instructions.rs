//! Instructions per request, counted by callgrind. No neighbour disturbs them, so they tell a difference of a hundredth where
//! CPU time tells noise; what the kernel does for a request, and how long an instruction takes, they do not tell.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Case, added};
use crate::loading::Load;
use crate::peers::{COUNTS, Check, Peer, Programs, Proxy};
use crate::site::{Site, find_program};

/// What a request costs one peer.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The peer.
    pub peer: Peer,
    /// Instructions per request, turn by turn.
    pub per_request: Vec<f64>,
    /// Requests that were served in all turns.
    pub requests: u64,
    /// All others.
    pub errors: u64,
    /// What the first of them was.
    pub first_error: Option<String>,
}

const CONNECTIONS: usize = 32;
/// Hundreds of requests at the speed of callgrind.
const TURN_SECONDS: f64 = 0.5;
const TURNS: usize = 3;

/// Counts for the bare proxy, the full chain, and everything that is added one by one. Peers that do not start are named
/// in `problems`.
pub async fn run(programs: &Programs, site: &Site, problems: &mut Vec<String>) -> Vec<Counted> {
    let mut rows = Vec::new();
    let tools = ["valgrind", "callgrind_control"].map(find_program);
    let [Some(valgrind), Some(control)] = tools else {
        problems.push("instructions: valgrind is not installed (Debian: valgrind)".to_owned());
        return rows;
    };
    let programs = Programs { valgrind: Some(valgrind), ..programs.clone() };
    for peer in peers().filter(|peer| programs.find(*peer).is_some()) {
        eprintln!("Instructions, {}", peer.label());
        match count(peer, &programs, site, &control).await {
            Ok(row) => rows.push(row),
            Err(error) => problems.push(format!("instructions, {}: {error}", peer.label())),
        }
    }
    rows
}

/// Ours, but for the million consumers, whose loading would take minutes there, and policies in Rego: what takes longer than
/// half a millisecond, as they do there, is begun again elsewhere.
fn peers() -> impl Iterator<Item = Peer> {
    let added = [Case::Policies, Case::Identity].into_iter().flat_map(added::peers);
    let ours = |peer: &Peer| match peer {
        Peer::Check(Check::EnvoyToken(..) | Check::KeyOfMany | Check::Rego | Check::RegoExample) => false,
        Peer::Check(_) => true,
        peer => matches!(peer, Peer::Policy(_)),
    };
    [Peer::Plain, Peer::Routes, Peer::Full].into_iter().chain(added.filter(ours))
}

async fn count(peer: Peer, programs: &Programs, site: &Site, control: &Path) -> io::Result<Counted> {
    let proxy = peer.start(programs, site).await?;
    let id = proxy.process.id().to_string();
    // From here on it is slow.
    tell(control, &["-i", "on", &id])?;
    let mut load = Load::prepare(&proxy.fitting_plan(CONNECTIONS, TURN_SECONDS)).await?;
    tell(control, &["-z", &id])?;
    let mut counted = Counted { peer, per_request: Vec::new(), requests: 0, errors: 0, first_error: None };
    for turn in 1..=TURNS {
        let outcome = load.turn().await?;
        tell(control, &["-d", &id])?;
        let answered = (outcome.requests + outcome.errors).max(1) as f64;
        counted.per_request.push(dumped(&proxy, turn)? as f64 / answered);
        counted.requests += outcome.requests;
        counted.errors += outcome.errors;
        counted.first_error = counted.first_error.take().or(outcome.first_error);
    }
    Ok(counted)
}

fn tell(control: &Path, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(control).args(arguments).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("OK.") {
        return Ok(());
    }
    Err(io::Error::other(format!("callgrind_control {}: {text}", arguments.join(" "))))
}

/// The sum of a dump; each begins at nothing again.
fn dumped(proxy: &Proxy, number: usize) -> io::Result<u64> {
    let path = proxy.file.with_file_name(format!("{COUNTS}.{number}"));
    total(&fs::read_to_string(path)?).ok_or_else(|| ErrorKind::InvalidData.into())
}

fn total(dump: &str) -> Option<u64> {
    dump.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_stands_at_the_end_of_a_dump() {
        assert_eq!(total("summary: 1\n\nfn=(1) totals: 3\n0 7\n\ntotals: 490443\n"), Some(490_443));
        assert_eq!(total("summary: 1\n"), None);
    }

    #[test]
    fn the_bare_proxy_comes_first_and_all_are_ours() {
        let all: Vec<Peer> = peers().collect();
        assert_eq!(all[0], Peer::Plain);
        assert!(all.iter().all(|peer| peer.label().starts_with("Biplane")), "{all:?}");
        assert!(all.len() > 30 && !all.contains(&Peer::Check(Check::KeyOfMany)));
    }
}
