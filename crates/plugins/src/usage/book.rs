//! Keeps the book: counts are collected in intervals and added to the database, by a thread of its own.
//!
//! What has not been stored stays here, with a bound on its lines but not on what they count. A batch whose fate is not
//! known is asked for before anything else is written, so that nothing is counted twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use plugin::Services;
use plugin::clock::Clock;
use plugin::figures::{Family, Figure, Kind};
use plugin::services::Ending;
use plugin::usage::Settings;
use rusqlite::Connection;
use uuid::Uuid;

use super::counts::{Counts, Lines, Place, Sums, Whose};
use super::store::{Store, Storing};

/// Lines of a worker between two collections. When there are so many, the next one comes early.
const MOST_COUNTED: usize = 8192;
/// Lines that wait for a database that takes none.
const MOST_WAITING: usize = 65_536;
/// How long the end waits for the last lines to be stored.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often it looks.
const GLANCE: Duration = Duration::from_millis(5);
const DAY_MS: u64 = 86_400_000;

static FAILURES: Family = Family {
    name: "usage_flushes_failed_total",
    help: "Times that usage could not be written to its database",
    kind: Kind::Counter,
    labels: &[],
};
static WAITING: Family = Family {
    name: "usage_lines_waiting",
    help: "Consumers by route and day whose usage waits for its database",
    kind: Kind::Gauge,
    labels: &[],
};
static UNNAMED: Family = Family {
    name: "usage_requests_unnamed_total",
    help: "Requests counted for other consumers or routes because there were too many",
    kind: Kind::Counter,
    labels: &[],
};
static REFUSED: Family = Family {
    name: "usage_costs_refused_total",
    help: "Costs named by services that are no numbers within the bounds",
    kind: Kind::Counter,
    labels: &[],
};

/// Usage on its way to the database.
pub struct Book {
    inner: Arc<Inner>,
    writer: Mutex<Option<JoinHandle<()>>>,
    wake: Option<Thread>,
}

struct Inner {
    counts: Counts,
    desk: Mutex<Desk>,
    closing: AtomicBool,
    clock: Clock,
    figures: Figures,
}

struct Figures {
    failures: Arc<Figure>,
    waiting: Arc<Figure>,
    unnamed: Arc<Figure>,
    refused: Arc<Figure>,
}

impl Book {
    /// Opens the book and starts its thread.
    pub fn start(services: &Services, settings: &Settings) -> Self {
        let store = Store::new(&settings.database, settings.retention_days);
        let inner = Inner::new(services, Box::new(store));
        let (theirs, interval) = (inner.clone(), settings.interval);
        let body = move || write_until_closed(&theirs, interval);
        let writer = match thread::Builder::new().name("usage".to_owned()).spawn(body) {
            Ok(writer) => Some(writer),
            Err(error) => {
                tracing::error!(%error, "usage is written at the end and when it is asked for, for want of a thread");
                None
            }
        };
        let wake = writer.as_ref().map(|writer| writer.thread().clone());
        Self { inner, writer: Mutex::new(writer), wake }
    }

    /// Counts a request.
    pub fn count(&self, worker: usize, whose: Whose<'_>, sums: &Sums) {
        match self.inner.counts.add(worker, whose, sums) {
            Place::Own => {}
            Place::Last => self.wake.iter().for_each(Thread::unpark),
            Place::Others => self.inner.figures.unnamed.add(1),
        }
    }

    /// Takes note of a cost that is none.
    pub fn refuse_cost(&self) {
        self.inner.figures.refused.add(1);
    }

    /// Writes down everything that has been counted, and reads.
    ///
    /// # Errors
    /// Why the database cannot be read or written; what could not be written waits.
    pub fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, String>) -> Result<T, String> {
        let mut desk = self.inner.flush()?;
        read(desk.store.connection()?)
    }

    fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        writer.thread().unpark();
        let deadline = Instant::now() + PATIENCE;
        while !writer.is_finished() {
            if Instant::now() >= deadline {
                tracing::error!("usage counted last is lost: its database does not answer");
                return;
            }
            thread::park_timeout(GLANCE);
        }
        // A panic has been reported by the panic hook.
        let _ = writer.join();
    }
}

