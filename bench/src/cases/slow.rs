//! Ten thousand slow connections beside normal traffic: what they do to its latency, and what each costs.
//!
//! Two processes of each proxy are measured by short turns, one beside slow connections and one without. A host that takes a core
//! away for some milliseconds a few times a second makes the 99th percentile of a second by itself; most turns know no
//! such pause, and how many do is told, too.

use std::io;
use std::time::Duration;

use super::start_all;
use crate::load::{Outcome, Pace, Plan};
use crate::loading::Load;
use crate::measure::{cpu, resident_kib};
use crate::peers::{Peer, Programs, Proxy};
use crate::site::Site;
use crate::slow;

/// What slow connections did to one proxy.
#[derive(Debug, Clone)]
pub struct Slow {
    /// The proxy.
    pub peer: Peer,
    /// How many.
    pub connections: usize,
    /// Requests per second of the load.
    pub rate: u32,
    /// Each time with them and without them.
    pub turns: Vec<Turn>,
    /// How much more resident memory there is with them.
    pub grown_kib: u64,
    /// The part of the load's core that these clients took.
    pub crowd_core: f64,
    /// What became of them.
    pub crowd: slow::Outcome,
}

/// Once without them and once beside them.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The normal load without them.
    pub quiet: Outcome,
    /// The normal load beside them.
    pub beside: Outcome,
    /// The part of its core that the proxy used without them, and beside them.
    pub core: [f64; 2],
}

const SLOW_CONNECTIONS: usize = 10_000;
const CONNECTIONS: usize = 32;
/// So many turns leave an interval that says something.
const LEAST_TURNS: usize = 400;
/// Turns of one round, where more are asked for.
const TURNS_OF_A_ROUND: usize = 20;
/// Five hundred requests, and seldom a pause of the host among them.
const SECONDS: f64 = 0.1;
/// The buffers of those that read nothing are filled meanwhile.
const SETTLE: Duration = Duration::from_secs(4);

/// Puts the load on the proxies, alone and beside slow connections.
pub async fn run(
    programs: &Programs,
    site: &Site,
    rate: u32,
    rounds: usize,
    problems: &mut Vec<String>,
) -> Vec<Slow> {
    let mut all = Vec::new();
    for peer in [Peer::Nginx, Peer::Plain] {
        let pair = start_all(&[peer, peer], programs, site, problems).await;
        let [quiet, beside] = &pair[..] else { continue };
        match pairwise(quiet, beside, rate, (rounds * TURNS_OF_A_ROUND).max(LEAST_TURNS)).await {
            Ok(slow) => all.push(slow),
            Err(error) => problems.push(format!("slow, {}: {error}", peer.label())),
        }
    }
    all
}

async fn pairwise(quiet: &Proxy, beside: &Proxy, rate: u32, turns: usize) -> io::Result<Slow> {
    let plan =
        |proxy: &Proxy| Plan { pace: Pace::Fixed(rate), ..Plan::small(proxy.address, CONNECTIONS, SECONDS) };
    let mut loads =
        [(quiet, Load::prepare(&plan(quiet)).await?), (beside, Load::prepare(&plan(beside)).await?)];
    // Once before, so that both have what a load needs.
    for (proxy, load) in &mut loads {
        measure(proxy, load).await?;
    }
    let before_kib = resident_kib(beside.process.id());
    let crowd = slow::Plan { address: beside.address, connections: SLOW_CONNECTIONS };
    let mut crowd = Load::start("slow", &serde_json::to_string(&crowd)?).await?;
    crowd.go().await?;
    tokio::time::sleep(SETTLE).await;
    let (before_crowd, started) = (crowd.cpu(), std::time::Instant::now());
    let mut measured = Vec::with_capacity(turns);
    eprintln!("Slow, {SLOW_CONNECTIONS} connections, {turns} turns, {}", beside.peer.label());
    for number in 0..turns {
        let [(quiet, alone), (beside, crowded)] = &mut loads;
        let (first, second);
        // In either order.
        if number % 2 == 0 {
            first = measure(quiet, alone).await?;
            second = measure(beside, crowded).await?;
        } else {
            second = measure(beside, crowded).await?;
            first = measure(quiet, alone).await?;
        }
        measured.push(Turn { quiet: first.0, beside: second.0, core: [first.1, second.1] });
    }
    let crowd_core = (crowd.cpu() - before_crowd).total_us / 1e6 / started.elapsed().as_secs_f64();
    Ok(Slow {
        peer: beside.peer,
        connections: SLOW_CONNECTIONS,
        rate,
        turns: measured,
        grown_kib: resident_kib(beside.process.id()).saturating_sub(before_kib),
        crowd_core,
        crowd: crowd.result().await?,
    })
}

/// What the load sees, and the part of its core that the proxy uses meanwhile.
async fn measure(proxy: &Proxy, load: &mut Load) -> io::Result<(Outcome, f64)> {
    let before = cpu(proxy.process.id());
    let outcome = load.turn().await?;
    let spent = cpu(proxy.process.id()) - before;
    let core = spent.total_us / 1e6 / outcome.seconds;
    Ok((outcome, core))
}
