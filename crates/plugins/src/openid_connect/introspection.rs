//! Asking the provider whether a token is good, and what it says (RFC 7662).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use plugin::remember::{Digest, Learned, Memory, Settings};
use plugin::shared::Joint;
use plugin::{BuildError, Exchange};
use serde_json::Value;

use super::Setup;
use super::beside::Beside;
use super::claims::{self, Claims, Reading};
use super::client::SignIn;
use super::config::{self, Bounds, Config};
use super::http::{Http, Pairs};
use super::of_client::{OfClient, Wanted};
use super::pool::{dated, undated};
use super::provider::Endpoint;
use super::refusal::Refusal;
use super::told::Evidence;
use super::verify::{Outcome, Verification, Word};

/// Seconds for which a token is known to be no good, where the configuration does not say.
const NEGATIVE_S: u64 = 10;

/// How the provider is asked.
pub(super) struct Introspection {
    http: Arc<Http>,
    memory: Arc<Memory<Answer>>,
    /// Whose answers they are: another instance may sign in as somebody else.
    scope: String,
    endpoint: Endpoint,
    sign_in: SignIn,
    token_name: String,
    arguments: Pairs,
    headers: Pairs,
    of_client: Wanted,
    /// Answers are asked for as signed tokens (RFC 9701).
    wants_signed: bool,
    checks_active: bool,
    asks_about_jwt: bool,
    lifetimes: Lifetimes,
    /// Where gateways share answers.
    shared: Option<Arc<Joint>>,
}

/// What answers are kept under where gateways share them.
const KIND: &str = "introspection";

/// An answer as it came.
enum Answer {
    Plain(Claims),
    Signed(String),
}

/// Seconds for which answers are remembered; none at all without.
#[derive(Clone, Copy)]
struct Lifetimes {
    remembers: bool,
    usual: u64,
    bounds: Bounds,
    negative: u64,
    /// How long they are used beyond that while the provider is down.
    stale: u64,
}

impl Introspection {
    pub(super) fn new(setup: &Setup<'_>) -> Result<Self, BuildError> {
        let &Setup { config, cx, .. } = setup;
        let asking = &config.introspection;
        let endpoint = asking.introspection_endpoint.as_deref();
        let endpoint =
            Endpoint::new(setup, "introspection_endpoint", endpoint, |told| told.introspection.as_ref())?;
        let method = asking.introspection_endpoint_auth_method.as_deref();
        let sign_in = SignIn::new(setup, ("introspection_endpoint_auth_method", method))?;
        let text = config.possession.mtls_introspection_endpoint.as_deref();
        let endpoint = sign_in.endpoint(setup, endpoint, "mtls_introspection_endpoint", text)?;
        // Methods that need it have been looked at.
        let endpoint = endpoint.needed_for(setup, "login_tokens", "introspection_endpoint")?;
        Ok(Self {
            http: sign_in.http(setup),
            memory: Memory::open(cx.services, "introspection", &Settings::default()),
            scope: format!(
                "{} {:?}",
                setup.fingerprint::<config::Introspection>(),
                config.possession.tls_client_auth_cert_id
            ),
            endpoint,
            sign_in,
            token_name: asking.introspection_token_param_name.clone(),
            arguments: arguments(asking),
            headers: headers(asking),
            of_client: Wanted {
                headers: asking.introspection_headers_client.clone().unwrap_or_default(),
                arguments: asking.introspection_post_args_client.clone().unwrap_or_default(),
                headers_as_arguments: asking
                    .introspection_post_args_client_headers
                    .clone()
                    .unwrap_or_default(),
                ..Wanted::default()
            },
            wants_signed: asking.introspection_accept != "application/json",
            checks_active: asking.introspection_check_active,
            asks_about_jwt: asking.introspect_jwt_tokens,
            lifetimes: Lifetimes::new(config),
            shared: setup
                .places
                .cache
                .clone()
                .filter(|_| config.sharing.has(KIND) && asking.cache_introspection),
        })
    }

    /// Whether the provider is asked about `token`: one that is no JSON Web Token, or that need not be believed for its
    /// signature alone.
    pub(super) fn takes(&self, token: &[u8], verifies_jwt: bool) -> bool {
        !verifies_jwt || self.asks_about_jwt || plugin::jose::Header::of(token).is_err()
    }

    /// What of the client's request goes with the question.
    pub(super) fn of_client(&self, exchange: &Exchange) -> OfClient {
        self.of_client.of(exchange)
    }

