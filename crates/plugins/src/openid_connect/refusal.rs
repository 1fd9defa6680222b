//! Why callers are refused, and what they are told (RFC 6750 3).

use plugin::{Access, Flow};
use serde_json::json;

use super::config;

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token.
    Missing,
    /// More than one token.
    Several,
    /// A token that proves nothing.
    Invalid(&'static str),
    /// A token that is good, but not for this.
    Forbidden(&'static str),
    /// The provider cannot be asked.
    Unavailable,
}

/// What callers are told.
pub(super) struct Telling {
    realm: Box<str>,
    unauthorized: Box<str>,
    forbidden: Box<str>,
    with_code: bool,
    with_reason: bool,
}

impl Telling {
    /// `realm` stands for the provider.
    pub(super) fn new(config: &config::Tokens, realm: &str) -> Self {
        Self {
            realm: realm
                .chars()
                .filter(|&letter| letter.is_ascii_graphic() && !"\"\\".contains(letter))
                .collect(),
            unauthorized: config.unauthorized_error_message.as_str().into(),
            forbidden: config.forbidden_error_message.as_str().into(),
            with_code: config.expose_error_code,
            with_reason: config.display_errors,
        }
    }

    pub(super) fn refuse(&self, cx: &mut Access<'_>, refusal: &Refusal) -> Flow {
        let (status, message, code, reason) = match refusal {
            Refusal::Missing => (401, &self.unauthorized, None, "no token"),
            Refusal::Several => (401, &self.unauthorized, Some("invalid_request"), "more than one token"),
            Refusal::Invalid(reason) => (401, &self.unauthorized, Some("invalid_token"), *reason),
            Refusal::Forbidden(reason) => (403, &self.forbidden, Some("insufficient_scope"), *reason),
            Refusal::Unavailable => return cx.answer(500).message("An unexpected error occurred"),
        };
        let mut challenge = format!("Bearer realm=\"{}\"", self.realm);
        if let (true, Some(code)) = (self.with_code, code) {
            challenge.push_str(&format!(", error=\"{code}\""));
        }
        let message = if self.with_reason { format!("{message} ({reason})") } else { message.to_string() };
        cx.answer(status)
            .header("WWW-Authenticate", challenge.as_bytes())
            .json(&json!({ "message": message }))
    }
}
