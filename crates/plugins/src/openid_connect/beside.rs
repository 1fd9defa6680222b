//! An ID token that a caller brings beside its bearer token: who it is about has to be who has that.

use std::sync::Arc;

use plugin::{Access, BuildError, Exchange, Flow, Resume, query};
use serde_json::Value;

use super::Inner;
use super::claims::Claims;
use super::client;
use super::config::Config;
use super::credentials::Places;
use super::id_token::Expected;
use super::refusal::Refusal;
use super::sources::is_form;
use super::verify::{Outcome, Verification};

/// Claims of an ID token that are about itself: they say nothing of the token that it comes with.
pub(super) const OF_ITSELF: [&str; 15] = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "azp",
    "nonce",
    "at_hash",
    "c_hash",
    "s_hash",
    "cnf",
    "scope",
    "client_id",
    "active",
];

/// Where ID tokens are looked for.
pub(super) struct BesideSource {
    name: String,
    places: Places,
    /// For whom they have to be.
    client: String,
    hide: bool,
}

/// What a search came to.
enum Search {
    Nothing,
    /// It may stand in the body, which is not at hand.
    NeedsBody,
    /// Different ones.
    Several,
    Found(String),
}

/// What becomes of a token for the sake of an ID token beside it.
pub(super) enum Companion {
    /// There is none.
    None,
    /// Both have been judged together.
    Judged(Outcome),
    /// They have to be.
    Flow(Flow),
}

/// An ID token that is the provider's.
pub(super) struct Beside {
    pub(super) text: String,
    pub(super) claims: Claims,
    /// The public key that it is signed with.
    pub(super) key: Option<Arc<str>>,
    /// It names the token that it came with, by a hash that was compared.
    names_access: bool,
}

impl BesideSource {
    pub(super) fn new(config: &Config) -> Result<Option<Self>, BuildError> {
        let Some(name) = config.tokens.id_token_param_name.clone().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        // An ID token is for one client.
        let client = client::needed_id(config, "id_token_param_name")?;
        let places = Places::new(&config.tokens.id_token_param_type);
        Ok(Some(Self { name, places, client, hide: config.tokens.hide_credentials }))
    }

    fn find(&self, exchange: &Exchange) -> Search {
        let (arguments, needs_body) = self.places.arguments(exchange);
        let in_arguments = arguments.iter().flat_map(|arguments| query::values(arguments, &self.name));
        let fields = exchange.request.headers.all(&self.name).filter(|_| self.places.header);
        let values = fields.map(std::borrow::Cow::Borrowed).chain(in_arguments);
        let mut values = values.filter(|value| !value.is_empty());
        match values.next() {
            None if needs_body => Search::NeedsBody,
            None => Search::Nothing,
            Some(first) if values.any(|other| other != first) => Search::Several,
            Some(first) => Search::Found(String::from_utf8_lossy(&first).into_owned()),
        }
    }

    /// The one ID token of a request.
    pub(super) fn found(&self, exchange: &Exchange) -> Option<String> {
        match self.find(exchange) {
            Search::Found(text) => Some(text),
            Search::Nothing | Search::NeedsBody | Search::Several => None,
        }
    }

    /// Takes what was found out of the request, if it is to be hidden.
    pub(super) fn hide(&self, cx: &mut Access<'_>) {
        if !self.hide {
            return;
        }
        if self.places.header {
            cx.headers().remove(&self.name);
        }
        if self.places.query
            && let Some(rest) = query::without(&cx.upstream.query, &self.name)
        {
            cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
        }
        if self.places.body
            && is_form(cx)
            && let Some(rest) = cx.body().and_then(|body| query::without(body, &self.name))
        {
            cx.set_body(rest);
        }
    }
}

impl Beside {
    /// What the caller's token says, `claims`, and beside it what this one does.
    pub(super) fn joined(&self, claims: &Claims) -> Result<Claims, Refusal> {
        let subject = |claims: &Claims| claims.get("sub").and_then(Value::as_str).map(str::to_owned);
        match subject(claims) {
            Some(subject) if self.claims.get("sub").and_then(Value::as_str) != Some(&subject) => {
                return Err(Refusal::Invalid("an ID token about another person"));
            }
            // Whoever has seen somebody's ID token would be taken for them.
            None if !self.names_access => {
                return Err(Refusal::Invalid("an ID token that nothing ties to the token"));
            }
            _ => {}
        }
        let told = self.claims.iter().filter(|(name, _)| !OF_ITSELF.contains(&name.as_str()));
        let mut all: Claims = told.map(|(name, value)| (name.clone(), value.clone())).collect();
        all.extend(claims.iter().map(|(name, value)| (name.clone(), value.clone())));
        Ok(all)
    }
}

impl Verification {
    /// The ID token `text`, if it is one of the provider for this client. `access` is what it came with.
    async fn beside(&self, text: &str, access: &[u8], client: &str, now_ms: u64) -> Result<Beside, Refusal> {
        let access = std::str::from_utf8(access).map_err(|_| Refusal::Invalid("not a token"))?;
        let expected = Expected { client, ..Expected::default() };
        let token = self.id_token(text, access, &expected, now_ms).await?;
        let mut token = token;
        let elsewhere = self.elsewhere(&token.claims, access, now_ms).await?;
        token.claims.extend(elsewhere.claims);
        let names_access = self.checks_claims() && token.claims.contains_key("at_hash");
        Ok(Beside { text: text.to_owned(), claims: token.claims, key: token.key, names_access })
    }
}

impl Inner {
    /// What becomes of `token` for the sake of an ID token beside it.
    pub(super) fn companion(self: &Arc<Self>, cx: &Access<'_>, token: &[u8]) -> Companion {
        let Some(source) = &self.beside else { return Companion::None };
        let text = match source.find(cx) {
            Search::Nothing => return Companion::None,
            Search::NeedsBody => return Companion::Flow(Flow::ReadBody),
            Search::Several => return Companion::Judged(Err(Refusal::Several)),
            Search::Found(text) => text,
        };
        let (worker, now_ms) = (cx.worker.index, cx.record.started_ms);
        if let Some(known) = self.verification.remembered_beside(worker, token, &text, now_ms) {
            return Companion::Judged(known);
        }
        let (inner, client, token) = (self.clone(), source.client.clone(), token.to_vec());
        let asked_with = self.asked_with(cx);
        Companion::Flow(Flow::wait(async move {
            let outcome = match inner.verification.beside(&text, &token, &client, now_ms).await {
                Ok(beside) => inner.find_out(&token, Some(&beside), worker, now_ms, asked_with).await,
                Err(refusal) => Err(refusal),
            };
            let resume: Resume = Box::new(move |cx| inner.conclude_held(cx, &token, outcome));
            resume
        }))
    }
}
