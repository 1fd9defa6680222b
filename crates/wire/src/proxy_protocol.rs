//! The PROXY protocol, versions 1 and 2: what a proxy in front of the gateway says about a connection before its
//! first byte, and what the gateway says so to an upstream. It never decides whom to believe: a caller parses only
//! what comes from peers it trusts, and then demands a header, because whoever may leave it out may forge one.

mod checksum;
mod cursor;
mod version1;
mod version2;

pub use version1::write as write_v1;
pub use version2::write as write_v2;

use cursor::Stop;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The default for the longest header of version 2: what the protocol promises to fit in every first segment.
pub const DEFAULT_MAX_BYTES: usize = 536;

/// Who is at the ends of a connection, by what its header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy speaks for itself, as in a health check: the addresses of the socket are the true ones.
    Local,
    /// Somebody else's connection, of a kind without internet addresses: those of the socket have to do.
    Unknown,
    /// Somebody else's connection.
    Forwarded {
        /// The client.
        source: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
}

/// The outcome of looking for a header at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header goes on. Call again with the same bytes and more behind them.
    Incomplete,
    /// The header is whole; what the client sent begins after this many bytes.
    Complete {
        /// Bytes of the buffer that belong to the header.
        consumed: usize,
        /// What it says.
        origin: Origin,
    },
    /// No header begins like this. The connection has to be closed, without a word.
    Reject(Reject),
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The rule or bound that was broken, for a log line.
    pub reason: &'static str,
}

const NO_SIGNATURE: Reject = Reject { reason: "connection does not begin with a PROXY protocol header" };

/// Looks for a header of either version at the start of `buf`. Version 1 has at most 107 bytes, version 2 at most
/// `max_bytes`.
///
/// A buffer that no header begins like is refused at the first octet that says so; addresses and the extensions of
/// version 2 are judged at their end. The verdict depends on the bytes alone, never on how they were split.
pub fn parse(buf: &[u8], max_bytes: usize) -> Parsed {
    let outcome = match buf.first() {
        None => Err(Stop::Incomplete),
        Some(b'P') => version1::parse(buf),
        Some(b'\r') => version2::parse(buf, max_bytes),
        Some(_) => Err(Stop::Wrong(NO_SIGNATURE)),
    };
    match outcome {
        Ok((consumed, origin)) => Parsed::Complete { consumed, origin },
        Err(Stop::Incomplete) => Parsed::Incomplete,
        Err(Stop::Wrong(reject)) => Parsed::Reject(reject),
    }
}

/// A header knows one family: beside an IPv6 address, an IPv4 one is mapped.
fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
