//! Sending people to the provider to log in (OpenID Connect Core 3.1.2.1, RFC 7636, RFC 9126).

mod action;
mod arrival;
mod pending;
mod signed;
mod site;

use std::sync::Arc;

use plugin::flow::Resume;
use plugin::{Access, BuildError, Exchange, Flow, Headers, Known, query};

use super::client::{self, SignIn};
use super::config::Config;
use super::exchange::{TokenEndpoint, pairs};
use super::http::{Address, Http, Pairs, form_of};
use super::once::Once;
use super::provider::{Endpoint, Issuer, Provider};
use super::refusal::Refusal;
use super::{Inner, Setup};
use pending::{Pending, PendingLogins};
use signed::RequestSigner;

pub(super) use action::Action;
pub(super) use arrival::Arrival;

/// Logins at the provider.
pub(super) struct Login {
    client: String,
    http: Arc<Http>,
    provider: Provider,
    /// The provider says what it wants; all of a pseudo issuer stands in the configuration.
    is_described: bool,
    endpoint: Endpoint,
    pushed: Endpoint,
    /// Whether requests are pushed; as the provider wants it without.
    pushes: Option<bool>,
    pushing_as: SignIn,
    /// Whether requests are signed; as the provider wants it without.
    signs: Option<bool>,
    signer: Option<RequestSigner>,
    /// Answers come signed (JARM).
    expects_signed: bool,
    pending: PendingLogins,
    /// Logins that have been used.
    used: Once,
    redirect_uri: Option<String>,
    /// What every request has.
    arguments: Pairs,
    client_arguments: Vec<String>,
    proves_possession: bool,
    checks_nonce: bool,
    demands_id_token: bool,
    max_age_s: Option<f64>,
}

impl Login {
    pub(super) fn new(setup: &Setup<'_>, tokens: &TokenEndpoint) -> Result<Self, BuildError> {
        let &Setup { config, provider, cx, .. } = setup;
        let login = &config.login;
        site::warn(config, cx);
        let client = client::needed_id(config, "auth_methods")?;
        let owner = format!("{} {client}", config.provider.issuer);
        let method = login.pushed_authorization_request_endpoint_auth_method.as_deref();
        let pushing_as = SignIn::new(setup, ("pushed_authorization_request_endpoint_auth_method", method))?;
        let pushed = Endpoint::new(
            setup,
            "pushed_authorization_request_endpoint",
            login.pushed_authorization_request_endpoint.as_deref(),
            |told| told.pushed.as_ref(),
        )?;
        let pushed = pushing_as.endpoint(setup, pushed, "pushed_authorization_request_endpoint", None)?;
        Ok(Self {
            endpoint: Endpoint::for_browsers(
                "authorization_endpoint",
                login.authorization_endpoint.as_deref(),
                |told| told.authorization.as_ref(),
            )?,
            pushed,
            pushes: login.require_pushed_authorization_requests,
            http: pushing_as.http(setup),
            pushing_as,
            signs: login.require_signed_request_object,
            signer: RequestSigner::new(config, &client)?,
            expects_signed: is_signed(&login.response_mode),
            pending: PendingLogins::new(config, &owner, cx)?,
            used: Once::new("login", &owner, setup.places.once(), cx.services),
            redirect_uri: client::first(&login.redirect_uri),
            arguments: arguments(config, &client, tokens),
            client_arguments: login.authorization_query_args_client.clone().unwrap_or_default(),
            proves_possession: login.require_proof_key_for_code_exchange != Some(false),
            checks_nonce: login.verify_nonce,
            demands_id_token: config.grants.scopes.iter().any(|scope| scope == "openid"),
            max_age_s: login.max_age,
            client,
            provider: provider.clone(),
            is_described: !config.provider.using_pseudo_issuer,
        })
    }

    /// Takes the cookies of logins under way out of the request.
    pub(super) fn hide(&self, request: &mut Headers) {
        self.pending.hide(request);
    }

    /// Sends the browser to the provider.
    pub(super) fn begin(&self, inner: &Arc<Inner>, cx: &mut Access<'_>) -> Flow {
        let redirect_uri = self.redirect_uri.clone().unwrap_or_else(|| own_address(cx));
        let Some(pending) = Pending::new(cx, redirect_uri) else {
            return inner.telling.refuse(cx, &Refusal::Unavailable);
        };
        let arguments = self.arguments_of(&pending, cx);
        let (inner, now_s) = (inner.clone(), pending.begun_s);
        Flow::wait(async move {
            let location = match inner.login() {
                Some(login) => login.location(&inner, arguments, now_s).await,
                None => Err(Refusal::Unavailable),
            };
            let resume: Resume = Box::new(move |cx| match (location, inner.login()) {
                (Ok(location), Some(login)) => login.send(&inner, cx, &pending, &location),
                _ => inner.telling.refuse(cx, &Refusal::Unavailable),
            });
            resume
        })
    }

