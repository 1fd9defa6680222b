//! One server with what all workers share about it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;

use super::connection::{Answer, Command, Connection, Expiry, Found};
use super::{LARGEST, LONGEST_KEY, PATIENCE, Settings};
use crate::build::{Build, BuildError};
use crate::circuit::{Circuit, Server, State, see_to_return};
use crate::clock::Clock;
use crate::figures::{Family, Figure};
use crate::redis::Unavailable;
use crate::services::Services;
use crate::shared::Claim;

/// Exchanges of one worker at a time; more are not begun.
const MOST_IN_FLIGHT: usize = 256;
/// Connections without an exchange that a worker keeps.
const MOST_IDLE: usize = 16;
/// Seconds from which on a time is that since 1970 (protocol.txt, expiration times).
const LONGEST_RELATIVE: u64 = 60 * 60 * 24 * 30;
/// What has ended already.
const ENDED: Expiry = Expiry(-1);

static FAILED: Family = Family::count(
    "memcached_exchanges_failed_total",
    "Exchanges with memcached that failed or were not begun",
);
static OUTAGES: Family =
    Family::count("memcached_outages_total", "Times that a memcached was found not to answer");

/// A memcached as rooms see it. Kept over reloads; rooms with the same settings share one.
pub struct Store {
    settings: Settings,
    tls: Option<Arc<ClientConfig>>,
    clock: Clock,
    circuit: Circuit,
    /// One for each worker, and the last one for everybody else.
    links: Box<[Link]>,
    failed: Arc<Figure>,
    outages: Arc<Figure>,
}

/// The connections of a worker.
#[derive(Default)]
struct Link {
    idle: Mutex<Vec<Connection>>,
    in_flight: AtomicUsize,
}

/// One exchange among those in flight.
struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    fn enter(&self) -> Option<Turn<'_>> {
        let turn = Turn(&self.in_flight);
        (self.in_flight.fetch_add(1, Ordering::Relaxed) < MOST_IN_FLIGHT).then_some(turn)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }
}

impl Store {
    /// The store with these settings, whose field about TLS is `field`. Nothing is connected before the first exchange.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be spoken.
    pub fn open(cx: &Build<'_>, settings: Settings, field: &str) -> Result<Arc<Self>, BuildError> {
        Self::of(cx.services, settings).map_err(|message| BuildError::new(field, message))
    }

    /// The same without a configuration around it.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be spoken.
    pub fn of(services: &Services, settings: Settings) -> Result<Arc<Self>, String> {
        let spoken = settings.security.as_ref().filter(|_| !services.dry_run);
        let tls = spoken.map(|security| services.client_tls(security.verify)).transpose()?;
        let security = settings.security.as_ref().map(|security| (security.verify, &security.server_name));
        let key = format!("memcached {:?} {security:?}", settings.place);
        Ok(services.keep(&key, || Self {
            circuit: Circuit::new("memcached", settings.place.to_string()),
            settings,
            tls,
            clock: services.clock.clone(),
            links: (0..services.workers).map(|_| Link::default()).collect(),
            failed: services.figures.of(&FAILED, &[]),
            outages: services.figures.of(&OUTAGES, &[]),
        }))
    }

    /// The values of `keys` that there are, with their keys.
    pub(crate) async fn get(
        self: &Arc<Self>,
        worker: usize,
        keys: &[&[u8]],
    ) -> Result<Vec<Found>, Unavailable> {
        if keys.iter().any(|key| !is_key(key)) {
            return Err(Unavailable);
        }
        match self.ask(worker, &Command::Get(keys)).await? {
            Answer::Values(found) => Ok(found),
            _ => Err(Unavailable),
        }
    }

    /// Keeps a value; false if `verb` is `replace` and there is none, or `add` and there is one.
    pub(crate) async fn store(
        self: &Arc<Self>,
        worker: usize,
        verb: &'static str,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<bool, Unavailable> {
        fits(key, value)?;
        self.does(worker, &Command::Store(verb, key, value, self.expiry(lifetime))).await
    }

