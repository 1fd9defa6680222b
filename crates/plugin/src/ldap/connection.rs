//! One connection to a directory (RFC 4511): a question at a time, and its answer, of bounded length.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ber::{SEQUENCE, head};
use super::message::{self, Answer, Entry, Operation, Search};
use super::{Security, Server};

/// Bytes of an answer at most.
const LONGEST_ANSWER: usize = 256 * 1024;
/// Bytes of all answers to one search at most.
const LONGEST_SEARCH: usize = 1024 * 1024;
const SUCCESS: u32 = 0;
/// Numbers of questions go from 1 to this.
const LAST_NUMBER: u32 = 0x7fff_ffff;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection on which no question is open.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// Number of the last question.
    last: u32,
}

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub entries: Vec<Entry>,
    pub code: u32,
}

impl Connection {
    /// Opens a connection, under TLS where it is to be, and becomes who searches on it.
    pub async fn open(server: &Server, tls: Option<&Arc<ClientConfig>>) -> Result<Self, String> {
        let mut connection = Self::secure(server, tls).await?;
        if let Some(account) = &server.account {
            let code = connection.bind(&account.dn, account.password.reveal().as_bytes()).await?;
            if code != SUCCESS {
                return Err(format!("{} may not sign in, with the result {code}", account.dn));
            }
        }
        Ok(connection)
    }

    async fn secure(server: &Server, tls: Option<&Arc<ClientConfig>>) -> Result<Self, String> {
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(tls) = tls else { return Ok(Self { stream: Box::new(stream), last: 0 }) };
        let mut last = 0;
        if server.security == Security::StartTls {
            last = 1;
            send(&mut stream, last, &message::start_tls()).await?;
            // Not a byte beyond the answer is read before the handshake, so that nothing from before it is taken for what
            // has come under its protection.
            match answer(&mut stream, last).await?.1 {
                Answer::Done(Operation::Extended, SUCCESS) => {}
                Answer::Done(Operation::Extended, code) => {
                    return Err(format!("STARTTLS is refused with the result {code}"));
                }
                _ => return Err(ANOTHER_QUESTION.to_owned()),
            }
        }
        let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
        Ok(Self { stream: Box::new(stream.map_err(|error| error.to_string())?), last })
    }

    /// Asks to be `dn`, with its password; the code of the answer (RFC 4511 A.1).
    pub async fn bind(&mut self, dn: &str, password: &[u8]) -> Result<u32, String> {
        let number = self.ask(&message::bind(dn, password)).await?;
        match answer(&mut self.stream, number).await?.1 {
            Answer::Done(Operation::Bind, code) => Ok(code),
            _ => Err(ANOTHER_QUESTION.to_owned()),
        }
    }

    /// Looks for entries. Servers that other ones may know more are not asked about (RFC 4511 4.5.3).
    pub async fn search(&mut self, search: &Search<'_>, time: Duration) -> Result<Found, String> {
        let number = self.ask(&message::search(search, time)).await?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        loop {
            let (length, answer) = answer(&mut self.stream, number).await?;
            bytes += length;
            match answer {
                Answer::Done(Operation::Search, code) => return Ok(Found { entries, code }),
                _ if bytes > LONGEST_SEARCH => return Err("an answer that is too long".to_owned()),
                Answer::Entry(entry) if entries.len() < search.most => entries.push(entry),
                Answer::Entry(_) => return Err("more entries than were asked for".to_owned()),
                Answer::Reference => {}
                Answer::Done(..) => return Err(ANOTHER_QUESTION.to_owned()),
            }
        }
    }

    async fn ask(&mut self, operation: &[u8]) -> Result<u32, String> {
        self.last = self.last % LAST_NUMBER + 1;
        send(&mut self.stream, self.last, operation).await?;
        Ok(self.last)
    }
}

const ANOTHER_QUESTION: &str = "an answer to another question";

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, number: u32, operation: &[u8]) -> Result<(), String> {
    let message = message::message(number, operation);
    stream.write_all(&message).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())
}

/// The next answer to a question, and its length.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S, number: u32) -> Result<(usize, Answer), String> {
    let received = receive(stream).await?;
    match Answer::read(&received)? {
        (known, answer) if known == number => Ok((received.len(), answer)),
        // RFC 4511 4.4.1: the server is about to leave.
        (0, Answer::Done(Operation::Extended, _)) => Err("the server disconnects".to_owned()),
        _ => Err(ANOTHER_QUESTION.to_owned()),
    }
}

/// The content of the next message, exactly.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, String> {
    let mut start = [0; 6];
    let mut known = 0;
    let (length, head_length) = loop {
        let more = if known == 0 { 2 } else { 1 };
        let Some(place) = start.get_mut(known..known + more) else {
            return Err("a message that does not begin like one".to_owned());
        };
        stream.read_exact(place).await.map_err(|error| error.to_string())?;
        known += more;
        match head(&start[..known], LONGEST_ANSWER)? {
            Some((SEQUENCE, head_length, length)) => break (length, head_length),
            Some(_) => return Err("a message that does not begin like one".to_owned()),
            None => {}
        }
    };
    debug_assert_eq!(head_length, known, "no byte of the content has been read");
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.map_err(|error| error.to_string())?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// What a bind comes to where the server answers with these bytes.
    fn bind(answer: &[u8]) -> Result<u32, String> {
        runtime().block_on(async {
            let (client, mut server) = tokio::io::duplex(1 << 20);
            server.write_all(answer).await.unwrap();
            server.shutdown().await.unwrap();
            let mut connection = Connection { stream: Box::new(client), last: 0 };
            connection.bind("cn=a", b"secret").await
        })
    }

    const RIGHT: &[u8] = &[0x30, 12, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0];

    #[test]
    fn the_code_of_an_answer_is_read() {
        assert_eq!(bind(RIGHT), Ok(0));
        assert_eq!(bind(&[0x30, 12, 2, 1, 1, 0x61, 7, 0x0a, 1, 49, 4, 0, 4, 0]), Ok(49));
        assert_eq!(
            bind(&[0x30, 0x84, 0, 0, 0, 12, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0]),
            Ok(0),
            "a long form"
        );
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_an_error() {
        let number_two = [0x30, 12, 2, 1, 2, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        let of_a_search = [0x30, 12, 2, 1, 1, 0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        let farewell = [0x30, 12, 2, 1, 0, 0x78, 7, 0x0a, 1, 52, 4, 0, 4, 0];
        let huge = [0x30, 0x84, 0x7f, 0xff, 0xff, 0xff];
        let endless = [0x30, 0x80, 2, 1, 1];
        let empty = [0x30, 5, 2, 1, 1, 0x61, 0];
        for bad in [
            &number_two[..],
            &of_a_search,
            &farewell,
            &huge,
            &endless,
            &empty,
            &[0x30, 0],
            &[0x31, 0],
            b"HTTP/1.1 400",
            &[],
        ] {
            assert!(bind(bad).is_err(), "{bad:x?}");
        }
        for length in 0..RIGHT.len() {
            assert!(bind(&RIGHT[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn no_answer_of_random_bytes_panics_or_passes() {
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut answer = RIGHT.to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let place = (state >> 40) as usize % answer.len();
                answer[place] = (state >> 33) as u8;
            }
            let good = answer[2..6] == RIGHT[2..6] && answer[7..10] == RIGHT[7..10];
            if bind(&answer) == Ok(0) {
                assert!(good, "{answer:x?}");
            }
        }
    }
}
