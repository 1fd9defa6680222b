//! One connection, and the few commands of the text protocol that are used on it.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{LARGEST, Place, Settings};

/// Longest line of an answer: that of a value has its key and three numbers.
const LONGEST_LINE: u64 = 512;

/// Bytes in both directions.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection on which nothing is under way.
pub struct Connection(BufReader<Box<dyn Stream>>);

/// Seconds as the server takes them: none are for good, many are a moment (protocol.txt, expiration times).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry(pub i64);

/// What is done to a value.
pub enum Command<'a> {
    /// Reads values, each with what tells it from later ones.
    Get(&'a [&'a [u8]]),
    /// Stores by a verb: `set`, `add` or `replace`.
    Store(&'static str, &'a [u8], &'a [u8], Expiry),
    /// Stores in place of the value with this number.
    Swap(&'a [u8], &'a [u8], Expiry, u64),
    /// Deletes.
    Delete(&'a [u8]),
    /// Says anew when it ends.
    Touch(&'a [u8], Expiry),
    /// Asks for nothing.
    Version,
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes.
    pub value: Vec<u8>,
    /// What tells it from later ones.
    pub number: u64,
}

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Values.
    Values(Vec<Found>),
    /// It was done, or there was nothing to do it to.
    Done(bool),
    /// It refuses, for this reason.
    Refused(String),
}

impl Command<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add = |part: &[u8]| bytes.extend_from_slice(part);
        match self {
            Self::Get(keys) => {
                add(b"gets");
                for key in *keys {
                    add(b" ");
                    add(key);
                }
            }
            Self::Store(verb, key, value, Expiry(seconds)) => {
                add(verb.as_bytes());
                add(b" ");
                add(key);
                add(format!(" 0 {seconds} {}\r\n", value.len()).as_bytes());
                add(value);
            }
            Self::Swap(key, value, Expiry(seconds), number) => {
                add(b"cas ");
                add(key);
                add(format!(" 0 {seconds} {} {number}\r\n", value.len()).as_bytes());
                add(value);
            }
            Self::Delete(key) => {
                add(b"delete ");
                add(key);
            }
            Self::Touch(key, Expiry(seconds)) => {
                add(b"touch ");
                add(key);
                add(format!(" {seconds}").as_bytes());
            }
            Self::Version => add(b"version"),
        }
        add(b"\r\n");
        bytes
    }
}

impl Connection {
    /// Opens a connection to the server, under TLS with `tls`.
    pub async fn open(settings: &Settings, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match (&settings.place, tls, &settings.security) {
            (Place::Socket(path), _, _) => Box::new(UnixStream::connect(path).await?),
            (Place::Host(address), tls, security) => {
                let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
                stream.set_nodelay(true)?;
                match (tls, security) {
                    (Some(tls), Some(security)) => {
                        let name = security.server_name.as_ref().unwrap_or(&address.host).clone();
                        let name = ServerName::try_from(name).map_err(io::Error::other)?;
                        Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await?)
                    }
                    _ => Box::new(stream),
                }
            }
        };
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command and reads its answer. After an error, or when it is given up on, the connection is of no use.
    pub async fn send(&mut self, command: &Command<'_>) -> io::Result<Answer> {
        self.0.get_mut().write_all(&command.to_bytes()).await?;
        self.0.get_mut().flush().await?;
        let most = if let Command::Get(keys) = command { keys.len() } else { 0 };
        let mut found = Vec::new();
        loop {
            let line = self.line().await?;
            if let Some(head) = line.strip_prefix(b"VALUE ")
                && found.len() < most
            {
                found.push(self.value(head).await?);
                continue;
            }
            return match &*line {
                b"END" if most > 0 => Ok(Answer::Values(found)),
                b"STORED" | b"DELETED" | b"TOUCHED" => Ok(Answer::Done(true)),
                b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND" => Ok(Answer::Done(false)),
                line if line.starts_with(b"VERSION ") => Ok(Answer::Done(true)),
                line => {
                    let told = String::from_utf8_lossy(line).into_owned();
                    let is_refusal = ["ERROR", "CLIENT_ERROR", "SERVER_ERROR"];
                    match is_refusal.iter().any(|word| told.starts_with(word)) {
                        true => Ok(Answer::Refused(told)),
                        false => Err(io::Error::other("an unexpected answer")),
                    }
                }
            };
        }
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(bare) => Ok(bare.to_vec()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The value behind `VALUE `, `key flags bytes number`.
    async fn value(&mut self, head: &[u8]) -> io::Result<Found> {
        let malformed = || io::Error::other("a malformed answer");
        let head = std::str::from_utf8(head).map_err(|_| malformed())?;
        let mut words = head.split(' ');
        let (key, _flags) = (words.next().ok_or_else(malformed)?, words.next());
        let mut number = || words.next()?.parse::<u64>().ok();
        let (length, number) = number().zip(number()).ok_or_else(malformed)?;
        let length =
            usize::try_from(length).ok().filter(|length| *length <= LARGEST).ok_or_else(malformed)?;
        let mut value = vec![0; length + 2];
        self.0.read_exact(&mut value).await?;
        if !value.ends_with(b"\r\n") {
            return Err(malformed());
        }
        value.truncate(length);
        Ok(Found { key: key.as_bytes().to_vec(), value, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(answer: &[u8]) -> io::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
            let mut connection = Connection(BufReader::new(Box::new(near)));
            connection.send(&Command::Get(&[b"a", b"b"])).await
        })
    }

    #[test]
    fn commands_are_those_of_the_protocol() {
        let text = |command: Command<'_>| String::from_utf8(command.to_bytes()).unwrap();
        assert_eq!(text(Command::Get(&[b"a", b"b"])), "gets a b\r\n");
        assert_eq!(text(Command::Store("add", b"k", b"v v", Expiry(9))), "add k 0 9 3\r\nv v\r\n");
        assert_eq!(text(Command::Swap(b"k", b"", Expiry(-1), 7)), "cas k 0 -1 0 7\r\n\r\n");
        assert_eq!(text(Command::Delete(b"k")), "delete k\r\n");
        assert_eq!(text(Command::Touch(b"k", Expiry(0))), "touch k 0\r\n");
    }

    #[test]
    fn values_are_read_whatever_is_in_them_and_nothing_else_is_believed() {
        let values = ask(b"VALUE a 0 5 12\r\nE\r\nND\r\nEND\r\n").unwrap();
        let found = Found { key: b"a".to_vec(), value: b"E\r\nND".to_vec(), number: 12 };
        assert_eq!(values, Answer::Values(vec![found]));
        assert_eq!(ask(b"END\r\n").unwrap(), Answer::Values(Vec::new()));
        assert!(matches!(ask(b"SERVER_ERROR out of memory\r\n").unwrap(), Answer::Refused(_)));
        let long = [&b"VALUE a 0 0 1"[..], &[b'1'; 600], b"\r\n\r\nEND\r\n"].concat();
        let lies: [&[u8]; 7] = [
            b"",
            b"VALUE a 0 5 12\r\nab",
            b"VALUE a 0 2 12\r\nabcd\r\nEND\r\n",
            b"VALUE a 0 99999999 1\r\n",
            b"VALUE a 0 -1 1\r\n\r\nEND\r\n",
            b"VALUE a 0 0 1\r\n\r\nVALUE a 0 0 1\r\n\r\nVALUE a 0 0 1\r\n\r\nEND\r\n",
            &long,
        ];
        for lie in lies {
            assert!(ask(lie).is_err(), "{}", String::from_utf8_lossy(lie));
        }
    }
}
