#![doc = include_str!("doc.md")]

mod admin;
mod claims;
mod issued;

use std::sync::Arc;
use std::time::Duration;

use plugin::admin::Endpoint;
use plugin::authorization::TokenField;
use plugin::confidential::Places;
use plugin::identity::OwnFields;
use plugin::jose::{Algorithm, Remembered};
use plugin::keyring::KeyRing;
use plugin::model::Map;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};
use serde_json::Value;

use claims::Telling;
use issued::{Issued, Known as KnownCallers, Who};

#[cfg(test)]
mod tests;

record! {
    /// Tells services who calls by a signed token.
    pub struct Config {
        /// The header with the token, and after a colon its scheme, if it has one. What the client sent in it is removed, also
        /// where there is no token.
        header: String = "Authorization:Bearer", [custom_value(header)];
        /// The `iss` of the tokens.
        issuer: String = "biplane", [len_min(1)];
        /// The `aud` of the tokens; the name of the service, or its id, where it is not given.
        audience: Option<Vec<String>>, [len_min(1), each(len_min(1))];
        /// The set of keys that the token is signed with: the entity of `key_sets` with that name, or else keys that the process
        /// makes for itself.
        keyset: String = "biplane", [len_min(1)];
        /// How it is signed.
        algorithm: String = "ES256", [one_of(&["ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"])];
        /// Seconds after which keys that the process has made are exchanged; with 0 they never are.
        rotate_period: f64 = 0, [custom_value(period)];
        /// Seconds for which a token is good.
        lifetime: f64 = 300, [between(5, 86400)];
        /// The share of its life for which a token goes with further requests of the same caller. With 0 each request has a token
        /// and a signature of its own.
        reuse: f64 = 0.5, [between(0, 0.9)];
        /// What the `sub` is: the consumer's `id`, `username` or `custom_id`, or the `credential`'s identifier. The identifier stands
        /// in where there is no such thing.
        subject: String = "id", [one_of(&["id", "username", "custom_id", "credential"])];
        /// Claims of the caller's own token that go into this one, as they are.
        claims_from_token: Vec<String> = [], [each(custom_value(claim))];
        /// Claims that every token has; texts that are JSON are read as such.
        set_claims: Map<String> = {}, [keys(custom_value(claim))];
        /// Whether `X-Consumer-ID` and the other headers that tell who calls are left out.
        hide_identity_headers: bool = false;
    }
}

fn header(value: &Value) -> Result<(), String> {
    TokenField::parse(value.as_str().unwrap_or_default()).map(drop)
}

/// A key that lasts less than its tokens would have them refused.
fn period(value: &Value) -> Result<(), String> {
    match value.as_f64() {
        Some(seconds) if seconds == 0.0 || (60.0..=31_536_000.0).contains(&seconds) => Ok(()),
        _ => Err("value should be 0, or between 60 and 31536000".to_owned()),
    }
}

fn claim(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    match name {
        "" => Err("a claim needs a name".to_owned()),
        _ if claims::OURS.contains(&name) => Err(format!("'{name}' is the gateway's to say")),
        _ => Ok(()),
    }
}

/// The room, ready to run.
pub struct UpstreamJwt {
    header: TokenField,
    /// The same, which is nobody else's to tell.
    tells: OwnFields,
    ring: Arc<KeyRing>,
    period: Option<Duration>,
    lifetime_s: u64,
    reuse_ms: u64,
    hides: bool,
    telling: Telling,
    /// By who calls, and by what is said of that: callers that are found out anew for each request say the same.
    callers: KnownCallers,
    tokens: Remembered<Arc<Issued>>,
}

impl Plugin for UpstreamJwt {
    const NAME: &'static str = "upstream-jwt";
    const PRIORITY: i64 = 895;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::ALL;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = admin::ENDPOINTS;

    type Config = Config;

    fn credentials(config: &Config, places: &mut Places) {
        places.header(&config.header);
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let header =
            TokenField::parse(&config.header).map_err(|wrong| BuildError::new("config.header", wrong))?;
        let algorithm = Algorithm::named(&config.algorithm)
            .ok_or_else(|| BuildError::new("config.algorithm", "is not known"))?;
        let period = Duration::from_secs_f64(config.rotate_period);
        Ok(Self {
            tells: OwnFields::of_tokens([&*header.name]),
            header,
            ring: KeyRing::open(cx, &config.keyset, algorithm, "config.keyset")?,
            period: (!period.is_zero()).then_some(period),
            lifetime_s: config.lifetime as u64,
            reuse_ms: (config.lifetime.floor() * config.reuse * 1_000.0) as u64,
            hides: config.hide_identity_headers,
            telling: Telling::new(&config, cx)?,
            callers: KnownCallers::new(cx.services),
            tokens: Remembered::new(cx.services),
        })
    }
}

impl Phases for UpstreamJwt {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        cx.forget(&self.tells);
        let Some(who) = Who::of(cx) else { return Flow::Next };
        let (worker, now_ms) = (cx.worker.index, cx.record.started_ms);
        let number = self.ring.number();
        let known = self.callers.find(worker, &who, number, now_ms);
        let Some(issued) = known.or_else(|| self.issue(worker, who, now_ms)) else {
            return cx.answer(500).message("An unexpected error occurred");
        };
        cx.headers().set(&self.header.name, &issued.value);
        if self.hides {
            for field in claims::TOLD {
                cx.tell_identity(field, None);
            }
        }
        Flow::Next
    }
}

impl UpstreamJwt {
    /// A token for who calls: one that another form of the same caller has got, or a new one.
    fn issue(&self, worker: usize, who: Who, now_ms: u64) -> Option<Arc<Issued>> {
        if let Some(period) = self.period {
            self.ring.exchange_after(period);
        }
        let (number, signer) = self.ring.at_hand()?;
        let mut claims = self.telling.claims(&who);
        let said = serde_json::to_vec(&claims).ok()?;
        let now_s = now_ms / 1_000;
        let same = self.tokens.find(worker, "", &said, now_s);
        let clocks = &self.callers.clocks;
        let same = same.filter(|issued| issued.number == number && clocks.is_before(issued.end, now_ms));
        let issued = match same {
            Some(issued) => issued,
            None => {
                self.telling.date(&mut claims, now_s, self.lifetime_s);
                let token = signer.sign(&claims)?;
                let value = self.header.value(token.as_bytes());
                let end = clocks.end_at(now_ms.saturating_add(self.reuse_ms));
                Arc::new(Issued { value, number, end })
            }
        };
        if self.reuse_ms > 0 {
            self.tokens.remember(worker, &self.telling.reading, &said, &issued, now_s + self.lifetime_s);
            self.callers.remember(worker, who, issued.clone());
        }
        Some(issued)
    }
}
