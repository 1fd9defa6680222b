//! The client of a case: raw sockets, so that every byte sent is the case's own.

use crate::case::{Step, lines};
use crate::certificates::Secure;
use crate::message::{Message, Reader};
use crate::socket::{Known, Socket};
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

/// A connection to the gateway with the methods still to be answered.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: Reader,
    waiting: VecDeque<String>,
}

/// A final response with the interim ones before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub interim: Vec<Message>,
    pub message: Message,
}

/// What came of one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    pub sent: Vec<u8>,
    pub replies: Vec<Reply>,
    /// Bytes read as they are (`reads`).
    pub bytes: Vec<u8>,
    pub closed: bool,
    /// What the TLS handshake came to.
    pub tls: Option<Known>,
    pub error: Option<String>,
}

impl Connection {
    pub fn open(address: SocketAddr, secure: Option<&Secure>) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, crate::PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(crate::PATIENCE))?;
        stream.set_write_timeout(Some(crate::PATIENCE))?;
        let socket = match secure {
            Some(secure) => Socket::connect(stream, secure)?,
            None => Socket::clear(stream),
        };
        Ok(Connection { reader: Reader::new(socket), waiting: VecDeque::new() })
    }

    /// What the TLS handshake came to.
    pub fn known(&self) -> Option<Known> {
        self.reader.stream.known()
    }

    /// Sends the step's bytes and reads what the step expects.
    pub fn perform(&mut self, step: &Step) -> Exchange {
        let (sent, methods) = bytes(step);
        let mut exchange = Exchange { sent, tls: self.known(), ..Exchange::default() };
        self.waiting.extend(methods);
        // A gateway may answer and close before it took everything: the reply decides, not this write.
        let written = self.reader.stream.write_all(&exchange.sent);
        if step.half_close {
            self.reader.stream.finish().ok();
        }
        if step.read == Some(false) {
            exchange.error = written.err().map(|error| format!("sending: {error}"));
            return exchange;
        }
        if let Err(error) = self.read(step, &mut exchange) {
            exchange.error = Some(format!("reading: {error}"));
        }
        exchange
    }

    /// Sends bytes as they are. The gateway may have closed before it took them all: its answer decides.
    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.stream.write_all(bytes).ok();
    }

    /// Exactly `count` bytes.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.reader.exactly(count)
    }

    /// Ends the sending side.
    pub fn end(&mut self) {
        self.reader.stream.finish().ok();
    }

    /// Reads the next final answer, to a request with `method`; `None` when the gateway closes or resets instead.
    pub fn answer(&mut self, method: &str) -> io::Result<Option<Reply>> {
        let mut reply = Reply::default();
        loop {
            let mut message = match self.reader.head() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            };
            if message.status() < 200 && message.status() != 101 {
                reply.interim.push(message);
                continue;
            }
            self.reader.reply_body(&mut message, method)?;
            reply.message = message;
            return Ok(Some(reply));
        }
    }

    fn read(&mut self, step: &Step, exchange: &mut Exchange) -> io::Result<()> {
        if let Some(expected) = &step.reads {
            exchange.bytes = self.reader.exactly(expected.len())?;
        } else if step.reply.as_ref().is_none_or(|reply| reply != "none") {
            for _ in 0..step.replies.as_ref().map_or(1, Vec::len) {
                let reply = self.reply(exchange)?;
                exchange.replies.push(reply);
            }
        }
        if wants_close(step) {
            exchange.closed = self.reader.is_closed();
        }
        Ok(())
    }

    fn reply(&mut self, exchange: &Exchange) -> io::Result<Reply> {
        let method = self.waiting.pop_front().unwrap_or_default();
        let mut reply = Reply::default();
        loop {
            let Some(mut message) = self.reader.head()? else {
                let why = format!("closed without reply {}", exchange.replies.len() + 1);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            };
            let status = message.status();
            if status < 200 && status != 101 {
                reply.interim.push(message);
                continue;
            }
            self.reader.reply_body(&mut message, &method)?;
            reply.message = message;
            return Ok(reply);
        }
    }
}

/// Whether the step expects the connection to end.
pub(crate) fn wants_close(step: &Step) -> bool {
    step.closed || step.reply.as_ref().is_some_and(|reply| reply == "none")
}

/// The bytes of a step and the methods of the requests in them.
fn bytes(step: &Step) -> (Vec<u8>, Vec<String>) {
    if let Some(raw) = &step.raw {
        return (raw.clone().into_bytes(), methods(raw));
    }
    let Some(request) = &step.request else {
        return (Vec::new(), Vec::new());
    };
    let with_version = request.ends_with(" HTTP/1.0") || request.ends_with(" HTTP/1.1");
    let mut head = if with_version { format!("{request}\r\n") } else { format!("{request} HTTP/1.1\r\n") };
    let mut headers = Vec::new();
    if !step.without_host {
        headers.push(("Host".to_owned(), step.host.clone().unwrap_or_else(|| "gateway.test".to_owned())));
    }
    if step.route.is_some() {
        headers.push(("Kong-Debug".to_owned(), "1".to_owned()));
    }
    headers.extend(lines(&step.headers));
    let body = body(step, &mut headers);
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(body);
    (bytes, vec![first_word(request)])
}

/// The methods of all requests in a raw text; one may follow right after the body of another.
fn methods(raw: &str) -> Vec<String> {
    let Ok(request_line) = Regex::new("([A-Z]+) [^ \r\n]+ HTTP/1\\.[01]\r\n") else {
        return Vec::new();
    };
    request_line.captures_iter(raw).map(|line| line[1].to_owned()).collect()
}

fn body(step: &Step, headers: &mut Vec<(String, String)>) -> Vec<u8> {
    let named = |headers: &[(String, String)], name: &str| {
        headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    if let Some(chunks) = &step.chunks {
        headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
        return chunked(chunks, &step.trailers);
    }
    let body = match (&step.json, &step.body, step.size) {
        (Some(json), ..) => {
            if !named(headers, "content-type") {
                headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
            }
            json.to_string()
        }
        (_, Some(body), _) => body.clone(),
        (_, _, Some(size)) => "x".repeat(size),
        _ => return Vec::new(),
    };
    if !named(headers, "content-length") {
        headers.push(("Content-Length".to_owned(), body.len().to_string()));
    }
    body.into_bytes()
}

fn chunked(chunks: &[String], trailers: &Map<String, Value>) -> Vec<u8> {
    let mut body: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    body.push_str("0\r\n");
    for (name, value) in lines(trailers) {
        body.push_str(&format!("{name}: {value}\r\n"));
    }
    (body + "\r\n").into_bytes()
}

fn first_word(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_right_after_a_body_is_found() {
        assert_eq!(methods("POST /2 HTTP/1.1\r\n\r\nabcHEAD /3 HTTP/1.0\r\n\r\n"), ["POST", "HEAD"]);
    }

    #[test]
    fn a_step_becomes_exactly_these_bytes() {
        let step: Step = serde_json::from_value(serde_json::json!({
            "request": "POST /a", "headers": {"X": ["1", 2]}, "chunks": ["ab"], "trailers": {"T": "v"}
        }))
        .unwrap();
        let expected = "POST /a HTTP/1.1\r\nHost: gateway.test\r\nX: 1\r\nX: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
                        2\r\nab\r\n0\r\nT: v\r\n\r\n";
        assert_eq!(String::from_utf8(bytes(&step).0).unwrap(), expected);
    }
}
