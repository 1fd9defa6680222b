//! What the basic-auth room does, seen from outside: requests in, outcomes out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plugin::harness::{Harness, Outcome, Subject};

use super::BasicAuth;
use super::pool::CHECKED;

const ROOM: Subject = Subject(plugin::room::<BasicAuth>());
const ADA: &str = "11111111-1111-4111-8111-111111111111";
/// SHA-1 of `p:w` and the id of Ada, by `printf 'p:w11111111-...' | sha1sum`.
const ADA_SHA1: &str = "d053aac35dd1337ee9f8129ed2cf4217274352b3";

/// Hashes by others: of the bcrypt of Openwall and of the reference implementation of argon2.
const SLOW: [(&str, &[u8], &str); 5] = [
    ("bcrypt", b"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("bcrypt-y", b"\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"),
    (
        "argon2id",
        b"password",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    ),
    (
        "argon2i",
        b"password",
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
    ),
    (
        "argon2-first",
        b"password",
        "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
    ),
];

fn document(config: &str) -> String {
    let slow: String = SLOW
        .iter()
        .map(|(username, _, hash)| format!("  - {{username: {username}, password_hash: \"{hash}\"}}\n"))
        .collect();
    format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: basic-auth, config: {config}}}
consumers:
- id: {ADA}
  username: ada
  custom_id: a-1
  basicauth_credentials:
  - {{username: u, password: "p:w"}}
- username: slow
  basicauth_credentials:
{slow}- username: nobody
basicauth_credentials:
- {{consumer: nobody, username: bob, password: b}}
"#
    )
}

fn harness(config: &str) -> Harness {
    Harness::new(ROOM.0, &document(config)).unwrap()
}

/// A request with a login in the field.
fn with(field: &str, username: &str, password: impl AsRef<[u8]>) -> String {
    let login = [username.as_bytes(), b":", password.as_ref()].concat();
    format!("GET / HTTP/1.1\n{field}: Basic {}", STANDARD.encode(login))
}

fn login(username: &str, password: impl AsRef<[u8]>) -> String {
    with("Authorization", username, password)
}

#[track_caller]
fn assert_refused(outcome: &Outcome) {
    let seen = (outcome.answered, outcome.status, outcome.message.as_deref());
    assert_eq!(seen, (true, 401, Some("Unauthorized")));
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Basic realm=\"service\""));
}

#[track_caller]
fn assert_consumer(outcome: &Outcome, username: &str) {
    assert!(!outcome.answered, "{:?}", outcome.message);
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some(username));
}

/// Slow hashes that have been checked.
fn checked(harness: &Harness) -> u64 {
    harness.services.figures.of(&CHECKED, &[]).value()
}

#[test]
fn a_right_password_tells_the_upstream_who_calls() {
    let outcome =
        harness("{}").send(&(login("u", "p:w") + "\nX-Consumer-ID: forged\nX-Anonymous-Consumer: true"));
    assert_consumer(&outcome, "ada");
    assert_eq!(outcome.upstream_header("X-Consumer-ID").as_deref(), Some(ADA));
    assert_eq!(outcome.upstream_header("X-Consumer-Custom-ID").as_deref(), Some("a-1"));
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("u"));
    assert_eq!(outcome.upstream_header("X-Anonymous-Consumer"), None);
    assert_eq!(outcome.upstream_header("Authorization"), None, "credentials are hidden by default");
}

#[test]
fn whatever_is_no_right_login_is_refused_alike() {
    let mut harness = harness("{}");
    let twice = format!("{}\nAuthorization: Basic {}", login("u", "p:w"), STANDARD.encode("u:p:w"));
    let head = "GET / HTTP/1.1\nAuthorization: ";
    let refused = [
        "GET / HTTP/1.1".to_owned(),
        login("u", "wrong"),
        login("u", ""),
        login("u", "p:w "),
        login("U", "p:w"),
        login("nobody", "p:w"),
        login("bcrypt", "wrong"),
        login("u", ADA_SHA1),
        login("bcrypt", SLOW[0].2),
        twice,
        format!("{head}Basic"),
        format!("{head}Basic !!!"),
        format!("{head}Basic{}", STANDARD.encode("u:p:w")),
        format!("{head}Bearer {}", STANDARD.encode("u:p:w")),
        login("\u{0}", "\u{0}"),
        login(&"x".repeat(3000), "p:w"),
    ];
    let bodies: Vec<Vec<u8>> = refused
        .iter()
        .map(|request| {
            let outcome = harness.send(request);
            assert_refused(&outcome);
            outcome.body
        })
        .collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_proxys_field_is_tried_first() {
    let mut harness = harness("{hide_credentials: false}");
    let both = |first: &str, second: &str| {
        let other = with("Proxy-Authorization", "bob", first);
        other + &login("u", second).replace("GET / HTTP/1.1", "")
    };
    assert_consumer(&harness.send(&both("b", "wrong")), "nobody");
    assert_refused(&harness.send(&both("wrong", "p:w")));
    let other = login("u", "p:w") + "\nProxy-Authorization: Digest x";
    let outcome = harness.send(&other);
    assert_consumer(&outcome, "ada");
    assert!(outcome.upstream_header("Authorization").is_some());
}

#[test]
fn what_is_somebody_elses_is_not_hidden() {
    let request = login("u", "p:w") + "\nProxy-Authorization: Bearer t";
    let outcome = harness("{}").send(&request);
    assert_eq!(outcome.upstream_header("Proxy-Authorization").as_deref(), Some("Bearer t"));
    assert_eq!(outcome.upstream_header("Authorization"), None);
}

#[test]
fn an_anonymous_consumer_stands_in() {
    let mut harness = harness("{anonymous: nobody, realm: r}");
    for request in ["GET / HTTP/1.1".to_owned(), login("u", "wrong"), login("bcrypt", "wrong")] {
        let outcome = harness.send(&request);
        assert_consumer(&outcome, "nobody");
        assert_eq!(outcome.upstream_header("X-Anonymous-Consumer").as_deref(), Some("true"));
        assert_eq!(outcome.upstream_header("Authorization"), None, "wrong ones are hidden, too");
    }
    assert_consumer(&harness.send(&login("u", "p:w")), "ada");
}

#[test]
fn a_realm_is_named() {
    let outcome = harness("{realm: orders}").send("GET / HTTP/1.1");
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Basic realm=\"orders\""));
}

