//! How the gateway signs in to the provider (OpenID Connect Core 9).

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plugin::jose::{Algorithm, Signer};
use plugin::outbound::OwnCertificate;
use plugin::{Build, BuildError};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Setup;
use super::config::Config;
use super::http::{Address, Http, Pairs, encode};
use super::provider::Endpoint;

/// Seconds that an assertion is good for.
const ASSERTION_S: u64 = 60;
/// RFC 7523 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The gateway's credentials at the provider. No form of them can be printed.
pub(super) struct SignIn {
    id: String,
    method: Method,
}

enum Method {
    /// The value of `Authorization`.
    Basic(String),
    Post(String),
    Assertion(Box<Signer>),
    /// The certificate of the connection (RFC 8705 2).
    Certificate,
    Nothing,
}

impl SignIn {
    /// `method` is what the configuration wants at one endpoint, in place of `client_auth`; `field` says so.
    pub(super) fn new(setup: &Setup<'_>, (field, method): (&str, Option<&str>)) -> Result<Self, BuildError> {
        let config = setup.config;
        let asking = &config.introspection;
        let id = needed_id(config, "auth_methods")?;
        let usual = first(&asking.client_auth);
        let field = match (method, &usual) {
            (Some(_), _) => field,
            (None, Some(_)) => "client_auth",
            (None, None) => "client_id",
        };
        let method = method.or(usual.as_deref()).unwrap_or("client_secret_basic");
        let lacks =
            |what: &str| BuildError::new(format!("config.{field}"), format!("'{method}' needs {what}"));
        let secret = || first(&asking.client_secret).ok_or_else(|| lacks("a 'client_secret'"));
        let method = match method {
            "client_secret_basic" => Method::Basic(basic(&id, &secret()?)),
            "client_secret_post" => Method::Post(secret()?),
            "client_secret_jwt" => {
                let (secret, name) = (secret()?, first(&asking.client_alg));
                let algorithm = Algorithm::named(name.as_deref().unwrap_or("HS256"));
                let signer =
                    algorithm.and_then(|algorithm| Signer::with_secret(algorithm, secret.as_bytes()));
                let message = "'client_secret_jwt' needs one of HS256, HS384 and HS512";
                Method::Assertion(Box::new(
                    signer.ok_or_else(|| BuildError::new("config.client_alg", message))?,
                ))
            }
            "private_key_jwt" => {
                let signer = signer(config)?.ok_or_else(|| lacks("a key in 'client_jwk'"))?;
                Method::Assertion(Box::new(signer))
            }
            "tls_client_auth" | "self_signed_tls_client_auth" if setup.shown.is_some() => Method::Certificate,
            "tls_client_auth" | "self_signed_tls_client_auth" => {
                return Err(lacks("the id of a certificate in 'tls_client_auth_cert_id'"));
            }
            _ => Method::Nothing,
        };
        Ok(Self { id, method })
    }

    /// The client's name.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Speaks with the provider as this one does.
    pub(super) fn http(&self, setup: &Setup<'_>) -> Arc<Http> {
        let shown = setup.shown.filter(|_| self.shows_certificate());
        shown.unwrap_or(setup.http).clone()
    }

    /// The address for it: `field` is where the configuration may have `text` for who shows a certificate.
    pub(super) fn endpoint(
        &self,
        setup: &Setup<'_>,
        usual: Endpoint,
        field: &str,
        text: Option<&str>,
    ) -> Result<Endpoint, BuildError> {
        match self.shows_certificate() {
            true => usual.with_certificate(setup, field, text),
            false => Ok(usual),
        }
    }

    fn shows_certificate(&self) -> bool {
        matches!(self.method, Method::Certificate)
    }

    /// A caller that brings an id and a secret of its own; `method` as in [`SignIn::new`].
    pub(super) fn of_caller(id: &str, secret: &str, method: &str) -> Self {
        let method = match method {
            "client_secret_post" => Method::Post(secret.to_owned()),
            _ => Method::Basic(basic(id, secret)),
        };
        Self { id: id.to_owned(), method }
    }

    /// Adds the credentials to what is sent to `endpoint`.
    pub(super) fn add(&self, endpoint: &Address, now_s: u64, form: &mut Pairs, headers: &mut Pairs) {
        let mut argument = |name: &str, value: &str| form.push((name.to_owned(), value.to_owned()));
        match &self.method {
            Method::Basic(value) => headers.push(("Authorization".to_owned(), value.clone())),
            Method::Post(secret) => {
                argument("client_id", &self.id);
                argument("client_secret", secret);
            }
            Method::Assertion(signer) => {
                let assertion = signer.sign(&self.assertion(endpoint, now_s)).unwrap_or_default();
                argument("client_id", &self.id);
                argument("client_assertion_type", ASSERTION_TYPE);
                argument("client_assertion", &assertion);
            }
            Method::Certificate | Method::Nothing => argument("client_id", &self.id),
        }
    }

    /// RFC 7523 3.
    fn assertion(&self, endpoint: &Address, now_s: u64) -> Map<String, Value> {
        let claims = json!({
            "iss": self.id,
            "sub": self.id,
            "aud": endpoint.to_string(),
            "jti": Uuid::new_v4().to_string(),
            "iat": now_s,
            "exp": now_s + ASSERTION_S,
        });
        match claims {
            Value::Object(claims) => claims,
            _ => Map::new(),
        }
    }
}

/// The first of several; the others belong to clients that are not used.
pub(super) fn first(list: &Option<Vec<String>>) -> Option<String> {
    list.as_ref()?.first().cloned()
}

/// The gateway's name at the provider.
pub(super) fn id(config: &Config) -> Option<String> {
    first(&config.introspection.client_id)
}

/// The same where `field` makes it necessary.
pub(super) fn needed_id(config: &Config, field: &str) -> Result<String, BuildError> {
    let message = "needs a 'client_id': the gateway asks the provider under a name of its own";
    id(config).ok_or_else(|| BuildError::new(format!("config.{field}"), message))
}

/// The certificate that the gateway shows where it signs in with one.
pub(super) fn certificate(config: &Config, cx: &Build<'_>) -> Result<Option<OwnCertificate>, BuildError> {
    let Some(id) = &config.possession.tls_client_auth_cert_id else { return Ok(None) };
    OwnCertificate::named(cx, "config.tls_client_auth_cert_id", id).map(Some)
}

/// Signs with the key of the configuration (RFC 7523), if it has one.
pub(super) fn signer(config: &Config) -> Result<Option<Signer>, BuildError> {
    let key = config.grants.client_jwk.as_ref().and_then(|keys| keys.first());
    let Some(key) = key else { return Ok(None) };
    let mut jwk = key.to_json();
    if jwk["alg"].is_null()
        && let Some(algorithm) = first(&config.introspection.client_alg)
    {
        jwk["alg"] = algorithm.into();
    }
    Signer::from_jwk(&jwk)
        .map(|signer| Some(signer.naming_certificate(&jwk)))
        .map_err(|problem| BuildError::new("config.client_jwk", format!("cannot sign: it is {problem}")))
}

/// RFC 6749 2.3.1: both are encoded as in a form before they are joined.
fn basic(id: &str, secret: &str) -> String {
    let mut pair = String::new();
    encode(id, &mut pair);
    pair.push(':');
    encode(secret, &mut pair);
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}
