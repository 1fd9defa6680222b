//! WebSocket messages of the bench: always the same small one, and the same bytes back. Nothing else of WebSocket.

/// The first byte of a message in one piece (RFC 6455 5.2).
pub const BINARY: u8 = 0x82;
/// Bytes that a message carries.
pub const LENGTH: usize = 100;
/// Bytes of a message of a client: it is masked.
pub const SENT: usize = LENGTH + 6;

/// What asks for WebSocket.
pub const REQUEST: &str = "GET /orders HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// What grants it.
pub const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The message of a client. A mask of zeros leaves the bytes as they are.
pub fn message() -> Vec<u8> {
    [&[BINARY, 0x80 | LENGTH as u8, 0, 0, 0, 0][..], &[b'x'; LENGTH]].concat()
}

/// The message that comes back.
pub fn answer() -> Vec<u8> {
    [&[BINARY, LENGTH as u8][..], &[b'x'; LENGTH]].concat()
}

/// How many bytes a message of the server carries, and the size of its head, once that is there.
pub fn length(bytes: &[u8]) -> Option<(u64, usize)> {
    bytes.get(1).map(|length| (u64::from(*length), 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_have_the_lengths_they_claim() {
        assert_eq!(message().len(), SENT);
        let (length, head) = length(&answer()).unwrap();
        assert_eq!((length as usize, head + LENGTH), (LENGTH, answer().len()));
    }
}
