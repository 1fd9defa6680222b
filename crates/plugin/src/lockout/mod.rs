//! Who has failed too often to be let try again: failures to prove a credential, counted in bounded memory.
//!
//! A failure counts for the credential at the client's address, for the credential everywhere and for the address whatever
//! it tries; the last two bear [`WIDER`] times as many. A success clears the first count only: otherwise who has a
//! password of its own, or watches others use theirs, could guess on for ever. Until somebody has failed, asking costs one
//! load. All times are of the clock that nobody sets, see [`Exchange::steady_ms`](crate::Exchange::steady_ms), so that nobody is
//! locked out for longer, or let try more often, when the one on the wall is set.
//!
//! A credential is judged first, and the caller hears of it only if it may: what is found out at once by [`Guard::settle`], what
//! takes a while by [`Guard::begin`] and [`Begun`], so that no more attempts are under way at once than may fail. Gateways that
//! share a Redis ask its [`tally`] before they tell; while it does not answer, each counts by itself.

pub mod fields;
mod tally;
mod under_way;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::figures::{Family, Figure};
use crate::flow::{Flow, Resume};
use crate::limits::{Algorithm, Demand, Limit, Refused, Span, Table};
use crate::redis::Store;
use crate::services::Services;
use crate::views::Access;

pub use fields::{Bounds, Counting, Protection};
use tally::{Names, Tally};
pub use under_way::Begun;
use under_way::UnderWay;

#[cfg(test)]
mod tests;

/// Failures that a credential or an address bears, in those of a credential at an address.
pub const WIDER: u32 = 10;

/// Buckets of a shard: 262,144 callers in all, of 32 bytes each.
const MOST_BUCKETS: usize = 512;

static DISPLACED: Family = Family::count(
    "authentication_failures_displaced_total",
    "Counts of failures to authenticate that were forgotten for want of room, or counted together with others",
);
static REFUSED: Family = Family::count(
    "authentication_refused_total",
    "Attempts to authenticate that were not looked at because of failures before",
);

/// How many failures there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Failures of a credential at an address, at least one.
    pub failures: u32,
    /// Seconds in which they count, at least one.
    pub window: u32,
}

/// The counts of one instance of a plugin; see [`Services::keep`].
pub struct Lockout {
    table: Table,
    /// From when on nothing of what has failed counts.
    quiet_from_ms: AtomicU64,
    under_way: UnderWay,
    refused: Arc<Figure>,
}

/// The counts, and what they are held against.
pub struct Guard {
    lockout: Arc<Lockout>,
    near: Limit,
    wide: Limit,
    window_ms: u64,
    /// What gateways count together, if they do.
    tally: Option<Tally>,
    /// Whose failures never give way to others'; see [`Table::hold`].
    _held: Arc<[Limit]>,
}

/// Somebody tries to prove a credential.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The credential at the address, the credential, the address. Where credentials are not told apart, the address alone
    /// is the first.
    keys: [Option<u128>; 3],
    /// The same for all gateways.
    names: Names,
    now_ms: u64,
    /// Whether a success clears the first count.
    clears: bool,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The credential is right.
    Right,
    /// It is wrong.
    Wrong,
    /// It is wrong, and that has been counted, as somebody else asked the same at the same time.
    Counted,
}

impl Outcome {
    /// What an attempt came to that was judged so.
    pub fn of<T, E>(judged: &Result<T, E>) -> Self {
        if judged.is_ok() { Self::Right } else { Self::Wrong }
    }
}

/// An attempt is not looked at for so many seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedOut(pub u64);

impl Guard {
    /// The guard of an instance of `plugin`, which counts in this process, or with others in a store. All that have the same
    /// rules count together, so that nobody has more attempts for there being more routes.
    #[must_use]
    pub fn new(services: &Services, plugin: &str, rules: Rules, store: Option<Arc<Store>>) -> Arc<Self> {
        Arc::new(Self::bounded(services, plugin, rules, (store, MOST_BUCKETS)))
    }

