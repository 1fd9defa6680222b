//! What the session room does, seen from outside, in front of key-auth and acl.

use plugin::claims::WantedClaims;
use plugin::harness::vouching::Vouching;
use plugin::harness::{Harness, Outcome};

use super::data::Data;
use crate::ROOMS;

mod kept;

const MINUTE: u64 = 60_000;

fn harness(config: &str) -> Harness {
    Harness::chain(ROOMS, &document(config)).unwrap()
}

fn document(config: &str) -> String {
    format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: session, config: {config}}}
- {{name: key-auth, config: {{anonymous: nobody}}}}
consumers:
- username: ada
  keyauth_credentials: [{{key: k-ada}}]
- username: bob
  keyauth_credentials: [{{key: k-bob}}]
- username: nobody
"#
    )
}

fn refusal(config: &str) -> String {
    Harness::chain(ROOMS, &document(config)).err().expect("a bad configuration")
}

fn cookies(outcome: &Outcome) -> Vec<String> {
    outcome.headers.all("Set-Cookie").map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// What a browser sends after `outcome`.
fn cookie(outcome: &Outcome) -> String {
    let lines = cookies(outcome);
    let pairs: Vec<&str> = lines.iter().filter_map(|line| line.split(';').next()).collect();
    assert!(!pairs.is_empty(), "no cookie was set");
    pairs.join("; ")
}

fn login(harness: &mut Harness, who: &str) -> Outcome {
    harness.send(&format!("GET / HTTP/1.1\napikey: k-{who}"))
}

fn with(harness: &mut Harness, cookie: &str) -> Outcome {
    harness.send(&format!("GET / HTTP/1.1\nCookie: {cookie}"))
}

fn who(outcome: &Outcome) -> Option<String> {
    outcome.upstream_header("X-Consumer-Username")
}

#[track_caller]
fn assert_ada(outcome: &Outcome) {
    assert_eq!(who(outcome).as_deref(), Some("ada"));
    assert_eq!(outcome.upstream_header("X-Anonymous-Consumer"), None);
}

#[track_caller]
fn assert_nobody(outcome: &Outcome) {
    assert_eq!(who(outcome).as_deref(), Some("nobody"));
}

#[test]
fn who_has_logged_in_is_known_by_the_cookie() {
    for storage in ["cookie", "kong"] {
        let mut harness = harness(&format!("{{secret: s, storage: {storage}}}"));
        let first = login(&mut harness, "ada");
        assert_ada(&first);
        let lines = cookies(&first);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("session="));
        assert!(lines[0].ends_with("; Path=/; SameSite=Strict; Secure; HttpOnly"), "{}", lines[0]);
        let second = with(&mut harness, &cookie(&first));
        assert_ada(&second);
        let credential = first.upstream_header("X-Credential-Identifier");
        assert_eq!(second.upstream_header("X-Credential-Identifier"), credential);
        assert!(cookies(&second).is_empty(), "nothing has changed");
        assert_nobody(&harness.send("GET / HTTP/1.1"));
    }
}

#[test]
fn nobody_gets_no_session() {
    let mut harness = harness("{secret: s}");
    let outcome = harness.send("GET / HTTP/1.1\napikey: wrong");
    assert_nobody(&outcome);
    assert!(cookies(&outcome).is_empty());
}

#[test]
fn a_cookie_that_was_changed_is_no_session() {
    let mut harness = harness("{secret: s}");
    let good = cookie(&login(&mut harness, "ada"));
    for place in ["session=".len() + 1, good.len() / 2, good.len() - 1] {
        let mut changed = good.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'Q' } else { b'A' };
        assert_nobody(&with(&mut harness, &String::from_utf8(changed).unwrap()));
    }
    assert_ada(&with(&mut harness, &good));
}

#[test]
fn a_cookie_of_another_secret_audience_or_name_is_no_session() {
    let good = cookie(&login(&mut harness("{secret: s}"), "ada"));
    assert_ada(&with(&mut harness("{secret: s}"), &good));
    assert_nobody(&with(&mut harness("{secret: t}"), &good));
    assert_nobody(&with(&mut harness("{secret: s, audience: other}"), &good));
    let renamed = good.replace("session=", "other=");
    assert_nobody(&with(&mut harness("{secret: s, cookie_name: other}"), &renamed));
}

#[test]
fn a_cookie_of_remembering_is_none_of_a_session() {
    let config = "{secret: s, remember: true}";
    let both = cookies(&login(&mut harness(config), "ada"));
    let remember = both.iter().find(|line| line.starts_with("remember=")).unwrap();
    let value = remember.split([';', '=']).nth(1).unwrap();
    assert_nobody(&with(&mut harness(config), &format!("session={value}")));
}

