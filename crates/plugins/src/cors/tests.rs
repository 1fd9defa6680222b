//! What the cors room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome};

use super::Cors;

fn harness(config: &str) -> Harness {
    Harness::global(plugin::room::<Cors>(), config).unwrap()
}

fn get(config: &str, origin: &str) -> Outcome {
    harness(config).send(&format!("GET / HTTP/1.1\nOrigin: {origin}"))
}

fn preflight(config: &str, more: &str) -> Outcome {
    harness(config)
        .send(&format!("OPTIONS / HTTP/1.1\nOrigin: http://a.test\nAccess-Control-Request-Method: PUT{more}"))
}

fn allowed(outcome: &Outcome) -> Option<String> {
    assert!(outcome.headers.count("Access-Control-Allow-Origin") <= 1);
    outcome.header("Access-Control-Allow-Origin")
}

fn vary(outcome: &Outcome) -> Option<String> {
    outcome.header("Vary")
}

#[test]
fn by_default_any_page_may() {
    for config in ["{}", "{origins: []}", "{origins: ['*']}"] {
        let outcome = get(config, "http://a.test");
        assert!(!outcome.answered);
        assert_eq!((allowed(&outcome).as_deref(), vary(&outcome)), (Some("*"), None), "{config}");
        let without = harness(config).send("GET / HTTP/1.1");
        assert_eq!(allowed(&without).as_deref(), Some("*"));
    }
}

#[test]
fn one_literal_origin_is_always_named() {
    for origin in ["http://foo.test", "http://evil.test", "null"] {
        let outcome = get("{origins: [foo.test]}", origin);
        assert_eq!(allowed(&outcome).as_deref(), Some("foo.test"));
        assert_eq!(vary(&outcome).as_deref(), Some("Origin"));
    }
}

#[test]
fn an_expression_without_a_colon_matches_the_host() {
    let config = r#"{origins: ["foo\\.test"]}"#;
    for origin in ["http://foo.test", "http://foo.test:90", "https://foo.test:8000"] {
        let outcome = get(config, origin);
        assert_eq!(allowed(&outcome).as_deref(), Some(origin));
        assert_eq!(vary(&outcome).as_deref(), Some("Origin"));
    }
    assert_eq!(allowed(&get(config, "http://foo.test:80")).as_deref(), Some("http://foo.test"));
    for origin in [
        "http://evilfoo.test",
        "http://something.foo.test",
        "http://foobtest",
        "http://foo.test.evil",
        "null",
    ] {
        assert_eq!(allowed(&get(config, origin)), None, "{origin}");
    }
    assert_eq!(allowed(&get(config, "foo.test")).as_deref(), Some("foo.test"));
    assert_eq!(allowed(&get(config, "http://foo.test@evil.test")), None);
}

#[test]
fn an_expression_with_a_colon_matches_the_whole_origin() {
    let config = r#"{origins: ["^https?://(.*\\.)?foo\\.test(:90)?$"]}"#;
    for origin in ["http://foo.test", "https://a.b.foo.test", "https://foo.test:90"] {
        assert_eq!(allowed(&get(config, origin)).as_deref(), Some(origin));
    }
    assert_eq!(allowed(&get(config, "https://foo.test:443")).as_deref(), Some("https://foo.test"));
    for origin in ["http://foo.test:91", "ws://foo.test", "http://barfoo.test", "foo.test"] {
        assert_eq!(allowed(&get(config, origin)), None, "{origin}");
    }
    let alternatives = r#"{origins: ["http://(a)|http://b.test"]}"#;
    assert_eq!(allowed(&get(alternatives, "http://a.evil")), None);
    assert_eq!(allowed(&get(alternatives, "evil://http://b.test")), None);
}

#[test]
fn several_literals_are_compared_without_default_ports() {
    let config = "{origins: ['http://foo.test:80', 'https://bar.test', 'baz.test']}";
    for (origin, named) in [
        ("http://foo.test", Some("http://foo.test")),
        ("http://foo.test:80", Some("http://foo.test")),
        ("https://bar.test:443", Some("https://bar.test")),
        ("https://foo.test", None),
        ("http://bar.test", None),
        ("http://baz.test", None),
        ("baz.test", Some("baz.test")),
        ("https://bar.test.evil", None),
    ] {
        let outcome = get(config, origin);
        assert_eq!(allowed(&outcome).as_deref(), named, "{origin}");
        assert_eq!(vary(&outcome).as_deref(), Some("Origin"));
    }
}

