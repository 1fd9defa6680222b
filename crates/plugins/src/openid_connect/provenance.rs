//! Whether a token is the provider's: by its signature, its issuer and its times (RFC 7515, RFC 8725).

use plugin::BuildError;
use plugin::jose::{Defect, Key, KeySet, Token};

use super::claims::{self, Claims};
use super::config::Config;
use super::provider::Known;
use super::refusal::Refusal;
use super::verify::{Signatures, Verification};

/// Bytes of the shortest secret that tokens may be signed with (RFC 7518 3.2).
const SHORTEST_SECRET: usize = 32;

impl Verification {
    /// What a token says, if it was made by the provider. `is_kind` judges what kind of token it says to be.
    pub(super) fn read(
        &self,
        token: &[u8],
        known: &Known,
        is_kind: fn(&str) -> bool,
        signatures: Signatures,
    ) -> Result<Token, Defect> {
        if [self.signatures, signatures].contains(&Signatures::Ignored) {
            return Token::without_verification(token);
        }
        let header = plugin::jose::Header::of(token)?;
        if !header.kind.as_deref().is_none_or(is_kind) {
            return Err(Defect::Malformed);
        }
        match header.algorithm.is_symmetric() {
            true if self.secrets.is_empty() => Err(Defect::Algorithm),
            true => Token::verify(token, &self.secrets).map_err(|defect| match defect {
                // No provider has further secrets to publish.
                Defect::UnknownKey => Defect::Signature,
                other => other,
            }),
            false => Token::verify(token, &known.content.keys),
        }
    }

    /// A token of another kind than those that callers bring, once all keys are known that can be.
    pub(super) async fn signed(
        &self,
        token: &[u8],
        is_kind: fn(&str) -> bool,
        signatures: Signatures,
    ) -> Result<(Token, Known), Refusal> {
        let known = self.provider.obtain().await.map_err(|_| Refusal::Unavailable)?;
        let invalid = |defect: Defect| Refusal::Invalid(defect.as_str());
        match self.read(token, &known, is_kind, signatures) {
            Err(Defect::UnknownKey) => {}
            outcome => return outcome.map(|token| (token, known)).map_err(invalid),
        }
        let newer = self.provider.newer_than(known.number).await;
        let newer = newer.ok_or(invalid(Defect::UnknownKey))?;
        self.read(token, &newer, is_kind, signatures).map(|token| (token, newer)).map_err(invalid)
    }

    /// What is wrong with the issuer or the times of a token.
    pub(super) fn fault(&self, claims: &Claims, known: &Known, now_ms: u64) -> Option<&'static str> {
        let is_endless = || (self.checks_claims && !claims.contains_key("exp")).then_some("no expiry");
        self.wrong_issuer(claims, known).or_else(|| self.untimely(claims, now_ms)).or_else(is_endless)
    }

    /// What is wrong with the issuer of a token.
    pub(super) fn wrong_issuer(&self, claims: &Claims, known: &Known) -> Option<&'static str> {
        if !self.checks_claims {
            return None;
        }
        let issuer = claims.get("iss").and_then(|issuer| issuer.as_str());
        let is_expected = issuer.is_some_and(|issuer| match (&self.issuers, &known.content.name) {
            (Some(allowed), _) => allowed.iter().any(|allowed| allowed == issuer),
            (None, Some(name)) => **name == *issuer,
            (None, None) => false,
        });
        (!is_expected).then_some("not an accepted issuer")
    }

    /// Who makes the tokens, where the configuration says so.
    pub(super) fn first_issuer(&self) -> Option<&str> {
        self.issuers.as_ref()?.first().map(String::as_str)
    }

    /// Whether the provider calls itself so (RFC 9207 2.4). One that is only a name here is called as its tokens say.
    pub(super) fn is_called(&self, issuer: &str, known: &Known) -> bool {
        match &known.content.name {
            Some(name) => **name == *issuer,
            None => self.issuers.iter().flatten().any(|allowed| allowed == issuer),
        }
    }

    /// What is wrong with the times of a token or of an answer about one.
    pub(super) fn untimely(&self, claims: &Claims, now_ms: u64) -> Option<&'static str> {
        let now_s = now_ms as f64 / 1_000.0;
        if self.checks_claims { claims::untimely(claims, now_s, self.leeway_s) } else { None }
    }
}

pub(super) fn issuers(config: &Config) -> Result<Option<Vec<String>>, BuildError> {
    let issuers = config.provider.issuers_allowed.clone().filter(|issuers| !issuers.is_empty());
    if config.provider.using_pseudo_issuer && config.tokens.verify_claims && issuers.is_none() {
        let message = "a pseudo issuer does not say who makes its tokens: list them in 'issuers_allowed'";
        return Err(BuildError::new("config.using_pseudo_issuer", message));
    }
    Ok(issuers)
}

pub(super) fn secrets(config: &Config) -> Result<KeySet, BuildError> {
    if !config.tokens.enable_hs_signatures {
        return Ok(KeySet::default());
    }
    let secrets = config.introspection.client_secret.iter().flatten();
    let long_enough: Vec<Key> = secrets
        .filter(|secret| secret.len() >= SHORTEST_SECRET)
        .map(|secret| Key::secret(None, secret.as_bytes()))
        .collect();
    if long_enough.is_empty() {
        let message = "'enable_hs_signatures' needs a 'client_secret' of 32 bytes or more (RFC 7518 3.2)";
        let is_there = config.introspection.client_secret.is_some();
        let field = if is_there { "config.client_secret" } else { "config.enable_hs_signatures" };
        return Err(BuildError::new(field, message));
    }
    Ok(KeySet::new(long_enough))
}
