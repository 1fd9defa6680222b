//! Asking the provider about users (OpenID Connect Core 5.3).

use std::sync::Arc;
use std::time::Duration;

use plugin::remember::{Digest, Learned, Memory, Settings};
use plugin::{Build, BuildError};
use serde_json::Value;

use super::Inner;
use super::admission::Evidence;
use super::claims::Claims;
use super::config::{self, Config};
use super::granted::Granted;
use super::http::{Http, Pairs};
use super::provider::{Endpoint, Provider};
use super::refusal::Refusal;
use super::verify::Outcome;

/// How long it is remembered that a token is no good.
const REFUSED: Duration = Duration::from_secs(10);

/// How the provider is asked.
pub(super) struct UserInfo {
    http: Arc<Http>,
    provider: Provider,
    /// None for those that the provider does not know.
    memory: Arc<Memory<Option<Claims>>>,
    owner: String,
    endpoint: Endpoint,
    headers: Pairs,
    lifetime: Duration,
}

impl UserInfo {
    pub(super) fn new(
        config: &Config,
        http: &Arc<Http>,
        provider: &Provider,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let grants = &config.grants;
        let text = grants.userinfo_endpoint.as_deref();
        let lifetime = if grants.cache_user_info { config.provider.cache_ttl as u64 } else { 0 };
        Ok(Self {
            http: http.clone(),
            provider: provider.clone(),
            memory: Memory::open(cx.services, "user info", &Settings::default()),
            owner: format!("{} {:?}", config.provider.issuer, cx.fingerprint::<config::Grants>()),
            endpoint: Endpoint::new(cx, http, "userinfo_endpoint", text, |told| told.user_info.as_ref())?,
            headers: super::pairs(
                "userinfo_headers",
                grants.userinfo_headers_names.as_deref(),
                grants.userinfo_headers_values.as_deref(),
            )?,
            lifetime: Duration::from_secs(lifetime),
        })
    }

    /// What the provider says about whoever has this access token.
    async fn ask(&self, token: &str) -> Result<Claims, Refusal> {
        let address = self.endpoint.find(&self.provider).await?;
        let key = Digest::of([self.owner.as_bytes(), token.as_bytes()]);
        let (http, headers, lifetime) = (self.http.clone(), self.headers.clone(), self.lifetime);
        let token = token.to_owned();
        let ask = async move {
            match http.get_with(&address, &token, &headers).await? {
                (200, Value::Object(claims)) => {
                    let size = claims.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
                    Ok(Learned::new(Some(claims), lifetime).holding(size))
                }
                (400 | 401 | 403, _) => Ok(Learned::new(None, REFUSED)),
                (status, _) => {
                    let address = address.told();
                    Err(format!("{address} answers {status}, and no JSON object that tells of a user"))
                }
            }
        };
        match self.memory.fetch(key, ask).await.as_deref() {
            Ok(Some(claims)) => Ok(claims.clone()),
            Ok(None) => Err(Refusal::Invalid("the provider does not know the token")),
            Err(_) => Err(Refusal::Unavailable),
        }
    }

    /// Who has a token, by what the provider says. A caller is only let in with a subject (5.3.2).
    pub(super) async fn judge(&self, inner: &Inner, token: &[u8]) -> Outcome {
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Invalid("not a token"))?;
        let claims = self.ask(text).await?;
        if claims.get("sub").and_then(Value::as_str).is_none() {
            return Err(Refusal::Invalid("the provider names no subject"));
        }
        let evidence = Evidence { access: token, user_info: Some(&claims), ..Evidence::default() };
        inner.verification.admit(&claims, &evidence)
    }
}

impl Inner {
    /// Adds what the provider says about the user, if it is to be asked and an ID token says who that is. It must be about
    /// the same one (5.3.2).
    pub(super) async fn add_user_info(&self, granted: &mut Granted) -> Result<(), Refusal> {
        let wanted = self.user_info.as_ref().filter(|_| self.searches_user_info);
        let (Some(user_info), Some(subject)) = (wanted, &granted.subject) else { return Ok(()) };
        let claims = user_info.ask(&granted.tokens.access).await?;
        if claims.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(Refusal::Invalid("the provider tells of another user"));
        }
        granted.user_info = Some(claims);
        Ok(())
    }
}
