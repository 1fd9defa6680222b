//! Choosing by how much addresses have to do, and how well they do it.

use tokio::time::Instant;

use super::roster::{Candidate, Roster};
use super::wheel::scatter;

/// Addresses that are compared for one request. Where there are more, each request compares others.
const COMPARED: usize = 256;
/// Of two addresses drawn, the second is chosen only where its cost is below this share of the first one's: smaller
/// differences are noise, and weights decide.
const CLEARLY: f32 = 0.8;
/// What is left of the standing of an address that fails all requests.
const WORST: f32 = 0.01;

impl Roster {
    /// The address with the fewest requests for its weight: `(active + 1) / weight` (kong.md 5.1).
    pub(super) fn least_busy(&self, turn: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        for index in self.compared(turn).filter(|index| open(*index)) {
            let candidate = &self.candidates[index];
            let active = candidate.standing.as_ref().map_or(0, |standing| standing.active());
            let score = (active as f32 + 1.0) / candidate.weight as f32;
            if best.is_none_or(|(lowest, _)| score < lowest) {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// The address with the fastest responses for its weight (kong.md 5.1). One that has not been measured is taken
    /// for an average one when it is new, and for a faster one from then on, like any that nobody has asked of late.
    pub(super) fn fastest(&self, turn: u64, now: Instant, open: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut best, mut unknown) = (None, None);
        let (mut sum, mut known) = (0.0, 0_u16);
        for index in self.compared(turn).filter(|index| open(*index)) {
            let candidate = &self.candidates[index];
            match candidate.standing.as_ref().and_then(|standing| standing.latency(now)) {
                Some(latency) => {
                    (sum, known) = (sum + latency, known + 1);
                    let score = latency / candidate.weight as f32;
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
        let candidate = &self.candidates[unknown];
        let faded = candidate.standing.as_ref().map_or(1.0, |standing| standing.left(now));
        let score = sum / f32::from(known) * faded / candidate.weight as f32;
        Some(if score <= lowest { unknown } else { index })
    }

    /// The indices that are compared, beginning with the one whose turn it is: among equals, the first is chosen.
    fn compared(&self, turn: u64) -> impl Iterator<Item = usize> + use<> {
        let count = self.candidates.len();
        let start = (turn % count as u64) as usize;
        (start..count).chain(0..start).take(COMPARED)
    }

    /// The better one of two addresses that are drawn by weight.
    pub(super) fn better_of_two(
        &self,
        turn: u64,
        now: Instant,
        open: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let lot = scatter(turn);
        let first = self.draw(lot, &open)?;
        let other_one = |index: usize| index != first && open(index);
        let Some(second) = self.draw(scatter(!lot), other_one) else {
            return Some(first);
        };
        let [one, other] = [first, second].map(|index| &self.candidates[index]);
        let latency = |candidate: &Candidate| candidate.standing.as_ref()?.peak(now);
        let (of_one, of_other) = (latency(one), latency(other));
        let of_one = of_one.or(of_other).unwrap_or(1.0);
        let better =
            self.cost(other, of_other.unwrap_or(of_one), now) < CLEARLY * self.cost(one, of_one, now);
        Some(if better { second } else { first })
    }

    /// What a request may expect of an address: the time a response takes, times the requests that are there already
    /// for its weight, the more the more of them fail.
    fn cost(&self, candidate: &Candidate, latency: f32, now: Instant) -> f32 {
        let Some(standing) = &candidate.standing else { return latency };
        let queue = 1.0 + standing.active() as f32 * self.mean_weight / candidate.weight as f32;
        let succeeding = 1.0 - standing.failing(now);
        latency * queue / (succeeding * succeeding).max(WORST)
    }
}
