//! Records as they are kept: only the fields that say something, each by its number in the schema, one after the other
//! in a row of bytes. What all records of a kind have in common, such as names and defaults, is in their schema.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

mod packer;

pub(crate) use packer::Packer;

/// Fields of a record by number, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Packed(Box<[u8]>);

/// A value within [`Packed`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that is no fraction and not below zero.
    Unsigned(u64),
    /// A number that is no fraction and below zero.
    Negative(i64),
    /// Another number.
    Float(f64),
    /// A string.
    Text(&'a str),
    /// A string that is the text of an identity.
    Id(Uuid),
    /// A foreign key: `{"id": ...}`.
    Reference(Uuid),
    /// A list.
    List(Sequence<'a>),
    /// A mapping: a text before each value, which is its key.
    Object(Sequence<'a>),
}

/// Values one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequence<'a>(&'a [u8]);

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const UNSIGNED: u8 = 3;
const NEGATIVE: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const REFERENCE: u8 = 7;
const LIST: u8 = 8;
const OBJECT: u8 = 9;

/// Bytes of the length before what is in a list or a mapping.
const LENGTH: usize = size_of::<u32>();

/// There may be secrets among them.
impl fmt::Debug for Packed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "({} bytes)", self.0.len())
    }
}

impl Packed {
    /// The fields with their numbers.
    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries(Sequence(&self.0))
    }

    /// The field of that number.
    pub(crate) fn part(&self, index: usize) -> Option<Part<'_>> {
        self.raw(index).and_then(Raw::part)
    }

    fn raw(&self, index: usize) -> Option<Raw<'_>> {
        self.entries().take_while(|(at, _)| *at <= index).find(|(at, _)| *at == index).map(|(_, raw)| raw)
    }

    /// The same with other values for some fields, whose numbers are in order.
    pub(crate) fn with(&self, changed: Vec<(usize, Value)>) -> Self {
        let mut packer = Packer::default();
        let mut changed = changed.into_iter().peekable();
        for (index, raw) in self.entries() {
            let mut is_changed = false;
            while let Some((at, value)) = changed.next_if(|(at, _)| *at <= index) {
                is_changed |= at == index;
                packer.add(at, &value);
            }
            if !is_changed {
                packer.add_raw(index, raw);
            }
        }
        changed.for_each(|(at, value)| packer.add(at, &value));
        packer.finish()
    }

    /// The text of the field of that number.
    pub(crate) fn text(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.text_bytes(index)?).ok()
    }

    /// The same as bytes, for whoever only compares it.
    pub(crate) fn text_bytes(&self, index: usize) -> Option<&[u8]> {
        let Raw([TEXT, rest @ ..]) = self.raw(index)? else { return None };
        Some(Sequence(rest).bytes())
    }
}

/// The fields of [`Packed`] with their numbers.
#[derive(Clone)]
pub(crate) struct Entries<'a>(Sequence<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = (usize, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let index = usize::try_from(self.0.number()).ok()?;
        Some((index, self.0.raw()?))
    }
}

/// A value that is not looked at yet.
#[derive(Clone, Copy)]
pub(crate) struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    pub fn part(self) -> Option<Part<'a>> {
        Sequence(self.0).next()
    }
}

impl<'a> Sequence<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        self.take(COUNT).try_into().unwrap_or([0; COUNT])
    }

    /// Seven bits to a byte, the lowest first.
    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.number()).unwrap_or(usize::MAX);
        self.take(length)
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// The next value as it lies there.
    fn raw(&mut self) -> Option<Raw<'a>> {
        let all = self.0;
        let [tag] = self.array();
        match tag {
            _ if all.is_empty() => return None,
            UNSIGNED => drop(self.number()),
            NEGATIVE | FLOAT => drop(self.take(size_of::<u64>())),
            TEXT => drop(self.bytes()),
            REFERENCE => drop(self.take(size_of::<Uuid>())),
            LIST | OBJECT => drop(self.within()),
            _ => {}
        }
        Some(Raw(&all[..all.len() - self.0.len()]))
    }

    fn within(&mut self) -> Self {
        let length = u32::from_le_bytes(self.array());
        Self(self.take(length as usize))
    }

    /// The value under a key of a mapping.
    pub(crate) fn find_entry(&mut self, name: &str) -> Option<Part<'a>> {
        loop {
            let (key, part) = self.entry()?;
            if key == name {
                return Some(part);
            }
        }
    }

    /// The next key and value of a mapping.
    fn entry(&mut self) -> Option<(&'a str, Part<'a>)> {
        if self.0.is_empty() {
            return None;
        }
        let name = self.text();
        Some((name, self.next()?))
    }
}

