//! The addresses of one upstream together: which of them may be used, in view of the others.

use std::net::SocketAddr;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use tokio::time::Instant;

use super::checks::Check;
use super::outliers::{Cause, Ejection, Limits};
use crate::balance::{Member, Standing};

/// One upstream.
pub struct Ward {
    known: AHashMap<SocketAddr, Known>,
    mode: Mode,
    /// When the samples of the running interval began to be gathered.
    sampled: Instant,
}

/// An address of it.
struct Known {
    standing: Arc<Standing>,
    ejection: Ejection,
    /// What the log said of it last.
    told_healthy: bool,
}

/// What follows for all from how many are healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The healthy ones are used.
    Normal,
    /// Too few are: none is used (kong.md 5.2).
    Closed,
    /// So few are that health is no guide: all are used.
    Panic,
}

impl Ward {
    pub fn new(now: Instant) -> Self {
        Self { known: AHashMap::new(), mode: Mode::Normal, sampled: now }
    }

    /// Draws the consequences of what has become known of the addresses. When to look again at the latest.
    pub fn settle(&mut self, check: &Check, now: Instant) -> Option<Instant> {
        let mut members = check.balancer.members();
        // An address of two targets is one address.
        let mut seen = AHashSet::new();
        members.retain(|member| seen.insert(member.address));
        self.follow(check, &members, now);
        match &check.rules.outliers {
            Some(limits) => self.compare(check, limits, &members, now),
            None => self.pardon(&members),
        }
        self.tell_changes(check, &members);
        self.decide(check, &members);
        self.apply(&members, now);
        let ends = self.known.values().filter_map(|known| known.ejection.until()).min();
        let interval = check.rules.outliers.as_ref().map(|limits| self.sampled + limits.interval);
        ends.into_iter().chain(interval).min()
    }

    /// Forgets the addresses.
    pub fn leave(&mut self, now: Instant) {
        for (_, known) in self.known.drain() {
            known.forget(now);
        }
    }

    fn follow(&mut self, check: &Check, members: &[Member], now: Instant) {
        let current: AHashSet<SocketAddr> = members.iter().map(|member| member.address).collect();
        for (_, known) in self.known.extract_if(|address, _| !current.contains(address)) {
            known.forget(now);
        }
        for member in members {
            member.standing.health().adopt(&check.rules);
            let known = || Known {
                standing: member.standing.clone(),
                ejection: Ejection::default(),
                told_healthy: true,
            };
            let entry = self.known.entry(member.address).or_insert_with(known);
            if !Arc::ptr_eq(&entry.standing, &member.standing) {
                *entry = known();
            }
        }
    }

    /// Nobody is compared any more.
    fn pardon(&mut self, members: &[Member]) {
        for member in members {
            member.standing.health().eject(false);
        }
        self.known.values_mut().for_each(|known| known.ejection = Ejection::default());
    }

    /// Leaves out who does worse than the others, and lets come back whose time is over.
    fn compare(&mut self, check: &Check, limits: &Limits, members: &[Member], now: Instant) {
        for member in members {
            let Some(known) = self.known.get_mut(&member.address) else { continue };
            if known.ejection.end(now)
                || (!member.standing.health().is_ejected() && known.ejection.until().is_some())
            {
                known.end(check, member);
            }
        }
        let row = limits.consecutive_failures;
        for member in
            members.iter().filter(|member| row > 0 && member.standing.health().failures_in_a_row() >= row)
        {
            member.standing.health().end_row();
            self.eject(check, limits, members, member, (Cause::FailuresInARow, now));
        }
        if now.duration_since(self.sampled) >= limits.interval {
            self.sampled = now;
            let samples: Vec<_> =
                members.iter().map(|member| member.standing.health().take_sample()).collect();
            let outliers = limits.outliers(&samples);
            for (index, member) in members.iter().enumerate() {
                match outliers.iter().find(|(outlier, _)| *outlier == index) {
                    Some((_, cause)) => self.eject(check, limits, members, member, (*cause, now)),
                    None => {
                        if let Some(known) = self.known.get_mut(&member.address) {
                            known.ejection.forgive();
                        }
                    }
                }
            }
        }
    }

