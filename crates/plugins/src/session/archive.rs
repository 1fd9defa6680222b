//! Sessions that outlive the process: in a database beside that of usage, written by a thread of its own.
//!
//! A session is there as it is in memory, sealed, under a digest of its id: nobody gets in with what stands in the file. A
//! response waits for nothing; a logout does, so that what has ended does not come back. What is over goes once a minute.
//!
//! During an upgrade of the gateway two processes have the file open. What one has begun the other one finds there when it
//! is asked about it, and what one has ended the other one forgets within a second.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plugin::clock::Clock;
use plugin::embedded;
use plugin::web_session::local::{Archive, Event, Kept, Local, Name, Table, Written};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

/// The form of the table.
const FORM: u32 = 1;
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS sessions (
    name BLOB PRIMARY KEY, content BLOB NOT NULL, gone INTEGER NOT NULL, subject TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_subject ON sessions (subject) WHERE subject IS NOT NULL;
";
/// Most sessions in the file. Memory, which has the same ones, holds fewer.
const MOST: i64 = 500_000;
/// Changes that wait to be written.
const MOST_WAITING: usize = 4096;
/// Changes written at once.
const MOST_AT_ONCE: usize = 256;
/// Time between two looks for what is over.
const SWEEP: Duration = Duration::from_secs(60);
/// Time between two looks for what another process has done.
const LOOK: Duration = Duration::from_secs(1);

/// How long the end of the gateway waits for the file.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A session that has changed, if any, and who waits for that to be written.
struct Order {
    change: Option<(Name, Event)>,
    done: Done,
}

/// Who waits.
enum Done {
    Request(oneshot::Sender<bool>),
    End(SyncSender<()>),
}

/// The way to the file.
struct File {
    table: Arc<Table>,
    /// To the thread that writes.
    orders: SyncSender<Order>,
    reading: Mutex<Connection>,
}

/// The thread that writes.
struct Writer {
    table: Arc<Table>,
    waiting: Receiver<Order>,
    connection: Connection,
    clock: Clock,
    /// By which is known whether another process has written.
    version: i64,
}

/// The sessions in the database `file`, and those to come.
///
/// # Errors
/// Why it cannot be opened.
pub(super) fn open(file: &Path, clock: &Clock) -> Result<Local, String> {
    let failed = |error| format!("{}: {error}", file.display());
    let connection = embedded::open(file, FORM, TABLES)?;
    let reading = Mutex::new(embedded::open(file, FORM, TABLES)?);
    let version = version(&connection).map_err(failed)?;
    let known = load(&connection, seconds(clock)).map_err(failed)?;
    let (orders, waiting) = sync_channel(MOST_WAITING);
    let mut started = Ok(());
    let local = Local::archived(known, |table| {
        let writer = Writer { table: table.clone(), waiting, connection, clock: clock.clone(), version };
        let thread = thread::Builder::new().name("sessions".to_owned());
        started = thread.spawn(|| writer.run()).map(drop).map_err(|error| error.to_string());
        Box::new(File { table, orders, reading })
    });
    started.map(|()| local)
}

impl Archive for File {
    fn write(&self, name: Name, event: Event) -> Written {
        let (done, written) = oneshot::channel();
        // When too many wait, `done` is dropped with the order, which says that nothing was written.
        let order = Order { change: Some((name, event)), done: Done::Request(done) };
        if self.orders.try_send(order).is_err() {
            self.table.give_up(&name);
            tracing::warn!(
                "too many changes of sessions wait to be written: one is lost when the gateway stops"
            );
        }
        written
    }

    fn read(&self, name: &Name) -> Option<Kept> {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let query = reading.prepare("SELECT name, content, gone, subject FROM sessions WHERE name = ?1");
        let found = query.and_then(|mut query| query.query_row(params![name], session).optional());
        let found = found.inspect_err(|error| {
            tracing::error!(%error, "a session cannot be looked for in the database");
        });
        found.ok().flatten().map(|(_, kept)| kept)
    }

    fn finish(&self) {
        let (done, written) = sync_channel(1);
        if self.orders.send(Order { change: None, done: Done::End(done) }).is_err()
            || written.recv_timeout(LAST_PATIENCE).is_err()
        {
            tracing::error!("the last changes of sessions are not written");
        }
    }
}

impl Writer {
    fn run(mut self) {
        let mut due = Instant::now() + SWEEP;
        let mut look = Instant::now() + LOOK;
        loop {
            let left = look.saturating_duration_since(Instant::now());
            match self.waiting.recv_timeout(left) {
                Ok(first) => self.carry_out(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= look {
                look = Instant::now() + LOOK;
                if let Err(error) = self.follow() {
                    tracing::error!(%error, "it cannot be seen which sessions another process has ended");
                }
            }
            if Instant::now() >= due {
                due = Instant::now() + SWEEP;
                if let Err(error) = sweep(&self.connection, seconds(&self.clock)) {
                    tracing::error!(%error, "sessions that are over cannot be removed from their database");
                }
            }
        }
    }

    fn carry_out(&mut self, first: Order) {
        let mut orders = vec![first];
        orders.extend(self.waiting.try_iter().take(MOST_AT_ONCE - 1));
        let written = self.write(&orders);
        if let Err(error) = &written {
            tracing::error!(%error, "sessions cannot be written: they end with the process");
        }
        for order in orders {
            match (&order.change, &written) {
                (Some((name, _)), Ok(())) => self.table.settle(name),
                (Some((name, _)), Err(_)) => self.table.give_up(name),
                (None, _) => {}
            }
            // Who waited may be gone, and mostly nobody does.
            match order.done {
                Done::Request(done) => drop(done.send(written.is_ok())),
                Done::End(done) => drop(done.send(())),
            }
        }
    }

    /// Writes what the table has now, whatever has happened since: the order of changes does not matter.
    fn write(&mut self, orders: &[Order]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for (name, event) in orders.iter().filter_map(|order| order.change.as_ref()) {
            let Some(kept) = self.table.find(name) else {
                transaction.prepare("DELETE FROM sessions WHERE name = ?1")?.execute(params![name])?;
                continue;
            };
            let statement = match event {
                Event::Begun => "INSERT OR REPLACE INTO sessions VALUES (?1, ?2, ?3, ?4)",
                Event::Changed => "UPDATE sessions SET content = ?2, gone = ?3, subject = ?4 WHERE name = ?1",
            };
            let row = params![name, kept.content, number(kept.gone), kept.subject];
            transaction.prepare(statement)?.execute(row)?;
        }
        transaction.commit()
    }

    /// Has the table forget what another process has ended, if any has written since the last time.
    fn follow(&mut self) -> rusqlite::Result<()> {
        let version = version(&self.connection)?;
        if version == self.version {
            return Ok(());
        }
        let mut query = self.connection.prepare("SELECT gone FROM sessions WHERE name = ?1")?;
        for name in self.table.names() {
            match query.query_row(params![name], |row| row.get::<_, i64>(0)).optional()? {
                Some(gone) => self.table.shorten(&name, u64::try_from(gone).unwrap_or(0)),
                None => self.table.end(&name),
            }
        }
        drop(query);
        self.version = version;
        Ok(())
    }
}

/// A number that another one takes the place of when somebody else has written.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

fn session(row: &Row<'_>) -> rusqlite::Result<(Name, Kept)> {
    let gone = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
    Ok((row.get(0)?, Kept { content: row.get(1)?, gone, subject: row.get(3)? }))
}

/// What has not ended at `now`. Those that end last come last, and stay where there is not enough memory.
fn load(connection: &Connection, now: u64) -> rusqlite::Result<Vec<(Name, Kept)>> {
    sweep(connection, now)?;
    let mut query = connection.prepare("SELECT name, content, gone, subject FROM sessions ORDER BY gone")?;
    query.query_map([], session)?.collect()
}

/// Removes what has ended at `now`, and what is too much.
fn sweep(connection: &Connection, now: u64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM sessions WHERE gone <= ?1", params![number(now)])?;
    let count: i64 = connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
    if count > MOST {
        let first = "DELETE FROM sessions WHERE name IN (SELECT name FROM sessions ORDER BY gone LIMIT ?1)";
        connection.execute(first, params![count - MOST])?;
    }
    Ok(())
}

fn seconds(clock: &Clock) -> u64 {
    clock.now_ms() / 1_000
}

fn number(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
