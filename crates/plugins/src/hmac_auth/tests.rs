//! What the hmac-auth room does, seen from outside: requests in, outcomes out. The signatures were made with Python's `hmac`.

use plugin::harness::{Dice, Harness, Outcome, START_MS, Subject};

use super::HmacAuth;

const ROOM: Subject = Subject(plugin::room::<HmacAuth>());
/// The time at [`START_MS`].
const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
const NO_DATE: &str =
    "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication";
const UNUSABLE: &str = "HMAC signature cannot be verified";
const WRONG: &str = "HMAC signature does not match";
/// Of `date` alone.
const OF_DATE: &str = "abja6ALTd8EIhnoscMh6Xz9l9OIBJ1oNsjTYOHfy/C8=";

fn document(config: &str) -> String {
    format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: hmac-auth, config: {config}}}
consumers:
- username: ada
  custom_id: a-1
  hmacauth_credentials:
  - {{username: u, secret: secret}}
- username: nobody
"#
    )
}

fn harness(config: &str) -> Harness {
    Harness::new(ROOM.0, &document(config)).unwrap()
}

fn parameters(algorithm: &str, headers: &str, signature: &str) -> String {
    format!(r#"username="u", algorithm="hmac-{algorithm}", headers="{headers}", signature="{signature}""#)
}

/// A request of which the date is signed.
fn dated(date: &str, signature: &str) -> String {
    format!("GET / HTTP/1.1\nDate: {date}\nAuthorization: hmac {}", parameters("sha256", "date", signature))
}

#[track_caller]
fn assert_refused(outcome: &Outcome, message: &str) {
    assert_eq!((outcome.answered, outcome.status, outcome.message.as_deref()), (true, 401, Some(message)));
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("hmac"));
}

#[track_caller]
fn assert_ada(outcome: &Outcome) {
    assert!(!outcome.answered, "{:?}", outcome.message);
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("ada"));
}

#[test]
fn who_guesses_has_to_wait() {
    let guard = "brute_force_protection: {strategy: memory, failures: 3, window: 60}";
    let mut harness = harness(&format!("{{{guard}}}"));
    let right = |harness: &mut Harness| harness.send(&dated(DATE, OF_DATE));
    for _ in 0..5 {
        assert_ada(&right(&mut harness));
        let unusable = harness.send(&format!("GET / HTTP/1.1\nDate: {DATE}\nAuthorization: hmac x"));
        assert_refused(&unusable, UNUSABLE);
        assert_refused(&harness.send(&dated("Thu, 01 Jan 2025 00:00:00 GMT", OF_DATE)), NO_DATE);
    }
    for _ in 0..2 {
        assert_refused(&harness.send(&dated(DATE, "AAAA")), WRONG);
    }
    assert_ada(&right(&mut harness));
    for _ in 0..3 {
        assert_refused(&harness.send(&dated(DATE, "AAAA")), WRONG);
    }
    let late = right(&mut harness);
    assert_eq!((late.status, late.message.as_deref()), (429, Some("Too many failed attempts")));
    assert_eq!(late.header("Retry-After").as_deref(), Some("80"));
    let unknown = dated(DATE, OF_DATE).replace("\"u\"", "\"unknown\"");
    for status in [401, 401, 401, 429] {
        assert_eq!(harness.send(&unknown).status, status, "a username that nobody has is treated alike");
    }
    harness.peer.set_ip([127, 0, 0, 2].into());
    assert_ada(&right(&mut harness));
    harness.peer.set_ip([127, 0, 0, 1].into());
    harness.clock.advance(80_000);
    assert_ada(&right(&mut harness));
}

