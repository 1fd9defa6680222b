//! Tells code, comments and literals apart, so that a rule about one does not stumble over another.

/// A source with all but one kind of text blanked; every line and column stays where it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Masks {
    /// Code without comments and without what strings and characters hold.
    pub code: String,
    /// Code with its strings, without comments.
    pub with_strings: String,
    /// Comments only.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Literal,
    Comment,
}

/// Splits `text` by kind.
pub fn masks(text: &str) -> Masks {
    let mut lexer = Lexer { text, at: 0, kinds: Vec::with_capacity(text.len()) };
    while lexer.at < text.len() {
        lexer.step();
    }
    let keep = |wanted: &[Kind]| {
        let masked = text.bytes().zip(&lexer.kinds).map(|(byte, kind)| match byte {
            b'\n' => b'\n',
            _ if wanted.contains(kind) => byte,
            _ => b' ',
        });
        String::from_utf8_lossy(&masked.collect::<Vec<_>>()).into_owned()
    };
    Masks {
        code: keep(&[Kind::Code]),
        with_strings: keep(&[Kind::Code, Kind::Literal]),
        comments: keep(&[Kind::Comment]),
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    kinds: Vec<Kind>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let after_word = self.at > 0 && is_word(self.text.as_bytes()[self.at - 1]);
        if rest.starts_with("//") {
            self.take(rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
        } else if rest.starts_with("/*") {
            self.take(block_comment(rest), Kind::Comment);
        } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
            self.take(length, Kind::Literal);
        } else if bytes[0] == b'"' {
            self.take(quoted(rest), Kind::Literal);
        } else if let Some(length) = character(rest) {
            self.take(length, Kind::Literal);
        } else {
            self.take(rest.chars().next().map_or(1, char::len_utf8), Kind::Code);
        }
    }

    fn take(&mut self, length: usize, kind: Kind) {
        self.kinds.extend(std::iter::repeat_n(kind, length));
        self.at += length;
    }
}

/// Whether the byte may be part of a name.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of `r"..."`, `br#"..."#` and the like at the beginning.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"].iter().find(|prefix| text.starts_with(**prefix))?.len();
    let hashes = text[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let body = text[prefix + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |position| position + end.len());
    Some(prefix + hashes + 1 + length)
}

/// Length of a string with escapes.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map(|end| end + 4);
    }
    let first = inner.chars().next()?.len_utf8();
    inner[first..].starts_with('\'').then_some(first + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_characters_and_comments_are_not_code() {
        let text =
            "let a = \"} // \\\" {\"; // { \"x\nlet b: &'a str = '{'; /* { /* } */ */ let c = r#\"{\"}\"#;";
        let masks = masks(text);
        assert_eq!(masks.code.matches(['{', '}']).count(), 0, "{}", masks.code);
        assert!(masks.code.contains("&'a str"));
        assert!(masks.code.contains("let c ="));
        assert!(masks.comments.contains("{ \"x"));
        assert!(!masks.comments.contains("let"));
        assert!(masks.with_strings.contains("} // \\\" {"));
        assert_eq!(masks.code.len(), text.len());
    }

    #[test]
    fn quotes_inside_characters_do_not_open_strings() {
        for literal in ["'\"'", "b'\"'", "'\\''", "'\\u{41}'"] {
            let masks = masks(&format!("f({literal}); g()"));
            assert!(masks.code.contains("g()"), "{literal}: {}", masks.code);
        }
    }
}
