//! One list of targets: the last good one, and how its source is doing.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use plugin::services::SourceReport;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::archive::Restored;
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
    /// The list of the last run, in place of its own, which the source has not given yet.
    restored: Option<Arc<Restored>>,
    /// The list of the last run has become too old to be used, and there is no other yet.
    expired: bool,
    /// Why it gives none now.
    trouble: Option<Arc<str>>,
}

impl Listing {
    /// The list that is `sought`, empty as yet.
    pub(super) fn new(sought: &Sought) -> Arc<Self> {
        let (spots, listed) = (Arc::default(), Arc::default());
        let nothing = Now { spots, listed, answered: None, restored: None, expired: false, trouble: None };
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
            age: match &now.restored {
                Some(restored) => Some(restored.age()),
                None => now.answered.map(|answered| answered.elapsed()),
            },
            restored: now.restored.is_some() && !now.expired,
            expired: now.expired,
            trouble: now.trouble.as_deref().map(str::to_owned),
        }
    }

    /// Takes a list that the source has given. Of a target that is listed twice, one counts. Whether it is another one
    /// than before.
    pub(super) fn publish(&self, mut list: Vec<Listed>, lookups: &Lookups) -> bool {
        list.sort_unstable();
        list.dedup_by(|one, other| one.host == other.host && one.port == other.port);
        let before = self.now.load_full();
        let (source, subject, targets) = (self.kind, &*self.subject, list.len());
        let (answered, restored, expired, trouble) = (Some(Instant::now()), None, false, None);
        let is_new = !before.is_known() || *before.listed != *list;
        if is_new {
            let spots = spots(&list, lookups);
            self.replace(Now { spots, listed: list.into(), answered, restored, expired, trouble });
            tracing::debug!(source, subject, targets, "the list of targets has changed");
        } else {
            self.now.store(Arc::new(Now { answered, restored, expired, trouble, ..(*before).clone() }));
        }
        // Told when it can be seen.
        if before.trouble.is_some() || before.restored.is_some() {
            tracing::info!(source, subject, targets, "targets are listed again");
        }
        is_new
    }

    /// Takes the list of the last run, if there is none yet. One that is too old is not used.
    pub(super) fn restore(&self, restored: Restored, lookups: &Lookups) {
        let before = self.now.load_full();
        if before.is_known() {
            return;
        }
        let (spots, listed) = (spots(&restored.list, lookups), restored.list.as_slice().into());
        let restored = Some(Arc::new(restored));
        if self.let_go(restored.as_ref()) {
            self.replace(Now { restored, expired: true, ..(*before).clone() });
            return;
        }
        let (source, subject, targets) = (self.kind, &*self.subject, spots.len());
        let age = restored.as_ref().map(|restored| restored.age().as_secs());
        tracing::warn!(
            source,
            subject,
            targets,
            age,
            "targets are those of the last run until they are listed"
        );
        self.replace(Now { spots, listed, restored, ..(*before).clone() });
    }

    /// Lets the list of the last run go if it has become too old.
    pub(super) fn expire(&self) {
        let before = self.now.load_full();
        if !before.expired && self.let_go(before.restored.as_ref()) {
            let (spots, listed) = (Arc::default(), Arc::default());
            self.replace(Now { spots, listed, expired: true, ..(*before).clone() });
        }
    }

    /// Whether the list of the last run is too old to be used, which is told.
    fn let_go(&self, restored: Option<&Arc<Restored>>) -> bool {
        let Some(restored) = restored.filter(|restored| restored.is_too_old()) else { return false };
        let (source, subject, targets) = (self.kind, &*self.subject, restored.list.len());
        let (age, max_age) = (restored.age().as_secs(), restored.max_age.map(|age| age.as_secs()));
        tracing::error!(
            source,
            subject,
            targets,
            age,
            max_age,
            "targets of the last run are too old to be used"
        );
        true
    }

    /// The targets as they were listed.
    pub(super) fn listed(&self) -> Arc<[Listed]> {
        self.now.load().listed.clone()
    }

    fn replace(&self, now: Now) {
        self.now.store(Arc::new(now));
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

impl Now {
    fn is_known(&self) -> bool {
        self.answered.is_some() || self.restored.is_some()
    }
}

fn spots(list: &[Listed], lookups: &Lookups) -> Arc<[Arc<Spot>]> {
    let spot = |listed: &Listed| Arc::new(Spot::new(&listed.host, listed.port, listed.weight, lookups));
    list.iter().map(spot).collect()
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.closed.notify_one();
    }
}
