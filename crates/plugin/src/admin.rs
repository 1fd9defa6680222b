//! Endpoints that a room adds to the Admin API.

use std::sync::Arc;

use crate::services::Services;

/// A path of the Admin API (and, if said so, of the status listener) served by a room.
pub struct Endpoint {
    /// `GET`, `DELETE`, ...
    pub method: &'static str,
    /// The path; a segment in braces is a parameter: `/proxy-cache/{key}`.
    pub path: &'static str,
    /// Also offered on the status listener.
    pub on_status_listener: bool,
    /// Produces the answer. Runs on the control plane and may be slow.
    pub handle: fn(&Call<'_>) -> Answer,
}

/// One call of an [`Endpoint`].
pub struct Call<'a> {
    /// Values of the path's parameters, in order.
    pub parameters: &'a [&'a str],
    /// The query string without `?`.
    pub query: Option<&'a str>,
    /// What outlives requests.
    pub services: &'a Arc<Services>,
}

/// An answer of the Admin API.
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body; empty for 204.
    pub body: Vec<u8>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Answer {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        Self {
            status,
            content_type: "application/json; charset=utf-8",
            body: serde_json::to_vec(value).expect("JSON can always be written to memory"),
            headers: Vec::new(),
        }
    }

    /// 204 with no body.
    #[must_use]
    pub fn no_content() -> Self {
        Self {
            status: 204,
            content_type: "application/json; charset=utf-8",
            body: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Kong's 404 body.
    #[must_use]
    pub fn not_found() -> Self {
        Self::json(404, &serde_json::json!({ "message": "Not found" }))
    }
}
