//! Asking a directory whether a password is right (RFC 4511, RFC 4513 5.1.3).
//!
//! Connections are kept for each worker, bounded in number, and every question has an end in time. What callers say never
//! becomes part of a name without being escaped ([`escaped`]).

mod ber;
mod connection;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::sync::Semaphore;

use crate::services::Services;
use connection::Connection;

/// Questions that all workers together may have open; others wait for a place, within their time.
const MOST_QUESTIONS: usize = 64;
/// Connections that a worker keeps.
const MOST_KEPT: usize = 4;
const SUCCESS: u32 = 0;
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
        let key = format!("{server:?}");
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
        if password.is_empty() {
            return Ok(false);
        }
        let timeout = self.server.timeout;
        let outcome = match tokio::time::timeout(timeout, self.bind(worker, dn, password)).await {
            Ok(Ok(SUCCESS)) => Ok(true),
            Ok(Ok(code)) if REFUSALS.contains(&code) => Ok(false),
            Ok(Ok(code)) => Err(format!("the result is {code}")),
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

    async fn bind(&self, worker: usize, dn: &str, password: &[u8]) -> Result<u32, String> {
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        if let Some(mut connection) = self.take(worker)
            && let Ok(code) = connection.bind(dn, password).await
        {
            self.keep(worker, connection);
            return Ok(code);
        }
        // A kept connection may have been closed long ago; a new one tells for certain.
        let mut connection = Connection::open(&self.server, self.tls.as_ref()).await?;
        let code = connection.bind(dn, password).await?;
        self.keep(worker, connection);
        Ok(code)
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

/// `value` as it stands in a distinguished name (RFC 4514 2.4): whatever might mean something there is in hexadecimal digits.
#[must_use]
pub fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_can_end_it() {
        assert_eq!(escaped("ada.l@x-y_z"), "ada.l@x-y_z");
        assert_eq!(escaped("a,dc=evil"), "a\\2cdc\\3devil");
        assert_eq!(escaped(" #\"+;<>\\\0"), "\\20\\23\\22\\2b\\3b\\3c\\3e\\5c\\00");
        assert_eq!(escaped("é*"), "\\c3\\a9\\2a");
    }
}
