//! Whether the provider has what the configuration asks of it, by its discovery document (OpenID Connect Discovery 1.0, 3; RFC
//! 8414, 2). What the document does not speak of is not compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plugin::{Access, BuildError, Flow, Resume};
use serde_json::Value;

use super::client;
use super::config::Config;
use super::methods::Methods;
use super::provider::Provider;
use super::refusal::Refusal;
use super::{Inner, Setup};

/// What has to be in the document.
pub(super) struct Parameters {
    provider: Provider,
    wishes: Vec<Wish>,
    /// What was found out last: twice the number of the edition, and one more if it fits.
    found: AtomicU64,
}

/// What a field of the configuration wants of a member of the document.
struct Wish {
    field: &'static str,
    member: &'static str,
    wanted: Wanted,
}

enum Wanted {
    /// This, in a list.
    Listed(String),
    /// An address.
    Address,
    /// That it is not denied.
    Undenied,
    /// This text; a slash at its end does not count.
    Same(String),
}

/// Whether the configuration and the document go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Good,
    Bad,
    /// There is no document yet.
    Unknown,
}

impl Parameters {
    /// None where nobody wants to know.
    pub(super) fn new(setup: &Setup<'_>, methods: &Methods) -> Result<Option<Self>, BuildError> {
        let config = setup.config;
        if !config.provider.verify_parameters {
            return Ok(None);
        }
        if config.provider.using_pseudo_issuer {
            let message = "a pseudo issuer has no discovery document to be compared with";
            return Err(BuildError::new("config.verify_parameters", message));
        }
        let mut wishes = Wishes(Vec::new());
        wishes.add_issuer(config);
        wishes.add_logins(config, methods);
        wishes.add_tokens(config, methods);
        wishes.add_questions(config, methods);
        Ok(Some(Self { provider: setup.provider.clone(), wishes: wishes.0, found: AtomicU64::new(0) }))
    }

    /// By the document at hand. One that does not fit is looked for again when its time is over.
    fn fit(&self) -> Fit {
        let found = self.found.load(Ordering::Acquire);
        let verdict = |found: u64| if found & 1 == 1 { Fit::Good } else { Fit::Bad };
        if found & 1 == 1 && found >> 1 == self.provider.number() {
            return Fit::Good;
        }
        let Some(known) = self.provider.at_hand() else { return Fit::Unknown };
        if found >> 1 == known.number {
            return verdict(found);
        }
        let missing = self.wishes.iter().find_map(|wish| wish.unfulfilled(&known.content.document));
        if let Some(missing) = &missing {
            tracing::error!(missing, "a provider has not what the configuration asks of it");
        }
        let found = (known.number << 1) | u64::from(missing.is_none());
        self.found.store(found, Ordering::Release);
        verdict(found)
    }
}

impl Wish {
    /// What is missing, if anything is.
    fn unfulfilled(&self, document: &Value) -> Option<String> {
        let (field, member, said) = (self.field, self.member, &document[self.member]);
        match &self.wanted {
            Wanted::Listed(value) => {
                let listed = said.as_array()?;
                let is_there = listed.iter().any(|one| one == value);
                (!is_there).then(|| format!("config.{field}: no '{value}' among '{member}'"))
            }
            Wanted::Address => said.is_null().then(|| format!("config.{field}: no '{member}'")),
            Wanted::Undenied => (*said == false).then(|| format!("config.{field}: '{member}' is false")),
            Wanted::Same(value) => {
                let is_same = said.as_str().is_some_and(|said| said.trim_end_matches('/') == value);
                (!is_same).then(|| format!("config.{field}: another '{member}'"))
            }
        }
    }
}

/// Wishes as they are gathered.
struct Wishes(Vec<Wish>);

impl Wishes {
    fn add(&mut self, field: &'static str, member: &'static str, wanted: Wanted) {
        self.0.push(Wish { field, member, wanted });
    }

    fn list(&mut self, field: &'static str, member: &'static str, value: &str) {
        self.add(field, member, Wanted::Listed(value.to_owned()));
    }

    /// An address that the configuration does not have itself.
    fn address(&mut self, own: Option<&String>, member: &'static str) {
        if own.is_none() {
            self.add(member, member, Wanted::Address);
        }
    }

    /// A document has to be the one of who is asked for it (Discovery 4.3).
    fn add_issuer(&mut self, config: &Config) {
        let provider = &config.provider;
        if provider.issuers_allowed.is_none() && !provider.issuer.contains("/.well-known/") {
            let issuer = provider.issuer.trim_end_matches('/').to_owned();
            self.add("issuer", "issuer", Wanted::Same(issuer));
        }
    }

