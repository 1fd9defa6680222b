//! Takes an expression apart into words, numbers, strings and marks (CEL specification, Syntax).

use super::tree::{Constant, Fault};

/// A piece of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    /// An integer without a sign, which the parser gives it.
    Natural(u64),
    Constant(Constant),
    Mark(&'static str),
    End,
}

/// Marks, those of two characters first.
const MARKS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// Reads tokens one by one.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and the byte it begins with.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'a>), Fault> {
        self.skip_blanks();
        let at = self.at;
        let rest = &self.text[at..];
        let Some(first) = rest.chars().next() else { return Ok((at, Token::End)) };
        if let Some((prefix, raw)) = string_prefix(rest) {
            self.at += prefix;
            let text = self.string(raw)?;
            return Ok((at, Token::Constant(Constant::Text(text.into()))));
        }
        let is_fraction = first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit());
        if first.is_ascii_digit() || is_fraction {
            return Ok((at, self.number()?));
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let is_end = |next: char| !next.is_ascii_alphanumeric() && next != '_';
            let length = rest.find(is_end).unwrap_or(rest.len());
            self.at += length;
            return Ok((at, Token::Word(&rest[..length])));
        }
        let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark));
        let mark = mark.ok_or_else(|| Fault::new(at, format!("{first:?} means nothing here")))?;
        self.at += mark.len();
        Ok((at, Token::Mark(mark)))
    }

    /// Blanks, and comments up to the end of their line.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn number(&mut self) -> Result<Token<'a>, Fault> {
        let (at, rest) = (self.at, &self.text[self.at..]);
        let radix = if rest.starts_with("0x") || rest.starts_with("0X") { 16 } else { 10 };
        let (length, is_double) =
            if radix == 16 { (2 + digits(&rest[2..], radix), false) } else { decimal(rest) };
        self.at += length;
        let number = &rest[..length];
        let token = if is_double {
            number
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())
                .map(Constant::Double)
                .map(Token::Constant)
        } else {
            let number = u64::from_str_radix(if radix == 16 { &number[2..] } else { number }, radix).ok();
            match self.takes_unsigned() {
                true => number.map(Constant::Uint).map(Token::Constant),
                false => number.map(Token::Natural),
            }
        };
        token.ok_or_else(|| Fault::new(at, format!("{number} is not a number that can be had")))
    }

    fn takes_unsigned(&mut self) -> bool {
        let is_unsigned = self.text[self.at..].starts_with(['u', 'U']);
        self.at += usize::from(is_unsigned);
        is_unsigned
    }

    /// A string from its opening quotes on.
    fn string(&mut self, raw: bool) -> Result<String, Fault> {
        let (at, rest) = (self.at, &self.text[self.at..]);
        let quote =
            ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| rest.starts_with(quote)).unwrap_or("\"");
        self.at += quote.len();
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with(quote) {
                self.at += quote.len();
                return Ok(text);
            }
            match rest.chars().next() {
                None => return Err(Fault::new(at, "this string has no end")),
                Some('\n' | '\r') if quote.len() == 1 => {
                    return Err(Fault::new(at, "this string has no end in its line"));
                }
                Some('\\') if !raw => text.push(self.escape()?),
                Some(other) => {
                    text.push(other);
                    self.at += other.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let at = self.at;
        let wrong = || Fault::new(at, "no such escape: a backslash is written as \\\\, or as \\ in r'...'");
        let rest = &self.text[at + 1..];
        let kind = rest.chars().next().ok_or_else(wrong)?;
        let (digits, radix, skipped) = match kind {
            'x' | 'X' => (2, 16, 1),
            'u' => (4, 16, 1),
            'U' => (8, 16, 1),
            '0'..='3' => (3, 8, 0),
            _ => {
                self.at += 1 + kind.len_utf8();
                return plain_escape(kind).ok_or_else(wrong);
            }
        };
        let code = rest.get(skipped..skipped + digits).ok_or_else(wrong)?;
        self.at += 1 + skipped + digits;
        let is_digits = code.chars().all(|digit| digit.is_digit(radix));
        let code = u32::from_str_radix(code, radix).ok().filter(|_| is_digits);
        code.and_then(char::from_u32).ok_or_else(wrong)
    }
}

/// How many digits `text` begins with.
fn digits(text: &str, radix: u32) -> usize {
    text.find(|next: char| !next.is_digit(radix)).unwrap_or(text.len())
}

/// The length of the decimal number that `text` begins with, and whether it has a fraction or an exponent.
fn decimal(text: &str) -> (usize, bool) {
    let whole = digits(text, 10);
    let fraction = text[whole..].strip_prefix('.').map_or(0, |rest| digits(rest, 10));
    let mut length = whole + if fraction > 0 { 1 + fraction } else { 0 };
    let mut is_double = fraction > 0;
    if let Some(rest) = text[length..].strip_prefix(['e', 'E']) {
        let sign = usize::from(rest.starts_with(['+', '-']));
        let exponent = digits(&rest[sign..], 10);
        if exponent > 0 {
            length += 1 + sign + exponent;
            is_double = true;
        }
    }
    (length, is_double)
}

fn plain_escape(kind: char) -> Option<char> {
    Some(match kind {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '\'' | '"' | '`' | '?' => kind,
        _ => return None,
    })
}

/// Whether a string begins here: the length of what stands before its quotes, and whether it is raw.
fn string_prefix(rest: &str) -> Option<(usize, bool)> {
    let raw = rest.starts_with(['r', 'R']);
    let prefix = usize::from(raw);
    rest[prefix..].starts_with(['"', '\'']).then_some((prefix, raw))
}
