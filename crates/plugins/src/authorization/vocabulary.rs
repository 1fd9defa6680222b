//! Names that matter, numbered when rules are made ready, and sets of them.

use ahash::AHashMap;
use smallvec::SmallVec;

/// Names with numbers from 0 on.
#[derive(Default)]
pub(super) struct Vocabulary(AHashMap<Box<str>, u32>);

/// A set of small numbers. Up to 512 take no memory of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(SmallVec<[u64; 8]>);

impl Vocabulary {
    /// The number of `name`, a new one if it has none.
    pub(super) fn number(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(name.into()).or_insert(next)
    }

    /// The number of `name`, if it matters.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Marks {
    pub(super) fn set(&mut self, number: u32) {
        let word = number as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    pub(super) fn holds(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Adds what is in `other`.
    pub(super) fn join(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, others) in self.0.iter_mut().zip(&other.0) {
            *word |= others;
        }
    }

    /// The numbers that are in `other`, too, in order.
    pub(super) fn common<'m>(&'m self, other: &'m Self) -> impl Iterator<Item = usize> + 'm {
        self.0.iter().zip(&other.0).enumerate().flat_map(|(place, (word, others))| {
            let mut left = word & others;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(place * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(numbers: &[u32]) -> Marks {
        let mut marks = Marks::default();
        numbers.iter().for_each(|number| marks.set(*number));
        marks
    }

    #[test]
    fn common_numbers_come_in_order() {
        let (left, right) = (marks(&[700, 0, 63, 64, 5]), marks(&[64, 700, 63, 6, 1000]));
        assert_eq!(left.common(&right).collect::<Vec<_>>(), [63, 64, 700]);
        assert!(left.holds(63) && !left.holds(62) && !left.holds(5000));
        let mut all = marks(&[1]);
        all.join(&left);
        assert_eq!(all.common(&all).collect::<Vec<_>>(), [0, 1, 5, 63, 64, 700]);
    }
}
