//! The upstream of a case: it answers each request with what it saw, or with what the case asked for, and keeps a
//! record of every request. It is strict about nothing, so that it shows what the gateway really sent.

use crate::case::Answer;
use crate::message::{Message, Reader};
use crate::socket::{Known, Socket};
use rustls::ServerConfig;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
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
    listeners: Vec<SocketAddr>,
    closing: bool,
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
        self.lock().listeners.push(bound);
        let (echo, server) = (self.clone(), server.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if echo.lock().closing {
                    return;
                }
                let (echo, server, tls) = (echo.clone(), server.clone(), tls.clone());
                // A connection that breaks is the gateway's business: the case sees it in the reply.
                thread::spawn(move || echo.serve(stream, &server, tls).ok());
            }
        });
        Ok(bound)
    }

    /// Listens on `port` of a loopback address nobody else uses.
    pub fn listen_on_own_address(&self, server: &str, port: u16) -> io::Result<SocketAddr> {
        let mut last = io::Error::other("no loopback address");
        for attempt in 0..64_u32 {
            let seed = std::process::id().wrapping_mul(31).wrapping_add(attempt * 7919);
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
        for address in listeners {
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
        state.seen.push(seen);
        let answer = state.answers.pop_front().unwrap_or_default();
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
