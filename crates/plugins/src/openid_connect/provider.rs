//! The provider: who it is, where it is asked, and the keys it signs with (OpenID Connect Discovery 1.0, RFC 8414).

use std::sync::Arc;
use std::time::Duration;

use plugin::jose::KeySet;
use plugin::remember::{Edition, Freshness, Published, Source};
use plugin::{Build, BuildError};
use serde_json::Value;

use super::Setup;
use super::config;
use super::http::{self, Address, Http};
use super::refusal::Refusal;

/// Where a discovery document is (OpenID Connect Discovery 1.0, 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// What a provider says about itself.
#[derive(Default)]
pub(super) struct Issuer {
    /// The issuer of its tokens; none where that is for the configuration to say.
    pub(super) name: Option<Box<str>>,
    pub(super) keys: KeySet,
    pub(super) endpoints: Endpoints,
    /// For who shows a certificate (RFC 8705 5).
    pub(super) with_certificate: Endpoints,
    /// It names itself in answers to logins (RFC 9207).
    pub(super) names_itself: bool,
    /// It takes requests for logins only if they are pushed (RFC 9126).
    pub(super) wants_pushed: bool,
    /// It takes them only if they are signed (RFC 9101 10.5).
    pub(super) wants_signed: bool,
    /// All of it, where the configuration is compared with it.
    pub(super) document: Value,
}

/// Where a provider is asked.
#[derive(Default)]
pub(super) struct Endpoints {
    pub(super) authorization: Option<Address>,
    pub(super) pushed: Option<Address>,
    pub(super) token: Option<Address>,
    pub(super) introspection: Option<Address>,
    pub(super) revocation: Option<Address>,
    pub(super) user_info: Option<Address>,
    pub(super) end_session: Option<Address>,
}

/// One of the addresses: as the configuration says, or else as the provider does.
pub(super) struct Endpoint {
    configured: Option<Address>,
    told: fn(&Endpoints) -> Option<&Address>,
    shows_certificate: bool,
}

impl Endpoint {
    /// `field` is where the configuration may have `text`.
    pub(super) fn new(
        setup: &Setup<'_>,
        field: &str,
        text: Option<&str>,
        told: fn(&Endpoints) -> Option<&Address>,
    ) -> Result<Self, BuildError> {
        let configured = text.map(|text| setup.http.address(setup.cx, field, text)).transpose()?;
        Ok(Self { configured, told, shows_certificate: false })
    }

    /// The same for who shows a certificate, in place of what was said; `field` is where the configuration may have `text`.
    pub(super) fn with_certificate(
        mut self,
        setup: &Setup<'_>,
        field: &str,
        text: Option<&str>,
    ) -> Result<Self, BuildError> {
        if let Some(text) = text {
            self.configured = Some(setup.http.address(setup.cx, field, text)?);
        }
        self.shows_certificate = true;
        Ok(self)
    }

    /// The same for an address to which browsers are sent.
    pub(super) fn for_browsers(
        field: &str,
        text: Option<&str>,
        told: fn(&Endpoints) -> Option<&Address>,
    ) -> Result<Self, BuildError> {
        let configured = text.map(|text| http::for_browsers(field, text)).transpose()?;
        Ok(Self { configured, told, shows_certificate: false })
    }

    /// The address, if there is one.
    pub(super) fn of<'a>(&'a self, issuer: &'a Issuer) -> Option<&'a Address> {
        let own = Some(&issuer.with_certificate).filter(|_| self.shows_certificate);
        let told = || own.and_then(self.told).or_else(|| (self.told)(&issuer.endpoints));
        self.configured.as_ref().or_else(told)
    }

    /// The address, once the provider has been asked where that is needed.
    pub(super) async fn find(&self, provider: &Provider) -> Result<Address, Refusal> {
        if let Some(address) = &self.configured {
            return Ok(address.clone());
        }
        let known = provider.obtain().await.map_err(|_| Refusal::Unavailable)?;
        self.of(&known.content).cloned().ok_or(Refusal::Unavailable)
    }

    /// The same where the field `field` makes it necessary: a provider of which only the name is known does not say it, and the
    /// configuration has to, as `address`.
    pub(super) fn needed_for(
        self,
        setup: &Setup<'_>,
        field: &str,
        address: &str,
    ) -> Result<Self, BuildError> {
        if self.configured.is_some() || !setup.config.provider.using_pseudo_issuer {
            return Ok(self);
        }
        let message = format!("needs '{address}': a pseudo issuer does not say where it is");
        Err(BuildError::new(format!("config.{field}"), message))
    }
}

/// A provider's description, kept fresh and over reloads.
pub(super) type Provider = Arc<Published<Issuer>>;

/// An edition of it.
pub(super) type Known = Arc<Edition<Issuer>>;

/// Where to ask.
struct Places {
    discovery: Option<Address>,
    /// In place of the keys that the discovery document names.
    keys: Option<Address>,
    further_keys: Vec<Address>,
    headers: Vec<(String, String)>,
    keeps_document: bool,
}

