//! Changes to a header section. What goes in by name and value is checked here.

use super::entry::{Entry, Wanted, name_length, offset};
use super::{Field, Headers, MAX_ARENA, MAX_NAME, PUNCTUATION};
use crate::grammar::{is_field_value, is_token, trim_whitespace};
use crate::message::known::Known;
use crate::message::values::Values;

impl Headers {
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

    /// Notes that the fields of one name have gone.
    fn forget(&mut self, known: Known) {
        if known != Known::Other || self.entries.iter().all(|entry| entry.known != Known::Other) {
            self.present &= !known.bit();
        }
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
