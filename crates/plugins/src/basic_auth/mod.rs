#![doc = include_str!("doc.md")]

mod credentials;
mod hash;
mod pool;

use std::sync::Arc;

use plugin::authorization::{self, Login};
use plugin::identity::{Anonymous, Caller};
use plugin::lockout::{Attempt, Bounds, Guard, LockedOut};
use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::principals::Principals;
use plugin::redis::fields::Redis;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Resume, Scopes, record};

use credentials::Passwords;
use hash::{Slow, Stored};
use pool::{Answer, Outcome, Pool};

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in who know the password of a username.
    pub struct Config {
        /// Whether the credentials are taken out of the request before it goes upstream.
        hide_credentials: bool = true;
        /// Id or username of a consumer that stands for callers without valid credentials. Without it they are refused.
        anonymous: Option<String>;
        /// Protection space named in the `WWW-Authenticate` header of a refusal.
        realm: String = "service", [matches(r#"^[^"\\[:cntrl:]]*$"#)];
        /// What happens to who fails again and again.
        brute_force_protection: BruteForceProtection;
        /// Seconds for which a password that has been found right by `password_hash` is not checked again; 0 checks it
        /// with every request.
        verified_ttl: i64 = 60, [between(0, 3600), extension()];
        /// Principals of a hosted directory. Not available: leave it disabled.
        principals: Principals;
    }
}

record! {
    /// What happens to who fails again and again.
    pub struct BruteForceProtection {
        ..bounds: Bounds;
        /// Where failures are counted: nowhere, or in the memory of this gateway. `redis` and `cluster` are not available.
        strategy: String = "off", [one_of(&["cluster", "memory", "off", "redis"])];
        /// The server of the strategy `redis`.
        redis: Redis;
    }
}

/// The room, ready to run.
pub struct BasicAuth(Arc<Room>);

struct Room {
    hide: bool,
    challenge: String,
    anonymous: Anonymous,
    passwords: Arc<Passwords>,
    pool: Arc<Pool>,
    verified_ttl_ms: u64,
    guard: Option<Guard>,
}

/// Why a caller does not get in.
enum Refusal {
    Wrong,
    LockedOut(LockedOut),
    /// The gateway cannot say yet.
    Busy,
}

/// A password is being checked.
struct Checking {
    outcome: Outcome,
    /// Whose it is if it is right; nobody's for an unknown username.
    caller: Option<Arc<Caller>>,
    /// What has been counted as a failure in advance.
    attempt: Option<Attempt>,
}

impl Plugin for BasicAuth {
    const NAME: &'static str = "basic-auth";
    const PRIORITY: i64 = 1100;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn entities() -> Vec<EntitySchema> {
        vec![credentials::BasicAuthCredential::entity_schema()]
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        config.principals.refuse()?;
        Ok(Self(Arc::new(Room {
            hide: config.hide_credentials,
            challenge: authorization::challenge("Basic", Some(&config.realm)),
            anonymous: Anonymous::resolve(config.anonymous.as_deref(), cx),
            passwords: cx.shared(Passwords::new)?,
            pool: cx.services.keep(Self::NAME, || Pool::new(cx.services)),
            verified_ttl_ms: u64::try_from(config.verified_ttl).unwrap_or(0) * 1000,
            guard: config.brute_force_protection.guard(cx)?,
        })))
    }
}

impl BruteForceProtection {
    fn guard(&self, cx: &Build<'_>) -> Result<Option<Guard>, BuildError> {
        match self.strategy.as_str() {
            "off" => Ok(None),
            "memory" => Ok(Some(Guard::new(cx.services, BasicAuth::NAME, self.bounds.rules()))),
            other => {
                let message =
                    format!("failures cannot be counted by '{other}' in this version; use 'memory' or 'off'");
                Err(BuildError::new("config.brute_force_protection.strategy", message))
            }
        }
    }
}

impl Phases for BasicAuth {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let room = &self.0;
        if room.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let login = Login::find(&cx.request.headers, "basic");
        if room.hide {
            // Wrong ones are hidden as well: the anonymous consumer may still let the request pass.
            authorization::hide(cx.headers(), "basic");
        }
        match login {
            Some(login) => Room::authenticate(room, cx, &login),
            None => room.end(cx, Err(Refusal::Wrong)),
        }
    }
}

