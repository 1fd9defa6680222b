//! Memory: what an idle connection costs, and what checking files of very many entities takes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::start_all;
use crate::load::{Pace, Plan};
use crate::loading::Load;
use crate::measure::resident_kib;
use crate::peers::configuration::large;
use crate::peers::{Check, MANY_CONSUMERS, Peer, Programs, Proxy};
use crate::process::{PROXY_CORE, pinned};
use crate::site::Site;

/// What idle connections cost one peer.
#[derive(Debug, Clone)]
pub struct Idle {
    /// The peer.
    pub peer: Peer,
    /// Connections held open.
    pub connections: usize,
    /// Resident memory before them.
    pub before_kib: u64,
    /// Resident memory with all of them idle.
    pub after_kib: u64,
    /// Requests that failed on the way.
    pub errors: u64,
}

/// What a run of `biplane check` took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Usage {
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// The largest resident memory in KiB.
    pub peak_kib: u64,
    /// Whether it ended well.
    pub success: bool,
}

/// One format of the large file.
#[derive(Debug, Clone)]
pub struct Entities {
    /// `YAML` or `JSON`, and what is in it where it is another content.
    pub format: &'static str,
    /// How many the file holds.
    pub count: usize,
    /// The file's size in bytes.
    pub bytes: usize,
    /// What checking it took.
    pub usage: Usage,
}

const IDLE_CONNECTIONS: [usize; 2] = [1_000, 10_000];

/// Opens idle connections, each after one request, and looks at the memory of each peer.
pub async fn idle(programs: &Programs, site: &Site, problems: &mut Vec<String>) -> Vec<Idle> {
    let peers = [Peer::Nginx, Peer::Haproxy, Peer::Envoy, Peer::Plain, Peer::Full];
    let mut rows = Vec::new();
    for connections in IDLE_CONNECTIONS {
        // Each time anew: what a proxy keeps of the connections before would be missing from the price of these.
        for proxy in start_all(&peers, programs, site, problems).await {
            eprintln!("Idle, {connections} connections, {}", proxy.peer.label());
            match idle_of(&proxy, connections).await {
                Ok(row) => rows.push(row),
                Err(error) => problems.push(format!("idle, {}: {error}", proxy.peer.label())),
            }
        }
    }
    rows
}

async fn idle_of(proxy: &Proxy, connections: usize) -> io::Result<Idle> {
    let mut plan = Plan { token: true, ..Plan::small(proxy.address, 1, 0.5) };
    // What every first request brings along is not the price of a connection.
    let mut warm_up = Load::prepare(&plan).await?;
    warm_up.go().await?;
    warm_up.outcome().await?;
    let before_kib = resident_kib(proxy.process.id());
    plan = Plan { connections, pace: Pace::Idle, ..plan };
    let mut load = Load::prepare(&plan).await?;
    let after_kib = resident_kib(proxy.process.id());
    load.go().await?;
    let errors = load.outcome().await?.errors;
    Ok(Idle { peer: proxy.peer, connections, before_kib, after_kib, errors })
}

/// Checks the large file in both formats, and one of a million consumers.
pub fn entities(program: &Path, site: &Site) -> io::Result<Vec<Entities>> {
    let folder = site.folder("entities")?;
    let (count, content) = large::many_entities();
    let consumers = Check::KeyOfMany.file(&folder, site)?;
    let files = [
        ("YAML", "kong.yml", count, large::yaml(&content)),
        ("JSON", "kong.json", count, content.to_string()),
        ("JSON, consumers with a key each", "consumers.json", 2 * MANY_CONSUMERS, consumers),
    ];
    let mut rows = Vec::new();
    for (format, name, count, text) in files {
        eprintln!("Entities, {format}");
        let file = folder.join(name);
        std::fs::write(&file, &text)?;
        rows.push(Entities { format, count, bytes: text.len(), usage: check(program, &file)? });
    }
    Ok(rows)
}

/// A process of its own in between, because the kernel only tells the peak over all children that have ended.
fn check(program: &Path, file: &Path) -> io::Result<Usage> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("peak").arg(program).arg("check").arg(file).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = pinned(PROXY_CORE, || command.output())?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs a command and prints what it used as JSON.
pub fn peak(command: &[PathBuf]) -> io::Result<()> {
    let (program, arguments) = command.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let start = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    let wall_ms = start.elapsed().as_millis() as u64;
    let peak_kib = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss().max(0).cast_unsigned();
    println!("{}", serde_json::to_string(&Usage { wall_ms, peak_kib, success: status.success() })?);
    Ok(())
}
