//! Reloading 10,000 routes and as many consumers while requests flow: none may fail, and the new configuration must serve
//! soon. Then many times in a row: the memory of what was replaced must come back.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::load::{Exchange, Outcome, Pace, Plan};
use crate::loading::Load;
use crate::measure::resident_kib;
use crate::peers::{Peer, Programs, Proxy, configuration, status};
use crate::site::Site;

/// What a reload under load did.
#[derive(Debug, Clone)]
pub struct Reload {
    /// From the signal to the first answer of the new configuration, each round; `None` if it never came.
    pub serves_after_ms: Vec<Option<f64>>,
    /// The load without a reload.
    pub quiet: Outcome,
    /// The load with the reloads.
    pub reloading: Outcome,
    /// Requests per second of the load.
    pub rate: u32,
    /// Reloads in a row, without a pause.
    pub repeated: usize,
    /// Resident memory before them.
    pub before_kib: u64,
    /// Resident memory after them.
    pub after_kib: u64,
}

const LIMIT: Duration = Duration::from_secs(10);
/// Each probe is a connection, which takes the load's core and the proxy's.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);
const CONNECTIONS: usize = 32;
/// Reloads in a row for each round.
const IN_A_ROW: usize = 50;

/// Starts Biplane with 10,000 routes, and reloads it `rounds` times under load.
pub async fn run(programs: &Programs, site: &Site, rate: u32, rounds: usize) -> io::Result<Reload> {
    let proxy = Peer::Routes.start(programs, site).await?;
    eprintln!("Reload");
    let seconds = 2.0 + rounds as f64;
    let plan = Plan {
        pace: Pace::Fixed(rate),
        exchange: Exchange::ManyPaths,
        ..Plan::small(proxy.address, CONNECTIONS, seconds)
    };
    let mut load = Load::prepare(&plan).await?;
    load.go().await?;
    let quiet = load.outcome().await?;
    // To write them takes a while of the load's core, which would be seen in its latency.
    let fresh =
        (0..rounds).map(|round| write(&proxy, site.backend(), round)).collect::<io::Result<Vec<_>>>()?;
    let mut load = Load::prepare(&plan).await?;
    load.go().await?;
    let mut serves_after_ms = Vec::new();
    for fresh in &fresh {
        tokio::time::sleep(Duration::from_secs(1)).await;
        serves_after_ms.push(reload(&proxy, fresh).await?);
    }
    let reloading = load.outcome().await?;
    let before_kib = resident_kib(proxy.process.id());
    let repeated = rounds * IN_A_ROW;
    for number in 0..repeated {
        let served = reload(&proxy, &write(&proxy, site.backend(), rounds + number)?).await?;
        served.ok_or_else(|| io::Error::other(format!("reload {number} in a row never served")))?;
    }
    let after_kib = resident_kib(proxy.process.id());
    Ok(Reload { serves_after_ms, quiet, reloading, rate, repeated, before_kib, after_kib })
}

/// A configuration with one route that no other has.
struct Fresh {
    file: PathBuf,
    path: String,
}

fn write(proxy: &Proxy, backend: SocketAddr, number: usize) -> io::Result<Fresh> {
    let path = format!("/fresh-{number}");
    let file = proxy.file.with_extension(format!("new{number}"));
    fs::write(&file, configuration::biplane_entities(backend, &path))?;
    Ok(Fresh { file, path })
}

/// Loads a configuration and waits until its own route serves.
async fn reload(proxy: &Proxy, fresh: &Fresh) -> io::Result<Option<f64>> {
    let start = Instant::now();
    fs::rename(&fresh.file, &proxy.file)?;
    proxy.process.hang_up()?;
    while start.elapsed() < LIMIT {
        if matches!(status(proxy.address, &fresh.path), Ok(200)) {
            return Ok(Some(start.elapsed().as_secs_f64() * 1_000.0));
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    Ok(None)
}
