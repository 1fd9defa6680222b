//! The addresses that a balancer chooses from, as they are at one time, and the choice of one.

use std::net::SocketAddr;
use std::sync::Arc;

use plugin::Exchange;
use plugin::guard::Guard;
use tokio::time::Instant;

use super::affinity::Asker;
use super::hashing::Slots;
use super::policy::{Method, Policy};
use super::rotation::Rotation;
use super::spot::Spot;
use super::standing::{InFlight, Standing};
use super::sticky::Sessions;
use super::wheel::{Wheel, scatter};
use super::{Peer, PickError, Picked};

/// An address.
pub(super) struct Candidate {
    pub(super) peer: Peer,
    pub(super) weight: u64,
    /// What is known of it, where anybody wants to know.
    pub(super) standing: Option<Arc<Standing>>,
}

/// All addresses.
pub(super) struct Roster {
    /// The targets that they belong to.
    pub(super) spots: Box<[Arc<Spot>]>,
    /// Those with weight.
    pub(super) candidates: Box<[Candidate]>,
    /// Those without, which keep sessions that they have.
    drained: Box<[Candidate]>,
    pub(super) mean_weight: f32,
    pub(super) wheel: Wheel,
    affinity: Affinity,
    /// The answer when none has weight.
    empty: PickError,
}

/// What is made ready for clients to find back to their targets.
enum Affinity {
    None,
    Slots(Slots),
    Sessions(Sessions),
}

/// One choice, and what it goes by.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) roster: &'a Roster,
    policy: &'a Policy,
    rotation: &'a Rotation,
    tried: &'a [SocketAddr],
    /// The time, where the policy goes by it.
    now: Option<Instant>,
    /// Who has a say in it, if anybody has.
    guard: Option<(&'a dyn Guard, &'a Exchange)>,
}

/// Addresses chosen that the guard of the request turns out not to let it to, before it is let nowhere.
const ENTRIES: usize = 8;
/// Lots drawn until one falls on an address that can be had.
const LOTS: usize = 8;
/// The share of its weight with which an address starts slowly.
const FIRST_SHARE: f32 = 0.1;

impl Candidate {
    fn is_available(&self) -> bool {
        self.standing.as_ref().is_none_or(|standing| standing.available())
    }
}

impl Roster {
    /// These addresses of `owner`, whose targets are left open; `empty` says why there is none, if there is none.
    pub(super) fn new(candidates: Vec<Candidate>, empty: PickError, owner: &str, policy: &Policy) -> Self {
        let (candidates, drained): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.weight > 0);
        let weights: Vec<u64> = candidates.iter().map(|candidate| candidate.weight).collect();
        let affinity = match policy.method {
            Method::ConsistentHashing { slots, .. } => Affinity::Slots(Slots::new(&candidates, slots)),
            Method::Sticky(_) => {
                Affinity::Sessions(Sessions::new(owner, candidates.iter().chain(drained.iter())))
            }
            _ => Affinity::None,
        };
        Self {
            spots: Box::default(),
            mean_weight: weights.iter().sum::<u64>() as f32 / weights.len().max(1) as f32,
            wheel: Wheel::new(&weights),
            candidates: candidates.into(),
            drained: drained.into(),
            affinity,
            empty,
        }
    }

    /// An address that is not in `tried` or, if all are, any that is available. A cookie for the client is left in
    /// `set_cookie`.
    pub(super) fn pick(
        &self,
        policy: &Policy,
        rotation: &Rotation,
        tried: &[SocketAddr],
        asker: &Asker<'_>,
        set_cookie: &mut Vec<u8>,
    ) -> Result<Picked, PickError> {
        if self.candidates.is_empty() {
            return Err(self.empty);
        }
        let now = policy.measured.map(|_| Instant::now());
        let choice = Choice { roster: self, policy, rotation, tried, now, guard: asker.guard() };
        let index = choice.settle(asker, set_cookie)?;
        let Candidate { peer, standing, .. } = self.candidate(index);
        let in_flight = match (standing, policy.measured, now) {
            (Some(standing), Some(measured), Some(now)) => InFlight::begin(standing, measured, now),
            _ => InFlight::default(),
        };
        Ok(Picked { peer: peer.clone(), in_flight })
    }

    /// Whether any of those with weight can be had.
    pub(super) fn is_reachable(&self) -> bool {
        self.candidates.iter().any(Candidate::is_available)
    }

    /// Those that requests may go to now.
    pub(super) fn open_peers(&self) -> Vec<Peer> {
        let open = self.candidates.iter().filter(|candidate| candidate.is_available());
        open.map(|candidate| candidate.peer.clone()).collect()
    }

    /// All of them, with weight or without.
    pub(super) fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().chain(&self.drained)
    }

    /// An address by its index, those without weight last.
    #[inline]
    fn candidate(&self, index: usize) -> &Candidate {
        let count = self.candidates.len();
        if index < count { &self.candidates[index] } else { &self.drained[index - count] }
    }
}

