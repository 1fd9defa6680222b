//! The origin behind every proxy: keep-alive HTTP/1.1 on one thread, as cheap as it can be. It runs as a child
//! process of the bench, prints its address and ends when its standard input closes. It never serves anyone else.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::awake::wait;
use crate::frame::{Framing, RequestHead};

/// The length of a small answer.
pub const SMALL: usize = 150;
/// The length of a large body, either way.
pub const LARGE: usize = 1024 * 1024;

const STDIN: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);
const READ_SIZE: usize = 256 * 1024;

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    framing: Framing<RequestHead>,
    large: bool,
    /// How much of the answer is still unsent, counted from its end.
    unsent: usize,
}

/// Serves until standard input closes.
pub fn run() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse().map_err(io::Error::other)?)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let stdin = io::stdin().as_raw_fd();
    poll.registry().register(&mut SourceFd(&stdin), STDIN, Interest::READABLE)?;
    println!("{}", listener.local_addr()?);
    let answers = Answers { small: answer(&small_body()), large: answer(&vec![b'x'; LARGE]) };
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut scratch = vec![0; READ_SIZE];
    let mut events = Events::with_capacity(1024);
    loop {
        wait(&mut poll, &mut events, None)?;
        for event in &events {
            match event.token() {
                STDIN => return Ok(()),
                LISTENER => accept(&listener, &poll, &mut connections)?,
                Token(index) => {
                    let slot = &mut connections[index];
                    if let Some(connection) = slot
                        && connection.advance(&answers, &mut scratch).is_err()
                    {
                        *slot = None;
                    }
                }
            }
        }
    }
}

fn small_body() -> Vec<u8> {
    let (start, end) = (r#"{"id":"ord-000042","state":"shipped","note":""#, r#""}"#);
    let note = "x".repeat(SMALL - start.len() - end.len());
    [start, &note, end].concat().into_bytes()
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn accept(listener: &TcpListener, poll: &Poll, connections: &mut Vec<Option<Connection>>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let free = connections.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        connections[index] = Some(Connection { stream, framing: Framing::new(), large: false, unsent: 0 });
    }
}

impl Connection {
    /// Reads what there is and answers it; an error ends the connection.
    fn advance(&mut self, answers: &Answers, scratch: &mut [u8]) -> io::Result<()> {
        if self.unsent > 0 {
            self.send(answers)?;
        }
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let head = self.framing.feed(&scratch[..count]).map_err(|fault| {
                eprintln!("backend: a request that is not understood: {fault}");
                io::Error::other("framing")
            })?;
            if let Some(head) = head {
                self.large = head.large;
                self.unsent = self.answer_in(answers).len();
                self.send(answers)?;
            }
            // A short read emptied the socket; the edge-triggered poll reports what comes later.
            if count < scratch.len() {
                return Ok(());
            }
        }
    }

    fn answer_in<'a>(&self, answers: &'a Answers) -> &'a [u8] {
        if self.large { &answers.large } else { &answers.small }
    }

    fn send(&mut self, answers: &Answers) -> io::Result<()> {
        let bytes = self.answer_in(answers);
        while self.unsent > 0 {
            match self.stream.write(&bytes[bytes.len() - self.unsent..]) {
                Ok(count) => self.unsent -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_body_is_json_of_the_promised_length() {
        let body = small_body();
        assert_eq!(body.len(), SMALL);
        serde_json::from_slice::<serde_json::Value>(&body).unwrap();
    }
}
