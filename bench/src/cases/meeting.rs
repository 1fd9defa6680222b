//! Which peers meet in which case, and under which load.

use super::{Case, Extent};
use crate::load::{Exchange, Pace, Plan};
use crate::peers::{Peer, Proxy};
use crate::tools::Tool;

/// Bodies of 1 MiB need few connections to fill a core.
const LARGE_CONNECTIONS: usize = 8;
const LATENCY_CONNECTIONS: usize = 32;
/// Many streams on a few connections, as clients of HTTP/2 have them.
const HTTP2_CONNECTIONS: usize = 4;
const CALLS_AT_A_TIME: usize = 10;

/// Peers under one load.
pub struct Meeting {
    pub peers: Vec<Peer>,
    pub connections: Vec<usize>,
    /// What tells it from others of its case.
    pub detail: &'static str,
    load: Load,
}

enum Load {
    Own { exchange: Exchange, pace: Pace, token: bool },
    Tool(Tool),
}

impl Meeting {
    /// All of a case; none for a case of another kind.
    pub fn all(case: Case, extent: &Extent) -> Vec<Meeting> {
        match case {
            Case::Tls => tls(extent),
            Case::Http2 => http2(),
            Case::Grpc => vec![Meeting {
                peers: vec![Peer::NginxCalls, Peer::EnvoyCalls, Peer::Calls],
                connections: vec![HTTP2_CONNECTIONS],
                detail: "10 calls each",
                load: Load::Tool(Tool::Calls { streams: CALLS_AT_A_TIME }),
            }],
            _ => own(case, extent).into_iter().collect(),
        }
    }

    /// The program that makes the load, where it is not our own.
    pub fn tool(&self) -> Option<Tool> {
        match self.load {
            Load::Tool(tool) => Some(tool),
            Load::Own { .. } => None,
        }
    }

    /// Requests under way on each connection.
    pub fn streams(&self) -> usize {
        match self.load {
            Load::Tool(Tool::Http2 { streams } | Tool::Calls { streams }) => streams,
            Load::Tool(_) | Load::Own { .. } => 1,
        }
    }

    /// What our own load does.
    pub fn plan(&self, proxy: &Proxy, connections: usize, seconds: f64) -> Plan {
        let (exchange, pace, token) = match self.load {
            Load::Own { exchange, pace, token } => (exchange, pace, token),
            Load::Tool(_) => (Exchange::Small, Pace::Closed, false),
        };
        Plan { pace, exchange, token, ..proxy.plan(connections, seconds) }
    }
}

fn own(case: Case, extent: &Extent) -> Option<Meeting> {
    use Peer::{
        Envoy, EnvoyFull, Full, Haproxy, Nginx, NginxLog, NginxTwo, NginxUpgrade, Plain, Routes, Two,
    };
    let (mut peers, exchange, token) = match case {
        Case::Plain | Case::Churn => (vec![Nginx, Haproxy, Envoy, Plain], Exchange::Small, false),
        // The bare ones get the token too: the same bytes for all.
        Case::Full => (vec![Nginx, EnvoyFull, Plain, Full], Exchange::Small, true),
        Case::Routes => (vec![Plain, Routes], Exchange::ManyPaths, false),
        Case::Download => (vec![Nginx, Haproxy, Envoy, Plain], Exchange::Download, false),
        Case::Upload => (vec![Nginx, Haproxy, Envoy, Plain], Exchange::Upload, false),
        Case::Latency => (vec![Nginx, Haproxy, Envoy, EnvoyFull, Plain, Full], Exchange::Small, true),
        Case::Websocket => (vec![NginxUpgrade, Haproxy, Envoy, Plain], Exchange::Message, false),
        Case::Workers => (vec![Nginx, NginxTwo, Plain, Two], Exchange::Small, false),
        Case::Tls | Case::Http2 | Case::Grpc => return None,
        Case::Policies | Case::Identity | Case::Instructions => return None,
        Case::Idle | Case::Entities | Case::Reload | Case::Slow | Case::Attacks => return None,
    };
    if extent.nginx_log && matches!(case, Case::Plain | Case::Full) {
        peers.insert(1, NginxLog);
    }
    let connections = match case {
        Case::Download | Case::Upload => vec![LARGE_CONNECTIONS],
        Case::Latency => vec![LATENCY_CONNECTIONS],
        _ => extent.connections.clone(),
    };
    let pace = match case {
        Case::Latency => Pace::Fixed(extent.rate),
        Case::Churn => Pace::Churn,
        _ => Pace::Closed,
    };
    Some(Meeting { peers, connections, detail: "", load: Load::Own { exchange, pace, token } })
}

fn tls(extent: &Extent) -> Vec<Meeting> {
    let loads = [
        ("keep-alive", extent.connections.clone(), Tool::Tls),
        ("full handshakes", vec![1], Tool::Handshakes { resumed: false }),
        ("resumed", vec![1], Tool::Handshakes { resumed: true }),
    ];
    let meeting = |(detail, connections, tool)| {
        let peers = vec![Peer::NginxTls, Peer::HaproxyTls, Peer::Tls];
        Meeting { peers, connections, detail, load: Load::Tool(tool) }
    };
    loads.into_iter().map(meeting).collect()
}

fn http2() -> Vec<Meeting> {
    let meeting = |(detail, streams)| Meeting {
        peers: vec![Peer::NginxHttp2, Peer::Envoy, Peer::Http2],
        connections: vec![HTTP2_CONNECTIONS],
        detail,
        load: Load::Tool(Tool::Http2 { streams }),
    };
    [("1 stream each", 1), ("10 streams each", 10), ("100 streams each", 100)].map(meeting).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent() -> Extent {
        Extent { seconds: 1.0, rounds: 1, connections: vec![1, 32], rate: 5_000, nginx_log: false }
    }

    fn only(case: Case, extent: &Extent) -> Meeting {
        let mut all = Meeting::all(case, extent);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn every_peer_of_the_full_case_gets_the_same_token() {
        let meeting = only(Case::Full, &extent());
        assert!(matches!(meeting.load, Load::Own { token: true, .. }));
        assert!(meeting.peers.contains(&Peer::Nginx) && meeting.peers.contains(&Peer::Plain));
    }

    #[test]
    fn each_case_has_its_pace() {
        let pace = |case| match only(case, &extent()).load {
            Load::Own { pace, .. } => pace,
            Load::Tool(_) => unreachable!(),
        };
        assert_eq!(pace(Case::Latency), Pace::Fixed(5_000));
        assert_eq!((pace(Case::Plain), pace(Case::Churn)), (Pace::Closed, Pace::Churn));
    }

    #[test]
    fn the_access_log_of_nginx_is_an_extra_peer() {
        let peers = |nginx_log| only(Case::Plain, &Extent { nginx_log, ..extent() }).peers;
        assert!(!peers(false).contains(&Peer::NginxLog));
        assert!(peers(true).contains(&Peer::NginxLog));
    }
}
