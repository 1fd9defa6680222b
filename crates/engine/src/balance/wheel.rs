//! Weighted round-robin over a list of addresses.
//!
//! The wheel has weight/gcd slots for each address, but they are never written down: each address owns an interval
//! of the slot numbers, and the wheel is walked in steps of about 0.618 of its size. That visits every slot once a
//! turn, so proportions are exact, and spreads the visits to each interval evenly (three-distance theorem).

use std::net::SocketAddr;

use super::rotation::Rotation;
use super::{Peer, PickError};

/// The addresses in turn.
pub(super) struct Wheel {
    entries: Box<[Entry]>,
    /// Number of slots.
    total: u64,
    /// How far to go from pick to pick; has no divisor in common with `total`.
    step: u64,
    /// The answer when there is no entry.
    empty: PickError,
}

struct Entry {
    peer: Peer,
    /// The first slot after those of this entry.
    end: u64,
    slots: u64,
}

impl Wheel {
    /// A wheel over addresses and their weights; addresses without weight are left out.
    pub(super) fn new(peers: Vec<(Peer, u64)>, empty: PickError) -> Self {
        let divisor = peers.iter().fold(0, |divisor, (_, weight)| greatest_common_divisor(divisor, *weight));
        // Keeps the product of a slot and the step within 64 bits, whatever the number of targets.
        let scale =
            1 + peers.iter().map(|(_, weight)| weight / divisor.max(1)).sum::<u64>() / u64::from(u32::MAX);
        let mut total = 0;
        let entry = |(peer, weight): (Peer, u64)| {
            let slots = (weight / divisor / scale).max(1);
            total += slots;
            Entry { peer, end: total, slots }
        };
        let entries = peers.into_iter().filter(|(_, weight)| *weight > 0).map(entry).collect();
        Self { entries, total, step: golden_step(total), empty }
    }

    /// The next address that is not in `tried`, or simply the next one if all are.
    pub(super) fn pick(&self, tried: &[SocketAddr], rotation: &Rotation) -> Result<Peer, PickError> {
        match &*self.entries {
            [] => Err(self.empty),
            [only] => Ok(only.peer),
            _ if tried.is_empty() => Ok(self.turn(rotation)),
            _ => Ok(self.untried(tried, rotation).unwrap_or_else(|| self.turn(rotation))),
        }
    }

    /// Whether there is no address.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn turn(&self, rotation: &Rotation) -> Peer {
        let slot = rotation.advance() % self.total * self.step % self.total;
        let every_slot_its_own = self.total == self.entries.len() as u64;
        let index = if every_slot_its_own {
            slot as usize
        } else {
            self.entries.partition_point(|entry| entry.end <= slot)
        };
        self.entries[index].peer
    }

    /// Another address, by weight. Leaves the rotation alone: if each request that fails on one address moved it on
    /// by two, every request could end up on that address first.
    fn untried(&self, tried: &[SocketAddr], rotation: &Rotation) -> Option<Peer> {
        let open = || self.entries.iter().filter(|entry| !tried.contains(&entry.peer.address));
        let total: u64 = open().map(|entry| entry.slots).sum();
        let mut slot = scatter(rotation.position()).checked_rem(total)?;
        for entry in open() {
            if slot < entry.slots {
                return Some(entry.peer);
            }
            slot -= entry.slots;
        }
        None
    }
}

