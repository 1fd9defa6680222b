//! The header section of a message: an ordered list in one byte arena, reused from message to message.
//!
//! Whatever goes in by name and value is checked, so no edit can split a message.

use super::known::Known;
use super::values::Values;
use crate::grammar::{is_field_value, is_token, trim_whitespace};
use std::fmt;

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

#[derive(Clone, Copy)]
struct Entry {
    name_start: u32,
    value_start: u32,
    value_length: u32,
    name_length: u16,
    known: Known,
    /// It lies in the arena as it is to be printed, with colon, space and line end.
    printed: bool,
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

    /// Makes `value` the only value of `name`, at the place of the first one or else at the end. Surrounding
    /// whitespace is dropped. A name that is no token, or a value with CR, LF, NUL or another control byte,
    /// changes nothing and returns `false`.
    pub fn set(&mut self, name: &str, value: &[u8]) -> bool {
        let value = trim_whitespace(value);
        let wanted = Wanted::new(name.as_bytes());
        self.accepts(wanted, value) && self.replace(wanted, value)
    }

    /// [`Headers::set`] for every field of `other`. They have been checked when they came into it.
    pub fn set_all(&mut self, other: &Headers) {
        if self.present & other.present == 0 && self.append_all(other) {
            return;
        }
        for field in other.entries() {
            self.replace(Wanted { known: field.known, name: field.name }, field.value);
        }
    }

    /// [`Headers::append`] for every field of `other`, in one piece. They have been checked when they came into it.
    /// False, and nothing changes, when they do not fit.
    pub fn append_all(&mut self, other: &Headers) -> bool {
        let shift = self.arena.len();
        let fits = shift + other.arena.len() < MAX_ARENA;
        if fits {
            self.arena.extend_from_slice(&other.arena);
            let shift = offset(shift);
            self.entries.extend(other.entries.iter().map(|entry| Entry {
                name_start: entry.name_start + shift,
                value_start: entry.value_start + shift,
                ..*entry
            }));
            self.present |= other.present;
        }
        fits
    }

    /// The same for kept values.
    pub fn append_values<const FIELDS: usize, const ROOM: usize>(
        &mut self,
        values: &Values<FIELDS, ROOM>,
    ) -> bool {
        let printed = |(known, value): (Known, &[u8])| known.as_str().len() + value.len() + PUNCTUATION;
        let length: usize = values.fields().map(printed).sum();
        let fits = self.arena.len() + length < MAX_ARENA;
        if fits {
            self.arena.reserve(length);
            for (known, value) in values.fields() {
                self.push(Wanted::known(known), value);
            }
        }
        fits
    }

    /// Sets `name` to its first value in `other`, which has been checked when it came there. Nothing changes when
    /// `other` has none.
    pub fn set_from(&mut self, other: &Headers, name: &str) {
        let wanted = Wanted::new(name.as_bytes());
        if let Some(value) = other.first(wanted)
            && self.has_room(wanted.name, value)
        {
            self.replace(wanted, value);
        }
    }

    /// Adds a field called `name`, a token, with the first value of `source` in `other`.
    pub fn append_from(&mut self, other: &Headers, source: &str, name: &str) {
        let wanted = Wanted::new(name.as_bytes());
        if let Some(value) = other.first(Wanted::new(source.as_bytes()))
            && self.accepts(wanted, b"")
            && self.has_room(wanted.name, value)
        {
            self.push(wanted, value);
        }
    }

    /// Adds one more field at the end; refuses as [`Headers::set`] does.
    pub fn append(&mut self, name: &str, value: &[u8]) -> bool {
        let value = trim_whitespace(value);
        let wanted = Wanted::new(name.as_bytes());
        self.accepts(wanted, value) && self.push(wanted, value)
    }

    /// [`Headers::set`] for a classified name, in its canonical spelling; refuses `Known::Other`.
    pub fn set_known(&mut self, known: Known, value: &[u8]) -> bool {
        let value = trim_whitespace(value);
        self.accepts_known(known, value) && self.replace(Wanted::known(known), value)
    }

    /// [`Headers::set_known`] for a number.
    pub fn set_number(&mut self, known: Known, number: u64) -> bool {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        let wanted = Wanted::known(known);
        known != Known::Other && self.has_room(wanted.name, digits) && self.replace(wanted, digits)
    }

    /// [`Headers::append`] for a classified name, in its canonical spelling; refuses `Known::Other`.
    pub fn append_known(&mut self, known: Known, value: &[u8]) -> bool {
        let value = trim_whitespace(value);
        self.accepts_known(known, value) && self.push(Wanted::known(known), value)
    }

