//! What the key-auth room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome, START_MS};

use super::KeyAuth;

const BOB_KEY_ID: &str = "6f1d1c5e-0000-4000-8000-000000000001";

fn harness(config: &str) -> Harness {
    Harness::new(plugin::room::<KeyAuth>(), &document(config)).unwrap()
}

fn document(config: &str) -> String {
    let created = START_MS / 1000;
    format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: key-auth, config: {config}}}
consumers:
- username: bob
  custom_id: b-1
  keyauth_credentials:
  - {{id: {BOB_KEY_ID}, key: k1}}
  - {{key: short, ttl: 60, created_at: {created}}}
- username: nobody
keyauth_credentials:
- {{consumer: bob, key: "k 2"}}
"#
    )
}

fn send(config: &str, request: &str) -> Outcome {
    harness(config).send(request)
}

#[track_caller]
fn assert_refused(outcome: &Outcome, message: &str) {
    assert_eq!((outcome.answered, outcome.status, outcome.message.as_deref()), (true, 401, Some(message)));
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Key"));
}

#[track_caller]
fn assert_bob(outcome: &Outcome) {
    assert!(!outcome.answered, "{:?}", outcome.message);
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("bob"));
}

#[test]
fn a_key_in_a_header_tells_the_upstream_who_calls() {
    let outcome = send("{}", "GET / HTTP/1.1\nApiKey: k1\nX-Anonymous-Consumer: true\nX-Consumer-ID: forged");
    assert_bob(&outcome);
    assert_eq!(outcome.upstream_header("X-Consumer-Custom-ID").as_deref(), Some("b-1"));
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some(BOB_KEY_ID));
    assert_eq!(outcome.upstream_header("X-Anonymous-Consumer"), None);
    assert_eq!(outcome.upstream_header("X-Consumer-ID").map(|id| id.len()), Some(36));
    assert_eq!(outcome.upstream_header("apikey"), None, "credentials are hidden by default");
}

#[test]
fn a_name_that_no_field_can_carry_leaves_no_room_for_a_forged_one() {
    let document = document("{}")
        .replace("- username: bob", "- username: \"bob\\nby\"")
        .replace("consumer: bob", "consumer: nobody");
    let mut harness = Harness::new(plugin::room::<KeyAuth>(), &document).unwrap();
    let outcome = harness.send("GET / HTTP/1.1\nApiKey: k1\nX-Consumer-Username: admin");
    assert!(!outcome.answered);
    assert_eq!(outcome.upstream_header("X-Consumer-Custom-ID").as_deref(), Some("b-1"));
    assert_eq!(outcome.upstream_header("X-Consumer-Username"), None);
}

#[test]
fn a_key_in_the_query_is_found_and_hidden() {
    let outcome = send("{}", "GET /?a=%41&apikey=k1&b HTTP/1.1");
    assert_bob(&outcome);
    assert_eq!(outcome.upstream_query.as_deref(), Some("a=%41&b"));
    let outcome = send("{}", "GET /?apikey=k1 HTTP/1.1");
    assert_eq!(outcome.upstream_query, None);
    let outcome = send("{hide_credentials: false}", "GET /?apikey=k+2 HTTP/1.1\nX: y");
    assert_bob(&outcome);
    assert_eq!(outcome.upstream_query.as_deref(), Some("apikey=k+2"));
}

#[test]
fn no_key_a_wrong_key_and_two_keys_are_told_apart() {
    let mut harness = harness("{}");
    for missing in
        ["GET / HTTP/1.1", "GET / HTTP/1.1\napikey:", "GET /?apikey= HTTP/1.1", "GET /?apikey HTTP/1.1"]
    {
        assert_refused(&harness.send(missing), "No API key found in request");
    }
    for wrong in ["GET / HTTP/1.1\napikey: k", "GET /?apikey=K1 HTTP/1.1", "GET / HTTP/1.1\napikey: k1,k1"] {
        assert_refused(&harness.send(wrong), "Unauthorized");
    }
    for twice in ["GET / HTTP/1.1\napikey: k1\napikey: k1", "GET /?apikey=k1&%61pikey=k1 HTTP/1.1"] {
        assert_refused(&harness.send(twice), "Duplicate API key found");
    }
    for other in ["GET /?apikey[]=k1 HTTP/1.1", "GET /?APIKEY=k1 HTTP/1.1", "POST / HTTP/1.1\n\napikey=k1"] {
        assert_refused(&harness.send(other), "No API key found in request");
    }
}

#[test]
fn a_realm_is_named() {
    let outcome = send("{realm: orders}", "GET / HTTP/1.1");
    assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Key realm=\"orders\""));
}

#[test]
fn the_first_place_and_the_first_name_decide() {
    let mut both = harness("{key_names: [first, second]}");
    assert_refused(&both.send("GET /?first=k1 HTTP/1.1\nfirst: wrong"), "Unauthorized");
    assert_refused(&both.send("GET / HTTP/1.1\nsecond: k1\nfirst: wrong"), "Unauthorized");
    assert_bob(&both.send("GET /?second=wrong HTTP/1.1\nfirst: k1"));
    assert_bob(&both.send("GET /?second=k1 HTTP/1.1"));
    assert_refused(&both.send("GET /?first=k1 HTTP/1.1\nfirst:"), "No API key found in request");
    assert_refused(&both.send("GET / HTTP/1.1\nfirst:\nsecond: k1"), "No API key found in request");
}

