//! What an upstream answers, and the header lines that case files write.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What the upstream answers instead of an echo.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Answer {
    pub status: Option<u16>,
    pub headers: Map<String, Value>,
    pub body: Option<String>,
    pub json: Option<Value>,
    /// A body of so many bytes.
    pub size: Option<usize>,
    pub chunks: Option<Vec<String>>,
    pub trailers: BTreeMap<String, String>,
    /// Bytes sent before the answer, such as a 103.
    pub interim: Vec<String>,
    /// The whole answer, byte for byte.
    pub raw: Option<String>,
    pub delay_ms: u64,
    /// The pause after each chunk.
    pub pause_ms: u64,
    /// Close instead of answering.
    pub close: bool,
    pub close_after: bool,
    /// `false`: no Content-Length, the body ends with the connection.
    pub length: bool,
    /// Answer 101 with `headers`, then send back every byte.
    pub upgrade: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            status: None,
            headers: Map::new(),
            body: None,
            json: None,
            size: None,
            chunks: None,
            trailers: BTreeMap::new(),
            interim: Vec::new(),
            raw: None,
            delay_ms: 0,
            pause_ms: 0,
            close: false,
            close_after: false,
            length: true,
            upgrade: false,
        }
    }
}

impl Answer {
    /// The body with its media type, unless `headers` names one.
    pub fn content(&self, echo: &Value) -> (Vec<u8>, Option<&'static str>) {
        let json = match (&self.json, &self.body, self.size) {
            (Some(json), ..) => Some(json),
            (None, None, None) => Some(echo),
            _ => None,
        };
        let named = self.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        let media_type = if json.is_some() { "application/json" } else { "text/plain" };
        let body = match json {
            Some(json) => json.to_string().into_bytes(),
            None => self.body.clone().unwrap_or_else(|| "x".repeat(self.size.unwrap_or(0))).into_bytes(),
        };
        (body, (!named).then_some(media_type))
    }

    /// The head with this status, ending in the blank line.
    pub fn head(&self, status: u16, framing: &str) -> String {
        let mut head = format!("HTTP/1.1 {status} Echo\r\nServer: echo\r\n{framing}");
        for (name, value) in lines(&self.headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

/// The header lines of a map whose values are texts, numbers or lists of them.
pub(crate) fn lines(headers: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = Vec::new();
    for (name, value) in headers {
        match value {
            Value::Array(values) => lines.extend(values.iter().map(|value| (name.clone(), text(value)))),
            value => lines.push((name.clone(), text(value))),
        }
    }
    lines
}
