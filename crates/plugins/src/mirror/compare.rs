//! What two answers differ in, by place.

use plugin::Headers;
use serde_json::Value;

/// Differences that are told of one pair of answers.
const MAX_DIFFERENCES: usize = 50;
/// Characters that are told of a value.
const MAX_TEXT: usize = 120;

/// Fields that belong to a connection or a moment, not to what is answered.
const LEFT_OUT: &[&str] = &[
    "age",
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// An answer.
pub(super) struct Side<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a Headers,
    pub(super) body: &'a [u8],
}

/// A place where two answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// `status`, `header <name>`, or a path into the body, such as `body.items[].price`.
    pub(super) place: String,
    /// What the first has there; empty for nothing.
    pub(super) one: String,
    /// What the second has there; empty for nothing.
    pub(super) other: String,
}

/// The differences between two answers, the first fifty at most. JSON is compared by what it says; any other body octet
/// by octet.
pub(super) fn differences(one: &Side<'_>, other: &Side<'_>) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    if one.status != other.status {
        found.add("status", one.status.to_string(), other.status.to_string());
    }
    compare_headers(one.headers, other.headers, &mut found);
    compare_bodies(one.body, other.body, &mut found);
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, place: &str, one: impl AsRef<str>, other: impl AsRef<str>) {
        let short = |text: &str| text.chars().take(MAX_TEXT).collect();
        if self.0.len() < MAX_DIFFERENCES {
            let (one, other) = (short(one.as_ref()), short(other.as_ref()));
            self.0.push(Difference { place: place.to_owned(), one, other });
        }
    }
}

fn compare_headers(one: &Headers, other: &Headers, found: &mut Found) {
    let mut names: Vec<String> =
        one.iter().chain(other.iter()).map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.iter().filter(|name| !LEFT_OUT.contains(&name.as_str())) {
        let (one, other) = (values(one, name), values(other, name));
        if one != other {
            found.add(&format!("header {name}"), one, other);
        }
    }
}

/// The values of a field, in one line.
fn values(headers: &Headers, name: &str) -> String {
    let of_name = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    of_name.map(|(_, value)| String::from_utf8_lossy(value)).collect::<Vec<_>>().join(", ")
}

fn compare_bodies(one: &[u8], other: &[u8], found: &mut Found) {
    if one == other {
        return;
    }
    match (serde_json::from_slice::<Value>(one), serde_json::from_slice::<Value>(other)) {
        (Ok(one), Ok(other)) => compare_values("body", &one, &other, found),
        _ => found.add("body", String::from_utf8_lossy(one), String::from_utf8_lossy(other)),
    }
}

/// As deep as the parser goes, which is bounded.
fn compare_values(place: &str, one: &Value, other: &Value, found: &mut Found) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                let place = format!("{place}.{name}");
                match other.get(name) {
                    Some(other) => compare_values(&place, value, other, found),
                    None => found.add(&place, value.to_string(), ""),
                }
            }
            for (name, value) in other.iter().filter(|(name, _)| !one.contains_key(*name)) {
                found.add(&format!("{place}.{name}"), "", value.to_string());
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            if one.len() != other.len() {
                let lengths = [one.len(), other.len()].map(|length| format!("{length} elements"));
                found.add(place, &lengths[0], &lengths[1]);
            }
            let place = format!("{place}[]");
            for (one, other) in one.iter().zip(other) {
                compare_values(&place, one, other, found);
            }
        }
        _ if is_same(one, other) => {}
        _ => found.add(place, one.to_string(), other.to_string()),
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    let numbers = match (one, other) {
        // 1 and 1.0 are one number.
        (Value::Number(one), Value::Number(other)) if one.is_f64() != other.is_f64() => {
            one.as_f64() == other.as_f64()
        }
        _ => false,
    };
    numbers || one == other
}

/// Whether `place` is `known`, or lies within it.
pub(super) fn is_within(place: &str, known: &str) -> bool {
    place.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
