//! One call of the control plane, read and ready to be answered.

use std::sync::Arc;

use hyper::body::Bytes;
use plugin::{query, target};

use crate::Control;

/// Which listener a call came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The Admin API.
    Admin,
    /// Health and metrics only.
    Status,
}

/// One call.
pub struct Call {
    /// The gateway it is about.
    pub control: Arc<Control>,
    /// The listener.
    pub door: Door,
    /// `GET`, also for `HEAD`.
    pub method: String,
    /// The decoded segments of the path.
    pub segments: Vec<String>,
    /// The query without `?`.
    pub query: Option<String>,
    /// `Content-Type`, empty when there is none.
    pub content_type: String,
    /// The whole body.
    pub body: Bytes,
}

impl Call {
    /// The first argument of that name.
    pub fn argument(&self, name: &str) -> Option<String> {
        let value = query::values(self.query.as_deref()?.as_bytes(), name).next()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// Whether the argument is given and means yes.
    pub fn is_on(&self, name: &str) -> bool {
        self.argument(name).is_some_and(|value| !matches!(value.as_str(), "0" | "false" | ""))
    }

    /// The segments as patterns match them.
    pub fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }
}

/// The decoded segments of a path. A slash at the end means nothing.
pub fn segments(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Vec::new();
    }
    let decode = |segment: &str| {
        let mut plain = Vec::with_capacity(segment.len());
        target::percent_decode(segment.as_bytes(), &mut plain);
        String::from_utf8_lossy(&plain).into_owned()
    };
    path.split('/').map(decode).collect()
}

/// `text` as it may stand in a query or a path segment.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_one_by_one() {
        assert_eq!(segments("/services/a%2Fb/"), ["services", "a/b"]);
        assert!(segments("/").is_empty());
        assert_eq!(segments("//x"), ["", "x"]);
        assert_eq!(escaped("a/b c"), "a%2Fb%20c");
    }
}