impl Ending for Book {
    fn finish(&self) {
        self.close();
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_until_closed(inner: &Inner, interval: Duration) {
    loop {
        thread::park_timeout(interval);
        let closing = inner.closing.load(Ordering::Acquire);
        let stored = inner.flush().map(drop);
        if closing {
            if let Err(error) = stored {
                let lines = inner.figures.waiting.value();
                tracing::error!(error, lines, "usage counted last is lost");
            }
            return;
        }
    }
}

impl Inner {
    fn new(services: &Services, store: Box<dyn Storing>) -> Arc<Self> {
        let of = |family| services.figures.of(family, &[]);
        let figures = Figures {
            failures: of(&FAILURES),
            waiting: of(&WAITING),
            unnamed: of(&UNNAMED),
            refused: of(&REFUSED),
        };
        Arc::new(Self {
            counts: Counts::new(services.workers, MOST_COUNTED),
            desk: Mutex::new(Desk::new(store, MOST_WAITING, figures.unnamed.clone())),
            closing: AtomicBool::new(false),
            clock: services.clock.clone(),
            figures,
        })
    }

    /// Writes down everything that has been counted.
    fn flush(&self) -> Result<MutexGuard<'_, Desk>, String> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        self.figures.unnamed.add(desk.collect(&self.counts));
        let today = u32::try_from(self.clock.now_ms() / DAY_MS).unwrap_or(u32::MAX);
        let written = desk.write(today);
        self.figures.waiting.set((desk.waiting.len() + desk.sent.len()) as u64);
        match &written {
            Err(error) => {
                self.figures.failures.add(1);
                if !desk.fails {
                    tracing::error!(error, "usage cannot be written: it is kept until it can");
                }
            }
            Ok(()) if desk.fails => tracing::info!("usage is written again"),
            Ok(()) => {}
        }
        desk.fails = written.is_err();
        written.map(|()| desk)
    }
}

/// What is written to the database, and with what.
struct Desk {
    store: Box<dyn Storing>,
    /// Who writes, in the database.
    name: Uuid,
    /// What has been collected since.
    waiting: Lines,
    /// The last batch, as long as it is not known to be stored, and its number.
    sent: Lines,
    number: i64,
    /// Empty, for collecting.
    spare: Lines,
    /// Lines that may wait under their own names.
    most: usize,
    unnamed: Arc<Figure>,
    fails: bool,
}

impl Desk {
    fn new(store: Box<dyn Storing>, most: usize, unnamed: Arc<Figure>) -> Self {
        let (waiting, sent, spare) = Default::default();
        let name = Uuid::new_v4();
        Self { store, name, waiting, sent, number: 0, spare, most, unnamed, fails: false }
    }

    /// Takes over what has been counted. How many requests have lost their names.
    fn collect(&mut self, counts: &Counts) -> u64 {
        counts.collect(&mut self.waiting, &mut self.spare, self.most)
    }

    /// Adds what waits to the database.
    fn write(&mut self, today: u32) -> Result<(), String> {
        if !self.sent.is_empty() {
            if self.store.last(self.name)? == Some(self.number) {
                self.sent.clear();
            } else {
                // What came first keeps its names.
                self.unnamed.add(self.sent.absorb(&mut self.waiting, self.most));
                std::mem::swap(&mut self.waiting, &mut self.sent);
            }
        }
        if !self.waiting.is_empty() {
            std::mem::swap(&mut self.waiting, &mut self.sent);
            self.number += 1;
            self.store.add(self.name, self.number, &self.sent, today)?;
            self.sent.clear();
        }
        self.store.forget(today)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