    fn bounded(
        services: &Services,
        plugin: &str,
        rules: Rules,
        (store, most_buckets): (Option<Arc<Store>>, usize),
    ) -> Self {
        let limit = |failures: u32| {
            Limit::new(Span::Seconds(rules.window.max(1)), Algorithm::Sliding, f64::from(failures.max(1)))
        };
        let (near, wide) = (limit(rules.failures), limit(rules.failures.saturating_mul(WIDER)));
        let scope = format!("{plugin}:{}:{}", rules.failures, rules.window);
        let lockout = services.keep(&scope, || Lockout {
            table: Table::bounded(1, services.figures.of(&DISPLACED, &[]), most_buckets),
            quiet_from_ms: AtomicU64::new(0),
            under_way: UnderWay::default(),
            refused: services.figures.of(&REFUSED, &[]),
        });
        let held: Arc<[Limit]> = Arc::new([near.clone()]);
        lockout.table.hold(&held);
        // A failure counts in the window that it falls into and fades in the one after.
        let window_ms = u64::from(rules.window.max(1)) * 2000;
        let tally = store.map(|store| Tally::new(store, scope));
        Self { lockout, near, wide, window_ms, tally, _held: held }
    }

    /// An attempt to prove `credential`, by whatever name it goes, from `address` at `now_ms`.
    #[must_use]
    pub fn attempt(&self, credential: &[u8], address: IpAddr, now_ms: u64) -> Attempt {
        let place = network(address).octets();
        let mut both = SmallVec::<[u8; 80]>::from_slice(&place);
        both.extend_from_slice(credential);
        self.attempt_with([Some((0, &both)), Some((1, credential)), Some((2, &place))], now_ms, true)
    }

    /// An attempt from `address` at `now_ms` to prove one of so many credentials that each guess is of another, a key for
    /// instance. Only the address counts, bears the failures of a credential at an address, and is cleared by nothing.
    #[must_use]
    pub fn attempt_of(&self, address: IpAddr, now_ms: u64) -> Attempt {
        self.attempt_with([Some((3, &network(address).octets())), None, None], now_ms, false)
    }

    fn attempt_with(&self, counted: [Option<(u8, &[u8])>; 3], now_ms: u64, clears: bool) -> Attempt {
        let keys = counted.map(|counted| counted.map(|(kind, of)| self.lockout.table.key(kind, of)));
        let names = if self.tally.is_some() { tally::names(counted) } else { Names::default() };
        Attempt { keys, names, now_ms, clears }
    }

