//! The database: SQLite, a row for each token, code and refresh token that was replaced.

use std::path::Path;

use plugin::embedded;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::secret::Hash;
use super::store::{Change, Code, Grant, Spent, Token};

/// The form of the tables.
const FORM: u32 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS tokens (
    access BLOB PRIMARY KEY, refresh BLOB,
    family BLOB NOT NULL, credential BLOB NOT NULL, service BLOB, user TEXT, scope TEXT,
    created INTEGER NOT NULL, expires INTEGER NOT NULL, gone INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    refresh BLOB PRIMARY KEY, family BLOB NOT NULL, gone INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS codes (
    code BLOB PRIMARY KEY,
    family BLOB NOT NULL, credential BLOB NOT NULL, service BLOB, user TEXT, scope TEXT,
    redirect_uri TEXT NOT NULL, challenge TEXT, gone INTEGER NOT NULL, used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What the database knows.
#[derive(Default)]
pub(super) struct Known {
    pub(super) tokens: Vec<Token>,
    pub(super) spent: Vec<Spent>,
    pub(super) codes: Vec<Code>,
}

/// The connection.
pub(super) struct Database(Connection);

impl Database {
    pub(super) fn open(file: &Path) -> Result<Self, String> {
        embedded::open(file, FORM, TABLES).map(Self)
    }

    /// What has not ended at `now`, at most `most` of each.
    pub(super) fn load(&mut self, now: u64, most: usize) -> Result<Known, String> {
        let load = |connection: &Connection| -> rusqlite::Result<Known> {
            let bounds = params![number(now), number(most as u64)];
            let mut tokens = connection.prepare("SELECT * FROM tokens WHERE gone > ?1 LIMIT ?2")?;
            let mut spent = connection.prepare("SELECT * FROM spent WHERE gone > ?1 LIMIT ?2")?;
            let mut codes = connection.prepare("SELECT * FROM codes WHERE gone > ?1 LIMIT ?2")?;
            Ok(Known {
                tokens: tokens.query_map(bounds, token)?.collect::<Result<_, _>>()?,
                spent: spent.query_map(bounds, replaced)?.collect::<Result<_, _>>()?,
                codes: codes.query_map(bounds, code)?.collect::<Result<_, _>>()?,
            })
        };
        load(&self.0).map_err(|error| error.to_string())
    }

    /// Writes changes, all or none.
    pub(super) fn write<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Result<(), String> {
        let write = || -> rusqlite::Result<()> {
            let transaction = self.0.transaction()?;
            for change in changes {
                apply(&transaction, change)?;
            }
            transaction.commit()
        };
        write().map_err(|error| error.to_string())
    }

    /// Removes what has ended at `now`.
    pub(super) fn sweep(&mut self, now: u64) -> Result<(), String> {
        ["tokens", "spent", "codes"].iter().try_for_each(|table| {
            let swept =
                self.0.execute(&format!("DELETE FROM {table} WHERE gone <= ?1"), params![number(now)]);
            swept.map(drop).map_err(|error| error.to_string())
        })
    }
}

fn apply(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::PutToken(token) => put_token(connection, token),
        Change::DropToken(access) => {
            connection.prepare("DELETE FROM tokens WHERE access = ?1")?.execute(params![access])
        }
        Change::PutSpent(spent) => connection
            .prepare("INSERT OR REPLACE INTO spent VALUES (?1,?2,?3)")?
            .execute(params![spent.refresh, spent.family.as_bytes(), number(spent.gone)]),
        Change::PutCode(code) => put_code(connection, code),
    }
    .map(drop)
}

fn put_token(connection: &Connection, token: &Token) -> rusqlite::Result<usize> {
    let grant = &token.grant;
    connection.prepare("INSERT OR REPLACE INTO tokens VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")?.execute(
        params![
            token.access,
            token.refresh,
            grant.family.as_bytes(),
            grant.credential.as_bytes(),
            grant.service.as_ref().map(Uuid::as_bytes),
            grant.user,
            grant.scope,
            number(token.created),
            number(token.expires),
            number(token.gone),
        ],
    )
}

fn put_code(connection: &Connection, code: &Code) -> rusqlite::Result<usize> {
    let grant = &code.grant;
    connection.prepare("INSERT OR REPLACE INTO codes VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")?.execute(
        params![
            code.code,
            grant.family.as_bytes(),
            grant.credential.as_bytes(),
            grant.service.as_ref().map(Uuid::as_bytes),
            grant.user,
            grant.scope,
            code.redirect_uri,
            code.challenge,
            number(code.gone),
            code.used,
        ],
    )
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        access: row.get::<_, Hash>(0)?,
        refresh: row.get(1)?,
        grant: grant(row, 2)?,
        created: seconds(row.get(7)?),
        expires: seconds(row.get(8)?),
        gone: seconds(row.get(9)?),
    })
}

fn replaced(row: &Row<'_>) -> rusqlite::Result<Spent> {
    let family = Uuid::from_bytes(row.get(1)?);
    Ok(Spent { refresh: row.get(0)?, family, gone: seconds(row.get(2)?) })
}

fn code(row: &Row<'_>) -> rusqlite::Result<Code> {
    Ok(Code {
        code: row.get(0)?,
        grant: grant(row, 1)?,
        redirect_uri: row.get(6)?,
        challenge: row.get(7)?,
        gone: seconds(row.get(8)?),
        used: row.get(9)?,
    })
}

fn grant(row: &Row<'_>, first: usize) -> rusqlite::Result<Grant> {
    Ok(Grant {
        family: Uuid::from_bytes(row.get(first)?),
        credential: Uuid::from_bytes(row.get(first + 1)?),
        service: row.get::<_, Option<[u8; 16]>>(first + 2)?.map(Uuid::from_bytes),
        user: row.get(first + 3)?,
        scope: row.get(first + 4)?,
    })
}

fn number(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn seconds(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
