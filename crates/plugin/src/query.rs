//! Arguments of a query or of an `application/x-www-form-urlencoded` body, by name.

use std::borrow::Cow;

use wire::target::{form_decode, query_pairs};

/// The decoded values of every argument called `name`, in order; an argument without `=` counts as empty.
pub fn values<'a>(query: &'a [u8], name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    query_pairs(query, usize::MAX)
        .filter(move |pair| decoded(pair.name) == name.as_bytes())
        .map(|pair| decoded(pair.value.unwrap_or_default()))
}

/// The decoded names and values of all arguments, in order.
pub fn pairs(query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query_pairs(query, usize::MAX).map(|pair| (decoded(pair.name), decoded(pair.value.unwrap_or_default())))
}

/// The query without the arguments called `name`, everything else as received; `None` when there are none.
#[must_use]
pub fn without(query: &[u8], name: &str) -> Option<Vec<u8>> {
    values(query, name).next()?;
    let mut rest = Vec::with_capacity(query.len());
    for pair in query_pairs(query, usize::MAX).filter(|pair| decoded(pair.name) != name.as_bytes()) {
        if !rest.is_empty() {
            rest.push(b'&');
        }
        rest.extend_from_slice(pair.raw);
    }
    Some(rest)
}

/// `text` decoded as forms are; borrowed when nothing is encoded.
#[must_use]
pub fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().all(|byte| !matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    form_decode(text, &mut plain);
    Cow::Owned(plain)
}

/// `application/x-www-form-urlencoded` (WHATWG URL 5.2).
#[must_use]
pub fn form_of(pairs: &[(String, String)]) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        encode(name, &mut form);
        form.push('=');
        encode(value, &mut form);
    }
    form
}

/// Appends `text` as a name or a value of a form.
pub fn encode(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(query: &str, name: &str) -> Vec<String> {
        values(query.as_bytes(), name).map(|value| String::from_utf8_lossy(&value).into_owned()).collect()
    }

    #[test]
    fn names_and_values_are_decoded() {
        assert_eq!(all("a=1&b=2&a=x%20y+z", "a"), ["1", "x y z"]);
        assert_eq!(all("%61=1&A=2&aa=3", "a"), ["1"]);
        assert_eq!(all("a&a=", "a"), ["", ""]);
        assert!(all("", "a").is_empty());
    }

    #[test]
    fn removal_keeps_the_encoding_of_the_rest() {
        assert_eq!(without(b"x=%41&a=1&y", "a"), Some(b"x=%41&y".to_vec()));
        assert_eq!(without(b"%61=1", "a"), Some(Vec::new()));
        assert_eq!(without(b"b=1", "a"), None);
    }
}