    /// Asks about `token`, and remembers the answer. `of_user` goes with the question about its user, if there may be one.
    pub(super) async fn ask(
        &self,
        verification: &Verification,
        worker: usize,
        token: &[u8],
        beside: Option<&Beside>,
        now_ms: u64,
        (of_client, of_user): (OfClient, Option<&OfClient>),
    ) -> Outcome {
        let is_verified = verification.is_on() && plugin::jose::Header::of(token).is_ok();
        let verified = match is_verified {
            true => Some(verification.settle(worker, token, None, now_ms, (Word::First, None)).await?),
            false => None,
        };
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Invalid("not a token"))?;
        let answer = self.answer(verification, text, of_client, now_ms).await?;
        let said = self.said(verification, &answer, now_ms).await?;
        let claims = &*said;
        let mut ends_s = u64::MAX;
        let outcome = match verification.untimely(claims, now_ms) {
            _ if self.checks_active && !is_active(claims) => Err(Refusal::Invalid("token is not active")),
            Some(fault) => Err(Refusal::Invalid(fault)),
            None => {
                let mut claims = claims.clone();
                let beyond = verification.beyond(&mut claims, text, of_user, now_ms).await?;
                ends_s = beyond.ends_s;
                let signed = answer.signed();
                let evidence = Evidence {
                    access: token,
                    introspection: Some(&said),
                    introspection_token: signed,
                    bound: verified.as_ref().map(|admission| admission.binding()),
                    beside,
                    ..beyond.evidence()
                };
                verification.admit(&claims, &evidence)
            }
        };
        if self.lifetimes.remembers && self.of_client.is_nothing() && beside.is_none() {
            let now_s = now_ms / 1_000;
            let until_s = now_s.saturating_add(self.lifetimes.of(claims, now_s)).min(ends_s);
            verification.remember(worker, token, &outcome, until_s);
        }
        outcome
    }

    /// What the provider says of `token`, good or bad.
    pub(super) async fn said_of(
        &self,
        verification: &Verification,
        token: &str,
        of_client: OfClient,
        now_ms: u64,
    ) -> Result<Claims, Refusal> {
        let answer = self.answer(verification, token, of_client, now_ms).await?;
        Ok(self.said(verification, &answer, now_ms).await?.into_owned())
    }

    /// What an answer says.
    async fn said<'a>(
        &self,
        verification: &Verification,
        answer: &'a Answer,
        now_ms: u64,
    ) -> Result<Cow<'a, Claims>, Refusal> {
        match answer {
            Answer::Plain(claims) => Ok(Cow::Borrowed(claims)),
            Answer::Signed(signed) => self.said_by(verification, signed, now_ms).await.map(Cow::Owned),
        }
    }

    /// What a signed answer says: the provider's, to this client (RFC 9701 5).
    async fn said_by(
        &self,
        verification: &Verification,
        signed: &str,
        now_ms: u64,
    ) -> Result<Claims, Refusal> {
        let signed = signed.as_bytes();
        let now_ms = verification.after_answer(now_ms);
        let signatures = verification.signatures("introspection");
        let (token, known) = verification.signed(signed, is_answer, signatures).await?;
        let mut claims = token.claims;
        let is_for_us = claims::list(claims.get("aud"), Reading::Whole).contains(&self.sign_in.id());
        let fault =
            verification.wrong_issuer(&claims, &known).or_else(|| verification.untimely(&claims, now_ms));
        match (fault, claims.remove("token_introspection")) {
            (Some(fault), _) => Err(Refusal::Invalid(fault)),
            (None, Some(Value::Object(answer))) if is_for_us => Ok(answer),
            _ => Err(Refusal::Invalid("an answer about a token that is not for this client")),
        }
    }

    async fn answer(
        &self,
        verification: &Verification,
        token: &str,
        of_client: OfClient,
        now_ms: u64,
    ) -> Result<Arc<Answer>, Refusal> {
        let (worker, asked_with) = (of_client.worker, of_client.key());
        let mut form = vec![(self.token_name.clone(), token.to_owned())];
        form.extend(self.arguments.iter().cloned().chain(of_client.arguments));
        let mut headers = self.headers.clone();
        headers.extend(of_client.headers);
        let endpoint = self.endpoint.find(&verification.provider).await?;
        self.sign_in.add(&endpoint, now_ms / 1_000, &mut form, &mut headers);
        let key = Digest::of([self.scope.as_bytes(), asked_with.as_bytes(), token.as_bytes()]);
        let (http, lifetimes, wants_signed) = (self.http.clone(), self.lifetimes, self.wants_signed);
        let (shared, now_s) = (self.shared.clone(), now_ms / 1_000);
        let ask = async move {
            if let Some(known) = known(worker, shared.as_deref(), &key).await
                && let Some(answer) = Answer::read(known.1, wants_signed)
            {
                let (learned, fresh) = lifetimes.learned(answer, known.0, now_s);
                if !fresh.is_zero() {
                    return Ok(learned);
                }
            }
            let text = http.post(&endpoint, &form, &headers).await?;
            let told = shared.is_some().then(|| dated(&text, now_s));
            let answer = Answer::read(text, wants_signed)
                .ok_or_else(|| format!("no answer about a token from {}", endpoint.told()))?;
            let (learned, fresh) = lifetimes.learned(answer, now_s, now_s);
            if let Some((shared, told)) = shared.zip(told).filter(|_| !fresh.is_zero()) {
                // The others ask for themselves where this is lost.
                let _told = shared.tell(worker, KIND, &key, &told, fresh).await;
            }
            Ok(learned)
        };
        self.memory.fetch(key, ask).await.map_err(|_| Refusal::Unavailable)
    }
}