    /// Keeps a value where there is none.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<Claim, Unavailable> {
        if self.store(worker, "add", key, value, lifetime).await? {
            return Ok(Claim::Own);
        }
        let held = self.get(worker, &[key]).await?.pop().map(|found| found.value).unwrap_or_default();
        // Its answer was lost, and it was asked again.
        Ok(if held == value { Claim::Own } else { Claim::Other(held) })
    }

    /// Puts a value, or nothing, in the place of `expected`; false if that is not there (any more).
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        expected: &[u8],
        value: Option<&[u8]>,
        lifetime: Option<Duration>,
    ) -> Result<bool, Unavailable> {
        let found = self.get(worker, &[key]).await?.pop().filter(|found| found.value == expected);
        let Some(found) = found else { return Ok(false) };
        let value = value.map_or((&[][..], ENDED), |value| (value, self.expiry(lifetime)));
        fits(key, value.0)?;
        self.does(worker, &Command::Swap(key, value.0, value.1, found.number)).await
    }

    /// Deletes what `key` names, if there is anything.
    pub(crate) async fn delete(self: &Arc<Self>, worker: usize, key: &[u8]) -> Result<(), Unavailable> {
        fits(key, b"")?;
        self.does(worker, &Command::Delete(key)).await.map(drop)
    }

    /// Lets what `key` names end after `lifetime` from now; false if there is nothing.
    pub(crate) async fn touch(
        self: &Arc<Self>,
        worker: usize,
        key: &[u8],
        lifetime: Duration,
    ) -> Result<bool, Unavailable> {
        fits(key, b"")?;
        self.does(worker, &Command::Touch(key, self.expiry(Some(lifetime)))).await
    }

    fn expiry(&self, lifetime: Option<Duration>) -> Expiry {
        let Some(lifetime) = lifetime else { return Expiry(0) };
        // In whole seconds of a clock that may be about to tick, and never shorter than it was meant.
        let seconds = lifetime.as_millis().div_ceil(1_000) + 1;
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        let moment = match seconds > LONGEST_RELATIVE {
            true => (self.clock.now_ms() / 1_000).saturating_add(seconds),
            false => seconds,
        };
        // It keeps the time in 32 bits.
        Expiry(i64::try_from(moment).unwrap_or(i64::MAX).min(i64::from(i32::MAX)))
    }

    async fn does(self: &Arc<Self>, worker: usize, command: &Command<'_>) -> Result<bool, Unavailable> {
        match self.ask(worker, command).await? {
            Answer::Done(done) => Ok(done),
            _ => Err(Unavailable),
        }
    }

    async fn ask(self: &Arc<Self>, worker: usize, command: &Command<'_>) -> Result<Answer, Unavailable> {
        let outcome = self.attempt(worker, command).await;
        if outcome.is_none() {
            self.failed.add(1);
        }
        outcome.ok_or(Unavailable)
    }

    async fn attempt(self: &Arc<Self>, worker: usize, command: &Command<'_>) -> Option<Answer> {
        if self.circuit.state() == State::Silent {
            return None;
        }
        let link = &self.links[worker % self.links.len()];
        let _turn = link.enter()?;
        let reason = match tokio::time::timeout(PATIENCE, self.exchange_on(link, command)).await {
            Ok(Ok(Answer::Refused(reason))) => {
                self.circuit.refused(&reason);
                return None;
            }
            Ok(Ok(answer)) => {
                self.circuit.served();
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        if self.circuit.fell_silent(&reason) {
            self.outages.add(1);
            tokio::spawn(see_to_return(Arc::downgrade(self), worker));
        }
        None
    }

    /// On a connection that is there, or on a new one where that has been closed meanwhile.
    async fn exchange_on(&self, link: &Link, command: &Command<'_>) -> io::Result<Answer> {
        let used = link.idle().pop();
        if let Some(mut connection) = used {
            if let Ok(answer) = connection.send(command).await {
                return Ok(self.end(link, connection, answer));
            }
            // The others are as old.
            link.idle().clear();
        }
        let mut connection = Connection::open(&self.settings, self.tls.as_ref()).await?;
        let answer = connection.send(command).await?;
        Ok(self.end(link, connection, answer))
    }

    fn end(&self, link: &Link, connection: Connection, answer: Answer) -> Answer {
        // What follows a refusal is not certain.
        if !matches!(answer, Answer::Refused(_)) {
            link.keep(connection);
        }
        answer
    }
}

impl Server for Store {
    fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    async fn probe(&self, worker: usize) -> Result<(), String> {
        let link = &self.links[worker % self.links.len()];
        link.idle().clear();
        match tokio::time::timeout(PATIENCE, self.exchange_on(link, &Command::Version)).await {
            Ok(outcome) => outcome.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }
}

/// Whether the protocol can carry a key.
fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= LONGEST_KEY && key.iter().all(u8::is_ascii_graphic)
}

fn fits(key: &[u8], value: &[u8]) -> Result<(), Unavailable> {
    if is_key(key) && value.len() <= LARGEST { Ok(()) } else { Err(Unavailable) }
}
