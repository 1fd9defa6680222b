//! Clients that are slow on purpose, in number, in a process of their own. Each trickles a head, trickles a body, or asks
//! for much and reads nothing; one that is cut off comes back. It never judges: it only counts how often that was.
//!
//! It shares a core with the load, so it does as little as it can: one octet of each connection in a long while, one after
//! the other at even distances, and otherwise it waits for the end of one of them.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
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
/// How far behind it may be before what was missed is left out.
const PATIENCE: Duration = Duration::from_millis(50);
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
    crowd.trickle()?;
    println!("{}", serde_json::to_string(&crowd.outcome)?);
    Ok(())
}

impl Crowd {
    fn open(plan: &Plan) -> io::Result<Self> {
        let (poll, address) = (Poll::new()?, plan.address);
        let opened = (0..plan.connections).map(|index| open(&poll, address, index).map(Some));
        let streams = opened.collect::<io::Result<_>>()?;
        Ok(Self { poll, address, streams, outcome: Outcome::default() })
    }

    fn trickle(&mut self) -> io::Result<()> {
        let stdin = io::stdin().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&stdin), STDIN, Interest::READABLE)?;
        let senders: Vec<usize> =
            (0..self.streams.len()).filter(|index| Form::of(*index) != Form::Unread).collect();
        let distance = ROUND / senders.len().max(1) as u32;
        let mut events = Events::with_capacity(1024);
        let mut next = Instant::now();
        for sender in senders.iter().cycle() {
            next += distance;
            let mut now = Instant::now();
            while now < next {
                if self.wait_and_look(&mut events, next - now)? {
                    return Ok(());
                }
                now = Instant::now();
            }
            // What was late is not made up for in a burst.
            next = next.max(now - PATIENCE);
            self.send(*sender);
        }
        Ok(())
    }

    /// Opens again what has ended meanwhile; tells whether this process is to end.
    fn wait_and_look(&mut self, events: &mut Events, limit: Duration) -> io::Result<bool> {
        doze(&mut self.poll, events, Some(limit))?;
        for event in &*events {
            match event.token() {
                STDIN => return Ok(true),
                Token(index) => self.look(index),
            }
        }
        Ok(false)
    }

    fn look(&mut self, index: usize) {
        let Some(stream) = &mut self.streams[index] else { return };
        let has_ended = match Form::of(index) {
            Form::Unread => !matches!(stream.take_error(), Ok(None)),
            // Any answer is one that says no.
            Form::Head | Form::Body => !is_pending(&stream.read(&mut [0; BUFFER])),
        };
        if has_ended {
            self.outcome.cut += 1;
            self.open_again(index);
        }
    }

    fn send(&mut self, index: usize) {
        let Some(stream) = &mut self.streams[index] else { return self.open_again(index) };
        match stream.write(b"a") {
            Ok(_) => self.outcome.octets += 1,
            pending if is_pending(&pending) => {}
            _ => self.look(index),
        }
    }

    fn open_again(&mut self, index: usize) {
        self.streams[index] = open(&self.poll, self.address, index).ok();
        self.outcome.refused += u64::from(self.streams[index].is_none());
    }
}

fn is_pending(result: &io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn open(poll: &Poll, address: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let form = Form::of(index);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_tcp_mss(SEGMENT)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&address.into())?;
    let mut stream: std::net::TcpStream = socket.into();
    stream.write_all(form.begins().as_bytes())?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(index), form.interest())?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn crowd(listener: &TcpListener, connections: usize) -> Crowd {
        Crowd::open(&Plan { address: listener.local_addr().unwrap(), connections }).unwrap()
    }

    #[test]
    fn one_that_is_cut_off_comes_back_and_one_that_waits_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut crowd = crowd(&listener, 1);
        let (proxy, first) = listener.accept().unwrap();
        crowd.send(0);
        crowd.look(0);
        assert_eq!((crowd.outcome.octets, crowd.outcome.cut), (1, 0));
        drop(proxy);
        let mut events = Events::with_capacity(8);
        while crowd.outcome.cut == 0 {
            crowd.wait_and_look(&mut events, Duration::from_secs(1)).unwrap();
        }
        let stream = crowd.streams[0].as_ref().unwrap();
        assert_ne!(stream.local_addr().unwrap(), first, "it is the old one");
        let (mut again, _) = listener.accept().unwrap();
        let mut head = [0; 4];
        again.read_exact(&mut head).unwrap();
        assert_eq!((&head, crowd.outcome.refused), (b"GET ", 0));
    }

    #[test]
    fn one_that_cannot_come_back_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut crowd = crowd(&listener, 3);
        drop(listener);
        crowd.open_again(2);
        assert!(crowd.outcome.refused == 1 && crowd.streams[2].is_none());
    }

    #[test]
    fn every_form_has_its_third() {
        let begins: Vec<_> = (0..6).map(|index| Form::of(index).begins()).collect();
        assert_eq!(begins[..3], begins[3..]);
        assert!(begins[1].starts_with("POST ") && begins[2].contains("/large"));
    }
}
