//! Answers of the endpoints: tokens, and why there is none.

use plugin::lockout::LockedOut;
use plugin::{Access, Flow};
use serde_json::{Value, json};

use super::tokens::Trouble;

/// Why a request of an application is refused (RFC 6749 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) error: &'static str,
    pub(super) description: String,
    pub(super) status: u16,
    /// The application proved itself in a header, and is told how.
    pub(super) basic: bool,
}

/// An answer of an endpoint.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) challenge: Option<&'static str>,
}

pub(super) fn send(cx: &mut Access<'_>, reply: &Reply) -> Flow {
    let mut answer =
        cx.answer(reply.status).header("Cache-Control", b"no-store").header("Pragma", b"no-cache");
    if let Some(challenge) = reply.challenge {
        answer = answer.header("WWW-Authenticate", challenge.as_bytes());
    }
    answer.json(&reply.body)
}

/// The answer to who has failed too often to prove itself.
pub(super) fn lock_out(cx: &mut Access<'_>, LockedOut(seconds): LockedOut) -> Flow {
    let body = json!({ "error": "temporarily_unavailable", "error_description": "Too many failed attempts" });
    let answer = cx.answer(429).header("Cache-Control", b"no-store").header("Pragma", b"no-cache");
    answer.header("Retry-After", seconds.to_string().as_bytes()).json(&body)
}

impl From<Trouble> for Problem {
    fn from(_: Trouble) -> Self {
        Self::full()
    }
}

impl Problem {
    pub(super) fn new(error: &'static str, description: String) -> Self {
        Self { error, description, status: 400, basic: false }
    }

    pub(super) fn client() -> Self {
        Self::new("invalid_client", "Invalid client authentication".to_owned())
    }

    pub(super) fn redirect() -> Self {
        let message =
            "Invalid redirect_uri that does not match with any redirect_uri created with the application";
        Self::new("invalid_request", message.to_owned())
    }

    /// There is no more room, or somebody else was faster, or nothing can be written.
    pub(super) fn full() -> Self {
        Self::for_now("No token can be given out now")
    }

    /// Nobody can tell whether a token is good.
    pub(super) fn unknown_for_now() -> Self {
        Self::for_now("The access token cannot be checked now")
    }

    fn for_now(message: &str) -> Self {
        Self { status: 503, ..Self::new("temporarily_unavailable", message.to_owned()) }
    }
}

impl Reply {
    pub(super) fn problem(problem: &Problem, state: Option<String>) -> Self {
        let mut body = json!({ "error": problem.error, "error_description": problem.description });
        if let Some(state) = state {
            body["state"] = state.into();
        }
        let status = if problem.basic { 401 } else { problem.status };
        let challenge = problem.basic.then_some("Basic realm=\"OAuth2.0\"");
        Self { status, body, challenge }
    }
}
