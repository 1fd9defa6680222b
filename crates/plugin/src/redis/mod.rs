//! Redis as a place for what several gateways share: scripts in, numbers and bytes out, and values by their keys.
//!
//! A [`Store`] is one configuration of Redis: a single server, a master that sentinels name, or a cluster. Each worker
//! has one connection of its own to it (to each master of a cluster), on which all its requests travel together. No
//! request waits longer than one timeout, and none at all once Redis is known not to answer (see [`crate::circuit`]).
//!
//! It never keeps a thread waiting, never holds more exchanges than its bound, and never repeats one that may have
//! been carried out, except where the connection was lost: then a script or a command may have run twice, and whoever
//! writes one sees to it that this does no harm.

mod answer;
mod cluster;
mod connection;
pub mod fields;
mod link;
mod request;
mod route;
mod sentinel;
mod settings;
mod store;
mod values;

pub use answer::Answer;
pub use request::{Argument, Invocation, Script};
pub use settings::{Address, Identity, Security, Settings, Topology};
pub use store::{Store, Unavailable};

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
