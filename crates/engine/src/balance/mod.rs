//! Which address a request goes to: the targets of an upstream, or the addresses of a service's own host.
//!
//! A pick takes no lock and allocates nothing. The addresses of hostnames change on the resolver's thread, which
//! puts a new wheel in place; requests only ever see whole wheels.

mod balancers;
mod rotation;
#[cfg(test)]
mod tests;
mod unsupported;
mod wheel;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::dns::{Follower, Name, Resolver};

pub use balancers::Balancers;
use rotation::Rotation;
pub(crate) use rotation::Rotations;
pub use unsupported::unsupported;
use wheel::Wheel;

/// An address picked for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where to connect.
    pub address: SocketAddr,
    /// Which target of the balancer it belongs to, see [`Balancer::host`].
    pub target: usize,
}

/// Why there is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickError {
    /// The upstream has no target with weight.
    NoPeer,
    /// No hostname resolves.
    NameResolution,
}

/// Spreads requests over addresses.
pub struct Balancer {
    targets: Box<[Spot]>,
    host_header: Option<String>,
    rotation: Arc<Rotation>,
    wheel: Turning,
}

/// A target: a host, a port, a weight.
struct Spot {
    /// As written, for `Host`; IPv6 in brackets.
    host: Arc<str>,
    port: u16,
    weight: u16,
    place: Place,
}

enum Place {
    Address(IpAddr),
    Name(Arc<Name>),
}

enum Turning {
    /// All targets are addresses.
    Fixed(Wheel),
    /// The lock is held while a new wheel is built, by the resolver or by who builds the balancer.
    Changing(ArcSwap<Wheel>, Mutex<()>),
}

impl Balancer {
    /// An address for the next request or, on a retry, one not in `tried` while there are others.
    ///
    /// # Errors
    /// When there is none.
    pub fn pick(&self, tried: &[SocketAddr]) -> Result<Peer, PickError> {
        match &self.wheel {
            Turning::Fixed(wheel) => wheel.pick(tried, &self.rotation),
            Turning::Changing(wheel, _) => wheel.load().pick(tried, &self.rotation),
        }
    }

    /// Whether there is any address to pick.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        match &self.wheel {
            Turning::Fixed(wheel) => !wheel.is_empty(),
            Turning::Changing(wheel, _) => !wheel.load().is_empty(),
        }
    }

    /// The host of a picked target as the configuration has it, IPv6 in brackets, without port.
    #[must_use]
    pub fn host(&self, peer: &Peer) -> &Arc<str> {
        &self.targets[peer.target].host
    }

    /// The upstream's own `host_header`, which wins over the target's host.
    #[must_use]
    pub fn host_header(&self) -> Option<&str> {
        self.host_header.as_deref()
    }

    fn new(targets: Vec<Spot>, host_header: Option<String>, rotation: Arc<Rotation>) -> Arc<Self> {
        let targets = targets.into_boxed_slice();
        let fixed = targets.iter().all(|spot| matches!(spot.place, Place::Address(_)));
        let wheel = assemble(&targets);
        let wheel = if fixed {
            Turning::Fixed(wheel)
        } else {
            Turning::Changing(ArcSwap::from_pointee(wheel), Mutex::default())
        };
        let balancer = Arc::new(Self { targets, host_header, rotation, wheel });
        balancer.follow_names();
        balancer
    }

    fn follow_names(self: &Arc<Self>) {
        for spot in &self.targets {
            if let Place::Name(name) = &spot.place {
                let this: Weak<Self> = Arc::downgrade(self);
                name.follow(this);
            }
        }
        // What changed between assembling and following.
        self.addresses_changed();
    }
}

impl Follower for Balancer {
    fn addresses_changed(&self) {
        if let Turning::Changing(wheel, building) = &self.wheel {
            let _building = building.lock().unwrap_or_else(PoisonError::into_inner);
            wheel.store(Arc::new(assemble(&self.targets)));
        }
    }
}

impl Spot {
    /// A target at `host`, which may be an address with or without brackets.
    fn new(host: &str, port: u16, weight: u16, resolver: &Arc<Resolver>) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let (host, place) = match bare.parse::<IpAddr>() {
            Ok(address @ IpAddr::V6(_)) => (format!("[{bare}]"), Place::Address(address)),
            Ok(address) => (bare.to_owned(), Place::Address(address)),
            Err(_) => (host.to_owned(), Place::Name(resolver.watch(host))),
        };
        Self { host: host.into(), port, weight, place }
    }

    /// The addresses known now.
    fn addresses(&self) -> Vec<SocketAddr> {
        let with_port = |address: &IpAddr| SocketAddr::new(*address, self.port);
        match &self.place {
            Place::Address(address) => vec![with_port(address)],
            Place::Name(name) => name.addresses().list.iter().map(with_port).collect(),
        }
    }

    fn is_unresolved(&self) -> bool {
        match &self.place {
            Place::Address(_) => false,
            Place::Name(name) => name.addresses().list.is_empty(),
        }
    }
}

/// The wheel over the addresses known now.
fn assemble(targets: &[Spot]) -> Wheel {
    let mut peers = Vec::new();
    for (target, spot) in targets.iter().enumerate() {
        peers.extend(
            spot.addresses().into_iter().map(|address| (Peer { address, target }, spot.weight.into())),
        );
    }
    let unresolved = targets.iter().any(|spot| spot.weight > 0 && spot.is_unresolved());
    Wheel::new(peers, if unresolved { PickError::NameResolution } else { PickError::NoPeer })
}
