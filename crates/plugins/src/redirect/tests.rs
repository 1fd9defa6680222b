//! What the redirect room does, seen from outside: requests in, outcomes out.

use plugin::harness::Harness;

use super::Redirect;

fn harness(config: &str) -> Result<Harness, String> {
    Harness::global(plugin::room::<Redirect>(), config)
}

#[track_caller]
fn assert_sent(config: &str, request: &str, location: &str) {
    let outcome = harness(config).unwrap().send(request);
    assert!(outcome.answered);
    assert_eq!(outcome.header("Location").as_deref(), Some(location));
    assert_eq!(outcome.body, b"redirecting");
}

#[test]
fn clients_are_sent_to_the_location_as_it_is_written() {
    assert_sent("{location: 'https://e.com/p?a=b'}", "GET /x?y=z HTTP/1.1", "https://e.com/p?a=b");
    let outcome = harness("{location: 'https://e.com'}").unwrap().send("GET / HTTP/1.1");
    assert_eq!(outcome.status, 301);
    let outcome = harness("{location: 'https://e.com', status_code: 307}").unwrap().send("POST / HTTP/1.1");
    assert_eq!(outcome.status, 307);
}

#[test]
fn the_path_and_the_query_of_the_request_can_be_kept() {
    let cases = [
        ("https://e.com/p?a=b", "/x?y=z", "https://e.com/x?y=z"),
        ("https://e.com:8443", "/x%20y", "https://e.com:8443/x%20y"),
        ("https://e.com/p?a=b", "/x", "https://e.com/x"),
        ("https://e.com?a=b", "/x?", "https://e.com/x"),
        ("https://e.com/p#part", "/x?y=z", "https://e.com/x?y=z#part"),
        ("https://e.com", "//evil.test/x", "https://e.com//evil.test/x"),
    ];
    for (location, target, expected) in cases {
        let config = format!("{{location: '{location}', keep_incoming_path: true}}");
        assert_sent(&config, &format!("GET {target} HTTP/1.1"), expected);
    }
}

#[test]
fn a_request_without_a_path_cannot_change_the_host() {
    let config = "{location: 'https://e.com', keep_incoming_path: true}";
    assert_sent(config, "OPTIONS * HTTP/1.1", "https://e.com/*");
}

#[test]
fn what_cannot_be_a_redirection_is_refused() {
    for (config, field) in [
        ("{location: 'https://e.com', status_code: 101}", "config.status_code"),
        ("{location: 'https://e.com/a b'}", "config.location"),
        ("{location: '/path'}", "missing scheme in url"),
        ("{}", "required field missing"),
    ] {
        let refusal = harness(config).err().unwrap_or_default();
        assert!(refusal.contains(field), "{config}: {refusal}");
    }
}