/// The number next to 0.618 of `total` that has no divisor in common with it.
fn golden_step(total: u64) -> u64 {
    let golden = (total as f64 * 0.618_033_988_749_894_9).round() as u64;
    let around = (0..total).flat_map(|distance| [golden.saturating_sub(distance), golden + distance]);
    let mut fitting = around.filter(|step| *step > 0 && greatest_common_divisor(*step, total) == 1);
    fitting.next().unwrap_or(1)
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// Spreads neighbouring positions over all numbers (the finalizer of SplitMix64, public domain).
fn scatter(position: u64) -> u64 {
    let mut bits = position.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(weights: &[u64]) -> Wheel {
        let peer =
            |index: usize| Peer { address: SocketAddr::from(([10, 0, 0, 1], index as u16)), target: index };
        let peers = weights.iter().enumerate().map(|(index, weight)| (peer(index), *weight)).collect();
        Wheel::new(peers, PickError::NoPeer)
    }

    /// The targets picked first, `count` of them.
    fn picks(wheel: &Wheel, rotation: &Rotation, count: usize) -> Vec<usize> {
        (0..count).map(|_| wheel.pick(&[], rotation).unwrap().target).collect()
    }

    fn shares(picked: &[usize], targets: usize) -> Vec<usize> {
        (0..targets).map(|target| picked.iter().filter(|index| **index == target).count()).collect()
    }

    #[test]
    fn a_turn_gives_each_target_its_exact_share() {
        for weights in
            [&[100, 100, 100][..], &[10, 20, 30], &[1, 1], &[5, 1, 1], &[65535, 1, 7], &[0, 3, 0, 9]]
        {
            let wheel = wheel(weights);
            let picked = picks(&wheel, &Rotation::default(), wheel.total as usize);
            let divisor = weights.iter().fold(0, |left, right| greatest_common_divisor(left, *right));
            let expected: Vec<_> = weights.iter().map(|weight| (weight / divisor) as usize).collect();
            assert_eq!(shares(&picked, weights.len()), expected);
        }
    }

    #[test]
    fn the_shares_of_a_part_of_a_turn_are_even_too() {
        let wheel = wheel(&[60, 30, 10]);
        let picked = picks(&wheel, &Rotation::default(), 10);
        assert_eq!(shares(&picked, 3), [6, 3, 1]);
        let wheel = super::tests::wheel(&[1000, 1000, 999]);
        for window in picks(&wheel, &Rotation::default(), 2999).chunks_exact(30) {
            assert!(shares(window, 3).iter().all(|share| (9..=11).contains(share)), "{window:?}");
        }
    }

    #[test]
    fn a_target_without_weight_is_never_picked_not_even_by_a_retry() {
        let wheel = wheel(&[0, 5, 5]);
        let rotation = Rotation::default();
        let other = wheel.pick(&[], &rotation).unwrap();
        assert!(other.target != 0);
        for _ in 0..20 {
            let retry = wheel.pick(&[other.address], &rotation).unwrap();
            assert_eq!(retry.target, 3 - other.target);
        }
        assert_eq!(super::tests::wheel(&[0]).pick(&[], &rotation), Err(PickError::NoPeer));
    }

    #[test]
    fn retries_avoid_what_was_tried_while_there_is_something_else() {
        let wheel = wheel(&[1, 2, 3, 4]);
        let rotation = Rotation::default();
        for _ in 0..50 {
            let mut tried = Vec::new();
            for _ in 0..4 {
                let peer = wheel.pick(&tried, &rotation).unwrap();
                assert!(!tried.contains(&peer.address));
                tried.push(peer.address);
            }
            assert!(wheel.pick(&tried, &rotation).is_ok(), "all failed: start over");
        }
    }

    #[test]
    fn a_dead_target_does_not_become_the_first_choice_of_every_request() {
        let wheel = wheel(&[1, 1]);
        let rotation = Rotation::default();
        let mut first_on_dead = 0;
        for _ in 0..100 {
            let first = wheel.pick(&[], &rotation).unwrap();
            if first.target == 0 {
                first_on_dead += 1;
                assert_eq!(wheel.pick(&[first.address], &rotation).unwrap().target, 1);
            }
        }
        assert_eq!(first_on_dead, 50);
    }

    #[test]
    fn retries_spread_over_what_is_left() {
        let wheel = wheel(&[1, 1, 1, 1]);
        let rotation = Rotation::default();
        let mut retried = Vec::new();
        for _ in 0..1200 {
            let first = wheel.pick(&[], &rotation).unwrap();
            if first.target == 0 {
                retried.push(wheel.pick(&[first.address], &rotation).unwrap().target);
            }
        }
        assert!(shares(&retried, 4)[1..].iter().all(|share| *share > 70), "{:?}", shares(&retried, 4));
    }

    #[test]
    fn the_rotation_of_a_single_address_stands_still() {
        let rotation = Rotation::default();
        let wheel = wheel(&[7]);
        let only = wheel.pick(&[], &rotation).unwrap();
        assert_eq!(wheel.pick(&[only.address], &rotation).unwrap(), only);
        assert_eq!(rotation.position(), 0);
    }

    #[test]
    fn absurd_sums_of_weights_stay_within_bounds() {
        let weights: Vec<u64> = (0..200_000).map(|index| 65_535 - (index % 2)).collect();
        let wheel = wheel(&weights);
        assert!(wheel.total <= u64::from(u32::MAX) + 200_000);
        assert!(wheel.pick(&[], &Rotation::default()).is_ok());
    }
}
