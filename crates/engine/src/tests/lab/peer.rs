//! The test's end of a connection.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

/// One side of a pipe: the test's end of a client's or an upstream's connection.
pub struct Peer<S = DuplexStream>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Sends text.
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads up to and including the end of a head.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = self.0.read_u8().await;
            head.push(
                byte.unwrap_or_else(|_| panic!("ended within a head: {}", String::from_utf8_lossy(&head))),
            );
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads exactly `count` bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Reads as much text as `expected` has.
    pub async fn expect(&mut self, expected: &str) {
        let bytes = self.bytes(expected.len()).await;
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    /// Reads a response with a `Content-Length`: status code, head, body.
    pub async fn response(&mut self) -> (u16, String, String) {
        let head = self.head().await;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = String::from_utf8(self.bytes(length).await).unwrap();
        (status, head, body)
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Reads up to and including `end`.
    pub async fn rest_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            text.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }
}

/// The value of a field in a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
