//! How an upstream chooses among its addresses (kong.md 5.1).

use model::entity::Upstream;

use super::standing::Measured;

/// The algorithm of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Method {
    /// In turn, by weight.
    RoundRobin,
    /// Where there are the fewest requests for the weight.
    LeastConnections,
    /// Where responses are the fastest for the weight.
    Latency,
    /// The better one of two drawn by weight.
    TwoChoices,
}

impl Method {
    /// What `upstream` asks for.
    pub(super) fn of(upstream: &Upstream) -> Self {
        match upstream.algorithm.as_str() {
            "least-connections" => Self::LeastConnections,
            "latency" => Self::Latency,
            "p2c" => Self::TwoChoices,
            _ => Self::RoundRobin,
        }
    }

    /// What has to be known of the addresses. None where nobody asks how they stand: requests to them then pay for
    /// nothing of it.
    pub(super) fn measured(&self) -> Option<Measured> {
        match self {
            Self::RoundRobin => None,
            Self::LeastConnections => Some(Measured::Number),
            Self::Latency => Some(Measured::Latency),
            Self::TwoChoices => Some(Measured::Peaks),
        }
    }
}
