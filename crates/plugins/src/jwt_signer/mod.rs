#![doc = include_str!("doc.md")]

mod admin;
mod config;
mod endpoint;
mod introspection;
mod judge;
mod refusal;
mod signing;
mod verification;

use std::sync::Arc;

use plugin::admin::Endpoint;
use plugin::confidential::Places;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Resume, Scopes};

pub use config::Config;
use config::Settings;
use judge::{Judge, Outcome};
use refusal::Refusal;

#[cfg(test)]
mod tests;

/// The room, ready to run.
pub struct JwtSigner(Arc<Room>);

struct Room {
    /// The access token comes first.
    judges: Vec<Judge>,
    realm: Option<String>,
    tells_log: bool,
}

/// What is known of a token so far.
enum Found {
    /// There is none, and none is needed.
    Nothing,
    Known(Outcome),
    /// Somebody has to be asked about this token.
    Unknown(Vec<u8>),
}

impl Plugin for JwtSigner {
    const NAME: &'static str = "jwt-signer";
    const PRIORITY: i64 = 1020;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = admin::ENDPOINTS;
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn credentials(config: &Config, places: &mut Places) {
        for Settings { request_header, upstream_header, original_upstream_header, .. } in
            [&config.access.settings, &config.channel.settings]
        {
            let names = [request_header, upstream_header, original_upstream_header];
            names.into_iter().flatten().for_each(|name| places.header(name));
        }
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut judges = Vec::new();
        for token in [&config.access, &config.channel] {
            judges.extend(Judge::new(token, &config.general, cx)?);
        }
        if judges.is_empty() {
            let message =
                "there is no token to verify: name a header for the access token or the channel token";
            return Err(BuildError::new("config.access_token_request_header", message));
        }
        let realm = config.general.realm.map(|realm| {
            realm.chars().filter(|&letter| !letter.is_control() && !"\"\\".contains(letter)).collect()
        });
        Ok(Self(Arc::new(Room { judges, realm, tells_log: config.general.enable_instrumentation })))
    }
}

impl Phases for JwtSigner {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let room = &self.0;
        let (worker, now_ms) = (cx.worker.index, cx.record.started_ms);
        let found = room.judges.iter().map(|judge| {
            let token = match judge.find(cx) {
                Ok(token) => token,
                Err(Refusal::Missing) if judge.optional => return Found::Nothing,
                Err(refusal) => return Found::Known(Err(refusal)),
            };
            let known = judge.remembered(worker, token, now_ms);
            match known.or_else(|| judge.judge_now(worker, token, now_ms)) {
                Some(outcome) => Found::Known(outcome),
                None => Found::Unknown(token.to_vec()),
            }
        });
        let found: Vec<Found> = found.collect();
        if !found.iter().any(|found| matches!(found, Found::Unknown(_))) {
            return room.conclude(cx, found);
        }
        let room = room.clone();
        Flow::wait(async move {
            let mut settled = Vec::new();
            for (judge, found) in room.judges.iter().zip(found) {
                settled.push(match found {
                    Found::Unknown(token) => Found::Known(judge.settle(worker, &token, now_ms).await),
                    known => known,
                });
            }
            let resume: Resume = Box::new(move |cx| room.conclude(cx, settled));
            resume
        })
    }
}

impl Room {
    fn conclude(&self, cx: &mut Access<'_>, found: Vec<Found>) -> Flow {
        self.judges.iter().for_each(|judge| judge.clear(cx));
        let (mut refused, mut passports) = (None, Vec::new());
        for (judge, found) in self.judges.iter().zip(found) {
            let told = match found {
                Found::Known(Ok(passport)) => {
                    passports.push(passport);
                    "accepted"
                }
                Found::Known(Err(refusal)) => {
                    refused = refused.or(Some(refusal));
                    refusal.as_str()
                }
                Found::Nothing | Found::Unknown(_) => "no token",
            };
            if self.tells_log {
                cx.add_log_field(judge.log_name(), told.as_bytes());
            }
        }
        if let Some(refusal) = refused {
            return refusal.answer(cx, self.realm.as_deref());
        }
        // Whoever is a consumer tells more of who calls; else the access token does.
        let is_consumer = |passport: &&Arc<judge::Passport>| passport.caller.consumer.is_some();
        if let Some(passport) = passports.iter().find(is_consumer).or(passports.first()) {
            cx.authenticate(passport.caller.clone());
            if let Some(claims) = &passport.claims {
                cx.vouch_for_claims(claims.clone());
            }
        }
        for passport in &passports {
            cx.headers().append_all(&passport.upstream);
        }
        Flow::Next
    }
}
