//! The addresses that a balancer chooses from, as they are at one time.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::method::Method;
use super::rotation::Rotation;
use super::standing::{InFlight, Standing};
use super::wheel::{Wheel, scatter};
use super::{Peer, PickError, Picked};

/// An address with weight.
pub(super) struct Candidate {
    pub(super) peer: Peer,
    pub(super) weight: u64,
    /// What is known of it, where anybody wants to know.
    pub(super) standing: Option<Arc<Standing>>,
}

/// All addresses with weight.
pub(super) struct Roster {
    pub(super) candidates: Box<[Candidate]>,
    pub(super) mean_weight: f32,
    wheel: Wheel,
    /// The answer when there is none.
    empty: PickError,
}

/// Lots drawn until one falls on an address that can be had.
const LOTS: usize = 8;

impl Candidate {
    #[inline]
    fn available(&self) -> bool {
        self.standing.as_ref().is_none_or(|standing| standing.available())
    }
}

impl Roster {
    /// The addresses that have weight; `empty` says why there is none.
    pub(super) fn new(mut candidates: Vec<Candidate>, empty: PickError) -> Self {
        candidates.retain(|candidate| candidate.weight > 0);
        let weights: Vec<u64> = candidates.iter().map(|candidate| candidate.weight).collect();
        let mean_weight = weights.iter().sum::<u64>() as f32 / weights.len().max(1) as f32;
        Self { candidates: candidates.into_boxed_slice(), mean_weight, wheel: Wheel::new(&weights), empty }
    }

    /// An address that is not in `tried` or, if all are, any that is available.
    pub(super) fn pick(
        &self,
        method: &Method,
        tried: &[SocketAddr],
        rotation: &Rotation,
    ) -> Result<Picked, PickError> {
        let index = match &*self.candidates {
            [] => return Err(self.empty),
            [only] => only.available().then_some(0),
            _ if tried.is_empty() => self.choose(method, rotation.advance(), |index| self.available(index)),
            _ => {
                // Leaves the rotation alone: if each request that fails on one address moved it on by two, every
                // request could end up on that address first.
                let turn = scatter(rotation.position());
                let untried = |index: usize| !tried.contains(&self.candidates[index].peer.address);
                let other = self.choose(method, turn, |index| untried(index) && self.available(index));
                other.or_else(|| self.choose(method, rotation.advance(), |index| self.available(index)))
            }
        };
        let Candidate { peer, standing, .. } = &self.candidates[index.ok_or(PickError::NoPeer)?];
        Ok(Picked { peer: *peer, in_flight: InFlight::begin(standing.as_ref(), method.measured()) })
    }

    fn choose(&self, method: &Method, turn: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        match method {
            Method::RoundRobin => self.in_turn(turn, open),
            Method::LeastConnections => self.least_busy(turn, open),
            Method::Latency => self.fastest(turn, Instant::now(), open),
            Method::TwoChoices => self.better_of_two(turn, Instant::now(), open),
        }
    }

    /// Weighted round-robin; where it is the turn of one that is not open, a lot decides.
    fn in_turn(&self, turn: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let next = self.wheel.at(turn);
        if open(next) { Some(next) } else { self.draw(scatter(turn), open) }
    }

    /// An open address drawn by weight.
    pub(super) fn draw(&self, mut lot: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..LOTS {
            let index = self.wheel.at_lot(lot);
            if open(index) {
                return Some(index);
            }
            lot = scatter(lot);
        }
        self.wheel.draw(lot, open)
    }

    #[inline]
    fn available(&self, index: usize) -> bool {
        self.candidates[index].available()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(weights: &[u64]) -> Roster {
        let candidate = |(index, weight): (usize, &u64)| {
            let peer = Peer { address: SocketAddr::from(([10, 0, 0, 1], index as u16)), target: index };
            Candidate { peer, weight: *weight, standing: None }
        };
        Roster::new(weights.iter().enumerate().map(candidate).collect(), PickError::NoPeer)
    }

    fn pick(roster: &Roster, tried: &[SocketAddr], rotation: &Rotation) -> Result<Peer, PickError> {
        roster.pick(&Method::RoundRobin, tried, rotation).map(|picked| picked.peer)
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
