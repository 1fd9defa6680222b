//! What an outcome of traffic, or of a probe, says about the health of an address.

use model::entity::{Active, Passive};

use super::counters::{Sign, Thresholds};
use crate::balance::{Outcome, Trouble};

/// A set of statuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statuses([u64; 16]);

/// How statuses are judged, and how many of them count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// Those that are a success.
    pub healthy: Statuses,
    /// Those that are a failure.
    pub unhealthy: Statuses,
    /// How many in a row.
    pub thresholds: Thresholds,
}

impl Statuses {
    fn new(listed: &[u16]) -> Self {
        let mut bits = [0; 16];
        for status in listed.iter().filter(|status| **status < 1024) {
            bits[usize::from(status / 64)] |= 1 << (status % 64);
        }
        Self(bits)
    }

    #[inline]
    fn contain(&self, status: u16) -> bool {
        self.0.get(usize::from(status / 64)).is_some_and(|bits| bits >> (status % 64) & 1 == 1)
    }
}

impl Judgement {
    /// That of traffic.
    pub fn passive(passive: &Passive) -> Self {
        let (healthy, unhealthy) = (&passive.healthy, &passive.unhealthy);
        Self {
            healthy: Statuses::new(&healthy.http_statuses),
            unhealthy: Statuses::new(&unhealthy.http_statuses),
            thresholds: Thresholds {
                successes: healthy.successes,
                tcp_failures: unhealthy.tcp_failures,
                http_failures: unhealthy.http_failures,
                timeouts: unhealthy.timeouts,
            },
        }
    }

    /// That of probes.
    pub fn active(active: &Active) -> Self {
        let (healthy, unhealthy) = (&active.healthy, &active.unhealthy);
        Self {
            healthy: Statuses::new(&healthy.http_statuses),
            unhealthy: Statuses::new(&unhealthy.http_statuses),
            thresholds: Thresholds {
                successes: healthy.successes,
                tcp_failures: unhealthy.tcp_failures,
                http_failures: unhealthy.http_failures,
                timeouts: unhealthy.timeouts,
            },
        }
    }

    /// What a status says; one that is in neither list says nothing.
    #[inline]
    pub fn of_status(&self, status: u16) -> Option<Sign> {
        if self.healthy.contain(status) {
            Some(Sign::Success)
        } else {
            self.unhealthy.contain(status).then_some(Sign::HttpFailure)
        }
    }

    /// What came of a request. 504 is a timeout, whoever says so (kong.md 5.2).
    #[inline]
    pub fn of_outcome(&self, outcome: Outcome) -> Option<Sign> {
        match outcome {
            Outcome::Connected => Some(Sign::Success),
            Outcome::Responded(504) | Outcome::Failed(Trouble::Late) => Some(Sign::Timeout),
            Outcome::Responded(status) => self.of_status(status),
            Outcome::Failed(Trouble::Unreachable | Trouble::Broken) => Some(Sign::TcpFailure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_judged_as_kong_does() {
        let judgement = Judgement {
            healthy: Statuses::new(&[200, 404]),
            unhealthy: Statuses::new(&[500, 503, 504, 999]),
            thresholds: Thresholds::default(),
        };
        let cases = [
            (Outcome::Responded(200), Some(Sign::Success)),
            (Outcome::Responded(404), Some(Sign::Success)),
            (Outcome::Responded(201), None),
            (Outcome::Responded(503), Some(Sign::HttpFailure)),
            (Outcome::Responded(999), Some(Sign::HttpFailure)),
            (Outcome::Responded(u16::MAX), None),
            (Outcome::Responded(504), Some(Sign::Timeout)),
            (Outcome::Connected, Some(Sign::Success)),
            (Outcome::Failed(Trouble::Late), Some(Sign::Timeout)),
            (Outcome::Failed(Trouble::Unreachable), Some(Sign::TcpFailure)),
            (Outcome::Failed(Trouble::Broken), Some(Sign::TcpFailure)),
        ];
        for (outcome, sign) in cases {
            assert_eq!(judgement.of_outcome(outcome), sign, "{outcome:?}");
        }
    }
}
