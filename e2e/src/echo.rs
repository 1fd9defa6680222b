//! The upstream of a case: it answers each request with what it saw, or with what the case asked for, and keeps a
//! record of every request. It is strict about nothing, so that it shows what the gateway really sent.

use crate::case::{Answer, Condition};
use crate::message::{Message, Reader};
use crate::socket::{Known, Socket};
use rustls::ServerConfig;
use serde_json::{Map, Value, json};
use socket2::{Domain, Socket as Socket2, Type};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A request that reached the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub server: String,
    pub connection: usize,
    pub message: Message,
    /// What the TLS handshake came to.
    pub tls: Option<Known>,
}

impl Seen {
    fn part(&self, index: usize) -> &str {
        self.message.start_line.split(' ').nth(index).unwrap_or_default()
    }

    pub fn method(&self) -> &str {
        self.part(0)
    }

    pub fn uri(&self) -> &str {
        self.part(1)
    }

    pub fn version(&self) -> &str {
        self.part(2)
    }

    /// What a plain echo answers.
    fn describe(&self) -> Value {
        let mut headers = Map::new();
        for (name, _) in &self.message.headers {
            let joined = self.message.values(name).join(", ");
            headers.insert(name.to_ascii_lowercase(), Value::from(joined));
        }
        json!({
            "method": self.method(), "uri": self.uri(), "headers": headers,
            "body": self.message.text(), "server": self.server,
        })
    }
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    answers: VecDeque<Answer>,
    connections: usize,
    listeners: Vec<(String, SocketAddr)>,
    /// Connections that are open, by server and client.
    open: Vec<(String, SocketAddr, TcpStream)>,
    conditions: BTreeMap<String, Condition>,
    closing: bool,
}

/// Where probes of health go: they are answered like the rest, but count for nothing else.
const PROBE: &str = "/.health";

impl State {
    fn condition(&self, server: &str) -> Condition {
        self.conditions.get(server).copied().unwrap_or_default()
    }
}

/// Under which name it is noted that a server does refuse connections.
fn refusing(server: &str) -> String {
    format!("{server} refuses")
}

