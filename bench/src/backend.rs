//! The origin behind every proxy: keep-alive HTTP/1.1 on one thread, as cheap as it can be, and calls of gRPC on a
//! listener of their own. It runs as a child process of the bench, prints its addresses and ends when its standard input
//! closes. It never serves anyone else.

pub mod calls;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::awake::{doze, wait};
use crate::frame::{Framing, RequestHead, Wanted};
use crate::messages;
use calls::Calls;

/// The length of a small answer.
pub const SMALL: usize = 150;
/// The length of a large body, either way.
pub const LARGE: usize = 1024 * 1024;

/// Where answers over HTTP/1.1 come from, on one port: the first address is the backend's, the others are further targets.
pub const ADDRESSES: [Ipv4Addr; 4] = [
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
];

const STDIN: Token = Token(usize::MAX);
const CALL_LISTENER: Token = Token(usize::MAX - 1);
/// And those behind it, one for each address.
const FIRST_LISTENER: usize = usize::MAX - 1 - ADDRESSES.len();
const READ_SIZE: usize = 256 * 1024;

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    /// The folder of the documents.
    documents: PathBuf,
}

/// A connection of either listener.
enum Peer {
    Http(Connection),
    Calls(Calls),
}

struct Connection {
    stream: TcpStream,
    framing: Framing<RequestHead>,
    wanted: Wanted,
    /// The document that is being sent, if one is.
    document: Vec<u8>,
    /// How much of the answer is still unsent, counted from its end.
    unsent: usize,
    /// Bytes of WebSocket messages that have not been answered, once it carries such.
    messages: Option<usize>,
}

/// Serves until standard input closes; stays awake meanwhile, unless others on its core have work to do.
pub fn run(documents: &Path, sleeps: bool) -> io::Result<()> {
    let wait = if sleeps { doze } else { wait };
    let mut poll = Poll::new()?;
    let listen = |address, port, token| {
        let mut listener = TcpListener::bind(SocketAddr::from((address, port)))?;
        poll.registry().register(&mut listener, token, Interest::READABLE)?;
        io::Result::Ok(listener)
    };
    let mut listeners: Vec<TcpListener> = Vec::new();
    for (index, address) in ADDRESSES.into_iter().enumerate() {
        let port = listeners.first().map_or(Ok(0), |first| first.local_addr().map(|bound| bound.port()))?;
        listeners.push(listen(address, port, Token(FIRST_LISTENER + index))?);
    }
    let call_listener = listen(ADDRESSES[0], 0, CALL_LISTENER)?;
    println!("{}", listeners[0].local_addr()?);
    println!("{}", call_listener.local_addr()?);
    let stdin = io::stdin().as_raw_fd();
    poll.registry().register(&mut SourceFd(&stdin), STDIN, Interest::READABLE)?;
    let answers = Answers {
        small: answer(&small_body()),
        large: answer(&vec![b'x'; LARGE]),
        documents: documents.to_owned(),
    };
    let mut connections = Connections::default();
    let mut scratch = vec![0; READ_SIZE];
    let mut events = Events::with_capacity(1024);
    loop {
        wait(&mut poll, &mut events, None)?;
        for event in &events {
            match event.token() {
                STDIN => return Ok(()),
                CALL_LISTENER => {
                    connections.accept(&call_listener, &poll, |stream| Peer::Calls(Calls::new(stream)))?;
                }
                Token(index) if index >= FIRST_LISTENER => {
                    connections.accept(&listeners[index - FIRST_LISTENER], &poll, Connection::peer)?;
                }
                Token(index) => {
                    let advanced = match &mut connections.open[index] {
                        Some(Peer::Http(connection)) => connection.advance(&answers, &mut scratch),
                        Some(Peer::Calls(calls)) => calls.advance(&mut scratch),
                        None => Ok(()),
                    };
                    if advanced.is_err() {
                        connections.close(index);
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

/// A document as an answer, with an empty body where there is none.
fn document(folder: &Path, name: &str) -> Vec<u8> {
    let outside = Path::new(name).components().any(|part| !matches!(part, Component::Normal(_)));
    let body = if outside { Vec::new() } else { fs::read(folder.join(name)).unwrap_or_default() };
    answer(&body)
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Connections by their tokens.
#[derive(Default)]
struct Connections {
    open: Vec<Option<Peer>>,
    /// Tokens that can be given again: to look for one among ten thousand would be seen in the latency.
    free: Vec<usize>,
}

impl Connections {
    fn accept(
        &mut self,
        listener: &TcpListener,
        poll: &Poll,
        peer: impl Fn(TcpStream) -> Peer,
    ) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.open.push(None);
                self.open.len() - 1
            });
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            self.open[index] = Some(peer(stream));
        }
    }

    fn close(&mut self, index: usize) {
        if self.open[index].take().is_some() {
            self.free.push(index);
        }
    }
}

impl Connection {
    fn peer(stream: TcpStream) -> Peer {
        let (wanted, document) = (Wanted::Small, Vec::new());
        Peer::Http(Self { stream, framing: Framing::new(), wanted, document, unsent: 0, messages: None })
    }

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
            if let Some(unanswered) = &mut self.messages {
                // A message is small: the socket always has room for it.
                *unanswered += count;
                let whole = *unanswered / messages::SENT;
                *unanswered %= messages::SENT;
                self.stream.write_all(&messages::answer().repeat(whole))?;
                continue;
            }
            let head = self.framing.feed(&scratch[..count]).map_err(|fault| {
                eprintln!("backend: a request that is not understood: {fault}");
                io::Error::other("framing")
            })?;
            if head.as_ref().is_some_and(|head| head.upgrade) {
                self.stream.write_all(messages::ACCEPTED.as_bytes())?;
                self.messages = Some(0);
            } else if let Some(head) = head {
                if let Wanted::Document(name) = &head.wanted {
                    self.document = document(&answers.documents, name);
                }
                self.wanted = head.wanted;
                self.unsent = self.answer_in(answers).len();
                self.send(answers)?;
            }
            // A short read emptied the socket; the edge-triggered poll reports what comes later.
            if count < scratch.len() {
                return Ok(());
            }
        }
    }

    fn answer_in<'a>(&'a self, answers: &'a Answers) -> &'a [u8] {
        match self.wanted {
            Wanted::Small => &answers.small,
            Wanted::Large => &answers.large,
            Wanted::Document(_) => &self.document,
        }
    }

    fn send(&mut self, answers: &Answers) -> io::Result<()> {
        while self.unsent > 0 {
            let bytes = self.answer_in(answers);
            match (&self.stream).write(&bytes[bytes.len() - self.unsent..]) {
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
