//! What a request gets that goes nowhere.

use std::sync::Arc;

use bytes::Bytes;
use plugin::guard::Instead;
use plugin::refusal::header_fields;
use plugin::{Access, Build, BuildError, Detour, Headers, Known};

use super::config::Config;
use super::stored::{Key, Store};

/// What a request gets that is not let through, or that no target could take.
pub enum Fallback {
    /// The refusal, or the failure.
    None,
    /// The last good response.
    Cached { store: Arc<Store>, max_age_ms: u64 },
    /// A fixed answer.
    Static { status: u16, headers: Headers, body: Bytes },
    /// The response of another service.
    Service(Detour),
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
                let place = "config.fallback.headers";
                let headers = header_fields(place, &wanted.content_type, wanted.headers.as_ref())?;
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

    /// Finds something better than the refusal or the failure. The client is told `why`.
    pub fn stand_in(&self, cx: &mut Access<'_>, key: Option<&Key>, why: &[u8], now: u64) -> Option<Instead> {
        match self {
            Self::None => None,
            Self::Service(detour) => {
                let asked = cx.service().map(|service| service.id);
                // To itself, it would get all the requests that it is to be spared.
                if asked == detour.service().map(|service| service.id) {
                    return None;
                }
                cx.decorate().set("X-Circuit-Breaker", why);
                cx.send_to(detour);
                Some(Instead::SentElsewhere)
            }
            Self::Static { status, headers, body } => {
                let answer = cx.answer(*status).header("X-Circuit-Breaker", why);
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
                let answer = cx.answer(found.status).header("X-Circuit-Breaker", why);
                let _answered = answer.headers(&found.headers).body(found.body.clone());
                Some(Instead::Answered)
            }
        }
    }
}