#[test]
fn every_algorithm_signs_a_request_line() {
    let signatures = [
        ("sha1", "K0udzcEuihx1A8nXSg6AgSksQLM="),
        ("sha224", "bhK7X4qa0Pm72WIogKm+8qkv117dBLjvE23rPQ=="),
        ("sha256", "LmyvHEu4ufoDd1o9Yn+2AGjM2ecY/72kpA1rWhz6aZ8="),
        ("sha384", "m8BX9H8Vz2ptamkVbbD8X7M/I1aqQFu8g+6aTjslT3AGH6SxF9Pt196rnj8Rm//V"),
        (
            "sha512",
            "q/J0tCe3jjlasYtEfNT8d/lxrSjTsvFHtDheaW96f+6udy8LujbKnT7056S9cSDd0FOW3lQsogi0wV8ZzDns2A==",
        ),
    ];
    let mut all = harness("{algorithms: [hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512]}");
    let mut usual = harness("{}");
    for (algorithm, signature) in signatures {
        let send = |harness: &mut Harness, line: &str| {
            let parameters = parameters(algorithm, "date request-line", signature);
            harness.send(&format!("{line}\nDate: {DATE}\nAuthorization: hmac {parameters}"))
        };
        assert_ada(&send(&mut all, "GET /a?b=%20c HTTP/1.1"));
        for other in
            ["POST /a?b=%20c HTTP/1.1", "GET /a?b=+c HTTP/1.1", "GET /a HTTP/1.1", "GET /a?b=%20c HTTP/1.0"]
        {
            assert_refused(&send(&mut all, other), WRONG);
        }
        if algorithm == "sha1" {
            assert_refused(&send(&mut usual, "GET /a?b=%20c HTTP/1.1"), UNUSABLE);
        } else {
            assert_ada(&send(&mut usual, "GET /a?b=%20c HTTP/1.1"));
        }
    }
}

#[test]
fn the_upstream_is_told_who_calls_and_nothing_else() {
    let request = dated(DATE, OF_DATE)
        + "\nX-Consumer-ID: forged\nX-Anonymous-Consumer: true\nProxy-Authorization: Basic x";
    let outcome = harness("{}").send(&request);
    assert_ada(&outcome);
    assert_eq!(outcome.upstream_header("X-Consumer-Custom-ID").as_deref(), Some("a-1"));
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("u"));
    assert_eq!(outcome.upstream_header("X-Anonymous-Consumer"), None);
    assert_eq!(outcome.upstream_header("X-Consumer-ID").map(|id| id.len()), Some(36));
    assert_eq!(outcome.upstream_header("Authorization"), None);
    assert!(outcome.upstream_header("Proxy-Authorization").is_some(), "another scheme is for others");
    let kept = harness("{hide_credentials: false}").send(&dated(DATE, OF_DATE));
    assert!(kept.upstream_header("Authorization").is_some_and(|value| value.starts_with("hmac username")));
}

#[test]
fn a_request_target_and_fields_are_signed() {
    let signature = "83EsZ/WrS9P/x5TlxZbwPpWRBmpR0IJJUyQOEOk61bs=";
    let mut harness = harness("{}");
    let send = |harness: &mut Harness, line: &str, host: &str| {
        let parameters = parameters("sha256", "x-date @request-target host", signature);
        harness.send(&format!("{line}\nHost: {host}\nX-Date: {DATE}\nProxy-Authorization: HMAC {parameters}"))
    };
    assert_ada(&send(&mut harness, "POST /a?b HTTP/1.1", "h.test"));
    assert_refused(&send(&mut harness, "POST /a?b HTTP/1.1", "other.test"), WRONG);
    assert_refused(&send(&mut harness, "GET /a?b HTTP/1.1", "h.test"), WRONG);
}

#[test]
fn every_value_of_a_field_is_signed_and_so_is_its_absence() {
    let mut harness = harness("{}");
    let mut send = |more: &str| {
        let parameters =
            parameters("sha256", "date x-one x-none", "XqCUSs7cumfWSTJFJ32Bz5/b82C3FpZB5MNgxngJkYw=");
        harness.send(&format!("GET / HTTP/1.1\nDate: {DATE}\nAuthorization: hmac {parameters}{more}"))
    };
    assert_ada(&send("\nX-One: 1\nX-One: 2"));
    assert_refused(&send("\nX-One: 1"), WRONG);
    assert_refused(&send("\nX-One: 1\nX-One: 2\nX-One: 3"), WRONG);
    assert_refused(&send("\nX-One: 1\nX-One: 2\nX-None: 3"), WRONG);
}

