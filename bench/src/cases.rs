//! The cases of the bench: which peers meet under which load, in interleaved rounds. It decides nothing about how
//! figures are shown.

pub mod added;
pub mod attacks;
pub mod instructions;
mod meeting;
pub mod memory;
pub mod reload;
pub mod slow;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::load::{Outcome, Pace, Plan};
use crate::loading::Load;
use crate::measure::{cpu, resident_kib};
use crate::peers::{Peer, Programs, Proxy};
use crate::site::Site;
use crate::tools::Tool;
use meeting::Meeting;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Plain proxying of small answers.
    Plain,
    /// The full chain of policies, and the bare proxies under the same requests.
    Full,
    /// 10,000 routes against one.
    Routes,
    /// Answers of 1 MiB.
    Download,
    /// Requests of 1 MiB.
    Upload,
    /// Latency at a fixed rate.
    Latency,
    /// Requests over TLS, and handshakes.
    Tls,
    /// HTTP/2 with clients.
    Http2,
    /// Calls of gRPC.
    Grpc,
    /// Messages over WebSocket.
    Websocket,
    /// A connection for each request.
    Churn,
    /// Two workers against one.
    Workers,
    /// Memory of idle connections.
    Idle,
    /// Checking files of 100,000 entities, and of a million consumers.
    Entities,
    /// Reloading 10,000 routes under load.
    Reload,
    /// 10,000 slow connections beside a load.
    Slow,
    /// Another client beside each attack that the end-to-end tests know.
    Attacks,
    /// Ways to balance, limits and other policies, one by one.
    Policies,
    /// Ways to find out who is asking, one by one.
    Identity,
    /// Instructions per request of Biplane, bare and with each of these; needs valgrind.
    Instructions,
}

/// How much to measure.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Seconds per run.
    pub seconds: f64,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Numbers of connections.
    pub connections: Vec<usize>,
    /// Requests per second of the fixed rate.
    pub rate: u32,
    /// Whether nginx also runs with its access log.
    pub nginx_log: bool,
}

/// One run of one peer.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// CPU microseconds per request, user and system.
    pub cpu_us: f64,
    /// The user part of it.
    pub user_us: f64,
    /// What the load saw.
    pub outcome: Outcome,
    /// The part of the requests that reached the access log, of a peer whose chain has one.
    pub logged: Option<f64>,
}

impl Sample {
    /// A run that could not be finished, perhaps because the proxy is gone: it voids the row, not the bench.
    fn failed(error: &io::Error) -> Self {
        let first_error = Some(error.to_string());
        Self { outcome: Outcome { errors: 1, first_error, ..Outcome::default() }, ..Self::default() }
    }
}

/// All runs of one peer under one load, round by round.
#[derive(Debug, Clone)]
pub struct Series {
    /// The peer.
    pub peer: Peer,
    /// One sample for each round.
    pub samples: Vec<Sample>,
    /// Resident memory after the last round.
    pub resident_kib: u64,
}

/// The peers that met under one load.
#[derive(Debug, Clone)]
pub struct Group {
    /// The case.
    pub case: Case,
    /// What tells it from others of its case.
    pub detail: &'static str,
    /// Connections of the load.
    pub connections: usize,
    /// Requests that it has under way at a time.
    pub at_a_time: usize,
    /// One series for each peer.
    pub series: Vec<Series>,
}

/// Envoy writes its log at least once a second.
const LOG_DELAY: Duration = Duration::from_secs(2);
const WARM_UP_SECONDS: f64 = 1.0;

/// Runs a case that compares peers; `None` for a case of another kind. Peers that do not start are left out and
/// named in `problems`.
pub async fn run(
    case: Case,
    extent: &Extent,
    programs: &Programs,
    site: &Site,
    problems: &mut Vec<String>,
) -> Option<Vec<Group>> {
    let meetings = Meeting::all(case, extent);
    if meetings.is_empty() {
        return None;
    }
    let mut groups = Vec::new();
    for meeting in &meetings {
        if let Some(Err(error)) = meeting.tool().map(Tool::find) {
            problems.push(format!("{case:?}, {}: {error}", meeting.detail));
            continue;
        }
        let proxies = start_all(&meeting.peers, programs, site, problems).await;
        for &connections in &meeting.connections {
            eprintln!("{case:?} {}, {connections} connections", meeting.detail);
            let series = rounds(meeting, &proxies, site, connections, extent).await;
            let (detail, at_a_time) = (meeting.detail, connections * meeting.streams());
            groups.push(Group { case, detail, connections, at_a_time, series });
        }
    }
    Some(groups)
}

