//! Who is at the other end of a connection, and over what. The same for all its requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// The client's side of the connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// The other end of the TCP connection.
    pub peer: SocketAddr,
    /// Our end of it.
    pub local: SocketAddr,
    /// The client's address after `trusted_ips` and `real_ip_header` have been applied (kong.md 3.5).
    pub ip: IpAddr,
    /// The address that a proxy in front announced for the connection (PROXY protocol).
    pub announced: Option<SocketAddr>,
    /// The peer is one of `trusted_ips`.
    pub trusted: bool,
    /// Scheme of the connection itself.
    pub scheme: Scheme,
    /// What the TLS handshake came to; none in cleartext.
    pub tls: Option<Rc<Tls>>,
}

/// What a TLS handshake with a client came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The server name the client asked for.
    pub server_name: Option<Box<str>>,
    /// The version, as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by OpenSSL's name.
    pub cipher: &'static str,
    /// Whether the client was asked for a certificate.
    pub demand: Demand,
    /// What the client has shown. That it holds the key of it is certain.
    pub certificate: Option<ClientCertificate>,
}

/// Whether clients are asked for a certificate in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Demand {
    /// They are not.
    #[default]
    Nothing,
    /// They are, and may do without, or show one that nobody believes.
    Request,
    /// They are, and there is no session without one that is believed.
    Require,
}

/// The certificate a client has shown in its handshake, or in the one before its session was resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain as it came, DER: the client's own first, then those between it and its authority. Never empty.
    pub chain: Box<[Box<[u8]>]>,
    /// Whether it is in its time and leads to an authority that is believed about clients, or why not.
    pub verified: Result<(), &'static str>,
}

impl Tls {
    /// What became of the client's certificate, in Kong's words: `SUCCESS`, `NONE`, or `FAILED` with the reason.
    #[must_use]
    pub fn client_verify(&self) -> (&'static str, &'static str) {
        match &self.certificate {
            None => ("NONE", ""),
            Some(ClientCertificate { verified: Ok(()), .. }) => ("SUCCESS", ""),
            Some(ClientCertificate { verified: Err(reason), .. }) => ("FAILED:", reason),
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self {
            peer: nowhere,
            local: nowhere,
            ip: nowhere.ip(),
            announced: None,
            trusted: false,
            scheme: Scheme::Http,
            tls: None,
        }
    }
}

/// The scheme the client used, as far as routing and forwarding are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS, here or at a trusted proxy in front.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}
