//! What must be true of claims, and whom they name.

use std::sync::Arc;

use plugin::claims::said::{self, Claims, Reading, Requirement};
use plugin::consumers::Consumers;
use plugin::model::entity::Consumer;
use plugin::{Build, BuildError};
use serde_json::Value;

use super::config;
use super::refusal::Refusal;

/// What the claims are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A token. Nobody else says that it still is good, so it has an end.
    Token,
    /// An answer of the introspection endpoint, which has said so (RFC 7662 2.2).
    Answer,
}

/// The rules of a configuration.
pub(super) struct Verification {
    of: Of,
    required: Vec<Vec<String>>,
    optional: Vec<Vec<String>>,
    expiry: Option<Vec<String>>,
    notbefore: Option<Vec<String>>,
    leeway_s: f64,
    allowed: Vec<Allowed>,
    scopes: Option<(Vec<String>, Requirement)>,
    subject: Vec<String>,
    consumer: Option<(Vec<String>, Consumers)>,
}

/// A claim that must hold one of some values.
struct Allowed {
    path: Vec<String>,
    values: Vec<String>,
    fault: &'static str,
}

impl Verification {
    pub(super) fn new(of: Of, config: &config::Verification, cx: &Build<'_>) -> Result<Self, BuildError> {
        let checked = |is_on: bool, path: &Vec<String>| is_on.then(|| path.clone());
        let allowed = [
            (config.verify_issuer, &config.issuer_claim, &config.issuers_allowed, "not an accepted issuer"),
            (
                config.verify_audience,
                &config.audience_claim,
                &config.audiences_allowed,
                "not for this audience",
            ),
            (
                config.verify_subject,
                &config.subject_claim,
                &config.subjects_allowed,
                "not an accepted subject",
            ),
        ];
        let allowed =
            allowed.into_iter().filter(|(is_on, ..)| *is_on).filter_map(|(_, path, values, fault)| {
                let values = values.clone().filter(|values| !values.is_empty())?;
                Some(Allowed { path: path.clone(), values, fault })
            });
        let lack = "a required scope is missing";
        let scopes = config.scopes_required.as_deref();
        let scopes = Requirement::new(&config.scopes_claim, scopes, Reading::Words, lack);
        let consumer = match &config.consumer_claim {
            Some(path) if !path.is_empty() => {
                Some((path.clone(), Consumers::new(&config.consumer_by, false, cx)?))
            }
            _ => None,
        };
        Ok(Self {
            of,
            required: config.required_claims.clone().unwrap_or_default(),
            optional: config.optional_claims.clone().unwrap_or_default(),
            expiry: checked(config.verify_expiry, &config.expiry_claim),
            notbefore: checked(config.verify_notbefore, &config.notbefore_claim),
            leeway_s: config.leeway,
            allowed: allowed.collect(),
            scopes: scopes
                .filter(|_| config.verify_scopes)
                .map(|scopes| (config.scopes_claim.clone(), scopes)),
            subject: config.subject_claim.clone(),
            consumer,
        })
    }

    /// Whether the claims are good at `now_ms`.
    pub(super) fn check(&self, claims: &Claims, now_ms: u64) -> Result<(), Refusal> {
        let has = |path: &Vec<String>| said::at(claims, path).is_some_and(|value| !value.is_null());
        if !self.required.iter().all(has) {
            return Err(Refusal::Invalid("a required claim is missing"));
        }
        self.check_times(claims, now_ms as f64 / 1_000.0)?;
        for allowed in self.allowed.iter().filter(|allowed| !self.may_lack(claims, &allowed.path)) {
            let had = said::list(said::at(claims, &allowed.path), Reading::Whole);
            if !allowed.values.iter().any(|value| had.contains(&value.as_str())) {
                return Err(Refusal::Invalid(allowed.fault));
            }
        }
        match &self.scopes {
            Some((path, scopes)) if !self.may_lack(claims, path) && !scopes.is_met(claims) => {
                Err(Refusal::Forbidden(scopes.lack))
            }
            _ => Ok(()),
        }
    }

    fn check_times(&self, claims: &Claims, now_s: f64) -> Result<(), Refusal> {
        if let Some(path) = &self.expiry {
            match said::at(claims, path) {
                None if self.of == Of::Answer || self.may_lack(claims, path) => {}
                None => return Err(Refusal::Invalid("no expiry")),
                Some(end) => {
                    let end = end.as_f64().ok_or(Refusal::Invalid("a time that is no number"))?;
                    if end + self.leeway_s <= now_s {
                        return Err(Refusal::Invalid("token expired"));
                    }
                }
            }
        }
        if let Some(begin) = self.notbefore.as_ref().and_then(|path| said::at(claims, path)) {
            let begin = begin.as_f64().ok_or(Refusal::Invalid("a time that is no number"))?;
            if begin > now_s + self.leeway_s {
                return Err(Refusal::Invalid("token not valid yet"));
            }
        }
        Ok(())
    }

    fn may_lack(&self, claims: &Claims, path: &[String]) -> bool {
        said::at(claims, path).is_none() && self.optional.iter().any(|optional| optional == path)
    }

    /// Until when that can be so, in seconds since 1970; none if there is no end.
    pub(super) fn until_s(&self, claims: &Claims) -> Option<u64> {
        let end = said::at(claims, self.expiry.as_ref()?)?.as_f64()?;
        Some((end + self.leeway_s).ceil() as u64)
    }

    /// Who the claims are about.
    pub(super) fn subject(&self, claims: &Claims) -> Option<String> {
        said::at(claims, &self.subject).and_then(Value::as_str).map(str::to_owned)
    }

    /// The consumer that the claims name, where they must name one.
    pub(super) fn consumer(&self, claims: &Claims) -> Result<Option<Arc<Consumer>>, Refusal> {
        let Some((path, consumers)) = &self.consumer else { return Ok(None) };
        let name = said::at(claims, path).and_then(said::text);
        let consumer = name.and_then(|name| consumers.find(&name).cloned());
        consumer.map(Some).ok_or(Refusal::Forbidden("no consumer"))
    }
}
