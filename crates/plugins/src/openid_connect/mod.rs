#![doc = include_str!("doc.md")]

mod admission;
mod claims;
mod client;
mod config;
mod http;
mod introspection;
mod provider;
mod refusal;
mod sources;
mod verify;

use std::sync::Arc;

use plugin::identity::Anonymous;
use plugin::{Access, Build, BuildError, Exchange, Flow, Method, Phase, Phases, Plugin, Resume, Scopes};

use admission::Rules;
pub use config::Config;
use http::Http;
use introspection::{Introspection, OfClient};
use refusal::{Refusal, Telling};
use sources::{Search, Sources};
use verify::{Outcome, Verdict, Verification};

#[cfg(test)]
mod tests;

/// The room. See the module documentation.
pub struct OpenidConnect(Arc<Inner>);

struct Inner {
    run_on_preflight: bool,
    anonymous: Anonymous,
    sources: Sources,
    telling: Telling,
    verification: Verification,
    introspection: Option<Introspection>,
}

impl Plugin for OpenidConnect {
    const NAME: &'static str = "openid-connect";
    const PRIORITY: i64 = 1050;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let methods = Methods::new(&config.tokens)?;
        let http = Arc::new(Http::new(&config.provider, cx.services)?);
        let provider = provider::provider(&config.provider, &http, cx)?;
        let rules = Rules::new(&config, cx)?;
        let introspection = match methods.introspection {
            true => Some(Introspection::new(&config, &http, cx)?),
            false => None,
        };
        Ok(Self(Arc::new(Inner {
            run_on_preflight: config.tokens.run_on_preflight,
            anonymous: Anonymous::resolve(config.tokens.anonymous.as_deref(), cx),
            sources: Sources::new(&config.tokens),
            telling: Telling::new(&config.tokens, http::host(&config.provider.issuer)),
            verification: Verification::new(&config, methods.bearer, provider, rules, cx)?,
            introspection,
        })))
    }
}

/// Which of the methods are on.
struct Methods {
    bearer: bool,
    introspection: bool,
}

impl Methods {
    fn new(config: &config::Tokens) -> Result<Self, BuildError> {
        let available = |method: &&String| matches!(method.as_str(), "bearer" | "introspection");
        let missing: Vec<&str> =
            config.auth_methods.iter().filter(|method| !available(method)).map(String::as_str).collect();
        if !missing.is_empty() {
            let message = format!(
                "{} cannot be honoured in this version: list those of 'bearer' and 'introspection' that you want",
                missing.iter().map(|method| format!("'{method}'")).collect::<Vec<_>>().join(", ")
            );
            return Err(BuildError::new("config.auth_methods", message));
        }
        let has = |method: &str| config.auth_methods.iter().any(|listed| listed == method);
        let methods = Self { bearer: has("bearer"), introspection: has("introspection") };
        if methods.bearer || methods.introspection {
            return Ok(methods);
        }
        Err(BuildError::new(
            "config.auth_methods",
            "nobody could ever pass: list 'bearer' or 'introspection'",
        ))
    }
}

impl Phases for OpenidConnect {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let inner = &self.0;
        if !inner.run_on_preflight && cx.request.method == Method::Options {
            return Flow::Next;
        }
        if inner.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let token = match inner.sources.find(cx) {
            Ok(Search::Found(token)) => token,
            Ok(Search::NeedsBody) => return Flow::ReadBody,
            Err(refusal) => return inner.conclude(cx, Err(refusal)),
        };
        match inner.judge(cx, &token) {
            Some(outcome) => inner.conclude(cx, outcome),
            None => {
                let (token, worker, now_ms) = (token.into_owned(), cx.worker.index, cx.record.started_ms);
                let question = inner.introspection.as_ref().map(|method| method.of_client(cx));
                inner.clone().wait(token, worker, now_ms, question.unwrap_or_default())
            }
        }
    }
}

impl Inner {
    /// What is to be said of a token without waiting; none if somebody has to be asked.
    fn judge(&self, exchange: &Exchange, token: &[u8]) -> Option<Outcome> {
        let (worker, now_ms) = (exchange.worker.index, exchange.record.started_ms);
        if let Some(known) = self.verification.remembered(worker, token, now_ms) {
            return Some(known);
        }
        if self.is_for_introspection(token) {
            return None;
        }
        let known = self.verification.provider.at_hand()?;
        match self.verification.verify(worker, token, &known, now_ms) {
            Verdict::Known(outcome) => Some(outcome),
            Verdict::UnknownKey => None,
        }
    }

    fn is_for_introspection(&self, token: &[u8]) -> bool {
        self.introspection.as_ref().is_some_and(|method| method.takes(token, self.verification.is_on()))
    }

    fn wait(self: Arc<Self>, token: Vec<u8>, worker: usize, now_ms: u64, of_client: OfClient) -> Flow {
        Flow::wait(async move {
            let outcome = match &self.introspection {
                Some(method) if method.takes(&token, self.verification.is_on()) => {
                    method.ask(&self.verification, worker, &token, now_ms, of_client).await
                }
                _ => self.verification.settle(worker, &token, now_ms).await,
            };
            let resume: Resume = Box::new(move |cx| self.conclude(cx, outcome));
            resume
        })
    }

    fn conclude(&self, cx: &mut Access<'_>, outcome: Outcome) -> Flow {
        self.verification.rules.clear(cx);
        // What a caller fails with is hidden as well: the anonymous consumer may still let the request pass.
        self.sources.hide(cx);
        match outcome {
            Ok(admission) => {
                admission.apply(cx);
                Flow::Next
            }
            Err(refusal @ Refusal::Forbidden(_)) => self.telling.refuse(cx, &refusal),
            Err(refusal) => self.anonymous.or_refuse(cx, |cx| self.telling.refuse(cx, &refusal)),
        }
    }
}

/// Names with their values, from two lists of a configuration.
fn pairs(
    field: &str,
    names: Option<&[String]>,
    values: Option<&[String]>,
) -> Result<http::Pairs, BuildError> {
    let (names, values) = (names.unwrap_or_default(), values.unwrap_or_default());
    if names.len() != values.len() {
        let message = format!("needs one value for each of '{field}_names'");
        return Err(BuildError::new(format!("config.{field}_values"), message));
    }
    Ok(names.iter().cloned().zip(values.iter().cloned()).collect())
}
