//! Callers who prove themselves with what the provider gives tokens for: a password (RFC 6749 4.3), a client's secret
//! (4.4), or a refresh token (6).

use std::sync::Arc;

use plugin::authorization;
use plugin::flow::Resume;
use plugin::lockout::{Attempt, Outcome};
use plugin::{Access, Exchange, Flow, query};
use serde_json::Value;

use super::Inner;
use super::Methods;
use super::admission::Admission;
use super::client;
use super::config::Config;
use super::exchange::{Refreshing, pairs};
use super::granted::TokenSet;
use super::id_token::Expected;
use super::of_client::AskedWith;
use super::refusal::Refusal;
use super::sources::is_form;

/// Longest name, secret or token that is looked at, in bytes.
const LONGEST: usize = 4096;

/// Where credentials are looked for.
pub(super) struct Credentials {
    client: String,
    password: Option<Places>,
    client_credentials: Option<Places>,
    refresh: Option<(String, Places)>,
    hide: bool,
    salt: String,
}

/// Places of requests.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) header: bool,
    pub(super) query: bool,
    pub(super) body: bool,
}

/// What a caller brings.
pub(super) enum Brought {
    /// A name and a secret, and what they may be.
    Login {
        name: String,
        secret: String,
        password: bool,
        client: bool,
    },
    Refresh(String),
}

/// What tokens are given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    Password,
    Client,
    Refresh,
}

/// Somebody who got tokens for what it has brought.
struct Admitted {
    admission: Arc<Admission>,
    tokens: TokenSet,
    grant: Grant,
    /// What the caller is handed.
    handed: Value,
}

/// What a search came to.
pub(super) enum Search {
    Nothing,
    /// They may stand in the body, which is not at hand.
    NeedsBody,
    Found(Brought),
}

impl Grant {
    /// What methods and settings call it.
    fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Client => "client_credentials",
            Self::Refresh => "refresh_token",
        }
    }
}

impl Brought {
    /// What the caller calls itself, if it does.
    fn name(&self) -> &str {
        match self {
            Self::Login { name, .. } => name,
            Self::Refresh(_) => "",
        }
    }
}

impl Places {
    pub(super) fn new(listed: &[String]) -> Self {
        let has = |place: &str| listed.iter().any(|listed| listed == place);
        Self { header: has("header"), query: has("query"), body: has("body") }
    }

    /// The arguments in which credentials may stand; whether the body would have to be read for more.
    pub(super) fn arguments<'a>(&self, exchange: &'a Exchange) -> (Vec<&'a [u8]>, bool) {
        let query = exchange.request.query().filter(|_| self.query);
        let may_be_in_body = self.body && is_form(exchange);
        let body = exchange.body.as_deref().filter(|_| may_be_in_body);
        (query.into_iter().chain(body).collect(), may_be_in_body && exchange.body.is_none())
    }
}

impl Credentials {
    pub(super) fn new(config: &Config, methods: &Methods) -> Option<Self> {
        let grants = &config.grants;
        let places = |is_on: bool, listed: &[String]| is_on.then(|| Places::new(listed));
        let name = grants.refresh_token_param_name.clone().filter(|_| methods.refresh_token);
        let this = Self {
            client: client::id(config).unwrap_or_default(),
            password: places(methods.password, &grants.password_param_type),
            client_credentials: places(methods.client_credentials, &grants.client_credentials_param_type),
            refresh: name.map(|name| (name, Places::new(&grants.refresh_token_param_type))),
            hide: config.tokens.hide_credentials,
            salt: grants.cache_tokens_salt.clone().unwrap_or_default(),
        };
        (this.password.is_some() || this.client_credentials.is_some() || this.refresh.is_some())
            .then_some(this)
    }