#[test]
fn a_wildcard_among_others_allows_any_origin_that_is_named() {
    let config = "{origins: ['http://foo.test', '*']}";
    assert_eq!(allowed(&get(config, "http://bar.test")).as_deref(), Some("*"));
    assert_eq!(allowed(&harness(config).send("GET / HTTP/1.1")), None);
}

#[test]
fn credentials_name_the_origin_instead_of_the_wildcard() {
    let outcome = get("{origins: ['*'], credentials: true}", "http://a.test");
    assert_eq!(allowed(&outcome).as_deref(), Some("http://a.test"));
    assert_eq!(outcome.header("Access-Control-Allow-Credentials").as_deref(), Some("true"));
    assert_eq!((vary(&outcome).as_deref(), outcome.headers.count("Vary")), (Some("Origin"), 1));
    let without = harness("{credentials: true}").send("GET / HTTP/1.1");
    assert_eq!(allowed(&without).as_deref(), Some("*"));
    assert_eq!(without.header("Access-Control-Allow-Credentials"), None);
    let listed = get("{origins: ['http://a.test', 'http://b.test'], credentials: true}", "http://b.test");
    assert_eq!(allowed(&listed).as_deref(), Some("http://b.test"));
    assert_eq!(listed.header("Access-Control-Allow-Credentials").as_deref(), Some("true"));
}

#[test]
fn the_upstreams_own_permission_is_replaced_or_removed() {
    let mut harness = harness("{origins: ['http://a.test', 'http://b.test']}");
    harness.upstream.headers.push(("Access-Control-Allow-Origin", "http://theirs.test".to_owned()));
    harness.upstream.headers.push(("Vary", "Accept".to_owned()));
    let matched = harness.send("GET / HTTP/1.1\nOrigin: http://a.test");
    assert_eq!(allowed(&matched).as_deref(), Some("http://a.test"));
    let vary: Vec<_> = matched.headers.all("Vary").collect();
    assert_eq!(vary, [b"Accept".as_slice(), b"Origin"]);
    assert_eq!(allowed(&harness.send("GET / HTTP/1.1\nOrigin: http://c.test")), None);
    assert_eq!(allowed(&harness.send("GET / HTTP/1.1")), None);
}

#[test]
fn a_response_that_varies_by_origin_already_says_so_once() {
    for said in ["Origin", "accept, ORIGIN", "*"] {
        for config in ["{origins: ['http://a.test']}", "{credentials: true}"] {
            let mut harness = harness(config);
            harness.upstream.headers.push(("Vary", said.to_owned()));
            let outcome = harness.send("GET / HTTP/1.1\nOrigin: http://a.test");
            let vary: Vec<_> = outcome.headers.all("Vary").collect();
            assert_eq!(vary, [said.as_bytes()], "{config}");
        }
    }
}

#[test]
fn requests_without_an_origin_can_be_left_alone() {
    let mut harness = harness("{allow_origin_absent: false, exposed_headers: [X-A]}");
    harness.upstream.headers.push(("Access-Control-Allow-Origin", "http://theirs.test".to_owned()));
    let outcome = harness.send("GET / HTTP/1.1");
    assert_eq!(allowed(&outcome).as_deref(), Some("http://theirs.test"));
    assert_eq!(outcome.header("Access-Control-Expose-Headers"), None);
    assert_eq!(allowed(&harness.send("GET / HTTP/1.1\nOrigin: http://a.test")).as_deref(), Some("*"));
}

#[test]
fn exposed_headers_are_named_on_actual_responses_only() {
    let config = "{exposed_headers: [X-A, X-B]}";
    let outcome = get(config, "http://a.test");
    assert_eq!(outcome.header("Access-Control-Expose-Headers").as_deref(), Some("X-A,X-B"));
    assert_eq!(preflight(config, "").header("Access-Control-Expose-Headers"), None);
}