    /// Leaves an address out, unless there would be too many of them, or nobody left.
    fn eject(
        &mut self,
        check: &Check,
        limits: &Limits,
        members: &[Member],
        outlier: &Member,
        (cause, now): (Cause, Instant),
    ) {
        let health = outlier.standing.health();
        let others = members.iter().filter(|member| member.address != outlier.address);
        let others_left = others.filter(|member| member.is_fine()).count();
        let ejected = members.iter().filter(|member| member.standing.health().is_ejected()).count();
        let address = outlier.address;
        if health.is_ejected() || others_left == 0 || ejected >= limits.most(members.len()) {
            return;
        }
        let Some(known) = self.known.get_mut(&address) else { return };
        known.ejection.begin(now, limits);
        health.eject(true);
        let (upstream, target) = (&*check.rules.upstream, &*outlier.target);
        let seconds = known.ejection.until().map(|until| until.duration_since(now).as_secs_f64());
        tracing::warn!(upstream, target, %address, cause = cause.name(), seconds, "an outlier is left out");
    }

    fn tell_changes(&mut self, check: &Check, members: &[Member]) {
        let upstream = &*check.rules.upstream;
        for member in members {
            let Some(known) = self.known.get_mut(&member.address) else { continue };
            let healthy = member.standing.health().is_healthy();
            if std::mem::replace(&mut known.told_healthy, healthy) == healthy {
                continue;
            }
            let (target, address) = (&*member.target, member.address);
            if healthy {
                tracing::info!(upstream, target, %address, "a target is healthy again");
            } else {
                tracing::warn!(upstream, target, %address, "a target is unhealthy");
            }
        }
    }

    fn decide(&mut self, check: &Check, members: &[Member]) {
        let weight =
            |members: &mut dyn Iterator<Item = &Member>| members.map(|member| member.weight).sum::<u64>();
        let total = weight(&mut members.iter());
        let healthy = weight(&mut members.iter().filter(|member| member.standing.health().is_healthy()));
        let mode = match &check.rules.healthchecks {
            rules if rules.is_panic(healthy, total) => Mode::Panic,
            rules if total > 0 && rules.is_too_little(healthy, total) => Mode::Closed,
            _ => Mode::Normal,
        };
        if std::mem::replace(&mut self.mode, mode) == mode {
            return;
        }
        let upstream = &*check.rules.upstream;
        match mode {
            Mode::Normal => tracing::info!(upstream, healthy, total, "enough of the weight is healthy again"),
            Mode::Closed => {
                tracing::error!(
                    upstream,
                    healthy,
                    total,
                    "too little of the weight is healthy: requests are refused"
                );
            }
            Mode::Panic => {
                tracing::error!(
                    upstream,
                    healthy,
                    total,
                    "so little of the weight is healthy that all targets are used"
                );
            }
        }
    }

    fn apply(&self, members: &[Member], now: Instant) {
        // Ejections never leave nobody: what the others are compared by may have become unhealthy since.
        let any_fine = members.iter().any(Member::is_fine);
        for member in members {
            let health = member.standing.health();
            let available = match self.mode {
                Mode::Normal => health.is_healthy() && !(health.is_ejected() && any_fine),
                Mode::Closed => false,
                Mode::Panic => true,
            };
            member.standing.set_available(available, now);
        }
    }
}

impl Member {
    /// Whether it is healthy and not left out.
    fn is_fine(&self) -> bool {
        let health = self.standing.health();
        health.is_healthy() && !health.is_ejected()
    }
}

impl Known {
    fn forget(self, now: Instant) {
        self.standing.health().forget();
        self.standing.set_available(true, now);
    }

    /// The time is over, or somebody set it healthy by hand.
    fn end(&mut self, check: &Check, member: &Member) {
        let (upstream, target, address) = (&*check.rules.upstream, &*member.target, member.address);
        self.ejection.stop();
        member.standing.health().eject(false);
        tracing::info!(upstream, target, %address, "an outlier is given another chance");
    }
}
