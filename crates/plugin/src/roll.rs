//! All callers of a snapshot that are found by something they send, such as a key.
//!
//! Among a million of them, a look-up has to wait for memory: for one line of a cache here and for the caller itself, and
//! for nothing else. A table that keeps what is needed to tell a line's entries apart away from the entries, as hash maps do,
//! needs one more.

use std::sync::Arc;

use ahash::RandomState;
use model::courtesy::{free, offering};

use crate::identity::Caller;

/// Callers by their [`Caller::key`].
///
/// They are found by hash and not compared in constant time: the hash is seeded at random, so timing tells nothing about how
/// much of a guess is right, and nobody can choose keys that share a place.
pub struct Roll {
    lines: Box<[Line]>,
    hasher: RandomState,
}

/// Callers in a line.
const PLACES: usize = 5;
/// Callers for each line, in the mean: one line of 60 has more than there are places, and passes them on to the next one.
const IN_A_LINE: usize = 2;
/// Nanoseconds that it takes to enter a caller, roughly.
const TO_ENTER: u32 = 300;

/// As much as a processor fetches at once. It is filled from the front, and what does not fit is in the next one.
#[derive(Default)]
#[repr(align(64))]
struct Line {
    callers: [Option<Arc<Caller>>; PLACES],
    /// Parts of their hashes, so that hardly ever a caller is looked at that is not the one.
    marks: [u32; PLACES],
}

const _: () = assert!(size_of::<Line>() == 64);

impl Roll {
    /// The caller who is found by `key`.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Arc<Caller>> {
        let hash = self.hasher.hash_one(key);
        for index in places(hash, self.lines.len()) {
            let line = &self.lines[index];
            for (mark, caller) in line.marks.iter().zip(&line.callers) {
                let caller = caller.as_ref()?;
                if *mark == hash as u32 && caller.key() == key {
                    return Some(caller);
                }
            }
        }
        None
    }

    /// Of two callers who are found by the same, the later one counts.
    fn enter(&mut self, caller: Arc<Caller>) {
        let hash = self.hasher.hash_one(caller.key());
        for index in places(hash, self.lines.len()) {
            let line = &mut self.lines[index];
            for (mark, place) in line.marks.iter_mut().zip(&mut line.callers) {
                let is_free = place.as_ref().is_none_or(|known| known.key() == caller.key());
                if is_free {
                    (*mark, *place) = (hash as u32, Some(caller));
                    return;
                }
            }
        }
    }
}

/// The lines in which a caller may be, of `count`: all of them, the nearest first.
fn places(hash: u64, count: usize) -> impl Iterator<Item = usize> {
    let first = ((u128::from(hash) * count as u128) >> 64) as usize;
    (first..count).chain(0..first)
}

impl FromIterator<Arc<Caller>> for Roll {
    fn from_iter<I: IntoIterator<Item = Arc<Caller>>>(callers: I) -> Self {
        let callers: Vec<Arc<Caller>> = callers.into_iter().collect();
        // There are more places than callers, so that everybody finds one and every search an end.
        let lines = (0..=callers.len() / IN_A_LINE).map(|_| Line::default()).collect();
        let mut roll = Self { lines, hasher: RandomState::new() };
        offering(TO_ENTER, callers.into_iter()).for_each(|caller| roll.enter(caller));
        roll
    }
}

/// Caller by caller, as there may be a million.
impl Drop for Roll {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        free(lines.into_iter().flat_map(|line| line.callers).flatten());
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::identity::Credential;

    fn caller(key: &str, id: u128) -> Arc<Caller> {
        let id = Uuid::from_u128(id);
        let fields = serde_json::json!({
            "id": id.to_string(), "created_at": 1, "updated_at": 1, "username": "ada",
        });
        let consumer = model::schema::Record::from_value(&fields).unwrap();
        Caller::known_by(key.as_bytes(), u64::MAX, Arc::new(consumer), Credential::of(id))
    }

    fn found(roll: &Roll, key: &str) -> Option<u128> {
        Some(roll.find(key.as_bytes())?.credential()?.id.as_u128())
    }

    #[test]
    fn each_is_found_by_its_own_key_and_nobody_by_another() {
        let roll: Roll = (0..5000).map(|number| caller(&format!("key-{number}"), number)).collect();
        for number in 0..5000 {
            assert_eq!(found(&roll, &format!("key-{number}")), Some(number));
            assert_eq!(found(&roll, &format!("Key-{number}")), None);
        }
        assert_eq!(found(&roll, ""), None);
    }

    #[test]
    fn nobody_is_found_where_nobody_is() {
        assert_eq!(found(&Roll::from_iter([]), "key"), None);
    }

    #[test]
    fn lines_that_are_full_pass_callers_on_and_a_search_ends() {
        let mut roll =
            Roll { lines: Box::new([Line::default(), Line::default()]), hasher: RandomState::new() };
        for number in 0..2 * PLACES as u128 {
            assert_eq!(found(&roll, &number.to_string()), None);
            roll.enter(caller(&number.to_string(), number));
        }
        for number in 0..2 * PLACES as u128 {
            assert_eq!(found(&roll, &number.to_string()), Some(number));
        }
        assert_eq!(found(&roll, "unknown"), None);
    }

    #[test]
    fn the_later_of_two_with_one_key_counts() {
        let roll: Roll = [caller("key", 1), caller("other", 2), caller("key", 3)].into_iter().collect();
        assert_eq!(found(&roll, "key"), Some(3));
        assert_eq!(found(&roll, "other"), Some(2));
    }

    #[test]
    fn a_search_begins_anywhere_and_sees_every_line() {
        for (hash, first) in [(0, 0), (1 << 63, 5), (u64::MAX, 9)] {
            let mut order: Vec<usize> = places(hash, 10).collect();
            assert_eq!(order[0], first);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..10));
        }
    }

    #[test]
    fn a_caller_leaves_with_the_roll() {
        let one = caller("key", 1);
        let roll: Roll = [one.clone()].into_iter().collect();
        drop(roll);
        assert_eq!(Arc::strong_count(&one), 1);
    }
}
