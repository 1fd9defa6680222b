//! Distinguished names: read (RFC 4514 3), compared, and parts of them written so that they stay parts.

use std::fmt::Write;

/// A distinguished name, its parts from the entry to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Vec<Vec<Attribute>>);

/// An attribute in a name. Equal are those that most directories take for equal: of any case, and with any number of spaces.
#[derive(Debug, Clone)]
struct Attribute {
    kind: String,
    value: String,
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.kind.eq_ignore_ascii_case(&other.kind) && canonical(&self.value) == canonical(&other.value)
    }
}

impl Eq for Attribute {}

impl Name {
    /// Reads a name. None where the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut parts = vec![Vec::new()];
        if rest.is_empty() {
            return Some(Self(Vec::new()));
        }
        loop {
            let (kind, after) = rest.split_once('=')?;
            let kind = kind.trim();
            if kind.is_empty()
                || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
            {
                return None;
            }
            let (value, end, after) = value(after)?;
            parts.last_mut()?.push(Attribute { kind: kind.to_owned(), value });
            match end {
                None => return Some(Self(parts)),
                Some(',') => parts.push(Vec::new()),
                Some(_) => {}
            }
            rest = after;
        }
    }

    /// The value of `attribute` in the name of an entry right below `parent` that has no other attribute there.
    #[must_use]
    pub fn child_of(&self, parent: &Self, attribute: &str) -> Option<&str> {
        let (own, above) = self.0.split_first()?;
        match &own[..] {
            [one] if above == parent.0 && one.kind.eq_ignore_ascii_case(attribute) => Some(&one.value),
            _ => None,
        }
    }
}

/// A value, what ends it, and what follows. A backslash stands before what would end it, or two digits of a byte.
fn value(text: &str) -> Option<(String, Option<char>, &str)> {
    let text = text.trim_start();
    let bytes = text.as_bytes();
    let mut read = Vec::new();
    // Spaces at the end count where they are written with a backslash.
    let mut least = 0;
    let mut place = 0;
    let end = loop {
        match bytes.get(place) {
            None => break None,
            Some(b',' | b'+') => break Some(char::from(bytes[place])),
            Some(b'"' | b';' | b'<' | b'>') => return None,
            Some(b'\\') => {
                let digit = |place: usize| bytes.get(place).and_then(|byte| char::from(*byte).to_digit(16));
                match (digit(place + 1), digit(place + 2)) {
                    (Some(high), Some(low)) => {
                        read.push((high * 16 + low) as u8);
                        place += 3;
                    }
                    _ => {
                        read.push(*bytes.get(place + 1).filter(|byte| b" \"#+,;<=>\\".contains(byte))?);
                        place += 2;
                    }
                }
                least = read.len();
            }
            Some(byte) => {
                read.push(*byte);
                place += 1;
            }
        }
    };
    while read.len() > least && read.last() == Some(&b' ') {
        read.pop();
    }
    let rest = end.map_or("", |_| &text[place + 1..]);
    Some((String::from_utf8(read).ok()?, end, rest))
}

/// A value as most directories compare it: in small letters, without spaces around it and with one between words.
#[must_use]
pub fn canonical(value: &str) -> String {
    let words: Vec<String> = value.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// `value` as it stands in a distinguished name (RFC 4514 2.4): whatever might mean something there is in hexadecimal digits.
#[must_use]
pub fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_can_end_it() {
        assert_eq!(escaped("ada.l@x-y_z"), "ada.l@x-y_z");
        assert_eq!(escaped("a,dc=evil"), "a\\2cdc\\3devil");
        assert_eq!(escaped(" #\"+;<>\\\0"), "\\20\\23\\22\\2b\\3b\\3c\\3e\\5c\\00");
        assert_eq!(escaped("é*"), "\\c3\\a9\\2a");
    }

    fn child(name: &str) -> Option<String> {
        let parent = Name::parse("ou=Groups,dc=example,dc=com").unwrap();
        Name::parse(name)?.child_of(&parent, "cn").map(str::to_owned)
    }

    #[test]
    fn a_group_is_right_below_its_place_and_named_by_its_attribute() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(child("cn=staff,ou=groups,dc=example,dc=com"), some("staff"));
        assert_eq!(child("CN=Staff , OU = GROUPS,DC=Example, dc=com "), some("Staff"));
        assert_eq!(child("cn=a\\, b\\2bc\\ ,ou=groups,dc=example,dc=com"), some("a, b+c "));
        assert_eq!(child("cn=*Dev - A,ou=groups,dc=example,dc=com"), some("*Dev - A"));
        for elsewhere in [
            "cn=staff,ou=others,dc=example,dc=com",
            "cn=staff,ou=deep,ou=groups,dc=example,dc=com",
            "cn=staff,ou=groups,dc=example,dc=com,dc=evil",
            "cn=staff\\,ou=groups,dc=example,dc=com",
            "ou=staff,ou=groups,dc=example,dc=com",
            "cn=staff+uid=x,ou=groups,dc=example,dc=com",
            "ou=groups,dc=example,dc=com",
            "",
        ] {
            assert_eq!(child(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        for bad in [
            "x",
            "=x",
            "cn=a,",
            "cn=a,,dc=x",
            "cn=a\\",
            "cn=a\\z",
            "c n=a",
            "cn=\"a\"",
            "cn=a;dc=x",
            "cn=\\ff",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
        let written = format!("cn={},dc=x", escaped("a, +b\\\"é "));
        assert_eq!(
            Name::parse(&written).unwrap().child_of(&Name::parse("dc=x").unwrap(), "CN"),
            Some("a, +b\\\"é ")
        );
    }
}