#[test]
fn an_old_or_early_date_is_refused() {
    let mut harness = harness("{clock_skew: 10}");
    let request = dated(DATE, OF_DATE);
    for (now_ms, passes) in [
        (START_MS + 10_999, true),
        (START_MS + 11_000, false),
        (START_MS - 10_000, true),
        (START_MS - 10_001, false),
        (0, false),
    ] {
        harness.clock.set(now_ms);
        let outcome = harness.send(&request);
        if passes { assert_ada(&outcome) } else { assert_refused(&outcome, NO_DATE) }
    }
    harness.clock.set(START_MS);
    for date in ["", "yesterday", "Thu, 01 Jan 1960 00:00:00 GMT", "1767225600"] {
        assert_refused(&harness.send(&dated(date, OF_DATE)), NO_DATE);
    }
    assert_refused(&harness.send("GET / HTTP/1.1\nAuthorization: Bearer x"), NO_DATE);
}

#[test]
fn a_fresh_date_beside_the_signed_one_does_not_renew_an_old_request() {
    let mut harness = harness("{}");
    harness.clock.advance(3_600_000);
    let fresh = "Thu, 01 Jan 2026 01:00:00 GMT";
    assert_refused(&harness.send(&(dated(DATE, OF_DATE) + &format!("\nX-Date: {fresh}"))), NO_DATE);
    let twice = dated(DATE, OF_DATE).replace("GET / HTTP/1.1", &format!("GET / HTTP/1.1\nDate: {fresh}"));
    assert_refused(&harness.send(&twice), NO_DATE);
}

#[test]
fn an_unknown_username_is_answered_like_a_wrong_signature() {
    let mut harness = harness("{}");
    let wrong = harness.send(&dated(DATE, "AAAA"));
    let unknown = harness.send(&dated(DATE, OF_DATE).replace("\"u\"", "\"unknown\""));
    assert_refused(&wrong, WRONG);
    assert_refused(&unknown, WRONG);
    assert_eq!(wrong.body, unknown.body);
    for no_base64 in ["", "!", &OF_DATE.repeat(20)] {
        assert_refused(&harness.send(&dated(DATE, no_base64)), WRONG);
    }
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let mut harness = harness("{enforce_headers: [Date, request-line]}");
    assert_refused(&harness.send("GET / HTTP/1.1"), "Unauthorized");
    assert_refused(&harness.send(&dated(DATE, OF_DATE)), UNUSABLE);
    let head = format!("GET / HTTP/1.1\nDate: {DATE}");
    for value in [
        "hmac",
        "hmac ",
        "hmac username",
        "hmac username=\"u\"",
        "Basic dTpw",
        "hmac \"\"\"\"",
        "hmac =\"\",=\"\"",
    ] {
        assert_refused(&harness.send(&format!("{head}\nAuthorization: {value}")), UNUSABLE);
    }
    let twice = format!("{}\nAuthorization: Bearer x", dated(DATE, OF_DATE));
    assert_refused(&harness.send(&twice), UNUSABLE);
}