/// The provider of a configuration.
pub(super) fn provider(
    config: &config::Provider,
    http: &Arc<Http>,
    cx: &Build<'_>,
) -> Result<Provider, BuildError> {
    let places = Arc::new(Places::new(config, http, cx)?);
    let seconds = |number: f64| Duration::from_millis((number * 1_000.0) as u64);
    let freshness = Freshness {
        lifetime: seconds(config.cache_ttl),
        cool_down: seconds(config.rediscovery_lifetime),
        negative: config.cache_ttl_neg.map(seconds).filter(|negative| !negative.is_zero()),
    };
    let http = http.clone();
    let source: Source<Issuer> = Box::new(move || {
        let (places, http) = (places.clone(), http.clone());
        Box::pin(async move { ask(&places, &http).await })
    });
    let services = cx.services;
    // Where it is a secret, the reference to it is its name.
    let name = cx.config.without_secrets(config.issuer.clone());
    let make = || Published::new(("issuers", &name), source, freshness, services);
    // Providers with the same settings have everything in common, and no others anything.
    Ok(services.keep(&format!("openid-connect {:?}", cx.fingerprint::<config::Provider>()), make))
}

impl Places {
    fn new(config: &config::Provider, http: &Http, cx: &Build<'_>) -> Result<Self, BuildError> {
        let address = |field: &str, text: &str| http.address(cx, field, text);
        let discovery = match config.using_pseudo_issuer {
            true => None,
            false => Some(address("issuer", &discovery_address(&config.issuer))?),
        };
        let keys = config.jwks_endpoint.as_deref().map(|text| address("jwks_endpoint", text)).transpose()?;
        let further = config.extra_jwks_uris.iter().flatten();
        let further_keys =
            further.map(|text| address("extra_jwks_uris", text)).collect::<Result<Vec<_>, _>>()?;
        if discovery.is_none() && keys.is_none() && further_keys.is_empty() {
            let message = "a pseudo issuer publishes no keys: give 'jwks_endpoint' or 'extra_jwks_uris'";
            return Err(BuildError::new("config.using_pseudo_issuer", message));
        }
        let headers = super::pairs(&config.discovery_headers_names, &config.discovery_headers_values);
        let keeps_document = config.verify_parameters;
        Ok(Self { discovery, keys, further_keys, headers, keeps_document })
    }
}

/// The address of a provider's discovery document.
pub(super) fn discovery_address(issuer: &str) -> String {
    let issuer = issuer.trim_end_matches('/');
    if issuer.contains("/.well-known/") { issuer.to_owned() } else { format!("{issuer}{WELL_KNOWN}") }
}

async fn ask(places: &Places, http: &Http) -> Result<Issuer, String> {
    let document = match &places.discovery {
        Some(address) => http.json(address, &places.headers).await?,
        None => Value::Null,
    };
    let told = |name: &str| document[name].as_str();
    let keys = match (&places.keys, told("jwks_uri")) {
        (Some(address), _) => Some(address.clone()),
        (None, Some(text)) => Some(Address::parse(text).map_err(|message| format!("jwks_uri: {message}"))?),
        (None, None) if places.discovery.is_some() => {
            return Err("no 'jwks_uri' in its discovery document".into());
        }
        (None, None) => None,
    };
    let mut sets = Vec::new();
    for address in keys.iter().chain(&places.further_keys) {
        let text = http.get(address, &places.headers).await?;
        let set = KeySet::published(&text);
        sets.push(set.ok_or_else(|| format!("no JSON Web Key Set at {}", address.told()))?);
    }
    let keys = KeySet::joined(sets);
    if keys.is_empty() {
        return Err(match keys.problems().first() {
            Some(problem) => format!("no key that can be used: {problem}"),
            None => "no keys".to_owned(),
        });
    }
    let says = |name: &str| document[name].as_bool().unwrap_or(false);
    Ok(Issuer {
        name: told("issuer").map(Box::from),
        keys,
        endpoints: Endpoints::of(&document),
        with_certificate: Endpoints::of(&document["mtls_endpoint_aliases"]),
        names_itself: says("authorization_response_iss_parameter_supported"),
        wants_pushed: says("require_pushed_authorization_requests"),
        wants_signed: says("require_signed_request_object"),
        document: if places.keeps_document { document } else { Value::Null },
    })
}

impl Endpoints {
    fn of(document: &Value) -> Self {
        let endpoint = |name: &str| document[name].as_str().and_then(|text| Address::parse(text).ok());
        Self {
            authorization: endpoint("authorization_endpoint"),
            pushed: endpoint("pushed_authorization_request_endpoint"),
            token: endpoint("token_endpoint"),
            introspection: endpoint("introspection_endpoint"),
            revocation: endpoint("revocation_endpoint"),
            user_info: endpoint("userinfo_endpoint"),
            end_session: endpoint("end_session_endpoint"),
        }
    }
}
