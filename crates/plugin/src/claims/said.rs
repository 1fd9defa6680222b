//! What tokens and answers about tokens say, and what they must say.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Claims of a token, or an answer of introspection.
pub type Claims = Map<String, Value>;

/// The value at the end of `path`, each step but the last being an object.
pub fn at<'c>(claims: &'c Claims, path: &[String]) -> Option<&'c Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(first)?, |value, step| value.get(step))
}

/// A value as text: a string as it is, numbers and truth values as JSON, a list of such separated by commas, an object as
/// JSON. Nothing for null.
#[must_use]
pub fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into()),
        Value::Array(values) if values.iter().all(|value| !value.is_object() && !value.is_array()) => {
            let texts: Vec<_> = values.iter().filter_map(text).collect();
            Some(texts.join(",").into())
        }
        other => Some(other.to_string().into()),
    }
}

/// How a single string that should be a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Values separated by spaces (RFC 6749 3.3).
    Words,
    /// One value (RFC 7519 4.1.3).
    Whole,
}

/// The strings of a claim.
#[must_use]
pub fn list(value: Option<&Value>, reading: Reading) -> Vec<&str> {
    match (value, reading) {
        (Some(Value::String(text)), Reading::Words) => text.split_ascii_whitespace().collect(),
        (Some(Value::String(text)), Reading::Whole) => vec![text],
        (Some(Value::Array(values)), _) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What a claim must hold: all words of one of the entries.
pub struct Requirement {
    path: Vec<String>,
    reading: Reading,
    entries: Vec<Vec<String>>,
    /// What is said of who lacks it.
    pub lack: &'static str,
}

impl Requirement {
    /// None where nothing is demanded.
    #[must_use]
    pub fn new(
        path: &[String],
        entries: Option<&[String]>,
        reading: Reading,
        lack: &'static str,
    ) -> Option<Self> {
        let words = |entry: &String| entry.split_ascii_whitespace().map(str::to_owned).collect();
        let entries: Vec<Vec<String>> = entries?.iter().map(words).collect();
        (!entries.is_empty()).then(|| Self { path: path.to_vec(), reading, entries, lack })
    }

    /// Whether `claims` hold it.
    #[must_use]
    pub fn is_met(&self, claims: &Claims) -> bool {
        let had = list(at(claims, &self.path), self.reading);
        self.entries.iter().any(|entry| entry.iter().all(|word| had.contains(&word.as_str())))
    }
}

/// What is wrong with the time of a token, at `now_s` seconds since 1970 (RFC 7519 4.1.4 to 4.1.6), clocks differing by
/// `leeway_s`.
#[must_use]
pub fn untimely(claims: &Claims, now_s: f64, leeway_s: f64) -> Option<&'static str> {
    let moment = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(()),
    };
    let (Ok(exp), Ok(nbf), Ok(iat)) = (moment("exp"), moment("nbf"), moment("iat")) else {
        return Some("a time that is no number");
    };
    if exp.is_some_and(|exp| exp + leeway_s <= now_s) {
        return Some("token expired");
    }
    if nbf.is_some_and(|nbf| nbf > now_s + leeway_s) {
        return Some("token not valid yet");
    }
    iat.is_some_and(|iat| iat > now_s + leeway_s).then_some("token issued in the future")
}
