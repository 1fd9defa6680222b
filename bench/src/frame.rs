//! The framing check both ends of the bench use: where one HTTP/1.1 message begins and ends, by Content-Length
//! only. It never guesses: a message without a length, or with bytes behind its end, is a fault.

use std::fmt;

use crate::messages;

/// The largest head that is waited for.
const HEAD_LIMIT: usize = 64 * 1024;
const HEADER_LIMIT: usize = 64;

/// Why the bytes are not one well-framed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The head is not HTTP/1.1, or larger than is waited for.
    Malformed,
    /// Neither a usable Content-Length nor a message that may go without.
    Unframed,
    /// Bytes came behind the end of the message.
    Excess(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Malformed => write!(formatter, "malformed head"),
            Fault::Unframed => write!(formatter, "no usable Content-Length"),
            Fault::Excess(bytes) => write!(formatter, "{bytes} bytes behind the end of the message"),
        }
    }
}

/// What a head says, as far as the bench cares.
pub trait Head: Sized {
    /// The head and its size in bytes, or `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault>;
    /// How many bytes of body follow.
    fn body(&self) -> u64;
}

/// The head of an answer, or of a WebSocket message, which is one that cannot fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// The value of Content-Length.
    pub body: u64,
    /// Whether the sender says it closes the connection.
    pub close: bool,
}

/// The head of a request as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// What is asked for.
    pub wanted: Wanted,
    /// The value of Content-Length, zero without one.
    pub body: u64,
    /// Whether it asks for WebSocket.
    pub upgrade: bool,
}

/// What a request asks the backend for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The small answer.
    Small,
    /// The large one: the path ends in `/large`.
    Large,
    /// The document of this name: the path begins with [`DOCUMENTS`].
    Document(String),
}

/// What paths of documents begin with.
pub const DOCUMENTS: &str = "/documents/";

impl Wanted {
    fn by(path: &str) -> Self {
        match path.strip_prefix(DOCUMENTS) {
            Some(name) => Self::Document(name.to_owned()),
            None if path.ends_with("/large") => Self::Large,
            None => Self::Small,
        }
    }
}

impl Head for ResponseHead {
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        if let Some(&messages::BINARY) = bytes.first() {
            return Ok(
                messages::length(bytes).map(|(body, size)| (Self { status: 200, body, close: false }, size))
            );
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADER_LIMIT];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(size) = response.parse(bytes).map_err(|_| Fault::Malformed)? else {
            return Ok(None);
        };
        let body = content_length(response.headers)?.ok_or(Fault::Unframed)?;
        let close = response.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
        });
        Ok(Some((ResponseHead { status: response.code.unwrap_or(0), body, close }, size)))
    }

    fn body(&self) -> u64 {
        self.body
    }
}

impl Head for RequestHead {
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; HEADER_LIMIT];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(size) = request.parse(bytes).map_err(|_| Fault::Malformed)? else {
            return Ok(None);
        };
        let wanted = request.path.map_or(Wanted::Small, Wanted::by);
        let body = content_length(request.headers)?.unwrap_or(0);
        let upgrade = request.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("upgrade") && header.value.eq_ignore_ascii_case(b"websocket")
        });
        Ok(Some((RequestHead { wanted, body, upgrade }, size)))
    }

    fn body(&self) -> u64 {
        self.body
    }
}

fn content_length(headers: &[httparse::Header<'_>]) -> Result<Option<u64>, Fault> {
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Fault::Unframed);
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| Fault::Unframed)?;
            let value = text.trim().parse().map_err(|_| Fault::Unframed)?;
            if length.replace(value).is_some_and(|earlier: u64| earlier != value) {
                return Err(Fault::Unframed);
            }
        }
    }
    Ok(length)
}

/// Follows one message after the other on a connection.
#[derive(Debug)]
pub struct Framing<H> {
    partial: Vec<u8>,
    open: Option<(H, u64)>,
}

impl<H: Head> Framing<H> {
    /// A framing that waits for a head.
    pub fn new() -> Self {
        Self { partial: Vec::new(), open: None }
    }

