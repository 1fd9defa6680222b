//! Getting tokens at the token endpoint (RFC 6749 3.2).

use std::sync::Arc;
use std::time::Duration;

use plugin::remember::{Digest, Memory, Settings};
use plugin::shared::Joint;
use plugin::{Access, BuildError};

use super::Setup;
use super::client::{self, SignIn};
use super::config::{self, Grants};
use super::granted::TokenSet;
use super::http::{Http, Pairs};
use super::of_client::{OfClient, Wanted};
use super::pool::Pool;
use super::provider::{Endpoint, Provider};
use super::question::{Answered, Question, tokens_of};
use super::refusal::Refusal;

/// How long tokens that were got for a refresh token are there for requests that come with the old one still: those that
/// a page sends all at once.
const AFTER_REFRESH: Duration = Duration::from_secs(60);

/// Arguments by which tokens are granted, and the gateway signs in: no request has a say in them.
const OF_GRANTS: [&str; 14] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "code",
    "code_verifier",
    "redirect_uri",
    "refresh_token",
    "username",
    "password",
    "assertion",
    "subject_token",
    "actor_token",
];

/// How tokens are asked for.
pub(super) struct TokenEndpoint {
    http: Arc<Http>,
    provider: Provider,
    memory: Arc<Memory<Answered>>,
    /// Whose answers they are.
    owner: String,
    endpoint: Endpoint,
    /// Where tokens are exchanged, if that is elsewhere.
    exchange_endpoint: Option<Endpoint>,
    method: String,
    /// As the gateway itself; none where it has no name at the provider.
    sign_in: Option<SignIn>,
    arguments: Pairs,
    headers: Pairs,
    scope: String,
    audience: Option<String>,
    of_client: Wanted,
    /// How long tokens for callers are used at most.
    longest: Duration,
    replay: Replay,
    /// Whose refresh tokens they are.
    holder: String,
    /// Where gateways agree who uses a refresh token of a session.
    of_sessions: Option<Pool>,
    /// Where they share tokens for callers.
    of_callers: Option<Pool>,
}

/// Whose refresh token is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refreshing {
    /// That of a session. What comes is the same whatever else a request says.
    Session,
    /// One that a caller brings.
    Caller,
}

/// Headers of answers that clients get.
struct Replay {
    names: Vec<String>,
    prefix: String,
    grants: Vec<String>,
}

/// What is asked for in exchange for a token (RFC 8693).
pub(super) struct Exchange {
    pub(super) form: Pairs,
    pub(super) wishes: Pairs,
    /// How long the answer is used at most; none remembers nothing.
    pub(super) longest: Option<Duration>,
}

impl Replay {
    fn new(grants: &Grants) -> Self {
        Self {
            names: grants.token_headers_replay.clone().unwrap_or_default(),
            prefix: grants.token_headers_prefix.clone().unwrap_or_default(),
            grants: grants.token_headers_grants.clone().unwrap_or_default(),
        }
    }
}

