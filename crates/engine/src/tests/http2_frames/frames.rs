//! Frames of HTTP/2, written byte by byte so that they can be wrong, and read back.

/// Types of frames (RFC 9113 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 0x20;

/// Error codes (RFC 9113 7).
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;

/// Settings (RFC 9113 6.5.2).
pub const HEADER_TABLE_SIZE: u16 = 1;
pub const ENABLE_PUSH: u16 = 2;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;

/// What a client sends first.
pub const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Fields<'a> = [(&'a str, &'a str)];

/// Any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block: every field in full, without tables and without Huffman's code.
pub fn block(fields: &Fields<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name);
        string(&mut bytes, value);
    }
    bytes
}

/// A character is a byte, so that values can hold any.
fn string(bytes: &mut Vec<u8>, text: &str) {
    let text: Vec<u8> = text.chars().map(|one| u8::try_from(one).unwrap()).collect();
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
    bytes.extend(text);
}

/// A whole header section in one frame.
pub fn headers(stream: u32, flags: u8, fields: &Fields<'_>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// The pseudo-header fields of a request, and others behind them.
pub fn fields<'a>(method: &'a str, path: &'a str, more: &Fields<'a>) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "h"), (":path", path)];
    [&pseudo[..], more].concat()
}

/// A GET that is complete.
pub fn get(stream: u32, path: &str, more: &Fields<'_>) -> Vec<u8> {
    headers(stream, END_STREAM, &fields("GET", path, more))
}

/// The head of a POST whose body follows.
pub fn post(stream: u32, path: &str, more: &Fields<'_>) -> Vec<u8> {
    headers(stream, 0, &fields("POST", path, more))
}

/// A piece of a body.
pub fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

/// Settings.
pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// More room in a window.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// The end of a stream.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A frame that was received.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The whole frames at the beginning of `bytes`, taken out of them.
pub fn take(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let size = 9 + u32_at(&[&[0], &bytes[..3]].concat()) as usize;
        if bytes.len() < size {
            break;
        }
        let rest = bytes.split_off(size);
        let whole = std::mem::replace(bytes, rest);
        frames.push(Frame {
            kind: whole[3],
            flags: whole[4],
            stream: u32_at(&whole[5..]),
            payload: whole[9..].to_vec(),
        });
    }
    frames
}

/// The number at the beginning of `bytes`.
pub fn u32_at(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

impl Frame {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The status of a response, which is the first field of its head; none in a trailer section.
    pub fn status(&self) -> Option<u16> {
        let updates = self.payload.iter().take_while(|byte| **byte >> 5 == 1).count();
        match self.payload[updates..] {
            [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
            [0x08 | 0x18 | 0x48, length, ref text @ ..] => Some(digits(length, text)),
            _ => None,
        }
    }
}

/// Three digits, plain or in Huffman's code.
fn digits(length: u8, text: &[u8]) -> u16 {
    if length == 3 {
        return std::str::from_utf8(&text[..3]).unwrap().parse().unwrap();
    }
    let bytes = usize::from(length & 0x7f);
    let mut bits =
        text[..bytes].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)) << (64 - 8 * bytes);
    (0..3).fold(0, |number, _| {
        // 0, 1 and 2 take five bits, the other digits six (RFC 7541 B).
        let (digit, taken) = match bits >> 59 {
            short @ 0..=2 => (short, 5),
            _ => ((bits >> 58) - 0x19 + 3, 6),
        };
        bits <<= taken;
        number * 10 + digit as u16
    })
}
