//! Clients that are slow on purpose, in number, in a process of their own. Each trickles a head, trickles a body, or asks
//! for much and reads nothing; one that is cut off comes back. It never judges: it only counts how often that was.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

/// How many, where to, for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The proxy.
    pub address: SocketAddr,
    /// Slow connections, a third of each form.
    pub connections: usize,
    /// How long they last.
    pub seconds: f64,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Connections that the proxy ended, and that were opened again.
    pub cut: u64,
    /// Those that could not be opened again.
    pub refused: u64,
}

/// Every connection sends its octet so often.
const ROUND: Duration = Duration::from_secs(1);
/// Parts of a round, so that the octets are spread over it as those of many clients are.
const PARTS: usize = 1000;
/// The smallest segments, and a small buffer: what the kernel holds in the proxy's stead stays little.
const SEGMENT: u32 = 536;
const BUFFER: usize = 4096;

/// How a connection is slow.
#[derive(Clone, Copy)]
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
}

struct Connection {
    stream: TcpStream,
    form: Form,
}

/// Runs a plan given as JSON: opens all, prints `ready`, waits for a line, trickles, prints the outcome as JSON.
pub fn run(plan: &str) -> io::Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    let opened = (0..plan.connections).map(|index| open(plan.address, Form::of(index)));
    let mut connections: Vec<Connection> = opened.collect::<io::Result<_>>()?;
    println!("ready");
    io::stdin().lock().read_line(&mut String::new())?;
    let end = Instant::now() + Duration::from_secs_f64(plan.seconds);
    let part = connections.len().div_ceil(PARTS).max(1);
    let mut outcome = Outcome::default();
    while Instant::now() < end {
        for some in connections.chunks_mut(part) {
            let next = Instant::now() + ROUND / PARTS as u32;
            some.iter_mut().for_each(|connection| connection.go_on(plan.address, &mut outcome));
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn open(address: SocketAddr, form: Form) -> io::Result<Connection> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_tcp_mss(SEGMENT)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&address.into())?;
    let mut stream: TcpStream = socket.into();
    stream.write_all(form.begins().as_bytes())?;
    stream.set_nonblocking(true)?;
    Ok(Connection { stream, form })
}

impl Connection {
    /// Sends an octet, where that is how it is slow; opens it again where it has ended.
    fn go_on(&mut self, address: SocketAddr, outcome: &mut Outcome) {
        if !self.has_ended() {
            return;
        }
        outcome.cut += 1;
        match open(address, self.form) {
            Ok(fresh) => *self = fresh,
            Err(_) => outcome.refused += 1,
        }
    }

    fn has_ended(&mut self) -> bool {
        let read = match self.form {
            // What has come stays where it is; a reset shows as an error of the socket.
            Form::Unread => return !matches!(self.stream.take_error(), Ok(None)),
            Form::Head | Form::Body => {
                let sent = self.stream.write(b"a");
                sent.and_then(|_| self.stream.read(&mut [0; BUFFER]))
            }
        };
        // Any answer is one that says no.
        !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn one_that_is_cut_off_comes_back_and_one_that_waits_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut connection = open(address, Form::Head).unwrap();
        let (proxy, _) = listener.accept().unwrap();
        let mut outcome = Outcome::default();
        connection.go_on(address, &mut outcome);
        assert_eq!((outcome.cut, outcome.refused), (0, 0));
        drop(proxy);
        while outcome.cut == 0 {
            connection.go_on(address, &mut outcome);
        }
        let (mut again, _) = listener.accept().unwrap();
        let mut head = [0; 4];
        again.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"GET ");
    }

    #[test]
    fn every_form_has_its_third() {
        let begins: Vec<_> = (0..6).map(|index| Form::of(index).begins()).collect();
        assert_eq!(begins[..3], begins[3..]);
        assert!(begins[1].starts_with("POST ") && begins[2].contains("/large"));
    }
}
