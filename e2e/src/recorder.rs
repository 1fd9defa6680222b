//! An upstream that writes down every request, whole or not, and everything about it that no gateway may send. What it
//! answers names the request, so that a mixed-up answer is seen by whoever gets it.

use crate::message::{Message, Reader};
use crate::socket::Socket;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What an upstream does beside writing down. `false` ends the connection.
pub(crate) trait Behaviour: Send + Sync {
    /// Called when a head has come, before its body is read.
    fn meet(&self, _reader: &mut Reader, _request: &Message) -> io::Result<bool> {
        Ok(true)
    }

    /// Called when the body has come too.
    fn answer(&self, reader: &mut Reader, request: &Message) -> io::Result<bool>;
}

/// Answers each request with its start line and its body.
pub(crate) struct Echo;

impl Behaviour for Echo {
    fn answer(&self, reader: &mut Reader, request: &Message) -> io::Result<bool> {
        echo(reader, request).map(|()| true)
    }
}

/// A request that reached the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub connection: usize,
    pub message: Message,
    /// Whether all of its body came.
    pub whole: bool,
}

/// More connections than are open at once in most tests.
const MANY: usize = 256;

#[derive(Default)]
struct State {
    requests: Vec<Recorded>,
    faults: Vec<String>,
    connections: Vec<JoinHandle<()>>,
    closing: bool,
}

/// The upstream and its records.
#[derive(Clone)]
pub(crate) struct Recorder {
    state: Arc<Mutex<State>>,
    /// A request has been recorded.
    recorded: Arc<Condvar>,
    behaviour: Arc<dyn Behaviour>,
    pub address: SocketAddr,
}

impl Recorder {
    /// Listens on a free port of the loopback interface.
    pub fn start(behaviour: Arc<dyn Behaviour>) -> io::Result<Recorder> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let recorder = Recorder {
            state: Arc::default(),
            recorded: Arc::default(),
            behaviour,
            address: listener.local_addr()?,
        };
        let server = recorder.clone();
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let mut state = server.lock();
                if state.closing {
                    return;
                }
                if state.connections.len() >= MANY {
                    // A thread that is over keeps its stack as long as somebody may wait for it.
                    state.connections.retain(|connection| !connection.is_finished());
                }
                let one = server.clone();
                let thread = thread::Builder::new().spawn(move || one.serve(stream, connection));
                // Where the system has no more threads the connection just ends.
                state.connections.extend(thread.ok());
            }
        });
        Ok(recorder)
    }

    /// Waits until `count` whole requests have been recorded since the last call of [`Recorder::take`], as far as they
    /// come at all: a client may be gone before its request has been read here.
    pub fn wait_for(&self, count: usize) {
        let too_few = |state: &mut State| state.requests.iter().filter(|one| one.whole).count() < count;
        let waited = self.recorded.wait_timeout_while(self.lock(), crate::PATIENCE, too_few);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes what was recorded since the last call: requests, and what was wrong with them.
    pub fn take(&self) -> (Vec<Recorded>, Vec<String>) {
        let mut state = self.lock();
        (std::mem::take(&mut state.requests), std::mem::take(&mut state.faults))
    }

    /// Waits for the end of every connection. To be called when the gateway has ended: then nothing it ever sent is
    /// left unread.
    pub fn finish(&self) -> (Vec<Recorded>, Vec<String>) {
        self.lock().closing = true;
        // Only to wake the thread that accepts.
        TcpStream::connect(self.address).ok();
        let connections = std::mem::take(&mut self.lock().connections);
        for connection in connections {
            connection.join().ok();
        }
        self.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream, connection: usize) {
        stream.set_nodelay(true).ok();
        let mut reader = Reader::new(Socket::clear(stream));
        loop {
            match self.one(&mut reader, connection) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // A connection may break at any time; what came before is on record.
                    if error.kind() == io::ErrorKind::InvalidData {
                        self.lock().faults.push(format!("connection {connection}: {error}"));
                    }
                    return;
                }
            }
        }
    }

    /// Reads and answers one request; `false` at the end of the connection.
    fn one(&self, reader: &mut Reader, connection: usize) -> io::Result<bool> {
        let Some(mut message) = reader.head()? else { return Ok(false) };
        let index = {
            let mut state = self.lock();
            state
                .faults
                .extend(faults(&message).into_iter().map(|fault| format!("{}: {fault}", message.start_line)));
            state.requests.push(Recorded { connection, message: message.clone(), whole: false });
            state.requests.len() - 1
        };
        if !self.behaviour.meet(reader, &message)? || reader.request_body(&mut message).is_err() {
            return Ok(false);
        }
        self.complete(index, connection, &message);
        self.behaviour.answer(reader, &message)
    }

    /// Notes that the body of a request came. Its place may have been taken away meanwhile.
    fn complete(&self, index: usize, connection: usize, message: &Message) {
        let mut state = self.lock();
        let whole = Recorded { connection, message: message.clone(), whole: true };
        match state.requests.get_mut(index).filter(|one| one.connection == connection && !one.whole) {
            Some(place) => *place = whole,
            None => state.requests.push(whole),
        }
        self.recorded.notify_all();
    }
}

/// The answer that names the request: its start line and its body.
pub(crate) fn echo(reader: &mut Reader, request: &Message) -> io::Result<()> {
    let body = json!({"line": request.start_line, "body": request.text()}).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    reader.stream.write_all(head.as_bytes())?;
    if !request.start_line.starts_with("HEAD ") {
        reader.stream.write_all(body.as_bytes())?;
    }
    Ok(())
}

/// The start line that an answer names.
pub(crate) fn echoed_line(answer: &Message) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(body.get("line")?.as_str()?.to_owned())
}

/// What no request of a gateway may have in its head.
fn faults(request: &Message) -> Vec<String> {
    let mut faults = Vec::new();
    let parts: Vec<&str> = request.start_line.split(' ').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.is_empty()) || parts[2] != "HTTP/1.1" {
        faults.push("malformed request line".to_owned());
    }
    let lines = request.headers.iter().flat_map(|(name, value)| [name, value]);
    if lines.chain([&request.start_line]).any(|text| text.contains(['\r', '\n', '\0'])) {
        faults.push("a control byte in its head".to_owned());
    }
    let is_token = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let odd = request.headers.iter().filter(|(name, _)| !is_token(name));
    faults.extend(odd.map(|(name, _)| format!("the name {name:?}")));
    let (lengths, codings) = (request.values("content-length"), request.values("transfer-encoding"));
    if lengths.len() + codings.len() > 1 {
        faults.push(format!("framed twice: {lengths:?} {codings:?}"));
    }
    if lengths.iter().any(|length| length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit())) {
        faults.push(format!("length {lengths:?}"));
    }
    if codings.iter().any(|coding| *coding != "chunked") {
        faults.push(format!("coding {codings:?}"));
    }
    if request.values("host").len() != 1 {
        faults.push(format!("hosts {:?}", request.values("host")));
    }
    let of_one_hop = ["keep-alive", "proxy-connection", "expect", "proxy"];
    let passed_on = of_one_hop.into_iter().filter(|name| !request.values(name).is_empty());
    faults.extend(passed_on.map(|name| format!("{name} passed on")));
    if request.values("upgrade").iter().any(|protocol| *protocol != "websocket") {
        faults.push(format!("upgrade to {:?}", request.values("upgrade")));
    }
    faults
}
