#![doc = include_str!("doc.md")]

mod admin;
mod authorize;
mod book;
mod config;
mod database;
mod issue;
mod parameters;
mod pkce;
mod provision;
mod reply;
mod secret;
mod shared;
mod store;
mod token;
mod tokens;

use std::sync::Arc;

use plugin::admin::Endpoint;
use plugin::confidential::Places;
use plugin::identity::Anonymous;
use plugin::lockout::Guard;
use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::{
    Access, Build, BuildError, Exchange, Flow, Known, Method, Phase, Phases, Plugin, Resume, Scheme, Scopes,
    query,
};
use serde_json::json;
use uuid::Uuid;

use config::{Clients, Config, Oauth2Credential};
use parameters::{Form, Parameters};
use pkce::Pkce;
use reply::{Problem, Reply, send};
use secret::{Hash, hash};
use shared::SharedTokens;
use store::{Store, Token};
use tokens::{Tokens, Trouble};

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

/// Under which name the store of the process is kept; that of a Redis has it before its own.
const STORE: &str = "oauth2";
/// The file of the database, beside that of usage.
const FILE: &str = "oauth2.db";
/// The argument that may hold a token.
const ACCESS_TOKEN: &str = "access_token";
const NO_DATABASE: &str = "oauth2 keeps its tokens beside the database of usage: set KONG_USAGE_DATABASE to a file that \
                           outlives the process, or KONG_PREFIX to a folder that does";

/// The room, ready to run.
pub struct Oauth2(Arc<Server>);

/// What is behind it: what waits holds it as well.
struct Server {
    grants: Grants,
    scopes: Option<Vec<String>>,
    mandatory_scope: bool,
    provision_key: Option<Hash>,
    token_seconds: u64,
    refresh_seconds: u64,
    keeps_refresh_token: bool,
    hide: bool,
    terminated_elsewhere: bool,
    global: bool,
    auth_header: String,
    pkce: Pkce,
    challenge: String,
    challenge_with_error: String,
    anonymous: Anonymous,
    clients: Arc<Clients>,
    guard: Option<Arc<Guard>>,
    /// None where a configuration is only checked.
    tokens: Option<Arc<Opened>>,
}

/// The place for tokens, or why there is none.
struct Opened(Result<Tokens, String>);

/// Parameters of the endpoints and of the addresses that users are sent to, that nobody else may know.
const CONFIDENTIAL: [&str; 7] =
    [ACCESS_TOKEN, "client_secret", "code", "code_verifier", "password", "provision_key", "refresh_token"];

/// Which grants are given.
struct Grants {
    code: bool,
    implicit: bool,
    client: bool,
    password: bool,
}

impl Plugin for Oauth2 {
    const NAME: &'static str = "oauth2";
    const PRIORITY: i64 = 1400;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = admin::ENDPOINTS;
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![Oauth2Credential::entity_schema()]
    }

    fn credentials(config: &Config, places: &mut Places) {
        places.header(&config.auth_header_name);
        CONFIDENTIAL.iter().for_each(|name| places.argument(name));
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        config.check()?;
        let realm = config.realm.as_ref().map(|realm| format!("realm=\"{realm}\""));
        let error =
            "error=\"invalid_token\", error_description=\"The access token is invalid or has expired\"";
        let challenge = |parts: &[Option<&str>]| {
            let parts: Vec<&str> = parts.iter().copied().flatten().collect();
            format!("Bearer {}", parts.join(", ")).trim_end().to_owned()
        };
        Ok(Self(Arc::new(Server {
            challenge: challenge(&[realm.as_deref()]),
            challenge_with_error: challenge(&[realm.as_deref(), Some(error)]),
            grants: Grants {
                code: config.enable_authorization_code,
                implicit: config.enable_implicit_grant,
                client: config.enable_client_credentials,
                password: config.enable_password_grant,
            },
            tokens: open(&config, cx)?,
            guard: config.brute_force_protection.guard(cx, Self::NAME)?,
            scopes: config.scopes,
            mandatory_scope: config.mandatory_scope,
            provision_key: config.provision_key.filter(|key| !key.is_empty()).map(|key| hash(key.as_bytes())),
            token_seconds: config.token_expiration as u64,
            refresh_seconds: config.refresh_token_ttl as u64,
            keeps_refresh_token: config.reuse_refresh_token || config.persistent_refresh_token,
            hide: config.hide_credentials,
            terminated_elsewhere: config.accept_http_if_already_terminated,
            global: config.global_credentials,
            auth_header: config.auth_header_name,
            pkce: Pkce::named(&config.pkce),
            anonymous: Anonymous::resolve(config.anonymous.as_deref(), cx),
            clients: cx.shared(Clients::new)?,
        })))
    }
}