#[test]
fn a_login_never_takes_an_id_over() {
    for storage in ["cookie", "kong"] {
        let config = format!("{{secret: s, storage: {storage}, response_headers: [id]}}");
        let mut harness = harness(&config);
        let bob = login(&mut harness, "bob");
        let mut reloaded = document(&config);
        reloaded = reloaded.replace("{anonymous: nobody}", "{}");
        harness.reload(&reloaded).unwrap();
        // The cookie of bob was put into the browser of ada, who logs in.
        let planted = cookie(&bob);
        let ada = harness.send(&format!("GET / HTTP/1.1\nCookie: {planted}\napikey: k-ada"));
        assert_ada(&ada);
        assert_ne!(ada.header("Session-Id"), bob.header("Session-Id"));
        assert_ne!(cookie(&ada), planted);
        harness.reload(&document(&config)).unwrap();
        assert_ada(&with(&mut harness, &cookie(&ada)));
        let after = with(&mut harness, &planted);
        // In memory, a session that was replaced is gone; a sealed cookie stays what it was: bob's.
        assert_eq!(who(&after).as_deref(), Some(if storage == "kong" { "nobody" } else { "bob" }));
    }
}

#[test]
fn a_session_ends_without_requests() {
    for storage in ["cookie", "kong"] {
        let mut harness = harness(&format!("{{secret: s, storage: {storage}}}"));
        let first = cookie(&login(&mut harness, "ada"));
        harness.clock.advance(15 * MINUTE);
        let second = with(&mut harness, &first);
        assert_ada(&second);
        harness.clock.advance(1000);
        if storage == "cookie" {
            assert_nobody(&with(&mut harness, &first));
        }
        let used = if storage == "cookie" { cookie(&second) } else { first };
        assert_ada(&with(&mut harness, &used));
        harness.clock.advance(16 * MINUTE);
        assert_nobody(&with(&mut harness, &used));
    }
}

#[test]
fn a_session_that_is_used_is_renewed_until_its_time_is_over() {
    for storage in ["cookie", "kong"] {
        let mut harness =
            harness(&format!("{{secret: s, storage: {storage}, response_headers: [id, absolute-timeout]}}"));
        let mut last = login(&mut harness, "ada");
        let mut held = cookie(&last);
        let (mut ids, mut minutes) = (vec![last.header("Session-Id")], 0);
        while who(&last).as_deref() == Some("ada") {
            harness.clock.advance(10 * MINUTE);
            minutes += 10;
            last = with(&mut harness, &held);
            if who(&last).as_deref() == Some("ada") && !cookies(&last).is_empty() {
                held = cookie(&last);
            }
            let id = last.header("Session-Id");
            if ids.last() != Some(&id) && id.is_some() {
                ids.push(id);
            }
        }
        assert_eq!(minutes, 24 * 60 + 10, "a day and not longer, {storage}");
        assert!((24..32).contains(&ids.len()), "about once in 50 minutes: {}", ids.len());
    }
}

#[test]
fn an_old_id_goes_on_for_a_moment_in_memory() {
    let mut harness = harness("{secret: s, storage: kong, idling_timeout: 3000}");
    let first = cookie(&login(&mut harness, "ada"));
    harness.clock.advance(11 * MINUTE);
    let renewed = cookie(&with(&mut harness, &first));
    harness.clock.advance(9_000);
    assert_ada(&with(&mut harness, &first));
    harness.clock.advance(1_000);
    assert_nobody(&with(&mut harness, &first));
    assert_ada(&with(&mut harness, &renewed));
}

#[test]
fn who_is_remembered_gets_a_session_again() {
    for storage in ["cookie", "kong"] {
        let mut harness = harness(&format!("{{secret: s, storage: {storage}, remember: true}}"));
        let lines = cookies(&login(&mut harness, "ada"));
        assert!(lines[1].starts_with("remember=") && lines[1].ends_with("; Max-Age=604800"), "{lines:?}");
        assert!(!lines[0].contains("Max-Age"));
        let remember = lines[1].split(';').next().unwrap().to_owned();
        harness.clock.advance(6 * 24 * 60 * MINUTE);
        let again = with(&mut harness, &remember);
        assert_ada(&again);
        let both = cookies(&again);
        assert!(both[0].starts_with("session=") && both[1].starts_with("remember="), "{both:?}");
        assert_ada(&with(&mut harness, both[0].split(';').next().unwrap()));
        harness.clock.advance(2 * 24 * 60 * MINUTE);
        assert_nobody(&with(&mut harness, &remember));
        let renewed = both[1].split(';').next().unwrap().to_owned();
        assert_ada(&with(&mut harness, &renewed));
        harness.clock.advance(8 * 24 * 60 * MINUTE);
        assert_nobody(&with(&mut harness, &renewed));
    }
}

