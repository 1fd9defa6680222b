//! The provider: who it is, where it is asked, and the keys it signs with (OpenID Connect Discovery 1.0, RFC 8414).

use std::sync::Arc;
use std::time::Duration;

use plugin::jose::KeySet;
use plugin::jwks::{Edition, Freshness, Published, Source};
use plugin::{Build, BuildError};
use serde_json::Value;

use super::config;
use super::http::{Address, Http};

/// Where a discovery document is (OpenID Connect Discovery 1.0, 4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// What a provider says about itself.
pub(super) struct Issuer {
    /// The issuer of its tokens; none where that is for the configuration to say.
    pub(super) name: Option<Box<str>>,
    pub(super) keys: KeySet,
    pub(super) introspection: Option<Address>,
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
}

/// The provider of a configuration.
pub(super) fn provider(
    config: &config::Provider,
    http: &Arc<Http>,
    cx: &Build<'_>,
) -> Result<Provider, BuildError> {
    let places = Arc::new(Places::new(config, http, cx)?);
    let seconds = |number: f64| Duration::from_millis((number * 1_000.0) as u64);
    let freshness =
        Freshness { lifetime: seconds(config.cache_ttl), cool_down: seconds(config.rediscovery_lifetime) };
    let http = http.clone();
    let source: Source<Issuer> = Box::new(move || {
        let (places, http) = (places.clone(), http.clone());
        Box::pin(async move { ask(&places, &http).await })
    });
    let services = cx.services;
    let make =
        || Published::new(&config.issuer, source, freshness, services.clock.clone(), &services.figures);
    Ok(services.keep(&key(config), make))
}

/// What providers with the same settings have in common, and no others.
pub(super) fn key(config: &config::Provider) -> String {
    format!("openid-connect {config:?}")
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
        let headers = super::pairs(
            "discovery_headers",
            config.discovery_headers_names.as_deref(),
            config.discovery_headers_values.as_deref(),
        )?;
        Ok(Self { discovery, keys, further_keys, headers })
    }
}

fn discovery_address(issuer: &str) -> String {
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
        sets.push(set.ok_or_else(|| format!("no JSON Web Key Set at {address}"))?);
    }
    let keys = KeySet::joined(sets);
    if keys.is_empty() {
        return Err(match keys.problems().first() {
            Some(problem) => format!("no key that can be used: {problem}"),
            None => "no keys".to_owned(),
        });
    }
    let introspection = told("introspection_endpoint").and_then(|text| Address::parse(text).ok());
    Ok(Issuer { name: told("issuer").map(Box::from), keys, introspection })
}
