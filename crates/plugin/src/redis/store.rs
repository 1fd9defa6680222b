//! One configuration of Redis with what all workers share about it.

use std::sync::Arc;

use redis::Value;

use super::connection::Opener;
use super::link::Link;
use super::request::{Invocation, Request};
use super::settings::Settings;
use super::{Answer, Fault};
use crate::build::{Build, BuildError};
use crate::circuit::{Circuit, Server, State, see_to_return};
use crate::figures::{Family, Figure};
use crate::services::Services;

/// An exchange did not take place, or its outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

static FAILED: Family =
    Family::count("redis_exchanges_failed_total", "Exchanges with Redis that failed or were not begun");
static OUTAGES: Family = Family::count("redis_outages_total", "Times that a Redis was found not to answer");

/// A Redis as rooms see it. Kept over reloads; rooms with the same settings share one.
pub struct Store {
    opener: Opener,
    circuit: Circuit,
    /// One for each worker, and the last one for everybody else.
    links: Box<[Link]>,
    failed: Arc<Figure>,
    outages: Arc<Figure>,
}

impl Store {
    /// The store with these settings, which come from the fields in `config.redis`. Nothing is connected before the first
    /// exchange.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be spoken.
    pub fn open(cx: &Build<'_>, settings: Settings) -> Result<Arc<Self>, BuildError> {
        Self::of(cx.services, settings).map_err(|message| BuildError::new("config.redis.ssl", message))
    }

    /// The same without a configuration around it.
    ///
    /// # Errors
    /// When TLS is asked for and cannot be spoken.
    pub fn of(services: &Services, settings: Settings) -> Result<Arc<Self>, String> {
        let spoken = settings.security.as_ref().filter(|_| !services.dry_run);
        let tls = spoken.map(|security| services.client_tls(security.verify)).transpose()?;
        let failed = services.figures.of(&FAILED, &[]);
        let outages = services.figures.of(&OUTAGES, &[]);
        let key = settings.fingerprint();
        let links = (0..=services.workers).map(|_| Link::default()).collect();
        let circuit = Circuit::new("Redis", settings.place());
        let opener = Opener { settings, tls };
        Ok(services.keep(&key, || Self { opener, circuit, links, failed, outages }))
    }

    /// Whether Redis is known not to answer, so that nobody needs to ask.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.circuit.state() == State::Silent
    }

    /// What stands for a worker where there is none: the Admin API, say.
    #[must_use]
    pub fn outside(&self) -> usize {
        self.links.len() - 1
    }

    /// Runs a script that answers with numbers, see [`Self::evaluate`].
    ///
    /// # Errors
    /// When Redis did not answer, or with an error; what the script was to do may have been done.
    pub async fn run(
        self: &Arc<Self>,
        worker: usize,
        invocation: &Invocation,
    ) -> Result<Vec<i64>, Unavailable> {
        let answer = self.ask(worker, &Request::Script(invocation)).await?;
        redis::from_redis_value(answer).map_err(|_| self.misunderstood())
    }

    /// Runs a script on the connection of `worker`, within one timeout, or at once if Redis is known not to answer.
    ///
    /// # Errors
    /// When Redis did not answer, or with an error; what the script was to do may have been done.
    pub async fn evaluate(
        self: &Arc<Self>,
        worker: usize,
        invocation: &Invocation,
    ) -> Result<Answer, Unavailable> {
        let answer = self.ask(worker, &Request::Script(invocation)).await?;
        Answer::of(answer).ok_or_else(|| self.misunderstood())
    }

    /// Carries an exchange out.
    pub(super) async fn ask(
        self: &Arc<Self>,
        worker: usize,
        request: &Request<'_>,
    ) -> Result<Value, Unavailable> {
        let outcome = self.attempt(worker, request).await;
        if outcome.is_none() {
            self.failed.add(1);
        }
        outcome.ok_or(Unavailable)
    }

    /// There was an answer, to another question it seems.
    pub(super) fn misunderstood(&self) -> Unavailable {
        self.failed.add(1);
        self.circuit.refused("an unexpected answer");
        Unavailable
    }

    async fn attempt(self: &Arc<Self>, worker: usize, request: &Request<'_>) -> Option<Value> {
        if self.is_silent() {
            return None;
        }
        let settings = &self.opener.settings;
        let link = &self.links[worker % self.links.len()];
        let _place = link.enter(settings.most_in_flight)?;
        match tokio::time::timeout(settings.patience(), link.run(request, &self.opener)).await {
            Ok(Ok(answer)) => {
                self.circuit.served();
                return Some(answer);
            }
            Ok(Err(Fault::Refused(reason))) => self.circuit.refused(&reason),
            Ok(Err(Fault::Lost(reason))) => self.lose(worker, &reason),
            Err(_) => {
                link.reset();
                self.lose(worker, &format!("no answer within {:?}", settings.patience()));
            }
        }
        None
    }

    fn lose(self: &Arc<Self>, worker: usize, reason: &str) {
        if self.circuit.fell_silent(reason) {
            self.outages.add(1);
            tokio::spawn(see_to_return(Arc::downgrade(self), worker));
        }
    }
}

impl Server for Store {
    fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    async fn probe(&self, worker: usize) -> Result<(), String> {
        let patience = self.opener.settings.patience();
        let link = &self.links[worker % self.links.len()];
        match tokio::time::timeout(patience, link.probe(&self.opener)).await {
            Ok(outcome) => outcome.map_err(Fault::text),
            Err(_) => {
                link.reset();
                Err(format!("no answer within {patience:?}"))
            }
        }
    }
}
