//! Targets that take as long as a test says, and requests to them, on a clock that the test moves.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::serde_json::Value;
use plugin::Exchange;
use tokio::time::{Instant, advance};

use super::config;
use crate::balance::policy::Policy;
use crate::balance::roster::{Candidate, Roster};
use crate::balance::rotation::Rotation;
use crate::balance::standing::{InFlight, Outcome, Standing, Standings, Trouble};
use crate::balance::{Asker, Peer, PickError, Picked};

/// An upstream and what is known of its addresses.
pub struct World {
    pub policy: Policy,
    pub roster: Roster,
    rotation: Rotation,
    standings: Standings,
}

/// What a target does with a request.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Answers after so many milliseconds.
    Answers(u64),
    /// Answers with this status after so many milliseconds.
    Refuses(u16, u64),
    /// Cannot be connected to.
    IsAway,
}

impl World {
    /// An upstream with these fields and weights.
    pub fn new(upstream: Value, weights: &[u64]) -> Self {
        let policy = Policy::of(&config(upstream, &[]).upstreams[0]);
        let standings = Standings::default();
        let roster = assemble(&policy, &standings, weights);
        Self { policy, roster, rotation: Rotation::default(), standings }
    }

    /// Other targets; the first keep their addresses.
    pub fn set_targets(&mut self, weights: &[u64]) {
        self.roster = assemble(&self.policy, &self.standings, weights);
    }

    /// What is known of a target, for the algorithms that want to know.
    pub fn standing(&self, target: usize) -> Arc<Standing> {
        self.standings.keep(&"owner".into(), address(target))
    }

    pub fn pick(&self, tried: &[SocketAddr]) -> Result<Picked, PickError> {
        self.pick_for(&Asker { client: client(0), exchange: None }, tried, &mut Vec::new())
    }

    pub fn pick_for(
        &self,
        asker: &Asker<'_>,
        tried: &[SocketAddr],
        set_cookie: &mut Vec<u8>,
    ) -> Result<Picked, PickError> {
        self.roster.pick(&self.policy, &self.rotation, tried, asker, set_cookie)
    }

    /// The target for a request, and the cookie that is set.
    pub fn target_of(&self, exchange: &Exchange) -> (usize, String) {
        let mut set_cookie = Vec::new();
        let asker = Asker { client: exchange.client.ip, exchange: Some(exchange) };
        let target = self.pick_for(&asker, &[], &mut set_cookie).unwrap().peer.target;
        (target, String::from_utf8(set_cookie).unwrap())
    }

    /// The targets of `count` requests that are over at once.
    pub fn shares(&self, count: usize) -> Vec<usize> {
        self.shares_of((0..count).map(|_| self.pick(&[]).unwrap().peer.target))
    }

    /// The targets of clients with `count` different addresses.
    pub fn by_client(&self, count: u32) -> Vec<usize> {
        let target = |number| {
            let asker = Asker { client: client(number), exchange: None };
            self.pick_for(&asker, &[], &mut Vec::new()).unwrap().peer.target
        };
        (0..count).map(target).collect()
    }

    pub fn shares_of(&self, targets: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut shares = vec![0; self.roster.candidates.len()];
        targets.for_each(|target| shares[target] += 1);
        shares
    }

    /// Keeps `clients` requests going for a time; each client sends its next one as soon as it has an answer. Returns
    /// how many each target got.
    pub async fn run(&self, clients: usize, time: Duration, manners: &[Manner]) -> Vec<usize> {
        let mut running: Vec<Option<(InFlight, Outcome)>> = (0..clients).map(|_| None).collect();
        let mut agenda: BTreeSet<(Instant, usize)> = BTreeSet::new();
        let end = Instant::now() + time;
        let mut shares = vec![0; manners.len()];
        // Clients do not all come at the same moment.
        agenda.extend(
            (0..clients).map(|client| (Instant::now() + Duration::from_micros(97 * client as u64), client)),
        );
        while let Some((due, client)) = agenda.pop_first().filter(|(due, _)| *due < end) {
            advance(due.saturating_duration_since(Instant::now())).await;
            if let Some((in_flight, outcome)) = running[client].take() {
                in_flight.report(outcome, Instant::now);
            }
            let Picked { peer, in_flight } = self.pick(&[]).unwrap();
            shares[peer.target] += 1;
            let (outcome, takes) = match manners[peer.target] {
                Manner::Answers(takes) => (Outcome::Responded(200), takes),
                Manner::Refuses(status, takes) => (Outcome::Responded(status), takes),
                Manner::IsAway => (Outcome::Failed(Trouble::Unreachable), 0),
            };
            running[client] = Some((in_flight, outcome));
            agenda.insert((due + Duration::from_millis(takes) + Duration::from_micros(10), client));
        }
        advance(end.saturating_duration_since(Instant::now())).await;
        shares
    }
}

fn assemble(policy: &Policy, standings: &Standings, weights: &[u64]) -> Roster {
    let watched = policy.measured.is_some();
    let candidate = |(target, weight): (usize, &u64)| Candidate {
        peer: Peer { address: address(target), target, host: None, gate: None },
        weight: *weight,
        standing: watched.then(|| standings.keep(&"owner".into(), address(target))),
    };
    let candidates = weights.iter().enumerate().map(candidate).collect();
    Roster::new(candidates, PickError::NoPeer, "owner", policy)
}

pub fn address(target: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 8000 + u16::try_from(target).unwrap()))
}

pub fn client(number: u32) -> IpAddr {
    IpAddr::from((number + 0x0A01_0000).to_be_bytes())
}

/// Whether `count` is `expected`, give or take a share of it.
pub fn is_about(count: usize, expected: f64, tolerance: f64) -> bool {
    (count as f64 - expected).abs() <= expected * tolerance
}
