//! memcached as a place for what several gateways share: values by their keys, over its text protocol.
//!
//! A [`Store`] is one server. Each worker keeps some connections to it, on each of which one exchange goes on at a time.
//! No exchange takes longer than its patience, and none is begun once the server is known not to answer (see
//! [`crate::circuit`]).
//!
//! It never holds more exchanges than its bound, never reads an answer longer than a value may be, and never repeats an
//! exchange except where a connection that has been used before was lost: each may be carried out twice without harm.

mod connection;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use crate::redis::{Address, Security};

pub use store::Store;

/// Most bytes of a value: what memcached takes as it comes (`-I 1m`), less what it notes about it.
pub const LARGEST: usize = (1 << 20) - 1024;
/// Most bytes of a key.
pub const LONGEST_KEY: usize = 250;
/// Longest that an exchange takes, a new connection included.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// By a host and a port.
    Host(Address),
    /// By a Unix socket.
    Socket(PathBuf),
}

/// All about one memcached.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The server.
    pub place: Place,
    /// TLS, if it is spoken; at a host only.
    pub security: Option<Security>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(address) => address.fmt(out),
            Self::Socket(path) => write!(out, "unix:{}", path.display()),
        }
    }
}
