//! Things that are good once, logins and proofs: known to this process, or to all gateways that share a place for it.

use std::sync::Arc;
use std::time::Duration;

use plugin::Services;
use plugin::remember::Digest;
use plugin::shared::{Joint, Unavailable};

use super::marks::Marks;
use super::refusal::Refusal;

/// Seconds by which the clocks of gateways may differ.
const APART_S: u64 = 60;

/// Things of one kind.
pub(super) struct Once {
    kind: &'static str,
    owner: String,
    own: Arc<Marks>,
    shared: Option<Arc<Joint>>,
}

/// One of them. Moments are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    /// What is used.
    pub(super) thing: Digest,
    /// When it was made.
    pub(super) made_s: u64,
    /// What was made before is over.
    pub(super) oldest_s: u64,
}

impl Once {
    /// Things of this kind and owner.
    pub(super) fn new(
        kind: &'static str,
        owner: &str,
        shared: Option<&Arc<Joint>>,
        services: &Services,
    ) -> Self {
        let own = services.keep(&format!("{kind} {owner}"), Marks::default);
        Self { kind, owner: owner.to_owned(), own, shared: shared.cloned() }
    }

    /// Whether other gateways have to be asked.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether nobody has used it at this gateway.
    pub(super) fn is_first_here(&self, one: &Use) -> bool {
        self.own.set(one.thing, one.made_s, one.oldest_s)
    }

    /// Whether nobody has used it anywhere. Where that cannot be found out, it is not used.
    pub(super) async fn is_first(&self, worker: usize, one: &Use) -> Result<bool, Refusal> {
        let Some(shared) = &self.shared else { return Ok(self.is_first_here(one)) };
        let thing = Digest::of([self.owner.as_bytes(), one.thing.bytes()]);
        let left_s = one.made_s.saturating_sub(one.oldest_s).saturating_add(APART_S);
        let first = shared.is_first(worker, self.kind, &thing, Duration::from_secs(left_s)).await;
        // What has been used here is known even where the shared place has lost it.
        first.map(|first| first && self.is_first_here(one)).map_err(|Unavailable| Refusal::Unavailable)
    }
}