    /// Takes the next bytes; gives the head once the whole message has arrived, and is then ready for the next.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<H>, Fault> {
        let Some((head, missing)) = self.open.take() else {
            return self.feed_head(bytes);
        };
        self.feed_body(head, missing, bytes.len())
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<H>, Fault> {
        if self.partial.is_empty() {
            // The usual case: the whole head in one read, nothing is copied.
            return match H::parse(bytes)? {
                Some((head, size)) => self.begin_body(head, bytes.len() - size),
                None => {
                    self.partial.extend_from_slice(bytes);
                    Ok(None)
                }
            };
        }
        self.partial.extend_from_slice(bytes);
        match H::parse(&self.partial)? {
            Some((head, size)) => {
                let rest = self.partial.len() - size;
                self.partial.clear();
                self.begin_body(head, rest)
            }
            None if self.partial.len() > HEAD_LIMIT => Err(Fault::Malformed),
            None => Ok(None),
        }
    }

    fn begin_body(&mut self, head: H, arrived: usize) -> Result<Option<H>, Fault> {
        let missing = head.body();
        self.feed_body(head, missing, arrived)
    }

    fn feed_body(&mut self, head: H, missing: u64, arrived: usize) -> Result<Option<H>, Fault> {
        match missing.cmp(&(arrived as u64)) {
            std::cmp::Ordering::Equal => Ok(Some(head)),
            std::cmp::Ordering::Less => Err(Fault::Excess((arrived as u64 - missing) as usize)),
            std::cmp::Ordering::Greater => {
                self.open = Some((head, missing - arrived as u64));
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    fn answer(bytes: &[u8]) -> Result<Option<ResponseHead>, Fault> {
        Framing::<ResponseHead>::new().feed(bytes)
    }

    #[test]
    fn a_whole_answer_is_done_at_once() {
        let head = answer(ANSWER).unwrap().unwrap();
        assert_eq!(head, ResponseHead { status: 200, body: 5, close: false });
    }

    #[test]
    fn an_answer_cut_anywhere_is_done_only_with_its_last_byte() {
        for cut in 1..ANSWER.len() {
            let mut framing = Framing::<ResponseHead>::new();
            assert_eq!(framing.feed(&ANSWER[..cut]), Ok(None), "cut at {cut}");
            assert_eq!(framing.feed(&ANSWER[cut..]).unwrap().unwrap().body, 5, "cut at {cut}");
            assert_eq!(framing.feed(ANSWER).unwrap().unwrap().status, 200, "ready for the next one");
        }
    }

    #[test]
    fn bytes_behind_the_end_are_a_fault() {
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhello"), Err(Fault::Excess(3)));
    }

    #[test]
    fn an_answer_without_one_clear_length_is_a_fault() {
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\n\r\nhello"), Err(Fault::Unframed));
        assert_eq!(
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
            Err(Fault::Unframed)
        );
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(answer(two), Err(Fault::Unframed));
        assert_eq!(answer(b"SSH-2.0-OpenSSH\r\n\r\n"), Err(Fault::Malformed));
    }

    #[test]
    fn an_endless_head_is_a_fault() {
        let mut framing = Framing::<ResponseHead>::new();
        assert_eq!(framing.feed(b"HTTP/1.1 200 OK\r\nX: "), Ok(None));
        assert_eq!(framing.feed(&[b'a'; HEAD_LIMIT]), Err(Fault::Malformed));
    }

    #[test]
    fn a_closing_answer_says_so() {
        let head =
            answer(b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap();
        assert_eq!(head, ResponseHead { status: 503, body: 0, close: true });
    }

    #[test]
    fn a_request_may_go_without_a_body() {
        let mut framing = Framing::<RequestHead>::new();
        let head = framing.feed(b"GET /v1/large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
        assert_eq!(head, RequestHead { wanted: Wanted::Large, body: 0, upgrade: false });
        assert_eq!(framing.feed(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"), Ok(None));
        assert_eq!(framing.feed(b"c").unwrap().unwrap().body, 3);
    }

    #[test]
    fn a_document_is_asked_for_by_its_name() {
        let wanted = |path| Wanted::by(path);
        assert_eq!(wanted("/documents/openid/keys"), Wanted::Document("openid/keys".to_owned()));
        assert_eq!((wanted("/orders"), wanted("/a/large")), (Wanted::Small, Wanted::Large));
    }
}
