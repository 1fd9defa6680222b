//! The database: SQLite, a row for each consumer, route and day.
//!
//! A batch is added in one transaction that also notes its number, so that a writer who has not heard whether it came
//! about can ask. Several processes may use the file at a time.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::counts::{Key, Line, Lines, OTHERS};

/// How long another process that writes is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The form of the tables.
const FORM: u32 = 1;
/// The name of consumers and routes beyond the bound.
pub const OVERFLOW: &str = "__overflow__";
/// Keeps nothing on disk.
const MEMORY: &str = ":memory:";
/// Days after which the last batch of a process that has ended does not matter any more.
const WRITER_DAYS: u32 = 2;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL,
    consumer TEXT NOT NULL,
    route TEXT NOT NULL,
    consumer_name TEXT NOT NULL,
    route_name TEXT NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    server_errors INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    cost_thousandths INTEGER NOT NULL,
    PRIMARY KEY (day, consumer, route)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS writers (
    id TEXT PRIMARY KEY,
    batch INTEGER NOT NULL,
    day TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

const ADD: &str = "
INSERT INTO usage VALUES (date(?1 * 86400, 'unixepoch'), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT DO UPDATE SET
    consumer_name = excluded.consumer_name,
    route_name = excluded.route_name,
    requests = requests + excluded.requests,
    errors = errors + excluded.errors,
    server_errors = server_errors + excluded.server_errors,
    request_bytes = request_bytes + excluded.request_bytes,
    response_bytes = response_bytes + excluded.response_bytes,
    cost_thousandths = cost_thousandths + excluded.cost_thousandths
";

const NOTE: &str = "
INSERT INTO writers VALUES (?1, ?2, date(?3 * 86400, 'unixepoch'))
ON CONFLICT DO UPDATE SET batch = excluded.batch, day = excluded.day
";

/// A day at a time, so that nobody waits for long.
const FORGET: &str = "
DELETE FROM usage WHERE day = (SELECT min(day) FROM usage) AND day < date(?1 * 86400, 'unixepoch')
";

/// What takes batches. Errors are texts for the log.
pub trait Storing: Send {
    /// Adds `lines` as batch `number` of `writer`, all or nothing, on the day `today` since 1970.
    fn add(&mut self, writer: Uuid, number: i64, lines: &Lines, today: u32) -> Result<(), String>;
    /// The number of the writer's last batch, if there is one.
    fn last(&mut self, writer: Uuid) -> Result<Option<i64>, String>;
    /// Forgets what is too old on the day `today`.
    fn forget(&mut self, today: u32) -> Result<(), String>;
    /// What [`super::query`] reads from.
    fn connection(&mut self) -> Result<&Connection, String>;
}

/// A database that is opened when it is needed, and again after an error.
pub struct Store {
    file: PathBuf,
    retention_days: Option<u32>,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    /// Device and number of the file.
    identity: Option<(u64, u64)>,
}

impl Store {
    /// The database in `file`, in which days are kept for so long.
    pub fn new(file: &Path, retention_days: Option<u32>) -> Self {
        Self { file: file.to_owned(), retention_days, open: None }
    }

    /// The connection. A file that was removed or replaced is not written to.
    fn opened(&mut self) -> Result<&mut Connection, String> {
        let of_file = identity(&self.file);
        let open = match self.open.take().filter(|open| open.identity == of_file) {
            Some(open) => open,
            None => Open::of(&self.file)?,
        };
        Ok(&mut self.open.insert(open).connection)
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        let done = self.opened().and_then(|connection| work(connection).map_err(|error| error.to_string()));
        if done.is_err() && self.file != Path::new(MEMORY) {
            self.open = None;
        }
        done.map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    fs::metadata(file).ok().map(|known| (known.dev(), known.ino()))
}

impl Open {
    fn of(file: &Path) -> Result<Self, String> {
        if file != Path::new(MEMORY) {
            // SQLite gives what it puts beside the file the same rights.
            let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
            made.map_err(|error| error.to_string())?;
        }
        let connection = Connection::open(file).map_err(|error| error.to_string())?;
        prepare(&connection)?;
        Ok(Self { connection, identity: identity(file) })
    }
}

fn prepare(connection: &Connection) -> Result<(), String> {
    let prepared = (|| {
        connection.busy_timeout(PATIENCE)?;
        let form: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if form > FORM {
            return Ok(Some(form));
        }
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch("PRAGMA synchronous = FULL")?;
        if form < FORM {
            connection
                .execute_batch(&format!("BEGIN IMMEDIATE;{TABLES}PRAGMA user_version = {FORM};COMMIT"))?;
        }
        Ok(None)
    })();
    match prepared.map_err(|error: rusqlite::Error| error.to_string())? {
        Some(form) => Err(format!("was written by a later version (form {form}, this one knows {FORM})")),
        None => Ok(()),
    }
}

impl Storing for Store {
    fn add(&mut self, writer: Uuid, number: i64, lines: &Lines, today: u32) -> Result<(), String> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut statement = transaction.prepare(ADD)?;
                for (key, line) in lines.iter() {
                    add_line(&mut statement, key, line)?;
                }
            }
            transaction.execute(NOTE, params![writer.to_string(), number, today])?;
            transaction.commit()
        })
    }

    fn last(&mut self, writer: Uuid) -> Result<Option<i64>, String> {
        let query = "SELECT batch FROM writers WHERE id = ?1";
        self.with(|connection| {
            connection.query_row(query, params![writer.to_string()], |row| row.get(0)).optional()
        })
    }

    fn forget(&mut self, today: u32) -> Result<(), String> {
        let first = self.retention_days.map(|days| today.saturating_sub(days));
        self.with(|connection| {
            let ended = params![today.saturating_sub(WRITER_DAYS)];
            connection.execute("DELETE FROM writers WHERE day < date(?1 * 86400, 'unixepoch')", ended)?;
            match first {
                Some(first) => connection.execute(FORGET, params![first]).map(drop),
                None => Ok(()),
            }
        })
    }

    fn connection(&mut self) -> Result<&Connection, String> {
        let name = self.file.display().to_string();
        self.opened().map(|connection| &*connection).map_err(|error| format!("{name}: {error}"))
    }
}

fn add_line(statement: &mut rusqlite::Statement<'_>, key: &Key, line: &Line) -> rusqlite::Result<()> {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let name = |id: Option<Uuid>, name: &str| if id == Some(OTHERS) { OVERFLOW } else { name }.to_owned();
    let number = |sum: u64| i64::try_from(sum).unwrap_or(i64::MAX);
    let sums = &line.sums;
    statement.execute(params![
        key.day,
        id(key.consumer),
        id(key.route),
        name(key.consumer, line.consumer()),
        name(key.route, line.route()),
        number(sums.requests),
        number(sums.errors),
        number(sums.server_errors),
        number(sums.request_bytes),
        number(sums.response_bytes),
        number(sums.cost),
    ])?;
    Ok(())
}