#[test]
fn only_enabled_places_are_searched() {
    let header = "GET / HTTP/1.1\napikey: k1";
    let query = "GET /?apikey=k1 HTTP/1.1";
    assert_refused(&send("{key_in_header: false}", header), "No API key found in request");
    assert_bob(&send("{key_in_header: false}", query));
    assert_refused(&send("{key_in_query: false}", query), "No API key found in request");
    assert_bob(&send("{key_in_query: false}", header));
}

/// A request with its key in the body of the given media type.
fn with_body(content_type: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\nContent-Type: {content_type}\n\n{body}")
}

#[test]
fn a_key_in_a_body_is_found_and_hidden() {
    let mut harness = harness("{key_in_body: true}");
    let form =
        harness.send(&with_body("application/x-www-form-urlencoded; charset=utf-8", "a=%41&apikey=k1"));
    assert_bob(&form);
    assert_eq!(form.upstream_body, b"a=%41");
    let json = harness.send(&with_body("Application/JSON", r#"{"apikey":"k1","a":1.00}"#));
    assert_bob(&json);
    assert_eq!(json.upstream_body, br#"{"a":1.00}"#);
    let part = |name: &str, value: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = format!("{}{}--x--\r\n", part("apikey", "k1"), part("a", "1"));
    let head = "POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary=x";
    let multipart = harness.send_bytes(head, body.as_bytes());
    assert_bob(&multipart);
    assert_eq!(multipart.upstream_body, format!("{}--x--\r\n", part("a", "1")).as_bytes());
}

/// All 189 combinations of where is searched and what stands in each place.
#[test]
fn the_first_searched_place_that_holds_a_key_decides() {
    const KEYS: [Option<&str>; 3] = [None, Some("k1"), Some("wrong")];
    for searched in 1..8 {
        let [header, query, body] = [0, 1, 2].map(|place| searched & (1 << place) != 0);
        let config = format!("{{key_in_header: {header}, key_in_query: {query}, key_in_body: {body}}}");
        let mut harness = harness(&config);
        for number in 0..27 {
            let keys = [KEYS[number % 3], KEYS[number / 3 % 3], KEYS[number / 9]];
            let argument = keys[1].map(|key| format!("?apikey={key}")).unwrap_or_default();
            let field = keys[0].map(|key| format!("\napikey: {key}")).unwrap_or_default();
            let form = keys[2].map(|key| format!("apikey={key}")).unwrap_or_default();
            let kind = "Content-Type: application/x-www-form-urlencoded";
            let outcome = harness.send(&format!("POST /{argument} HTTP/1.1\n{kind}{field}\n\n{form}"));
            let places = keys.iter().zip([header, query, body]);
            match places.filter(|(_, searched)| *searched).find_map(|(key, _)| *key) {
                Some("k1") => assert_bob(&outcome),
                Some(_) => assert_refused(&outcome, "Unauthorized"),
                None => assert_refused(&outcome, "No API key found in request"),
            }
        }
    }
}

#[test]
fn bodies_without_a_readable_key_have_none() {
    let mut harness = harness("{key_in_body: true}");
    let missing = [
        with_body("text/plain", "apikey=k1"),
        with_body("application/json", r#"{"apikey":"k1""#),
        with_body("application/json", r#"{"apikey":1}"#),
        with_body("application/json", r#"["apikey"]"#),
        with_body("application/json", &"[".repeat(100_000)),
        with_body("application/x-www-form-urlencoded", ""),
        with_body("multipart/form-data", "--x\r\n\r\nk1\r\n--x--"),
        with_body("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=apikey"),
        "GET / HTTP/1.1\nContent-Type: application/json".to_owned(),
    ];
    for request in missing {
        assert_refused(&harness.send(&request), "No API key found in request");
    }
    let twice = [
        with_body("application/x-www-form-urlencoded", "apikey=k1&apikey=k1"),
        with_body("application/json", r#"{"apikey":["k1"]}"#),
    ];
    for request in twice {
        assert_refused(&harness.send(&request), "Duplicate API key found");
    }
}

#[test]
fn a_body_is_searched_last_and_hidden_along_with_the_header() {
    let mut harness = harness("{key_in_body: true}");
    let wrong =
        harness.send("POST / HTTP/1.1\napikey: no\nContent-Type: application/json\n\n{\"apikey\":\"k1\"}");
    assert_refused(&wrong, "Unauthorized");
    let right = harness
        .send("POST /?apikey=x HTTP/1.1\napikey: k1\nContent-Type: application/json\n\n{\"apikey\":\"y\"}");
    assert_bob(&right);
    assert_eq!((right.upstream_query, right.upstream_body), (None, b"{}".to_vec()));
}

#[test]
fn a_preflight_may_pass_without_a_key() {
    let preflight = "OPTIONS / HTTP/1.1";
    assert_refused(&send("{}", preflight), "No API key found in request");
    assert!(!send("{run_on_preflight: false}", preflight).answered);
    assert_refused(&send("{run_on_preflight: false}", "GET / HTTP/1.1"), "No API key found in request");
}

#[test]
fn an_anonymous_consumer_stands_in() {
    let mut harness = harness("{anonymous: nobody}");
    for request in ["GET / HTTP/1.1", "GET / HTTP/1.1\napikey: no", "GET / HTTP/1.1\napikey: a\napikey: b"] {
        let outcome = harness.send(request);
        assert!(!outcome.answered);
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("nobody"));
        assert_eq!(outcome.upstream_header("X-Anonymous-Consumer").as_deref(), Some("true"));
        assert_eq!(outcome.upstream_header("X-Credential-Identifier"), None);
    }
    assert_bob(&harness.send("GET / HTTP/1.1\napikey: k1"));
}

#[test]
fn an_anonymous_consumer_that_does_not_exist_is_an_error() {
    let outcome = send("{anonymous: ghost}", "GET / HTTP/1.1");
    assert_eq!(outcome.status, 500);
    assert_eq!(outcome.message.as_deref(), Some("anonymous consumer ghost is configured but doesn't exist"));
}

#[test]
fn an_expired_key_is_unknown() {
    let mut harness = harness("{}");
    let request = "GET / HTTP/1.1\napikey: short";
    assert_bob(&harness.send(request));
    harness.clock.advance(59_999);
    assert_bob(&harness.send(request));
    harness.clock.advance(1);
    assert_refused(&harness.send(request), "Unauthorized");
}

#[test]
fn a_key_that_a_reload_removes_is_unknown() {
    let mut harness = harness("{}");
    assert_bob(&harness.send("GET / HTTP/1.1\napikey: k1"));
    harness.reload("{_format_version: \"3.0\", plugins: [{name: key-auth}]}").unwrap();
    assert_refused(&harness.send("GET / HTTP/1.1\napikey: k1"), "Unauthorized");
}

#[test]
fn a_huge_key_is_just_wrong() {
    let request = format!("GET / HTTP/1.1\napikey: {}", "k".repeat(10_000));
    assert_refused(&send("{}", &request), "Unauthorized");
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let refusal = |config| Harness::global(plugin::room::<KeyAuth>(), config).err().unwrap();
    assert!(refusal("{identity_realms: [{scope: cp}]}").contains("config.identity_realms"));
    assert!(refusal("{principals: {enabled: true}}").contains("config.principals.enabled"));
    assert!(refusal("{key_in_header: false, key_in_query: false}").contains("config.key_in_header"));
    assert!(refusal("{key_names: ['a b']}").contains("bad header name"));
    assert!(refusal("{key_names: []}").contains("length must be at least 1"));
    assert!(refusal("{realm: 'a\"b'}").contains("invalid value"));
    assert!(Harness::global(plugin::room::<KeyAuth>(), "{identity_realms: []}").is_ok());
}

#[test]
fn two_consumers_cannot_have_the_same_key() {
    let document = document("{}") + "- {consumer: nobody, key: k1}\n";
    let refusal = Harness::new(plugin::room::<KeyAuth>(), &document).err().unwrap();
    assert!(refusal.contains("uniqueness violation"), "{refusal}");
}

#[test]
fn who_guesses_has_to_wait_and_nobody_else() {
    let mut guarded = harness("{brute_force_protection: {strategy: memory, failures: 3, window: 60}}");
    let (right, wrong) = ("GET / HTTP/1.1\napikey: k1", "GET / HTTP/1.1\napikey: no");
    for _ in 0..5 {
        assert_bob(&guarded.send(right));
        assert_refused(&guarded.send("GET / HTTP/1.1"), "No API key found in request");
        assert_refused(&guarded.send("GET / HTTP/1.1\napikey: a\napikey: b"), "Duplicate API key found");
    }
    for number in 0..3 {
        assert_refused(&guarded.send(&format!("{wrong}{number}")), "Unauthorized");
        assert_eq!(guarded.send(right).answered, number == 2, "a right key clears nothing");
    }
    let outcome = guarded.send(right);
    assert_eq!((outcome.status, outcome.message.as_deref()), (429, Some("Too many failed attempts")));
    assert_eq!(outcome.header("Retry-After").as_deref(), Some("80"));
    guarded.peer.set_ip([127, 0, 0, 2].into());
    assert_bob(&guarded.send(right));
    guarded.peer.set_ip([127, 0, 0, 1].into());
    guarded.clock.advance(80_000);
    assert_bob(&guarded.send(right));
}

#[test]
fn without_being_asked_nobody_has_to_wait() {
    let mut usual = harness("{}");
    for number in 0..200 {
        assert_refused(&usual.send(&format!("GET / HTTP/1.1\napikey: no{number}")), "Unauthorized");
    }
    assert_bob(&usual.send("GET / HTTP/1.1\napikey: k1"));
}
