//! The header section of a message: an ordered list in one byte arena, reused from message to message.
//!
//! Whatever goes in by name and value is checked, so no edit can split a message.

use super::known::Known;
use std::fmt;

mod edit;
mod entry;

use entry::{Entry, Wanted};

/// Longest field name, in bytes.
const MAX_NAME: usize = u16::MAX as usize;
/// What is printed of a field beside name and value: colon, space and line end.
const PUNCTUATION: usize = 4;
/// Bound of the arena, in bytes. An edit that would pass it is refused.
pub(super) const MAX_ARENA: usize = 16 * 1024 * 1024;

/// Ordered fields of a header or trailer section. Names compare without case and keep the case received.
#[derive(Clone, Default)]
pub struct Headers {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// One bit for each `Known` name at hand, `Other` included: asking for an absent name costs no scan.
    present: u128,
}

/// One field, borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which name it is.
    pub known: Known,
    /// The name as received or set: a token, so ASCII.
    pub name: &'a [u8],
    /// The value without surrounding whitespace.
    pub value: &'a [u8],
}

impl Headers {
    /// An empty list. Nothing is allocated before the first field.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Forgets all fields and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.present = 0;
    }

    /// How many fields there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first value of `name`, whatever its case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.first(Wanted::new(name.as_bytes()))
    }

    fn first(&self, wanted: Wanted<'_>) -> Option<&[u8]> {
        if !self.may_hold(wanted) {
            return None;
        }
        self.entries.iter().find(|entry| self.matches(entry, wanted)).map(|entry| self.value(entry))
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let wanted = Wanted::new(name.as_bytes());
        let entries = if self.may_hold(wanted) { &self.entries[..] } else { &[] };
        entries.iter().filter(move |entry| self.matches(entry, wanted)).map(|entry| self.value(entry))
    }

    /// The first value of a classified name.
    #[inline]
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        if !self.contains_known(known) {
            return None;
        }
        self.entries.iter().find(|entry| entry.known == known).map(|entry| self.value(entry))
    }

    /// Every value of a classified name, in order; none for `Known::Other`.
    pub fn known_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let entries = if self.contains_known(known) { &self.entries[..] } else { &[] };
        entries.iter().filter(move |entry| entry.known == known).map(|entry| self.value(entry))
    }

    /// Whether a classified name is at hand.
    #[inline]
    pub fn contains_known(&self, known: Known) -> bool {
        known != Known::Other && self.present & known.bit() != 0
    }

    /// Whether `name` is at hand.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many fields are called `name`.
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// Name and value of every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries().map(|field| (field.name(), field.value))
    }

    /// Whether a glance shows that no name stands twice. It does not when two names are unclassified.
    #[inline]
    pub fn are_distinct(&self) -> bool {
        self.entries.len() == self.present.count_ones() as usize
    }

    /// Bytes that names and values take, and at least as many as are in use.
    #[inline]
    pub fn text_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Whether no name and no value holds anything but printable ASCII without `"` and `\\`, so that all of it can
    /// stand in quotes as it is. Fields that have been replaced may count too.
    pub fn is_plain(&self) -> bool {
        // Of control bytes a value can hold HTAB alone: it has been checked, or its parser has.
        memchr::memchr3(b'"', b'\\', b'\t', &self.arena).is_none() && self.arena.is_ascii()
    }

    /// Every field with its classification, in order. Cheaper than [`Headers::iter`]: names stay bytes.
    pub fn entries(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| entry.field(&self.arena))
    }

    /// Appends all fields as `Name: value CRLF`. Neighbours nobody edited are copied in one piece.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_where(out, |_| true);
    }

    /// The same for the fields that `keep` wants.
    pub fn write_where(&self, out: &mut Vec<u8>, mut keep: impl FnMut(Field<'_>) -> bool) {
        let mut run = 0..0;
        for entry in &self.entries {
            if !keep(entry.field(&self.arena)) {
                continue;
            }
            let (start, end) = (entry.name_start as usize, entry.end());
            if !entry.printed {
                out.extend_from_slice(&self.arena[run]);
                run = 0..0;
                self.print(entry, out);
            } else if run.end == start {
                run.end = end + 2;
            } else {
                out.extend_from_slice(&self.arena[run]);
                run = start..end + 2;
            }
        }
        out.extend_from_slice(&self.arena[run]);
    }

    /// Takes over a header block a parser has checked, with room for `count` fields. The fields that follow by
    /// [`Headers::push_parsed`] are ranges of it. `None` when the block is too large.
    #[inline]
    pub(crate) fn begin_parsed(&mut self, block: &[u8], count: usize) -> Option<()> {
        self.clear();
        self.entries.reserve(count);
        (block.len() < MAX_ARENA).then(|| self.arena.extend_from_slice(block))
    }

    /// Adds a field lying at these places of the block given to [`Headers::begin_parsed`]; tells its
    /// classification, or `None` when it does not fit.
    #[inline]
    pub(crate) fn push_parsed(
        &mut self,
        name_start: usize,
        name: &[u8],
        value_start: usize,
        value: &[u8],
    ) -> Option<Known> {
        let known = Known::classify(name);
        let (name_end, end) = (name_start + name.len(), value_start + value.len());
        let printed = value_start == name_end + 2
            && self.arena.get(name_end..value_start) == Some(b": ")
            && self.arena.get(end..end + 2) == Some(b"\r\n");
        self.entries.push(Entry {
            name_start: u32::try_from(name_start).ok()?,
            value_start: u32::try_from(value_start).ok()?,
            value_length: u32::try_from(value.len()).ok()?,
            name_length: u16::try_from(name.len()).ok()?,
            known,
            printed,
        });
        self.present |= known.bit();
        Some(known)
    }

    fn print(&self, entry: &Entry, out: &mut Vec<u8>) {
        let field = entry.field(&self.arena);
        out.extend_from_slice(field.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn value(&self, entry: &Entry) -> &[u8] {
        &self.arena[entry.value_start as usize..entry.end()]
    }

    #[inline]
    fn matches(&self, entry: &Entry, wanted: Wanted<'_>) -> bool {
        wanted.is_name_of(entry, &self.arena)
    }

    #[inline]
    fn may_hold(&self, wanted: Wanted<'_>) -> bool {
        self.present & wanted.known.bit() != 0
    }
}

impl<'a> Field<'a> {
    /// The name as text.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(self.name).expect("a field name is a token, so ASCII")
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

/// Same fields, spelled the same, in the same order.
impl PartialEq for Headers {
    fn eq(&self, other: &Headers) -> bool {
        self.entries().eq(other.entries())
    }
}

impl Eq for Headers {}

#[cfg(test)]
mod tests;
