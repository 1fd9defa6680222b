//! Where usage is kept, as the operator's settings say.

use std::path::PathBuf;
use std::time::Duration;

/// Where usage is kept, how often it gets there and how long it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The database; `:memory:` is one that ends with the process.
    pub database: PathBuf,
    /// Time between two writes: what a process that is killed may lose.
    pub interval: Duration,
    /// Days that are kept besides today; all of them without it.
    pub retention_days: Option<u32>,
}

impl Settings {
    /// Settings with the defaults.
    #[must_use]
    pub fn at(database: impl Into<PathBuf>) -> Self {
        Self { database: database.into(), interval: Duration::from_secs(5), retention_days: Some(400) }
    }
}
