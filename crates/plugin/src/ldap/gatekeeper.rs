//! Lets in whom a directory knows: the part that is the same for all rooms that ask one.
//!
//! What a directory has said is remembered for a while by a keyed digest of the login, over reloads. What a configuration
//! makes of it, the consumer for instance, is remembered in the instance and so forgotten with it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::entity::stable_id;
use wire::Headers;

use super::{Fields, Unanswered, canonical};
use crate::authorization::{self, Login};
use crate::build::{Build, BuildError};
use crate::flow::{Flow, Resume};
use crate::identity::{Anonymous, Caller, Credential};
use crate::lockout::{Attempt, Guard, LockedOut, Outcome};
use crate::proven::{Digest, Proven};
use crate::remember::{self, Learned, Memory, Settings};
use crate::views::Access;

/// Names of groups.
pub type Groups = Arc<[Box<str>]>;

/// What a room asks a directory, and what follows from the answer.
pub trait Inquiry: Send + Sync + 'static {
    /// Asks about a login: the groups of the user, or none where the login is wrong.
    fn ask(
        &self,
        worker: usize,
        username: &str,
        password: &[u8],
    ) -> impl Future<Output = Result<Option<Groups>, Unanswered>> + Send;

    /// What follows for the user, whose login is right.
    ///
    /// # Errors
    /// Why it does not get in all the same.
    fn admit(&self, username: &str, groups: &Groups) -> Result<Admission, Refusal>;
}

/// A caller who gets in.
pub struct Admission {
    /// Who it is.
    pub caller: Arc<Caller>,
    /// The groups that the directory vouches for.
    pub groups: Option<Groups>,
    /// What the upstream is told beside.
    pub headers: Headers,
}

/// Why a caller does not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No login, one that is wrong, or one that stands for nobody here.
    Wrong,
    /// A right one of somebody who is not in the groups that are asked for.
    Group,
    /// Too many were wrong before.
    LockedOut(LockedOut),
    /// The directory cannot be asked.
    Unanswered,
}

/// What became of a question. Requests with the same login at one time ask once, as a browser sends several.
enum Said {
    Right(Arc<Finding>),
    Wrong,
    LockedOut(LockedOut),
    Unanswered,
}

/// What a directory has said of a login that is right.
struct Finding {
    groups: Groups,
    found_ms: u64,
}

/// Decides by a directory who gets in.
pub struct Gatekeeper<I>(Arc<Gate<I>>);

struct Gate<I> {
    inquiry: I,
    findings: Arc<Proven<Arc<Finding>>>,
    questions: Arc<Memory<Said>>,
    /// Whose questions they are.
    asker: String,
    admissions: Proven<Arc<Admission>>,
    cache_ttl_ms: u64,
    hide: bool,
    scheme: String,
    challenge: String,
    anonymous: Anonymous,
    guard: Option<Arc<Guard>>,
}

impl Caller {
    /// Who proved to `plugin` to be the user of a directory, and may be a consumer. How the username is written makes no
    /// difference to what is counted by credential, as it makes none to directories.
    #[must_use]
    pub fn of_directory(
        plugin: &str,
        consumer: Option<Arc<model::entity::Consumer>>,
        username: &str,
    ) -> Arc<Self> {
        let id = stable_id(plugin, &canonical(username));
        Self::authenticated(consumer, Credential { id, identifier: username.into() })
    }
}

impl<I: Inquiry> Gatekeeper<I> {
    /// Makes ready what `fields` say. What is remembered is shared by the instances of `plugin` whose `question` is the same.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn new(
        fields: &Fields,
        anonymous: Option<&str>,
        inquiry: I,
        (plugin, question): (&str, &str),
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let scheme = if fields.header_type == "ldap" { "LDAP" } else { &fields.header_type };
        Ok(Self(Arc::new(Gate {
            inquiry,
            findings: cx.services.keep(&format!("{plugin}:{question}"), Proven::default),
            questions: Memory::open(cx.services, "directory questions", &Settings::default()),
            asker: format!("{plugin}:{question}:{:?}", cx.fingerprint::<Fields>()),
            admissions: Proven::default(),
            cache_ttl_ms: (fields.cache_ttl * 1000.0) as u64,
            hide: fields.hide_credentials,
            challenge: authorization::challenge(scheme, fields.realm.as_deref()),
            scheme: fields.header_type.clone(),
            anonymous: Anonymous::resolve(anonymous, cx),
            guard: fields.brute_force_protection.guard(cx, plugin)?,
        })))
    }

    /// Lets the caller in or refuses it, in the phase `access`.
    pub fn decide(&self, cx: &mut Access<'_>) -> Flow {
        let gate = &self.0;
        if gate.anonymous.steps_back(cx) {
            return Flow::Next;
        }
        let login = Login::find(&cx.request.headers, &gate.scheme);
        if gate.hide {
            // Wrong ones are hidden as well: the anonymous consumer may still let the request pass.
            authorization::hide(cx.headers(), &gate.scheme);
        }
        let Some(login) = login else { return gate.end(cx, Err(Refusal::Wrong)) };
        match gate.look_up(cx, &login) {
            Some(known) => Gate::tell(gate, cx, &login, Outcome::Right, known),
            None => Gate::ask(gate, cx, &login),
        }
    }
}