/// Opens the place for tokens; none where a configuration is only checked.
fn open(config: &Config, cx: &Build<'_>) -> Result<Option<Arc<Opened>>, BuildError> {
    if config.token_storage == "redis" {
        let settings = config.redis.settings("config.redis")?;
        let key = format!("{STORE} {}", settings.fingerprint());
        let store = plugin::redis::Store::open(cx, settings)?;
        let open = || Opened(Ok(Tokens::Shared(SharedTokens(store))));
        return Ok((!cx.services.dry_run).then(|| cx.services.keep(&key, open)));
    }
    if cx.services.dry_run { Ok(None) } else { open_own(cx).map(Some) }
}

fn open_own(cx: &Build<'_>) -> Result<Arc<Opened>, BuildError> {
    let Some(file) = plugin::embedded::file(cx.services, FILE) else {
        return Err(BuildError::new("name", NO_DATABASE));
    };
    let opened =
        cx.services.keep(STORE, || Opened(Store::open(&file, cx.services.clock.clone()).map(Tokens::Own)));
    match &opened.0 {
        Ok(_) => Ok(opened),
        Err(error) => Err(BuildError::new("name", format!("tokens cannot be kept: {error}"))),
    }
}

impl Phases for Oauth2 {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let server = &self.0;
        if server.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let path = cx.request.path();
        let is_token = path.ends_with(b"/oauth2/token");
        if is_token || path.ends_with(b"/oauth2/authorize") {
            return server.serve(cx, is_token);
        }
        if server.needs_body(cx) {
            return Flow::ReadBody;
        }
        server.authenticate(cx)
    }
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    Invalid,
}

impl Server {
    fn serve(self: &Arc<Self>, cx: &mut Access<'_>, is_token: bool) -> Flow {
        if cx.request.method != Method::Post {
            let name = if is_token { "token" } else { "authorization" };
            let method = String::from_utf8_lossy(cx.request.method.as_str().as_bytes()).into_owned();
            let description = format!("The HTTP method {method} is invalid for the {name} endpoint");
            let problem = Problem { status: 405, ..Problem::new("invalid_method", description) };
            return send(cx, &Reply::problem(&problem, None));
        }
        if cx.body().is_none() && Form::of(&cx.request.headers).is_some() {
            return Flow::ReadBody;
        }
        if is_token { token::token(self, cx) } else { authorize::authorize(self, cx) }
    }

    fn authenticate(self: &Arc<Self>, cx: &mut Access<'_>) -> Flow {
        let text = match self.find(cx) {
            Ok(found) => found,
            Err(refusal) => return self.turn_away(cx, refusal),
        };
        if self.hide {
            self.hide(cx);
        }
        let now = cx.record.started_ms / 1000;
        match self.tokens() {
            Ok(Tokens::Own(store)) => {
                let found = store.find(&hash(text.as_bytes()), now);
                self.admit(cx, found.as_deref())
            }
            _ => self.ask_and_admit(cx, text, now),
        }
    }

    /// Lets in by a token that others know of. Where they do not answer nobody gets in, not even as the anonymous
    /// consumer: the token may be a good one.
    fn ask_and_admit(self: &Arc<Self>, cx: &Access<'_>, text: String, now: u64) -> Flow {
        let (server, worker) = (self.clone(), cx.worker.index);
        Flow::wait(async move {
            let found = match server.tokens() {
                Ok(tokens) => tokens.find(worker, &text, now).await,
                Err(_) => Err(Trouble::Silent),
            };
            let resume: Resume = Box::new(move |cx| match found {
                Ok(token) => server.admit(cx, token.as_deref()),
                Err(_) => send(cx, &Reply::problem(&Problem::unknown_for_now(), None)),
            });
            resume
        })
    }

    /// Lets a request pass with its token, if that is one for it.
    fn admit(&self, cx: &mut Access<'_>, token: Option<&Token>) -> Flow {
        let service = cx.matched.as_ref().and_then(|matched| Some(matched.service.as_ref()?.id));
        let applies = |token: &&Token| match token.grant.service {
            Some(id) => Some(id) == service.or(Some(Uuid::nil())),
            None => self.global,
        };
        let grant = token.filter(applies).map(|token| &token.grant);
        let client = grant.and_then(|grant| Some((grant, self.clients.find(grant.credential)?)));
        let Some((grant, client)) = client else { return self.turn_away(cx, Refusal::Invalid) };
        cx.authenticate(client.caller.clone());
        cx.tell_identity(Known::XAuthenticatedScope, grant.scope.as_ref().map(|scope| scope.as_bytes()));
        cx.tell_identity(Known::XAuthenticatedUserId, grant.user.as_ref().map(|user| user.as_bytes()));
        Flow::Next
    }

    fn turn_away(&self, cx: &mut Access<'_>, refusal: Refusal) -> Flow {
        self.anonymous.or_refuse(cx, |cx| self.refuse(cx, refusal))
    }

    /// Whether only the body, which has not been read, can hold the token.
    fn needs_body(&self, cx: &Access<'_>) -> bool {
        cx.body().is_none()
            && !cx.request.headers.contains(&self.auth_header)
            && matches!(cx.request.method, Method::Post | Method::Put | Method::Patch)
            && Form::of(&cx.request.headers).is_some()
            && query::values(cx.request.query().unwrap_or_default(), ACCESS_TOKEN).next().is_none()
    }

