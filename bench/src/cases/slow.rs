//! Ten thousand slow connections beside normal traffic: what they do to its latency, and what each costs. With them and
//! without them by turns, several times over: what a neighbour of this machine does to one turn is no step.

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
}

/// Once without them and once beside them.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The normal load without them.
    pub quiet: Outcome,
    /// The normal load beside them.
    pub beside: Outcome,
    /// How much more resident memory there is with them.
    pub grown_kib: u64,
    /// The part of its core that the proxy used without them, and beside them.
    pub core: [f64; 2],
    /// The part of the load's core that these clients take.
    pub crowd_core: f64,
    /// What became of them.
    pub crowd: slow::Outcome,
}

const SLOW_CONNECTIONS: usize = 10_000;
const CONNECTIONS: usize = 32;
/// Fewer say nothing about an interval.
const LEAST_TURNS: usize = 6;
/// Ten thousand requests at least, so that their 99th percentile is not made by a few.
const LEAST_SECONDS: f64 = 2.0;
/// The buffers of those that read nothing are filled meanwhile, or they are buried: work for all.
const SETTLE: Duration = Duration::from_secs(4);

/// Puts the load on the proxies, alone and beside slow connections.
pub async fn run(
    programs: &Programs,
    site: &Site,
    rate: u32,
    rounds: usize,
    seconds: f64,
    problems: &mut Vec<String>,
) -> Vec<Slow> {
    let proxies = start_all(&[Peer::Nginx, Peer::Plain], programs, site, problems).await;
    let empty =
        |proxy: &Proxy| Slow { peer: proxy.peer, connections: SLOW_CONNECTIONS, rate, turns: Vec::new() };
    let mut all: Vec<Slow> = proxies.iter().map(empty).collect();
    for number in 0..rounds.max(LEAST_TURNS) {
        for (proxy, slow) in proxies.iter().zip(&mut all) {
            eprintln!("Slow, {SLOW_CONNECTIONS} connections, turn {}, {}", number + 1, proxy.peer.label());
            match turn(proxy, rate, seconds.max(LEAST_SECONDS), number % 2 == 1).await {
                Ok(turn) => slow.turns.push(turn),
                Err(error) => problems.push(format!("slow, {}: {error}", proxy.peer.label())),
            }
        }
    }
    all
}

/// One measurement without them and one beside them, in either order.
async fn turn(proxy: &Proxy, rate: u32, seconds: f64, crowd_first: bool) -> io::Result<Turn> {
    let plan = Plan { pace: Pace::Fixed(rate), ..Plan::small(proxy.address, CONNECTIONS, seconds) };
    let id = proxy.process.id();
    let before = if crowd_first { None } else { Some(measure(proxy, &plan).await?) };
    let before_kib = resident_kib(id);
    let crowd = slow::Plan { address: proxy.address, connections: SLOW_CONNECTIONS };
    let mut crowd = Load::start("slow", &serde_json::to_string(&crowd)?).await?;
    crowd.go().await?;
    tokio::time::sleep(SETTLE).await;
    let before_crowd = crowd.cpu();
    let (beside, core_beside) = measure(proxy, &plan).await?;
    let crowd_core = (crowd.cpu() - before_crowd).total_us / 1e6 / beside.seconds;
    let grown_kib = resident_kib(id).saturating_sub(before_kib);
    let crowd = crowd.result().await?;
    let (quiet, core) = match before {
        Some(before) => before,
        None => {
            tokio::time::sleep(SETTLE).await;
            measure(proxy, &plan).await?
        }
    };
    Ok(Turn { quiet, beside, grown_kib, core: [core, core_beside], crowd_core, crowd })
}

/// What the load sees, and the part of its core that the proxy uses meanwhile.
async fn measure(proxy: &Proxy, plan: &Plan) -> io::Result<(Outcome, f64)> {
    let mut load = Load::prepare(plan).await?;
    let before = cpu(proxy.process.id());
    load.go().await?;
    let outcome = load.outcome().await?;
    let spent = cpu(proxy.process.id()) - before;
    let core = spent.total_us / 1e6 / outcome.seconds;
    Ok((outcome, core))
}