#[test]
fn remembering_ends_whatever_happens() {
    let mut harness = harness("{secret: s, remember: true}");
    let mut held = cookies(&login(&mut harness, "ada"))[1].split(';').next().unwrap().to_owned();
    let mut days = 0;
    loop {
        harness.clock.advance(5 * 24 * 60 * MINUTE);
        days += 5;
        let outcome = with(&mut harness, &held);
        if who(&outcome).as_deref() != Some("ada") {
            break;
        }
        held = cookies(&outcome)[1].split(';').next().unwrap().to_owned();
    }
    assert_eq!(days, 35, "thirty days");
}

#[test]
fn a_logout_ends_the_session() {
    for storage in ["cookie", "kong"] {
        let mut harness = harness(&format!("{{secret: s, storage: {storage}, remember: true}}"));
        let held = cookie(&login(&mut harness, "ada"));
        let outcome = harness.send(&format!("POST /?session_logout HTTP/1.1\nCookie: {held}"));
        assert_eq!((outcome.answered, outcome.status, outcome.body.len()), (true, 200, 0));
        let lines = cookies(&outcome);
        assert_eq!(lines.len(), 2, "{lines:?}");
        for (line, name) in lines.iter().zip(["session", "remember"]) {
            assert!(line.starts_with(&format!("{name}=;")) && line.contains("Max-Age=0"), "{line}");
        }
        let after = with(&mut harness, &held);
        assert_eq!(who(&after).as_deref(), Some(if storage == "kong" { "nobody" } else { "ada" }));
    }
}

#[test]
fn a_logout_is_asked_for_as_configured() {
    let ended = |config: &str, request: &str, body: &str| {
        let mut harness = harness(&format!("{{secret: s{config}}}"));
        let held = cookie(&login(&mut harness, "ada"));
        harness.send_bytes(&format!("{request}\nCookie: {held}\n\n"), body.as_bytes()).answered
    };
    let form = "POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded";
    let json = "POST / HTTP/1.1\nContent-Type: application/json; charset=utf-8";
    let parts = "POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary=b";
    let part = "--b\r\nContent-Disposition: form-data; name=\"session_logout\"\r\n\r\n1\r\n--b--\r\n";
    assert!(ended("", "DELETE /?a=b&session_logout=1 HTTP/1.1", ""));
    assert!(!ended("", "GET /?session_logout=1 HTTP/1.1", ""));
    assert!(ended(", logout_methods: [GET]", "GET /?session_logout=1 HTTP/1.1", ""));
    assert!(!ended(", logout_methods: [GET]", "POST /?session_logout=1 HTTP/1.1", ""));
    assert!(!ended(", logout_query_arg: bye", "POST /?session_logout=1 HTTP/1.1", ""));
    assert!(ended(", logout_query_arg: bye", "POST /?bye HTTP/1.1", ""));
    assert!(!ended("", form, "session_logout=1"), "bodies are not read unless that is asked for");
    assert!(ended(", read_body_for_logout: true", form, "x=1&session_logout=1"));
    assert!(!ended(", read_body_for_logout: true", form, "x=session_logout"));
    assert!(ended(", read_body_for_logout: true", json, "{\"session_logout\": true}"));
    assert!(!ended(", read_body_for_logout: true", json, "{\"session_logout\": tru"));
    assert!(ended(", read_body_for_logout: true", parts, part));
    assert!(ended(", read_body_for_logout: true, logout_post_arg: bye", form, "bye="));
    assert!(ended(
        ", read_body_for_logout: true",
        "POST /?session_logout HTTP/1.1\nContent-Type: application/json",
        "{}"
    ));
    assert!(!ended(
        ", read_body_for_logout: true",
        "POST / HTTP/1.1\nContent-Type: text/plain",
        "session_logout=1"
    ));
}

#[test]
fn a_logout_without_a_session_is_a_request_like_others() {
    let mut harness = harness("{secret: s}");
    let outcome = harness.send("POST /?session_logout HTTP/1.1\nCookie: session=1forged");
    assert!(!outcome.answered);
}