impl<I: Inquiry> Gate<I> {
    /// The caller, where the directory need not be asked.
    fn look_up(&self, cx: &Access<'_>, login: &Login) -> Option<Result<Arc<Admission>, Refusal>> {
        let (now_ms, digest) = (cx.steady_ms(), self.digest(login));
        if let Some(admission) = self.admissions.find(&digest, now_ms, self.cache_ttl_ms) {
            return Some(Ok(admission));
        }
        let finding = self.findings.find(&digest, now_ms, self.cache_ttl_ms)?;
        Some(self.admit(digest, &String::from_utf8_lossy(login.username()), &finding))
    }

    /// Ends with what is known of a login already, if the guard lets it be told.
    fn tell(
        gate: &Arc<Self>,
        cx: &mut Access<'_>,
        login: &Login,
        outcome: Outcome,
        known: Result<Arc<Admission>, Refusal>,
    ) -> Flow {
        let Some(guard) = &gate.guard else { return gate.end(cx, known) };
        let own = gate.clone();
        guard.settle(
            cx,
            |guard, cx| attempt(guard, cx, login),
            outcome,
            move |cx, said| own.end(cx, said.map_err(Refusal::LockedOut).and(known)),
        )
    }

    fn digest(&self, login: &Login) -> Digest {
        self.findings.digest(&[login.username(), login.password()])
    }

    fn admit(&self, digest: Digest, username: &str, finding: &Finding) -> Result<Arc<Admission>, Refusal> {
        let admission = Arc::new(self.inquiry.admit(username, &finding.groups)?);
        self.admissions.remember(digest, admission.clone(), finding.found_ms);
        Ok(admission)
    }

    fn ask(gate: &Arc<Self>, cx: &mut Access<'_>, login: &Login) -> Flow {
        // A name that is no text is nobody's.
        let Ok(username) = String::from_utf8(login.username().to_vec()) else {
            return Self::tell(gate, cx, login, Outcome::Wrong, Err(Refusal::Wrong));
        };
        let attempt = gate.guard.as_ref().map(|guard| attempt(guard, cx, login));
        let (password, digest) = (login.password().to_vec(), gate.digest(login));
        let (gate, worker, now_ms) = (gate.clone(), cx.worker.index, cx.steady_ms());
        Flow::wait(async move {
            let said = gate.learn(worker, (username.clone(), password), attempt, now_ms).await;
            let resume: Resume = Box::new(move |cx| gate.settle(cx, said.ok().as_deref(), &username, digest));
            resume
        })
    }

    /// What becomes of a question, whoever puts it.
    async fn learn(
        self: &Arc<Self>,
        worker: usize,
        (username, password): (String, Vec<u8>),
        attempt: Option<Attempt>,
        now_ms: u64,
    ) -> remember::Outcome<Said> {
        let key = remember::Digest::of([self.asker.as_bytes(), username.as_bytes(), &password]);
        let gate = self.clone();
        let question = async move {
            let said = gate.put(worker, (&username, &password), attempt, now_ms).await;
            // What is right is remembered with the login's own digest.
            Ok(Learned::new(said, Duration::ZERO))
        };
        self.questions.fetch(key, question).await
    }

    /// Asks about a login, unless too many were wrong before.
    async fn put(
        &self,
        worker: usize,
        (username, password): (&str, &[u8]),
        attempt: Option<Attempt>,
        now_ms: u64,
    ) -> Said {
        let begun = match self.guard.as_ref().zip(attempt) {
            Some((guard, attempt)) => match guard.begin(worker, attempt).await {
                Ok(begun) => Some(begun),
                Err(locked_out) => return Said::LockedOut(locked_out),
            },
            None => None,
        };
        let answer = self.inquiry.ask(worker, username, password).await;
        if let Some(begun) = begun {
            let said = match &answer {
                Ok(Some(_)) => begun.settle(worker, Outcome::Right).await,
                Ok(None) => begun.settle(worker, Outcome::Wrong).await,
                Err(Unanswered) => {
                    begun.undecided();
                    Ok(())
                }
            };
            if let Err(locked_out) = said {
                return Said::LockedOut(locked_out);
            }
        }
        match answer {
            Ok(Some(groups)) => Said::Right(Arc::new(Finding { groups, found_ms: now_ms })),
            Ok(None) => Said::Wrong,
            Err(Unanswered) => Said::Unanswered,
        }
    }

