//! Redis as a place for what several gateways share: scripts in, numbers out.
//!
//! A [`Store`] is one configuration of Redis: a single server, a master that sentinels name, or a cluster. Each worker
//! has one connection of its own to it (to each master of a cluster), on which all its requests travel together. No
//! request waits longer than one timeout, and none at all once Redis is known not to answer (see [`circuit`]).
//!
//! It never keeps a thread waiting, never holds more exchanges than its bound, and never repeats one that may have
//! been carried out, except where the connection was lost: then a script may have run twice, which for a limit means
//! that one request less is admitted.

pub mod circuit;
mod cluster;
mod connection;
pub mod fields;
mod link;
mod route;
mod sentinel;
mod settings;
mod store;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use settings::{Address, Identity, Security, Settings, Topology};
pub use store::{Store, Unavailable};

/// A Lua script. Its keys belong to one hash slot: all have the same text between braces.
pub struct Script {
    source: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    /// The script with this source; it returns an array of integers.
    #[must_use]
    pub const fn new(source: &'static str) -> Self {
        Self { source, digest: OnceLock::new() }
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}

/// A script with what it works on.
pub struct Invocation {
    /// What runs.
    pub script: &'static Script,
    /// The keys it touches; at least one.
    pub keys: Vec<Vec<u8>>,
    /// Its arguments.
    pub arguments: Vec<i64>,
}

impl Invocation {
    /// By its digest, which is enough for a server that has seen the script.
    fn by_digest(&self) -> redis::Cmd {
        self.command("EVALSHA", self.script.digest())
    }

    /// With the script itself.
    fn in_full(&self) -> redis::Cmd {
        self.command("EVAL", self.script.source)
    }

    fn command(&self, name: &str, script: &str) -> redis::Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key.as_slice());
        }
        for argument in &self.arguments {
            command.arg(*argument);
        }
        command
    }
}

/// Why an exchange came to nothing.
#[derive(Debug)]
enum Fault {
    /// The connection is of no use any more.
    Lost(String),
    /// The server answered, with an error.
    Refused(String),
}

impl Fault {
    fn of(error: &redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        let text = error.to_string();
        match error.kind() {
            // A replica that was a master, or a server that cannot serve yet: another connection may lead elsewhere.
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown,
            ) => Self::Lost(text),
            ErrorKind::Server(_) => Self::Refused(text),
            _ => Self::Lost(text),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Lost(text) | Self::Refused(text) => text,
        }
    }
}
