//! A provider that may be up to no good, with a gateway before it. A server on the loopback plays it.

use std::sync::{Arc, Mutex};

use plugin::harness::provider::provider;
use plugin::outbound::loopback::{Given, Loopback, Received};
use plugin::query;

use super::*;

/// What the provider does when it is asked for tokens, about them, and for users.
#[derive(Default)]
pub(super) struct Play {
    pub(super) token: Option<(u16, Value)>,
    pub(super) user: Option<(u16, Value)>,
    /// What it says when it is asked about tokens.
    pub(super) about: Option<(u16, Value)>,
    /// The clock that goes on for a second while it makes tokens.
    pub(super) clock: Option<plugin::clock::Clock>,
}

/// A provider with a gateway before it.
pub(super) struct World {
    pub(super) provider: Loopback,
    pub(super) play: Arc<Mutex<Play>>,
    pub(super) harness: Harness,
}

/// A browser with a login under way.
pub(super) struct Begun {
    pub(super) cookie: String,
    pub(super) arguments: String,
}

impl Begun {
    pub(super) fn argument(&self, name: &str) -> Option<String> {
        argument(&self.arguments, name)
    }

    /// The way back, with further arguments.
    pub(super) fn back(&self, more: &str) -> String {
        let state = self.argument("state").unwrap();
        format!("GET /page?code=c&state={state}{more} HTTP/1.1\nCookie: {}", self.cookie)
    }
}

pub(super) fn argument(arguments: &str, name: &str) -> Option<String> {
    let value = query::values(arguments.as_bytes(), name).next()?;
    Some(String::from_utf8(value.into_owned()).unwrap())
}

fn provide(play: Arc<Mutex<Play>>) -> Loopback {
    provider(&[public(&key(P256, "one"))], move |asked: &Received| {
        let play = play.lock().unwrap();
        let given = |answer: &Option<(u16, Value)>| match answer {
            Some((status, json)) => {
                Given::answer(*status, &[("Content-Type", "application/json")], &json.to_string())
            }
            None => Given::answer(503, &[], ""),
        };
        Some(match asked.target.as_str() {
            "/token" => {
                if let Some(clock) = &play.clock {
                    clock.advance(1_000);
                }
                given(&play.token)
            }
            "/me" => given(&play.user),
            "/introspect" => given(&play.about),
            "/revoke" => Given::json("{}"),
            "/par" => Given::answer(
                201,
                &[("Content-Type", "application/json")],
                r#"{"request_uri":"urn:x","expires_in":60}"#,
            ),
            _ => return None,
        })
    })
}

fn public(key: &Value) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().remove("d");
    key
}

impl World {
    pub(super) fn new(fields: &str) -> Self {
        Self::at(|_| fields.to_owned())
    }

    /// The same with fields that name the provider's address.
    pub(super) fn at(fields: impl FnOnce(&str) -> String) -> Self {
        let play = Arc::new(Mutex::new(Play::default()));
        let provider = provide(play.clone());
        let harness = Self::gateway(&provider, &fields(&provider.url("")));
        Self { provider, play, harness }
    }

    pub(super) fn gateway(provider: &Loopback, fields: &str) -> Harness {
        let methods =
            if fields.contains("auth_methods") { "" } else { "auth_methods: [authorization_code, session]," };
        let client =
            if fields.contains("client_id") { "" } else { "client_id: [gateway], client_secret: [secret]," };
        let config = format!(
            "{{issuer: '{}', {client} {methods} session_secret: s, display_errors: true, {fields}}}",
            provider.url("")
        );
        Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time()
    }

    /// Asks for a page, and is sent to the provider.
    pub(super) fn begin(&mut self, request: &str) -> Begun {
        let outcome = self.harness.send(request);
        assert_eq!(outcome.status, 302, "{}", outcome.json());
        let location = outcome.header("Location").unwrap();
        let start = self.provider.url("/auth?tenant=1&");
        let arguments = location.strip_prefix(&start).unwrap_or_else(|| panic!("{location}")).to_owned();
        Begun { cookie: cookies(&outcome), arguments }
    }

    /// Has the provider give tokens, the ID token with these claims beside those of a good one.
    pub(super) fn give(&self, nonce: Option<&str>, others: Value) {
        self.give_with(nonce, others, json!({}));
    }

    pub(super) fn give_with(&self, nonce: Option<&str>, others: Value, more: Value) {
        let own =
            json!({"iss": self.provider.url(""), "aud": "gateway", "nonce": nonce, "email": "a@b.test"});
        let id_token = token(joined(own, others));
        let answer = json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 100, "id_token": id_token});
        self.play.lock().unwrap().token = Some((200, joined(answer, more)));
    }

    /// Logs in, and returns what came of it.
    pub(super) fn log_in(&mut self, others: Value, more: Value) -> Outcome {
        let begun = self.begin("GET /page HTTP/1.1");
        self.give_with(begun.argument("nonce").as_deref(), others, more);
        self.harness.send(&begun.back(""))
    }

    pub(super) fn page(&mut self, cookie: &str) -> Outcome {
        self.harness.send(&format!("GET /page HTTP/1.1\nCookie: {cookie}"))
    }

    pub(super) fn asked(&self, path: &str) -> Vec<Received> {
        self.provider.seen().into_iter().filter(|asked| asked.target == path).collect()
    }
}

/// Members of `one`, those of `other` in place of its own.
fn joined(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

/// The gateway before a provider, as a client with a secret that says what is wrong.
pub(super) fn behind(provider: &Loopback, fields: &str) -> Harness {
    let config = format!(
        "{{issuer: '{}', client_id: [gateway], client_secret: [secret], display_errors: true, {fields}}}",
        provider.url("")
    );
    Subject(plugin::room::<OpenidConnect>()).with(&config).in_real_time()
}

/// What a browser sends after an answer.
pub(super) fn cookies(outcome: &Outcome) -> String {
    let lines = outcome.headers.all("Set-Cookie").map(|line| String::from_utf8_lossy(line).into_owned());
    let kept = lines.filter(|line| !line.contains("Max-Age=0"));
    kept.filter_map(|line| line.split(';').next().map(str::to_owned)).collect::<Vec<_>>().join("; ")
}

#[track_caller]
pub(super) fn assert_unauthorized(outcome: &Outcome, reason: &str) {
    let message = format!("Unauthorized ({reason})");
    assert_eq!((outcome.status, outcome.json()["message"].as_str()), (401, Some(message.as_str())));
    assert!(!cookies(outcome).contains("session="), "no session");
}
