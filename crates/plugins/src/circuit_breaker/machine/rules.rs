//! When a breaker opens and closes.

use crate::circuit_breaker::window::WindowRule;

/// When the breaker opens and closes. Times in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Failures in a row that open it.
    pub consecutive: Option<u32>,
    /// Shares of failures and slow responses that open it.
    pub rates: Option<Rates>,
    /// How long it stays open the first time.
    pub open_ms: u64,
    /// By what that grows each time a probe fails.
    pub growth: f64,
    /// How long it stays open at most.
    pub most_open_ms: u64,
    /// Probes at a time.
    pub probes: usize,
    /// Probes that must succeed.
    pub successes: u32,
    /// After which a probe is given up.
    pub lease_ms: u64,
}

/// What opens the breaker over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The window.
    pub window: WindowRule,
    /// Below so many responses it does not open.
    pub minimum: u32,
    /// Share of failures.
    pub failures: Option<f64>,
    /// Share of slow responses.
    pub slow: Option<f64>,
}
