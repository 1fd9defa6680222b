//! What became of a request in the harness, for tests to look at.

use std::net::SocketAddr;

use wire::Headers;

use crate::exchange::Timeouts;

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    /// A room answered; the upstream was not asked.
    pub answered: bool,
    /// The targets that were asked, in order.
    pub asked: Vec<SocketAddr>,
    /// Status the client sees.
    pub status: u16,
    /// Fields the client sees, beyond those of the engine.
    pub headers: Headers,
    /// Body the client sees; a templated message is `{"message":"..."}` here.
    pub body: Vec<u8>,
    /// Fields the upstream sees, before the engine's own.
    pub upstream_headers: Headers,
    /// What follows the body, as the upstream sees it.
    pub upstream_trailers: Headers,
    /// Method the upstream sees.
    pub upstream_method: String,
    /// `Host` a room demanded for the upstream.
    pub upstream_host: Option<String>,
    /// Where a room sent the request instead of to the service of its route, see
    /// [`Detour::name`](crate::Detour::name).
    pub sent_to: Option<String>,
    /// Path the upstream sees.
    pub upstream_path: String,
    /// Query the upstream sees.
    pub upstream_query: Option<String>,
    /// Body the upstream sees.
    pub upstream_body: Vec<u8>,
    /// Times that rooms have set for the upstream.
    pub timeouts: Timeouts,
    /// The message of a templated answer.
    pub message: Option<String>,
    /// Fields the rooms added to the log line.
    pub log_fields: Vec<(String, String)>,
}

impl Outcome {
    /// A field the client sees, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// A field the upstream sees, as text.
    #[must_use]
    pub fn upstream_header(&self, name: &str) -> Option<String> {
        self.upstream_headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The names of the trailers that get through to the upstream.
    #[must_use]
    pub fn trailer_names(&self) -> Vec<&str> {
        self.upstream_trailers.iter().map(|(name, _)| name).collect()
    }

    /// The body the client sees, as JSON; null if it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