/// What other gateways have been told, and when. Where that cannot be found out, the provider is asked.
async fn known(worker: usize, shared: Option<&Joint>, key: &Digest) -> Option<(u64, Vec<u8>)> {
    undated(&shared?.known(worker, KIND, key).await.ok().flatten()?)
}

impl Answer {
    fn read(text: Vec<u8>, wants_signed: bool) -> Option<Self> {
        if wants_signed {
            return String::from_utf8(text).ok().map(Self::Signed);
        }
        match serde_json::from_slice(&text) {
            Ok(Value::Object(claims)) => Some(Self::Plain(claims)),
            _ => None,
        }
    }

    fn signed(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Signed(text) => Some(text),
        }
    }

    /// Bytes that it holds.
    fn size(&self) -> usize {
        match self {
            Self::Plain(claims) => {
                claims.iter().map(|(name, value)| name.len() + value.to_string().len()).sum()
            }
            Self::Signed(text) => text.len(),
        }
    }
}

/// RFC 7662 2.2.
fn is_active(answer: &Claims) -> bool {
    answer.get("active").and_then(Value::as_bool).unwrap_or(false)
}

fn is_answer(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "token-introspection+jwt")
}

fn arguments(config: &config::Introspection) -> Pairs {
    let hint = Some(&config.introspection_hint).filter(|hint| !hint.is_empty());
    let mut arguments: Pairs =
        hint.map(|hint| ("token_type_hint".to_owned(), hint.clone())).into_iter().collect();
    arguments
        .extend(super::pairs(&config.introspection_post_args_names, &config.introspection_post_args_values));
    arguments
}

fn headers(config: &config::Introspection) -> Pairs {
    let mut headers = vec![("Accept".to_owned(), config.introspection_accept.clone())];
    headers.extend(super::pairs(&config.introspection_headers_names, &config.introspection_headers_values));
    headers
}

impl Lifetimes {
    fn new(config: &Config) -> Self {
        let provider = &config.provider;
        let seconds = |setting: Option<f64>, default: u64| setting.map_or(default, |seconds| seconds as u64);
        Self {
            remembers: config.introspection.cache_introspection,
            usual: provider.cache_ttl as u64,
            bounds: Bounds::of(provider),
            negative: seconds(provider.cache_ttl_neg, NEGATIVE_S),
            stale: seconds(provider.cache_ttl_resurrect, 0),
        }
    }

    /// An answer of a moment ago, for as long as it holds from now on: one that is signed, as what it says.
    fn learned(&self, answer: Answer, asked_s: u64, now_s: u64) -> (Learned<Answer>, Duration) {
        let size = answer.size();
        let said = match &answer {
            Answer::Plain(claims) => Some(Cow::Borrowed(claims)),
            Answer::Signed(text) => {
                plugin::jose::Token::without_verification(text.as_bytes()).ok().and_then(|token| {
                    Some(Cow::Owned(token.claims.get("token_introspection")?.as_object()?.clone()))
                })
            }
        };
        let Some(said) = said.filter(|_| self.remembers) else {
            return (Learned::new(answer, Duration::ZERO), Duration::ZERO);
        };
        let held_s = self.of(&said, asked_s).saturating_sub(now_s.saturating_sub(asked_s));
        let fresh = Duration::from_secs(held_s);
        let stale = if is_active(&said) { self.stale } else { 0 };
        let ends_s = said.get("exp").and_then(Value::as_f64).map_or(u64::MAX, |exp| exp as u64);
        drop(said);
        let until_ms = ends_s.saturating_mul(1_000);
        let learned = Learned::new(answer, fresh).holding(size).stale(Duration::from_secs(stale));
        (learned.until(until_ms), fresh)
    }

    /// Seconds for which an answer is remembered: never longer than the token is good.
    fn of(&self, answer: &Claims, now_s: u64) -> u64 {
        if !is_active(answer) {
            return self.negative;
        }
        let left = answer.get("exp").and_then(Value::as_f64).map(|exp| (exp as u64).saturating_sub(now_s));
        let wanted = self.bounds.hold(left.unwrap_or(self.usual));
        left.map_or(wanted, |left| wanted.min(left))
    }
}
