//! Arguments of a query or a form, edited by name. What is not edited keeps its order and its encoding.

use std::borrow::Cow;

use plugin::edits::Fields;
use plugin::{query, target};

use super::rules::{Rendered, Rules};

struct Argument<'a> {
    name: Cow<'a, [u8]>,
    raw: Cow<'a, [u8]>,
}

/// The arguments after the edits of `rules`; `None` if nothing changed.
pub fn edited(text: &[u8], rules: &Rules, rendered: &Rendered) -> Option<Vec<u8>> {
    let pairs = target::query_pairs(text, usize::MAX);
    let arguments = pairs
        .map(|pair| Argument { name: query::decoded(pair.name), raw: Cow::Borrowed(pair.raw) })
        .collect();
    let mut arguments = Arguments { arguments, changed: false };
    rules.apply(&mut arguments, |value| Cow::Borrowed(rendered.text(value)));
    arguments.changed.then(|| arguments.to_text())
}

struct Arguments<'a> {
    arguments: Vec<Argument<'a>>,
    changed: bool,
}

impl Arguments<'_> {
    fn contains(&self, name: &str) -> bool {
        self.arguments.iter().any(|argument| argument.is(name))
    }

    fn to_text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for argument in &self.arguments {
            if !out.is_empty() {
                out.push(b'&');
            }
            out.extend_from_slice(&argument.raw);
        }
        out
    }
}

impl Fields for Arguments<'_> {
    type Value = [u8];

    fn remove(&mut self, name: &str) {
        let before = self.arguments.len();
        self.arguments.retain(|argument| !argument.is(name));
        self.changed |= self.arguments.len() != before;
    }

    fn rename(&mut self, from: &str, to: &str) {
        if from == to || !self.contains(from) {
            return;
        }
        self.remove(to);
        for argument in self.arguments.iter_mut().filter(|argument| argument.is(from)) {
            let mut raw = Vec::new();
            encode(to.as_bytes(), &mut raw);
            let equals = argument.raw.iter().position(|byte| *byte == b'=').unwrap_or(argument.raw.len());
            raw.extend_from_slice(&argument.raw[equals..]);
            *argument = Argument { name: Cow::Owned(to.as_bytes().to_vec()), raw: Cow::Owned(raw) };
        }
        self.changed = true;
    }

    fn replace(&mut self, name: &str, value: &[u8]) {
        let Some(place) = self.arguments.iter().position(|argument| argument.is(name)) else { return };
        self.arguments[place] = Argument::new(name, value);
        let mut index = 0;
        self.arguments.retain(|argument| {
            index += 1;
            index - 1 == place || !argument.is(name)
        });
        self.changed = true;
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if !self.contains(name) {
            self.append(name, value);
        }
    }

    fn append(&mut self, name: &str, value: &[u8]) {
        self.arguments.push(Argument::new(name, value));
        self.changed = true;
    }
}

impl Argument<'_> {
    fn is(&self, name: &str) -> bool {
        *self.name == *name.as_bytes()
    }

    fn new(name: &str, value: &[u8]) -> Self {
        let mut raw = Vec::with_capacity(name.len() + value.len() + 1);
        encode(name.as_bytes(), &mut raw);
        raw.push(b'=');
        encode(value, &mut raw);
        Self { name: Cow::Owned(name.as_bytes().to_vec()), raw: Cow::Owned(raw) }
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        escape(*byte, byte.is_ascii_alphanumeric() || b"-._~".contains(byte), out);
    }
}

/// Appends a byte as it is, or percent-encoded unless it is `safe`.
pub fn escape(byte: u8, safe: bool, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if safe {
        out.push(byte);
    } else {
        out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}
