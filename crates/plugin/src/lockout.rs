//! Who has failed too often to be let try again: failures to prove a credential, counted in bounded memory.
//!
//! A failure counts for the credential at the client's address, for the credential everywhere and for the address whatever
//! it tries; the last two bear [`WIDER`] times as many. A success clears the first count only: otherwise who has a
//! password of its own, or watches others use theirs, could guess on for ever. Until somebody has failed, asking costs one
//! load. All times are of the clock that nobody sets, see [`Exchange::steady_ms`](crate::Exchange::steady_ms), so that nobody is
//! locked out for longer, or let try more often, when the one on the wall is set.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::record;
use smallvec::SmallVec;

use crate::figures::{Family, Figure};
use crate::limits::{Algorithm, Demand, Limit, Refused, Span, Table};
use crate::services::Services;

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

record! {
    /// How many failures there may be, as configurations say it.
    pub struct Bounds {
        /// Failures of a username from a client's address after which it has to wait. Of a username from everywhere, and
        /// of an address for whatever usernames, ten times as many.
        failures: i64 = 3, [between(1, 10000), extension()];
        /// Seconds in which they count.
        window: i64 = 60, [between(1, 86400), extension()];
    }
}

record! {
    /// What happens to who fails again and again.
    pub struct Protection {
        ..bounds: Bounds;
        /// Where failures are counted: nowhere, or in the memory of this gateway.
        strategy: String = "off", [one_of(&["memory", "off"])];
    }
}

impl Protection {
    /// The guard of an instance of `plugin`; none where nothing is counted.
    #[must_use]
    pub fn guard(&self, services: &Services, plugin: &str) -> Option<Guard> {
        (self.strategy == "memory").then(|| Guard::new(services, plugin, self.bounds.rules()))
    }
}

impl Bounds {
    /// The rules that they are.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let narrow = |number: i64| u32::try_from(number).unwrap_or(1);
        Rules { failures: narrow(self.failures), window: narrow(self.window) }
    }
}

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
    refused: Arc<Figure>,
}

/// The counts, and what they are held against.
pub struct Guard {
    lockout: Arc<Lockout>,
    near: Limit,
    wide: Limit,
    window_ms: u64,
    /// Whose failures never give way to others'; see [`Table::hold`].
    _held: Arc<[Limit]>,
}

/// Somebody tries to prove a credential.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The credential at the address, the credential, the address. Where credentials are not told apart, the address alone
    /// is the first.
    keys: [Option<u128>; 3],
    now_ms: u64,
}

/// An attempt is not looked at for so many seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedOut(pub u64);

impl Guard {
    /// The guard of an instance of `plugin`. All that have the same rules count together, so that nobody has more attempts
    /// for there being more routes.
    #[must_use]
    pub fn new(services: &Services, plugin: &str, rules: Rules) -> Self {
        Self::bounded(services, plugin, rules, MOST_BUCKETS)
    }

    fn bounded(services: &Services, plugin: &str, rules: Rules, most_buckets: usize) -> Self {
        let limit = |failures: u32| {
            Limit::new(Span::Seconds(rules.window.max(1)), Algorithm::Sliding, f64::from(failures.max(1)))
        };
        let (near, wide) = (limit(rules.failures), limit(rules.failures.saturating_mul(WIDER)));
        let lockout = services.keep(&format!("{plugin}:{}:{}", rules.failures, rules.window), || Lockout {
            table: Table::bounded(1, services.figures.of(&DISPLACED, &[]), most_buckets),
            quiet_from_ms: AtomicU64::new(0),
            refused: services.figures.of(&REFUSED, &[]),
        });
        let held: Arc<[Limit]> = Arc::new([near.clone()]);
        lockout.table.hold(&held);
        // A failure counts in the window that it falls into and fades in the one after.
        let window_ms = u64::from(rules.window.max(1)) * 2000;
        Self { lockout, near, wide, window_ms, _held: held }
    }

    /// An attempt to prove `credential`, by whatever name it goes, from `address` at `now_ms`.
    #[must_use]
    pub fn attempt(&self, credential: &[u8], address: IpAddr, now_ms: u64) -> Attempt {
        let place = network(address).octets();
        let mut both = SmallVec::<[u8; 80]>::from_slice(&place);
        both.extend_from_slice(credential);
        let table = &self.lockout.table;
        let keys = [table.key(0, &both), table.key(1, credential), table.key(2, &place)].map(Some);
        Attempt { keys, now_ms }
    }

