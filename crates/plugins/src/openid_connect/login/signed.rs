//! Requests for logins that are signed, so that nobody on the way changes them (RFC 9101).

use plugin::BuildError;
use plugin::jose::{Algorithm, Signer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::client;
use super::super::config::Config;
use super::super::http::Pairs;

/// Seconds that a request is good for: as long as a browser takes to bring it.
const LIFETIME_S: u64 = 300;
/// What a browser says beside it (OpenID Connect Core 6.1).
const BESIDE: [&str; 3] = ["client_id", "response_type", "scope"];

/// Signs requests for logins.
pub(super) struct RequestSigner {
    client: String,
    signer: Signer,
}

impl RequestSigner {
    /// None where the configuration has nothing to sign with, unless it demands that.
    pub(super) fn new(config: &Config, client: &str) -> Result<Option<Self>, BuildError> {
        let signer = client::signer(config)?.or_else(|| {
            let secret = client::first(&config.introspection.client_secret)?;
            let name = client::first(&config.introspection.client_alg);
            let algorithm = Algorithm::named(name.as_deref().unwrap_or("HS256"))?;
            Signer::with_secret(algorithm, secret.as_bytes())
        });
        if signer.is_none() && config.login.require_signed_request_object == Some(true) {
            let message =
                "needs a key in 'client_jwk', or a 'client_secret' with one of HS256, HS384 and HS512";
            return Err(BuildError::new("config.require_signed_request_object", message));
        }
        Ok(signer.map(|signer| Self { client: client.to_owned(), signer }))
    }

    /// The request, signed, for `issuer`; none if the cryptography library fails.
    pub(super) fn sign(&self, arguments: &Pairs, issuer: &str, now_s: u64) -> Option<Pairs> {
        let mut claims: Map<String, Value> =
            arguments.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let own = json!({
            "iss": self.client, "aud": issuer, "iat": now_s, "nbf": now_s, "exp": now_s + LIFETIME_S,
            "jti": Uuid::new_v4().to_string(),
        });
        claims.extend(own.as_object()?.clone());
        let request = self.signer.sign_as("oauth-authz-req+jwt", &claims)?;
        let beside = arguments.iter().filter(|(name, _)| BESIDE.contains(&name.as_str())).cloned();
        Some(beside.chain([("request".to_owned(), request)]).collect())
    }
}
