//! What listeners want of the kernel beside an address. On Linux a connection takes after the socket that it came in by, so
//! that nothing of it is asked for per connection.

use std::io;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::Bound;

/// Connections the kernel may hold before they are accepted, unless a listener says otherwise.
const DEFAULT_BACKLOG: i32 = 16_384;

/// What is asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections the kernel may hold before they are accepted.
    pub backlog: i32,
    /// Whether an address of IPv6 leaves those of IPv4 alone, where the listener says so. Where it does not, sockets opened
    /// here do, and those of others stay as they are.
    pub only_v6: Option<bool>,
    /// Whether clients that say nothing are asked whether they are there, where the listener says so. Where it does not,
    /// those that come in by sockets opened here are not.
    pub keepalive: Option<Keepalive>,
}

/// Whether the kernel asks peers that say nothing whether they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keepalive {
    /// They are not asked.
    Off,
    /// They are; what is not given is as the system has it.
    On {
        /// Silence before the first question, in whole seconds.
        idle: Option<Duration>,
        /// Time between questions, in whole seconds.
        interval: Option<Duration>,
        /// Questions without an answer after which the connection is given up.
        count: Option<u32>,
    },
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { backlog: DEFAULT_BACKLOG, only_v6: None, keepalive: None }
    }
}

impl SocketOptions {
    /// Whether an address of IPv6 that is opened here leaves those of IPv4 alone.
    pub fn opens_only_v6(&self) -> bool {
        self.only_v6.unwrap_or(true)
    }

    /// Makes a socket listen as wanted, from now on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn settle(&self, bound: &Bound) -> io::Result<()> {
        let socket = SockRef::from(bound);
        if !matches!(bound, Bound::Udp(_)) {
            socket.listen(self.backlog)?;
        }
        match self.keepalive {
            Some(keepalive) if matches!(bound, Bound::Tcp(_)) => keepalive.set(&socket),
            _ => Ok(()),
        }
    }
}

impl Keepalive {
    fn set(self, socket: &Socket) -> io::Result<()> {
        let Self::On { idle, interval, count } = self else { return socket.set_keepalive(false) };
        // A socket that had other times before does not go back to the system's by itself.
        let fresh = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        let wanted = TcpKeepalive::new()
            .with_time(idle.map_or_else(|| fresh.tcp_keepalive_time(), Ok)?)
            .with_interval(interval.map_or_else(|| fresh.tcp_keepalive_interval(), Ok)?)
            .with_retries(count.map_or_else(|| fresh.tcp_keepalive_retries(), Ok)?);
        socket.set_tcp_keepalive(&wanted)
    }
}
