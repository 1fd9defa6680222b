//! Sessions that outlive the process: in a database beside that of usage, written by a thread of its own.
//!
//! A session is there as it is in memory, sealed, under a digest of its id: nobody gets in with what stands in the file. A
//! response waits for nothing; a logout does, so that what has ended does not come back. What is over goes once a minute.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use plugin::clock::Clock;
use plugin::embedded;
use plugin::web_session::local::{Archive, Kept, Local, Name, Table, Written};
use rusqlite::{Connection, params};
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

/// How long the end of the gateway waits for the file.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A session that has changed, if any, and who waits for that to be written.
struct Order {
    name: Option<Name>,
    done: Done,
}

/// Who waits.
enum Done {
    Request(oneshot::Sender<bool>),
    End(SyncSender<()>),
}

/// The way to the thread that writes.
struct Orders(SyncSender<Order>);

/// The thread that writes.
struct Writer {
    table: Arc<Table>,
    waiting: Receiver<Order>,
    connection: Connection,
    clock: Clock,
}

/// The sessions in the database `file`, and those to come.
///
/// # Errors
/// Why it cannot be opened.
pub(super) fn open(file: &Path, clock: &Clock) -> Result<Local, String> {
    let connection = embedded::open(file, FORM, TABLES)?;
    let known = load(&connection, seconds(clock)).map_err(|error| format!("{}: {error}", file.display()))?;
    let (orders, waiting) = sync_channel(MOST_WAITING);
    let mut started = Ok(());
    let local = Local::archived(known, |table| {
        let writer = Writer { table, waiting, connection, clock: clock.clone() };
        let thread = thread::Builder::new().name("sessions".to_owned());
        started = thread.spawn(|| writer.run()).map(drop).map_err(|error| error.to_string());
        Box::new(Orders(orders))
    });
    started.map(|()| local)
}

impl Archive for Orders {
    fn write(&self, name: Name) -> Written {
        let (done, written) = oneshot::channel();
        // When too many wait, `done` is dropped with the order, which says that nothing was written.
        if self.0.try_send(Order { name: Some(name), done: Done::Request(done) }).is_err() {
            tracing::warn!(
                "too many changes of sessions wait to be written: one is lost when the gateway stops"
            );
        }
        written
    }

    fn finish(&self) {
        let (done, written) = sync_channel(1);
        if self.0.send(Order { name: None, done: Done::End(done) }).is_err()
            || written.recv_timeout(LAST_PATIENCE).is_err()
        {
            tracing::error!("the last changes of sessions are not written");
        }
    }
}

impl Writer {
    fn run(mut self) {
        let mut due = Instant::now() + SWEEP;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            match self.waiting.recv_timeout(left) {
                Ok(first) => self.carry_out(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
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
        for name in orders.iter().filter_map(|order| order.name.as_ref()) {
            match self.table.find(name) {
                Some(kept) => transaction
                    .prepare("INSERT OR REPLACE INTO sessions VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![name, kept.content, number(kept.gone), kept.subject])?,
                None => {
                    transaction.prepare("DELETE FROM sessions WHERE name = ?1")?.execute(params![name])?
                }
            };
        }
        transaction.commit()
    }
}

/// What has not ended at `now`. Those that end last come last, and stay where there is not enough memory.
fn load(connection: &Connection, now: u64) -> rusqlite::Result<Vec<(Name, Kept)>> {
    sweep(connection, now)?;
    let mut query = connection.prepare("SELECT name, content, gone, subject FROM sessions ORDER BY gone")?;
    let rows = query.query_map([], |row| {
        let gone = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
        Ok((row.get(0)?, Kept { content: row.get(1)?, gone, subject: row.get(3)? }))
    })?;
    rows.collect()
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
