//! Sessions that were ended at the provider (OpenID Connect Back-Channel Logout 1.0).

use std::sync::Arc;

use plugin::flow::Resume;
use plugin::remember::Digest;
use plugin::shared::Unavailable;
use plugin::web_session::shared::Shared;
use plugin::{Access, Build, Exchange, Flow, Method, query};
use serde_json::{Value, json};

use super::claims::{self, Claims, Reading};
use super::config::Config;
use super::granted::Granted;
use super::marks::Marks;
use super::refusal::Refusal;
use super::shared_marks::SharedMarks;
use super::sources::is_form;
use super::verify::Signatures;
use super::{Inner, client};

/// What a logout token is about (2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Seconds that a logout token may be old.
const OLDEST_S: f64 = 300.0;
/// Seconds for which marks are kept where sessions have no end.
const WITHOUT_END_S: u64 = 30 * 86_400;

/// Sessions that were ended, by their ids at the provider and by whom they are about.
pub(super) struct Ended {
    marks: Arc<Marks>,
    /// Where gateways share sessions, what all have been told.
    shared: Option<SharedMarks>,
    /// Whose sessions they are.
    owner: String,
    client: String,
    suffix: Vec<u8>,
    /// Seconds that a session lasts at most.
    longest_s: u64,
}

impl Ended {
    pub(super) fn new(config: &Config, shared: Option<&Shared>, cx: &Build<'_>) -> Self {
        let client = client::id(config).unwrap_or_default();
        let owner = format!("{} {client}", config.provider.issuer);
        let suffix = config.login.backchannel_logout_uri_suffix.clone();
        let sessions = &config.sessions;
        let remembered = sessions.session_remember.then_some(sessions.session_remember_absolute_timeout);
        let longest = |seconds: f64| if seconds as u64 == 0 { WITHOUT_END_S } else { seconds as u64 };
        let longest_s = longest(sessions.session_absolute_timeout).max(remembered.map_or(0, longest));
        Self {
            shared: shared.map(|shared| SharedMarks::new(shared, &owner, longest_s)),
            // Routes without such an address still have to know what was told at another.
            marks: cx.services.keep(&format!("ended sessions {owner}"), Marks::default),
            owner,
            client,
            suffix: suffix.unwrap_or_default().into_bytes(),
            longest_s,
        }
    }

    /// Whether a session was ended at the provider.
    pub(super) fn has(&self, granted: &Granted) -> bool {
        if self.marks.are_none() {
            return false;
        }
        let has = |kind: &[u8], name: &Option<String>| {
            name.as_ref().is_some_and(|name| self.marks.has(&self.thing(kind, name), granted.begun_s))
        };
        has(b"session", &granted.session) || has(b"subject", &granted.subject)
    }

    /// Whether the request brings a logout token for this client, by what that says.
    pub(super) fn concerns(&self, exchange: &Exchange) -> bool {
        let Some(body) = exchange.body.as_deref().filter(|_| self.takes(exchange)) else { return false };
        let token = query::values(body, "logout_token").next().unwrap_or_default();
        let said = plugin::jose::Token::without_verification(&token);
        said.is_ok_and(|token| {
            claims::list(token.claims.get("aud"), Reading::Whole).contains(&self.client.as_str())
        })
    }

    /// Whether some gateway that shares it was told that a session was ended.
    pub(super) async fn has_been_told(&self, worker: usize, granted: &Granted) -> Result<bool, Unavailable> {
        let Some(shared) = &self.shared else { return Ok(self.has(granted)) };
        let thing = |kind: &[u8], name: &Option<String>| name.as_ref().map(|name| self.thing(kind, name));
        let things = [thing(b"session", &granted.session), thing(b"subject", &granted.subject)];
        let things: Vec<Digest> = things.into_iter().flatten().collect();
        shared.have(worker, &things, granted.begun_s).await
    }

    /// Whether the request is for this.
    fn takes(&self, exchange: &Exchange) -> bool {
        !self.suffix.is_empty()
            && exchange.request.method == Method::Post
            && is_form(exchange)
            && exchange.request.path().ends_with(&self.suffix)
    }