#[test]
fn an_export_holds_hashes() {
    let kept = format!("password: {ADA_SHA1}");
    let exported = document("{}")
        .replace("_format_version", "_transform: false\n_format_version")
        .replace("password: \"p:w\"", &kept)
        .replace("password: b}", "password: \"0000000000000000000000000000000000000000\"}");
    let mut harness = Harness::new(ROOM.0, &exported).unwrap();
    assert_consumer(&harness.send(&login("u", "p:w")), "ada");
    assert_refused(&harness.send(&login("u", ADA_SHA1)));
    let plain = exported.replace(&kept, "password: plain");
    let refusal = Harness::new(ROOM.0, &plain).err().unwrap();
    assert!(refusal.contains("with _transform: false, must be the SHA-1"), "{refusal}");
}

#[test]
fn hashes_of_others_are_understood() {
    let mut harness = harness("{}");
    for (username, password, _) in SLOW {
        assert_consumer(&harness.send(&login(username, password)), "slow");
        assert_refused(&harness.send(&login(username, [password, b"x"].concat())));
    }
}

#[test]
fn a_password_found_right_is_remembered_for_its_time() {
    let mut harness = harness("{verified_ttl: 10}");
    let right = login("bcrypt", "U*U");
    assert_consumer(&harness.send(&right), "slow");
    assert_eq!(checked(&harness), 1);
    harness.clock.advance(9_999);
    assert_consumer(&harness.send(&right), "slow");
    harness.reload(&document("{verified_ttl: 10}")).unwrap();
    assert_consumer(&harness.send(&right), "slow");
    assert_eq!(checked(&harness), 1, "remembered, over a reload too");
    harness.clock.advance(1);
    assert_consumer(&harness.send(&right), "slow");
    assert_eq!(checked(&harness), 2);
    for wrong in 3..6 {
        assert_refused(&harness.send(&login("bcrypt", "wrong")));
        assert_eq!(checked(&harness), wrong, "what is wrong is checked again");
    }
    harness.reload(&document("{verified_ttl: 0}")).unwrap();
    assert_consumer(&harness.send(&right), "slow");
    assert_consumer(&harness.send(&right), "slow");
    assert_eq!(checked(&harness), 7, "nothing is remembered");
}

#[test]
fn a_password_changed_or_removed_is_no_longer_right() {
    let mut harness = harness("{}");
    let right = login("bcrypt", "U*U");
    assert_consumer(&harness.send(&right), "slow");
    harness.reload(&document("{}").replace(SLOW[0].2, SLOW[1].2)).unwrap();
    assert_refused(&harness.send(&right));
    harness.reload(&document("{}").replace("username: bcrypt,", "username: other,")).unwrap();
    assert_refused(&harness.send(&right));
}

#[test]
fn an_unknown_username_takes_as_long_as_a_known_one() {
    let only_slow = "_format_version: \"3.0\"\nplugins: [{name: basic-auth}]\nconsumers:\n- username: slow\n  basicauth_credentials:\n";
    let mut harness =
        Harness::new(ROOM.0, &format!("{only_slow}  - {{username: u, password_hash: \"{}\"}}\n", SLOW[0].2))
            .unwrap();
    for number in 0..5 {
        assert_refused(&harness.send(&login(&format!("unknown{number}"), "U*U")));
        assert_eq!(checked(&harness), number + 1, "the same work, and never right");
    }
    assert_refused(&harness.send(&login("unknown0", "U*U")));
    assert_eq!(checked(&harness), 6, "an unknown username is not remembered");
}

