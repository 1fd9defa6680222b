//! Facts and timings of one request, for its log line.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::clock::millis;

/// One attempt to get an answer from an upstream (kong.md 5.4 `tries`).
#[derive(Debug, Clone)]
pub struct Try {
    /// Address tried.
    pub address: SocketAddr,
    /// Start of the attempt, milliseconds since the epoch.
    pub started_ms: u64,
    /// Time spent choosing the target, microseconds.
    pub balancer_us: u64,
    /// Why it failed: none for the try that brought the response; otherwise the status a client would see.
    pub failed: Option<u16>,
    /// The same by its nature.
    pub trouble: Option<Trouble>,
}

/// What was wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No connection came about, or none in time.
    Unreachable,
    /// The upstream was too slow to take the request or to answer.
    Timeout,
    /// The connection ended before the response did begin.
    Reset,
    /// What came is no response.
    Malformed,
    /// A response came, with a status that made somebody ask again.
    Unwelcome,
    /// Another try, which ran beside it, brought a response first.
    Superseded,
}

/// Facts and timings of one request, for the log phase.
#[derive(Debug)]
pub struct Record {
    /// When the first byte of the head was seen.
    pub started: Instant,
    /// The same in milliseconds since the epoch.
    pub started_ms: u64,
    /// Bytes received: head and body.
    pub request_bytes: u64,
    /// Bytes sent: head and body.
    pub response_bytes: u64,
    /// Bytes of the response body sent.
    pub response_body_bytes: u64,
    /// When the request was handed to an upstream.
    pub upstream_started: Option<Instant>,
    /// When the upstream's response head was complete.
    pub upstream_answered: Option<Instant>,
    /// When the last byte of the response body had come from the upstream.
    pub upstream_finished: Option<Instant>,
    /// The latencies, once the last byte has been handed to the client or the client was given up.
    closed: Option<Latencies>,
    /// Status of the upstream's response, before rooms changed it.
    pub upstream_status: Option<u16>,
    /// Attempts in order.
    pub tries: Vec<Try>,
    /// What kept the rest of the upstream's response from coming, once its head had. A client that leaves is not it.
    pub broken: Option<Trouble>,
    /// The response did not reach the client whole.
    pub aborted: bool,
    /// What the request has cost, in thousandths of a unit, if a room has found out.
    pub cost: Option<u32>,
}

impl Record {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            started_ms: 0,
            request_bytes: 0,
            response_bytes: 0,
            response_body_bytes: 0,
            upstream_started: None,
            upstream_answered: None,
            upstream_finished: None,
            closed: None,
            upstream_status: None,
            tries: Vec::new(),
            broken: None,
            aborted: false,
            cost: None,
        }
    }

    pub(super) fn clear(&mut self, started: Instant, started_ms: u64) {
        let mut tries = std::mem::take(&mut self.tries);
        tries.clear();
        *self = Self { started, started_ms, tries, ..Self::new(started) };
    }

    /// The last byte was handed to the client, or the client given up, at `finished`.
    pub fn close(&mut self, finished: Instant) {
        self.closed = Some(Latencies::at(self, finished));
    }

    /// The latencies of a record that has been closed; of one that is open, as they stand now.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        self.closed.unwrap_or_else(|| Latencies::at(self, Instant::now()))
    }
}
/// Latencies of an exchange in milliseconds (kong.md 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latencies {
    /// From the first byte of the request to the last byte of the response.
    pub request: u64,
    /// Spent waiting for the upstream's response head; none if no upstream was asked.
    pub proxy: Option<u64>,
    /// Spent in the gateway itself.
    pub kong: u64,
    /// From the upstream's response head to its last byte.
    pub receive: u64,
}

impl Latencies {
    /// The latencies as they stand at `finished`.
    #[must_use]
    pub fn at(record: &Record, finished: Instant) -> Self {
        let total = finished.saturating_duration_since(record.started);
        let proxy = record
            .upstream_started
            .map(|start| record.upstream_answered.unwrap_or(finished).saturating_duration_since(start));
        let receive = match (record.upstream_answered, record.upstream_finished) {
            (Some(answered), Some(last)) => last.saturating_duration_since(answered),
            _ => Duration::ZERO,
        };
        let kong = total.saturating_sub(proxy.unwrap_or_default()).saturating_sub(receive);
        Self {
            request: millis(total),
            proxy: proxy.map(millis),
            kong: millis(kong),
            receive: millis(receive),
        }
    }
}
