#![doc = include_str!("doc.md")]

mod secrets;
mod sources;
mod times;
mod token;

use std::sync::Arc;

use plugin::claims::WantedClaims;
use plugin::confidential::Places;
use plugin::identity::Anonymous;
use plugin::model::entity::Entity;
use plugin::model::{EntitySchema, Value};
use plugin::{Access, Build, BuildError, Flow, Method, Phase, Phases, Plugin, Scopes, record};
use serde_json::json;

use secrets::{Finding, Index, Secrets};
use sources::Sources;
use times::{Limits, TimeFault};
use token::{Defect, KeyClaim, Token};

#[cfg(test)]
pub(crate) mod tests;

record! {
    /// Lets callers in who bring a signed token of a consumer.
    pub struct Config {
        /// Query arguments in which a token is looked for.
        uri_param_names: plugin::model::Set<String> = ["jwt"];
        /// Cookies in which a token is looked for.
        cookie_names: plugin::model::Set<String> = [];
        /// Request headers in which a token is looked for, after the word `Bearer`.
        header_names: plugin::model::Set<String> = ["authorization"], [each(header_name())];
        /// The claim, or else the header field of the token, that names the credential by its `key`.
        key_claim_name: String = "iss", [len_min(1)];
        /// Whether the secrets of credentials are Base64 text of the real secret.
        secret_is_base64: bool = false;
        /// Claims about time that are checked: `exp`, the time from which the token is no longer valid, and `nbf`, the
        /// time before which it is not yet valid. Both are looked at only when named here.
        claims_to_verify: Option<plugin::model::Set<String>>, [each(one_of(&["exp", "nbf"]))];
        /// Id or username of a consumer that stands for callers without a valid token. Without it they are refused.
        anonymous: Option<String>;
        /// Whether the token is taken out of the request before it goes upstream.
        hide_credentials: bool = false, [extension()];
        /// Whether `OPTIONS` requests need a token too. Browsers send none with a CORS preflight.
        run_on_preflight: bool = true;
        /// Seconds that `exp` may lie in the future at most, up to a year; 0 sets no limit. Needs `exp` in
        /// `claims_to_verify`.
        maximum_expiration: f64 = 0, [between(0, 31_536_000)];
        /// Seconds by which the clock of who makes tokens may differ from the gateway's: a token is good for so long after its
        /// `exp`, and before its `nbf`.
        leeway: f64 = 0, [between(0, 86_400), extension()];
        /// Protection space named in the `WWW-Authenticate` header of a refusal.
        realm: Option<String>, [matches(r#"^[^"\\[:cntrl:]]*$"#)];
    }
    checks: [
        conditional("maximum_expiration", gt(0), "claims_to_verify", contains("exp")),
        custom_fields(check_expiration),
    ]
}

/// The room, ready to run.
pub struct Jwt {
    sources: Sources,
    key_claim: Arc<str>,
    limits: Limits,
    hides: bool,
    run_on_preflight: bool,
    anonymous: Anonymous,
    challenge: String,
    challenge_with_error: String,
    secrets: Arc<Index>,
    wanted: Arc<WantedClaims>,
}

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    NoToken,
    SeveralTokens,
    Bad(Defect),
    NoKey,
    InvalidKey,
    UnknownKey,
    Algorithm,
    Secret,
    Signature,
    Times(Vec<TimeFault>),
}

impl Plugin for Jwt {
    const NAME: &'static str = "jwt";
    const PRIORITY: i64 = 1450;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![secrets::JwtSecret::entity_schema()]
    }

    fn credentials(config: &Config, places: &mut Places) {
        config.header_names.iter().for_each(|name| places.header(name));
        config.uri_param_names.iter().for_each(|name| places.argument(name));
        config.cookie_names.iter().for_each(|name| places.cookie(name));
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let secrets = if config.secret_is_base64 {
            cx.shared(Secrets::<true>::new)?.0.clone()
        } else {
            cx.shared(Secrets::<false>::new)?.0.clone()
        };
        let realm = config.realm.map(|realm| format!("realm=\"{realm}\""));
        let challenge = |parts: &[Option<&str>]| {
            let parts: Vec<&str> = parts.iter().copied().flatten().collect();
            format!("Bearer {}", parts.join(", ")).trim_end().to_owned()
        };
        let verifies = |claim: &str| {
            config.claims_to_verify.as_ref().is_some_and(|claims| claims.iter().any(|name| name == claim))
        };
        Ok(Self {
            limits: Limits {
                exp: verifies("exp"),
                nbf: verifies("nbf"),
                leeway: config.leeway,
                maximum: Some(config.maximum_expiration).filter(|&seconds| seconds > 0.0),
            },
            sources: Sources {
                arguments: config.uri_param_names.0,
                cookies: config.cookie_names.0,
                headers: config.header_names.0,
            },
            key_claim: config.key_claim_name.into(),
            hides: config.hide_credentials,
            run_on_preflight: config.run_on_preflight,
            anonymous: Anonymous::resolve(config.anonymous.as_deref(), cx),
            challenge: challenge(&[realm.as_deref()]),
            challenge_with_error: challenge(&[realm.as_deref(), Some("error=\"invalid_token\"")]),
            secrets,
            wanted: cx.wanted_claims()?,
        })
    }
}

