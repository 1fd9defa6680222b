//! Header sections as JSON objects.

use std::sync::LazyLock;

use wire::{Field, Headers, Known};

use super::json::escaped;
use crate::confidential::{Names, REDACTED, Share};

/// What becomes of credentials in fields.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// They are `REDACTED`.
    Redacted(&'a Names),
    /// They are shown, to whoever decides about the request.
    Shown,
}

/// Appends fields as an object of lower-case names; a repeated field becomes an array.
pub fn headers_object(headers: &Headers, credentials: Credentials<'_>, out: &mut Vec<u8>) {
    if headers.is_empty() {
        return out.extend_from_slice(b"{}");
    }
    let repeated = if headers.are_distinct() { Repeated::default() } else { Repeated::among(headers) };
    if repeated.is_none() && headers.is_plain() {
        write_plain_headers(headers, credentials, out);
    } else {
        write_any_headers(headers, credentials, &repeated, out);
    }
}

/// The names told apart by [`Known`], each as it begins a member behind another one whose value is text.
static KEYS: LazyLock<Vec<Box<[u8]>>> = LazyLock::new(|| {
    let key = |known: &Known| [b"\",\"", known.lower_case(), b"\":\""].concat().into_boxed_slice();
    Known::ALL.iter().map(key).collect()
});

/// The usual case: every name stands once and nothing needs escaping.
fn write_plain_headers(headers: &Headers, credentials: Credentials<'_>, out: &mut Vec<u8>) {
    let keys = &**KEYS;
    out.reserve(headers.text_bytes() + headers.len() * 8);
    out.push(b'{');
    // The first member has neither value nor comma before it.
    let mut skipped = 2;
    for field in headers.entries() {
        match keys.get(field.known as usize) {
            Some(key) => out.extend_from_slice(&key[skipped..]),
            None => {
                out.extend_from_slice(&b"\",\""[skipped..]);
                out.extend(field.name.iter().map(u8::to_ascii_lowercase));
                out.extend_from_slice(b"\":\"");
            }
        }
        skipped = 0;
        credentials.show(&field, |piece| out.extend_from_slice(piece));
    }
    out.extend_from_slice(b"\"}");
}

fn write_any_headers(
    headers: &Headers,
    credentials: Credentials<'_>,
    repeated: &Repeated,
    out: &mut Vec<u8>,
) {
    let mut opening = b"{\"";
    for (index, field) in headers.entries().enumerate() {
        let is_repeated = repeated.may_be(&field);
        if is_repeated && headers.entries().take(index).any(|other| same_name(&other, &field)) {
            continue;
        }
        out.extend_from_slice(opening);
        opening = b",\"";
        write_name(&field, out);
        out.extend_from_slice(b"\":");
        if is_repeated && credentials.share(&field) != Share::Nothing {
            let fields = headers.entries().skip(index).filter(|other| same_name(other, &field));
            write_values(fields, credentials, out);
        } else {
            write_value(&field, credentials, out);
        }
    }
    out.push(b'}');
}

fn write_name(field: &Field<'_>, out: &mut Vec<u8>) {
    if field.known == Known::Other {
        out.extend(field.name.iter().map(u8::to_ascii_lowercase));
    } else {
        out.extend_from_slice(field.known.lower_case());
    }
}

impl Credentials<'_> {
    fn share(self, field: &Field<'_>) -> Share {
        match self {
            Self::Redacted(names) => names.share(field),
            Self::Shown => Share::Whole,
        }
    }

    /// Hands on what may be shown of a value.
    fn show(self, field: &Field<'_>, mut show: impl FnMut(&[u8])) {
        match (self.share(field), self) {
            (Share::Whole, _) => show(field.value),
            (Share::Part, Self::Redacted(names)) => names.field(field, show),
            (Share::Part | Share::Nothing, _) => show(REDACTED),
        }
    }
}

fn write_value(field: &Field<'_>, credentials: Credentials<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    credentials.show(field, |piece| escaped(out, piece));
    out.push(b'"');
}

fn write_values<'a>(
    fields: impl Iterator<Item = Field<'a>>,
    credentials: Credentials<'_>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.push(b'[');
    let mut count = 0;
    for field in fields {
        if count > 0 {
            out.push(b',');
        }
        count += 1;
        write_value(&field, credentials, out);
    }
    if count == 1 {
        out.remove(start);
    } else {
        out.push(b']');
    }
}

/// Unclassified names looked through for repetitions in one pass; beyond, each is looked up again.
const MANY_NAMES: usize = 32;

/// The names that stand more than once in a header section, found in one pass.
#[derive(Default)]
struct Repeated {
    known: u128,
    others: bool,
}

impl Repeated {
    fn among(headers: &Headers) -> Self {
        let (mut seen, mut known, mut others) = (0u128, 0u128, false);
        let mut names: [&[u8]; MANY_NAMES] = [b""; MANY_NAMES];
        let mut count = 0;
        for field in headers.entries() {
            if field.known != Known::Other {
                let bit = 1 << (field.known as u32);
                known |= seen & bit;
                seen |= bit;
            } else if count == MANY_NAMES {
                others = true;
            } else {
                others |= names[..count].iter().any(|name| name.eq_ignore_ascii_case(field.name));
                names[count] = field.name;
                count += 1;
            }
        }
        Self { known, others }
    }

    fn is_none(&self) -> bool {
        self.known == 0 && !self.others
    }

    fn may_be(&self, field: &Field<'_>) -> bool {
        match field.known {
            Known::Other => self.others,
            known => self.known & (1 << (known as u32)) != 0,
        }
    }
}

fn same_name(one: &Field<'_>, other: &Field<'_>) -> bool {
    one.known == other.known && (one.known != Known::Other || one.name.eq_ignore_ascii_case(other.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confidential::Confidential;

    #[test]
    fn the_usual_header_section_is_an_object_of_strings() {
        let mut headers = Headers::new();
        headers.append("Host", b"example.test");
        headers.append("X-Other", b"a/b;c=1");
        headers.append("Proxy-Authorization", b"secret");
        for (extra, expected) in [(&b"plain"[..], "plain"), (b"q\"uote", "q\"uote")] {
            headers.set("X-Last", extra);
            let mut out = Vec::new();
            headers_object(&headers, Credentials::Redacted(Confidential::default().names()), &mut out);
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let wanted = serde_json::json!({
                "host": "example.test", "x-other": "a/b;c=1", "proxy-authorization": "REDACTED", "x-last": expected
            });
            assert_eq!(read, wanted);
        }
    }

    #[test]
    fn repeated_fields_become_arrays_and_credentials_are_redacted() {
        let mut headers = Headers::new();
        headers.append("X-A", b"1");
        headers.append("Authorization", b"secret");
        headers.append("x-a", b"2");
        let mut out = Vec::new();
        headers_object(&headers, Credentials::Redacted(Confidential::default().names()), &mut out);
        assert_eq!(out, br#"{"x-a":["1","2"],"authorization":"REDACTED"}"#);
    }
}
