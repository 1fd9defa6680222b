//! Asking the provider whether a token is good, and what it says (RFC 7662).

use std::sync::Arc;
use std::time::Duration;

use plugin::remember::{Digest, Learned, Memory, Settings};
use plugin::{Build, BuildError, Exchange, query};
use serde_json::Value;

use super::admission::Evidence;
use super::claims::Claims;
use super::client::SignIn;
use super::config::{self, Config};
use super::http::{Http, Pairs};
use super::provider::Endpoint;
use super::refusal::Refusal;
use super::verify::{Outcome, Verification};

/// Seconds for which a token is known to be no good, where the configuration does not say.
const NEGATIVE_S: u64 = 10;

/// How the provider is asked.
pub(super) struct Introspection {
    http: Arc<Http>,
    memory: Arc<Memory<Claims>>,
    /// Whose answers they are: another instance may sign in as somebody else.
    scope: String,
    endpoint: Endpoint,
    sign_in: SignIn,
    token_name: String,
    arguments: Pairs,
    headers: Pairs,
    client_headers: Vec<String>,
    client_arguments: Vec<String>,
    client_headers_as_arguments: Vec<String>,
    checks_active: bool,
    asks_about_jwt: bool,
    lifetimes: Lifetimes,
}

/// What of the client's request goes with the question.
#[derive(Debug, Default)]
pub(super) struct OfClient {
    headers: Pairs,
    arguments: Pairs,
}

/// Seconds for which answers are remembered; none at all without.
#[derive(Clone, Copy)]
struct Lifetimes {
    remembers: bool,
    usual: u64,
    least: u64,
    most: u64,
    negative: u64,
}

impl Introspection {
    pub(super) fn new(config: &Config, http: &Arc<Http>, cx: &Build<'_>) -> Result<Self, BuildError> {
        let asking = &config.introspection;
        if asking.introspection_accept != "application/json" {
            let message = "only 'application/json' is understood";
            return Err(BuildError::new("config.introspection_accept", message));
        }
        let endpoint = asking.introspection_endpoint.as_deref();
        let endpoint =
            Endpoint::new(cx, http, "introspection_endpoint", endpoint, |told| told.introspection.as_ref())?;
        if !endpoint.is_configured() && config.provider.using_pseudo_issuer {
            let message = "a pseudo issuer does not say where to ask about tokens: give the address";
            return Err(BuildError::new("config.introspection_endpoint", message));
        }
        let method = asking.introspection_endpoint_auth_method.as_deref();
        Ok(Self {
            http: http.clone(),
            memory: Memory::open(cx.services, "introspection", &Settings::default()),
            scope: format!("{} {:?}", config.provider.issuer, cx.fingerprint::<config::Introspection>()),
            endpoint,
            sign_in: SignIn::new(config, method)?,
            token_name: asking.introspection_token_param_name.clone(),
            arguments: arguments(asking)?,
            headers: headers(asking)?,
            client_headers: asking.introspection_headers_client.clone().unwrap_or_default(),
            client_arguments: asking.introspection_post_args_client.clone().unwrap_or_default(),
            client_headers_as_arguments: asking
                .introspection_post_args_client_headers
                .clone()
                .unwrap_or_default(),
            checks_active: asking.introspection_check_active,
            asks_about_jwt: asking.introspect_jwt_tokens,
            lifetimes: Lifetimes::new(config),
        })
    }

    /// Whether the provider is asked about `token`: one that is no JSON Web Token, or that need not be believed for its
    /// signature alone.
    pub(super) fn takes(&self, token: &[u8], verifies_jwt: bool) -> bool {
        !verifies_jwt || self.asks_about_jwt || plugin::jose::Header::of(token).is_err()
    }

    /// What of the client's request goes with the question.
    pub(super) fn of_client(&self, exchange: &Exchange) -> OfClient {
        let request = &exchange.request;
        let header = |name: &String| {
            let value = request.headers.get(name).map(String::from_utf8_lossy)?;
            Some((name.clone(), value.into_owned()))
        };
        let argument = |name: &String| {
            let value = query::values(request.query()?, name).next()?;
            Some((name.clone(), String::from_utf8_lossy(&value).into_owned()))
        };
        let arguments = self.client_arguments.iter().filter_map(argument);
        OfClient {
            headers: self.client_headers.iter().filter_map(header).collect(),
            arguments: arguments.chain(self.client_headers_as_arguments.iter().filter_map(header)).collect(),
        }
    }

