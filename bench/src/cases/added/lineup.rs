//! What is added to which proxy, in groups that are started together.

use crate::cases::Case;
use crate::peers::{Algorithm, Check, Peer, Policy, Tokens};

/// Peers that have one thing more each, and the bare proxies of the same products.
pub struct Lineup {
    /// What it is about.
    pub detail: &'static str,
    /// The bare ones first.
    pub peers: Vec<Peer>,
}

impl Lineup {
    /// All of a case; none for a case of another kind.
    pub fn all(case: Case) -> Vec<Self> {
        match case {
            Case::Policies => policies(),
            Case::Identity => identity(),
            _ => Vec::new(),
        }
    }

    fn new(detail: &'static str, peers: impl IntoIterator<Item = Peer>) -> Self {
        let with: Vec<Peer> = peers.into_iter().collect();
        let mut all: Vec<Peer> = Vec::new();
        for bare in with.iter().filter_map(|peer| peer.without_policy()) {
            if !all.contains(&bare) {
                all.push(bare);
            }
        }
        all.extend(with);
        Self { detail, peers: all }
    }
}

fn policies() -> Vec<Lineup> {
    use Policy::{
        Breaker, BreakerWithWindow, Canary, Concurrency, ConsistentHashing, Fixed, Latency, LeastConnections,
        Local, MirrorAll, MirrorSome, Redis, RedisInIntervals, Retry, RoundRobin, Sliding,
        SlidingInIntervals, SlidingInRedis, Smooth, StickySessions, TwoChoices, Untold, Usage,
    };
    let balancing =
        [RoundRobin, LeastConnections, Latency, ConsistentHashing, StickySessions, TwoChoices].as_slice();
    let others = [Peer::HaproxyLimited, Peer::EnvoyLimited];
    let all: [(_, &[Policy], &[Peer]); 6] = [
        ("balancing", balancing, &[]),
        ("limits", &[Local, Untold, Sliding, Fixed, Smooth], &others),
        ("limits in Redis", &[Redis, RedisInIntervals, SlidingInRedis, SlidingInIntervals], &[]),
        ("resilience", &[Breaker, BreakerWithWindow, Retry, Concurrency], &[]),
        ("releases", &[Canary, MirrorSome, MirrorAll], &[]),
        ("accounts", &[Usage], &[]),
    ];
    let lineup = |(detail, policies, others): (_, &[Policy], &[Peer])| {
        Lineup::new(detail, policies.iter().copied().map(Peer::Policy).chain(others.iter().copied()))
    };
    all.map(lineup).into()
}

/// Each way to find out who is asking and what they may do. The clients of the bare proxies send nothing that matters.
fn identity() -> Vec<Lineup> {
    use Algorithm::{Es256, Hs256, Rs256};
    use Tokens::{Known, New};
    let ours = |algorithm| [Known, New].map(|tokens| Check::Token(algorithm, tokens));
    let envoys = |algorithm| [Known, New].map(|tokens| Check::EnvoyToken(algorithm, tokens));
    let tokens = [ours(Hs256), ours(Rs256), ours(Es256), envoys(Rs256), envoys(Es256)];
    let groups: [(_, Vec<Check>); 4] = [
        ("keys", vec![Check::Key, Check::KeyOfMany]),
        ("tokens", tokens.into_iter().flatten().collect()),
        ("servers", vec![Check::Introspection, Check::OpenId, Check::Forward, Check::OpaServer]),
        ("rules", vec![Check::Rules(1), Check::Rules(500), Check::Rego, Check::RegoExample]),
    ];
    groups.map(|(detail, checks)| Lineup::new(detail, checks.into_iter().map(Peer::Check))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_meets_the_proxy_that_its_thing_is_added_to() {
        for lineup in Lineup::all(Case::Policies).into_iter().chain(Lineup::all(Case::Identity)) {
            for bare in lineup.peers.iter().filter_map(|peer| peer.without_policy()) {
                let found = lineup.peers.iter().filter(|peer| **peer == bare).count();
                assert_eq!(found, 1, "{}: {bare:?}", lineup.detail);
            }
        }
    }

    #[test]
    fn usage_is_measured_with_a_database_of_its_own() {
        let lineups = Lineup::all(Case::Policies);
        let policies = lineups.iter().flat_map(|lineup| &lineup.peers).filter_map(|peer| match peer {
            Peer::Policy(policy) => Some(policy),
            _ => None,
        });
        let backend = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let with_database: Vec<_> = policies
            .filter(|policy| policy.environment(std::path::Path::new("x")).is_some())
            .map(|policy| policy.file(backend, None).contains("\"usage\""))
            .collect();
        assert_eq!(with_database, [true]);
    }
}
