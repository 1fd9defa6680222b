//! Getting tokens at the token endpoint (RFC 6749 3.2), and giving them back (RFC 7009).

use std::sync::Arc;
use std::time::Duration;

use plugin::remember::{Digest, Learned, Memory, Settings};
use plugin::{Build, BuildError};

use super::client::{self, SignIn};
use super::config::{self, Config};
use super::granted::TokenSet;
use super::http::{Address, Http, Pairs};
use super::provider::{Endpoint, Provider};
use super::refusal::Refusal;

/// How long tokens that were got for a refresh token are there for requests that come with the old one still: those that
/// a page sends all at once.
const AFTER_REFRESH: Duration = Duration::from_secs(60);
/// How long it is remembered that credentials were refused.
const REFUSED: Duration = Duration::from_secs(10);

/// What came of a question for tokens.
enum Answered {
    Tokens(Box<TokenSet>),
    Refused,
}

/// How tokens are asked for.
pub(super) struct TokenEndpoint {
    http: Arc<Http>,
    provider: Provider,
    memory: Arc<Memory<Answered>>,
    /// Whose answers they are.
    owner: String,
    endpoint: Endpoint,
    method: String,
    /// As the gateway itself; none where it has no name at the provider.
    sign_in: Option<SignIn>,
    arguments: Pairs,
    headers: Pairs,
    scope: String,
    audience: Option<String>,
}

/// How tokens are given back.
pub(super) struct Revocation {
    http: Arc<Http>,
    provider: Provider,
    endpoint: Endpoint,
    sign_in: SignIn,
    token_name: String,
}

/// One question, ready to be sent.
struct Question {
    http: Arc<Http>,
    address: Address,
    form: Pairs,
    headers: Pairs,
    scope: String,
    now_s: u64,
}

impl TokenEndpoint {
    pub(super) fn new(
        config: &Config,
        http: &Arc<Http>,
        provider: &Provider,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let grants = &config.grants;
        let text = grants.token_endpoint.as_deref();
        let method = grants.token_endpoint_auth_method.as_deref();
        let client = client::id(config);
        let usual = client::first(&config.introspection.client_auth);
        Ok(Self {
            http: http.clone(),
            provider: provider.clone(),
            memory: Memory::open(cx.services, "tokens", &Settings::default()),
            owner: format!(
                "{} {:?} {:?}",
                config.provider.issuer,
                cx.fingerprint::<config::Grants>(),
                cx.fingerprint::<config::Introspection>()
            ),
            endpoint: Endpoint::new(cx, http, "token_endpoint", text, |told| told.token.as_ref())?,
            method: method.map(str::to_owned).or(usual).unwrap_or_default(),
            sign_in: client.map(|_| SignIn::new(config, method)).transpose()?,
            arguments: super::pairs(
                "token_post_args",
                grants.token_post_args_names.as_deref(),
                grants.token_post_args_values.as_deref(),
            )?,
            headers: super::pairs(
                "token_headers",
                grants.token_headers_names.as_deref(),
                grants.token_headers_values.as_deref(),
            )?,
            scope: grants.scopes.join(" "),
            audience: grants.audience.as_ref().map(|audience| audience.join(" ")),
        })
    }

    /// The scopes that tokens are asked for.
    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    /// The audiences that tokens are asked for.
    pub(super) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Tokens for a code, which is good for one attempt.
    pub(super) async fn redeem(&self, form: Pairs, now_ms: u64) -> Result<TokenSet, Refusal> {
        let question = self.question(form, None, now_ms).await?;
        tokens_of(&self.memory.alone(question.ask(|_| Duration::ZERO)).await)
    }

    /// Newer tokens for a refresh token. However many requests come with it, it is used once: a provider that gives out a
    /// new one each time takes a second use for theft.
    pub(super) async fn refresh(&self, token: &str, now_ms: u64) -> Result<TokenSet, Refusal> {
        let form = pairs([("grant_type", "refresh_token"), ("refresh_token", token)]);
        let key = Digest::of([self.owner.as_bytes(), b"refresh", token.as_bytes()]);
        let question = self.question(form, None, now_ms).await?;
        tokens_of(&self.memory.fetch(key, question.ask(|_| AFTER_REFRESH)).await)
    }

