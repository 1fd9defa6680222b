//! Arguments of a query or a form, edited by name. What is not edited keeps its order and its encoding.

use std::borrow::Cow;

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
    for name in &rules.remove {
        arguments.remove(name.as_bytes());
    }
    for (from, to) in &rules.rename {
        arguments.rename(from, to);
    }
    for setting in &rules.replace {
        arguments.replace(&setting.name, rendered.text(&setting.value));
    }
    for setting in &rules.add {
        if !arguments.contains(setting.name.as_bytes()) {
            arguments.push(&setting.name, rendered.text(&setting.value));
        }
    }
    for setting in &rules.append {
        arguments.push(&setting.name, rendered.text(&setting.value));
    }
    arguments.changed.then(|| arguments.to_text())
}

struct Arguments<'a> {
    arguments: Vec<Argument<'a>>,
    changed: bool,
}

impl Arguments<'_> {
    fn contains(&self, name: &[u8]) -> bool {
        self.arguments.iter().any(|argument| *argument.name == *name)
    }

    fn remove(&mut self, name: &[u8]) {
        let before = self.arguments.len();
        self.arguments.retain(|argument| *argument.name != *name);
        self.changed |= self.arguments.len() != before;
    }

    fn rename(&mut self, from: &str, to: &str) {
        if from == to || !self.contains(from.as_bytes()) {
            return;
        }
        self.remove(to.as_bytes());
        for argument in self.arguments.iter_mut().filter(|argument| *argument.name == *from.as_bytes()) {
            let mut raw = Vec::new();
            encode(to.as_bytes(), &mut raw);
            let equals = argument.raw.iter().position(|byte| *byte == b'=').unwrap_or(argument.raw.len());
            raw.extend_from_slice(&argument.raw[equals..]);
            *argument = Argument { name: Cow::Owned(to.as_bytes().to_vec()), raw: Cow::Owned(raw) };
        }
        self.changed = true;
    }

    fn replace(&mut self, name: &str, value: &[u8]) {
        let is_it = |argument: &Argument<'_>| *argument.name == *name.as_bytes();
        let Some(place) = self.arguments.iter().position(is_it) else { return };
        self.arguments[place] = Argument::new(name, value);
        let mut index = 0;
        self.arguments.retain(|argument| {
            index += 1;
            index - 1 == place || !is_it(argument)
        });
        self.changed = true;
    }

    fn push(&mut self, name: &str, value: &[u8]) {
        self.arguments.push(Argument::new(name, value));
        self.changed = true;
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

impl Argument<'_> {
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
