//! Databases in files of this gateway's own: SQLite, for what outlives the process.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::services::Services;

/// How long another process that writes is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keeps nothing on disk.
const MEMORY: &str = ":memory:";

/// The file called `name` beside the database of usage; `:memory:` where that keeps nothing on disk, and none where there
/// is no such database.
#[must_use]
pub fn file(services: &Services, name: &str) -> Option<PathBuf> {
    let usage = &services.usage()?.database;
    Some(if is_memory(usage) { PathBuf::from(MEMORY) } else { usage.with_file_name(name) })
}

/// Whether a database keeps nothing on disk.
#[must_use]
pub fn is_memory(file: &Path) -> bool {
    file == Path::new(MEMORY)
}

/// Opens a database in which `tables` (`CREATE TABLE IF NOT EXISTS ...`) have the form with the number `form`. A file that is
/// made here can be read by nobody but the user of the gateway. What was committed stays, even if the machine stops.
///
/// # Errors
/// Why it cannot be opened; one of a later form is not.
pub fn open(file: &Path, form: u32, tables: &str) -> Result<Connection, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    if !is_memory(file) {
        // SQLite gives what it puts beside the file the same rights.
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
        made.map_err(|error| failed(&error))?;
    }
    let opened = || -> rusqlite::Result<(Connection, u32)> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(PATIENCE)?;
        let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found <= form {
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            connection.execute_batch("PRAGMA synchronous = FULL")?;
            connection
                .execute_batch(&format!("BEGIN IMMEDIATE;{tables}PRAGMA user_version = {form};COMMIT"))?;
        }
        Ok((connection, found))
    };
    let (connection, found) = opened().map_err(|error| failed(&error))?;
    match found > form {
        true => Err(failed(&format!("was written by a later version (form {found})"))),
        false => Ok(connection),
    }
}