    /// Goes on with a request whose credential has been judged: `then` learns whether the caller may hear of it. Nothing is
    /// counted of somebody whose credential is right while nobody has failed of late.
    pub fn settle(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        attempt: impl FnOnce(&Self, &Access<'_>) -> Attempt,
        outcome: Outcome,
        then: impl FnOnce(&mut Access<'_>, Result<(), LockedOut>) -> Flow + 'static,
    ) -> Flow {
        if !self.is_shared() {
            let nothing_counts = outcome == Outcome::Right && self.is_quiet(cx.steady_ms());
            let said = if nothing_counts { Ok(()) } else { self.rule_here(&attempt(self, cx), outcome) };
            return then(cx, said);
        }
        let (guard, attempt, worker) = (self.clone(), attempt(self, cx), cx.worker.index);
        Flow::wait(async move {
            let said = guard.rule(worker, &attempt, outcome).await;
            let resume: Resume = Box::new(move |cx| then(cx, said));
            resume
        })
    }

    /// Whether the caller may hear what an attempt came to, which counts.
    ///
    /// # Errors
    /// How long it may not.
    pub async fn rule(&self, worker: usize, attempt: &Attempt, outcome: Outcome) -> Result<(), LockedOut> {
        match self.ask(worker, attempt, Some(outcome)).await {
            Some(said) => said,
            None => self.rule_here(attempt, outcome),
        }
    }

    /// What all gateways together know, where they do.
    async fn ask(
        &self,
        worker: usize,
        attempt: &Attempt,
        outcome: Option<Outcome>,
    ) -> Option<Result<(), LockedOut>> {
        let limits = [&self.near, &self.wide, &self.wide];
        let said = self.tally.as_ref()?.ask(worker, limits, attempt, outcome).await.ok()?;
        if said.is_err() {
            self.lockout.refused.add(1);
        }
        Some(said)
    }

    fn rule_here(&self, attempt: &Attempt, outcome: Outcome) -> Result<(), LockedOut> {
        self.check(attempt, &self.lockout.under_way.counts())?;
        match outcome {
            Outcome::Right => self.succeeded(attempt),
            Outcome::Wrong => self.failed(attempt),
            Outcome::Counted => {}
        }
        Ok(())
    }

    /// Whether others are to be asked, so that what is known here does not decide.
    fn is_shared(&self) -> bool {
        self.tally.as_ref().is_some_and(|tally| !tally.is_silent())
    }

    /// Whether nothing has failed of late, so that no attempt need be made of a request.
    fn is_quiet(&self, now_ms: u64) -> bool {
        now_ms >= self.lockout.quiet_from_ms.load(Ordering::Relaxed)
    }

    /// Whether the attempt may be looked at. Those that are under way have not failed.
    fn check(&self, attempt: &Attempt, under_way: &AHashMap<u128, u32>) -> Result<(), LockedOut> {
        let waits = self.each(attempt, |key, limit, mut demand| {
            demand.limit = demand.limit.saturating_add(under_way.get(&key).copied().unwrap_or(0));
            let verdict = self.lockout.table.look(key, &[demand]);
            let wait_ms = limit.wait_ms(&verdict, 0, limit.window(attempt.now_ms), attempt.now_ms);
            if verdict.admitted { 0 } else { wait_ms.max(1) }
        });
        match waits.into_iter().flatten().max() {
            None | Some(0) => Ok(()),
            Some(wait_ms) => {
                self.lockout.refused.add(1);
                Err(LockedOut(wait_ms.div_ceil(1000)))
            }
        }
    }

    /// Counts a failure.
    fn failed(&self, attempt: &Attempt) {
        self.disturb(attempt);
        self.each(attempt, |key, _, demand| {
            self.lockout.table.take(key, &[demand], 1, Refused::Counted);
        });
    }

    /// Counts a failure where each count has room for one.
    fn take(&self, attempt: &Attempt) -> bool {
        self.disturb(attempt);
        let table = &self.lockout.table;
        let counted =
            self.each(attempt, |key, _, demand| table.take(key, &[demand], 1, Refused::Forgotten).admitted);
        if !counted.contains(&Some(false)) {
            return true;
        }
        let mut counted = counted.into_iter().flatten();
        self.each(attempt, |key, _, demand| {
            if counted.next() == Some(true) {
                table.withdraw(key, &[demand]);
            }
        });
        false
    }

    fn disturb(&self, attempt: &Attempt) {
        self.lockout.quiet_from_ms.fetch_max(attempt.now_ms + self.window_ms, Ordering::Relaxed);
    }

    /// Forgets what has failed for the credential at the address.
    fn succeeded(&self, attempt: &Attempt) {
        if let Some(near) = attempt.keys[0].filter(|_| attempt.clears) {
            self.lockout.table.forget(near);
        }
    }

    /// Takes back a failure that has been counted in advance.
    fn withdraw(&self, attempt: &Attempt) {
        self.each(attempt, |key, _, demand| self.lockout.table.withdraw(key, &[demand]));
    }

    fn each<T>(&self, attempt: &Attempt, mut look: impl FnMut(u128, &Limit, Demand) -> T) -> [Option<T>; 3] {
        let now_ms = attempt.now_ms;
        let [near, credential, address] = attempt.keys;
        [(near, &self.near), (credential, &self.wide), (address, &self.wide)]
            .map(|(key, limit)| Some(look(key?, limit, limit.demand(limit.window(now_ms), now_ms))))
    }
}

impl LockedOut {
    /// The answer to whoever is locked out.
    pub fn answer(self, cx: &mut Access<'_>) -> Flow {
        let answer = cx.answer(429).header("Retry-After", self.0.to_string().as_bytes());
        answer.message("Too many failed attempts")
    }
}

/// What is one client's to choose addresses from: an address of IPv4, a network of 64 bits of IPv6.
fn network(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(_) => address,
            None => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)),
        },
    }
}
