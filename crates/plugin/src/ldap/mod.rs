//! Asking a directory whether a password is right (RFC 4511, RFC 4513 5.1.3), and which entries it has.
//!
//! Connections are kept for each worker, bounded in number, and every question has an end in time. What callers say never
//! becomes part of a name without being escaped ([`escaped`]), nor of a filter's text, as filters have none ([`Search`]).

mod ber;
mod connection;
mod fields;
mod gatekeeper;
mod message;
mod name;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::secret::Secret;
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use crate::remember::Digest;
use crate::services::Services;
use connection::{Connection, Found};
pub use fields::Fields;
pub use gatekeeper::{Admission, Gatekeeper, Groups, Inquiry, Refusal};
pub use message::{Answer, Entry, Operation, Scope, Search};
pub use name::{Name, canonical, escaped};

/// Questions that all workers together may have open; others wait for a place, within their time.
const MOST_QUESTIONS: usize = 64;
/// Connections that a worker keeps.
const MOST_KEPT: usize = 4;
/// Results (RFC 4511 A.1).
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const REFERRAL: u32 = 10;
/// Results that say that there is no such user, that the password is wrong, or that the user may not sign in: noSuchObject,
/// invalidDNSyntax, inappropriateAuthentication, invalidCredentials, insufficientAccessRights, unwillingToPerform.
const REFUSALS: [u32; 6] = [32, 34, 48, 49, 50, 53];

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// By TLS from the beginning.
    Tls,
    /// By TLS that is begun on a connection without (RFC 4511 4.14).
    StartTls,
}

/// Where a directory is, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address, also the one that a certificate must have.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protection of connections.
    pub security: Security,
    /// Whether the certificate is checked.
    pub verify: bool,
    /// For a question and its answer, connecting included.
    pub timeout: Duration,
    /// How long a connection is kept without a question.
    pub keepalive: Duration,
    /// Who searches on its connections; without, they are for questions that say themselves who asks.
    pub account: Option<Account>,
}

/// Somebody who may search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The distinguished name.
    pub dn: String,
    /// The password.
    pub password: Secret,
}

/// The directory has not answered, or not in a way that tells anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

/// Connections of a worker without a question, and since when.
type Kept = Mutex<Vec<(Connection, Instant)>>;

/// A directory, with connections to it.
pub struct Directory {
    server: Server,
    tls: Option<Arc<ClientConfig>>,
    kept: Box<[Kept]>,
    places: Semaphore,
    /// Whether the last question was not answered.
    fails: AtomicBool,
}

impl Directory {
    /// The directory at `server`; what is equal is shared, and kept over reloads.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be spoken.
    pub fn open(services: &Services, server: Server) -> Result<Arc<Self>, String> {
        let secure = server.security != Security::Plain && !services.dry_run;
        let tls = secure.then(|| services.client_tls(server.verify)).transpose()?;
        let kept = (0..services.workers).map(|_| Mutex::default()).collect();
        // The password is not part of what is printed.
        let password = server.account.as_ref().map(|account| account.password.reveal().as_bytes());
        let key = format!("{server:?}:{:?}", Digest::of(password));
        Ok(services.keep(&key, || Self {
            server,
            tls,
            kept,
            places: Semaphore::new(MOST_QUESTIONS),
            fails: AtomicBool::new(false),
        }))
    }

    /// Whether `password` is that of the entry `dn`. An empty one never is: servers take it for a wish to be nobody
    /// (RFC 4513 5.1.2).
    ///
    /// # Errors
    /// That it could not be found out. Why is logged when it begins.
    pub async fn knows(&self, worker: usize, dn: &str, password: &[u8]) -> Result<bool, Unanswered> {
        let question = Question { who: Some((dn, password)), search: None };
        Ok(self.ask(worker, &question).await?.is_some())
    }

    /// The entries that `search` finds for the account of the connections.
    ///
    /// # Errors
    /// That it could not be found out, or that there are more than the search asks for where `whole`. Why is logged when it
    /// begins.
    pub async fn search(
        &self,
        worker: usize,
        search: &Search<'_>,
        whole: bool,
    ) -> Result<Vec<Entry>, Unanswered> {
        let question = Question { who: None, search: Some((search, whole)) };
        Ok(self.ask(worker, &question).await?.unwrap_or_default())
    }

