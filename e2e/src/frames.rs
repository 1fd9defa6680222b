//! A client of HTTP/2 whose frames are written byte by byte, so that they can be wrong. It shares no code with the
//! gateway, and nothing in it makes a field better than it is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

// Types of frames (RFC 9113 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

// Flags.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A size that every receiver takes.
const LARGEST: usize = 16 << 10;

/// The names of error codes (RFC 9113 7).
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// A field as it is sent.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// A frame that was received.
#[derive(Debug)]
pub(crate) struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection on which both sides have said their settings.
pub(crate) struct Raw(pub TcpStream);

/// A frame as it is sent.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field of text.
pub(crate) fn field(name: &str, value: &str) -> Field {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}

/// A header block: every field in full, without tables and without Huffman's code.
pub(crate) fn block(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        // A literal that the other side does not remember (RFC 7541 6.2.2).
        bytes.push(0);
        string(&mut bytes, name);
        string(&mut bytes, value);
    }
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(length as u8);
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push((length % 128) as u8 | 128);
            length /= 128;
        }
        bytes.push(length as u8);
    }
    bytes.extend_from_slice(text);
}

/// A header section, in as many frames as it takes.
pub(crate) fn section(stream: u32, flags: u8, fields: &[Field]) -> Vec<u8> {
    let block = block(fields);
    let mut pieces = block.chunks(LARGEST).peekable();
    let Some(first) = pieces.next() else { return frame(HEADERS, END_HEADERS | flags, stream, &[]) };
    let end = |is_last| if is_last { END_HEADERS } else { 0 };
    let mut bytes = frame(HEADERS, end(pieces.peek().is_none()) | flags, stream, first);
    while let Some(piece) = pieces.next() {
        bytes.extend(frame(CONTINUATION, end(pieces.peek().is_none()), stream, piece));
    }
    bytes
}

/// The pseudo-header fields of a request.
pub(crate) fn pseudo(method: &str, path: &str) -> Vec<Field> {
    vec![field(":method", method), field(":scheme", "http"), field(":authority", "a"), field(":path", path)]
}

/// A GET that is complete.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    section(stream, END_STREAM, &pseudo("GET", path))
}

/// The head of a POST whose body follows.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    section(stream, 0, &pseudo("POST", path))
}

/// A frame with nothing but a number.
pub(crate) fn numbered(kind: u8, stream: u32, number: u32) -> Vec<u8> {
    frame(kind, 0, stream, &number.to_be_bytes())
}

/// The name of an error code.
pub(crate) fn code(number: u32) -> &'static str {
    CODES.get(number as usize).copied().unwrap_or("unknown")
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

impl Raw {
    /// Connects; `more` is the payload of more settings than that of a table without room, which allows to read each
    /// response head by itself.
    pub fn connect(address: SocketAddr, more: &[u8]) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, crate::PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(crate::PATIENCE))?;
        stream.set_write_timeout(Some(crate::PATIENCE))?;
        let mut raw = Raw(stream);
        let settings = [&[0, 1, 0, 0, 0, 0], more].concat();
        let greeting = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat();
        raw.0.write_all(&greeting)?;
        while raw.next()?.ok_or(ErrorKind::UnexpectedEof)?.kind != SETTINGS {}
        raw.0.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
        Ok(raw)
    }

    /// Sends bytes. Whoever has been cut off may find that out here: what is read next tells.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).ok();
    }

    /// The next frame; none at the end of the connection.
    pub fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; 9];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut payload = vec![0; number(&[0, header[0], header[1], header[2]]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Some(Frame { kind: header[3], flags: header[4], stream: number(&header[5..]), payload }))
    }
}

/// Whether an error only says that the other side is gone.
pub(crate) fn is_end(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

impl Frame {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it is the last one of its stream.
    pub fn ends_stream(&self) -> bool {
        self.kind == RST_STREAM || matches!(self.kind, DATA | HEADERS) && self.has(END_STREAM)
    }

    /// The error that a RST_STREAM or a GOAWAY names.
    pub fn error(&self) -> &'static str {
        code(number(self.payload.get(if self.kind == GOAWAY { 4.. } else { 0.. }).unwrap_or_default()))
    }

    /// The status of a response, which is the first field of its head; none in a trailer section.
    pub fn status(&self) -> Option<u16> {
        let updates = self.payload.iter().take_while(|byte| **byte >> 5 == 1).count();
        match &self.payload[updates..] {
            [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
            [0x08 | 0x18 | 0x48, length, text @ ..] => digits(*length, text),
            _ => None,
        }
    }
}

/// Three digits, plain or in Huffman's code.
fn digits(length: u8, text: &[u8]) -> Option<u16> {
    let bytes = usize::from(length & 0x7f);
    if length & 0x80 == 0 {
        return std::str::from_utf8(text.get(..bytes)?).ok()?.parse().ok();
    }
    let whole = text.get(..bytes).filter(|text| (1..=8).contains(&text.len()))?;
    let mut bits = whole.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)) << (64 - 8 * bytes);
    (0..3).try_fold(0, |number, _| {
        // 0, 1 and 2 take five bits, the other digits six (RFC 7541 B).
        let (digit, taken) = match bits >> 59 {
            short @ 0..=2 => (short, 5),
            _ => ((bits >> 58).checked_sub(0x16)?, 6),
        };
        bits <<= taken;
        Some(number * 10 + digit as u16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(payload: &[u8]) -> Frame {
        Frame { kind: HEADERS, flags: END_HEADERS, stream: 1, payload: payload.to_vec() }
    }

    #[test]
    fn a_status_is_read_however_it_is_written() {
        assert_eq!(head(&[0x88]).status(), Some(200));
        assert_eq!(head(&[0x20, 0x8c]).status(), Some(400));
        assert_eq!(head(b"\x08\x03431").status(), Some(431));
        // 302 is an example of RFC 7541 C.6.1, 307 of C.6.2.
        assert_eq!(head(&[0x48, 0x82, 0x64, 0x02]).status(), Some(302));
        assert_eq!(head(&[0x48, 0x83, 0x64, 0x0e, 0xff]).status(), Some(307));
        assert_eq!(head(b"\x00\x01a\x01b").status(), None);
    }

    #[test]
    fn a_long_field_has_its_length_in_several_bytes() {
        let block = block(&[field("x", &"v".repeat(300))]);
        assert_eq!(&block[..6], &[0, 1, b'x', 127, 173, 1]);
        assert_eq!(block.len(), 6 + 300);
    }

    #[test]
    fn a_section_that_is_too_large_for_a_frame_is_continued() {
        let bytes = section(1, END_STREAM, &[field("x", &"v".repeat(20_000))]);
        assert_eq!(&bytes[..5], &[0, 0x40, 0, HEADERS, END_STREAM]);
        assert_eq!(bytes[9 + LARGEST + 3..9 + LARGEST + 5], [CONTINUATION, END_HEADERS]);
    }
}
