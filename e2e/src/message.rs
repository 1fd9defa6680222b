//! Reads HTTP/1.1 messages off a socket for both ends of a case: the client and the echo upstream. It is written
//! apart from the gateway's own codec, so that a bug there cannot hide here.

use crate::socket::Socket;
use std::io::{self, Read};

/// A body or head larger than this ends a case: nothing in a case needs more.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// One message: a request as the upstream received it, or a reply as the client did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub start_line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// Every value of a header, in order; names compare without case.
    pub fn values<'a>(&'a self, name: &str) -> Vec<&'a str> {
        values(&self.headers, name)
    }

    /// The status of a reply.
    pub fn status(&self) -> u16 {
        self.start_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The body as text, with bytes that are not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn length(&self) -> io::Result<Option<usize>> {
        match self.values("content-length").first() {
            None => Ok(None),
            Some(value) => value.trim().parse().map(Some).map_err(|_| invalid("content-length is no number")),
        }
    }

    fn is_chunked(&self) -> bool {
        self.values("transfer-encoding")
            .last()
            .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
    }
}

/// Every value of `name` in a list of header lines.
pub(crate) fn values<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

/// A socket with what was read ahead.
#[derive(Debug)]
pub(crate) struct Reader {
    pub stream: Socket,
    ahead: Vec<u8>,
}

impl Reader {
    pub fn new(stream: Socket) -> Self {
        Reader { stream, ahead: Vec::new() }
    }

    /// The head of the next message, or `None` when the peer closed before its first byte.
    pub fn head(&mut self) -> io::Result<Option<Message>> {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill()? == 0 {
                if self.ahead.is_empty() {
                    return Ok(None);
                }
                return Err(invalid("closed in the middle of a head"));
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let text = String::from_utf8_lossy(&head[..end - 4]).into_owned();
        let mut lines = text.split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        Ok(Some(Message { start_line, headers: lines.map(header).collect(), ..Message::default() }))
    }

    /// Reads the body of a request whose head is `message`.
    pub fn request_body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.is_chunked() {
            return self.chunked(message);
        }
        message.body = self.exactly(message.length()?.unwrap_or(0))?;
        Ok(())
    }

    /// Reads the body of the reply to a request with `method`.
    pub fn reply_body(&mut self, message: &mut Message, method: &str) -> io::Result<()> {
        let status = message.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(());
        }
        if message.is_chunked() {
            return self.chunked(message);
        }
        message.body = match message.length()? {
            Some(length) => self.exactly(length)?,
            None => self.until_close()?,
        };
        Ok(())
    }

    /// Exactly `count` bytes.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if self.fill()? == 0 {
                return Err(invalid(&format!("closed after {} of {count} bytes", self.ahead.len())));
            }
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// Everything until the peer closes.
    pub fn until_close(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(0) => return Ok(std::mem::take(&mut self.ahead)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(invalid(
                        "closed by a reset, where the end of the connection is that of the body",
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the peer closes (or resets) next, without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.ahead.is_empty()
            && match self.fill() {
                Ok(read) => read == 0,
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            }
    }

    fn chunked(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| invalid(&format!("chunk size '{line}'")))?;
            if size == 0 {
                break;
            }
            message.body.extend(self.exactly(size)?);
            if self.exactly(2)? != b"\r\n" {
                return Err(invalid("a chunk does not end in CR LF"));
            }
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            message.trailers.push(header(&line));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return Err(invalid("closed in the middle of a line"));
            }
        };
        let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut block = [0; 16 * 1024];
        let read = loop {
            match self.stream.read(&mut block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if self.ahead.len() + read > MOST_BYTES {
            return Err(invalid("a message larger than any case needs"));
        }
        self.ahead.extend_from_slice(&block[..read]);
        Ok(read)
    }
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
