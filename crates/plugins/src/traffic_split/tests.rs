//! The traffic-split room, through the harness.

use plugin::harness::Harness;
use plugin::room;

use super::TrafficSplit;

fn document(config: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- {{name: blue, url: 'http://blue.test', routes: [{{name: r, paths: [/]}}]}}\n- {{name: \
         green, url: 'http://green.test'}}\n- {{name: red, url: 'http://red.test'}}\nplugins:\n- {{name: traffic-split, config: \
         {config}}}\n"
    )
}

fn split(config: &str) -> Harness {
    Harness::new(room::<TrafficSplit>(), &document(config)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refusal(config: &str) -> String {
    Harness::new(room::<TrafficSplit>(), &document(config))
        .err()
        .unwrap_or_else(|| panic!("{config} was taken"))
}

fn sent(harness: &mut Harness, headers: &str) -> String {
    let outcome = harness.send(&format!("GET /?release=green&x HTTP/1.1\n{headers}\n"));
    outcome.sent_to.unwrap_or_else(|| "own".to_owned())
}

/// Where each of a thousand users goes with these weights.
fn by_user(green: u32, own: u32, salt: &str) -> Vec<String> {
    let mut harness = split(&format!(
        "{{services: [{{service: green, weight: {green}}}, {{weight: {own}}}], hash_on: header, hash_on_header: X-User, salt: \
         {salt}}}"
    ));
    (0..1000).map(|user| sent(&mut harness, &format!("X-User: user-{user}\n"))).collect()
}

fn count(places: &[String], name: &str) -> usize {
    places.iter().filter(|place| *place == name).count()
}

#[test]
fn weights_are_shares() {
    for (green, own, expected) in [(0, 1, 0..=0), (1, 3, 210..=290), (50, 50, 450..=550), (1, 0, 1000..=1000)]
    {
        let places = by_user(green, own, "a");
        assert!(expected.contains(&count(&places, "green")), "{green}:{own}: {}", count(&places, "green"));
        assert_eq!(count(&places, "green") + count(&places, "own"), 1000);
    }
}

#[test]
fn nobody_comes_back_while_a_service_grows() {
    let mut before = by_user(0, 100, "a");
    for green in [1, 10, 50, 99] {
        let now = by_user(green, 100 - green, "a");
        let returned = before.iter().zip(&now).filter(|(was, is)| *was == "green" && *is == "own").count();
        assert_eq!(returned, 0, "at {green} %");
        before = now;
    }
}

#[test]
fn salts_keep_splits_apart() {
    let (one, other) = (by_user(50, 50, "a"), by_user(50, 50, "b"));
    let alike = one.iter().zip(&other).filter(|(one, other)| one == other).count();
    assert!((430..=570).contains(&alike), "{alike} of 1000 are in the same place");
    assert_eq!(by_user(50, 50, "a"), one);
}

#[test]
fn a_cookie_keeps_clients_and_is_given_to_those_without() {
    let mut harness = split(
        "{services: [{service: green}, {service: red}], hash_on: cookie, hash_on_cookie: release, hash_on_cookie_path: /shop, \
         cookie_max_age: 60}",
    );
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let first = harness.send("GET / HTTP/1.1\n\n");
        let line = first.header("Set-Cookie").unwrap();
        let (pair, attributes) = line.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/shop; HttpOnly; SameSite=Lax; Max-Age=60");
        let again = harness.send(&format!("GET / HTTP/1.1\nCookie: a=b; {pair}\n\n"));
        assert_eq!(again.header("Set-Cookie"), None);
        assert_eq!(again.sent_to, first.sent_to, "{pair}");
        seen.insert(first.sent_to);
    }
    assert_eq!(seen.len(), 2, "both services had clients");
}

#[test]
fn a_cookie_of_the_service_is_kept() {
    let mut harness = split("{services: [{service: green}], hash_on: cookie, hash_on_cookie: release}");
    harness.upstream.headers.push(("Set-Cookie", "session=1".to_owned()));
    let outcome = harness.send("GET / HTTP/1.1\n\n");
    let cookies: Vec<&[u8]> =
        outcome.headers.iter().filter(|(name, _)| *name == "Set-Cookie").map(|(_, value)| value).collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
}

#[test]
fn matches_come_before_weights_in_their_order() {
    let services = "services: [{service: red}]";
    let matching = |matches: &str| split(&format!("{{{services}, matches: [{matches}]}}"));
    let cases = [
        ("{on: query, name: release, values: [green], service: green}", "", "green"),
        ("{on: query, name: release, values: [blue], service: green}", "", "red"),
        ("{on: query, name: x, service: green}", "", "green"),
        ("{on: cookie, name: beta, values: ['1'], service: green}", "Cookie: a=1; beta=1\n", "green"),
        ("{on: cookie, name: beta, values: ['1'], service: green}", "Cookie: alphabeta=1\n", "red"),
        ("{on: cookie, name: beta, service: green}", "Cookie: betas=1\n", "red"),
        ("{on: cookie, name: beta, values: ['1'], service: green}", "Cookie: beta=2\n", "red"),
        ("{on: header, name: X-Beta, service: green}", "x-beta:\n", "green"),
        ("{on: header, name: X-Beta, values: ['yes', 'on']}", "X-Beta: on\n", "own"),
        ("{on: header, name: X-Beta, values: ['yes', 'on']}", "X-Beta: no\n", "red"),
    ];
    for (matches, headers, expected) in cases {
        assert_eq!(sent(&mut matching(matches), headers), expected, "{matches} {headers}");
    }
    let mut both = matching("{on: query, name: x}, {on: query, name: x, service: green}");
    assert_eq!(sent(&mut both, ""), "own", "the first match counts");
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let cases = [
        ("{services: [{service: tow}]}", "config.services[0].service: there is no service 'tow'"),
        ("{services: [{weight: 0}]}", "config.services: all weights are 0"),
        ("{services: [{}], hash_on: cookie}", "config.hash_on_cookie: hash_on: cookie needs a name"),
        ("{services: [{}], hash_on: header}", "config.hash_on_header: hash_on: header needs a name"),
        (
            "{services: [{}], matches: [{on: query, name: a, service: tow}]}",
            "config.matches[0].service: there is no service 'tow'",
        ),
        ("{services: []}", "length must be at least 1"),
    ];
    for (config, expected) in cases {
        let refusal = refusal(config);
        assert!(refusal.contains(expected), "{config}: {refusal}");
    }
}
