#![doc = include_str!("doc.md")]

mod credentials;
mod hash;
mod pool;

use std::sync::Arc;

use plugin::authorization::{self, Login};
use plugin::identity::{Anonymous, Caller};
use plugin::lockout::{Attempt, Begun, Guard, LockedOut, Outcome, Protection};
use plugin::model::EntitySchema;
use plugin::model::entity::Entity;
use plugin::principals::Principals;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Resume, Scopes, record};

use credentials::Passwords;
use hash::{Slow, Stored};
use pool::{Answer, Check, Pool};

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
        brute_force_protection: Protection;
        /// Seconds for which a password that has been found right by `password_hash` is not checked again; 0 checks it
        /// with every request.
        verified_ttl: i64 = 60, [between(0, 3600), extension()];
        /// Principals of a hosted directory. Not available: leave it disabled.
        principals: Principals;
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
    guard: Option<Arc<Guard>>,
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
    check: Check,
    /// Whose it is if it is right; nobody's for an unknown username.
    caller: Option<Arc<Caller>>,
    /// What has begun with it; nothing where somebody else had begun the same.
    begun: Option<Begun>,
}

/// What there is to know of a password with a slow hash.
enum Known {
    /// It has been found right a short while ago.
    Right,
    Soon(Box<Checking>),
    /// Its check may begin when the guard lets it.
    Later,
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
            guard: config.brute_force_protection.guard(cx, Self::NAME)?,
        })))
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
            Some(login) => Room::authenticate(room, cx, login, None),
            None => room.end(cx, Err(Refusal::Wrong)),
        }
    }
}

impl Room {
    fn authenticate(room: &Arc<Self>, cx: &mut Access<'_>, login: Login, begun: Option<Begun>) -> Flow {
        let (stored, caller) = room.passwords.find(login.username());
        let caller = caller.cloned();
        let right = match stored {
            Stored::Fast(hash) => hash.is_of(login.password()),
            Stored::Slow(hash) => match room.check_slowly(cx, &login, hash, caller.as_ref(), begun) {
                Ok(Known::Right) => true,
                Ok(Known::Soon(checking)) => return Self::wait(room, cx, &login, checking),
                Ok(Known::Later) => return Self::begin(room, cx, login),
                Err(refusal) => return room.end(cx, Err(refusal)),
            },
        };
        let caller = caller.filter(|_| right).ok_or(Refusal::Wrong);
        let Some(guard) = &room.guard else { return room.end(cx, caller) };
        let (outcome, room) = (Outcome::of(&caller), room.clone());
        guard.settle(
            cx,
            |guard, cx| attempt(guard, cx, &login),
            outcome,
            move |cx, said| room.end(cx, said.map_err(Refusal::LockedOut).and(caller)),
        )
    }

    /// A check of a slow hash: none where the password has been found right a short while ago.
    fn check_slowly(
        &self,
        cx: &Access<'_>,
        login: &Login,
        hash: &Arc<Slow>,
        caller: Option<&Arc<Caller>>,
        mut begun: Option<Begun>,
    ) -> Result<Known, Refusal> {
        let (proven, now_ms) = (&self.pool.proven, cx.steady_ms());
        let digest = proven.digest(&[login.username(), hash.text().as_bytes(), login.password()]);
        let is_proven = || caller.is_some() && proven.find(&digest, now_ms, self.verified_ttl_ms).is_some();
        if is_proven() {
            return Ok(Known::Right);
        }
        let begin = || match &self.guard {
            Some(guard) if begun.is_none() => {
                begun = guard.begin_now(attempt(guard, cx, login)).map_err(Some)?;
                if begun.is_some() { Ok(()) } else { Err(None) }
            }
            _ => Ok(()),
        };
        let answer = match self.pool.ask((digest, now_ms), (hash, login.password()), is_proven, begin) {
            Ok(answer) => answer,
            Err(None) => return Ok(Known::Later),
            Err(Some(locked_out)) => return Err(Refusal::LockedOut(locked_out)),
        };
        let soon =
            |check, begun| Ok(Known::Soon(Box::new(Checking { check, caller: caller.cloned(), begun })));
        if let Answer::Begun(check) = answer {
            return soon(check, begun);
        }
        if let Some(begun) = begun {
            begun.undecided();
        }
        match answer {
            Answer::Begun(check) | Answer::Joined(check) => soon(check, None),
            Answer::Proven => Ok(Known::Right),
            Answer::Busy => Err(Refusal::Busy),
        }
    }

    /// Waits until the check of a password may begin.
    fn begin(room: &Arc<Self>, cx: &Access<'_>, login: Login) -> Flow {
        let (room, worker) = (room.clone(), cx.worker.index);
        let attempt = room.guard.as_ref().map(|guard| attempt(guard, cx, &login));
        Flow::wait(async move {
            let begun = match room.guard.as_ref().zip(attempt) {
                Some((guard, attempt)) => guard.begin(worker, attempt).await.map(Some),
                None => Ok(None),
            };
            let resume: Resume = Box::new(move |cx| match begun {
                Ok(begun) => Self::authenticate(&room, cx, login, begun),
                Err(locked_out) => room.end(cx, Err(Refusal::LockedOut(locked_out))),
            });
            resume
        })
    }

    /// Waits for the outcome of a check.
    fn wait(room: &Arc<Self>, cx: &Access<'_>, login: &Login, checking: Box<Checking>) -> Flow {
        let (room, worker) = (room.clone(), cx.worker.index);
        let attempt = room.guard.as_ref().map(|guard| attempt(guard, cx, login));
        Flow::wait(async move {
            let Checking { check, caller, begun } = *checking;
            let right = check.outcome().await;
            let caller = caller.filter(|_| right).ok_or(Refusal::Wrong);
            let said = match (begun, room.guard.as_ref().zip(attempt)) {
                (Some(begun), _) => begun.settle(worker, Outcome::of(&caller)).await,
                (None, Some((guard, attempt))) => {
                    let outcome = if caller.is_ok() { Outcome::Right } else { Outcome::Counted };
                    guard.rule(worker, &attempt, outcome).await
                }
                (None, None) => Ok(()),
            };
            let resume: Resume =
                Box::new(move |cx| room.end(cx, said.map_err(Refusal::LockedOut).and(caller)));
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
            Err(Refusal::LockedOut(locked_out)) => self.anonymous.or_refuse(cx, |cx| locked_out.answer(cx)),
            Err(Refusal::Wrong) => self.anonymous.or_refuse(cx, |cx| {
                cx.answer(401).header("WWW-Authenticate", self.challenge.as_bytes()).message("Unauthorized")
            }),
        }
    }
}

fn attempt(guard: &Guard, cx: &Access<'_>, login: &Login) -> Attempt {
    guard.attempt(login.username(), cx.client.ip, cx.steady_ms())
}
