//! The balancers of one snapshot: one for each upstream, one for each host and port that services name directly.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use model::courtesy::offering;
use model::declarative::Config;
use model::entity::{Service, Target, Upstream};
use plugin::services::{PoolReport, SourceReport, TargetHealth};

use super::{Balancer, Naming, Peer, Policy, Source, Spot};
use crate::discovery::Listings;
use crate::dns::{Lookups, Resolver};
use crate::health::Rules;
use crate::upstream::gate::Limits;

/// Kong's port of a target that names none.
const DEFAULT_TARGET_PORT: u16 = 8000;

/// Finds the balancer of a service.
pub struct Balancers {
    resolver: Arc<Resolver>,
    upstreams: AHashMap<String, Arc<Balancer>>,
    /// Hosts and ports that are not upstreams, shared by the services that name the same.
    direct: Mutex<AHashMap<(String, u16), Arc<Balancer>>>,
}

/// Whose rotation it is: it goes on after a reload only where nothing of this changed.
struct Identity<'a>(&'a str, &'a [Arc<Spot>]);

impl Balancers {
    /// The balancers of `config`; its hostnames are looked up from now on.
    #[cfg(test)]
    #[must_use]
    pub fn new(config: &Config, resolver: &Arc<Resolver>) -> Self {
        Self::with_listings(config, resolver, &Listings::default())
    }

    /// The same with the targets that are listed elsewhere.
    #[must_use]
    pub fn with_listings(config: &Config, resolver: &Arc<Resolver>, listings: &Listings) -> Self {
        resolver.rotations.sweep();
        let mut targets: AHashMap<model::Uuid, Vec<&Target>> = AHashMap::new();
        for target in offering(200, config.targets.iter()) {
            targets.entry(target.upstream.0).or_default().push(target);
        }
        let balancer = |upstream: &Upstream| {
            let own = targets.get(&upstream.id).into_iter().flatten();
            let source = Source {
                owner: upstream.id.to_string().into(),
                targets: own.map(|target| Arc::new(spot_of(target, resolver.lookups()))).collect(),
                listing: listings.get(&upstream.id).cloned(),
                naming: if upstream.use_srv_name { Naming::Record } else { Naming::Target },
                policy: Policy::of(upstream),
                standings: resolver.standings.clone(),
                pool: upstream.pool.as_ref().map(|limits| (Limits::from(limits), resolver.gates.clone())),
                in_effect: AtomicBool::default(),
                rules: Rules::of(upstream, resolver.book.rouse()),
            };
            balancer(source, upstream.host_header.clone(), resolver)
        };
        let upstreams = offering(3_000, config.upstreams.iter());
        Self {
            resolver: resolver.clone(),
            upstreams: upstreams.map(|upstream| (upstream.name.clone(), balancer(upstream))).collect(),
            direct: Mutex::default(),
        }
    }

    /// The balancer of the upstream that the service's host names, or of the host itself. Not for the data path.
    pub fn for_service(&self, service: &Service) -> Arc<Balancer> {
        self.for_host(&service.host, service.port)
    }

