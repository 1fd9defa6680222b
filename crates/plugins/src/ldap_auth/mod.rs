#![doc = include_str!("doc.md")]

use std::sync::Arc;
use std::time::Duration;

use plugin::authorization::{self, Login};
use plugin::identity::{Anonymous, Caller, Credential};
use plugin::ldap::{Directory, Security, Server, Unanswered, escaped};
use plugin::lockout::{Attempt, Bounds, Guard, LockedOut};
use plugin::model::entity::stable_id;
use plugin::proven::{Digest, Proven};
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Resume, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// Lets callers in whose password a directory knows.
    pub struct Config {
        /// Name or address of the directory, also the one that its certificate must have.
        ldap_host: String, [len_min(1)];
        /// Port of the directory; 636 is usual with `ldaps`.
        ldap_port: u16 = 389, [port()];
        /// Connect over TLS.
        ldaps: bool = false;
        /// Connect without TLS and begin it then (STARTTLS).
        start_tls: bool = false;
        /// Check the directory's certificate by the authorities of `KONG_LUA_SSL_TRUSTED_CERTIFICATE`.
        verify_ldap_host: bool = true;
        /// Distinguished name below which users are.
        base_dn: String, [len_min(1)];
        /// Attribute that holds usernames, as in `uid=alice,ou=people,dc=example,dc=com`.
        attribute: String, [matches("^[A-Za-z][A-Za-z0-9-]*$|^[0-9]+([.][0-9]+)+$")];
        /// Seconds for which a password that the directory knows is not asked about again; 0 asks with every request.
        cache_ttl: f64 = 60, [between(0, 31_536_000)];
        /// Whether the credentials are taken out of the request before it goes upstream.
        hide_credentials: bool = true;
        /// Milliseconds for a question and its answer, connecting included.
        timeout: f64 = 10000, [gt(0)];
        /// Milliseconds for which a connection is kept without a question.
        keepalive: f64 = 60000, [between(0, 2_147_483_646)];
        /// Id or username of a consumer that stands for callers without valid credentials. Without it they are refused.
        anonymous: Option<String>;
        /// Scheme of the credentials: `ldap`, or `basic` for clients that know no other.
        header_type: String = "ldap", [matches("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")];
        /// Protection space named in the `WWW-Authenticate` header of a refusal.
        realm: Option<String>, [matches(r#"^[^"\\[:cntrl:]]*$"#)];
        /// What happens to who fails again and again.
        brute_force_protection: BruteForceProtection, [extension()];
    }
}

record! {
    /// What happens to who fails again and again.
    pub struct BruteForceProtection {
        ..bounds: Bounds;
        /// Where failures are counted: nowhere, or in the memory of this gateway.
        strategy: String = "off", [one_of(&["memory", "off"])];
    }
}

/// The room, ready to run.
pub struct LdapAuth(Arc<Room>);

struct Room {
    directory: Arc<Directory>,
    base_dn: String,
    attribute: String,
    proven: Arc<Proven<Arc<Caller>>>,
    cache_ttl_ms: u64,
    hide: bool,
    scheme: String,
    challenge: String,
    anonymous: Anonymous,
    guard: Option<Guard>,
}

/// Why a caller does not get in.
enum Refusal {
    Wrong,
    LockedOut(LockedOut),
    Unanswered,
}

impl Plugin for LdapAuth {
    const NAME: &'static str = "ldap-auth";
    const PRIORITY: i64 = 1200;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let server = config.server()?;
        let key = format!("{}:{server:?}:{}:{}", Self::NAME, config.attribute, config.base_dn);
        let tls_field = if config.ldaps { "config.ldaps" } else { "config.start_tls" };
        let directory = Directory::open(cx.services, server);
        let protection = &config.brute_force_protection;
        let guard = (protection.strategy == "memory")
            .then(|| Guard::new(cx.services, Self::NAME, protection.bounds.rules()));
        Ok(Self(Arc::new(Room {
            directory: directory.map_err(|message| BuildError::new(tls_field, message))?,
            base_dn: config.base_dn,
            attribute: config.attribute,
            proven: cx.services.keep(&key, Proven::default),
            cache_ttl_ms: (config.cache_ttl * 1000.0) as u64,
            hide: config.hide_credentials,
            challenge: match config.header_type.as_str() {
                "ldap" => authorization::challenge("LDAP", config.realm.as_deref()),
                scheme => authorization::challenge(scheme, config.realm.as_deref()),
            },
            scheme: config.header_type,
            anonymous: Anonymous::resolve(config.anonymous.as_deref(), cx),
            guard,
        })))
    }
}

