//! Numbers that look random and are the same on every machine.

/// A linear congruential generator.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// All that is thrown follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The higher bits are the better ones.
        (self.0 >> 33) % bound
    }

    /// A place in a list of this length, which is not empty.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }
}
