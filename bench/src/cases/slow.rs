//! Ten thousand slow connections beside normal traffic: what they do to its latency, and what each costs.

use std::io;
use std::time::Duration;

use crate::load::{Outcome, Pace, Plan};
use crate::loading::Load;
use crate::measure::{cpu, resident_kib};
use crate::peers::{Peer, Programs};
use crate::site::Site;
use crate::slow;

/// What slow connections did to one proxy.
#[derive(Debug, Clone)]
pub struct Slow {
    /// The proxy.
    pub peer: Peer,
    /// How many.
    pub connections: usize,
    /// The normal load without them.
    pub quiet: Outcome,
    /// The normal load beside them.
    pub beside: Outcome,
    /// Requests per second of the load.
    pub rate: u32,
    /// Resident memory before they came.
    pub before_kib: u64,
    /// Resident memory with all of them, at the end.
    pub after_kib: u64,
    /// The part of its core that the proxy used without them, and beside them: where it is well under 1, a step in the
    /// latency is that of the load's core, which all these clients share.
    pub core: [f64; 2],
    /// What became of them.
    pub outcome: slow::Outcome,
}

const SLOW_CONNECTIONS: usize = 10_000;
const CONNECTIONS: usize = 32;
/// The buffers of those that read nothing are filled meanwhile, which is work for all.
const SETTLE: Duration = Duration::from_secs(5);

/// Puts the load on a proxy, alone and then beside slow connections.
pub async fn run(peer: Peer, programs: &Programs, site: &Site, rate: u32, seconds: f64) -> io::Result<Slow> {
    let proxy = peer.start(programs, site).await?;
    eprintln!("Slow, {SLOW_CONNECTIONS} connections, {}", peer.label());
    let plan = Plan { pace: Pace::Fixed(rate), ..Plan::small(proxy.address, CONNECTIONS, seconds) };
    let mut load = Load::prepare(&plan).await?;
    let spent = || cpu(proxy.process.id()).total_us;
    let start = spent();
    load.go().await?;
    let quiet = load.outcome().await?;
    let alone = (spent() - start) / 1e6 / quiet.seconds;
    let before_kib = resident_kib(proxy.process.id());
    let mut load = Load::prepare(&plan).await?;
    let long_enough = SETTLE.as_secs_f64() + seconds + 1.0;
    let slow = slow::Plan { address: proxy.address, connections: SLOW_CONNECTIONS, seconds: long_enough };
    let mut crowd = Load::start_aside("slow", &serde_json::to_string(&slow)?).await?;
    crowd.go().await?;
    tokio::time::sleep(SETTLE).await;
    let start = spent();
    load.go().await?;
    let beside = load.outcome().await?;
    let core = [alone, (spent() - start) / 1e6 / beside.seconds];
    let after_kib = resident_kib(proxy.process.id());
    let outcome = crowd.result().await?;
    Ok(Slow {
        peer,
        connections: SLOW_CONNECTIONS,
        quiet,
        beside,
        rate,
        before_kib,
        after_kib,
        core,
        outcome,
    })
}