impl Room {
    fn authenticate(room: &Arc<Self>, cx: &mut Access<'_>, login: &Login) -> Flow {
        let attempt = match room.admit(cx, login) {
            Ok(attempt) => attempt,
            Err(locked_out) => return room.end(cx, Err(Refusal::LockedOut(locked_out))),
        };
        let (stored, caller) = room.passwords.find(login.username());
        let right = match stored {
            Stored::Fast(hash) => hash.is_of(login.password()),
            Stored::Slow(hash) => match room.check_slowly(cx, login, hash, caller) {
                Ok(None) => true,
                Ok(Some(checking)) => return Self::wait(room, checking),
                Err(refusal) => return room.end(cx, Err(refusal)),
            },
        };
        let caller = caller.filter(|_| right).cloned().ok_or(Refusal::Wrong);
        if let Some(guard) = &room.guard {
            match (&caller, attempt) {
                (Ok(_), Some(attempt)) => guard.succeeded(&attempt),
                (Ok(_), None) => {}
                (Err(_), _) => guard.failed(&room.attempt(guard, cx, login)),
            }
        }
        room.end(cx, caller)
    }

    /// Whether the guard lets the password be looked at; the attempt, where it matters that it succeeds.
    fn admit(&self, cx: &Access<'_>, login: &Login) -> Result<Option<Attempt>, LockedOut> {
        let Some(guard) = self.guard.as_ref().filter(|guard| !guard.is_quiet(cx.steady_ms())) else {
            return Ok(None);
        };
        let attempt = self.attempt(guard, cx, login);
        guard.check(&attempt)?;
        Ok(Some(attempt))
    }

    fn attempt(&self, guard: &Guard, cx: &Access<'_>, login: &Login) -> Attempt {
        guard.attempt(login.username(), cx.client.ip, cx.steady_ms())
    }

    /// A check of a slow hash: none where the password has been found right a short while ago.
    fn check_slowly(
        &self,
        cx: &Access<'_>,
        login: &Login,
        hash: &Arc<Slow>,
        caller: Option<&Arc<Caller>>,
    ) -> Result<Option<Checking>, Refusal> {
        let (proven, now_ms) = (&self.pool.proven, cx.steady_ms());
        let digest = proven.digest(&[login.username(), hash.text().as_bytes(), login.password()]);
        let is_proven = || caller.is_some() && proven.find(&digest, now_ms, self.verified_ttl_ms).is_some();
        if is_proven() {
            return Ok(None);
        }
        let attempt = self.guard.as_ref().map(|guard| (guard, self.attempt(guard, cx, login)));
        let begin = || attempt.as_ref().map_or(Ok(()), |(guard, attempt)| guard.begin(attempt));
        let answer = self.pool.ask((digest, now_ms), (hash, login.password()), is_proven, begin);
        let checking = |outcome, attempt| Checking { outcome, caller: caller.cloned(), attempt };
        match answer.map_err(Refusal::LockedOut)? {
            Answer::Proven => Ok(None),
            Answer::Joined(outcome) => Ok(Some(checking(outcome, None))),
            Answer::Begun(outcome) => Ok(Some(checking(outcome, attempt.map(|(_, attempt)| attempt)))),
            Answer::Busy => {
                if let Some((guard, attempt)) = &attempt {
                    guard.withdraw(attempt);
                }
                Err(Refusal::Busy)
            }
        }
    }

    fn wait(room: &Arc<Self>, checking: Checking) -> Flow {
        let room = room.clone();
        Flow::wait(async move {
            let Checking { outcome, caller, attempt } = checking;
            let right = outcome.get().await;
            let resume: Resume = Box::new(move |cx| {
                let Some(caller) = caller.filter(|_| right) else {
                    return room.end(cx, Err(Refusal::Wrong));
                };
                if let (Some(guard), Some(attempt)) = (&room.guard, &attempt) {
                    guard.withdraw(attempt);
                }
                room.end(cx, Ok(caller))
            });
            resume
        })
    }

    fn end(&self, cx: &mut Access<'_>, outcome: Result<Arc<Caller>, Refusal>) -> Flow {
        match outcome {
            Ok(caller) => {
                cx.authenticate(caller);
                Flow::Next
            }
            // Neither right nor wrong, so that nobody can stand in.
            Err(Refusal::Busy) => {
                let message = "Too many passwords are being checked";
                cx.answer(503).header("Retry-After", b"1").message(message)
            }
            Err(Refusal::LockedOut(LockedOut(seconds))) => self.anonymous.or_refuse(cx, |cx| {
                let answer = cx.answer(429).header("Retry-After", seconds.to_string().as_bytes());
                answer.message("Too many failed attempts")
            }),
            Err(Refusal::Wrong) => self.anonymous.or_refuse(cx, |cx| {
                cx.answer(401).header("WWW-Authenticate", self.challenge.as_bytes()).message("Unauthorized")
            }),
        }
    }
}
