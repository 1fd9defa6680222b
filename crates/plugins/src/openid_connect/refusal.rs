//! Why callers are refused, and what they are told (RFC 6750 3).

use plugin::jose::NAMES;
use plugin::lockout::LockedOut;
use plugin::{Access, Flow};
use serde_json::json;

use super::client;
use super::config::Config;
use super::http::host;
use super::possession::Demand;

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token.
    Missing,
    /// More than one token.
    Several,
    /// A token that proves nothing.
    Invalid(&'static str),
    /// A proof of possession that proves nothing, or none (RFC 9449 7.1).
    Unproven(&'static str),
    /// A proof needs a nonce, which is told (RFC 9449 9).
    WantsNonce,
    /// A token that is good, but not for this.
    Forbidden(&'static str),
    /// The provider cannot be asked.
    Unavailable,
    /// Too many were wrong before.
    LockedOut(LockedOut),
}

/// What callers are told.
pub(super) struct Telling {
    realm: Box<str>,
    unauthorized: Box<str>,
    forbidden: Box<str>,
    with_code: bool,
    /// Whether proofs with keys are asked for.
    keys: Demand,
    with_reason: bool,
    /// Where people are sent in place of a 401, a 403 and a 500.
    elsewhere: [Option<String>; 3],
}

impl Telling {
    /// The realm stands for the provider.
    pub(super) fn new(config: &Config) -> Self {
        let keys = Demand::of(&config.possession.proof_of_possession_dpop);
        let (realm, login, config) = (host(&config.provider.issuer), &config.login, &config.tokens);
        Self {
            realm: realm
                .chars()
                .filter(|&letter| letter.is_ascii_graphic() && !"\"\\".contains(letter))
                .collect(),
            unauthorized: config.unauthorized_error_message.as_str().into(),
            forbidden: config.forbidden_error_message.as_str().into(),
            with_code: config.expose_error_code,
            with_reason: config.display_errors,
            keys,
            elsewhere: [
                client::first(&login.unauthorized_redirect_uri),
                client::first(&login.forbidden_redirect_uri),
                client::first(&login.unexpected_redirect_uri),
            ],
        }
    }

    pub(super) fn refuse(&self, cx: &mut Access<'_>, refusal: &Refusal) -> Flow {
        if let Refusal::LockedOut(locked_out) = refusal {
            return locked_out.answer(cx);
        }
        let [unauthorized, forbidden, unexpected] = &self.elsewhere;
        let elsewhere = match refusal {
            Refusal::Unavailable => unexpected,
            Refusal::Forbidden(_) => forbidden,
            _ => unauthorized,
        };
        if let Some(elsewhere) = elsewhere {
            return cx
                .answer(302)
                .header("Location", elsewhere.as_bytes())
                .header("Cache-Control", b"no-store")
                .empty();
        }
        let (status, message, code, reason) = match refusal {
            Refusal::Missing => (401, &self.unauthorized, None, "no token"),
            Refusal::Several => (401, &self.unauthorized, Some("invalid_request"), "more than one token"),
            Refusal::Invalid(reason) => (401, &self.unauthorized, Some("invalid_token"), *reason),
            Refusal::Unproven(reason) => (401, &self.unauthorized, Some("invalid_dpop_proof"), *reason),
            Refusal::WantsNonce => {
                (401, &self.unauthorized, Some("use_dpop_nonce"), "a proof needs the nonce")
            }
            Refusal::Forbidden(reason) => (403, &self.forbidden, Some("insufficient_scope"), *reason),
            Refusal::Unavailable | Refusal::LockedOut(_) => {
                return cx.answer(500).message("An unexpected error occurred");
            }
        };
        let about_proof = matches!(refusal, Refusal::Unproven(_) | Refusal::WantsNonce);
        let challenge = self.challenge(code.filter(|_| self.with_code || about_proof), about_proof);
        let message = if self.with_reason { format!("{message} ({reason})") } else { message.to_string() };
        cx.answer(status)
            .header("WWW-Authenticate", challenge.as_bytes())
            .json(&json!({ "message": message }))
    }

    /// What is asked for: a bearer token, one with a proof, or either of them.
    fn challenge(&self, code: Option<&str>, about_proof: bool) -> String {
        let error = code.map_or_else(String::new, |code| format!(", error=\"{code}\""));
        let bearer = format!("Bearer realm=\"{}\"{error}", self.realm);
        let proven = || {
            let asymmetric = |name: &&&str| !name.starts_with("HS");
            let algorithms: Vec<&str> = NAMES.iter().filter(asymmetric).copied().collect();
            format!("DPoP realm=\"{}\"{error}, algs=\"{}\"", self.realm, algorithms.join(" "))
        };
        match self.keys {
            Demand::Off => bearer,
            Demand::Optional if !about_proof => format!("{}, {bearer}", proven()),
            Demand::Optional | Demand::Strict => proven(),
        }
    }
}
