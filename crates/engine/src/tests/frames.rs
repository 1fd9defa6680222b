//! A client of HTTP/2 that writes its frames by hand, to write wrong ones.

use std::cell::Cell;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::sleep;

use super::lab::Lab;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection whose frames are written by hand.
pub struct Raw {
    reader: ReadHalf<DuplexStream>,
    writer: WriteHalf<DuplexStream>,
}

/// A frame that was received.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With a GOAWAY that gave this reason.
    GoAway(u32),
    /// Without a word.
    Closed,
    /// It did not.
    StillOpen,
}

/// A frame as it is sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field with a literal name and value that the other side does not remember.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| {
        assert!(text.len() < 127);
        u8::try_from(text.len()).unwrap()
    };
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The header block of `GET http://h/` or `POST http://h/`.
pub fn block(method: &str) -> Vec<u8> {
    let index = if method == "POST" { 0x83 } else { 0x82 };
    // The path and the scheme are in the static table.
    [vec![index, 0x84, 0x86], literal(":authority", "h")].concat()
}

/// A whole request without a body.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block("GET"))
}

/// The head of a request whose body follows.
pub fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block("POST"))
}

impl Raw {
    /// A connection on which both sides have introduced themselves; `settings` is the payload of ours.
    pub async fn connect(lab: &Lab, settings: &[u8]) -> Self {
        let (reader, writer) = tokio::io::split(lab.modern_client().0);
        let mut raw = Self { reader, writer };
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.write(&frame(SETTINGS, 0, 0, settings)).await;
        while raw.frame().await.unwrap().kind != SETTINGS {}
        raw.write(&frame(SETTINGS, 1, 0, &[])).await;
        raw
    }

    /// Writes bytes. Whoever has been cut off may find that out here; what is read next tells.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.writer.write_all(bytes).await;
    }

    /// Reads a frame; none at the end of the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        read(&mut self.reader).await
    }

    /// Reads until a frame of this kind on this stream.
    pub async fn until(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.frame().await.expect("the connection is open");
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
        }
    }

    /// Writes what `bytes` makes, up to `times` times, until the connection ends: how, and after how many.
    pub async fn flood(mut self, times: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) -> (End, usize) {
        let rounds = Cell::new(0);
        let flood = async {
            while rounds.get() < times && self.writer.write_all(&bytes(rounds.get())).await.is_ok() {
                rounds.set(rounds.get() + 1);
                // Each is seen by itself: what a client sends at once is not all that it can do.
                tokio::task::yield_now().await;
            }
            // The end of what is sent must not be what ends the connection.
            sleep(Duration::from_secs(5)).await;
        };
        let end = async {
            let mut end = End::Closed;
            while let Some(frame) = read(&mut self.reader).await {
                if frame.kind == GOAWAY {
                    end = End::GoAway(number(&frame.payload[4..8]));
                }
            }
            end
        };
        tokio::select! {
            end = end => (end, rounds.get()),
            () = flood => (End::StillOpen, rounds.get()),
        }
    }
}

async fn read(reader: &mut ReadHalf<DuplexStream>) -> Option<Frame> {
    let mut header = [0; 9];
    reader.read_exact(&mut header).await.ok()?;
    let length = number(&[0, header[0], header[1], header[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    reader.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind: header[3], stream: number(&header[5..]), payload })
}

/// A number of 32 bits.
pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}
