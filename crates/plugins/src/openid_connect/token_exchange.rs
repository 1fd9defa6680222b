//! Tokens of other issuers, or for other audiences, exchanged for tokens of the provider (RFC 8693).

use std::sync::Arc;
use std::time::Duration;

use plugin::jose::{Header, KeySet, Token};
use plugin::remember::{Freshness, Published, Source};
use plugin::{Access, BuildError, Flow, Resume};
use serde_json::Value;

use super::claims::{self, Claims, Reading};
use super::client;
use super::config::{self, ExchangeConditions, ExchangeIssuer, TokenExchange as Fields};
use super::exchange::{Exchange, pairs};
use super::http::Pairs;
use super::of_client::AskedWith;
use super::refusal::Refusal;
use super::{Inner, Setup};

/// RFC 8693 2.1.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Which tokens are exchanged, and for what.
pub(super) struct TokenExchange {
    issuers: Vec<Subject>,
    wishes: Pairs,
    /// How long tokens are used for the same one at most; none remembers nothing.
    longest: Option<Duration>,
}

/// An issuer whose tokens are exchanged.
struct Subject {
    name: String,
    conditions: Option<ExchangeConditions>,
    keys: Option<Arc<Published<KeySet>>>,
}

impl TokenExchange {
    pub(super) fn new(setup: &Setup<'_>, fields: &Fields) -> Result<Self, BuildError> {
        client::needed_id(setup.config, "token_exchange")?;
        let grants = &setup.config.grants;
        let (request, cache) = (&fields.request, &fields.cache);
        let own = |list: &Option<Vec<String>>, usual: Option<&Vec<String>>, is_empty: bool| {
            let list = list.as_ref().or(usual).filter(|list| !is_empty && !list.is_empty());
            list.map(|list| list.join(" "))
        };
        let scope = own(&request.scopes, Some(&grants.scopes), request.empty_scopes);
        let audience = own(&request.audience, grants.audience.as_ref(), request.empty_audience);
        let wishes = [("scope", scope), ("audience", audience)];
        let remembers = cache.enabled && grants.cache_token_exchange;
        Ok(Self {
            issuers: fields
                .subject_token_issuers
                .iter()
                .enumerate()
                .map(|(number, issuer)| Subject::new(setup, number, issuer))
                .collect::<Result<_, _>>()?,
            wishes: wishes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
            longest: remembers.then(|| {
                cache.ttl.map_or(Duration::MAX, |ttl| Duration::from_secs(u64::try_from(ttl).unwrap_or(0)))
            }),
        })
    }

    /// The issuer for whose sake a token is exchanged, by what the token says.
    fn issuer_of(&self, claims: &Claims) -> Option<&Subject> {
        let name = claims.get("iss").and_then(Value::as_str)?;
        self.issuers.iter().find(|issuer| issuer.name == name && issuer.wants(claims))
    }

    /// What a token says that is to be exchanged.
    pub(super) fn subject(&self, token: &[u8]) -> Option<Claims> {
        let claims = Token::without_verification(token).ok()?.claims;
        self.issuer_of(&claims).is_some().then_some(claims)
    }
}

impl Subject {
    fn new(setup: &Setup<'_>, number: usize, issuer: &ExchangeIssuer) -> Result<Self, BuildError> {
        let field = |name: &str| format!("token_exchange.subject_token_issuers[{number}].{name}");
        let keys = match (&issuer.jwks_uri, issuer.verify_signature) {
            (_, false) => None,
            (Some(text), true) => Some(keys_at(setup, &field("jwks_uri"), text)?),
            (None, true) => {
                let message = "signatures are checked with the keys at 'jwks_uri': give it";
                return Err(BuildError::new(format!("config.{}", field("verify_signature")), message));
            }
        };
        Ok(Self { name: issuer.issuer.clone(), conditions: issuer.conditions.clone(), keys })
    }

