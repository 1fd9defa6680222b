//! What the service gets: the claims, changed as the configuration says, under the gateway's signature.

use std::sync::Arc;
use std::time::Duration;

use plugin::authorization::TokenField;
use plugin::claims::said::Claims;
use plugin::jose::{Algorithm, Signer};
use plugin::keyring::{Fetch, KeyRing};
use plugin::remember::Freshness;
use plugin::{Build, BuildError};
use serde_json::{Value, json};

use super::config::{General, Token};
use super::endpoint::Endpoint;

/// Keys at an address are asked for after so long.
const USUAL_LIFETIME: Duration = Duration::from_secs(3600);
/// Least time between two questions for keys.
pub(super) const COOL_DOWN: Duration = Duration::from_secs(30);

/// How tokens are signed anew.
pub(super) struct Signing {
    pub(super) field: TokenField,
    pub(super) ring: Arc<KeyRing>,
    period: Option<Duration>,
    issuer: String,
    leeway_s: f64,
    removed: Vec<String>,
    added: Vec<(String, Value)>,
    set: Vec<(String, Value)>,
}

impl Signing {
    /// None where nothing is signed.
    pub(super) fn new(token: &Token, general: &General, cx: &Build<'_>) -> Result<Option<Self>, BuildError> {
        let settings = &token.settings;
        let field = field(token, "upstream_header", settings.upstream_header.as_deref())?;
        let Some(field) = field.filter(|_| settings.signing) else { return Ok(None) };
        let period = Duration::from_secs_f64(settings.keyset_rotate_period);
        let claims = |general: &plugin::model::Map<String>, own: &plugin::model::Map<String>| {
            let pairs = general.iter().chain(own.iter());
            pairs.map(|(name, value)| (name.clone(), read(value))).collect::<Vec<_>>()
        };
        Ok(Some(Self {
            field,
            ring: ring(token, cx)?,
            period: (!period.is_zero()).then_some(period),
            issuer: settings.issuer.clone(),
            leeway_s: settings.upstream_leeway,
            removed: settings.remove_claims.clone(),
            // The first to add a claim wins, the last to set it does.
            added: claims(&settings.add_claims, &general.add_claims),
            set: claims(&general.set_claims, &settings.set_claims),
        }))
    }

    /// Exchanges keys whose time is over.
    pub(super) fn keep_fresh(&self) {
        if let Some(period) = self.period {
            self.ring.exchange_after(period);
        }
    }

    /// The value of the field with a token that says what `claims` say, as far as the configuration lets it. None if the
    /// cryptography library fails.
    pub(super) fn sign(&self, signer: &Signer, claims: &Claims) -> Option<Box<[u8]>> {
        let mut claims = claims.clone();
        let former = claims.insert("iss".to_owned(), json!(self.issuer));
        if let Some(former) = former {
            claims.insert("original_iss".to_owned(), former);
        }
        if let Some(end) = claims.get("exp").and_then(Value::as_f64).filter(|_| self.leeway_s != 0.0) {
            claims.insert("exp".to_owned(), json!((end + self.leeway_s) as i64));
        }
        for name in &self.removed {
            claims.remove(name);
        }
        for (name, value) in &self.added {
            claims.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for (name, value) in &self.set {
            claims.insert(name.clone(), value.clone());
        }
        signer.sign(&claims).map(|token| self.field.value(token.as_bytes()))
    }
}

/// A header that the setting `short` names; none for an empty one.
pub(super) fn field(
    token: &Token,
    short: &str,
    setting: Option<&str>,
) -> Result<Option<TokenField>, BuildError> {
    let setting = setting.filter(|setting| !setting.is_empty());
    setting.map(TokenField::parse).transpose().map_err(|wrong| BuildError::new(token.field(short), wrong))
}

fn ring(token: &Token, cx: &Build<'_>) -> Result<Arc<KeyRing>, BuildError> {
    let settings = &token.settings;
    let name = token.field("signing_algorithm");
    let algorithm = Algorithm::named(&settings.signing_algorithm)
        .ok_or_else(|| BuildError::new(&*name, "is not known"))?;
    let keyset = &settings.keyset;
    let shown = ("keyset_client_certificate", &settings.keyset_client_certificate);
    let certificate = Endpoint::certificate(token, shown.0, shown.1, Some(keyset), cx)?;
    if !keyset.starts_with("http://") && !keyset.starts_with("https://") {
        let is_declared = cx.config.find("key_sets", keyset).is_some();
        if algorithm.is_symmetric() && !is_declared {
            let message =
                format!("nobody could check it: declare the secret in the entity '{keyset}' of key_sets");
            return Err(BuildError::new(name, message));
        }
        return KeyRing::open(cx, keyset, algorithm, &token.field("keyset"));
    }
    let endpoint = Endpoint::new(token, ("keyset", keyset), certificate, None, cx)?;
    let endpoint =
        Arc::new(endpoint.with_login(
            settings.keyset_client_username.as_deref(),
            settings.keyset_client_password.as_deref(),
        ));
    let lifetime = lifetime(settings.keyset_rotate_period);
    let freshness = Freshness { lifetime, cool_down: COOL_DOWN.min(lifetime), negative: None };
    let identity = endpoint.identity().to_owned();
    let fetch: Fetch = Box::new(move || {
        let endpoint = endpoint.clone();
        Box::pin(async move { endpoint.get().await })
    });
    Ok(KeyRing::at(cx, (keyset, &identity), algorithm, freshness, fetch))
}

/// How long keys are used before they are asked for again.
pub(super) fn lifetime(period_s: f64) -> Duration {
    if period_s > 0.0 { Duration::from_secs_f64(period_s) } else { USUAL_LIFETIME }
}

/// JSON as what it says, any other text as it is.
fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}
