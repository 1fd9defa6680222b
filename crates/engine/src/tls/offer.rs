//! The application protocols a listener offers inside TLS: the one place that decides it.

/// What is offered by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1 only.
    Http1,
}

impl Offer {
    /// Every offer there is; certificates are made ready for each of them at reload.
    pub const ALL: [Self; 1] = [Self::Http1];

    /// The names of the protocols, best first.
    pub fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}