    /// The balancer of the upstream called `host`, or of that host at `port`. Not for the data path.
    pub fn for_host(&self, host: &str, port: u16) -> Arc<Balancer> {
        if let Some(balancer) = self.upstreams.get(host) {
            return balancer.clone();
        }
        let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), port);
        let made = || {
            let spot = Spot::new(host, port, 1, self.resolver.lookups());
            let source = Source {
                owner: host.into(),
                targets: Box::from([Arc::new(spot)]),
                listing: None,
                naming: Naming::Target,
                policy: Policy::plain(),
                standings: self.resolver.standings.clone(),
                pool: None,
                in_effect: AtomicBool::default(),
                rules: None,
            };
            balancer(source, None, &self.resolver)
        };
        direct.entry(key).or_insert_with(made).clone()
    }

    /// What they bound is bound by them from now on, and no longer by `old` ones.
    pub fn take_effect(&self, old: Option<&Self>) {
        let old = old.into_iter().flat_map(|old| old.upstreams.values());
        old.for_each(|balancer| balancer.lose_effect());
        self.upstreams.values().for_each(|balancer| balancer.take_effect());
    }

    /// The health of every address of every upstream, in the order of their names.
    #[must_use]
    pub fn health(&self) -> Vec<TargetHealth> {
        let mut upstreams: Vec<_> = self.upstreams.iter().collect();
        upstreams.sort_by_key(|(name, _)| *name);
        upstreams.into_iter().flat_map(|(name, balancer)| health_of(name, balancer)).collect()
    }

    /// How the sources of targets are doing, in the order of the upstreams' names.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceReport> {
        let listing = |(name, balancer): (&String, &Arc<Balancer>)| {
            Some(balancer.source.listing.as_ref()?.report(name))
        };
        let mut reports: Vec<_> = self.upstreams.iter().filter_map(listing).collect();
        reports.sort_by(|left, right| left.upstream.cmp(&right.upstream));
        reports
    }

    /// The connections to every address of upstreams that bound them, in the order of the upstreams' names.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolReport> {
        let mut upstreams: Vec<_> = self.upstreams.iter().collect();
        upstreams.sort_by_key(|(name, _)| *name);
        let report = |upstream: &str, peer: &Peer| {
            let (connections, waiting) = peer.gate.as_ref()?.counts();
            let (upstream, address) = (upstream.to_owned(), peer.address.to_string());
            Some(PoolReport { upstream, address, connections, waiting })
        };
        let reports = |(name, balancer): (&String, &Arc<Balancer>)| {
            balancer.peers().iter().filter_map(|peer| report(name, peer)).collect::<Vec<_>>()
        };
        upstreams.into_iter().flat_map(reports).collect()
    }

    /// The balancer of an upstream whose health is found out, and how its addresses are judged.
    pub(crate) fn watched(&self, upstream: &str) -> Option<(&Arc<Balancer>, &Arc<Rules>)> {
        let balancer = self.upstreams.get(upstream)?;
        Some((balancer, balancer.source.rules.as_ref()?))
    }
}

fn balancer(source: Source, host_header: Option<String>, resolver: &Arc<Resolver>) -> Arc<Balancer> {
    let rotation = resolver.rotations.keep(&Identity(&source.owner, &source.targets));
    Balancer::new(source, host_header, rotation)
}

/// The target is `host:port` by now, or lacks the port if it never went through the declarative format.
fn spot_of(target: &Target, lookups: &Lookups) -> Spot {
    let parts = target.target.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = parts.unwrap_or((&target.target, DEFAULT_TARGET_PORT));
    Spot::new(host, port, target.weight, lookups)
}

fn health_of(upstream: &str, balancer: &Balancer) -> Vec<TargetHealth> {
    let members = balancer.members();
    let states: AHashMap<SocketAddr, &'static str> =
        members.iter().map(|member| (member.address, member.standing.health().state())).collect();
    let own = balancer.source.targets.len();
    let row = |(number, spot): (usize, &Arc<Spot>), address: String, state| TargetHealth {
        upstream: upstream.to_owned(),
        target: spot.label(),
        discovered: (number >= own).then_some(spot.weight),
        address,
        state,
    };
    let rows = |spot: (usize, &Arc<Spot>)| {
        if spot.1.is_unresolved() {
            return vec![row(spot, String::new(), "dns_error")];
        }
        let state = |address| states.get(address).copied().unwrap_or("healthchecks_off");
        let known = spot.1.addresses();
        known.iter().map(|found| row(spot, found.address.to_string(), state(&found.address))).collect()
    };
    balancer.source.spots().iter().enumerate().flat_map(rows).collect()
}

impl Hash for Identity<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        for spot in self.1 {
            (&spot.host, spot.port, spot.weight).hash(state);
        }
    }
}
