//! Clients that are slow on purpose, in number, in a process of their own. Each trickles a head, trickles a body, or asks
//! for much and reads nothing; one that is cut off comes back. It never judges: it only counts how often that was.
//!
//! It shares a core with the load, so it does as little as it can: one octet of each connection in a long while, one after
//! the other at even distances, and otherwise it waits for the end of one of them.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::awake::doze;

/// How many, and where to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The proxy.
    pub address: SocketAddr,
    /// Slow connections, a third of each form.
    pub connections: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Octets that were sent.
    pub octets: u64,
    /// Connections that the proxy ended, and that were opened again.
    pub cut: u64,
    /// Those that could not be opened again.
    pub refused: u64,
}

/// Every connection sends its octet so often.
const ROUND: Duration = Duration::from_secs(10);
/// The smallest segments, and a small buffer: what the kernel holds in the proxy's stead stays little.
const SEGMENT: u32 = 536;
const BUFFER: usize = 4096;
/// The end of the standard input, which ends this process.
const STDIN: Token = Token(usize::MAX);

/// How a connection is slow.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Head,
    Body,
    Unread,
}

impl Form {
    fn of(index: usize) -> Self {
        [Form::Head, Form::Body, Form::Unread][index % 3]
    }

    fn begins(self) -> &'static str {
        match self {
            Form::Head => "GET /orders HTTP/1.1\r\nHost: bench.test\r\nX-Slow: ",
            Form::Body => "POST /orders HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 10000\r\n\r\n",
            Form::Unread => "GET /large HTTP/1.1\r\nHost: bench.test\r\n\r\n",
        }
    }

    /// What is said of it while it lasts. One that does not read hears only of a reset: what has come stays where it is.
    fn interest(self) -> Interest {
        if self == Form::Unread { Interest::WRITABLE } else { Interest::READABLE }
    }
}

/// All slow connections.
struct Crowd {
    poll: Poll,
    address: SocketAddr,
    /// `None` where one could not be opened again.
    streams: Vec<Option<TcpStream>>,
    outcome: Outcome,
}

/// Runs a plan given as JSON: opens all, prints `ready`, waits for a line, trickles until there are no more, prints the
/// outcome as JSON.
pub fn run(plan: &str) -> io::Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    let mut crowd = Crowd::open(&plan)?;
    println!("ready");
    io::stdin().lock().read_line(&mut String::new())?;
    let mut input = Receiver::from(std::process::ChildStdin::try_from_stdin()?);
    crowd.poll.registry().register(&mut input, STDIN, Interest::READABLE)?;
    crowd.trickle()?;
    println!("{}", serde_json::to_string(&crowd.outcome)?);
    Ok(())
}
