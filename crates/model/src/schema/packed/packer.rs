//! Puts fields together in a row of bytes.

use serde_json::{Number, Value};
use uuid::Uuid;

use super::{
    FALSE, FLOAT, LENGTH, LIST, NEGATIVE, NULL, OBJECT, Packed, REFERENCE, Raw, TEXT, TRUE, UNSIGNED,
};
use crate::secret::is_reference;

/// Puts fields together.
#[derive(Default)]
pub(crate) struct Packer {
    bytes: Vec<u8>,
    /// Whether there is a reference to a secret among them.
    pub refers: bool,
}

impl Packer {
    /// Adds a field. They are added in the order of their numbers.
    pub fn add(&mut self, index: usize, value: &Value) {
        self.number(index as u64);
        self.value(value);
    }

    /// Adds a foreign key.
    pub fn add_reference(&mut self, index: usize, id: Uuid) {
        self.number(index as u64);
        self.bytes.push(REFERENCE);
        self.bytes.extend_from_slice(id.as_bytes());
    }

    /// Adds a field that has been packed before. Whether it refers to a secret is not looked at again.
    pub fn add_raw(&mut self, index: usize, Raw(bytes): Raw<'_>) {
        self.number(index as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// What was added, after which this is as new.
    pub fn finish(&mut self) -> Packed {
        let packed = Packed(self.bytes.as_slice().into());
        self.bytes.clear();
        self.refers = false;
        packed
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn text_value(&mut self, text: &str) {
        self.refers |= is_reference(text);
        self.bytes.push(TEXT);
        self.text(text);
    }

    fn begin(&mut self, tag: u8) -> usize {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&[0; LENGTH]);
        self.bytes.len()
    }

    /// Writes the length of what was added since `start` before it. No document is large enough to pass 32 bits.
    fn end(&mut self, start: usize) {
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start - LENGTH..start].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes.push(NULL),
            Value::Bool(flag) => self.bytes.push(if *flag { TRUE } else { FALSE }),
            Value::Number(number) => self.numeric(number),
            Value::String(text) => self.text_value(text),
            Value::Array(elements) => {
                let start = self.begin(LIST);
                elements.iter().for_each(|element| self.value(element));
                self.end(start);
            }
            Value::Object(entries) => {
                let start = self.begin(OBJECT);
                for (name, value) in entries {
                    self.text(name);
                    self.value(value);
                }
                self.end(start);
            }
        }
    }

    fn numeric(&mut self, number: &Number) {
        if let Some(number) = number.as_u64() {
            self.bytes.push(UNSIGNED);
            self.number(number);
        } else if let Some(number) = number.as_i64() {
            self.bytes.push(NEGATIVE);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        } else {
            self.bytes.push(FLOAT);
            self.bytes.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
        }
    }
}
