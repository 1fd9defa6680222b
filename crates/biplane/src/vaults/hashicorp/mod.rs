//! Secrets of HashiCorp Vault and OpenBao, over HTTP.
//!
//! All secrets that are wanted at once are asked for at once, each path one time, some at a time and all within a bound; by a
//! thread of its own, so that it does not matter who waits. A server that does not answer is found out once and not by each
//! secret. What was found is remembered, so that a configuration can be loaded while the server is down.

mod account;
mod dialogue;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use engine::{ClientConfig, TlsSettings};
use model::entity::VaultConfig;
use model::secret::{Found, HASHICORP, Secret, Wanted};
use plugin::clock::Clock;
use plugin::figures::Figures;
use plugin::outbound::{Client, Settings};
use plugin::remember::{self, Digest, Learned, Memory};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use account::{Account, Login, Place};
use dialogue::{Dialogue, Refusal};
use sessions::Sessions;

/// Longest that all secrets that are wanted at once may take.
const LONGEST: Duration = Duration::from_secs(30);
/// Questions at a time.
const AT_ONCE: usize = 8;
/// Most bytes of an answer, as of a file.
const LARGEST: usize = 4 << 20;
/// What of texts is kept at most to stand in; secrets beyond that have none.
const MOST_KEPT: (usize, usize) = (10_000, 256 << 20);
/// How long a text may stand in where nothing is said, in seconds.
const USUAL_RESURRECTION: f64 = 100_000_000.0;
/// A text that no secret in use has come from is kept for so long: a configuration may be on its way.
const UNUSED: Duration = Duration::from_secs(600);

type Now = Box<dyn Fn() -> Instant + Send + Sync>;

/// The servers of a process, and what is known of them.
pub struct HashiCorp {
    tls_settings: TlsSettings,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    sessions: Arc<Sessions>,
    /// What was found the last time, by account and place.
    kept: Arc<Memory<Secret>>,
    /// Since when no secret in use has come from a text that is kept.
    unused: Mutex<HashMap<Digest, Instant>>,
    /// One conversation at a time: what proves the gateway may be good for one login only.
    turn: Mutex<()>,
    now: Now,
}

/// Whether what was found before may stand in for what cannot be found now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandIn {
    Allowed,
    Never,
}

/// A path that is to be read, and for whom.
struct Question {
    place: Place,
    key: Digest,
    /// Numbers of the secrets that are wanted from it.
    of: Vec<usize>,
}

/// What is asked of one account.
struct Group {
    account: Account,
    questions: Vec<Question>,
}

type Answers = Arc<Mutex<HashMap<Digest, Result<Secret, Refusal>>>>;

impl HashiCorp {
    /// Servers that are reached with these settings. Nobody is called yet.
    pub fn new(tls_settings: TlsSettings) -> Self {
        Self {
            tls_settings,
            tls: OnceLock::new(),
            sessions: Arc::default(),
            kept: Arc::new(kept(Clock::default())),
            unused: Mutex::default(),
            turn: Mutex::new(()),
            now: Box::new(Instant::now),
        }
    }

    /// The texts of what is wanted, in its order.
    pub fn read(&self, wanted: &[&Wanted], stand_in: StandIn) -> Vec<Result<Secret, String>> {
        let mut outcomes: Vec<Option<Result<Secret, String>>> = vec![None; wanted.len()];
        let mut groups: Vec<Group> = Vec::new();
        for (index, one) in wanted.iter().enumerate() {
            if let Err(reason) = Self::plan(index, one, &mut groups) {
                outcomes[index] = Some(Err(reason));
            }
        }
        let asked: Vec<(Digest, Vec<usize>)> =
            groups.iter().flat_map(|group| &group.questions).map(|one| (one.key, one.of.clone())).collect();
        let mut answers = self.ask(groups);
        let now = (self.now)();
        for (key, of) in asked {
            let late = || Err(Refusal::Silent(format!("the vault has not answered within {LONGEST:?}")));
            let answer = self.taken_in(key, answers.remove(&key).unwrap_or_else(late), now);
            for index in of {
                let outcome = match &answer {
                    Ok(text) => Ok(text.clone()),
                    Err(refusal) => self.instead(&key, wanted[index], refusal, stand_in),
                };
                outcomes[index] = Some(outcome);
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err("it was not asked for".to_owned())))
            .collect()
    }

