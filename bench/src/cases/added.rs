//! What one thing more costs a proxy. The proxy that has it and the bare one take turns, in slices so short that whatever
//! disturbs the machine disturbs both: what is compared is never more than a fraction of a second apart.

mod lineup;

use std::io;

use super::{Case, Extent, start_all};
use crate::loading::Load;
use crate::measure::{cpu, resident_kib};
use crate::peers::{Peer, Programs, Proxy};
use crate::site::Site;
use lineup::Lineup;

/// What a peer needs more than the bare proxy of the same product.
#[derive(Debug, Clone)]
pub struct Added {
    /// The case.
    pub case: Case,
    /// The peer with one thing more.
    pub peer: Peer,
    /// Connections of the load.
    pub connections: usize,
    /// One for each time that the two have met.
    pub blocks: Vec<Block>,
    /// Requests that failed, on either side.
    pub errors: u64,
    /// What the first of them was.
    pub first_error: Option<String>,
    /// Resident memory of the peer at the end.
    pub resident_kib: u64,
}

/// Four slices: of the bare proxy, twice of the other, and of the bare one again, or the other way round. A machine that
/// gets slower or faster all the while does so for both.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// CPU microseconds per request of the bare proxy.
    pub bare_us: f64,
    /// And of the peer.
    pub peer_us: f64,
}

/// Long enough for thousands of requests, and short beside what neighbours do.
const SLICE_SECONDS: f64 = 0.05;
/// Fewer say nothing about the interval.
const LEAST_BLOCKS: usize = 6;
/// A single connection measures wake-ups more than work.
const LEAST_CONNECTIONS: usize = 32;

/// Measures everything of a case. Peers that do not start are left out and named in `problems`.
pub async fn run(
    case: Case,
    extent: &Extent,
    programs: &Programs,
    site: &Site,
    problems: &mut Vec<String>,
) -> Vec<Added> {
    let mut all = Vec::new();
    for lineup in Lineup::all(case) {
        let proxies = start_all(&lineup.peers, programs, site, problems).await;
        for connections in at_a_time(&extent.connections) {
            eprintln!("{case:?} {}, {connections} connections", lineup.detail);
            match meet(case, &proxies, connections, blocks(extent)).await {
                Ok(added) => all.extend(added),
                Err(error) => problems.push(format!("{case:?}, {}: {error}", lineup.detail)),
            }
        }
    }
    all
}

/// The peers of a case that have something more than a bare proxy.
pub fn peers(case: Case) -> Vec<Peer> {
    let all = Lineup::all(case).into_iter().flat_map(|lineup| lineup.peers);
    all.filter(|peer| peer.without_policy().is_some()).collect()
}

/// The numbers of connections that say something, unless no other was asked for.
fn at_a_time(connections: &[usize]) -> Vec<usize> {
    let many: Vec<usize> = connections.iter().copied().filter(|count| *count >= LEAST_CONNECTIONS).collect();
    if many.is_empty() { connections.to_vec() } else { many }
}

/// As many as give each peer the time that a peer of another case has in all rounds.
fn blocks(extent: &Extent) -> usize {
    let blocks = extent.rounds as f64 * extent.seconds / (2.0 * SLICE_SECONDS);
    (blocks as usize).max(LEAST_BLOCKS)
}

/// A proxy with a load that waits for its turns.
struct Side<'a> {
    proxy: &'a Proxy,
    load: Load,
}

async fn meet(case: Case, proxies: &[Proxy], connections: usize, blocks: usize) -> io::Result<Vec<Added>> {
    let mut sides = Vec::new();
    for proxy in proxies {
        sides.push(Side { proxy, load: Load::prepare(&proxy.plan(connections, SLICE_SECONDS)).await? });
    }
    let mut all: Vec<(usize, usize, Added)> = Vec::new();
    for (index, proxy) in proxies.iter().enumerate() {
        let bare = proxy.peer.without_policy();
        let Some(bare) = proxies.iter().position(|other| Some(other.peer) == bare) else { continue };
        all.push((bare, index, Added::new(case, proxy.peer, connections)));
    }
    // The first one warms up what connecting has not.
    for number in 0..=blocks {
        for (bare, peer, added) in &mut all {
            let order =
                if number % 2 == 0 { [*bare, *peer, *peer, *bare] } else { [*peer, *bare, *bare, *peer] };
            let mut spent = [0.0, 0.0];
            for index in order {
                spent[usize::from(index == *peer)] += sides[index].slice(added).await? / 2.0;
            }
            if number > 0 {
                added.blocks.push(Block { bare_us: spent[0], peer_us: spent[1] });
            }
        }
    }
    let finished = all.into_iter().map(|(_, peer, mut added)| {
        added.resident_kib = resident_kib(sides[peer].proxy.process.id());
        added
    });
    Ok(finished.collect())
}

impl Side<'_> {
    /// CPU microseconds per request over a slice.
    async fn slice(&mut self, added: &mut Added) -> io::Result<f64> {
        let id = self.proxy.process.id();
        let before = cpu(id);
        let outcome = self.load.turn().await?;
        let spent = cpu(id) - before;
        added.errors += outcome.errors;
        added.first_error = added.first_error.take().or(outcome.first_error);
        Ok(spent.total_us / (outcome.requests + outcome.errors).max(1) as f64)
    }
}

impl Added {
    fn new(case: Case, peer: Peer, connections: usize) -> Self {
        let (blocks, first_error) = (Vec::new(), None);
        Self { case, peer, connections, blocks, errors: 0, first_error, resident_kib: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_is_measured_only_where_no_more_are_asked_for() {
        assert_eq!(at_a_time(&[1, 32, 256]), [32, 256]);
        assert_eq!(at_a_time(&[1]), [1]);
    }

    #[test]
    fn a_peer_has_as_long_as_in_rounds_and_enough_blocks_for_an_interval() {
        let extent =
            |rounds, seconds| Extent { seconds, rounds, connections: Vec::new(), rate: 1, nginx_log: false };
        assert_eq!(blocks(&extent(2, 1.0)), 20);
        assert_eq!(blocks(&extent(1, 0.1)), LEAST_BLOCKS);
    }
}