#[test]
fn a_preflight_is_answered() {
    let outcome = preflight("{}", "\nAccess-Control-Request-Headers: X-One, x-two");
    assert_eq!((outcome.answered, outcome.status, outcome.body.len()), (true, 200, 0));
    assert_eq!(allowed(&outcome).as_deref(), Some("*"));
    assert_eq!(
        outcome.header("Access-Control-Allow-Methods").as_deref(),
        Some("GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT")
    );
    assert_eq!(outcome.header("Access-Control-Allow-Headers").as_deref(), Some("X-One, x-two"));
    for absent in ["Access-Control-Max-Age", "Access-Control-Allow-Credentials", "Vary"] {
        assert_eq!(outcome.header(absent), None, "{absent}");
    }
    assert_eq!(preflight("{}", "").header("Access-Control-Allow-Headers"), None);
}

#[test]
fn a_preflight_names_what_is_configured() {
    let config = "{origins: ['http://a.test', 'http://b.test'], methods: [GET, PUT], headers: [X-A, X-B], \
                  max_age: 23, credentials: true}";
    let outcome = preflight(config, "\nAccess-Control-Request-Headers: other");
    assert_eq!(allowed(&outcome).as_deref(), Some("http://a.test"));
    assert_eq!(outcome.header("Access-Control-Allow-Methods").as_deref(), Some("GET,PUT"));
    assert_eq!(outcome.header("Access-Control-Allow-Headers").as_deref(), Some("X-A,X-B"));
    assert_eq!(outcome.header("Access-Control-Max-Age").as_deref(), Some("23"));
    assert_eq!(outcome.header("Access-Control-Allow-Credentials").as_deref(), Some("true"));
    assert_eq!((vary(&outcome).as_deref(), outcome.headers.count("Vary")), (Some("Origin"), 1));
}

#[test]
fn private_networks_are_opened_only_when_asked_for_and_allowed() {
    let asked = "\nAccess-Control-Request-Private-Network: true";
    let header = |outcome: &Outcome| outcome.header("Access-Control-Allow-Private-Network");
    assert_eq!(header(&preflight("{private_network: true}", asked)).as_deref(), Some("true"));
    assert_eq!(header(&preflight("{private_network: true}", "")), None);
    assert_eq!(header(&preflight("{}", asked)), None);
}

#[test]
fn other_options_requests_go_upstream() {
    let mut harness = harness("{}");
    for request in [
        "OPTIONS / HTTP/1.1\nOrigin: http://a.test",
        "OPTIONS / HTTP/1.1\nAccess-Control-Request-Method: PUT",
    ] {
        let outcome = harness.send(request);
        assert!(!outcome.answered);
        assert_eq!(allowed(&outcome).as_deref(), Some("*"));
    }
}

#[test]
fn a_preflight_may_be_left_to_the_upstream() {
    let mut harness = harness("{preflight_continue: true}");
    let request = "OPTIONS / HTTP/1.1\nOrigin: http://a.test\nAccess-Control-Request-Method: PUT";
    let outcome = harness.send(request);
    assert_eq!((outcome.answered, allowed(&outcome)), (false, None));
    assert_eq!(allowed(&harness.send("GET / HTTP/1.1")).as_deref(), Some("*"));
}

#[test]
fn hostile_origins_are_harmless() {
    let config = r#"{origins: ["(.*)\\.foo\\.test", "http://a.test"]}"#;
    let long = "http://".to_owned() + &"a.".repeat(5_000);
    for origin in
        ["", "://", "http://", "http://:", "http://[", "http://[::1", "http://]:80", "\u{e9}", &long]
    {
        assert_eq!(allowed(&get(config, origin)), None, "{origin}");
        let echoed = allowed(&get("{credentials: true}", origin));
        assert_eq!(echoed.as_deref(), Some(origin));
    }
    let two = harness(config).send("GET / HTTP/1.1\nOrigin: http://evil.test\nOrigin: http://a.test");
    assert_eq!(allowed(&two), None, "the first one counts");
}

#[test]
fn wrong_settings_are_refused() {
    let refusal = |config| Harness::global(plugin::room::<Cors>(), config).err().unwrap();
    assert!(refusal("{origins: ['(']}").contains("'(' is not a valid regex"));
    assert!(refusal("{origins: ['a)|(b']}").contains("is not a valid regex"));
    assert!(refusal("{methods: [get]}").contains("expected one of"));
    assert!(refusal("{max_age: long}").contains("expected a number"));
    assert!(refusal(r#"{headers: ["a\nb"]}"#).contains("config.headers"));
}
