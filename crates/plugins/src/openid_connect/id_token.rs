//! ID tokens: whether the provider has made them, for this client and this login (OpenID Connect Core 3.1.3.7).

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use plugin::jose::{Algorithm, Token, to_base64url};
use serde_json::Value;

use super::claims::{self, Claims, Reading};
use super::refusal::Refusal;
use super::verify::{Signatures, Verification};

/// What an ID token must be for.
#[derive(Default)]
pub(super) struct Expected<'a> {
    /// The client that asked for it.
    pub(super) client: &'a str,
    /// There has to be one.
    pub(super) demands_id_token: bool,
    /// The login that it is an answer to; none where it is no answer to one.
    pub(super) nonce: Option<&'a str>,
    /// Whom it has to be about.
    pub(super) subject: Option<&'a str>,
    /// When somebody has to have logged in at the provider, or later, in seconds since 1970.
    pub(super) authenticated_since_s: Option<f64>,
    pub(super) signatures: Signatures,
}

impl Verification {
    /// An ID token that came with the access token `access`, if it is good.
    pub(super) async fn id_token(
        &self,
        token: &str,
        access: &str,
        expected: &Expected<'_>,
        now_ms: u64,
    ) -> Result<Token, Refusal> {
        let (token, known) = self.signed(token.as_bytes(), is_id_token, expected.signatures).await?;
        if !self.checks_claims() {
            return Ok(token);
        }
        let fault = self
            .fault(&token.claims, &known, now_ms)
            .or_else(|| is_for_another(&token.claims, expected))
            .or_else(|| belongs_to_another(&token.claims, token.header.algorithm, access))
            .or_else(|| self.logged_in_long_ago(&token.claims, expected));
        fault.map_or(Ok(token), |fault| Err(Refusal::Invalid(fault)))
    }

    /// Core 3.1.2.1: how old a login may be when somebody is sent to the provider. What a person does there takes its time.
    fn logged_in_long_ago(&self, claims: &Claims, expected: &Expected<'_>) -> Option<&'static str> {
        let oldest = expected.authenticated_since_s? - self.leeway_s();
        let is_recent =
            claims.get("auth_time").and_then(Value::as_f64).is_some_and(|moment| moment >= oldest);
        (!is_recent).then_some("the login at the provider is too old")
    }
}

pub(super) fn is_id_token(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("jwt") || kind.eq_ignore_ascii_case("application/jwt")
}

fn is_for_another(claims: &Claims, expected: &Expected<'_>) -> Option<&'static str> {
    let audiences = claims::list(claims.get("aud"), Reading::Whole);
    if !audiences.contains(&expected.client) {
        return Some("an ID token for another client");
    }
    let party = claims.get("azp");
    if party.is_none() && audiences.len() > 1 || party.is_some_and(|party| *party != *expected.client) {
        return Some("an ID token that another client asked for");
    }
    let subject = claims.get("sub").and_then(Value::as_str);
    if subject.is_none_or(str::is_empty) || expected.subject.is_some() && subject != expected.subject {
        return Some("an ID token about another person");
    }
    if let Some(nonce) = expected.nonce
        && claims.get("nonce").and_then(Value::as_str) != Some(nonce)
    {
        return Some("an ID token of another login");
    }
    claims.get("iat").is_none().then_some("an ID token that does not say when it was made")
}

/// Core 3.1.3.6: the left half of the access token's hash.
fn belongs_to_another(claims: &Claims, algorithm: Algorithm, access: &str) -> Option<&'static str> {
    let wanted = claims.get("at_hash")?;
    let name = algorithm.name();
    let hash = match name.get(2..) {
        Some("256") => &SHA256,
        Some("384") => &SHA384,
        _ => &SHA512,
    };
    let hash = digest(hash, access.as_bytes());
    let half = to_base64url(&hash.as_ref()[..hash.as_ref().len() / 2]);
    (*wanted != half).then_some("an ID token of another access token")
}