#[test]
fn both_sides_are_told_what_they_should_know() {
    let all = "[id, audience, subject, timeout, idling-timeout, rolling-timeout, absolute-timeout]";
    let mut harness = harness(&format!("{{secret: s, request_headers: {all}, response_headers: {all}}}"));
    let first = login(&mut harness, "ada");
    assert_eq!(first.upstream_header("Session-Id"), None, "the session begins with the response");
    assert_eq!(first.header("Session-Id").map(|id| id.len()), Some(43));
    harness.clock.advance(5_000);
    let held = cookie(&first);
    let second = harness.send(&format!("GET / HTTP/1.1\nCookie: {held}\nSession-Subject: forged"));
    let fields = ["Audience", "Subject", "Timeout", "Idling-Timeout", "Rolling-Timeout", "Absolute-Timeout"];
    let expected = ["default", "ada", "895", "895", "3595", "86395"];
    for (field, expected) in fields.iter().zip(expected) {
        let name = format!("Session-{field}");
        assert_eq!(second.upstream_header(&name).as_deref(), Some(expected), "{name}");
        assert_eq!(second.header(&name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(second.header("Session-Id"), first.header("Session-Id"));
    let none = harness.send("GET / HTTP/1.1\nSession-Subject: forged\nSession-Id: forged");
    assert_eq!((none.upstream_header("Session-Subject"), none.upstream_header("Session-Id")), (None, None));
}

#[test]
fn a_subject_may_be_hashed() {
    let mut harness = harness("{secret: s, hash_subject: true, response_headers: [subject]}");
    let subject = login(&mut harness, "ada").header("Session-Subject");
    // printf ada | sha256sum, in base64url.
    assert_eq!(subject.as_deref(), Some("_e5DDUC9V97qwYbNl5ADPQ8G-QmogG585ucXq3x9UCk"));
}

#[test]
fn a_session_stays_where_it_is_bound_to() {
    let mut harness = harness("{secret: s, bind: [ip, user-agent]}");
    let held = cookie(&harness.send("GET / HTTP/1.1\napikey: k-ada\nUser-Agent: A"));
    assert_ada(&harness.send(&format!("GET / HTTP/1.1\nCookie: {held}\nUser-Agent: A")));
    assert_nobody(&harness.send(&format!("GET / HTTP/1.1\nCookie: {held}\nUser-Agent: B")));
    harness.peer = ([192, 0, 2, 1], 4000).into();
    assert_nobody(&harness.send(&format!("GET / HTTP/1.1\nCookie: {held}\nUser-Agent: A")));
}

#[test]
fn a_session_of_a_consumer_who_is_gone_is_withdrawn() {
    let mut harness = harness("{secret: s}");
    let held = cookie(&login(&mut harness, "ada"));
    harness.reload(&document("{secret: s}").replace("username: ada", "username: eve")).unwrap();
    let outcome = with(&mut harness, &held);
    assert_nobody(&outcome);
    let lines = cookies(&outcome);
    assert!(lines[0].starts_with("session=;") && lines[0].contains("Max-Age=0"), "{lines:?}");
}

#[test]
fn a_random_secret_lasts_over_reloads() {
    let mut first = harness("{}");
    let held = cookie(&login(&mut first, "ada"));
    first.reload(&document("{}")).unwrap();
    assert_ada(&with(&mut first, &held));
    assert_nobody(&with(&mut harness("{}"), &held));
}

#[test]
fn the_cookie_is_written_as_configured() {
    let config = "{secret: s, cookie_name: sid, cookie_path: /shop, cookie_domain: example.com, \
                  cookie_same_site: Default, cookie_http_only: false, cookie_secure: false}";
    let lines = cookies(&login(&mut harness(config), "ada"));
    assert!(
        lines[0].starts_with("sid=1") && lines[0].ends_with("; Path=/shop; Domain=example.com"),
        "{lines:?}"
    );
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let cases = [
        ("{store_metadata: true}", "config.store_metadata"),
        ("{cookie_name: 'a b'}", "config.cookie_name"),
        ("{cookie_path: '/;x'}", "config.cookie_path"),
        ("{remember: true, remember_cookie_name: session}", "config.remember_cookie_name"),
        ("{remember: true, remember_cookie_name: ''}", "config.remember_cookie_name"),
        ("{idling_timeout: -1}", "idling_timeout"),
        ("{absolute_timeout: 1e300}", "absolute_timeout"),
    ];
    for (config, field) in cases {
        let refusal = refusal(config);
        assert!(refusal.contains(field) || refusal.contains("seconds from 0"), "{config}: {refusal}");
    }
}

/// Behind a plugin that vouches for groups and claims, rules that keep some callers from `/closed`.
fn vouched(more_rules: &str) -> String {
    format!(
        r#"
_format_version: "3.0"
plugins:
- {{name: vouching}}
- {{name: session, config: {{secret: s}}}}
- {{name: key-auth, config: {{anonymous: nobody}}}}
- name: authorization
  config:
    default: authenticated
    rules:
    - {{effect: deny, paths: [/closed], roles: [suspended]}}
    - {{effect: deny, paths: [/closed], claims: {{level: [low]}}}}
    {more_rules}
consumer_groups: [{{name: suspended}}]
consumers:
- username: ada
  keyauth_credentials: [{{key: k-ada}}]
- username: nobody
"#
    )
}

fn behind_vouching() -> Harness {
    let rooms = [&[plugin::room::<Vouching>()], ROOMS].concat();
    Harness::chain(&rooms, &vouched("")).unwrap()
}

/// What keeps a caller out.
const KEPT_OUT: [&str; 3] =
    ["vouched: suspended", "vouched-consumer-groups: suspended", "token: {\"level\":\"low\"}"];

#[test]
fn what_keeps_a_caller_out_keeps_their_session_out() {
    let mut harness = behind_vouching();
    for field in KEPT_OUT {
        let first = harness.send(&format!("GET /open HTTP/1.1\napikey: k-ada\n{field}"));
        assert_ada(&first);
        let asked = |path: &str| format!("GET {path} HTTP/1.1\nCookie: {}", cookie(&first));
        assert_ada(&harness.send(&asked("/open")));
        assert_eq!(harness.send(&asked("/closed")).status, 403, "{field}");
    }
    let first = harness.send("GET /open HTTP/1.1\napikey: k-ada");
    assert_ada(&harness.send(&format!("GET /closed HTTP/1.1\nCookie: {}", cookie(&first))));
}

#[test]
fn who_is_refused_gets_no_session() {
    let mut harness = behind_vouching();
    for field in KEPT_OUT {
        let refused = harness.send(&format!("GET /closed HTTP/1.1\napikey: k-ada\n{field}"));
        assert_eq!((refused.status, cookies(&refused)), (403, Vec::new()), "{field}");
    }
}

#[test]
fn a_session_begins_anew_when_something_else_is_found_out_or_has_to_be() {
    let mut harness = behind_vouching();
    let first = harness.send("GET /open HTTP/1.1\napikey: k-ada");
    let asked = |more: &str| format!("GET /open HTTP/1.1\nCookie: {}\n{more}", cookie(&first));
    assert_ada(&harness.send(&asked("")));
    // Nobody looked whether the token has this claim.
    harness.reload(&vouched("- {effect: deny, claims: {tenant: [rival]}}")).unwrap();
    assert_eq!(harness.send(&asked("")).status, 401);
    let again = harness.send(&asked("apikey: k-ada"));
    assert_ada(&again);
    assert_ada(&with(&mut harness, &cookie(&again)));
}

#[test]
fn what_is_kept_is_read_back_and_whatever_else_is_survived() {
    let wanted = WantedClaims::default();
    let (consumer, credential) = ([1; 16], [2; 16]);
    let (groups, consumer_groups) = (vec!["staff".into(), "".into()], vec!["gold".into()]);
    let data = Data { consumer, credential, groups, consumer_groups, claims: wanted.keep(None) };
    let bytes = serde_json::to_vec(&data).unwrap();
    assert_eq!(Data::read(&bytes), Some(data));
    for cut in 0..bytes.len() {
        assert_eq!(Data::read(&bytes[..cut]), None, "{cut}");
    }
}

#[test]
fn a_session_is_not_passed_on_where_it_is_hidden() {
    let passed_on = |fields: &str| {
        let mut harness = harness(&format!("{{secret: s, read_body_for_logout: true, {fields}}}"));
        let cookie = cookie(&login(&mut harness, "ada"));
        let form = "Content-Type: application/x-www-form-urlencoded";
        let outcome = harness.send(&format!("POST / HTTP/1.1\nCookie: theme=dark; {cookie}\n{form}\n\na=1"));
        assert_eq!(who(&outcome).as_deref(), Some("ada"));
        let bad = harness.send("GET / HTTP/1.1\nCookie: session=forged");
        (outcome.upstream_header("Cookie"), bad.upstream_header("Cookie"))
    };
    let (good, bad) = passed_on("hide_credentials: true");
    assert_eq!((good.as_deref(), bad), (Some("theme=dark"), None));
    let (good, _) = passed_on("hide_credentials: false");
    assert!(good.unwrap().contains("session="), "as in Kong");
}