    /// What the caller brings.
    pub(super) fn find(&self, exchange: &Exchange) -> Search {
        let mut needs_body = false;
        if let Some((name, places)) = &self.refresh {
            let in_header = exchange.request.headers.get(name).filter(|_| places.header);
            let (arguments, more) = places.arguments(exchange);
            needs_body |= more;
            let found = in_header.map(<[u8]>::to_vec).or_else(|| argument(&arguments, name));
            if let Some(token) = found.and_then(text) {
                return Search::Found(Brought::Refresh(token));
            }
        }
        if let Some(login) = self.in_header(exchange) {
            return Search::Found(login);
        }
        let forms = [
            (self.password, "username", "password", true),
            (self.client_credentials, "client_id", "client_secret", false),
        ];
        for (places, name, secret, password) in forms {
            let Some(places) = places else { continue };
            let (arguments, more) = places.arguments(exchange);
            needs_body |= more;
            let found = |name| argument(&arguments, name).and_then(text);
            if let (Some(name), Some(secret)) = (found(name), found(secret)) {
                return Search::Found(Brought::Login { name, secret, password, client: !password });
            }
        }
        if needs_body { Search::NeedsBody } else { Search::Nothing }
    }

    fn in_header(&self, exchange: &Exchange) -> Option<Brought> {
        let is_in_header = |places: Option<Places>| places.is_some_and(|places| places.header);
        let (password, client) = (is_in_header(self.password), is_in_header(self.client_credentials));
        if !password && !client {
            return None;
        }
        let login = authorization::Login::find(&exchange.request.headers, "basic")?;
        let (name, secret) = (text(login.username().to_vec())?, text(login.password().to_vec())?);
        Some(Brought::Login { name, secret, password, client })
    }

    /// Takes what was found out of the request, as far as it stands in fields and in the query.
    fn hide(&self, cx: &mut Access<'_>) {
        if !self.hide {
            return;
        }
        authorization::hide(cx.headers(), "basic");
        let mut names = Vec::new();
        if let Some((name, places)) = &self.refresh {
            names.push(name.as_str());
            if places.header {
                cx.headers().remove(name);
            }
        }
        names.extend(self.password.iter().flat_map(|_| ["username", "password"]));
        names.extend(self.client_credentials.iter().flat_map(|_| ["client_id", "client_secret"]));
        for name in names {
            if let Some(rest) = query::without(&cx.upstream.query, name) {
                cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
            }
            if is_form(cx)
                && let Some(rest) = cx.body().and_then(|body| query::without(body, name))
            {
                cx.set_body(rest);
            }
        }
    }
}

impl Inner {
    /// Has the provider judge what a caller brings.
    pub(super) fn judge_credentials(self: &Arc<Self>, cx: &Access<'_>, brought: Brought) -> Flow {
        let (inner, worker, now_ms) = (self.clone(), cx.worker.index, cx.record.started_ms);
        let (asked_with, attempt) = (self.asked_with(cx), self.attempt(cx, &brought));
        Flow::wait(async move {
            let asking = inner.clone();
            let asked =
                async move { asking.admit_brought(&brought, (worker, attempt), asked_with, now_ms).await };
            let outcome = match attempt {
                // What has begun comes to its end: whoever leaves meanwhile has not failed.
                Some(_) => tokio::spawn(asked).await.unwrap_or(Err(Refusal::Unavailable)),
                None => asked.await,
            };
            let resume: Resume = Box::new(move |cx| {
                if let Some(credentials) = &inner.credentials {
                    credentials.hide(cx);
                }
                match outcome {
                    Ok(admitted) => inner.welcome_brought(cx, admitted),
                    Err(refusal) => inner.conclude(cx, Err(refusal)),
                }
            });
            resume
        })
    }

    /// Lets a caller pass, or answers with its tokens.
    fn welcome_brought(&self, cx: &mut Access<'_>, admitted: Admitted) -> Flow {
        let Admitted { admission, tokens, grant, handed } = admitted;
        self.tokens.replay(cx, grant.name(), &tokens);
        match self.action.after(cx, grant.name(), &handed) {
            Some(answer) => answer,
            None => self.conclude(cx, Ok(admission)),
        }
    }