impl Config {
    fn server(&self) -> Result<Server, BuildError> {
        let security = match (self.ldaps, self.start_tls) {
            (true, true) => {
                let message = "TLS begins at once with ldaps: set one of ldaps and start_tls to false";
                return Err(BuildError::new("config.start_tls", message));
            }
            (true, false) => Security::Tls,
            (false, true) => Security::StartTls,
            (false, false) => Security::Plain,
        };
        Ok(Server {
            host: self.ldap_host.clone(),
            port: self.ldap_port,
            security,
            verify: self.verify_ldap_host,
            timeout: Duration::from_millis((self.timeout as u64).max(1)),
            keepalive: Duration::from_millis(self.keepalive as u64),
        })
    }
}

impl Phases for LdapAuth {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let room = &self.0;
        if room.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let login = Login::find(&cx.request.headers, &room.scheme);
        if room.hide {
            // Wrong ones are hidden as well: the anonymous consumer may still let the request pass.
            authorization::hide(cx.headers(), &room.scheme);
        }
        let outcome = match &login {
            Some(login) => room.look_up(cx, login),
            None => Err(Refusal::Wrong),
        };
        match (outcome, login) {
            (Ok(None), Some(login)) => Room::ask(room, cx, &login),
            (Ok(Some(caller)), _) => room.end(cx, Ok(caller)),
            (Ok(None), None) => room.end(cx, Err(Refusal::Wrong)),
            (Err(refusal), _) => room.end(cx, Err(refusal)),
        }
    }
}

impl Room {
    /// The caller, where the directory need not be asked.
    fn look_up(&self, cx: &Access<'_>, login: &Login) -> Result<Option<Arc<Caller>>, Refusal> {
        let now_ms = cx.record.started_ms;
        if let Some(guard) = self.guard.as_ref().filter(|guard| !guard.is_quiet(now_ms)) {
            guard.check(&attempt(guard, cx, login)).map_err(Refusal::LockedOut)?;
        }
        Ok(self.proven.find(&self.digest(login), now_ms, self.cache_ttl_ms))
    }

    fn digest(&self, login: &Login) -> Digest {
        self.proven.digest(&[login.username(), login.password()])
    }

    fn ask(room: &Arc<Self>, cx: &mut Access<'_>, login: &Login) -> Flow {
        let attempt = room.guard.as_ref().map(|guard| (guard, attempt(guard, cx, login)));
        if let Some((guard, attempt)) = &attempt
            && let Err(locked_out) = guard.begin(attempt)
        {
            return room.end(cx, Err(Refusal::LockedOut(locked_out)));
        }
        let attempt = attempt.map(|(_, attempt)| attempt);
        // A name that is no text is nobody's, and is asked about as one that nobody has.
        let username = String::from_utf8_lossy(login.username()).into_owned();
        let is_text = username.as_bytes() == login.username();
        let (password, digest) = (login.password().to_vec(), room.digest(login));
        let (room, worker) = (room.clone(), cx.worker.index);
        Flow::wait(async move {
            let dn = format!("{}={},{}", room.attribute, escaped(&username), room.base_dn);
            let known = room.directory.knows(worker, &dn, &password).await.map(|known| known && is_text);
            let resume: Resume = Box::new(move |cx| room.settle(cx, known, &username, digest, attempt));
            resume
        })
    }

    fn settle(
        &self,
        cx: &mut Access<'_>,
        known: Result<bool, Unanswered>,
        username: &str,
        digest: Digest,
        attempt: Option<Attempt>,
    ) -> Flow {
        if let (Some(guard), Some(attempt), true) = (&self.guard, &attempt, known != Ok(false)) {
            guard.withdraw(attempt);
        }
        match known {
            Ok(true) => {
                let proof =
                    Credential { id: stable_id(LdapAuth::NAME, username), identifier: username.into() };
                let caller = Caller::authenticated(None, proof);
                self.proven.remember(digest, caller.clone(), cx.record.started_ms);
                self.end(cx, Ok(caller))
            }
            Ok(false) => self.end(cx, Err(Refusal::Wrong)),
            Err(Unanswered) => self.end(cx, Err(Refusal::Unanswered)),
        }
    }

    fn end(&self, cx: &mut Access<'_>, outcome: Result<Arc<Caller>, Refusal>) -> Flow {
        match outcome {
            Ok(caller) => {
                cx.authenticate(caller);
                Flow::Next
            }
            // Neither right nor wrong, so that nobody can stand in.
            Err(Refusal::Unanswered) => cx.answer(500).message("An unexpected error occurred"),
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

fn attempt(guard: &Guard, cx: &Access<'_>, login: &Login) -> Attempt {
    guard.attempt(login.username(), cx.client.ip, cx.record.started_ms)
}
