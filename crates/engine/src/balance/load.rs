//! Choosing by how much addresses have to do, and how well they do it.

use super::roster::Choice;
use super::standing::{PENALTY, Standing};
use super::wheel::scatter;

/// Addresses that are compared for one request. Where there are more, each request compares others.
const COMPARED: usize = 256;
/// Of two addresses drawn, the second is chosen only where its cost is below this share of the first one's: smaller
/// differences are noise, and weights decide.
const CLEARLY: f32 = 0.8;

impl Choice<'_> {
    /// The address with the fewest requests for its weight: `(active + 1) / weight` (kong.md 5.1).
    pub(super) fn least_busy(&self) -> Option<usize> {
        let mut best = None;
        for index in self.compared() {
            let score = (self.active(index) as f32 + 1.0) / self.weight(index);
            if best.is_none_or(|(lowest, _)| score < lowest) {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// The address with the fastest responses for its weight (kong.md 5.1). One that has not been measured is taken
    /// for an average one when it is new, and for a faster one from then on, like any that nobody has asked of late.
    pub(super) fn fastest(&self) -> Option<usize> {
        let now = self.now();
        let (mut best, mut unknown) = (None, None);
        let (mut sum, mut known) = (0.0, 0_u16);
        for index in self.compared() {
            match self.standing(index).and_then(|standing| standing.latency(now)) {
                Some(latency) => {
                    (sum, known) = (sum + latency, known + 1);
                    let score = latency / self.weight(index);
                    if best.is_none_or(|(lowest, _)| score < lowest) {
                        best = Some((score, index));
                    }
                }
                None => unknown = unknown.or(Some(index)),
            }
        }
        let (Some((lowest, index)), Some(unknown)) = (best, unknown) else {
            return best.map(|(_, index)| index).or(unknown);
        };
        let left = self.standing(unknown).map_or(1.0, |standing| standing.left(now));
        let score = sum / f32::from(known) * left / self.weight(unknown);
        Some(if score <= lowest { unknown } else { index })
    }

    /// The better one of two addresses that are drawn by weight.
    pub(super) fn better_of_two(&self) -> Option<usize> {
        let lot = self.turn();
        let first = self.draw(scatter(lot), |_| true)?;
        let Some(second) = self.draw(scatter(!lot), |index| index != first) else { return Some(first) };
        let latency = |index: usize| self.standing(index)?.peak(self.now());
        let (of_first, of_second) = (latency(first), latency(second));
        let of_first = of_first.or(of_second).unwrap_or(1.0);
        let cost_of_first = self.cost(first, of_first);
        let cost_of_second = self.cost(second, of_second.unwrap_or(of_first));
        Some(if cost_of_second < CLEARLY * cost_of_first { second } else { first })
    }

    /// What a request may expect of an address: the time a response takes and, the more of them fail, the penalty for
    /// that; times the requests that are there already for its weight.
    fn cost(&self, index: usize, latency: f32) -> f32 {
        let failing = self.standing(index).map_or(0.0, |standing| standing.failing(self.now()));
        let queue = 1.0 + self.active(index) as f32 * self.roster.mean_weight / self.weight(index);
        // Even where responses take no time at all, queues count.
        (latency.max(f32::MIN_POSITIVE) + failing * failing * PENALTY) * queue
    }

    /// The indices that are compared, beginning with the one whose turn it is: among equals, the first is chosen.
    fn compared(&self) -> impl Iterator<Item = usize> {
        let count = self.roster.candidates.len();
        let start = (self.turn() % count as u64) as usize;
        (start..count).chain(0..start).take(COMPARED).filter(|index| self.open(*index))
    }

    fn standing(&self, index: usize) -> Option<&Standing> {
        self.roster.candidates[index].standing.as_deref()
    }

    fn active(&self, index: usize) -> u32 {
        self.standing(index).map_or(0, Standing::active)
    }
}
