//! Where a connection to a service leads, and for whom: what one connection has in common with another that may stand
//! in for it, TLS apart.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use model::entity::Service;
use plugin::exchange::Client;
use tokio::io::AsyncWriteExt;
use wire::proxy_protocol::{Origin, write_v1, write_v2};

use crate::doors::canonical;
use crate::transport::Stream;
use crate::upstream::gate::Gate;

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Announcing {
    /// Version 1, a line of text.
    Version1,
    /// Version 2, binary.
    Version2,
}

impl Announcing {
    /// How `service` wants to be told of clients, if it does.
    pub fn to(service: &Service) -> Option<Self> {
        match service.proxy_protocol.as_deref()? {
            "v1" => Some(Self::Version1),
            _ => Some(Self::Version2),
        }
    }
}

/// Whose connection it is, as the service is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Announced {
    version: Announcing,
    client: SocketAddr,
    /// The address the client connected to.
    reached: SocketAddr,
}

impl Announced {
    /// The client as the gateway knows it, after `real_ip_header`. What only a header names has no port: 0.
    pub fn new(version: Announcing, client: &Client) -> Self {
        let known = [Some(client.peer), client.announced];
        let known = known.into_iter().flatten().find(|address| address.ip() == client.ip);
        let source = known.unwrap_or_else(|| SocketAddr::new(client.ip, 0));
        Self { version, client: canonical(source), reached: canonical(client.local) }
    }

    /// The header.
    pub fn header(&self) -> Vec<u8> {
        let origin = Origin::Forwarded { source: self.client, destination: self.reached };
        let mut header = Vec::with_capacity(108);
        match self.version {
            Announcing::Version1 => write_v1(&mut header, &origin),
            Announcing::Version2 => write_v2(&mut header, &origin),
        }
        header
    }

    /// Says it on a fresh connection: before anything else, a TLS handshake included.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn write(&self, stream: &mut Stream) -> io::Result<()> {
        stream.write_all(&self.header()).await
    }
}

/// Where a connection leads, and for whom it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The target's address.
    pub address: SocketAddr,
    /// The only client it serves; none where it serves all.
    pub announced: Option<Box<Announced>>,
    /// What bounds such connections. One that counts among the connections of an upstream serves no other.
    pub gate: Option<Arc<Gate>>,
}

impl Destination {
    /// A target at `address`, that is told of `client` if it is to be `announcing`.
    pub fn new(address: SocketAddr, announcing: Option<Announcing>, client: &Client) -> Self {
        let announced = announcing.map(|version| Box::new(Announced::new(version, client)));
        Self { address, announced, gate: None }
    }

    /// The same among the connections that `gate` bounds, if it is bounded.
    pub fn through(self, gate: Option<Arc<Gate>>) -> Self {
        Self { gate, ..self }
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self { address, announced: None, gate: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(ip: &str) -> Client {
        let [peer, local] = ["192.0.2.1:5000", "192.0.2.2:8000"].map(|address| address.parse().unwrap());
        Client { peer, local, ip: ip.parse().unwrap(), ..Client::default() }
    }

    fn header(client: &Client) -> String {
        String::from_utf8(Announced::new(Announcing::Version1, client).header()).unwrap()
    }

    #[test]
    fn the_port_is_told_where_it_is_known() {
        assert_eq!(header(&client("192.0.2.1")), "PROXY TCP4 192.0.2.1 192.0.2.2 5000 8000\r\n");
        let mut behind = client("203.0.113.7");
        assert_eq!(header(&behind), "PROXY TCP4 203.0.113.7 192.0.2.2 0 8000\r\n");
        behind.announced = Some("203.0.113.7:40000".parse().unwrap());
        assert_eq!(header(&behind), "PROXY TCP4 203.0.113.7 192.0.2.2 40000 8000\r\n");
    }

    #[test]
    fn both_ends_are_of_one_family() {
        let mut mapped = client("::ffff:192.0.2.1");
        mapped.peer = "[::ffff:192.0.2.1]:5000".parse().unwrap();
        mapped.local = "[::ffff:192.0.2.2]:8000".parse().unwrap();
        assert_eq!(header(&mapped), "PROXY TCP4 192.0.2.1 192.0.2.2 5000 8000\r\n");
        mapped.ip = "2001:db8::7".parse().unwrap();
        assert_eq!(header(&mapped), "PROXY TCP6 2001:db8::7 ::ffff:192.0.2.2 0 8000\r\n");
    }
}
