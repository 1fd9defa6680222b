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
mod spot;
mod standing;
mod sticky;
#[cfg(test)]
mod tests;
mod unsupported;
mod wheel;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::discovery::Listing;
use crate::dns::Follower;
use crate::health::Rules;
use crate::upstream::gate::{Gate, Gates, Limits};

pub use affinity::Asker;
pub use balancers::Balancers;
use policy::Policy;
use roster::{Candidate, Roster};
use rotation::Rotation;
pub(crate) use rotation::Rotations;
pub(crate) use spot::Spot;
use spot::{Place, Spotted};
pub use standing::{InFlight, Outcome, Trouble};
pub(crate) use standing::{Standing, Standings};
pub use unsupported::unsupported;

/// An address picked for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where to connect.
    pub address: SocketAddr,
    /// Which target of the balancer it belongs to, see [`Balancer::host`].
    pub target: usize,
    /// Its own host, where that is not the one of a target in the configuration.
    pub host: Option<Arc<str>>,
    /// Its connections, where they are bounded.
    pub gate: Option<Arc<Gate>>,
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
    targets: Box<[Arc<Spot>]>,
    /// Further targets, which come and go.
    listing: Option<Arc<Listing>>,
    /// Which host a target has that is found by an SRV record.
    naming: Naming,
    policy: Policy,
    standings: Arc<Standings>,
    /// What connections to each address are bounded by, and how many there are.
    pool: Option<(Limits, Arc<Gates>)>,
    /// The configuration it belongs to is the one that is served: its limits hold.
    in_effect: AtomicBool,
    /// How the health of the addresses is judged, if it is.
    rules: Option<Arc<Rules>>,
}

/// The host of an address that an SRV record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// That of the target.
    Target,
    /// That in the record (Kong's `use_srv_name`).
    Record,
}

enum Addresses {
    /// All targets are addresses, and stay.
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

    /// The host of a picked target, IPv6 in brackets, without port.
    #[must_use]
    pub fn host<'a>(&'a self, peer: &'a Peer) -> &'a Arc<str> {
        peer.host.as_ref().unwrap_or_else(|| &self.source.targets[peer.target].host)
    }

    /// The upstream's own `host_header`, which wins over the target's host.
    #[must_use]
    pub fn host_header(&self) -> Option<&str> {
        self.host_header.as_deref()
    }

    /// Whether connections are to be kept ready.
    pub(crate) fn keeps_ready(&self) -> bool {
        self.source.pool.as_ref().is_some_and(|(limits, _)| limits.ready > 0)
    }

    /// Its limits hold from now on.
    fn take_effect(&self) {
        let Some((limits, _)) = &self.source.pool else { return };
        let bound = |roster: &Roster| {
            roster
                .all()
                .filter_map(|candidate| candidate.peer.gate.as_ref())
                .for_each(|gate| gate.limit_to(limits));
        };
        match &self.roster {
            Addresses::Fixed(roster) => bound(roster),
            Addresses::Changing(roster, building) => {
                // A roster that is being made either is bound here, or sees that its limits hold.
                let _building = building.lock().unwrap_or_else(PoisonError::into_inner);
                self.source.in_effect.store(true, Ordering::Release);
                bound(&roster.load());
            }
        }
    }

    /// Another configuration is served: its limits are for no further addresses.
    fn lose_effect(&self) {
        self.source.in_effect.store(false, Ordering::Release);
    }

    /// The addresses that requests may go to now.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        match &self.roster {
            Addresses::Fixed(roster) => roster.open_peers(),
            Addresses::Changing(roster, _) => roster.load().open_peers(),
        }
    }

    /// The addresses known now of which anything has to be known.
    pub(crate) fn members(&self) -> Vec<Member> {
        let member = |roster: &Roster, candidate: &Candidate| {
            let Peer { address, target, host, .. } = &candidate.peer;
            let spot = &roster.spots[*target];
            let standing = candidate.standing.clone()?;
            let host = host.as_ref().unwrap_or(&spot.host).clone();
            let (address, target) = (*address, spot.label().into());
            Some(Member { standing, address, host, target, weight: candidate.weight })
        };
        let all = |roster: &Roster| roster.all().filter_map(|candidate| member(roster, candidate)).collect();
        match &self.roster {
            Addresses::Fixed(roster) => all(roster),
            Addresses::Changing(roster, _) => all(&roster.load()),
        }
    }

    fn new(source: Source, host_header: Option<String>, rotation: Arc<Rotation>) -> Arc<Self> {
        let is_address = |spot: &Arc<Spot>| matches!(spot.place, Place::Address(_));
        let fixed = source.listing.is_none() && source.targets.iter().all(is_address);
        let roster = source.assemble(source.spots());
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
        if let Some(listing) = &self.source.listing {
            let this: Weak<Self> = Arc::downgrade(self);
            listing.follow(this);
        }
        // What changed between assembling and following.
        self.clone().addresses_changed();
    }
}

impl Follower for Balancer {
    fn addresses_changed(self: Arc<Self>) {
        if let Addresses::Changing(roster, building) = &self.roster {
            let _building = building.lock().unwrap_or_else(PoisonError::into_inner);
            let spots = self.source.spots();
            for spot in &spots {
                if let Place::Name(name) = &spot.place {
                    let this: Weak<Self> = Arc::downgrade(&self);
                    name.follow(this);
                }
            }
            roster.store(Arc::new(self.source.assemble(spots)));
            if let Some(rules) = &self.source.rules {
                rules.rouse.notify_one();
            }
        }
    }
}

impl Source {
    /// The targets there are now: those of the configuration, and those that are listed elsewhere and not there too.
    fn spots(&self) -> Box<[Arc<Spot>]> {
        let mut spots = self.targets.to_vec();
        if let Some(listing) = &self.listing {
            let listed = listing.now();
            let further = listed.spots.iter().filter(|spot| !self.targets.iter().any(|own| own.is_at(spot)));
            spots.extend(further.cloned());
        }
        spots.into()
    }

    /// The addresses that `spots` stand for now.
    fn assemble(&self, spots: Box<[Arc<Spot>]>) -> Roster {
        let watched = self.policy.measured.is_some();
        let standing = |address| watched.then(|| self.standings.keep(&self.owner, address));
        let gate = |address| {
            let (limits, gates) = self.pool.as_ref()?;
            let gate = gates.keep(&self.owner, address, limits);
            if self.in_effect.load(Ordering::Acquire) {
                gate.limit_to(limits);
            }
            Some(gate)
        };
        let mut candidates = Vec::new();
        for (target, spot) in spots.iter().enumerate() {
            let own = (target >= self.targets.len()).then(|| spot.host.clone());
            candidates.extend(spot.addresses().into_iter().map(|found| {
                let Spotted { address, weight, service_host } = found;
                let host = service_host.filter(|_| self.naming == Naming::Record).or_else(|| own.clone());
                Candidate {
                    peer: Peer { address, target, host, gate: gate(address) },
                    weight: weight.into(),
                    standing: standing(address),
                }
            }));
        }
        let unresolved = spots.iter().any(|spot| spot.weight > 0 && spot.is_unresolved());
        let empty = if unresolved { PickError::NameResolution } else { PickError::NoPeer };
        let mut roster = Roster::new(candidates, empty, &self.owner, &self.policy);
        roster.spots = spots;
        roster
    }
}