    /// The entries that `dn`, with its password, finds; none where the password is wrong, or empty.
    ///
    /// # Errors
    /// As of [`Directory::search`].
    pub async fn search_as(
        &self,
        worker: usize,
        (dn, password): (&str, &[u8]),
        search: &Search<'_>,
        whole: bool,
    ) -> Result<Option<Vec<Entry>>, Unanswered> {
        self.ask(worker, &Question { who: Some((dn, password)), search: Some((search, whole)) }).await
    }

    /// What is found; none where the password is wrong.
    async fn ask(&self, worker: usize, question: &Question<'_>) -> Result<Option<Vec<Entry>>, Unanswered> {
        if question.who.is_some_and(|(_, password)| password.is_empty()) {
            return Ok(None);
        }
        let timeout = self.server.timeout;
        let outcome = match tokio::time::timeout(timeout, self.put(worker, question)).await {
            Ok(Ok(reply)) => question.judge(reply),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {timeout:?}")),
        };
        let failed = self.fails.swap(outcome.is_err(), Ordering::Relaxed);
        let (host, port) = (&self.server.host, self.server.port);
        match &outcome {
            Err(error) if !failed => tracing::error!(%host, port, %error, "a directory cannot be asked"),
            Ok(_) if failed => tracing::info!(%host, port, "a directory answers again"),
            _ => {}
        }
        outcome.map_err(|_| Unanswered)
    }

    async fn put(&self, worker: usize, question: &Question<'_>) -> Result<Reply, String> {
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        if let Some(mut connection) = self.take(worker)
            && let Ok(reply) = question.put(&mut connection, self.server.timeout).await
        {
            self.keep(worker, connection);
            return Ok(reply);
        }
        // A kept connection may have been closed long ago; a new one tells for certain.
        let mut connection = Connection::open(&self.server, self.tls.as_ref()).await?;
        let reply = question.put(&mut connection, self.server.timeout).await?;
        self.keep(worker, connection);
        Ok(reply)
    }

    /// The connection that was used last.
    fn take(&self, worker: usize) -> Option<Connection> {
        let mut kept = self.of_worker(worker).lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < self.server.keepalive);
        kept.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, worker: usize, connection: Connection) {
        let mut kept = self.of_worker(worker).lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT && !self.server.keepalive.is_zero() {
            kept.push((connection, Instant::now()));
        }
    }

    fn of_worker(&self, worker: usize) -> &Kept {
        &self.kept[worker % self.kept.len()]
    }
}

/// What is asked of a directory at once.
struct Question<'q> {
    /// Who asks, with the password; otherwise the account of the connection.
    who: Option<(&'q str, &'q [u8])>,
    /// What is searched, and whether what is found counts only if it is all.
    search: Option<(&'q Search<'q>, bool)>,
}

/// What a directory says.
struct Reply {
    bound: u32,
    found: Option<Found>,
}

impl Question<'_> {
    async fn put(&self, connection: &mut Connection, time: Duration) -> Result<Reply, String> {
        let bound = match self.who {
            Some((dn, password)) => connection.bind(dn, password).await?,
            None => SUCCESS,
        };
        let found = match self.search {
            Some((search, _)) if bound == SUCCESS => Some(connection.search(search, time).await?),
            _ => None,
        };
        Ok(Reply { bound, found })
    }

    /// What was found; none where whoever asks is refused.
    fn judge(&self, reply: Reply) -> Result<Option<Vec<Entry>>, String> {
        match reply.bound {
            SUCCESS => {}
            code if REFUSALS.contains(&code) => return Ok(None),
            code => return Err(format!("the result is {code}")),
        }
        let (Some(found), Some((search, whole))) = (reply.found, self.search) else {
            return Ok(Some(Vec::new()));
        };
        match found.code {
            SUCCESS => Ok(Some(found.entries)),
            SIZE_LIMIT_EXCEEDED if !whole && found.entries.len() >= search.most => Ok(Some(found.entries)),
            SIZE_LIMIT_EXCEEDED => Err(format!("there is more below {} than may be told", search.base)),
            REFERRAL => Err(format!("{} is on another server, which is not asked", search.base)),
            code => Err(format!("the result of a search below {} is {code}", search.base)),
        }
    }
}
