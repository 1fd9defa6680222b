//! What happens to who fails again and again.

use super::*;
use crate::clock::Clock;

const START_MS: u64 = 1_800_000_000_000;

fn guard(services: &Arc<Services>) -> Arc<Guard> {
    Guard::new(services, "basic-auth", Rules { failures: 3, window: 60 }, None)
}

fn check(guard: &Guard, attempt: &Attempt) -> Result<(), LockedOut> {
    guard.check(attempt, &AHashMap::new())
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
        assert_eq!(check(&guard, &mallory), Ok(()));
        guard.failed(&mallory);
    }
    assert!(!guard.is_quiet(START_MS));
    // Three fade over the next minute; a third of them may be left when there is room again.
    assert_eq!(check(&guard, &mallory), Err(LockedOut(80)));
    assert_eq!(check(&guard, &from(&guard, "ada", "192.0.2.1", 79)), Err(LockedOut(1)));
    assert_eq!(check(&guard, &from(&guard, "ada", "192.0.2.1", 80)), Ok(()));
    assert!(guard.is_quiet(START_MS + 120_000));
    assert_eq!(check(&guard, &from(&guard, "ada", "192.0.2.2", 0)), Ok(()), "another address");
    assert_eq!(check(&guard, &from(&guard, "bob", "192.0.2.1", 0)), Ok(()), "another credential");
}

#[test]
fn failures_from_everywhere_and_for_everybody_count_too() {
    let everywhere = guard(&services());
    for host in 0..30 {
        everywhere.failed(&from(&everywhere, "ada", &format!("192.0.2.{host}"), 0));
    }
    assert!(check(&everywhere, &from(&everywhere, "ada", "192.0.2.99", 0)).is_err());
    assert_eq!(check(&everywhere, &from(&everywhere, "bob", "192.0.2.99", 0)), Ok(()));
    let everybody = guard(&services());
    for user in 0..30 {
        everybody.failed(&from(&everybody, &format!("user{user}"), "2001:db8::1", 0));
    }
    assert!(check(&everybody, &from(&everybody, "ada", "2001:db8::ffff", 0)).is_err(), "the same network");
    assert_eq!(check(&everybody, &from(&everybody, "ada", "2001:db8:0:1::1", 0)), Ok(()));
}

#[test]
fn a_success_clears_the_credential_at_its_address_and_nothing_else() {
    let guard = guard(&services());
    let here = from(&guard, "ada", "192.0.2.1", 0);
    for _ in 0..9 {
        for _ in 0..3 {
            guard.failed(&here);
        }
        assert!(check(&guard, &here).is_err());
        guard.succeeded(&here);
        assert_eq!(check(&guard, &here), Ok(()));
    }
    for _ in 0..3 {
        guard.failed(&here);
    }
    guard.succeeded(&here);
    assert!(check(&guard, &here).is_err(), "thirty failures of the address");
}

fn begun(guard: &Arc<Guard>, attempt: Attempt) -> Begun {
    guard.begin_now(attempt).unwrap().expect("room")
}

#[tokio::test]
async fn attempts_under_way_count_until_they_succeed() {
    let guard = guard(&services());
    let here = from(&guard, "ada", "192.0.2.1", 0);
    let under_way: Vec<_> = (0..3).map(|_| begun(&guard, here)).collect();
    assert!(matches!(guard.begin_now(here), Ok(None)), "who has not failed is not locked out");
    for attempt in under_way {
        assert_eq!(attempt.settle(0, Outcome::Wrong).await, Ok(()));
    }
    assert_eq!(guard.begin_now(here).err(), Some(LockedOut(80)));
    let bob = from(&guard, "bob", "192.0.2.1", 0);
    for _ in 0..100 {
        begun(&guard, bob).settle(0, Outcome::Right).await.unwrap();
        begun(&guard, bob).undecided();
    }
    assert_eq!(check(&guard, &bob), Ok(()), "what has not failed counts nowhere");
    drop(begun(&guard, bob));
    (0..2).for_each(|_| guard.failed(&bob));
    assert!(check(&guard, &bob).is_err(), "who leaves before it is known has failed");
}

/// What two hundred attempts for as many users from one address come to, each of which takes a while.
async fn all_at_once(guard: &Arc<Guard>, outcome: Outcome) -> Vec<Result<(), LockedOut>> {
    let mut logins = tokio::task::JoinSet::new();
    for user in 0..200 {
        let (guard, attempt) = (guard.clone(), from(guard, &format!("user{user}"), "192.0.2.1", 0));
        logins.spawn(async move {
            let begun = guard.begin(0, attempt).await?;
            tokio::task::yield_now().await;
            begun.settle(0, outcome).await
        });
    }
    logins.join_all().await
}

#[tokio::test]
async fn many_behind_one_address_log_in_at_once() {
    let guard = guard(&services());
    let outcomes = all_at_once(&guard, Outcome::Right).await;
    assert_eq!(outcomes, vec![Ok(()); 200]);
}

#[tokio::test]
async fn no_more_fail_at_once_than_may_fail() {
    let guard = guard(&services());
    let outcomes = all_at_once(&guard, Outcome::Wrong).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 30, "ten times three");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_others_does_not_wait_for_ever() {
    let guard = guard(&services());
    let here = from(&guard, "ada", "192.0.2.1", 0);
    let _under_way: Vec<_> = (0..3).map(|_| begun(&guard, here)).collect();
    assert_eq!(guard.begin(0, here).await.err(), Some(LockedOut(1)));
}

#[test]
fn where_each_guess_is_of_another_credential_the_address_counts() {
    let guard = guard(&services());
    let of = |address: &str| guard.attempt_of(address.parse().unwrap(), START_MS);
    for _ in 0..3 {
        assert_eq!(check(&guard, &of("2001:db8::1")), Ok(()));
        guard.failed(&of("2001:db8::1"));
    }
    assert_eq!(check(&guard, &of("2001:db8::2")), Err(LockedOut(80)), "the same network");
    assert_eq!(guard.begin_now(of("2001:db8::2")).err(), Some(LockedOut(80)));
    assert_eq!(check(&guard, &of("2001:db8:0:1::1")), Ok(()));
    for _ in 0..3 {
        guard.rule_here(&of("192.0.2.1"), Outcome::Wrong).unwrap();
        let _ = guard.rule_here(&of("192.0.2.1"), Outcome::Right);
    }
    assert_eq!(check(&guard, &of("192.0.2.1")), Err(LockedOut(80)), "a right key clears nothing");
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
    assert!(check(&after, &here).is_err());
    let others = Guard::new(&services, "basic-auth", Rules { failures: 4, window: 60 }, None);
    assert_eq!(check(&others, &from(&others, "ada", "192.0.2.1", 0)), Ok(()));
}

#[test]
fn who_is_locked_out_gives_way_to_nobody_when_memory_is_full() {
    let guard = Guard::bounded(&services(), "basic-auth", Rules { failures: 3, window: 60 }, (None, 1));
    let here = from(&guard, "ada", "192.0.2.1", 0);
    (0..3).for_each(|_| guard.failed(&here));
    for number in 0..2000_u32 {
        let other = guard.attempt(&number.to_be_bytes(), IpAddr::from(number.to_be_bytes()), START_MS);
        (0..4).for_each(|_| guard.failed(&other));
    }
    assert!(check(&guard, &here).is_err());
}