    fn add_logins(&mut self, config: &Config, methods: &Methods) {
        if !methods.authorization_code {
            return;
        }
        let login = &config.login;
        self.address(login.authorization_endpoint.as_ref(), "authorization_endpoint");
        self.list("response_type", "response_types_supported", "code");
        self.list("response_mode", "response_modes_supported", &login.response_mode);
        self.list("auth_methods", "grant_types_supported", "authorization_code");
        if login.require_proof_key_for_code_exchange != Some(false) {
            let field = "require_proof_key_for_code_exchange";
            self.list(field, "code_challenge_methods_supported", "S256");
        }
        if login.require_pushed_authorization_requests == Some(true) {
            let own = login.pushed_authorization_request_endpoint.as_ref();
            self.address(own, "pushed_authorization_request_endpoint");
        } else if login.require_signed_request_object == Some(true) {
            self.add("require_signed_request_object", "request_parameter_supported", Wanted::Undenied);
        }
    }

    fn add_tokens(&mut self, config: &Config, methods: &Methods) {
        let grants = &config.grants;
        let chosen = [
            (methods.password, "password"),
            (methods.client_credentials, "client_credentials"),
            (methods.refresh_token, "refresh_token"),
        ];
        let chosen = chosen.into_iter().filter(|(is_on, _)| *is_on && !methods.is_default);
        let before = self.0.len();
        for (_, grant) in chosen {
            self.list("auth_methods", "grant_types_supported", grant);
        }
        if grants.token_exchange.is_some() {
            let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
            self.list("token_exchange", "grant_types_supported", grant);
        }
        if self.0.len() == before && !methods.authorization_code {
            return;
        }
        for scope in &grants.scopes {
            self.list("scopes", "scopes_supported", scope);
        }
        self.address(grants.token_endpoint.as_ref(), "token_endpoint");
        let method = grants.token_endpoint_auth_method.as_deref();
        self.sign_in(config, method, "token_endpoint_auth_methods_supported");
    }

    fn add_questions(&mut self, config: &Config, methods: &Methods) {
        let (asking, grants) = (&config.introspection, &config.grants);
        if methods.introspection && !methods.is_default {
            self.address(asking.introspection_endpoint.as_ref(), "introspection_endpoint");
            let method = asking.introspection_endpoint_auth_method.as_deref();
            self.sign_in(config, method, "introspection_endpoint_auth_methods_supported");
        }
        if grants.search_user_info || methods.user_info && !methods.is_default {
            self.address(grants.userinfo_endpoint.as_ref(), "userinfo_endpoint");
        }
        if methods.session && config.login.logout_revoke {
            self.address(grants.revocation_endpoint.as_ref(), "revocation_endpoint");
            let method = grants.revocation_endpoint_auth_method.as_deref();
            self.sign_in(config, method, "revocation_endpoint_auth_methods_supported");
        }
        if config.possession.proof_of_possession_mtls == "strict" {
            let member = "tls_client_certificate_bound_access_tokens";
            self.add("proof_of_possession_mtls", member, Wanted::Undenied);
        }
    }

    /// How the gateway signs in, as it does without `method`.
    fn sign_in(&mut self, config: &Config, method: Option<&str>, member: &'static str) {
        let usual = client::first(&config.introspection.client_auth);
        self.list("client_auth", member, method.or(usual.as_deref()).unwrap_or("client_secret_basic"));
    }
}

impl Inner {
    /// What becomes of a request where the provider and the configuration do not go together, or that is not known yet; none if
    /// they do.
    pub(super) fn fits_provider(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        let parameters = self.parameters.as_ref()?;
        match parameters.fit() {
            Fit::Good => return None,
            Fit::Bad => return Some(self.conclude(cx, Err(Refusal::Unavailable))),
            Fit::Unknown => {}
        }
        let (inner, provider) = (self.clone(), parameters.provider.clone());
        Some(Flow::wait(async move {
            let known = provider.obtain().await;
            let resume: Resume = Box::new(move |cx| {
                let fit = inner.parameters.as_ref().filter(|_| known.is_ok()).map(Parameters::fit);
                match fit {
                    Some(Fit::Good) => inner.admit(cx),
                    _ => inner.conclude(cx, Err(Refusal::Unavailable)),
                }
            });
            resume
        }))
    }
}