    fn settle(&self, cx: &mut Access<'_>, said: Option<&Said>, username: &str, digest: Digest) -> Flow {
        let outcome = match said {
            Some(Said::Right(finding)) => {
                self.findings.remember(digest, finding.clone(), finding.found_ms);
                self.admit(digest, username, finding)
            }
            Some(Said::Wrong) => Err(Refusal::Wrong),
            Some(Said::LockedOut(locked_out)) => Err(Refusal::LockedOut(*locked_out)),
            Some(Said::Unanswered) | None => Err(Refusal::Unanswered),
        };
        self.end(cx, outcome)
    }

    fn end(&self, cx: &mut Access<'_>, outcome: Result<Arc<Admission>, Refusal>) -> Flow {
        let refusal = match outcome {
            Ok(admission) => {
                cx.authenticate(admission.caller.clone());
                cx.headers().append_all(&admission.headers);
                if let Some(groups) = &admission.groups {
                    cx.vouch_for_groups(groups.clone());
                }
                return Flow::Next;
            }
            // Neither right nor wrong, so that nobody can stand in.
            Err(Refusal::Unanswered) => return cx.answer(500).message("An unexpected error occurred"),
            Err(refusal) => refusal,
        };
        self.anonymous.or_refuse(cx, |cx| match refusal {
            Refusal::LockedOut(locked_out) => locked_out.answer(cx),
            Refusal::Group => cx.answer(403).message("User not in authorized LDAP Group"),
            Refusal::Wrong | Refusal::Unanswered => {
                cx.answer(401).header("WWW-Authenticate", self.challenge.as_bytes()).message("Unauthorized")
            }
        })
    }
}

fn attempt(guard: &Guard, cx: &Access<'_>, login: &Login) -> Attempt {
    // As many attempts, however the username is written.
    let username = canonical(&String::from_utf8_lossy(login.username()));
    guard.attempt(username.as_bytes(), cx.client.ip, cx.steady_ms())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Services;
    use crate::clock::Clock;
    use crate::lockout::Rules;

    const START_MS: u64 = 1_800_000_000_000;

    /// A directory that knows the password `right` and answers when others have had their turn.
    #[derive(Default)]
    struct Slow(AtomicUsize);

    impl Inquiry for Slow {
        async fn ask(&self, _: usize, _: &str, password: &[u8]) -> Result<Option<Groups>, Unanswered> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok((password == b"right").then(Groups::default))
        }

        fn admit(&self, _: &str, _: &Groups) -> Result<Admission, Refusal> {
            Err(Refusal::Group)
        }
    }

    fn gate() -> Arc<Gate<Slow>> {
        let services = Services::new(1, Clock::fixed(START_MS), false);
        Arc::new(Gate {
            inquiry: Slow::default(),
            findings: Arc::new(Proven::default()),
            questions: Memory::open(&services, "directory questions", &Settings::default()),
            asker: String::new(),
            admissions: Proven::default(),
            cache_ttl_ms: 0,
            hide: true,
            scheme: "ldap".into(),
            challenge: "LDAP".into(),
            anonymous: Anonymous::Refused,
            guard: Some(Guard::new(&services, "ldap-auth", Rules { failures: 3, window: 60 }, None)),
        })
    }

    #[tokio::test]
    async fn requests_with_one_login_at_one_time_ask_once_and_count_once() {
        let gate = gate();
        let ask = async |password: &str| {
            let attempt =
                gate.guard.as_ref().map(|guard| guard.attempt(b"alice", [192, 0, 2, 1].into(), START_MS));
            gate.learn(0, ("alice".into(), password.into()), attempt, START_MS).await.unwrap()
        };
        let right = || ask("right");
        let said = tokio::join!(right(), right(), right(), right(), right(), right());
        let said: [Arc<Said>; 6] = said.into();
        assert!(said.iter().all(|said| matches!(**said, Said::Right(_))));
        assert_eq!(gate.inquiry.0.load(Ordering::Relaxed), 1);
        for guess in ["a", "b", "c"] {
            assert!(matches!(*ask(guess).await, Said::Wrong));
        }
        assert!(matches!(*ask("right").await, Said::LockedOut(_)));
    }
}
