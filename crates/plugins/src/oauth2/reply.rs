//! Answers of the endpoints: tokens, and why there is none. Nothing is told before it is written.

use plugin::flow::Resume;
use plugin::{Access, Flow};
use serde_json::{Value, json};

use super::Oauth2;
use super::store::{Change, Token};

/// Why a request of an application is refused (RFC 6749 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) error: &'static str,
    pub(super) description: String,
    pub(super) status: u16,
    /// The application proved itself in a header, and is told how.
    pub(super) basic: bool,
}

/// An answer of an endpoint, which goes out once its changes are written.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) challenge: Option<&'static str>,
    pub(super) changes: Vec<Change>,
    /// What is taken back if they cannot be.
    pub(super) undo: Option<Token>,
}

impl Oauth2 {
    /// Answers once the changes are written.
    pub(super) fn answer(&self, cx: &mut Access<'_>, reply: Reply) -> Flow {
        if reply.changes.is_empty() {
            return send(cx, &reply);
        }
        let (Some(opened), Ok(store)) = (self.store.clone(), self.store()) else { return send(cx, &reply) };
        let written = store.write(reply.changes.clone());
        Flow::wait(async move {
            let written = written.await.unwrap_or(false);
            let resume: Resume = Box::new(move |cx| {
                if written {
                    return send(cx, &reply);
                }
                if let (Some(token), Ok(store)) = (&reply.undo, &opened.0) {
                    store.revoke(token);
                }
                cx.answer(500).json(&json!({ "message": "An unexpected error occurred" }))
            });
            resume
        })
    }
}

fn send(cx: &mut Access<'_>, reply: &Reply) -> Flow {
    let mut answer =
        cx.answer(reply.status).header("Cache-Control", b"no-store").header("Pragma", b"no-cache");
    if let Some(challenge) = reply.challenge {
        answer = answer.header("WWW-Authenticate", challenge.as_bytes());
    }
    answer.json(&reply.body)
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

    /// There is no more room, or somebody else was faster.
    pub(super) fn full() -> Self {
        let message = "No token can be given out now";
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
        Self { status, body, challenge, changes: Vec::new(), undo: None }
    }
}