    /// Tokens for credentials of a caller, which are the same for as long as they are good. `key` stands for the
    /// credentials; `caller` signs in for itself.
    pub(super) async fn obtain(
        &self,
        key: &[&[u8]],
        mut form: Pairs,
        caller: Option<(&str, &str)>,
        now_ms: u64,
    ) -> Result<TokenSet, Refusal> {
        if !self.scope.is_empty() {
            form.extend(pairs([("scope", &self.scope)]));
        }
        form.extend(self.audience.as_deref().map(|audience| ("audience".to_owned(), audience.to_owned())));
        let sign_in = caller.map(|(id, secret)| SignIn::of_caller(id, secret, &self.method));
        let question = self.question(form, sign_in.as_ref(), now_ms).await?;
        let now_s = now_ms / 1_000;
        let good_for = move |tokens: &TokenSet| {
            Duration::from_secs(tokens.ends_s.map_or(0, |ends_s| ends_s.saturating_sub(now_s)))
        };
        let key = Digest::of([self.owner.as_bytes()].into_iter().chain(key.iter().copied()));
        tokens_of(&self.memory.fetch(key, question.ask(good_for)).await)
    }

    async fn question(
        &self,
        mut form: Pairs,
        caller: Option<&SignIn>,
        now_ms: u64,
    ) -> Result<Question, Refusal> {
        let address = self.endpoint.find(&self.provider).await?;
        let (mut headers, now_s) = (self.headers.clone(), now_ms / 1_000);
        form.extend(self.arguments.iter().cloned());
        let sign_in = caller.or(self.sign_in.as_ref()).ok_or(Refusal::Unavailable)?;
        sign_in.add(&address, now_s, &mut form, &mut headers);
        Ok(Question { http: self.http.clone(), address, form, headers, scope: self.scope.clone(), now_s })
    }
}

impl Question {
    async fn ask(self, holds: impl Fn(&TokenSet) -> Duration) -> Result<Learned<Answered>, String> {
        let (status, answer) = self.http.post_once(&self.address, &self.form, &self.headers).await?;
        if matches!(status, 400 | 401 | 403) {
            tracing::debug!(status, error = answer["error"].as_str(), "a provider gives no tokens");
            return Ok(Learned::new(Answered::Refused, REFUSED));
        }
        if status != 200 {
            return Err(format!("{} answers {status}", self.address));
        }
        let size = answer.to_string().len() * 2;
        let tokens = TokenSet::of(answer, &self.scope, self.now_s);
        let tokens = tokens.ok_or_else(|| format!("no token that can be used from {}", self.address))?;
        let holds = holds(&tokens);
        Ok(Learned::new(Answered::Tokens(Box::new(tokens)), holds).holding(size))
    }
}

impl Revocation {
    pub(super) fn new(
        config: &Config,
        http: &Arc<Http>,
        provider: &Provider,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let grants = &config.grants;
        let text = grants.revocation_endpoint.as_deref();
        Ok(Self {
            http: http.clone(),
            provider: provider.clone(),
            endpoint: Endpoint::new(cx, http, "revocation_endpoint", text, |told| told.revocation.as_ref())?,
            sign_in: SignIn::new(config, grants.revocation_endpoint_auth_method.as_deref())?,
            token_name: grants.revocation_token_param_name.clone(),
        })
    }

    /// Gives a token back. `kind` is what the provider is told about it (RFC 7009 2.1).
    pub(super) async fn revoke(&self, token: &str, kind: &str, now_s: u64) -> Result<(), Refusal> {
        let address = self.endpoint.find(&self.provider).await?;
        let mut form = pairs([(self.token_name.as_str(), token), ("token_type_hint", kind)]);
        let mut headers = Pairs::new();
        self.sign_in.add(&address, now_s, &mut form, &mut headers);
        match self.http.post_once(&address, &form, &headers).await {
            Ok((200, _)) => Ok(()),
            _ => Err(Refusal::Unavailable),
        }
    }
}

fn tokens_of(outcome: &plugin::remember::Outcome<Answered>) -> Result<TokenSet, Refusal> {
    match outcome.as_deref() {
        Ok(Answered::Tokens(tokens)) => Ok(TokenSet::clone(tokens)),
        Ok(Answered::Refused) => Err(Refusal::Invalid("the provider gives no tokens")),
        Err(_) => Err(Refusal::Unavailable),
    }
}

/// Arguments as they are sent.
pub(super) fn pairs<const COUNT: usize>(arguments: [(&str, &str); COUNT]) -> Pairs {
    arguments.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