impl Choice<'_> {
    /// Chooses until the guard, if there is one, lets the request in: others may be faster.
    fn settle(self, asker: &Asker<'_>, set_cookie: &mut Vec<u8>) -> Result<usize, PickError> {
        for _ in 0..ENTRIES {
            let mut index = self.make(asker, set_cookie);
            if index.is_none() && !self.tried.is_empty() {
                index = Choice { tried: &[], ..self }.make(asker, set_cookie);
            }
            match (index, self.guard) {
                (Some(index), Some((guard, exchange))) => {
                    if guard.enter(exchange, self.roster.candidate(index).peer.address) {
                        return Ok(index);
                    }
                }
                (Some(index), None) => return Ok(index),
                (None, Some(_)) if self.roster.is_reachable() => break,
                (None, _) => return Err(PickError::NoPeer),
            }
        }
        Err(PickError::Barred)
    }

    fn make(&self, asker: &Asker<'_>, set_cookie: &mut Vec<u8>) -> Option<usize> {
        match (&self.policy.method, &self.roster.affinity) {
            (Method::ConsistentHashing { keys, .. }, Affinity::Slots(slots)) => {
                self.by_hash(slots, keys.hash(asker, set_cookie))
            }
            (Method::Sticky(cookie), Affinity::Sessions(sessions)) => {
                self.by_session(sessions, cookie, asker, set_cookie)
            }
            _ if self.roster.candidates.len() == 1 => self.open(0).then_some(0),
            (Method::LeastConnections, _) => self.least_busy(),
            (Method::Latency, _) => self.fastest(),
            (Method::TwoChoices, _) => self.better_of_two(),
            _ => self.in_turn(),
        }
    }

    /// Whether an address can be had.
    #[inline]
    pub(super) fn open(&self, index: usize) -> bool {
        let candidate = self.roster.candidate(index);
        let address = candidate.peer.address;
        candidate.is_available()
            && (self.tried.is_empty() || !self.tried.contains(&address))
            && self.guard.is_none_or(|(guard, exchange)| guard.allows(exchange, address))
    }

    /// The number of this choice. A further attempt leaves the rotation alone: if each request that fails on one
    /// address moved it on by two, every request could end up on that address first.
    #[inline]
    pub(super) fn turn(&self) -> u64 {
        if self.tried.is_empty() { self.rotation.advance() } else { scatter(self.rotation.position()) }
    }

    pub(super) fn now(&self) -> Instant {
        self.now.unwrap_or_else(Instant::now)
    }

    /// Weighted round-robin; where it is the turn of one that cannot be had, a lot decides.
    pub(super) fn in_turn(&self) -> Option<usize> {
        let turn = self.turn();
        let next = self.roster.wheel.at(turn);
        let lot = scatter(turn);
        if self.open(next) && self.admits(next, lot) { Some(next) } else { self.draw(lot, |_| true) }
    }

    /// An address that can be had, among those that are `wanted`, drawn by weight.
    pub(super) fn draw(&self, mut lot: u64, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let open = |index: usize| wanted(index) && self.open(index);
        for _ in 0..LOTS {
            lot = scatter(lot);
            let index = self.roster.wheel.at_lot(lot);
            if open(index) && self.admits(index, !lot) {
                return Some(index);
            }
        }
        self.roster.wheel.draw(lot, open)
    }

    /// Whether an address that starts slowly takes the request that `lot` falls on.
    #[inline]
    fn admits(&self, index: usize, lot: u64) -> bool {
        self.policy.slow_start.is_none()
            || (scatter(lot) >> 40) as f32 / (1 << 24) as f32 <= self.share(index)
    }

    /// What an address weighs.
    pub(super) fn weight(&self, index: usize) -> f32 {
        self.roster.candidate(index).weight as f32 * self.share(index)
    }

    /// The share of its weight that an address gets: less than 1 while it starts slowly.
    pub(super) fn share(&self, index: usize) -> f32 {
        let standing = self.roster.candidate(index).standing.as_ref();
        let (Some(standing), Some(time)) = (standing, self.policy.slow_start) else { return 1.0 };
        (standing.age(self.now()).as_secs_f32() / time.as_secs_f32()).clamp(FIRST_SHARE, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn roster(weights: &[u64]) -> Roster {
        let candidate = |(index, weight): (usize, &u64)| {
            let address = SocketAddr::from(([10, 0, 0, 1], index as u16));
            let peer = Peer { address, target: index, host: None, gate: None };
            Candidate { peer, weight: *weight, standing: None }
        };
        let candidates = weights.iter().enumerate().map(candidate).collect();
        Roster::new(candidates, PickError::NoPeer, "owner", &Policy::plain())
    }

    fn pick(roster: &Roster, tried: &[SocketAddr], rotation: &Rotation) -> Result<Peer, PickError> {
        let asker = Asker { client: IpAddr::from([192, 0, 2, 1]), exchange: None };
        let picked = roster.pick(&Policy::plain(), rotation, tried, &asker, &mut Vec::new());
        picked.map(|picked| picked.peer)
    }

    fn shares(picked: &[usize], targets: usize) -> Vec<usize> {
        (0..targets).map(|target| picked.iter().filter(|index| **index == target).count()).collect()
    }

    #[test]
    fn a_target_without_weight_is_never_picked_not_even_by_a_retry() {
        let roster = roster(&[0, 5, 5]);
        let rotation = Rotation::default();
        let other = pick(&roster, &[], &rotation).unwrap();
        assert!(other.target != 0);
        for _ in 0..20 {
            let retry = pick(&roster, &[other.address], &rotation).unwrap();
            assert_eq!(retry.target, 3 - other.target);
        }
        assert_eq!(pick(&super::tests::roster(&[0]), &[], &rotation), Err(PickError::NoPeer));
    }

    #[test]
    fn retries_avoid_what_was_tried_while_there_is_something_else() {
        let roster = roster(&[1, 2, 3, 4]);
        let rotation = Rotation::default();
        for _ in 0..50 {
            let mut tried = Vec::new();
            for _ in 0..4 {
                let peer = pick(&roster, &tried, &rotation).unwrap();
                assert!(!tried.contains(&peer.address));
                tried.push(peer.address);
            }
            assert!(pick(&roster, &tried, &rotation).is_ok(), "all failed: start over");
        }
    }

    #[test]
    fn a_dead_target_does_not_become_the_first_choice_of_every_request() {
        let roster = roster(&[1, 1]);
        let rotation = Rotation::default();
        let mut first_on_dead = 0;
        for _ in 0..100 {
            let first = pick(&roster, &[], &rotation).unwrap();
            if first.target == 0 {
                first_on_dead += 1;
                assert_eq!(pick(&roster, &[first.address], &rotation).unwrap().target, 1);
            }
        }
        assert_eq!(first_on_dead, 50);
    }

    #[test]
    fn retries_spread_over_what_is_left() {
        let roster = roster(&[1, 1, 1, 1]);
        let rotation = Rotation::default();
        let mut retried = Vec::new();
        for _ in 0..1200 {
            let first = pick(&roster, &[], &rotation).unwrap();
            if first.target == 0 {
                retried.push(pick(&roster, &[first.address], &rotation).unwrap().target);
            }
        }
        assert!(shares(&retried, 4)[1..].iter().all(|share| *share > 70), "{:?}", shares(&retried, 4));
    }

    #[test]
    fn the_rotation_of_a_single_address_stands_still() {
        let rotation = Rotation::default();
        let roster = roster(&[7]);
        let only = pick(&roster, &[], &rotation).unwrap();
        assert_eq!(pick(&roster, &[only.address], &rotation).unwrap(), only);
        assert_eq!(rotation.position(), 0);
    }
}
