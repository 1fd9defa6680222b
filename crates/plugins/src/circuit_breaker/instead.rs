//! What a request gets that is not let through.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use plugin::guard::Instead;
use plugin::{Access, Build, BuildError, Detour, Headers, Known};

use super::config::{Config, Refusal};
use super::stored::{Key, Store};

/// What a request that is not let through gets.
pub enum Fallback {
    /// The refusal.
    None,
    /// The last good response.
    Cached { store: Arc<Store>, max_age_ms: u64 },
    /// A fixed answer.
    Static { status: u16, headers: Headers, body: Bytes },
    /// The response of another service.
    Service(Detour),
}

/// The refusal, its body cut where the seconds go.
pub struct Refused {
    status: u16,
    headers: Headers,
    body: Vec<String>,
}

impl Fallback {
    /// What `config` says.
    ///
    /// # Errors
    /// When a field of an answer or the service is none.
    pub fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let wanted = &config.fallback;
        Ok(match wanted.r#type.as_str() {
            "cached" => Self::Cached {
                store: cx.services.keep("circuit-breaker", Store::new),
                max_age_ms: wanted.max_age.unsigned_abs() * 1000,
            },
            "static" => {
                let given = (wanted.content_type.as_str(), &wanted.headers);
                let headers = header_fields("config.fallback.headers", given)?;
                let body = Bytes::from(wanted.body.clone().into_bytes());
                Self::Static { status: wanted.status as u16, headers, body }
            }
            "service" => {
                let field = "config.fallback.service";
                let message = "fallback.type: service needs the name of a service here";
                let name = wanted.service.as_deref().ok_or_else(|| BuildError::new(field, message))?;
                Self::Service(cx.detour_to_service(field, name)?)
            }
            _ => Self::None,
        })
    }

    /// Finds something better than the refusal.
    pub fn stand_in(&self, cx: &mut Access<'_>, key: Option<&Key>, now: u64) -> Option<Instead> {
        match self {
            Self::None => None,
            Self::Service(detour) => {
                let asked = cx.service().map(|service| service.id);
                // To itself, it would get all the requests that it is to be spared.
                if asked == detour.service().map(|service| service.id) {
                    return None;
                }
                cx.decorate().set("X-Circuit-Breaker", b"open");
                cx.send_to(detour);
                Some(Instead::SentElsewhere)
            }
            Self::Static { status, headers, body } => {
                let answer = cx.answer(*status).header("X-Circuit-Breaker", b"open");
                let _answered = answer.headers(headers).body(body.clone());
                Some(Instead::Answered)
            }
            Self::Cached { store, max_age_ms } => {
                let found = store.find(key?)?;
                let age = now.saturating_sub(found.stored_ms);
                if age > *max_age_ms {
                    return None;
                }
                cx.decorate().set_number(Known::Age, age / 1000);
                let answer = cx.answer(found.status).header("X-Circuit-Breaker", b"open");
                let _answered = answer.headers(&found.headers).body(found.body.clone());
                Some(Instead::Answered)
            }
        }
    }
}

impl Refused {
    /// What `answer` says.
    ///
    /// # Errors
    /// When a field is none.
    pub fn new(answer: &Refusal) -> Result<Self, BuildError> {
        let headers = header_fields("config.answer.headers", (&answer.content_type, &answer.headers))?;
        let body = answer.body.split("$(retry_after)").map(str::to_owned).collect();
        Ok(Self { status: answer.status as u16, headers, body })
    }

    /// Answers a request that it is worth sending again in `wait_ms`.
    pub fn answer(&self, cx: &mut Access<'_>, wait_ms: u64) -> Instead {
        let seconds = wait_ms.div_ceil(1000).max(1);
        let body = self.body.join(&seconds.to_string());
        cx.decorate().set_number(Known::RetryAfter, seconds);
        let _answered = cx.answer(self.status).headers(&self.headers).body(body.into_bytes());
        Instead::Answered
    }
}

/// The fields of an answer.
fn header_fields(
    field: &str,
    (content_type, others): (&str, &Option<BTreeMap<String, String>>),
) -> Result<Headers, BuildError> {
    let mut headers = Headers::new();
    headers.set_known(Known::ContentType, content_type.as_bytes());
    for (name, value) in others.iter().flatten() {
        if !headers.set(name, value.as_bytes()) {
            return Err(BuildError::new(format!("{field}.{name}"), "is no value of a header field"));
        }
    }
    Ok(headers)
}