    /// Marks what a logout token says has ended.
    async fn end(&self, worker: usize, claims: &Claims, now_s: u64) -> Result<(), Refusal> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (session, subject) = (text("sid"), text("sub"));
        let made_s = claims.get("iat").and_then(Value::as_f64).ok_or(Refusal::Invalid("no iat"))? as u64;
        let (thing, moment) = match (session, subject) {
            // A session at the provider does not begin again.
            (Some(session), _) => (self.thing(b"session", session), now_s.max(made_s)),
            (None, Some(subject)) => (self.thing(b"subject", subject), made_s),
            (None, None) => return Err(Refusal::Invalid("neither sid nor sub")),
        };
        match &self.shared {
            Some(shared) => {
                shared.set(worker, &thing, moment).await.map_err(|Unavailable| Refusal::Unavailable)
            }
            None => {
                self.marks.set(thing, moment, now_s.saturating_sub(self.longest_s));
                Ok(())
            }
        }
    }

    fn thing(&self, kind: &[u8], name: &str) -> Digest {
        Digest::of([self.owner.as_bytes(), kind, name.as_bytes()])
    }

    /// What is wrong with a logout token whose signature, issuer and times are right (2.6).
    fn fault(&self, claims: &Claims, now_s: f64, leeway_s: f64) -> Option<&'static str> {
        let audiences = claims::list(claims.get("aud"), Reading::Whole);
        let is_recent = |iat: f64| iat + OLDEST_S + leeway_s >= now_s;
        if !audiences.contains(&self.client.as_str()) {
            Some("a logout token for another client")
        } else if claims.get("events").is_none_or(|events| !events[EVENT].is_object())
            || claims.contains_key("nonce")
        {
            Some("no logout token")
        } else if !claims.get("iat").and_then(Value::as_f64).is_some_and(is_recent) {
            Some("an old logout token")
        } else {
            None
        }
    }
}

impl Inner {
    /// What the provider is told that says who has logged out; none if the request is for something else.
    pub(super) fn hear_of_logout(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        let sessions = self.sessions.as_ref()?;
        if !sessions.ended().takes(cx) {
            return None;
        }
        let Some(body) = cx.body() else { return Some(Flow::ReadBody) };
        let token = query::values(body, "logout_token").next().unwrap_or_default().into_owned();
        let (inner, worker, now_ms) = (self.clone(), cx.worker.index, cx.record.started_ms);
        Some(Flow::wait(async move {
            let outcome = inner.judge_logout(worker, &token, now_ms).await;
            let resume: Resume = Box::new(move |cx| {
                let status = match outcome {
                    Ok(()) => return cx.answer(200).header("Cache-Control", b"no-store").empty(),
                    Err(Refusal::Unavailable) => 503,
                    Err(_) => 400,
                };
                let error = json!({ "error": if status == 400 { "invalid_request" } else { "temporarily_unavailable" } });
                cx.answer(status).header("Cache-Control", b"no-store").json(&error)
            });
            resume
        }))
    }

    async fn judge_logout(&self, worker: usize, token: &[u8], now_ms: u64) -> Result<(), Refusal> {
        let Some(sessions) = &self.sessions else { return Err(Refusal::Unavailable) };
        let (token, known) = self.verification.signed(token, is_logout_token, Signatures::Checked).await?;
        let (ended, claims) = (sessions.ended(), &token.claims);
        let untimely = || {
            self.verification
                .wrong_issuer(claims, &known)
                .or_else(|| self.verification.untimely(claims, now_ms))
        };
        let own = || ended.fault(claims, now_ms as f64 / 1_000.0, self.verification.leeway_s());
        match untimely().or_else(own) {
            Some(fault) => Err(Refusal::Invalid(fault)),
            None => ended.end(worker, claims, now_ms / 1_000).await,
        }
    }
}

fn is_logout_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "logout+jwt")
}
