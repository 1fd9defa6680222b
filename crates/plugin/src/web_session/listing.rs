//! Which sessions somebody has: a list for each audience and subject, where sessions are kept, for whoever looks after them.
//!
//! A list is JSON: an array of arrays, each with the digest by which a session is found, when it began, and when it ends
//! unless it is used, `null` for never; in seconds since 1970. Bounded: those that end first give way.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::shared::Change;

/// Sessions of a list.
const MOST: usize = 100;

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Entry(pub(super) String, pub(super) u64, pub(super) Option<u64>);

impl Entry {
    fn lasts(&self, now: u64) -> bool {
        self.2.is_none_or(|ends| now <= ends)
    }
}

/// What a session with this id is found by.
pub(super) fn digest_of(id: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, id))
}

/// What the list of `subject` at `audience` is found by: the digest of both, with a line feed in between.
pub(super) fn name(audience: &str, subject: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{audience}\n{subject}").as_bytes()))
}

/// The list `before`, with `added` and without `removed` and what has ended; none if that changes nothing.
pub(super) fn changed(
    before: Option<&[u8]>,
    added: &[Entry],
    removed: &[String],
    now: u64,
) -> Option<Change> {
    let known: Vec<Entry> = before.and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default();
    let is_replaced = |entry: &Entry| removed.contains(&entry.0) || added.iter().any(|new| new.0 == entry.0);
    let mut list: Vec<Entry> =
        known.iter().filter(|entry| entry.lasts(now) && !is_replaced(entry)).cloned().collect();
    list.extend_from_slice(added);
    while list.len() > MOST {
        let first = (0..list.len()).min_by_key(|place| list[*place].2.unwrap_or(u64::MAX))?;
        list.remove(first);
    }
    if list == known {
        return None;
    }
    let last =
        list.iter().map(|entry| entry.2).max_by_key(|ends| ends.unwrap_or(u64::MAX)).unwrap_or(Some(now));
    let lifetime = last.map(|ends| Duration::from_secs(ends.saturating_sub(now).saturating_add(1)));
    Some((serde_json::to_vec(&list).ok()?, lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, ends: Option<u64>) -> Entry {
        Entry(format!("session {number}"), 1, ends)
    }

    fn list(change: &Change) -> Vec<u64> {
        let entries: Vec<Entry> = serde_json::from_slice(&change.0).unwrap();
        entries.iter().map(|entry| entry.0[8..].parse().unwrap()).collect()
    }

    #[test]
    fn a_list_has_what_lasts_and_lasts_as_long() {
        let first = changed(None, &[entry(1, Some(20)), entry(2, Some(90))], &[], 10).unwrap();
        assert_eq!((list(&first), first.1), (vec![1, 2], Some(Duration::from_secs(81))));
        let second = changed(Some(&first.0), &[entry(3, None)], &["session 2".to_owned()], 21).unwrap();
        assert_eq!((list(&second), second.1), (vec![3], None));
        assert_eq!(changed(Some(&second.0), &[], &["session 9".to_owned()], 22), None, "nothing changes");
        let last = changed(Some(&second.0), &[], &["session 3".to_owned()], 22).unwrap();
        assert_eq!((list(&last), last.1), (vec![], Some(Duration::from_secs(1))));
        assert_eq!(list(&changed(Some(b"no list"), &[entry(1, None)], &[], 0).unwrap()), [1]);
    }

    #[test]
    fn a_list_is_bounded_and_those_that_end_first_give_way() {
        let mut text = None;
        for number in 0..=MOST as u64 {
            // The last one would end first, and gives way itself.
            let change = changed(text.as_deref(), &[entry(number, Some(1_000 - number))], &[], 0);
            text = change.map(|change| change.0).or(text);
        }
        let change = changed(text.as_deref(), &[entry(500, None)], &[], 0).unwrap();
        assert_eq!(list(&change).len(), MOST);
        assert!(list(&change).contains(&0) && list(&change).contains(&500) && !list(&change).contains(&99));
    }
}
