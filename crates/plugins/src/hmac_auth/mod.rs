#![doc = include_str!("doc.md")]

mod digest;
mod parameters;
mod secrets;
mod signature;

use std::sync::Arc;

use plugin::authorization;
use plugin::identity::{Anonymous, Caller};
use plugin::lockout::{Attempt, Guard, LockedOut, Outcome, Protection};
use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::{Access, Build, BuildError, Flow, Headers, Phase, Phases, Plugin, Scopes, record};

use parameters::Parameters;
use secrets::Secrets;
use signature::{Algorithm, NAMES, RequestLine};

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in who sign their requests with a secret.
    pub struct Config {
        /// Whether the signature is taken out of the request before it goes upstream.
        hide_credentials: bool = true;
        /// Seconds by which the date of a request may differ from the gateway's clock.
        clock_skew: f64 = 300, [gt(0)];
        /// Id or username of a consumer that stands for callers without a valid signature. Without it they are refused.
        anonymous: Option<String>;
        /// Whether the body must be the one that the field `Digest` speaks of. It is then held in memory.
        validate_request_body: bool = false;
        /// What must be signed: names of fields, `request-line` or `@request-target`. Name the date, or an old signature can
        /// be sent again with a new one.
        enforce_headers: Vec<String> = [], [each(len_min(1))];
        /// Algorithms that are accepted.
        algorithms: Vec<String> = ["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"], [each(one_of(&NAMES))];
        /// Protection space named in the `WWW-Authenticate` header of a refusal.
        realm: Option<String>, [matches(r#"^[^"\\[:cntrl:]]*$"#)];
        /// What happens to who fails again and again.
        brute_force_protection: Protection, [extension()];
    }
}

/// The room, ready to run.
pub struct HmacAuth(Arc<Room>);

struct Room {
    hide: bool,
    skew_ms: u64,
    anonymous: Anonymous,
    validate_body: bool,
    enforced: Vec<String>,
    algorithms: Vec<Algorithm>,
    challenge: String,
    secrets: Arc<Secrets>,
    guard: Option<Arc<Guard>>,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    Date,
    /// Nothing that could be checked.
    Unusable,
    Wrong,
    LockedOut(LockedOut),
}

impl Plugin for HmacAuth {
    const NAME: &'static str = "hmac-auth";
    const PRIORITY: i64 = 1030;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![secrets::HmacAuthCredential::entity_schema()]
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        if config.algorithms.is_empty() {
            return Err(BuildError::new(
                "config.algorithms",
                "no signature would be accepted: name an algorithm",
            ));
        }
        Ok(Self(Arc::new(Room {
            guard: config.brute_force_protection.guard(cx, Self::NAME)?,
            hide: config.hide_credentials,
            skew_ms: (config.clock_skew * 1000.0) as u64,
            anonymous: Anonymous::resolve(config.anonymous.as_deref(), cx),
            validate_body: config.validate_request_body,
            enforced: config.enforce_headers,
            algorithms: config.algorithms.iter().filter_map(|name| Algorithm::named(name)).collect(),
            challenge: authorization::challenge("hmac", config.realm.as_deref()),
            secrets: cx.shared(Secrets::new)?,
        })))
    }
}

impl Phases for HmacAuth {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let room = &self.0;
        if room.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let outcome = match room.authenticate(cx) {
            Ok(caller) if room.validate_body => match cx.body() {
                // Only who signs has a body read.
                None => return Flow::ReadBody,
                Some(body) if digest::fits(&cx.request.headers, body) => Ok(caller),
                Some(_) => Err(Refusal::Wrong),
            },
            outcome => outcome,
        };
        let guarded = room.guard.as_ref().and_then(|guard| Some((guard, attempt(guard, cx, &outcome)?)));
        if room.hide {
            // Wrong ones are hidden as well: the anonymous consumer may still let the request pass.
            authorization::hide(cx.headers(), "hmac");
        }
        let Some((guard, attempt)) = guarded else { return room.end(cx, outcome) };
        let room = room.clone();
        guard.settle(
            cx,
            |_, _| attempt,
            Outcome::of(&outcome),
            move |cx, said| room.end(cx, said.map_err(Refusal::LockedOut).and(outcome)),
        )
    }
}

/// The attempt to prove a username, where one was judged.
fn attempt(guard: &Guard, cx: &Access<'_>, outcome: &Result<Arc<Caller>, Refusal>) -> Option<Attempt> {
    if !matches!(outcome, Ok(_) | Err(Refusal::Wrong)) {
        return None;
    }
    let parameters = Parameters::find(&cx.request.headers)?;
    Some(guard.attempt(parameters.username.as_bytes(), cx.client.ip, cx.steady_ms()))
}

impl Room {
    fn authenticate(&self, cx: &Access<'_>) -> Result<Arc<Caller>, Refusal> {
        let headers = &cx.request.headers;
        if !authorization::FIELDS.iter().any(|field| headers.contains_known(*field)) {
            return Err(Refusal::Missing);
        }
        let now_ms = cx.record.started_ms;
        let fresh = DATES.map(|name| self.is_fresh(headers, name, now_ms));
        if !fresh.contains(&true) {
            return Err(Refusal::Date);
        }
        let parameters = Parameters::find(headers).ok_or(Refusal::Unusable)?;
        // A date that is signed is the one that counts: another could be put beside it to send an old request again.
        if DATES.iter().zip(fresh).any(|(name, fresh)| !fresh && parameters.signs(name)) {
            return Err(Refusal::Date);
        }
        let is_enforced = self.enforced.iter().all(|name| parameters.signs(name));
        if !is_enforced || !self.algorithms.contains(&parameters.algorithm) {
            return Err(Refusal::Unusable);
        }
        let (secret, caller) = self.secrets.find(parameters.username);
        let line = RequestLine {
            method: cx.request.method.as_str(),
            path: cx.request.path(),
            query: cx.request.query(),
            version: cx.request.version.as_str(),
        };
        let key = secret.key(parameters.algorithm);
        let right = signature::is_right(key, parameters.names(), line, headers, parameters.signature);
        caller.filter(|_| right).cloned().ok_or(Refusal::Wrong)
    }

    /// Whether the only date in the field `name` is about now.
    fn is_fresh(&self, headers: &Headers, name: &str, now_ms: u64) -> bool {
        let mut values = headers.all(name);
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let date = std::str::from_utf8(value).ok().and_then(|value| httpdate::parse_http_date(value).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        let date_ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        // Dates have no parts of seconds.
        date_ms.is_some_and(|date_ms| (now_ms / 1000 * 1000).abs_diff(date_ms) <= self.skew_ms)
    }

    fn end(&self, cx: &mut Access<'_>, outcome: Result<Arc<Caller>, Refusal>) -> Flow {
        self.anonymous.admit(cx, outcome, |cx, refusal| self.refuse(cx, refusal))
    }

    fn refuse(&self, cx: &mut Access<'_>, refusal: Refusal) -> Flow {
        let message = match refusal {
            Refusal::Missing => "Unauthorized",
            Refusal::Date => {
                "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication"
            }
            Refusal::Unusable => "HMAC signature cannot be verified",
            Refusal::Wrong => "HMAC signature does not match",
            Refusal::LockedOut(locked_out) => return locked_out.answer(cx),
        };
        cx.answer(401).header("WWW-Authenticate", self.challenge.as_bytes()).message(message)
    }
}

/// The fields that may hold the date.
const DATES: [&str; 2] = ["X-Date", "Date"];
