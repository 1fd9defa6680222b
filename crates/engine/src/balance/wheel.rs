//! Weighted round-robin over a list of addresses.
//!
//! The wheel has weight/gcd slots for each address, but they are never written down: each address owns an interval
//! of the slot numbers, and the wheel is walked in steps of about 0.618 of its size. That visits every slot once a
//! turn, so proportions are exact, and spreads the visits to each interval evenly (three-distance theorem).

/// The addresses in turn, by their index.
pub(super) struct Wheel {
    /// The first slot after those of each address.
    ends: Box<[u64]>,
    /// How far to go from turn to turn; has no divisor in common with the number of slots.
    step: u64,
}

impl Wheel {
    /// A wheel over addresses with these weights, none of which is 0.
    pub(super) fn new(weights: &[u64]) -> Self {
        let divisor =
            weights.iter().fold(0, |divisor, weight| greatest_common_divisor(divisor, *weight)).max(1);
        // Keeps the product of a slot and the step within 64 bits, whatever the number of targets.
        let scale = 1 + weights.iter().map(|weight| weight / divisor).sum::<u64>() / u64::from(u32::MAX);
        let mut total = 0;
        let end = |weight: &u64| {
            total += (weight / divisor / scale).max(1);
            total
        };
        let ends = weights.iter().map(end).collect();
        Self { ends, step: golden_step(total) }
    }

    /// Number of slots.
    fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The index of the address whose turn it is; there has to be one.
    #[inline]
    pub(super) fn at(&self, turn: u64) -> usize {
        let total = self.total();
        self.owner(turn % total * self.step % total)
    }

    /// The index of an address, by weight, as `lot` falls; there has to be one.
    #[inline]
    pub(super) fn at_lot(&self, lot: u64) -> usize {
        self.owner(lot % self.total())
    }

    #[inline]
    fn owner(&self, slot: u64) -> usize {
        let every_slot_its_own = self.total() == self.ends.len() as u64;
        if every_slot_its_own { slot as usize } else { self.ends.partition_point(|end| *end <= slot) }
    }

    /// An address out of those that are `open`, by weight, as `lot` falls.
    pub(super) fn draw(&self, lot: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = |index: usize| self.ends[index] - if index == 0 { 0 } else { self.ends[index - 1] };
        let candidates = || (0..self.ends.len()).filter(|index| open(*index));
        let mut slot = lot.checked_rem(candidates().map(slots).sum())?;
        for index in candidates() {
            if slot < slots(index) {
                return Some(index);
            }
            slot -= slots(index);
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
pub(super) fn scatter(position: u64) -> u64 {
    let mut bits = position.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first turns, `count` of them.
    fn turns(wheel: &Wheel, count: u64) -> Vec<usize> {
        (0..count).map(|turn| wheel.at(turn)).collect()
    }

    fn shares(picked: &[usize], targets: usize) -> Vec<usize> {
        (0..targets).map(|target| picked.iter().filter(|index| **index == target).count()).collect()
    }

    #[test]
    fn a_turn_gives_each_target_its_exact_share() {
        for weights in [&[100, 100, 100][..], &[10, 20, 30], &[1, 1], &[5, 1, 1], &[65535, 1, 7], &[3, 9]] {
            let wheel = Wheel::new(weights);
            let picked = turns(&wheel, wheel.total());
            let divisor = weights.iter().fold(0, |left, right| greatest_common_divisor(left, *right));
            let expected: Vec<_> = weights.iter().map(|weight| (weight / divisor) as usize).collect();
            assert_eq!(shares(&picked, weights.len()), expected);
        }
    }

    #[test]
    fn the_shares_of_a_part_of_a_turn_are_even_too() {
        assert_eq!(shares(&turns(&Wheel::new(&[60, 30, 10]), 10), 3), [6, 3, 1]);
        for window in turns(&Wheel::new(&[1000, 1000, 999]), 2999).chunks_exact(30) {
            assert!(shares(window, 3).iter().all(|share| (9..=11).contains(share)), "{window:?}");
        }
    }

    #[test]
    fn lots_fall_by_weight_on_those_that_are_open() {
        let wheel = Wheel::new(&[10, 20, 30, 40]);
        let drawn: Vec<_> = (0..8).filter_map(|lot| wheel.draw(lot, |index| index % 2 == 1)).collect();
        assert_eq!(shares(&drawn, 4), [0, 4, 0, 4], "2 and 4 slots, begun anew");
        let drawn: Vec<_> = (0..6).filter_map(|lot| wheel.draw(lot, |index| index % 2 == 1)).collect();
        assert_eq!(shares(&drawn, 4), [0, 2, 0, 4]);
        assert_eq!(wheel.draw(7, |_| false), None);
    }

    #[test]
    fn absurd_sums_of_weights_stay_within_bounds() {
        let weights: Vec<u64> = (0..200_000).map(|index| 65_535 - (index % 2)).collect();
        let wheel = Wheel::new(&weights);
        assert!(wheel.total() <= u64::from(u32::MAX) + 200_000);
        assert!(wheel.at(u64::MAX) < weights.len());
    }
}