    /// An attempt from `address` at `now_ms` to prove one of so many credentials that each guess is of another, a key for
    /// instance. Only the address counts, and bears the failures of a credential at an address.
    #[must_use]
    pub fn attempt_of(&self, address: IpAddr, now_ms: u64) -> Attempt {
        let key = self.lockout.table.key(3, &network(address).octets());
        Attempt { keys: [Some(key), None, None], now_ms }
    }

    /// Whether nothing has failed of late, so that no attempt need be made of a request.
    #[must_use]
    pub fn is_quiet(&self, now_ms: u64) -> bool {
        now_ms >= self.lockout.quiet_from_ms.load(Ordering::Relaxed)
    }

    /// Whether the attempt may be looked at.
    ///
    /// # Errors
    /// How long it may not.
    pub fn check(&self, attempt: &Attempt) -> Result<(), LockedOut> {
        let waits = self.each(attempt, |key, limit, demand| {
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
    pub fn failed(&self, attempt: &Attempt) {
        self.disturb(attempt);
        self.each(attempt, |key, _, demand| {
            self.lockout.table.take(key, &[demand], 1, Refused::Counted);
        });
    }

    /// Counts a failure in advance where it takes a while to find out, so that no more attempts are under way at once than
    /// may fail. [`Guard::withdraw`] takes it back.
    ///
    /// # Errors
    /// See [`Guard::check`].
    pub fn begin(&self, attempt: &Attempt) -> Result<(), LockedOut> {
        self.disturb(attempt);
        let table = &self.lockout.table;
        let counted =
            self.each(attempt, |key, _, demand| table.take(key, &[demand], 1, Refused::Forgotten).admitted);
        if !counted.contains(&Some(false)) {
            return Ok(());
        }
        let mut counted = counted.into_iter().flatten();
        self.each(attempt, |key, _, demand| {
            if counted.next() == Some(true) {
                table.withdraw(key, &[demand]);
            }
        });
        self.check(attempt)?;
        // Others have left room meanwhile, or counters are shared for want of room: better luck in a second.
        Err(LockedOut(1))
    }

    fn disturb(&self, attempt: &Attempt) {
        self.lockout.quiet_from_ms.fetch_max(attempt.now_ms + self.window_ms, Ordering::Relaxed);
    }

    /// Forgets what has failed for the credential at the address.
    pub fn succeeded(&self, attempt: &Attempt) {
        if let Some(near) = attempt.keys[0] {
            self.lockout.table.forget(near);
        }
    }

    /// Takes back what has been counted in advance, and forgets what has failed for the credential at the address.
    pub fn withdraw(&self, attempt: &Attempt) {
        self.each(attempt, |key, _, demand| self.lockout.table.withdraw(key, &[demand]));
        self.succeeded(attempt);
    }

    fn each<T>(&self, attempt: &Attempt, mut look: impl FnMut(u128, &Limit, Demand) -> T) -> [Option<T>; 3] {
        let now_ms = attempt.now_ms;
        let [near, credential, address] = attempt.keys;
        [(near, &self.near), (credential, &self.wide), (address, &self.wide)]
            .map(|(key, limit)| Some(look(key?, limit, limit.demand(limit.window(now_ms), now_ms))))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const START_MS: u64 = 1_800_000_000_000;

    fn guard(services: &Arc<Services>) -> Guard {
        Guard::new(services, "basic-auth", Rules { failures: 3, window: 60 })
    }

    fn services() -> Arc<Services> {
        Services::new(1, Clock::fixed(START_MS), false)
    }

    fn from(guard: &Guard, credential: &str, address: &str, seconds: u64) -> Attempt {
        guard.attempt(credential.as_bytes(), address.parse().unwrap(), START_MS + seconds * 1000)
    }

    #[test]
    fn who_has_failed_too_often_waits_until_enough_of_it_has_faded() {
        let guard = guard(&services());
        let mallory = from(&guard, "ada", "192.0.2.1", 0);
        assert!(guard.is_quiet(START_MS));
        for _ in 0..3 {
            assert_eq!(guard.check(&mallory), Ok(()));
            guard.failed(&mallory);
        }
        assert!(!guard.is_quiet(START_MS));
        // Three fade over the next minute; a third of them may be left when there is room again.
        assert_eq!(guard.check(&mallory), Err(LockedOut(80)));
        assert_eq!(guard.check(&from(&guard, "ada", "192.0.2.1", 79)), Err(LockedOut(1)));
        assert_eq!(guard.check(&from(&guard, "ada", "192.0.2.1", 80)), Ok(()));
        assert!(guard.is_quiet(START_MS + 120_000));
        assert_eq!(guard.check(&from(&guard, "ada", "192.0.2.2", 0)), Ok(()), "another address");
        assert_eq!(guard.check(&from(&guard, "bob", "192.0.2.1", 0)), Ok(()), "another credential");
    }

    #[test]
    fn failures_from_everywhere_and_for_everybody_count_too() {
        let everywhere = guard(&services());
        for host in 0..30 {
            everywhere.failed(&from(&everywhere, "ada", &format!("192.0.2.{host}"), 0));
        }
        assert!(everywhere.check(&from(&everywhere, "ada", "192.0.2.99", 0)).is_err());
        assert_eq!(everywhere.check(&from(&everywhere, "bob", "192.0.2.99", 0)), Ok(()));
        let everybody = guard(&services());
        for user in 0..30 {
            everybody.failed(&from(&everybody, &format!("user{user}"), "2001:db8::1", 0));
        }
        assert!(everybody.check(&from(&everybody, "ada", "2001:db8::ffff", 0)).is_err(), "the same network");
        assert_eq!(everybody.check(&from(&everybody, "ada", "2001:db8:0:1::1", 0)), Ok(()));
    }

    #[test]
    fn a_success_clears_the_credential_at_its_address_and_nothing_else() {
        let guard = guard(&services());
        let here = from(&guard, "ada", "192.0.2.1", 0);
        for _ in 0..9 {
            for _ in 0..3 {
                guard.failed(&here);
            }
            assert!(guard.check(&here).is_err());
            guard.succeeded(&here);
            assert_eq!(guard.check(&here), Ok(()));
        }
        for _ in 0..3 {
            guard.failed(&here);
        }
        guard.succeeded(&here);
        assert!(guard.check(&here).is_err(), "thirty failures of the address");
    }

    #[test]
    fn attempts_under_way_count_until_they_succeed() {
        let guard = guard(&services());
        let here = from(&guard, "ada", "192.0.2.1", 0);
        for _ in 0..3 {
            assert_eq!(guard.begin(&here), Ok(()));
        }
        assert_eq!(guard.begin(&here), Err(LockedOut(80)));
        guard.withdraw(&here);
        for _ in 0..100 {
            assert_eq!(guard.begin(&here), Ok(()));
            guard.withdraw(&here);
        }
        assert_eq!(
            guard.check(&from(&guard, "bob", "192.0.2.1", 0)),
            Ok(()),
            "what succeeded counts nowhere"
        );
    }

    #[test]
    fn where_each_guess_is_of_another_credential_the_address_counts() {
        let guard = guard(&services());
        let of = |address: &str| guard.attempt_of(address.parse().unwrap(), START_MS);
        for _ in 0..3 {
            assert_eq!(guard.check(&of("2001:db8::1")), Ok(()));
            guard.failed(&of("2001:db8::1"));
        }
        assert_eq!(guard.check(&of("2001:db8::2")), Err(LockedOut(80)), "the same network");
        assert_eq!(guard.begin(&of("2001:db8::2")), Err(LockedOut(80)));
        assert_eq!(guard.check(&of("2001:db8:0:1::1")), Ok(()));
        for _ in 0..3 {
            assert_eq!(guard.begin(&of("192.0.2.1")), Ok(()));
        }
        assert_eq!(guard.begin(&of("192.0.2.1")), Err(LockedOut(80)));
        guard.withdraw(&of("192.0.2.1"));
        assert_eq!(guard.check(&of("192.0.2.1")), Ok(()));
    }

    #[test]
    fn counts_outlive_a_reload_and_are_those_of_all_instances_with_the_same_rules() {
        let services = services();
        let before = guard(&services);
        let here = from(&before, "ada", "192.0.2.1", 0);
        (0..3).for_each(|_| before.failed(&here));
        let after = guard(&services);
        drop(before);
        services.sweep();
        assert!(after.check(&here).is_err());
        let others = Guard::new(&services, "basic-auth", Rules { failures: 4, window: 60 });
        assert_eq!(others.check(&from(&others, "ada", "192.0.2.1", 0)), Ok(()));
    }

    #[test]
    fn who_is_locked_out_gives_way_to_nobody_when_memory_is_full() {
        let guard = Guard::bounded(&services(), "basic-auth", Rules { failures: 3, window: 60 }, 1);
        let here = from(&guard, "ada", "192.0.2.1", 0);
        (0..3).for_each(|_| guard.failed(&here));
        for number in 0..2000_u32 {
            let other = guard.attempt(&number.to_be_bytes(), IpAddr::from(number.to_be_bytes()), START_MS);
            (0..4).for_each(|_| guard.failed(&other));
        }
        assert!(guard.check(&here).is_err());
    }
}
