//! Asking whether a token is good, and what it says (RFC 7662).

use std::sync::Arc;
use std::time::Duration;

use plugin::claims::said::{self, Claims};
use plugin::jose;
use plugin::query;
use plugin::remember::{Digest, Learned, Memory, Settings};
use plugin::{Build, BuildError};
use serde_json::Value;

use super::config::Token;
use super::endpoint::Endpoint;
use super::refusal::Refusal;

/// Longest time for which an answer is believed, so that a token that is taken back is.
pub(super) const LONGEST_S: u64 = 60;
/// How long it is believed that a token is no good.
const NEGATIVE: Duration = Duration::from_secs(10);

pub(super) struct Introspection {
    endpoint: Arc<Endpoint>,
    memory: Arc<Memory<Claims>>,
    /// What stands before the token in the question.
    begin: String,
    /// What stands behind it.
    end: String,
    jwt_claim: Option<Vec<String>>,
    pub(super) remembers: bool,
}

/// An answer about a token that is good.
pub(super) struct Answer {
    pub(super) claims: Arc<Claims>,
    /// A token within it.
    pub(super) jwt: Option<String>,
}

impl Introspection {
    /// None where nobody is asked.
    pub(super) fn new(token: &Token, cx: &Build<'_>) -> Result<Option<Self>, BuildError> {
        let settings = &token.settings;
        let address = settings.introspection_endpoint.as_deref().filter(|address| !address.is_empty());
        let shown = ("introspection_client_certificate", &settings.introspection_client_certificate);
        let certificate = Endpoint::certificate(token, shown.0, shown.1, address, cx)?;
        let Some(address) = address.filter(|_| settings.enable_introspection) else { return Ok(None) };
        let timeout = settings.introspection_timeout.map(|timeout| Duration::from_millis(timeout as u64));
        let endpoint = Endpoint::new(token, ("introspection_endpoint", address), certificate, timeout, cx)?;
        let endpoint = endpoint.with_authorization(settings.introspection_authorization.as_deref());
        let mut end = String::new();
        if let Some(hint) = settings.introspection_hint.as_deref().filter(|hint| !hint.is_empty()) {
            end.push_str("&token_type_hint=");
            query::encode(hint, &mut end);
        }
        if let Some(arguments) = settings.introspection_body_args.as_deref().filter(|more| !more.is_empty()) {
            end.push('&');
            end.push_str(arguments.trim_start_matches('&'));
        }
        Ok(Some(Self {
            endpoint: Arc::new(endpoint),
            memory: Memory::open(cx.services, "jwt-signer", &Settings::default()),
            begin: "token=".to_owned(),
            end,
            jwt_claim: settings.introspection_jwt_claim.clone().filter(|path| !path.is_empty()),
            remembers: settings.cache_introspection,
        }))
    }

    /// What the endpoint says of a token.
    pub(super) async fn ask(&self, token: &[u8], now_ms: u64) -> Result<Answer, Refusal> {
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Invalid("not a token"))?;
        let mut form = self.begin.clone();
        query::encode(text, &mut form);
        form.push_str(&self.end);
        let key = Digest::of([self.endpoint.identity().as_bytes(), form.as_bytes()]);
        let (endpoint, remembers) = (self.endpoint.clone(), self.remembers);
        let ask = async move {
            let answer = endpoint.post(form).await?;
            let claims: Claims = serde_json::from_slice(&answer).map_err(|_| "no JSON object".to_owned())?;
            let fresh = if remembers { lifetime(&claims, now_ms / 1_000) } else { Duration::ZERO };
            Ok(Learned::new(claims, fresh).holding(answer.len() * 2))
        };
        let asked = match self.remembers {
            true => self.memory.fetch(key, ask).await,
            false => self.memory.alone(ask).await,
        };
        let claims = asked.map_err(|_| Refusal::Unavailable)?;
        if !is_active(&claims) {
            return Err(Refusal::Invalid("token is not active"));
        }
        let jwt = self.jwt_claim.as_ref().and_then(|path| said::at(&claims, path)).and_then(Value::as_str);
        let jwt = jwt.filter(|jwt| jose::Header::of(jwt.as_bytes()).is_ok()).map(str::to_owned);
        Ok(Answer { claims, jwt })
    }
}

fn is_active(claims: &Claims) -> bool {
    claims.get("active").and_then(Value::as_bool).unwrap_or(false)
}

fn lifetime(claims: &Claims, now_s: u64) -> Duration {
    if !is_active(claims) {
        return NEGATIVE;
    }
    let left = claims.get("exp").and_then(Value::as_f64).map(|end| (end as u64).saturating_sub(now_s));
    Duration::from_secs(left.unwrap_or(LONGEST_S).min(LONGEST_S))
}