/// Starts the peers that are installed, one after the other.
async fn start_all(
    peers: &[Peer],
    programs: &Programs,
    site: &Site,
    problems: &mut Vec<String>,
) -> Vec<Proxy> {
    let mut proxies = Vec::new();
    for &peer in peers.iter().filter(|peer| programs.find(**peer).is_some()) {
        match peer.start(programs, site).await {
            Ok(proxy) => proxies.push(proxy),
            Err(error) => {
                eprintln!("{error}");
                let problem = error.to_string();
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
    }
    proxies
}

async fn rounds(
    meeting: &Meeting,
    proxies: &[Proxy],
    site: &Site,
    connections: usize,
    extent: &Extent,
) -> Vec<Series> {
    for proxy in proxies {
        // What is wrong here shows again in the rounds, where it is counted.
        let _ = match meeting.tool() {
            Some(tool) => tool.sample(proxy, site, connections, WARM_UP_SECONDS).await,
            None => {
                let mut plan = meeting.plan(proxy, connections, WARM_UP_SECONDS);
                if matches!(plan.pace, Pace::Fixed(_)) {
                    plan.pace = Pace::Closed;
                }
                sample(proxy, &plan).await
            }
        };
    }
    let empty = |proxy: &Proxy| Series { peer: proxy.peer, samples: Vec::new(), resident_kib: 0 };
    let mut all: Vec<Series> = proxies.iter().map(empty).collect();
    for round in 0..extent.rounds {
        // Interleaved, so that a drift of the machine hits all peers alike.
        for (proxy, series) in proxies.iter().zip(&mut all) {
            let sample = match meeting.tool() {
                Some(tool) => tool.sample(proxy, site, connections, extent.seconds).await,
                None => sample(proxy, &meeting.plan(proxy, connections, extent.seconds)).await,
            };
            let sample = sample.unwrap_or_else(|error| Sample::failed(&error));
            eprintln!(
                "  round {}: {:<24} {:>8.2} us, {} requests, {} errors",
                round + 1,
                proxy.peer.label(),
                sample.cpu_us,
                sample.outcome.requests,
                sample.outcome.errors
            );
            series.samples.push(sample);
            series.resident_kib = resident_kib(proxy.process.id());
        }
    }
    all
}

/// One run of the load against one proxy.
async fn sample(proxy: &Proxy, plan: &Plan) -> io::Result<Sample> {
    let mut load = Load::prepare(plan).await?;
    if let Some(path) = &proxy.access_log {
        truncate(path)?;
    }
    let before = cpu(proxy.process.id());
    load.go().await?;
    let outcome = load.outcome().await?;
    let spent = cpu(proxy.process.id()) - before;
    let answered = (outcome.requests + outcome.errors).max(1) as f64;
    let cpu_us = spent.total_us / answered;
    let logged = match &proxy.access_log {
        Some(path) => Some(logged(path, answered).await?),
        None => None,
    };
    Ok(Sample { cpu_us, user_us: cpu_us * spent.user_share(), outcome, logged })
}

fn truncate(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    match file {
        // A log that is only created with its first line is as good as empty.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        file => file?.set_len(0),
    }
}

/// The part of the answers the log holds, once what is buffered has had time to be written.
async fn logged(path: &Path, answered: f64) -> io::Result<f64> {
    let limit = Instant::now() + LOG_DELAY;
    loop {
        let lines = fs::read(path).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
        let part = (lines as f64 / answered).min(1.0);
        if part >= 1.0 || Instant::now() >= limit {
            return Ok(part);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
