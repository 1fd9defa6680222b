//! What stands in for services in the harness: targets that are well or not, and one response.

use std::net::SocketAddr;

use wire::Known;

use super::Harness;
use crate::exchange::{Exchange, Source, Trouble, Try};
use crate::guard::{Instead, Nowhere};
use crate::reply::Body;
use crate::views::Access;

/// What the upstream answers.
#[derive(Debug, Clone)]
pub struct UpstreamResponse {
    /// Status code.
    pub status: u16,
    /// Fields.
    pub headers: Vec<(&'static str, String)>,
    /// Body, given to `body_filter` in two pieces where a room observes it.
    pub body: Vec<u8>,
    /// What keeps the rest of the body from coming.
    pub broken: Option<Trouble>,
    /// The targets that do not answer, and what is wrong with them.
    pub down: Vec<(SocketAddr, Trouble)>,
}

impl Default for UpstreamResponse {
    fn default() -> Self {
        Self {
            status: 200,
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: b"{\"ok\":true}".to_vec(),
            broken: None,
            down: Vec::new(),
        }
    }
}

impl Harness {
    /// Asks targets in turn, as the engine does, until one is well. Whether there is another answer than its response.
    pub(super) fn ask_targets(&self, exchange: &mut Exchange) -> bool {
        while !exchange.is_barred() {
            let may = |target: &&SocketAddr| {
                exchange
                    .guard
                    .as_ref()
                    .is_none_or(|guard| guard.allows(exchange, **target) && guard.enter(exchange, **target))
            };
            let is_new =
                |target: &&SocketAddr| exchange.record.tries.iter().all(|one| one.address != **target);
            let Some(address) = self.targets.iter().filter(is_new).find(may).copied() else { break };
            let down = self.upstream.down.iter().find(|(target, _)| *target == address);
            let (trouble, failed) = (down.map(|(_, trouble)| *trouble), down.map(|_| 502));
            exchange.record.tries.push(Try { address, started_ms: 0, balancer_us: 0, failed, trouble });
            if trouble.is_none() {
                return false;
            }
        }
        let tries = exchange.record.tries.len();
        exchange.reply.clear();
        exchange.reply.status = if tries == 0 { 503 } else { 502 };
        let trouble = exchange.record.tries.last().and_then(|attempt| attempt.trouble);
        let why = match trouble {
            None if self.targets.is_empty() => Nowhere::NoTarget,
            Some(Trouble::Unreachable) if tries == self.targets.len() => Nowhere::Unreachable,
            Some(_) if tries == self.targets.len() => return true,
            _ => Nowhere::Barred,
        };
        let guard = exchange.guard.take();
        let instead = guard.and_then(|guard| guard.stand_in(&mut Access::apart(exchange), why));
        instead != Some(Instead::SentElsewhere)
    }

    pub(super) fn fill_response(&self, exchange: &mut Exchange, answered: bool) -> (Option<String>, Vec<u8>) {
        if !answered {
            exchange.source = Source::Upstream;
            exchange.record.upstream_status = Some(self.upstream.status);
            exchange.response.status = self.upstream.status;
            for (name, value) in &self.upstream.headers {
                exchange.response.headers.append(name, value.as_bytes());
            }
            let length = self.upstream.body.len().to_string();
            if !exchange.response.headers.contains_known(Known::TransferEncoding) {
                exchange.response.headers.set_known(Known::ContentLength, length.as_bytes());
            }
            return (None, self.upstream.body.clone());
        }
        if exchange.reply.stands_in {
            exchange.source = Source::Upstream;
        }
        exchange.response.status = exchange.reply.status;
        exchange.response.headers = std::mem::take(&mut exchange.reply.headers);
        match std::mem::take(&mut exchange.reply.body) {
            Body::Empty => (None, Vec::new()),
            Body::Bytes(bytes) => (None, bytes.to_vec()),
            Body::Message(message) => {
                let body = serde_json::json!({ "message": message }).to_string().into_bytes();
                exchange.response.headers.set("Content-Type", b"application/json; charset=utf-8");
                (Some(message.into_owned()), body)
            }
        }
    }
}
