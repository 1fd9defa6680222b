//! One end of a connection as routes name it: an address, a range of addresses, a port.

use std::net::{IpAddr, SocketAddr};

use model::entity::Endpoint;

use crate::settings::Network;

/// An element of a route's `sources` or `destinations`. What it does not name may be anything.
#[derive(Clone)]
pub struct Place {
    network: Option<Network>,
    /// The network is a single address.
    address: Option<IpAddr>,
    port: Option<u16>,
}

/// What a place can be looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// An address and a port.
    Both(IpAddr, u16),
    /// An address with any port.
    Address(IpAddr),
    /// A port of any address, or of a range.
    Port(u16),
}

impl Place {
    /// Reads an entity.
    ///
    /// # Errors
    /// When it names neither an address nor a range. The schema lets none of these through.
    pub fn read(endpoint: &Endpoint) -> Result<Self, String> {
        let text = endpoint.ip.as_deref();
        let address = text.and_then(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical());
        let network = match (address, text) {
            (Some(address), _) => Some(address.to_string().parse()?),
            (None, Some(range)) => Some(range.parse()?),
            (None, None) => None,
        };
        Ok(Self { network, address, port: endpoint.port })
    }

    /// Whether `end` is meant.
    pub fn holds(&self, end: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == end.port())
            && self.network.is_none_or(|network| network.contains(end.ip()))
    }

    /// What it can be looked up by; nothing for a range with any port.
    pub fn key(&self) -> Option<Key> {
        match (self.address, self.port) {
            (Some(address), Some(port)) => Some(Key::Both(address, port)),
            (Some(address), None) => Some(Key::Address(address)),
            (None, Some(port)) => Some(Key::Port(port)),
            (None, None) => None,
        }
    }

    /// The port, if it is named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Its share of a route's standing: a single address counts 8, a port 4, a range 1 (kong.md 3.1).
    pub fn weight(&self) -> u8 {
        let network = match (self.address, self.network) {
            (Some(_), _) => 8,
            (None, Some(_)) => 1,
            (None, None) => 0,
        };
        network | if self.port.is_some() { 4 } else { 0 }
    }
}

/// The keys under which an end of a connection may stand.
pub fn keys(end: SocketAddr) -> [Key; 3] {
    let (address, port) = (end.ip().to_canonical(), end.port());
    [Key::Both(address, port), Key::Address(address), Key::Port(port)]
}
