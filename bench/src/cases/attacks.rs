//! Another client beside each attack: whether it is served, how fast, and what the attack does to the gateway's memory.

use std::io;
use std::time::Duration;

use e2e::floods;

use crate::attack::{self, Endings};
use crate::load::{Outcome, Pace, Plan};
use crate::loading::Load;
use crate::measure::{forget_peak, peak_kib, resident_kib};
use crate::peers::{Peer, Programs};
use crate::site::Site;

/// What an attack did.
#[derive(Debug, Clone)]
pub struct Attacked {
    /// The attack's name.
    pub name: &'static str,
    /// The other client.
    pub canary: Outcome,
    /// Resident memory before.
    pub before_kib: u64,
    /// The largest resident memory meanwhile.
    pub peak_kib: u64,
    /// How attackers were ended.
    pub endings: Endings,
}

/// Connections of the other client, and its requests per second.
const CONNECTIONS: usize = 8;
const RATE: u32 = 500;
/// Some attacks are ended only after a second or two.
const SECONDS: f64 = 4.0;
/// By then attackers are at it.
const HEAD_START: Duration = Duration::from_millis(100);

/// Makes every attack on a gateway of its own.
pub async fn run(programs: &Programs, site: &Site, problems: &mut Vec<String>) -> Vec<Attacked> {
    let mut rows = Vec::new();
    for (index, attack) in floods::all().iter().enumerate() {
        eprintln!("Attacks, {}", attack.name);
        match attacked(index, attack.name, programs, site).await {
            Ok(row) => rows.push(row),
            Err(error) => problems.push(format!("{}: {error}", attack.name)),
        }
    }
    rows
}

async fn attacked(
    index: usize,
    name: &'static str,
    programs: &Programs,
    site: &Site,
) -> io::Result<Attacked> {
    let proxy = Peer::Attacked(index).start(programs, site).await?;
    let id = proxy.process.id();
    // It shares its core with attackers, who must not find it taken.
    let plan =
        Plan { pace: Pace::Fixed(RATE), sleeps: true, ..Plan::small(proxy.address, CONNECTIONS, SECONDS) };
    let attack = attack::Plan { address: proxy.address, secure: proxy.other, attack: index };
    let mut attackers = Load::start("attack", &serde_json::to_string(&attack)?).await?;
    let before_kib = resident_kib(id);
    forget_peak(id);
    attackers.go().await?;
    tokio::time::sleep(HEAD_START).await;
    // Only now: some attacks need short bounds, and its connections are not to be over before its first request.
    let canary = Load::prepare(&plan).await?.turn().await?;
    let peak_kib = peak_kib(id).unwrap_or(before_kib);
    let endings = attackers.result().await?;
    Ok(Attacked { name, canary, before_kib, peak_kib, endings })
}