#[test]
fn who_guesses_has_to_wait() {
    for (username, right) in [("u", "p:w"), ("bcrypt", "U*U"), ("unknown", "x")] {
        let mut harness = harness("{brute_force_protection: {strategy: memory}}");
        for _ in 0..3 {
            assert_refused(&harness.send(&login(username, "wrong")));
        }
        let before = checked(&harness);
        let outcome = harness.send(&login(username, right));
        let seen = (outcome.status, outcome.message.as_deref(), outcome.header("Retry-After"));
        assert_eq!(seen, (429, Some("Too many failed attempts"), Some("80".to_owned())));
        assert_eq!(checked(&harness), before, "the password is not looked at");
        assert_consumer(&harness.send(&login("bob", "b")), "nobody");
        harness.peer.set_ip([127, 0, 0, 2].into());
        assert_ne!(harness.send(&login(username, right)).status, 429, "another address");
        harness.peer.set_ip([127, 0, 0, 1].into());
        harness.reload(&document("{brute_force_protection: {strategy: memory}}")).unwrap();
        harness.clock.advance(79_999);
        assert_eq!(harness.send(&login(username, right)).status, 429);
        harness.clock.advance(1);
        assert_ne!(harness.send(&login(username, right)).status, 429);
    }
}

#[test]
fn a_clock_that_is_set_back_locks_nobody_out_for_longer_and_believes_no_password_longer() {
    let mut harness = harness("{verified_ttl: 10, brute_force_protection: {strategy: memory}}");
    assert!(!harness.send(&login("bcrypt", "U*U")).answered);
    for _ in 0..3 {
        assert_refused(&harness.send(&login("u", "wrong")));
    }
    let before = checked(&harness);
    harness.clock.set(plugin::harness::START_MS - 3_600_000);
    harness.clock.advance(9_999);
    assert!(!harness.send(&login("bcrypt", "U*U")).answered);
    assert_eq!(checked(&harness), before);
    harness.clock.advance(1);
    assert!(!harness.send(&login("bcrypt", "U*U")).answered);
    assert_eq!(checked(&harness), before + 1, "it is proven anew");
    assert_eq!(harness.send(&login("u", "p:w")).header("Retry-After").as_deref(), Some("70"));
    harness.clock.advance(70_000);
    assert!(!harness.send(&login("u", "p:w")).answered);
}

#[test]
fn a_success_clears_what_has_failed() {
    for (username, right) in [("u", "p:w"), ("bcrypt", "U*U")] {
        let mut harness =
            harness("{verified_ttl: 0, brute_force_protection: {strategy: memory, failures: 2, window: 10}}");
        for _ in 0..5 {
            assert_refused(&harness.send(&login(username, "wrong")));
            assert!(!harness.send(&login(username, right)).answered);
        }
        for _ in 0..50 {
            assert!(!harness.send(&login(username, right)).answered, "successes count nowhere");
        }
    }
}

#[test]
fn without_protection_nobody_waits() {
    let mut harness = harness("{}");
    for _ in 0..50 {
        assert_refused(&harness.send(&login("u", "wrong")));
    }
    assert_consumer(&harness.send(&login("u", "p:w")), "ada");
}

#[test]
fn who_waits_may_pass_as_the_anonymous_consumer() {
    let mut harness = harness("{anonymous: nobody, brute_force_protection: {strategy: memory, failures: 1}}");
    harness.send(&login("u", "wrong"));
    assert_consumer(&harness.send(&login("u", "p:w")), "nobody");
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let strategy = |name: &str| ROOM.refuses(&format!("{{brute_force_protection: {{strategy: {name}}}}}"));
    assert!(
        strategy("cluster").contains("config.brute_force_protection.strategy: failures are not counted in")
    );
    assert!(strategy("redis").contains("config.brute_force_protection.redis.host: required"));
    assert!(ROOM.refuses("{principals: {enabled: true}}").contains("config.principals.enabled"));
    assert!(ROOM.refuses("{realm: 'a\"b'}").contains("invalid value"));
    let credential = |fields: &str| {
        let text = document("{}").replace("username: bob, password: b", fields);
        Harness::new(ROOM.0, &text).err().unwrap_or_default()
    };
    assert!(credential("username: 'a:b', password: b").contains("must not have a colon"));
    assert!(credential("username: bob").contains("only one of these fields must be non-empty"));
    assert!(credential("username: u, password: b").contains("uniqueness violation"));
    let hash = |hash: &str| credential(&format!("username: bob, password_hash: \"{hash}\""));
    for no_hash in
        ["plain", "$2x$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq", "$2b$05$short", "$2b$05$é"]
    {
        assert!(hash(no_hash).contains("is no hash of bcrypt"), "{no_hash}: {}", hash(no_hash));
    }
    assert!(hash(&SLOW[0].2.replace("$05$", "$17$")).contains("from 4 to 16"));
    let argon2 = SLOW[2].2;
    for (good, bad) in [
        ("v=19", "v=20"),
        ("argon2id", "argon2x"),
        ("m=256", "m=1"),
        ("t=2", "x=2"),
        ("t=2", "m=2"),
        ("c29tZXNhbHQ", "c2E"),
        ("nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "AAAA"),
    ] {
        let bad = argon2.replace(good, bad);
        assert!(hash(&bad).contains("is no hash of argon2"), "{bad}: {}", hash(&bad));
    }
    assert!(hash(&argon2.replace("m=256", "m=4000000")).contains("must be at most"));
}