    /// Drops every field called `name`; `true` when there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let wanted = Wanted::new(name.as_bytes());
        if !self.may_hold(wanted) {
            return false;
        }
        let before = self.entries.len();
        let arena = &self.arena;
        self.entries.retain(|entry| !wanted.is_name_of(entry, arena));
        self.forget(wanted.known);
        self.entries.len() != before
    }

    /// Drops every field of a classified name; `true` when there was one.
    pub fn remove_known(&mut self, known: Known) -> bool {
        if !self.contains_known(known) {
            return false;
        }
        self.entries.retain(|entry| entry.known != known);
        self.present &= !known.bit();
        true
    }

    /// Keeps the fields for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let arena = &self.arena;
        let mut present = 0;
        self.entries.retain(|entry| {
            let kept = keep(entry.field(arena));
            present |= if kept { entry.known.bit() } else { 0 };
            kept
        });
        self.present = present;
    }

    /// Gives every field called `from` the name `to`, keeping place and value; `false` when there is none or
    /// `to` is no token.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let (wanted, to) = (Wanted::new(from.as_bytes()), to.as_bytes());
        if !self.accepts(Wanted::new(to), b"")
            || !self.entries.iter().any(|entry| self.matches(entry, wanted))
        {
            return false;
        }
        let name_start = offset(self.arena.len());
        self.arena.extend_from_slice(to);
        let known = Known::classify(to);
        for entry in &mut self.entries {
            if wanted.is_name_of(entry, &self.arena) {
                let name_length = name_length(to);
                *entry = Entry { name_start, name_length, known, printed: false, ..*entry };
            }
        }
        self.forget(wanted.known);
        self.present |= known.bit();
        true
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

    /// Notes that the fields of one name have gone.
    fn forget(&mut self, known: Known) {
        if known != Known::Other || self.entries.iter().all(|entry| entry.known != Known::Other) {
            self.present &= !known.bit();
        }
    }

    #[inline]
    fn may_hold(&self, wanted: Wanted<'_>) -> bool {
        self.present & wanted.known.bit() != 0
    }

    /// A classified name is a token of bounded length as it is.
    fn accepts(&self, wanted: Wanted<'_>, value: &[u8]) -> bool {
        let valid = wanted.known != Known::Other || (wanted.name.len() <= MAX_NAME && is_token(wanted.name));
        valid && self.has_room(wanted.name, value) && is_field_value(value)
    }

    fn accepts_known(&self, known: Known, value: &[u8]) -> bool {
        known != Known::Other && self.accepts(Wanted::known(known), value)
    }

    fn has_room(&self, name: &[u8], value: &[u8]) -> bool {
        self.arena.len().saturating_add(name.len()).saturating_add(value.len()) < MAX_ARENA
    }

    /// The caller has checked name and value.
    fn replace(&mut self, wanted: Wanted<'_>, value: &[u8]) -> bool {
        if !self.may_hold(wanted) {
            return self.push(wanted, value);
        }
        let arena = &self.arena;
        let Some(first) = self.entries.iter().position(|entry| wanted.is_name_of(entry, arena)) else {
            return self.push(wanted, value);
        };
        let mut place = 0;
        self.entries.retain(|entry| {
            place += 1;
            place - 1 <= first || !wanted.is_name_of(entry, arena)
        });
        let entry = &mut self.entries[first];
        let name_start = entry.name_start as usize;
        self.arena[name_start..name_start + wanted.name.len()].copy_from_slice(wanted.name);
        if value.len() > entry.value_length as usize {
            entry.value_start = offset(self.arena.len());
            self.arena.extend_from_slice(value);
        } else {
            let start = entry.value_start as usize;
            self.arena[start..start + value.len()].copy_from_slice(value);
        }
        entry.value_length = offset(value.len());
        entry.printed = false;
        true
    }

    /// The caller has checked name and value.
    fn push(&mut self, wanted: Wanted<'_>, value: &[u8]) -> bool {
        let name_start = offset(self.arena.len());
        self.arena.extend_from_slice(wanted.name);
        self.arena.extend_from_slice(b": ");
        let name_length = name_length(wanted.name);
        let value_start = name_start + u32::from(name_length) + 2;
        self.arena.extend_from_slice(value);
        self.arena.extend_from_slice(b"\r\n");
        let value_length = offset(value.len());
        let known = wanted.known;
        self.entries.push(Entry { name_start, value_start, value_length, name_length, known, printed: true });
        self.present |= known.bit();
        true
    }
}

impl<'a> Field<'a> {
    /// The name as text.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(self.name).expect("a field name is a token, so ASCII")
    }
}

impl Entry {
    #[inline]
    fn name_end(&self) -> usize {
        self.name_start as usize + usize::from(self.name_length)
    }

    #[inline]
    fn end(&self) -> usize {
        self.value_start as usize + self.value_length as usize
    }

    #[inline]
    fn field<'a>(&self, arena: &'a [u8]) -> Field<'a> {
        Field {
            known: self.known,
            name: &arena[self.name_start as usize..self.name_end()],
            value: &arena[self.value_start as usize..self.end()],
        }
    }
}

/// A name to look for, classified once.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    known: Known,
    name: &'a [u8],
}

impl<'a> Wanted<'a> {
    #[inline]
    fn new(name: &'a [u8]) -> Wanted<'a> {
        Wanted { known: Known::classify(name), name }
    }

    fn known(known: Known) -> Wanted<'static> {
        Wanted { known, name: known.as_str().as_bytes() }
    }

    #[inline]
    fn is_name_of(self, entry: &Entry, arena: &[u8]) -> bool {
        entry.known == self.known
            && (self.known != Known::Other
                || (usize::from(entry.name_length) == self.name.len()
                    && arena[entry.name_start as usize..entry.name_end()].eq_ignore_ascii_case(self.name)))
    }
}

fn offset(place: usize) -> u32 {
    u32::try_from(place).expect("the arena is bounded well below 4 GiB")
}

fn name_length(name: &[u8]) -> u16 {
    u16::try_from(name.len()).expect("names are checked against MAX_NAME")
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
#[path = "headers_tests.rs"]
mod tests;