impl TokenEndpoint {
    pub(super) fn new(setup: &Setup<'_>) -> Result<Self, BuildError> {
        let &Setup { config, http, provider, cx, .. } = setup;
        let grants = &config.grants;
        let text = grants.token_endpoint.as_deref();
        let method = grants.token_endpoint_auth_method.as_deref();
        let client = client::id(config);
        let usual = client::first(&config.introspection.client_auth);
        let sign_in = client
            .as_ref()
            .map(|_| SignIn::new(setup, ("token_endpoint_auth_method", method)))
            .transpose()?;
        let mut endpoint = Endpoint::new(setup, "token_endpoint", text, |told| told.token.as_ref())?;
        if let Some(sign_in) = &sign_in {
            let text = config.possession.mtls_token_endpoint.as_deref();
            endpoint = sign_in.endpoint(setup, endpoint, "mtls_token_endpoint", text)?;
        }
        if grants.token_exchange.is_some() && grants.token_exchange_endpoint.is_none() {
            endpoint = endpoint.needed_for(setup, "token_exchange", "token_exchange_endpoint")?;
        }
        let elsewhere = grants.token_exchange_endpoint.as_deref();
        let exchange_endpoint = elsewhere
            .map(|text| {
                Endpoint::new(setup, "token_exchange_endpoint", Some(text), |told| told.token.as_ref())
            })
            .transpose()?;
        let pool = |joint: &Arc<Joint>, is_needed| {
            let patience = Duration::from_millis((config.provider.timeout as u64).max(1));
            Pool { joint: joint.clone(), is_needed, patience }
        };
        let places = setup.places;
        let of_callers = places.cache.as_ref().filter(|_| config.sharing.has("tokens"));
        let of_callers = of_callers.map(|joint| pool(joint, false));
        let of_sessions = places.with_sessions.as_ref().map(|joint| pool(joint, true));
        Ok(Self {
            holder: format!("{} {}", config.provider.issuer, client.as_deref().unwrap_or_default()),
            of_sessions: of_sessions.or_else(|| of_callers.clone()),
            of_callers,
            http: sign_in.as_ref().map_or_else(|| http.clone(), |sign_in| sign_in.http(setup)),
            provider: provider.clone(),
            memory: Memory::open(cx.services, "tokens", &Settings::default()),
            owner: format!(
                "{} {} {:?}",
                setup.fingerprint::<config::Grants>(),
                setup.fingerprint::<config::Introspection>(),
                config.possession.tls_client_auth_cert_id
            ),
            endpoint,
            exchange_endpoint,
            method: method.map(str::to_owned).or(usual).unwrap_or_default(),
            sign_in,
            arguments: super::pairs(&grants.token_post_args_names, &grants.token_post_args_values),
            headers: super::pairs(&grants.token_headers_names, &grants.token_headers_values),
            scope: grants.scopes.join(" "),
            audience: grants.audience.as_ref().map(|audience| audience.join(" ")),
            of_client: Wanted {
                headers: grants.token_headers_client.clone().unwrap_or_default(),
                arguments_or_headers: grants.token_post_args_client.clone().unwrap_or_default(),
                ..Wanted::default()
            },
            longest: match (config.tokens.cache_tokens, config.provider.cache_ttl_max) {
                (false, _) => Duration::ZERO,
                (true, Some(seconds)) => Duration::from_secs(seconds as u64),
                (true, None) => Duration::MAX,
            },
            replay: Replay::new(grants),
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

    /// What of a caller's request goes with requests for tokens.
    pub(super) fn of_client(&self, exchange: &plugin::Exchange) -> OfClient {
        self.of_client.of(exchange)
    }

    /// Tells the client what it is to be told of the answer with `tokens`, got by `grant`.
    pub(super) fn replay(&self, cx: &mut Access<'_>, grant: &str, tokens: &TokenSet) {
        if !self.replay.grants.iter().any(|listed| listed == grant) {
            return;
        }
        for (name, value) in &tokens.replayed {
            cx.decorate().set(&format!("{}{name}", self.replay.prefix), value.as_bytes());
        }
    }

    /// Tokens for a code, which is good for one attempt.
    pub(super) async fn redeem(
        &self,
        form: Pairs,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<TokenSet, Refusal> {
        let question = self.question(&self.endpoint, form, Pairs::new(), None, of_client, now_ms).await?;
        tokens_of(&self.memory.alone(question.ask(|_| Duration::ZERO)).await)
    }

    /// Newer tokens for a refresh token. However many requests come with it, and to however many gateways that share
    /// sessions, it is used once: a provider that gives out a new one each time takes a second use for theft.
    pub(super) async fn refresh(
        &self,
        token: &str,
        whose: Refreshing,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<TokenSet, Refusal> {
        let form = pairs([("grant_type", "refresh_token"), ("refresh_token", token)]);
        let asked_with = of_client.key();
        let key = Digest::of([self.owner.as_bytes(), b"refresh", asked_with.as_bytes(), token.as_bytes()]);
        let question = self.question(&self.endpoint, form, Pairs::new(), None, of_client, now_ms).await?;
        let (pool, said) = match whose {
            Refreshing::Session => (&self.of_sessions, ""),
            Refreshing::Caller => (&self.of_callers, asked_with.as_str()),
        };
        let thing = Digest::of([self.holder.as_bytes(), b"refresh", said.as_bytes(), token.as_bytes()]);
        let ask = question.ask_for_all(pool.clone(), thing, |_| AFTER_REFRESH);
        tokens_of(&self.memory.fetch(key, ask).await)
    }

    /// Tokens for credentials of a caller, which are the same for as long as they are good. `key` stands for the
    /// credentials; `caller` signs in for itself.
    pub(super) async fn obtain(
        &self,
        key: &[&[u8]],
        form: Pairs,
        caller: Option<(&str, &str)>,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<TokenSet, Refusal> {
        let wishes = [("scope", Some(self.scope.as_str())), ("audience", self.audience.as_deref())];
        let wishes =
            wishes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let wishes = wishes.filter(|(_, value)| !value.is_empty()).collect();
        let sign_in = caller.map(|(id, secret)| SignIn::of_caller(id, secret, &self.method));
        let question =
            self.question(&self.endpoint, form, wishes, sign_in.as_ref(), of_client, now_ms).await?;
        let (now_s, longest) = (now_ms / 1_000, self.longest);
        let good_for = move |tokens: &TokenSet| {
            let left_s = tokens.ends_s.map_or(0, |ends_s| ends_s.saturating_sub(now_s));
            longest.min(Duration::from_secs(left_s))
        };
        let asked_with = of_client.key();
        let owner = [self.owner.as_bytes(), asked_with.as_bytes()];
        let key = Digest::of(owner.into_iter().chain(key.iter().copied()));
        let pool = self.of_callers.clone().filter(|_| !longest.is_zero());
        let ask = question.ask_for_all(pool, key, good_for);
        tokens_of(&self.memory.fetch(key, ask).await)
    }

    /// Tokens in exchange for `token`, which are the same for as long as they are good.
    pub(super) async fn exchange(
        &self,
        token: &[u8],
        wanted: Exchange,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<TokenSet, Refusal> {
        let Exchange { form, wishes, longest } = wanted;
        let asked_with = format!("{wishes:?} {}", of_client.key());
        let endpoint = self.exchange_endpoint.as_ref().unwrap_or(&self.endpoint);
        let question = self.question(endpoint, form, wishes, None, of_client, now_ms).await?;
        let now_s = now_ms / 1_000;
        let good_for = move |tokens: &TokenSet| {
            let left_s = tokens.ends_s.map_or(0, |ends_s| ends_s.saturating_sub(now_s));
            longest.unwrap_or_default().min(Duration::from_secs(left_s))
        };
        let key = Digest::of([self.owner.as_bytes(), b"exchange", asked_with.as_bytes(), token]);
        let pool = self.of_callers.clone().filter(|_| longest.is_some());
        let ask = question.ask_for_all(pool, key, good_for);
        tokens_of(&self.memory.fetch(key, ask).await)
    }

    /// `form` makes the grant; `wishes` the caller's request may replace.
    async fn question(
        &self,
        endpoint: &Endpoint,
        mut form: Pairs,
        mut wishes: Pairs,
        caller: Option<&SignIn>,
        of_client: &OfClient,
        now_ms: u64,
    ) -> Result<Question, Refusal> {
        let address = endpoint.find(&self.provider).await?;
        let (mut headers, now_s) = (self.headers.clone(), now_ms / 1_000);
        wishes.extend(self.arguments.iter().cloned());
        let is_own = |name: &str| OF_GRANTS.contains(&name) || form.iter().any(|(own, _)| own == name);
        let more = of_client.arguments.iter().filter(|(name, _)| !is_own(name)).cloned();
        let more: Pairs = more.collect();
        wishes.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        form.extend(wishes.into_iter().chain(more));
        headers.extend(of_client.headers.iter().cloned());
        let sign_in = caller.or(self.sign_in.as_ref()).ok_or(Refusal::Unavailable)?;
        sign_in.add(&address, now_s, &mut form, &mut headers);
        let scope =
            form.iter().find(|(name, _)| name == "scope").map_or(&self.scope, |(_, scope)| scope).clone();
        Ok(Question {
            worker: of_client.worker,
            http: self.http.clone(),
            address,
            form,
            headers,
            scope,
            replayed: self.replay.names.clone(),
            now_s,
            is_own: caller.is_none(),
        })
    }
}

/// Arguments as they are sent.
pub(super) fn pairs<const COUNT: usize>(arguments: [(&str, &str); COUNT]) -> Pairs {
    arguments.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
