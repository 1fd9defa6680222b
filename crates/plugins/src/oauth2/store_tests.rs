//! What the store keeps, over restarts and over time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin::clock::Clock;
use plugin::harness::START_MS;
use uuid::Uuid;

use super::database::Database;
use super::secret::hash;
use super::store::{Change, Code, Grant, NEVER, Redeemed, Refresh, Spent, Store, Token};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("biplane-oauth2-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn grant() -> Grant {
    Grant {
        family: Uuid::from_u128(1),
        credential: Uuid::from_u128(2),
        service: Some(Uuid::from_u128(3)),
        user: Some("u".to_owned()),
        scope: None,
    }
}

fn a_token(number: u8) -> Token {
    let (access, refresh) = (hash(&[number]), Some(hash(&[number, 1])));
    Token { access, refresh, grant: grant(), created: 1, expires: NEVER, gone: NEVER }
}

fn code(number: u8, gone: u64) -> Code {
    let redirect_uri = "https://a/".to_owned();
    Code { code: hash(&[number]), grant: grant(), redirect_uri, challenge: None, gone, used: false }
}

#[test]
fn tokens_survive_a_restart() {
    let folder = Folder::new();
    let file = folder.0.join("oauth2.db");
    let clock = Clock::fixed(START_MS);
    let now = START_MS / 1000;
    let open = || Store::open(&file, clock.clone()).unwrap();
    let store = open();
    let mut changes = vec![store.add_code(a_code()).unwrap()];
    let Redeemed::Good(used) = store.redeem(&hash(b"c"), a_token(1), now) else { panic!("the code is good") };
    changes.extend(used);
    changes.extend(store.add(a_token(2), Some(&a_token(1))).unwrap());
    assert!(store.write(changes).blocking_recv().unwrap());
    drop(store);
    let store = open();
    assert_eq!(store.find(&hash(&[2]), now).as_deref(), Some(&a_token(2)));
    assert_eq!(store.find(&hash(&[1]), now), None);
    assert!(matches!(store.refresh(&hash(&[2, 1]), now), Refresh::Good(_)));
    let again = store.redeem(&hash(b"c"), a_token(3), now);
    assert!(matches!(again, Redeemed::Again(changes) if changes.len() == 2));
    assert_eq!(store.find(&hash(&[2]), now), None, "the code was redeemed before the restart");
}

#[test]
fn what_is_spent_stays_spent_over_a_restart() {
    let folder = Folder::new();
    let file = folder.0.join("oauth2.db");
    let now = START_MS / 1000;
    let open = || Store::open(&file, Clock::fixed(START_MS)).unwrap();
    let store = open();
    let mut changes = store.add(a_token(1), None).unwrap();
    changes.extend(store.add(a_token(2), Some(&a_token(1))).unwrap());
    assert!(store.add(a_token(3), Some(&a_token(1))).is_err(), "of two who refresh at once one gets a token");
    assert!(store.write(changes).blocking_recv().unwrap());
    drop(store);
    let store = open();
    assert!(matches!(store.refresh(&hash(&[1, 1]), now), Refresh::Spent(changes) if changes.len() == 1));
    assert_eq!(store.find(&hash(&[2]), now), None);
}

fn a_code() -> Code {
    Code {
        code: hash(b"c"),
        grant: grant(),
        redirect_uri: "https://a/".to_owned(),
        challenge: None,
        gone: NEVER,
        used: false,
    }
}

#[test]
fn of_many_who_redeem_a_code_at_once_none_keeps_a_token() {
    let now = START_MS / 1000;
    for _ in 0..200 {
        let store = Store::open(Path::new(":memory:"), Clock::fixed(START_MS)).unwrap();
        store.add_code(a_code()).unwrap();
        let start = std::sync::Barrier::new(4);
        let redeem = |number: u8| {
            start.wait();
            store.redeem(&hash(b"c"), a_token(number), now)
        };
        let outcomes: Vec<Redeemed> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..4).map(|number| scope.spawn(move || redeem(number))).collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let good = outcomes.iter().filter(|outcome| matches!(outcome, Redeemed::Good(_))).count();
        assert_eq!(good, 1);
        // Somebody has a copy of the code: what the first one got is good no more.
        assert!((0..4).all(|number| store.find(&hash(&[number]), now).is_none()));
    }
}