    fn arguments_of(&self, pending: &Pending, exchange: &Exchange) -> Pairs {
        let mut arguments = self.arguments.clone();
        arguments.extend(pairs([
            ("redirect_uri", &pending.redirect_uri),
            ("state", &pending.state),
            ("nonce", &pending.nonce),
        ]));
        if self.proves_possession {
            arguments
                .extend(pairs([("code_challenge", &pending.challenge()), ("code_challenge_method", "S256")]));
        }
        let asked = exchange.request.query().unwrap_or_default();
        for name in &self.client_arguments {
            let is_own = arguments.iter().any(|(own, _)| own == name);
            if let Some(value) = query::values(asked, name).next().filter(|_| !is_own) {
                arguments.push((name.clone(), String::from_utf8_lossy(&value).into_owned()));
            }
        }
        arguments
    }

    /// Where the browser is sent.
    async fn location(&self, inner: &Inner, mut arguments: Pairs, now_s: u64) -> Result<String, Refusal> {
        let known = match self.is_described {
            true => Some(self.provider.obtain().await.map_err(|_| Refusal::Unavailable)?),
            false => None,
        };
        let nothing = Issuer::default();
        let said = known.as_ref().map_or(&nothing, |known| &known.content);
        let endpoint = self.endpoint.of(said).ok_or(Refusal::Unavailable)?.to_string();
        if self.signs.unwrap_or(said.wants_signed) {
            let issuer = said.name.as_deref().or_else(|| inner.verification.first_issuer());
            let issuer = issuer.unwrap_or_default();
            let signed = self.signer.as_ref().and_then(|signer| signer.sign(&arguments, issuer, now_s));
            arguments = signed.ok_or(Refusal::Unavailable)?;
        }
        if self.pushes.unwrap_or(said.wants_pushed) {
            let address = self.pushed.of(said).ok_or(Refusal::Unavailable)?;
            arguments = self.push(address, arguments, now_s).await?;
        }
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{separator}{}", form_of(&arguments)))
    }

    /// What is left to be said by the browser (RFC 9126 2.2, 4).
    async fn push(&self, address: &Address, mut arguments: Pairs, now_s: u64) -> Result<Pairs, Refusal> {
        let mut headers = Pairs::new();
        let mut credentials = Pairs::new();
        self.pushing_as.add(address, now_s, &mut credentials, &mut headers);
        arguments.extend(credentials.into_iter().filter(|(name, _)| name != "client_id"));
        match self.http.post_once(address, &arguments, &headers).await {
            Ok(given) if matches!(given.status, 200 | 201) => {
                let reference = given.content["request_uri"].as_str().ok_or(Refusal::Unavailable)?;
                Ok(pairs([("client_id", &self.client), ("request_uri", reference)]))
            }
            other => {
                let (status, error) = match &other {
                    Ok(given) => (given.status, given.content["error"].as_str()),
                    Err(error) => (0, Some(error.as_str())),
                };
                tracing::debug!(status, error, "a provider takes no pushed request");
                Err(Refusal::Unavailable)
            }
        }
    }

    fn send(&self, inner: &Inner, cx: &mut Access<'_>, pending: &Pending, location: &str) -> Flow {
        let mut lines = Headers::new();
        if !self.pending.add(cx, pending, &mut lines) {
            return inner.telling.refuse(cx, &Refusal::Unavailable);
        }
        cx.answer(302)
            .header("Location", location.as_bytes())
            .header("Cache-Control", b"no-store")
            .headers(&lines)
            .empty()
    }
}

/// Whether answers of this mode are tokens (JWT Secured Authorization Response Mode 2.3).
fn is_signed(mode: &str) -> bool {
    mode == "jwt" || mode.ends_with(".jwt")
}

/// What every request for a login says.
fn arguments(config: &Config, client: &str, tokens: &TokenEndpoint) -> Pairs {
    let login = &config.login;
    let mut arguments = pairs([("response_type", "code"), ("client_id", client), ("scope", tokens.scope())]);
    if login.response_mode != "query" {
        arguments.extend(pairs([("response_mode", &login.response_mode)]));
    }
    if let Some(audience) = tokens.audience() {
        arguments.extend(pairs([("audience", audience)]));
    }
    if let Some(max_age) = login.max_age {
        arguments.extend(pairs([("max_age", &(max_age as u64).to_string())]));
    }
    arguments
        .extend(super::pairs(&login.authorization_query_args_names, &login.authorization_query_args_values));
    arguments
}

/// The address of the request as the client knows it, without its query.
pub(super) fn own_address(exchange: &Exchange) -> String {
    format!("{}{}", own_origin(exchange), String::from_utf8_lossy(exchange.request.path()))
}

/// The same without its path.
pub(super) fn own_origin(exchange: &Exchange) -> String {
    let headers = &exchange.request.headers;
    let trusted = |name: Known| headers.known(name).filter(|_| exchange.client.trusted);
    let host = trusted(Known::XForwardedHost).or_else(|| headers.known(Known::Host));
    format!("{}://{}", exchange.scheme.as_str(), String::from_utf8_lossy(host.unwrap_or_default()))
}

/// `address` with further arguments in its query.
pub(super) fn with_arguments(address: &str, arguments: &Pairs) -> String {
    if arguments.is_empty() {
        return address.to_owned();
    }
    let (address, fragment) =
        address.split_once('#').map_or((address, None), |(bare, rest)| (bare, Some(rest)));
    let separator = if address.contains('?') { '&' } else { '?' };
    let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
    format!("{address}{separator}{}{fragment}", form_of(arguments))
}
