//! What the engine tells of upstreams, for the Admin API and metrics, and takes orders about.

use std::time::Duration;

/// Health of one address of an upstream's target, for metrics (kong.md 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// Name of the upstream.
    pub upstream: String,
    /// `host:port` of the target entity.
    pub target: String,
    /// `ip:port` it stands for; empty when the name does not resolve.
    pub address: String,
    /// `healthchecks_off`, `healthy`, `unhealthy` or `dns_error`.
    pub state: &'static str,
    /// The weight of a target that is listed elsewhere; none for those in the configuration.
    pub discovered: Option<u16>,
}

/// How a source of targets is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// Name of the upstream.
    pub upstream: String,
    /// `file` or `consul`.
    pub source: &'static str,
    /// Whether it answered when it was last asked.
    pub up: bool,
    /// Targets in the last good list.
    pub targets: usize,
    /// Since it last gave a list; none before the first.
    pub age: Option<Duration>,
    /// The list is of the last run: in this one the source has given none yet.
    pub restored: bool,
    /// That of the last run is too old to be used, and the source has given no other.
    pub expired: bool,
    /// Why it gives none.
    pub trouble: Option<String>,
}

/// Connections to an address of an upstream that bounds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolReport {
    /// Name of the upstream.
    pub upstream: String,
    /// `ip:port`.
    pub address: String,
    /// Connections that are open, idle or not.
    pub connections: u32,
    /// Requests that wait for one.
    pub waiting: u32,
}

/// Names that are in use, by what is known of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// Not looked up yet.
    pub pending: u64,
    /// With fresh addresses.
    pub resolved: u64,
    /// With addresses that could not be renewed.
    pub stale: u64,
    /// Without any.
    pub failed: u64,
}

/// What is known of where targets come from, and of the connections to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoveryReport {
    /// Sources of targets, by upstream.
    pub sources: Vec<SourceReport>,
    /// Names.
    pub names: NameCounts,
    /// Connections, where they are bounded.
    pub pools: Vec<PoolReport>,
}

/// A change of the health of addresses by hand, until what is found out says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthOrder<'a> {
    /// Name of the upstream.
    pub upstream: &'a str,
    /// `host:port` of the target entity.
    pub target: &'a str,
    /// `ip:port` of the only address that is meant; all of the target without one.
    pub address: Option<&'a str>,
    /// What it is to be.
    pub healthy: bool,
}
