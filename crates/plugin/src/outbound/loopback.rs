//! A server on the loopback for tests: answers as a function says and tells what it was asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use wire::{Headers, Known, Limits, Parsed, RequestHead, parse_request};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The fields.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// A field as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What is sent back.
#[derive(Debug, Clone)]
pub enum Given {
    /// These bytes, and the connection stays open.
    Bytes(Vec<u8>),
    /// These bytes, and the connection is closed.
    Last(Vec<u8>),
    /// Nothing; the connection stays open.
    Silence,
}

impl Given {
    /// A whole answer.
    #[must_use]
    pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status} Given\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        Self::Bytes(format!("{text}\r\n{body}").into_bytes())
    }

    /// A 200 with JSON.
    #[must_use]
    pub fn json(body: &str) -> Self {
        Self::answer(200, &[("Content-Type", "application/json")], body)
    }
}

type Answers = Box<dyn Fn(&Received) -> Given + Send + Sync>;

struct State {
    answers: Answers,
    seen: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    over: AtomicBool,
}

/// The server. It ends when it is dropped.
pub struct Loopback {
    address: SocketAddr,
    state: Arc<State>,
}

impl Loopback {
    /// A server that answers like this.
    ///
    /// # Panics
    /// If there is no port: it is for tests.
    pub fn answering(answers: impl Fn(&Received) -> Given + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(State {
            answers: Box::new(answers),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    break;
                }
                let (Ok(stream), state) = (stream, shared.clone()) else { continue };
                state.connections.fetch_add(1, Ordering::AcqRel);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// Its URL with this path and query.
    #[must_use]
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Received> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request.
    ///
    /// # Panics
    /// If there was none.
    #[must_use]
    pub fn last(&self) -> Received {
        self.seen().pop().expect("there was a request")
    }

    /// How often somebody connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Acquire)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
        // Wakes whoever waits for connections.
        let _woken = TcpStream::connect(self.address);
    }
}

/// Serves a connection until either side ends it.
fn serve(mut stream: TcpStream, state: &State) {
    let (mut held, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        while let Some((request, length)) = whole(&held) {
            held.drain(..length);
            state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            let (bytes, stays) = match (state.answers)(&request) {
                Given::Bytes(bytes) => (bytes, true),
                Given::Last(bytes) => (bytes, false),
                Given::Silence => (Vec::new(), true),
            };
            if stream.write_all(&bytes).is_err() || !stays {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => held.extend_from_slice(&piece[..read]),
        }
    }
}

/// The first request in `bytes` if it is whole, and its length.
fn whole(bytes: &[u8]) -> Option<(Received, usize)> {
    let mut head = RequestHead::new();
    let Parsed::Complete { consumed } = parse_request(bytes, &Limits::default(), &mut head) else {
        return None;
    };
    let length = head.headers.known(Known::ContentLength).unwrap_or(b"0");
    let length = std::str::from_utf8(length).ok()?.parse::<usize>().ok()?;
    let body = bytes.get(consumed..consumed + length)?.to_vec();
    let received = Received {
        method: head.method.as_str().to_owned(),
        target: String::from_utf8_lossy(head.target()).into_owned(),
        headers: head.headers.clone(),
        body,
    };
    Some((received, consumed + length))
}