    /// Keeps the tokens alive that `found`, the secrets in use, are read with, and forgets what none of them needs.
    pub fn keep_up(&self, found: &[Found]) {
        let now = (self.now)();
        let of_servers = found.iter().map(|found| &found.wanted).filter(|wanted| wanted.kind == HASHICORP);
        let (mut accounts, mut in_use): (Vec<Digest>, HashSet<Digest>) = Default::default();
        for wanted in of_servers {
            let Ok(account) = Account::of(&wanted.config).map(|account| account.key()) else { continue };
            in_use.extend(Place::of(wanted).map(|place| key(&account, &place)));
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        self.forget_unused(&in_use, now);
        let due = self.sessions.due(&accounts, now);
        if !due.is_empty() {
            let groups =
                due.iter().map(|account| Group { account: (**account).clone(), questions: Vec::new() });
            self.ask(groups.collect());
        }
    }

    /// Adds what is wanted to what its account is asked.
    fn plan(index: usize, wanted: &Wanted, groups: &mut Vec<Group>) -> Result<(), String> {
        let account = Account::of(&wanted.config)?;
        let place = Place::of(wanted)?;
        let own = account.key();
        let key = key(&own, &place);
        let group = match groups.iter().position(|group| group.account.key() == own) {
            Some(found) => &mut groups[found],
            None => {
                groups.push(Group { account, questions: Vec::new() });
                groups.last_mut().ok_or("nobody is asked")?
            }
        };
        match group.questions.iter_mut().find(|question| question.key == key) {
            Some(question) => question.of.push(index),
            None => group.questions.push(Question { place, key, of: vec![index] }),
        }
        Ok(())
    }

    /// Asks everybody, by a thread that waits for nothing else, and tells what was answered in time.
    fn ask(&self, groups: Vec<Group>) -> HashMap<Digest, Result<Secret, Refusal>> {
        let answers = Answers::default();
        if groups.is_empty() {
            return HashMap::new();
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = Settings {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            largest_answer: LARGEST,
            ..Settings::default()
        };
        let is_secure = groups.iter().any(|group| group.account.server.is_secure());
        let tls = match is_secure {
            true => self.tls.get_or_init(|| engine::client_config(&self.tls_settings)).clone(),
            false => Err("no server is asked over TLS".to_owned()),
        };
        let client = Arc::new(Client::apart(settings, tls, 1));
        let asking = ask_all(groups, client, self.sessions.clone(), answers.clone(), (self.now)());
        let wait = || {
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            let _in_time = runtime.block_on(async { timeout(LONGEST, asking).await });
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
        };
        thread::scope(|scope| {
            // Without a thread nothing is answered, and that is said.
            let _ended = thread::Builder::new()
                .name("vault".to_owned())
                .spawn_scoped(scope, wait)
                .map(|one| one.join());
        });
        std::mem::take(&mut *lock(&answers))
    }

    /// Takes in what a server has said of a place. What it has refused stands in no more.
    fn taken_in(
        &self,
        key: Digest,
        answer: Result<Secret, Refusal>,
        now: Instant,
    ) -> Result<Secret, Refusal> {
        match &answer {
            Ok(text) => {
                let learned = Learned::new(text.clone(), Duration::ZERO).stale(Duration::MAX);
                let learned = learned.holding(text.reveal().len());
                let _kept = self.kept.take_in(key, Ok(learned), None);
                lock(&self.unused).insert(key, now);
            }
            Err(refusal) => {
                if !refusal.will_pass() {
                    self.kept.forget(&key);
                }
                let _counted = self.kept.take_in(key, Err(refusal.reason().to_owned()), None);
            }
        }
        answer
    }

    /// Forgets texts that no secret in use has come from for a while.
    fn forget_unused(&self, in_use: &HashSet<Digest>, now: Instant) {
        lock(&self.unused).retain(|key, since| {
            if in_use.contains(key) {
                *since = now;
            }
            let is_kept = now.saturating_duration_since(*since) < UNUSED;
            if !is_kept {
                self.kept.forget(key);
            }
            is_kept
        });
    }

    /// What stands in for what could not be read.
    fn instead(
        &self,
        key: &Digest,
        wanted: &Wanted,
        refusal: &Refusal,
        stand_in: StandIn,
    ) -> Result<Secret, String> {
        let VaultConfig { ttl, resurrect_ttl, .. } = &wanted.config;
        let longest = ttl.unwrap_or(0.0) + resurrect_ttl.unwrap_or(USUAL_RESURRECTION);
        let longest = Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX);
        let may_stand_in = stand_in == StandIn::Allowed && refusal.will_pass();
        let known = if may_stand_in { self.kept.within(key, longest) } else { None };
        let known = known.ok_or_else(|| refusal.reason().to_owned())?;
        tracing::warn!(
            resource = wanted.resource,
            reason = refusal.reason(),
            "a secret could not be read: what was found before stands in"
        );
        Ok((*known).clone())
    }

    /// Shows the metrics of what is kept.
    pub fn show_in(&self, figures: &Figures) {
        self.kept.show_in(figures);
    }
}

/// The memory of texts. None of them answers for its server, which is asked each time.
fn kept(clock: Clock) -> Memory<Secret> {
    let (entries, bytes) = MOST_KEPT;
    let settings = remember::Settings { entries, bytes, ..remember::Settings::default() };
    Memory::new(("vaults", ""), &settings, clock, &Figures::default())
}

/// What a text is kept under.
fn key(account: &Digest, place: &Place) -> Digest {
    Digest::of([account.as_ref(), place.path.as_bytes()])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask_all(
    groups: Vec<Group>,
    client: Arc<Client>,
    sessions: Arc<Sessions>,
    answers: Answers,
    now: Instant,
) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    for group in groups {
        asking.spawn(ask_one(
            group,
            client.clone(),
            sessions.clone(),
            answers.clone(),
            (places.clone(), now),
        ));
    }
    while asking.join_next().await.is_some() {}
}

/// Asks what an account is asked, with a token that holds.
async fn ask_one(
    group: Group,
    client: Arc<Client>,
    sessions: Arc<Sessions>,
    answers: Answers,
    (places, now): (Arc<Semaphore>, Instant),
) {
    let account = Arc::new(group.account);
    let dialogue = Dialogue { client: &client, account: &account };
    let mut left: Vec<(Place, Digest)> =
        group.questions.into_iter().map(|one| (one.place, one.key)).collect();
    // A token that has been taken back is replaced once.
    for is_last in [false, true] {
        let token = match sessions.token(&dialogue, now).await {
            Ok(token) => token,
            Err(refusal) => {
                lock(&answers).extend(left.into_iter().map(|(_, key)| (key, Err(refusal.clone()))));
                return;
            }
        };
        let found = read_each(&left, &client, &account, &token, &places).await;
        let denied = |outcome: &Result<Secret, Refusal>| matches!(outcome, Err(Refusal::Denied(_)));
        let lasting =
            is_last || matches!(account.login, Login::Token(_)) || !found.iter().any(|(_, one)| denied(one));
        if lasting || dialogue.knows(&token).await {
            lock(&answers).extend(found);
            return;
        }
        sessions.forget(&account);
        let (again, done): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, one)| denied(one));
        lock(&answers).extend(done);
        left.retain(|(_, key)| again.iter().any(|(other, _)| other == key));
    }
}

/// Reads places, some at a time. Once a server has not answered, it is asked no more.
async fn read_each(
    places: &[(Place, Digest)],
    client: &Arc<Client>,
    account: &Arc<Account>,
    token: &Secret,
    permits: &Arc<Semaphore>,
) -> Vec<(Digest, Result<Secret, Refusal>)> {
    let silent: Arc<OnceLock<Refusal>> = Arc::default();
    let mut reading = JoinSet::new();
    for (place, key) in places.iter().cloned() {
        let (client, account, token) = (client.clone(), account.clone(), token.clone());
        let (permits, silent) = (permits.clone(), silent.clone());
        reading.spawn(async move {
            let _permit = permits.acquire().await;
            if let Some(refusal) = silent.get() {
                return (key, Err(refusal.clone()));
            }
            let outcome = Dialogue { client: &client, account: &account }.read(&token, &place).await;
            if let Err(refusal @ Refusal::Silent(_)) = &outcome {
                silent.get_or_init(|| refusal.clone());
            }
            (key, outcome)
        });
    }
    let mut found = Vec::with_capacity(places.len());
    while let Some(outcome) = reading.join_next().await {
        found.extend(outcome);
    }
    found
}