    /// The token of a request (RFC 6750 2).
    fn find(&self, cx: &Access<'_>) -> Result<String, Refusal> {
        let mut values = cx.request.headers.all(&self.auth_header);
        if let Some(value) = values.next() {
            // The service might take another than the one that is looked at here.
            if values.next().is_some() {
                return Err(Refusal::Invalid);
            }
            let text = std::str::from_utf8(value).map_err(|_| Refusal::Invalid)?;
            let mut words = text.split_ascii_whitespace();
            let (scheme, token) = (words.next().unwrap_or_default(), words.next());
            let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
            let token = match (token, words.next()) {
                (Some(token), None) if known => token,
                _ => return Err(Refusal::Invalid),
            };
            // Nor may there be another one in the query (RFC 6750 2). A body may be about anything.
            let mut others = query::values(cx.request.query().unwrap_or_default(), ACCESS_TOKEN);
            let same = others.all(|other| *other == *token.as_bytes());
            return if same { Ok(token.to_owned()) } else { Err(Refusal::Invalid) };
        }
        let found = Parameters::new(cx).find(ACCESS_TOKEN).map_err(|_| Refusal::Invalid)?;
        found.ok_or(Refusal::Missing)
    }

    /// Takes the token out of the request.
    fn hide(&self, cx: &mut Access<'_>) {
        if let Some(rest) = query::without(&cx.upstream.query, ACCESS_TOKEN) {
            cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
        }
        if cx.request.headers.contains(&self.auth_header) {
            cx.headers().remove(&self.auth_header);
            return;
        }
        let rest = match (Form::of(&cx.request.headers), cx.body()) {
            (Some(Form::UrlEncoded), Some(body)) => query::without(body, ACCESS_TOKEN),
            (Some(Form::Json), Some(body)) => plugin::object::Object::parse(body).and_then(|mut object| {
                object.remove(ACCESS_TOKEN);
                object.is_changed().then(|| object.to_json())
            }),
            _ => None,
        };
        if let Some(rest) = rest {
            cx.set_body(rest);
        }
    }

    fn refuse(&self, cx: &mut Access<'_>, refusal: Refusal) -> Flow {
        let (error, description, challenge) = match refusal {
            Refusal::Missing => ("invalid_request", "The access token is missing", &self.challenge),
            Refusal::Invalid => {
                ("invalid_token", "The access token is invalid or has expired", &self.challenge_with_error)
            }
        };
        let body = json!({ "error": error, "error_description": description });
        cx.answer(401).header("WWW-Authenticate", challenge.as_bytes()).json(&body)
    }

    fn tokens(&self) -> Result<&Tokens, Problem> {
        self.tokens.as_ref().and_then(|opened| opened.0.as_ref().ok()).ok_or_else(Problem::full)
    }

    /// The service that tokens made for this request are for; none for all. A route without one has the nil id.
    fn service(&self, exchange: &Exchange) -> Option<Uuid> {
        let service = exchange.matched.as_ref().and_then(|matched| matched.service.as_ref());
        (!self.global).then(|| service.map_or(Uuid::nil(), |service| service.id))
    }

    fn needs_tls(&self, exchange: &Exchange) -> Result<(), Problem> {
        let here = exchange.client.scheme == Scheme::Https;
        let before = self.terminated_elsewhere && exchange.scheme == Scheme::Https;
        if here || before {
            return Ok(());
        }
        Err(Problem::new("access_denied", "You must use HTTPS".to_owned()))
    }

    fn user(&self, parameters: &Parameters<'_>) -> Result<String, Problem> {
        let refused = |message: &str| Problem::new("invalid_authenticated_userid", message.to_owned());
        let user = parameters.find("authenticated_userid")?.filter(|user| !user.trim().is_empty());
        let user = user.ok_or_else(|| refused("Missing authenticated_userid parameter"))?;
        // It goes upstream in a header field.
        if user.chars().any(char::is_control) {
            return Err(refused("authenticated_userid has control characters"));
        }
        Ok(user)
    }

    /// The scope that is asked for, if all of it may be.
    fn scope(&self, parameters: &Parameters<'_>) -> Result<Option<String>, Problem> {
        let wanted = parameters.find("scope")?;
        let invalid = |message: String| Problem::new("invalid_scope", message);
        let (Some(wanted), Some(known)) = (&wanted, &self.scopes) else {
            return match wanted {
                None if self.mandatory_scope => Err(invalid("You must specify a scope".to_owned())),
                _ => Ok(None),
            };
        };
        let words: Vec<&str> = wanted.split_ascii_whitespace().collect();
        if let Some(unknown) = words.iter().find(|word| !known.iter().any(|scope| scope == *word)) {
            return Err(invalid(format!("\"{unknown}\" is an invalid scope")));
        }
        if words.is_empty() && self.mandatory_scope {
            return Err(invalid("You must specify a scope".to_owned()));
        }
        Ok((!words.is_empty()).then(|| words.join(" ")))
    }
}
