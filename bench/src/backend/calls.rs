//! Unary calls of gRPC over HTTP/2 with prior knowledge: the same small answer to each. It reads no header sections and
//! keeps no windows but those of what it receives: all that its proxies need of a server, and nothing else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;

/// The path of the call.
pub const PATH: &str = "/bench.Orders/Find";
/// The message of either side, with gRPC's five bytes before it.
pub const MESSAGE: &[u8] = b"\0\0\0\0\x0forder ord-00042";

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Bytes received after which the connection's window is opened again.
const CREDIT: u32 = 16 << 10;

/// One connection of a proxy.
pub struct Calls {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    greeted: bool,
    /// Bytes of bodies for which no window has been given back.
    taken: u32,
}

impl Calls {
    /// A connection that has just been accepted.
    pub fn new(stream: TcpStream) -> Self {
        // Room for as many streams as anybody opens.
        let output = frame(SETTINGS, 0, 0, &[0, 3, 0, 1, 0, 0]);
        Self { stream, input: Vec::new(), output, greeted: false, taken: 0 }
    }

    /// Reads what there is and answers it; an error ends the connection.
    pub fn advance(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        self.send()?;
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.input.extend_from_slice(&scratch[..count]);
            self.take_frames()?;
            self.send()?;
        }
    }

    fn take_frames(&mut self) -> io::Result<()> {
        let mut taken = 0;
        if !self.greeted {
            if self.input.len() < PREFACE.len() {
                return Ok(());
            }
            if !self.input.starts_with(PREFACE) {
                return Err(ErrorKind::InvalidData.into());
            }
            (self.greeted, taken) = (true, PREFACE.len());
        }
        while let Some(size) = size_of(&self.input[taken..]) {
            answer(&self.input[taken..taken + size], &mut self.output, &mut self.taken);
            taken += size;
        }
        self.input.drain(..taken);
        if self.taken >= CREDIT {
            self.output.extend(frame(WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes()));
            self.taken = 0;
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What comes of one frame.
fn answer(received: &[u8], output: &mut Vec<u8>, taken: &mut u32) {
    let (kind, flags, payload) = (received[3], received[4], &received[HEAD..]);
    let stream = u32::from_be_bytes([received[5], received[6], received[7], received[8]]);
    match kind {
        DATA | HEADERS => {
            if kind == DATA {
                *taken += payload.len() as u32;
            }
            if flags & END_STREAM != 0 {
                // :status 200, then names in full: no table is used.
                let head = [&b"\x88"[..], &field("content-type", "application/grpc")].concat();
                output.extend(frame(HEADERS, END_HEADERS, stream, &head));
                output.extend(frame(DATA, 0, stream, MESSAGE));
                output.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &field("grpc-status", "0")));
            }
        }
        SETTINGS | PING if flags & ACK == 0 => {
            let echoed = if kind == PING { payload } else { &[] };
            output.extend(frame(kind, ACK, 0, echoed));
        }
        _ => {}
    }
}

/// Makes one call and demands its answer: whoever gets it has reached the backend.
pub fn call(address: SocketAddr) -> io::Result<()> {
    let limit = Duration::from_secs(1);
    let mut stream = std::net::TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    // POST and http are in the static table.
    let mut head = b"\x83\x86".to_vec();
    for (name, value) in [
        (":authority", "bench.test"),
        (":path", PATH),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        head.extend(field(name, value));
    }
    stream.write_all(PREFACE)?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &head))?;
    stream.write_all(&frame(DATA, END_STREAM, 1, MESSAGE))?;
    let (mut input, mut scratch, mut body) = (Vec::new(), [0; 4096], Vec::new());
    loop {
        let count = stream.read(&mut scratch)?;
        input.extend_from_slice(&scratch[..count]);
        while let Some(size) = size_of(&input) {
            let (kind, flags) = (input[3], input[4]);
            if kind == DATA {
                body.extend_from_slice(&input[HEAD..size]);
            }
            input.drain(..size);
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                let is_answered = kind == HEADERS && body == MESSAGE;
                return if is_answered { Ok(()) } else { Err(ErrorKind::InvalidData.into()) };
            }
        }
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The size of the frame that the bytes begin with, if all of it is there.
fn size_of(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..HEAD)?;
    let size = HEAD + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    (bytes.len() >= size).then_some(size)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_its_own_length() {
        assert_eq!(MESSAGE.len(), 5 + usize::from(MESSAGE[4]));
    }

    #[test]
    fn a_call_over_this_backend_is_answered() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            // Blocking, so that it waits for what comes.
            let mut calls = Calls::new(TcpStream::from_std(stream));
            calls.advance(&mut [0; 64]).unwrap_err()
        });
        call(address).unwrap();
        assert_eq!(server.join().unwrap().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88")).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        assert_eq!(call(address).unwrap_err().kind(), ErrorKind::InvalidData);
        server.join().unwrap();
    }
}