#[test]
fn a_body_must_be_the_one_of_the_digest() {
    const SHA256: &str = "SHA-256=AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX+GI=";
    const SHA512: &str =
        "sha-512=77eoKY+QWudD2+IVLhYkFfYqFtLVrFx4gW3NVxFOeldHKbgTmI8dCYTPbzjE/Mmjfqn+w9o1GYNTb3J4XXq3Bw==";
    let mut harness = harness("{validate_request_body: true}");
    let mut send = |digests: &[&str], body: &str| {
        let head = dated(DATE, OF_DATE).replace("GET", "POST");
        let digests: String = digests.iter().map(|digest| format!("\nDigest: {digest}")).collect();
        harness.send(&format!("{head}{digests}\n\n{body}"))
    };
    let body = r#"{"a":1}"#;
    assert_ada(&send(&[], ""));
    let both = format!("{SHA512}, {SHA256}");
    let known_and_not = format!("md5=x,{SHA256}");
    for good in [&[SHA256][..], &[SHA512], &[&both], &[SHA256, SHA512], &[&known_and_not]] {
        let outcome = send(good, body);
        assert_ada(&outcome);
        assert_eq!(outcome.upstream_body, body.as_bytes());
        assert_refused(&send(good, r#"{"a":2}"#), WRONG);
        assert_refused(&send(good, ""), WRONG);
    }
    let other = format!("{SHA512},SHA-256=AAAA");
    for bad in [&[][..], &[""], &["SHA-256"], &["SHA-256="], &["md5=x"], &[&other], &[SHA256, "sha-256=!"]] {
        assert_refused(&send(bad, body), WRONG);
    }
}

#[test]
fn a_signed_digest_ties_the_body_to_the_signature() {
    let digest = "SHA-256=AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX+GI=";
    let signed = parameters("sha256", "date digest", "gg2hq3RkrSR1AxKuINwYkpGAjTCuG8RBcQlKGUMBr6A=");
    let request = format!(
        "POST / HTTP/1.1\nDate: {DATE}\nDigest: {digest}\nAuthorization: hmac {signed}\n\n{{\"a\":1}}"
    );
    let mut harness = harness("{validate_request_body: true, enforce_headers: [digest]}");
    assert_ada(&harness.send(&request));
    assert_refused(
        &harness.send(&request.replace(digest, "SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")),
        WRONG,
    );
}

#[test]
fn an_anonymous_consumer_stands_in() {
    let mut harness = harness("{anonymous: nobody, validate_request_body: true}");
    let other_body = dated(DATE, OF_DATE).replace("GET", "POST") + "\n\nx";
    for request in ["GET / HTTP/1.1".to_owned(), dated(DATE, "AAAA"), other_body] {
        let outcome = harness.send(&request);
        assert!(!outcome.answered);
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("nobody"));
        assert_eq!(outcome.upstream_header("X-Anonymous-Consumer").as_deref(), Some("true"));
        assert_eq!(outcome.upstream_header("Authorization"), None);
    }
    assert_ada(&harness.send(&dated(DATE, OF_DATE)));
}

#[test]
fn hostile_fields_never_pass_and_never_panic() {
    let mut harness = harness("{validate_request_body: true}");
    let good = dated(DATE, OF_DATE);
    let mut dice = Dice::new(1);
    let mut random = |below: usize| dice.index(below);
    let pieces = [
        "\"",
        ",",
        "=",
        " ",
        "username",
        "headers",
        "signature",
        "hmac",
        "date",
        "\\",
        "@request-target",
        "é",
        "\t",
        "A",
    ];
    for _ in 0..3000 {
        let mut value = good.split_once("Authorization: ").map(|(_, value)| value.to_owned()).unwrap();
        for _ in 0..=random(3) {
            let at = (0..=value.len())
                .rev()
                .find(|at| *at <= random(value.len() + 1) && value.is_char_boundary(*at))
                .unwrap_or(0);
            match random(3) {
                0 => value.insert_str(at, pieces[random(pieces.len())]),
                1 => value.truncate(at),
                _ => value = format!("{}{}", &value[..at], value[at..].chars().skip(1).collect::<String>()),
            }
        }
        let outcome = harness.send(&format!("GET / HTTP/1.1\nDate: {DATE}\nAuthorization: {}", value.trim()));
        assert!(outcome.status == 401 || !outcome.answered, "{}", outcome.status);
        if !outcome.answered {
            assert!(value.contains(OF_DATE.trim_end_matches('=')), "{value}");
        }
    }
}

#[test]
fn what_cannot_be_honoured_is_an_error() {
    assert!(ROOM.refuses("{clock_skew: 0}").contains("value must be greater than 0"));
    assert!(ROOM.refuses("{algorithms: [hmac-md5]}").contains("expected one of: hmac-sha1"));
    assert!(ROOM.refuses("{algorithms: []}").contains("config.algorithms: no signature would be accepted"));
    assert!(ROOM.refuses("{realm: 'a\"b'}").contains("invalid value"));
    let two = document("{}").replace("- username: nobody", "  - {username: u}\n- username: nobody");
    assert!(Harness::new(ROOM.0, &two).err().unwrap().contains("uniqueness violation"));
    let realm = harness("{realm: r}").send("GET / HTTP/1.1");
    assert_eq!(realm.header("WWW-Authenticate").as_deref(), Some("hmac realm=\"r\""));
}
