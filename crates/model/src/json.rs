//! JSON text into a [`Node`] tree: all of RFC 8259, places kept, one pass, nothing copied but strings.

use serde_json::Number;

use crate::courtesy::worked;
use crate::node::{Budget, Key, Node, NodeKind, Span, Syntax};

/// Parses JSON text.
///
/// # Errors
/// The first thing that is not JSON, with its place.
pub(crate) fn parse(text: &str, budget: &mut Budget) -> Result<Node, Syntax> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        line: 1,
        line_start: 0,
        entries: Vec::new(),
        elements: Vec::new(),
    };
    reader.skip_space();
    let node = reader.value(0, budget)?;
    reader.skip_space();
    if reader.at < reader.bytes.len() {
        return Err(reader.fault("unexpected text after the end of the document"));
    }
    Ok(node)
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    line: u32,
    line_start: usize,
    /// Entries of the objects, and elements of the lists, that are being read: what belongs to one is taken out when it
    /// ends, in memory that is no larger than needed.
    entries: Vec<(Key, Node)>,
    elements: Vec<Node>,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize, budget: &mut Budget) -> Result<Node, Syntax> {
        if depth > budget.depth {
            return Err(self.fault("the document is nested too deeply"));
        }
        let span = self.span(1);
        let start = self.at;
        let kind = match self.bytes.get(self.at) {
            None => return Err(self.fault("unexpected end of the document")),
            Some(b'{') => self.object(depth, budget)?,
            Some(b'[') => self.array(depth, budget)?,
            Some(b'"') => NodeKind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => NodeKind::Number(self.number()?),
            Some(_) => self.word()?,
        };
        let compound = matches!(kind, NodeKind::Object(_) | NodeKind::Array(_));
        let length = if compound { 1 } else { count(self.at - start) };
        worked(if compound { 1_000 } else { 50 });
        Ok(Node { kind, span: Span { length, ..span } })
    }

    fn object(&mut self, depth: usize, budget: &mut Budget) -> Result<NodeKind, Syntax> {
        self.at += 1;
        let first = self.entries.len();
        self.skip_space();
        if self.take(b'}') {
            return Ok(NodeKind::Object(Vec::new()));
        }
        loop {
            self.skip_space();
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.fault("expected a key in double quotes"));
            }
            let (span, start) = (self.span(1), self.at);
            let name = self.string()?;
            let span = Span { length: count(self.at - start), ..span };
            self.skip_space();
            if !self.take(b':') {
                return Err(self.fault("expected ':'"));
            }
            self.skip_space();
            let value = self.value(depth + 1, budget)?;
            self.entries.push((Key { name, span }, value));
            self.skip_space();
            if self.take(b'}') {
                let mut entries = end_of(&mut self.entries, first);
                budget.refuse_duplicates(&mut entries);
                return Ok(NodeKind::Object(entries));
            }
            if !self.take(b',') {
                return Err(self.fault("expected ',' or '}'"));
            }
        }
    }

    fn array(&mut self, depth: usize, budget: &mut Budget) -> Result<NodeKind, Syntax> {
        self.at += 1;
        let first = self.elements.len();
        self.skip_space();
        if self.take(b']') {
            return Ok(NodeKind::Array(Vec::new()));
        }
        loop {
            self.skip_space();
            let element = self.value(depth + 1, budget)?;
            self.elements.push(element);
            self.skip_space();
            if self.take(b']') {
                return Ok(NodeKind::Array(end_of(&mut self.elements, first)));
            }
            if !self.take(b',') {
                return Err(self.fault("expected ',' or ']'"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Syntax> {
        self.at += 1;
        let mut value = String::new();
        loop {
            let start = self.at;
            while self.bytes.get(self.at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            value.push_str(&self.text[start..self.at]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => value.push(self.escape()?),
                Some(_) => return Err(self.fault("control characters in strings must be escaped")),
                None => return Err(self.fault("a string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Syntax> {
        let letter = self.bytes.get(self.at + 1).copied();
        if letter == Some(b'u') {
            return self.unicode();
        }
        let character = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.fault("invalid escape")),
        };
        self.at += 2;
        Ok(character)
    }

    /// `\uXXXX`, two of them where they are a surrogate pair. Half a pair is no character.
    fn unicode(&mut self) -> Result<char, Syntax> {
        let first = self.code_unit(self.at)?;
        let units = if (0xd800..0xdc00).contains(&first) {
            let second = self.code_unit(self.at + 6)?;
            self.at += 12;
            [first, second]
        } else {
            self.at += 6;
            [first, 0]
        };
        match char::decode_utf16(units).next() {
            Some(Ok(character)) => Ok(character),
            _ => Err(self.fault("half of a surrogate pair")),
        }
    }

    fn code_unit(&self, at: usize) -> Result<u16, Syntax> {
        let digits = match self.bytes.get(at..at + 6) {
            Some([b'\\', b'u', digits @ ..]) if digits.iter().all(u8::is_ascii_hexdigit) => digits,
            _ => return Err(self.fault("invalid escape")),
        };
        let unit =
            digits.iter().fold(0, |unit, digit| unit * 16 + char::from(*digit).to_digit(16).unwrap_or(0));
        Ok(unit as u16)
    }

    fn number(&mut self) -> Result<Number, Syntax> {
        let start = self.at;
        while self
            .bytes
            .get(self.at)
            .is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        {
            self.at += 1;
        }
        let number = self.text[start..self.at].parse::<Number>();
        number.map_err(|_| {
            self.at = start;
            self.fault("invalid number")
        })
    }

    fn word(&mut self) -> Result<NodeKind, Syntax> {
        for (word, kind) in
            [("null", NodeKind::Null), ("true", NodeKind::Bool(true)), ("false", NodeKind::Bool(false))]
        {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        Err(self.fault("expected a value"))
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.line_start = self.at + 1;
                }
                b' ' | b'\t' | b'\r' => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    /// Columns count bytes here and become characters only when a problem is shown: one line may hold 30 MB.
    fn span(&self, length: u32) -> Span {
        Span { line: self.line, column: count(self.at - self.line_start + 1), length }
    }

    fn fault(&self, message: &str) -> Syntax {
        Syntax { span: self.span(1), message: message.to_owned() }
    }
}

/// A list of so many things is taken as it is: to copy it would take more memory than it is too large.
const MANY: usize = 1000;

/// What was put on `stack` since it held `first` things.
fn end_of<T>(stack: &mut Vec<T>, first: usize) -> Vec<T> {
    if first == 0 && stack.len() > MANY { std::mem::take(stack) } else { stack.drain(first..).collect() }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