#[test]
fn a_token_that_was_revoked_before_it_was_written_does_not_come_back() {
    let folder = Folder::new();
    let file = folder.0.join("oauth2.db");
    let now = START_MS / 1000;
    let open = || Store::open(&file, Clock::fixed(START_MS)).unwrap();
    let store = open();
    store.add_code(a_code()).unwrap();
    let Redeemed::Good(first) = store.redeem(&hash(b"c"), a_token(1), now) else {
        panic!("the code is good")
    };
    let Redeemed::Again(second) = store.redeem(&hash(b"c"), a_token(2), now) else { panic!("it is spent") };
    // Who came second is quicker in having it written, and the first one has not been when the process ends.
    assert!(store.write(second).blocking_recv().unwrap());
    drop(store);
    let store = open();
    assert!(matches!(store.redeem(&hash(b"c"), a_token(3), now), Redeemed::Again(_)), "the code is spent");
    assert!(store.write(first).blocking_recv().unwrap());
    drop(store);
    let store = open();
    assert_eq!(store.find(&hash(&[1]), now), None);
}

#[test]
fn what_could_not_be_written_leaves_clients_what_they_hold() {
    let folder = Folder::new();
    let store = Store::open(&folder.0.join("oauth2.db"), Clock::fixed(START_MS)).unwrap();
    let now = START_MS / 1000;
    let (old, newer) = (a_token(1), a_token(2));
    store.add_code(a_code()).unwrap();
    for _ in 0..2 {
        assert!(matches!(store.redeem(&hash(b"c"), old.clone(), now), Redeemed::Good(_)));
        store.undo_redeem(&hash(b"c"), &old);
        assert!(store.find(&old.access, now).is_none());
    }
    store.add(old.clone(), None).unwrap();
    for _ in 0..2 {
        store.add(newer.clone(), Some(&old)).unwrap();
        store.undo_add(&newer, Some(&old));
        assert!(store.find(&newer.access, now).is_none() && store.find(&old.access, now).is_some());
        assert!(matches!(store.refresh(&old.refresh.unwrap(), now), Refresh::Good(token) if *token == old));
        assert!(matches!(store.refresh(&newer.refresh.unwrap(), now), Refresh::Unknown));
    }
    // A copy was seen meanwhile: what goes back to that consent stays revoked.
    store.add(newer.clone(), Some(&old)).unwrap();
    assert!(matches!(store.refresh(&old.refresh.unwrap(), now), Refresh::Spent(_)));
    store.undo_add(&newer, Some(&old));
    assert!(store.find(&old.access, now).is_none());
}

#[test]
fn what_is_over_is_forgotten_and_nothing_else() {
    let folder = Folder::new();
    let clock = Clock::fixed(START_MS);
    let store = Store::open(&folder.0.join("oauth2.db"), clock).unwrap();
    let now = START_MS / 1000;
    // More than go at once.
    for number in 0..600_u32 {
        let (access, family) = (hash(&number.to_be_bytes()), Uuid::from_u128(number.into()));
        let refresh = Some(hash(&[&number.to_be_bytes()[..], b"r"].concat()));
        let grant = Grant { family, ..grant() };
        let gone = if number % 2 == 0 { now } else { now + 1 };
        store.add(Token { access, refresh, grant, created: 1, expires: gone, gone }, None).unwrap();
    }
    store.sweep(now);
    for number in 0..600_u32 {
        let refresh = hash(&[&number.to_be_bytes()[..], b"r"].concat());
        let is_there = matches!(store.refresh(&refresh, now - 1), Refresh::Good(_));
        assert_eq!(is_there, number % 2 == 1, "{number}");
    }
}

#[test]
fn what_is_over_leaves_the_database() {
    let mut database = Database::open(Path::new(":memory:")).unwrap();
    let spent = |number: u8, gone| Spent { refresh: [number; 32], family: Uuid::nil(), gone };
    let token = |number: u8, gone| Arc::new(Token { gone, ..a_token(number) });
    let changes = [
        Change::PutSpent(spent(1, 10)),
        Change::PutSpent(spent(2, 11)),
        Change::PutToken(token(1, 10)),
        Change::PutToken(token(2, NEVER)),
        Change::PutCode(code(1, 10)),
        Change::PutCode(code(2, 11)),
    ];
    database.write(changes.iter()).unwrap();
    database.sweep(10).unwrap();
    let known = database.load(0, 100).unwrap();
    assert_eq!((known.spent, known.tokens), (vec![spent(2, 11)], vec![a_token(2)]));
    assert_eq!(known.codes, [code(2, 11)]);
}
