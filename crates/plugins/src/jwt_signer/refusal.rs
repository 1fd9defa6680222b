//! Why callers are refused, and what they are told (RFC 6750 3).

use plugin::{Access, Flow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token.
    Missing,
    /// More than one token.
    Several,
    /// A token that proves nothing.
    Invalid(&'static str),
    /// A token that is good, but not for this.
    Forbidden(&'static str),
    /// Keys or an answer that cannot be had.
    Unavailable,
}

impl Refusal {
    /// The same in words, for log lines.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "no token",
            Self::Several => "more than one token",
            Self::Invalid(reason) | Self::Forbidden(reason) => reason,
            Self::Unavailable => "keys or an answer cannot be had",
        }
    }

    pub(super) fn answer(self, cx: &mut Access<'_>, realm: Option<&str>) -> Flow {
        let (status, message, code) = match self {
            Self::Missing => (401, "Unauthorized", None),
            Self::Several => (401, "Unauthorized", Some("invalid_request")),
            Self::Invalid(_) => (401, "Unauthorized", Some("invalid_token")),
            Self::Forbidden(_) => (403, "Forbidden", Some("insufficient_scope")),
            Self::Unavailable => return cx.answer(500).message("An unexpected error occurred"),
        };
        let realm = realm.map(|realm| format!("realm=\"{realm}\""));
        let code = code.map(|code| format!("error=\"{code}\""));
        let parameters: Vec<String> = realm.into_iter().chain(code).collect();
        let challenge = format!("Bearer {}", parameters.join(", "));
        cx.answer(status).header("WWW-Authenticate", challenge.trim_end().as_bytes()).message(message)
    }
}