    /// Asks about `token`, and remembers the answer.
    pub(super) async fn ask(
        &self,
        verification: &Verification,
        worker: usize,
        token: &[u8],
        now_ms: u64,
        of_client: OfClient,
    ) -> Outcome {
        if verification.is_on() && plugin::jose::Header::of(token).is_ok() {
            verification.settle(worker, token, now_ms).await?;
        }
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Invalid("not a token"))?;
        let answer = self.answer(verification, text, of_client, now_ms).await?;
        let now_s = now_ms / 1_000;
        let outcome = match verification.untimely(&answer, now_ms) {
            _ if self.checks_active && !is_active(&answer) => Err(Refusal::Invalid("token is not active")),
            Some(fault) => Err(Refusal::Invalid(fault)),
            None => {
                let evidence =
                    Evidence { access: token, introspection: Some(&answer), ..Evidence::default() };
                verification.admit(&answer, &evidence)
            }
        };
        if self.lifetimes.remembers && !self.depends_on_client() {
            let until_s = now_s.saturating_add(self.lifetimes.of(&answer, now_s));
            verification.remember(worker, token, &outcome, until_s);
        }
        outcome
    }

    /// Whether something of the client's request goes with the question, so that answers are not those of tokens alone.
    fn depends_on_client(&self) -> bool {
        let lists = [&self.client_headers, &self.client_arguments, &self.client_headers_as_arguments];
        lists.iter().any(|list| !list.is_empty())
    }

    async fn answer(
        &self,
        verification: &Verification,
        token: &str,
        of_client: OfClient,
        now_ms: u64,
    ) -> Result<Arc<Claims>, Refusal> {
        let asked_with = format!("{of_client:?}");
        let mut form = vec![(self.token_name.clone(), token.to_owned())];
        form.extend(self.arguments.iter().cloned().chain(of_client.arguments));
        let mut headers = self.headers.clone();
        headers.extend(of_client.headers);
        let endpoint = self.endpoint.find(&verification.provider).await?;
        self.sign_in.add(&endpoint, now_ms / 1_000, &mut form, &mut headers);
        let key = Digest::of([self.scope.as_bytes(), asked_with.as_bytes(), token.as_bytes()]);
        let (http, lifetimes) = (self.http.clone(), self.lifetimes);
        let ask = async move {
            let Value::Object(answer) = http.post(&endpoint, &form, &headers).await? else {
                return Err(format!("no JSON object from {}", endpoint.told()));
            };
            let holds = if lifetimes.remembers { lifetimes.of(&answer, now_ms / 1_000) } else { 0 };
            let size = answer.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
            Ok(Learned::new(answer, Duration::from_secs(holds)).holding(size))
        };
        self.memory.fetch(key, ask).await.map_err(|_| Refusal::Unavailable)
    }
}

/// RFC 7662 2.2.
fn is_active(answer: &Claims) -> bool {
    answer.get("active").and_then(Value::as_bool).unwrap_or(false)
}

fn arguments(config: &config::Introspection) -> Result<Pairs, BuildError> {
    let hint = Some(&config.introspection_hint).filter(|hint| !hint.is_empty());
    let mut arguments: Pairs =
        hint.map(|hint| ("token_type_hint".to_owned(), hint.clone())).into_iter().collect();
    arguments.extend(super::pairs(
        "introspection_post_args",
        config.introspection_post_args_names.as_deref(),
        config.introspection_post_args_values.as_deref(),
    )?);
    Ok(arguments)
}

fn headers(config: &config::Introspection) -> Result<Pairs, BuildError> {
    let mut headers = vec![("Accept".to_owned(), config.introspection_accept.clone())];
    headers.extend(super::pairs(
        "introspection_headers",
        config.introspection_headers_names.as_deref(),
        config.introspection_headers_values.as_deref(),
    )?);
    Ok(headers)
}

impl Lifetimes {
    fn new(config: &Config) -> Self {
        let provider = &config.provider;
        let seconds = |setting: Option<f64>, default: u64| setting.map_or(default, |seconds| seconds as u64);
        Self {
            remembers: config.introspection.cache_introspection,
            usual: provider.cache_ttl as u64,
            least: seconds(provider.cache_ttl_min, 0),
            most: seconds(provider.cache_ttl_max, u64::MAX),
            negative: seconds(provider.cache_ttl_neg, NEGATIVE_S),
        }
    }

    /// Seconds for which an answer is remembered: never longer than the token is good.
    fn of(&self, answer: &Claims, now_s: u64) -> u64 {
        if !is_active(answer) {
            return self.negative;
        }
        let left = answer.get("exp").and_then(Value::as_f64).map(|exp| (exp as u64).saturating_sub(now_s));
        let wanted = left.unwrap_or(self.usual).max(self.least).min(self.most.max(self.least));
        left.map_or(wanted, |left| wanted.min(left))
    }
}