/// All upstream servers of one case, with one record of requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Echo {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Echo {
    /// Listens on `address` under the name `server`; returns the address bound.
    pub fn listen(&self, server: &str, address: SocketAddr) -> io::Result<SocketAddr> {
        self.listen_as(server, address, None)
    }

    /// Listens on `address` under the name `server`, for TLS if that is given; returns the address bound.
    pub fn listen_as(
        &self,
        server: &str,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        let bound = listener.local_addr()?;
        self.lock().listeners.push((server.to_owned(), bound));
        let (echo, server) = (self.clone(), server.to_owned());
        thread::spawn(move || {
            let mut listener = Some(listener);
            while let Some(listening) = listener.take() {
                echo.accept(&listening, &server, tls.as_ref());
                drop(listening);
                listener = echo.come_back(&server, bound).ok().flatten();
            }
        });
        Ok(bound)
    }

    /// Serves connections until the server is to be down, or the case ends.
    fn accept(&self, listener: &TcpListener, server: &str, tls: Option<&Arc<ServerConfig>>) {
        for stream in listener.incoming().flatten() {
            let mut state = self.lock();
            if state.closing || state.condition(server) == Condition::Down {
                return;
            }
            let (Ok(peer), Ok(second)) = (stream.peer_addr(), stream.try_clone()) else { continue };
            state.open.push((server.to_owned(), peer, second));
            drop(state);
            let (echo, server, tls) = (self.clone(), server.to_owned(), tls.cloned());
            // A connection that breaks is the gateway's business: the case sees it in the reply.
            thread::spawn(move || {
                echo.serve(stream, &server, tls).ok();
                // It ends with the last handle.
                echo.lock().open.retain(|(name, client, _)| (name, *client) != (&server, peer));
            });
        }
    }

    /// Holds the address of a server that is down without listening there, so that connections are refused and nobody
    /// else gets it; listens again when the server is up. None when the case ends.
    fn come_back(&self, server: &str, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let socket = Socket2::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        let mut state = self.lock();
        state.conditions.insert(refusing(server), Condition::Down);
        self.state.1.notify_all();
        while !state.closing && state.condition(server) == Condition::Down {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closing {
            return Ok(None);
        }
        socket.listen(128)?;
        state.conditions.remove(&refusing(server));
        self.state.1.notify_all();
        Ok(Some(socket.into()))
    }

    /// Lets a server be like that from now on.
    pub fn put(&self, server: &str, condition: Condition) -> Result<(), String> {
        let mut state = self.lock();
        let Some((_, address)) = state.listeners.iter().find(|(name, _)| name == server).cloned() else {
            return Err(format!("there is no upstream {server:?}"));
        };
        state.conditions.insert(server.to_owned(), condition);
        let down = condition == Condition::Down;
        if down {
            for (.., stream) in state.open.extract_if(.., |(name, ..)| name == server) {
                stream.shutdown(Shutdown::Both).ok();
            }
            // Only to wake the thread that accepts.
            TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        }
        self.state.1.notify_all();
        while state.conditions.contains_key(&refusing(server)) != down {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Listens on `port` of a loopback address nobody else uses. No other case tries it: it could have the address of a server
    /// that is down.
    pub fn listen_on_own_address(&self, server: &str, port: u16) -> io::Result<SocketAddr> {
        static TRIED: AtomicU32 = AtomicU32::new(0);
        let mut last = io::Error::other("no loopback address");
        for _ in 0..64 {
            let number = TRIED.fetch_add(1, Ordering::Relaxed);
            let seed = std::process::id().wrapping_mul(31).wrapping_add(number.wrapping_mul(7919));
            let [_, second, third, fourth] = seed.to_be_bytes();
            let address = Ipv4Addr::new(127, second | 1, third, fourth | 2);
            match self.listen(server, SocketAddr::from((address, port))) {
                Ok(bound) => return Ok(bound),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Forgets what was seen and sets the next answers.
    pub fn prepare(&self, answers: Vec<Answer>) {
        let mut state = self.lock();
        state.seen.clear();
        state.answers = answers.into();
    }

    /// What was seen since [`Echo::prepare`].
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Waits until `count` requests were seen, at most `limit`.
    pub fn wait_for(&self, count: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.seen.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.state.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends every waiting answer and every listener.
    pub fn close(&self) {
        self.lock().closing = true;
        self.state.1.notify_all();
        let listeners = std::mem::take(&mut self.lock().listeners);
        for (_, address) in listeners {
            // Only to wake the thread that accepts.
            TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream, server: &str, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let connection = {
            let mut state = self.lock();
            state.connections += 1;
            state.connections
        };
        let socket = match tls {
            Some(config) => Socket::accept(stream, config)?,
            None => Socket::clear(stream),
        };
        let known = socket.known();
        let mut reader = Reader::new(socket);
        while let Some(mut message) = reader.head()? {
            if !message.values("expect").is_empty() {
                reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            reader.request_body(&mut message)?;
            let seen = Seen { server: server.to_owned(), connection, message, tls: known.clone() };
            let answer = self.record(seen.clone());
            if !self.answer(&mut reader, &seen, &answer)? {
                return if answer.close { Ok(()) } else { reader.stream.finish() };
            }
        }
        Ok(())
    }

    fn record(&self, seen: Seen) -> Answer {
        let mut state = self.lock();
        let failing = state.condition(&seen.server) == Condition::Failing;
        let status = failing.then_some(503);
        if seen.uri() == PROBE {
            return Answer { status, ..Answer::default() };
        }
        state.seen.push(seen);
        let answer = state.answers.pop_front().unwrap_or(Answer { status, ..Answer::default() });
        self.state.1.notify_all();
        answer
    }

    /// Answers; `false` ends the connection.
    fn answer(&self, reader: &mut Reader, seen: &Seen, answer: &Answer) -> io::Result<bool> {
        self.pause(answer.delay_ms);
        if answer.close {
            return Ok(false);
        }
        let stream = &mut reader.stream;
        for interim in &answer.interim {
            stream.write_all(interim.as_bytes())?;
        }
        if let Some(raw) = &answer.raw {
            stream.write_all(raw.as_bytes())?;
            return Ok(!answer.close_after);
        }
        if answer.upgrade {
            stream.write_all(answer.head(101, "").as_bytes())?;
            tunnel(reader)?;
            return Ok(false);
        }
        self.write_answer(stream, seen, answer)?;
        Ok(!answer.close_after && answer.length)
    }

    fn write_answer(&self, stream: &mut Socket, seen: &Seen, answer: &Answer) -> io::Result<()> {
        let status = answer.status.unwrap_or(200);
        if let Some(chunks) = &answer.chunks {
            stream.write_all(answer.head(status, "Transfer-Encoding: chunked\r\n").as_bytes())?;
            for chunk in chunks {
                stream.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes())?;
                self.pause(answer.pause_ms);
            }
            let trailers: String =
                answer.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            return stream.write_all(format!("0\r\n{trailers}\r\n").as_bytes());
        }
        let (body, media_type) = answer.content(&seen.describe());
        let bodiless = matches!(status, 204 | 304) || status < 200;
        let mut framing = String::new();
        if answer.length && !bodiless {
            framing = format!("Content-Length: {}\r\n", body.len());
        }
        if let Some(media_type) = media_type {
            framing.push_str(&format!("Content-Type: {media_type}\r\n"));
        }
        let mut bytes = answer.head(status, &framing).into_bytes();
        if seen.method() != "HEAD" && !bodiless {
            bytes.extend(body);
        }
        stream.write_all(&bytes)
    }

    /// Waits, but not longer than the case lasts.
    fn pause(&self, milliseconds: u64) {
        if milliseconds > 0 {
            let wait = Duration::from_millis(milliseconds);
            drop(self.state.1.wait_timeout_while(self.lock(), wait, |state| !state.closing));
        }
    }
}

/// Sends back every byte, as an upgraded connection does in a case.
fn tunnel(reader: &mut Reader) -> io::Result<()> {
    let mut block = [0; 4096];
    loop {
        let read = reader.stream.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        reader.stream.write_all(&block[..read])?;
    }
}
