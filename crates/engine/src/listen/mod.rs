//! Where clients come in: addresses, the sockets that listen there, and which worker has which of them. It accepts
//! nothing.

mod bound;
mod listening;
mod options;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use bound::Bound;
pub use listening::{Listening, Socket};
pub use options::{Keepalive, SocketOptions};

/// What can be listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Address and port; port 0 takes any free one.
    Inet(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Address and port, of what has them.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// As Kong writes it.
impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// A socket that listens already, for another process or a service manager.
#[derive(Debug)]
pub struct Inherited {
    /// What it is known by: for a port that was freely chosen, 0.
    pub address: Address,
    /// The socket.
    pub bound: Bound,
}

/// An address to listen on for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: Address,
    /// What is asked of the kernel.
    pub options: SocketOptions,
    /// Clients speak TLS.
    pub tls: bool,
    /// Clients may speak HTTP/2.
    pub http2: bool,
    /// Connections begin with a header of the PROXY protocol.
    pub proxied: bool,
    /// What comes in.
    pub carries: Carries,
}

/// What a listener takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Carries {
    /// Requests of HTTP.
    #[default]
    Requests,
    /// Connections that are carried on layer 4.
    Connections,
    /// Datagrams of UDP.
    Datagrams,
}

impl Listener {
    /// One that takes what `carries` says in cleartext, and nothing else said of it.
    #[must_use]
    pub fn new(address: Address, carries: Carries) -> Self {
        let options = SocketOptions::default();
        Self { address, options, tls: false, http2: false, proxied: false, carries }
    }

    /// Whether it is at the same place: UDP and TCP have ports of their own.
    fn is_at(&self, other: &Self) -> bool {
        self.address == other.address && self.is_udp() == other.is_udp()
    }

    /// Whether it takes addresses of IPv4 that one of `others` has as well: the kernel would give clients to either.
    fn overlaps(&self, others: &[Self]) -> bool {
        let takes_both = |one: &Self| {
            let everywhere = one.address.inet().filter(|at| at.is_ipv6() && at.ip().is_unspecified())?;
            (!one.options.opens_only_v6()).then_some(everywhere.port())
        };
        let port = takes_both(self).filter(|port| *port > 0);
        let is_of_v4 = |one: &Self| one.address.inet().filter(SocketAddr::is_ipv4).map(|at| at.port());
        port.is_some() && others.iter().any(|one| is_of_v4(one) == port && one.is_udp() == self.is_udp())
    }

    fn is_udp(&self) -> bool {
        self.carries == Carries::Datagrams
    }
}

#[cfg(test)]
mod tests;
