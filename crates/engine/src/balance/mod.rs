//! Which address a request goes to: the targets of an upstream, or the addresses of a service's own host.
//!
//! A pick takes no lock and allocates nothing. The addresses of hostnames change on the resolver's thread, which
//! puts a new roster in place; requests only ever see whole ones. What is learnt of an address outlives all of this,
//! see [`standing`].

mod affinity;
mod balancers;
mod hashing;
mod load;
mod measure;
mod policy;
mod roster;
mod rotation;
mod standing;
mod sticky;
#[cfg(test)]
mod tests;
mod unsupported;
mod wheel;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::dns::{Follower, Name, Record, Resolver, Service};
use crate::health::Rules;

pub use affinity::Asker;
pub use balancers::Balancers;
use policy::Policy;
use roster::{Candidate, Roster};
use rotation::Rotation;
pub(crate) use rotation::Rotations;
pub use standing::{InFlight, Outcome, Trouble};
pub(crate) use standing::{Standing, Standings};
pub use unsupported::unsupported;

/// An address picked for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where to connect.
    pub address: SocketAddr,
    /// Which target of the balancer it belongs to, see [`Balancer::host`].
    pub target: usize,
}

/// What a pick comes to.
pub struct Picked {
    /// The address.
    pub peer: Peer,
    /// To be held until the exchange with it ends.
    pub in_flight: InFlight,
}

/// Why there is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickError {
    /// The upstream has no target with weight that is available.
    NoPeer,
    /// No hostname resolves.
    NameResolution,
    /// There are some, and the guard of the request lets it go to none.
    Barred,
}

/// Spreads requests over addresses.
pub struct Balancer {
    source: Source,
    host_header: Option<String>,
    rotation: Arc<Rotation>,
    roster: Addresses,
}

/// An address of a balancer, for those who look after its health.
pub(crate) struct Member {
    /// How it stands.
    pub standing: Arc<Standing>,
    /// The address.
    pub address: SocketAddr,
    /// The host of its target, IPv6 in brackets.
    pub host: Arc<str>,
    /// Its target, as `host:port`.
    pub target: Arc<str>,
    /// The weight it has.
    pub weight: u64,
}

/// What a roster is made from.
struct Source {
    /// Whose addresses they are: the id of an upstream, or the host of a service.
    owner: Arc<str>,
    targets: Box<[Spot]>,
    policy: Policy,
    standings: Arc<Standings>,
    /// How the health of the addresses is judged, if it is.
    rules: Option<Arc<Rules>>,
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

enum Addresses {
    /// All targets are addresses.
    Fixed(Roster),
    /// The lock is held while a new roster is made, by the resolver or by who builds the balancer.
    Changing(ArcSwap<Roster>, Mutex<()>),
}

impl Balancer {
    /// An address for the next request or, on a retry, one not in `tried` while there are others. A cookie that the
    /// client is to come back with is left in `set_cookie`, as the field value of `Set-Cookie`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pick(
        &self,
        tried: &[SocketAddr],
        asker: &Asker<'_>,
        set_cookie: &mut Vec<u8>,
    ) -> Result<Picked, PickError> {
        let (policy, rotation) = (&self.source.policy, &self.rotation);
        match &self.roster {
            Addresses::Fixed(roster) => roster.pick(policy, rotation, tried, asker, set_cookie),
            Addresses::Changing(roster, _) => roster.load().pick(policy, rotation, tried, asker, set_cookie),
        }
    }

    /// Whether there is any address to pick, as its health is known.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        match &self.roster {
            Addresses::Fixed(roster) => roster.is_reachable(),
            Addresses::Changing(roster, _) => roster.load().is_reachable(),
        }
    }

    /// The host of a picked target as the configuration has it, IPv6 in brackets, without port.
    #[must_use]
    pub fn host(&self, peer: &Peer) -> &Arc<str> {
        &self.source.targets[peer.target].host
    }

    /// The upstream's own `host_header`, which wins over the target's host.
    #[must_use]
    pub fn host_header(&self) -> Option<&str> {
        self.host_header.as_deref()
    }

    /// The addresses known now of which anything has to be known.
    pub(crate) fn members(&self) -> Vec<Member> {
        let member = |candidate: &Candidate| {
            let Peer { address, target } = candidate.peer;
            let spot = &self.source.targets[target];
            let standing = candidate.standing.clone()?;
            let (host, target) = (spot.host.clone(), spot.label().into());
            Some(Member { standing, address, host, target, weight: candidate.weight })
        };
        let all = |roster: &Roster| roster.all().filter_map(member).collect();
        match &self.roster {
            Addresses::Fixed(roster) => all(roster),
            Addresses::Changing(roster, _) => all(&roster.load()),
        }
    }

    fn new(source: Source, host_header: Option<String>, rotation: Arc<Rotation>) -> Arc<Self> {
        let fixed = source.targets.iter().all(|spot| matches!(spot.place, Place::Address(_)));
        let roster = source.assemble();
        let roster = if fixed {
            Addresses::Fixed(roster)
        } else {
            Addresses::Changing(ArcSwap::from_pointee(roster), Mutex::default())
        };
        let balancer = Arc::new(Self { source, host_header, rotation, roster });
        balancer.follow_names();
        balancer
    }

    fn follow_names(self: &Arc<Self>) {
        for spot in &self.source.targets {
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
        if let Addresses::Changing(roster, building) = &self.roster {
            let _building = building.lock().unwrap_or_else(PoisonError::into_inner);
            roster.store(Arc::new(self.source.assemble()));
            if let Some(rules) = &self.source.rules {
                rules.rouse.notify_one();
            }
        }
    }
}

impl Source {
    /// The addresses known now.
    fn assemble(&self) -> Roster {
        let watched = self.policy.measured.is_some();
        let standing = |address| watched.then(|| self.standings.keep(&self.owner, address));
        let mut candidates = Vec::new();
        for (target, spot) in self.targets.iter().enumerate() {
            candidates.extend(spot.addresses().into_iter().map(|(address, weight)| Candidate {
                peer: Peer { address, target },
                weight: weight.into(),
                standing: standing(address),
            }));
        }
        let unresolved = self.targets.iter().any(|spot| spot.weight > 0 && spot.is_unresolved());
        let empty = if unresolved { PickError::NameResolution } else { PickError::NoPeer };
        Roster::new(candidates, empty, &self.owner, &self.policy)
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

    /// The target as the Admin API shows it.
    fn label(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The addresses known now, with their weights. SRV records decide about port and weight, but a target without
    /// weight has none.
    fn addresses(&self) -> Vec<(SocketAddr, u16)> {
        let with_port = |record: &Record| match record.service {
            Some(Service { port, weight }) if self.weight > 0 => {
                (SocketAddr::new(record.address, port), weight)
            }
            Some(Service { port, .. }) => (SocketAddr::new(record.address, port), 0),
            None => (SocketAddr::new(record.address, self.port), self.weight),
        };
        match &self.place {
            Place::Address(address) => vec![with_port(&Record::from(*address))],
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