    /// Whether a token of this issuer meets all conditions: it has one of what it should have, and none of what it should lack.
    fn wants(&self, claims: &Claims) -> bool {
        let Some(conditions) = &self.conditions else { return true };
        let has = |listed: &Option<Vec<String>>, name: &str, reading, without: bool| {
            let had = claims::list(claims.get(name), reading);
            listed
                .as_ref()
                .is_none_or(|listed| listed.iter().any(|one| had.contains(&one.as_str())) != without)
        };
        has(&conditions.has_audience, "aud", Reading::Whole, false)
            && has(&conditions.has_scopes, "scope", Reading::Words, false)
            && has(&conditions.missing_audience, "aud", Reading::Whole, true)
            && has(&conditions.missing_scopes, "scope", Reading::Words, true)
    }

    /// Checks the signature of a token, where that is wanted.
    async fn check(&self, token: &[u8]) -> Result<(), Refusal> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let mut known = keys.obtain().await.map_err(|_| Refusal::Unavailable)?;
        let header = Header::of(token).map_err(|defect| Refusal::Invalid(defect.as_str()))?;
        if !known.content.knows(&header)
            && let Some(newer) = keys.newer_than(known.number).await
        {
            known = newer;
        }
        match Token::verify(token, &known.content) {
            Ok(_) => Ok(()),
            Err(defect) => Err(Refusal::Invalid(defect.as_str())),
        }
    }
}

impl Inner {
    /// Goes on with a token got for this one, if it is one to be exchanged.
    pub(super) fn exchange_token(self: &Arc<Self>, cx: &Access<'_>, token: &[u8]) -> Option<Flow> {
        let claims = self.token_exchange.as_ref()?.subject(token)?;
        let (inner, token) = (self.clone(), token.to_vec());
        let (worker, now_ms, asked_with) = (cx.worker.index, cx.record.started_ms, self.asked_with(cx));
        Some(Flow::wait(async move {
            let outcome = match inner.exchanged(&token, &claims, &asked_with, now_ms).await {
                Ok(newer) => inner.find_out(newer.as_bytes(), None, worker, now_ms, asked_with).await,
                Err(refusal) => Err(refusal),
            };
            let resume: Resume = Box::new(move |cx| inner.conclude_held(cx, &token, outcome));
            resume
        }))
    }

    async fn exchanged(
        &self,
        token: &[u8],
        claims: &Claims,
        asked_with: &AskedWith,
        now_ms: u64,
    ) -> Result<String, Refusal> {
        let exchange = self.token_exchange.as_ref().ok_or(Refusal::Unavailable)?;
        let issuer = exchange.issuer_of(claims).ok_or(Refusal::Unavailable)?;
        if let Some(fault) = self.verification.untimely(claims, now_ms) {
            return Err(Refusal::Invalid(fault));
        }
        issuer.check(token).await?;
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Invalid("not a token"))?;
        let form =
            pairs([("grant_type", GRANT), ("subject_token", text), ("subject_token_type", ACCESS_TOKEN)]);
        let wanted = Exchange { form, wishes: exchange.wishes.clone(), longest: exchange.longest };
        let tokens = self.tokens.exchange(token, wanted, &asked_with.tokens, now_ms).await?;
        Ok(tokens.access)
    }
}

/// The keys at `text`, kept fresh as the provider's are.
fn keys_at(setup: &Setup<'_>, field: &str, text: &str) -> Result<Arc<Published<KeySet>>, BuildError> {
    let (provider, services) = (&setup.config.provider, setup.cx.services);
    let (http, address) = (setup.http.clone(), setup.http.address(setup.cx, field, text)?);
    let seconds = |number: f64| Duration::from_millis((number * 1_000.0) as u64);
    let freshness = Freshness {
        lifetime: seconds(provider.cache_ttl),
        cool_down: seconds(provider.rediscovery_lifetime),
        negative: provider.cache_ttl_neg.map(seconds).filter(|negative| !negative.is_zero()),
    };
    let source: Source<KeySet> = Box::new(move || {
        let (http, address) = (http.clone(), address.clone());
        Box::pin(async move {
            let text = http.get(&address, &Pairs::new()).await?;
            KeySet::published(&text).ok_or_else(|| format!("no JSON Web Key Set at {}", address.told()))
        })
    });
    let make = || Published::new(("issuers", text), source, freshness, services);
    let key = format!("openid-connect subjects {text} {:?}", setup.cx.fingerprint::<config::Provider>());
    Ok(services.keep(&key, make))
}