    async fn admit_brought(
        &self,
        brought: &Brought,
        (worker, attempt): (usize, Option<Attempt>),
        asked_with: AskedWith,
        now_ms: u64,
    ) -> Result<Admitted, Refusal> {
        let Some(credentials) = &self.credentials else { return Err(Refusal::Missing) };
        let tokens = self.tokens_for(credentials, brought, &asked_with, now_ms);
        let (tokens, grant) = self.guarded(worker, attempt, tokens).await?;
        let name = brought.name();
        let expected = Expected {
            // An ID token that a client got for itself names that client.
            client: if grant == Grant::Client { name } else { &credentials.client },
            signatures: self.verification.signatures(grant.name()),
            ..Expected::default()
        };
        let mut granted = self.verification.granted(tokens, &expected, now_ms).await?;
        let admission = match self.introspection.as_ref().filter(|_| granted.says_nothing()) {
            Some(introspection) => {
                let token = granted.tokens.access.as_bytes();
                // A client's own token has no user.
                let of_user = Some(&asked_with.user_info).filter(|_| grant != Grant::Client);
                let asked_with = (asked_with.introspection.clone(), of_user);
                introspection.ask(&self.verification, worker, token, None, now_ms, asked_with).await?
            }
            None => {
                self.complete(&mut granted, &asked_with.user_info, now_ms).await?;
                let mut claims = granted.claims();
                if !name.is_empty() {
                    let called = if grant == Grant::Client { "client_id" } else { "username" };
                    claims.entry(called).or_insert_with(|| name.into());
                }
                self.verification.admit(&claims, &granted.evidence())?
            }
        };
        let (verification, name) = (&self.verification, grant.name());
        let handed =
            self.action.handed(verification, name, &granted.tokens, asked_with.introspection, now_ms).await?;
        Ok(Admitted { admission, tokens: granted.tokens, grant, handed })
    }

    /// The attempt to prove a name, where that is guarded. Refresh tokens are too long to be guessed.
    fn attempt(&self, cx: &Access<'_>, brought: &Brought) -> Option<Attempt> {
        let Brought::Login { name, .. } = brought else { return None };
        // As many attempts, however the name is written: to providers that may make no difference.
        let name = name.trim().to_lowercase();
        Some(self.guard.as_ref()?.attempt(name.as_bytes(), cx.client.ip, cx.steady_ms()))
    }

    /// What the provider says, unless too many were wrong before.
    async fn guarded<T>(
        &self,
        worker: usize,
        attempt: Option<Attempt>,
        asked: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let Some((guard, attempt)) = self.guard.as_ref().zip(attempt) else { return asked.await };
        let begun = guard.begin(worker, attempt).await.map_err(Refusal::LockedOut)?;
        let said = asked.await;
        match &said {
            Ok(_) | Err(Refusal::Invalid(_)) => {
                begun.settle(worker, Outcome::of(&said)).await.map_err(Refusal::LockedOut)?;
            }
            Err(_) => begun.undecided(),
        }
        said
    }

    /// The tokens, and what they were given for. What may be a password is tried as one first.
    async fn tokens_for(
        &self,
        credentials: &Credentials,
        brought: &Brought,
        asked_with: &AskedWith,
        now_ms: u64,
    ) -> Result<(TokenSet, Grant), Refusal> {
        let of_client = &asked_with.tokens;
        let (name, secret, password, client) = match brought {
            Brought::Refresh(token) => {
                let tokens = self.tokens.refresh(token, Refreshing::Caller, of_client, now_ms).await?;
                return Ok((tokens, Grant::Refresh));
            }
            Brought::Login { name, secret, password, client } => (name, secret, *password, *client),
        };
        let salt = credentials.salt.as_bytes();
        if password {
            let form = pairs([("grant_type", "password"), ("username", name), ("password", secret)]);
            let key = [&b"password"[..], salt, name.as_bytes(), secret.as_bytes()];
            match self.tokens.obtain(&key, form, None, of_client, now_ms).await {
                // Whether the gateway may ask about passwords at all is nothing to a client that brings its own secret.
                Err(Refusal::Invalid(_) | Refusal::Unavailable) if client => {}
                outcome => return outcome.map(|tokens| (tokens, Grant::Password)),
            }
        }
        let form = pairs([("grant_type", "client_credentials")]);
        let key = [&b"client"[..], salt, name.as_bytes(), secret.as_bytes()];
        let tokens = self.tokens.obtain(&key, form, Some((name, secret)), of_client, now_ms).await?;
        Ok((tokens, Grant::Client))
    }
}

fn argument(arguments: &[&[u8]], name: &str) -> Option<Vec<u8>> {
    arguments
        .iter()
        .find_map(|arguments| query::values(arguments, name).next())
        .map(std::borrow::Cow::into_owned)
}

/// A text that is neither empty nor too long.
fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty() && text.len() <= LONGEST)
}
