//! The application protocols that are offered inside TLS, by a listener or to a service: the one place that decides it.

/// The name of HTTP/2 inside TLS (RFC 9113 3.2).
pub const HTTP2: &[u8] = b"h2";

/// What is offered by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2, or else HTTP/1.1.
    Http2,
    /// Nothing: what is spoken inside is between the client and the service.
    Nothing,
}

impl Offer {
    /// Every offer there is; certificates are made ready for each of them at reload.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Nothing];

    /// The names of the protocols, best first.
    pub fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![HTTP2.to_vec(), b"http/1.1".to_vec()],
            Self::Nothing => Vec::new(),
        }
    }
}
