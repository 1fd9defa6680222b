//! The balancers of one snapshot: one for each upstream, one for each host and port that services name directly.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use model::courtesy::offering;
use model::declarative::Config;
use model::entity::{Service, Target, Upstream};
use plugin::services::TargetHealth;

use super::{Balancer, Policy, Source, Spot};
use crate::dns::Resolver;
use crate::health::Rules;

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
struct Identity<'a>(&'a str, &'a [Spot]);

impl Balancers {
    /// The balancers of `config`; its hostnames are looked up from now on.
    #[must_use]
    pub fn new(config: &Config, resolver: &Arc<Resolver>) -> Self {
        resolver.rotations.sweep();
        let mut targets: AHashMap<model::Uuid, Vec<&Target>> = AHashMap::new();
        for target in offering(200, config.targets.iter()) {
            targets.entry(target.upstream.0).or_default().push(target);
        }
        let balancer = |upstream: &Upstream| {
            let spots = targets.get(&upstream.id).into_iter().flatten();
            let spots = spots.map(|target| spot_of(target, resolver)).collect();
            let (id, host_header) = (upstream.id.to_string(), upstream.host_header.clone());
            let rules = Rules::of(upstream, resolver.book.rouse());
            balancer(&id, spots, host_header, (Policy::of(upstream), rules), resolver)
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
            let spot = Spot::new(host, port, 1, &self.resolver);
            balancer(host, vec![spot], None, (Policy::plain(), None), &self.resolver)
        };
        direct.entry(key).or_insert_with(made).clone()
    }

    /// The health of every address of every upstream, in the order of their names.
    #[must_use]
    pub fn health(&self) -> Vec<TargetHealth> {
        let mut upstreams: Vec<_> = self.upstreams.iter().collect();
        upstreams.sort_by_key(|(name, _)| *name);
        upstreams.into_iter().flat_map(|(name, balancer)| health_of(name, balancer)).collect()
    }

    /// The balancer of an upstream whose health is found out, and how its addresses are judged.
    pub(crate) fn watched(&self, upstream: &str) -> Option<(&Arc<Balancer>, &Arc<Rules>)> {
        let balancer = self.upstreams.get(upstream)?;
        Some((balancer, balancer.source.rules.as_ref()?))
    }
}

fn balancer(
    owner: &str,
    spots: Vec<Spot>,
    host_header: Option<String>,
    (policy, rules): (Policy, Option<Arc<Rules>>),
    resolver: &Arc<Resolver>,
) -> Arc<Balancer> {
    let rotation = resolver.rotations.keep(&Identity(owner, &spots));
    let standings = resolver.standings.clone();
    Balancer::new(
        Source { owner: owner.into(), targets: spots.into(), policy, standings, rules },
        host_header,
        rotation,
    )
}

/// The target is `host:port` by now, or lacks the port if it never went through the declarative format.
fn spot_of(target: &Target, resolver: &Arc<Resolver>) -> Spot {
    let parts = target.target.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = parts.unwrap_or((&target.target, DEFAULT_TARGET_PORT));
    Spot::new(host, port, target.weight, resolver)
}

fn health_of(upstream: &str, balancer: &Balancer) -> Vec<TargetHealth> {
    let members = balancer.members();
    let states: AHashMap<SocketAddr, &'static str> =
        members.iter().map(|member| (member.address, member.standing.health().state())).collect();
    let row = |spot: &Spot, address: String, state| TargetHealth {
        upstream: upstream.to_owned(),
        target: spot.label(),
        address,
        state,
    };
    let rows = |spot: &Spot| {
        if spot.is_unresolved() {
            return vec![row(spot, String::new(), "dns_error")];
        }
        let state = |address| states.get(address).copied().unwrap_or("healthchecks_off");
        spot.addresses().iter().map(|(address, _)| row(spot, address.to_string(), state(address))).collect()
    };
    balancer.source.targets.iter().flat_map(rows).collect()
}

impl Hash for Identity<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        for spot in self.1 {
            (&spot.host, spot.port, spot.weight).hash(state);
        }
    }
}