impl<'a> Iterator for Sequence<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let tag = *self.0.first()?;
        self.0 = &self.0[1..];
        Some(match tag {
            FALSE => Part::Bool(false),
            TRUE => Part::Bool(true),
            UNSIGNED => Part::Unsigned(self.number()),
            NEGATIVE => Part::Negative(i64::from_le_bytes(self.array())),
            FLOAT => Part::Float(f64::from_le_bytes(self.array())),
            TEXT => Part::Text(self.text()),
            REFERENCE => Part::Reference(Uuid::from_bytes(self.array())),
            LIST => Part::List(self.within()),
            OBJECT => Part::Object(self.within()),
            _ => Part::Null,
        })
    }
}

impl Part<'_> {
    /// The value as an integer.
    pub(super) fn as_integer(self) -> Option<i64> {
        match self {
            Part::Unsigned(number) => i64::try_from(number).ok(),
            Part::Negative(number) => Some(number),
            _ => None,
        }
    }

    /// The same as a value of its own.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Part::Null => Value::Null,
            Part::Bool(flag) => Value::Bool(flag),
            Part::Unsigned(number) => Value::from(number),
            Part::Negative(number) => Value::from(number),
            Part::Float(number) => Value::from(number),
            Part::Text(text) => Value::from(text),
            Part::Id(id) => Value::String(id.to_string()),
            Part::Reference(id) => {
                let mut entries = Map::with_capacity(1);
                entries.insert("id".to_owned(), Value::String(id.to_string()));
                Value::Object(entries)
            }
            Part::List(parts) => Value::Array(parts.map(Part::to_value).collect()),
            Part::Object(mut parts) => {
                let mut entries = Map::new();
                while let Some((name, part)) = parts.entry() {
                    entries.insert(name.to_owned(), part.to_value());
                }
                Value::Object(entries)
            }
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Part::Null => serializer.serialize_unit(),
            Part::Bool(flag) => serializer.serialize_bool(flag),
            Part::Unsigned(number) => serializer.serialize_u64(number),
            Part::Negative(number) => serializer.serialize_i64(number),
            Part::Float(number) => serializer.serialize_f64(number),
            Part::Text(text) => serializer.serialize_str(text),
            Part::Id(id) => {
                serializer.serialize_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
            Part::Reference(id) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("id", &Part::Id(id))?;
                map.end()
            }
            Part::List(parts) => {
                let mut list = serializer.serialize_seq(None)?;
                for part in parts {
                    list.serialize_element(&part)?;
                }
                list.end()
            }
            Part::Object(mut parts) => {
                let mut map = serializer.serialize_map(None)?;
                while let Some((name, part)) = parts.entry() {
                    map.serialize_entry(name, &part)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_is_packed_comes_out_again_and_prints_the_same() {
        let id = Uuid::from_u128(7);
        let values = [
            (0, json!(null)),
            (3, json!([true, false, [], {}])),
            (4, json!({"a": {"b": [1, -2, 1.5, 1e300]}, "": "\u{1f600}\n"})),
            (200, json!([0, 127, 128, u64::MAX, i64::MIN, "x".repeat(300)])),
            (201, json!({"id": id.to_string()})),
        ];
        let mut packer = Packer::default();
        values[..4].iter().for_each(|(index, value)| packer.add(*index, value));
        packer.add_reference(201, id);
        let packed = packer.finish();
        let mut again = Packer::default();
        packed.entries().for_each(|(index, raw)| again.add_raw(index, raw));
        assert_eq!(again.finish(), packed);
        let unpacked: Vec<_> =
            packed.entries().map(|(index, raw)| (index, raw.part().unwrap().to_value())).collect();
        assert_eq!(unpacked, values);
        for ((index, value), (_, raw)) in values.iter().zip(packed.entries()) {
            let part = raw.part().unwrap();
            assert_eq!(serde_json::to_string(&part).unwrap(), value.to_string());
            assert_eq!(packed.part(*index), Some(part));
        }
        assert_eq!((packed.part(1), packed.part(202), packed.text(3)), (None, None, None));
    }

    #[test]
    fn a_reference_to_a_secret_is_noticed_however_deep_it_is() {
        let mut packer = Packer::default();
        packer.add(0, &json!({"{vault://env/x}": ["vault://env/x}"]}));
        assert!(!packer.refers);
        packer.add(1, &json!({"a": ["{vault://env/x}"]}));
        assert!(packer.refers);
        assert!(!format!("{:?}", packer.finish()).contains("env"));
        assert!(!packer.refers);
    }

    #[test]
    fn bytes_that_nobody_packed_are_read_to_some_end() {
        for bytes in [&[0xff; 40][..], &[0, TEXT, 200, 1, b'x'], &[0, LIST, 255, 255, 255, 255, OBJECT], &[7]]
        {
            let packed = Packed(bytes.into());
            assert!(packed.entries().filter_map(|(_, raw)| raw.part()).map(Part::to_value).count() < 50);
        }
    }
}