impl Phases for Jwt {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if !self.run_on_preflight && cx.request.method == Method::Options {
            return Flow::Next;
        }
        if self.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let outcome = self.authenticate(cx);
        if self.hides {
            // Also what a caller fails with: the anonymous consumer may still let the request pass.
            self.sources.hide(cx);
        }
        match outcome {
            Ok(Finding { secret, claims, .. }) => {
                cx.authenticate(secret.caller.clone());
                if let Some(claims) = claims {
                    cx.vouch_for_claims(claims);
                }
                Flow::Next
            }
            Err(refusal) => self.anonymous.or_refuse(cx, |cx| self.refuse(cx, &refusal)),
        }
    }
}

impl Jwt {
    fn authenticate(&self, cx: &Access<'_>) -> Result<Finding, Refusal> {
        let token = self.sources.find(cx)?;
        let (known, worker) = (&self.secrets.verified, cx.worker.index);
        let now_s = cx.record.started_ms / 1000;
        let finding = match known.find(worker, &self.key_claim, &token, now_s) {
            Some(finding) => finding,
            None => {
                let finding = self.verify(&token)?;
                // Whether its time matters is for the instance to say, at every use.
                known.remember(worker, &self.key_claim, &token, &finding, u64::MAX);
                finding
            }
        };
        self.limits.check(finding.times, now_s).map_err(Refusal::Times)?;
        Ok(finding)
    }

    /// Everything about a token that stays true: whose it is, what it says, and that its signature is right.
    fn verify(&self, text: &[u8]) -> Result<Finding, Refusal> {
        let mut decoded = Vec::new();
        let token = Token::decode(text, &self.key_claim, &mut decoded).map_err(Refusal::Bad)?;
        let key = match &token.key {
            KeyClaim::Absent => return Err(Refusal::NoKey),
            KeyClaim::Invalid => return Err(Refusal::InvalidKey),
            KeyClaim::Text(key) => key,
        };
        let secret = self.secrets.find(key).ok_or(Refusal::UnknownKey)?;
        // The credential decides, never the token: otherwise a public key could be used as an HMAC secret.
        if token.algorithm != secret.algorithm {
            return Err(Refusal::Algorithm);
        }
        let verifier = secret.verifier.as_ref().ok_or(Refusal::Secret)?;
        if !verifier.verify(token.signed, token.signature) {
            return Err(Refusal::Signature);
        }
        let claims = self.wanted.read(token.claims);
        Ok(Finding { secret: secret.clone(), times: token.times, claims })
    }

    fn refuse(&self, cx: &mut Access<'_>, refusal: &Refusal) -> Flow {
        let challenge = match refusal {
            Refusal::NoToken => &self.challenge,
            _ => &self.challenge_with_error,
        };
        cx.answer(401).header("WWW-Authenticate", challenge.as_bytes()).json(&self.explain(refusal))
    }

    fn explain(&self, refusal: &Refusal) -> Value {
        let claim = &self.key_claim;
        let message = match refusal {
            Refusal::NoToken => "Unauthorized".to_owned(),
            Refusal::SeveralTokens => "Multiple tokens provided".to_owned(),
            Refusal::Bad(defect) => format!("Bad token; {}", defect.as_str()),
            Refusal::NoKey => format!("No mandatory '{claim}' in claims"),
            Refusal::InvalidKey => format!("Invalid '{claim}' in claims"),
            Refusal::UnknownKey => format!("No credentials found for given '{claim}'"),
            Refusal::Algorithm => "Invalid algorithm".to_owned(),
            Refusal::Secret => "Invalid key/secret".to_owned(),
            Refusal::Signature => "Invalid signature".to_owned(),
            Refusal::Times(faults) => {
                return faults
                    .iter()
                    .map(|fault| (fault.claim.to_owned(), Value::from(fault.message)))
                    .collect();
            }
        };
        json!({ "message": message })
    }
}

/// Kong's rule for an absent list, which the condition before it passes over.
fn check_expiration(config: &Value, faults: &mut plugin::model::schema::Faults) {
    let limited = config["maximum_expiration"].as_f64().is_some_and(|seconds| seconds > 0.0);
    if limited && config["claims_to_verify"].is_null() {
        faults.field("claims_to_verify", "expected to contain: exp");
        faults.record("failed conditional validation given value of field 'maximum_expiration'");
    }
}
