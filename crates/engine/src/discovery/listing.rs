//! One list of targets: the last good one, and how its source is doing.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use plugin::services::SourceReport;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sought::Sought;
use super::{Listed, Trouble};
use crate::balance::Spot;
use crate::dns::{Follower, Lookups};

/// A list of targets, and what is known of its source.
pub(crate) struct Listing {
    kind: &'static str,
    subject: Box<str>,
    now: ArcSwap<Now>,
    followers: Mutex<Vec<Weak<dyn Follower>>>,
    /// Told when nobody wants the list any more.
    pub(super) closed: Arc<Notify>,
}

/// The list as it is now.
#[derive(Clone)]
pub(crate) struct Now {
    /// The targets, made ready for balancers.
    pub spots: Arc<[Arc<Spot>]>,
    /// The same as they were listed, in order.
    listed: Arc<[Listed]>,
    /// When the source last gave a list.
    answered: Option<Instant>,
    /// Why it gives none now.
    trouble: Option<Arc<str>>,
}

impl Listing {
    /// The list that is `sought`, empty as yet.
    pub(super) fn new(sought: &Sought) -> Arc<Self> {
        let nothing = Now { spots: Arc::default(), listed: Arc::default(), answered: None, trouble: None };
        Arc::new(Self {
            kind: sought.kind(),
            subject: sought.subject().into(),
            now: ArcSwap::from_pointee(nothing),
            followers: Mutex::default(),
            closed: Arc::default(),
        })
    }

    /// What is known now. Takes no lock.
    pub(crate) fn now(&self) -> Guard<Arc<Now>> {
        self.now.load()
    }

    /// Calls `follower` after each change, for as long as it lives.
    pub(crate) fn follow(&self, follower: Weak<dyn Follower>) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|old| old.strong_count() > 0);
        followers.push(follower);
    }

    /// How its source is doing, for those who look after the gateway.
    pub(crate) fn report(&self, upstream: &str) -> SourceReport {
        let now = self.now.load();
        SourceReport {
            upstream: upstream.to_owned(),
            source: self.kind,
            up: now.trouble.is_none() && now.answered.is_some(),
            targets: now.listed.len(),
            age: now.answered.map(|answered| answered.elapsed()),
            trouble: now.trouble.as_deref().map(str::to_owned),
        }
    }

    /// Takes a list that the source has given. Of a target that is listed twice, one counts.
    pub(super) fn publish(&self, mut list: Vec<Listed>, lookups: &Lookups) {
        list.sort_unstable();
        list.dedup_by(|one, other| one.host == other.host && one.port == other.port);
        let before = self.now.load_full();
        let (source, subject, targets) = (self.kind, &*self.subject, list.len());
        let answered = Some(Instant::now());
        let is_new = before.answered.is_none() || *before.listed != *list;
        if is_new {
            let spot =
                |listed: &Listed| Arc::new(Spot::new(&listed.host, listed.port, listed.weight, lookups));
            let spots = list.iter().map(spot).collect();
            self.now.store(Arc::new(Now { spots, listed: list.into(), answered, trouble: None }));
        } else {
            self.now.store(Arc::new(Now { answered, trouble: None, ..(*before).clone() }));
        }
        // Told when it can be seen.
        if before.trouble.is_some() {
            tracing::info!(source, subject, targets, "targets are listed again");
        }
        if !is_new {
            return;
        }
        tracing::debug!(source, subject, targets, "the list of targets has changed");
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for follower in followers.iter().filter_map(Weak::upgrade) {
            follower.addresses_changed();
        }
    }

    /// Notes that the source gave no list. The last one stays.
    pub(super) fn fail(&self, trouble: &Trouble) {
        let before = self.now.load_full();
        if before.trouble.as_deref() == Some(&trouble.reason) {
            return;
        }
        let (source, subject, kept) = (self.kind, &*self.subject, before.listed.len());
        let reason = &*trouble.reason;
        self.now.store(Arc::new(Now { trouble: Some(reason.into()), ..(*before).clone() }));
        tracing::error!(source, subject, reason, kept, "targets are not listed; the last list is kept");
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.closed.notify_one();
    }
}
