//! What stands in for a service that is not asked.

use plugin::exchange::Trouble;
use plugin::harness::Harness;
use plugin::harness::certificates::{authority, client_params, handshake, signed};

use super::{ROOM, document, get, harness, state, targets::targets};

#[test]
fn the_last_good_response_is_repeated_to_whom_it_was_for() {
    let mut harness = harness("{consecutive_failures: 1, fallback: {type: cached, max_age: 100}}");
    harness.upstream.headers.push(("X-Kept", "yes".to_owned()));
    harness.upstream.body = b"{\"good\":1}".to_vec();
    assert_eq!(harness.send("GET /x?q=1 HTTP/1.1\nAuthorization: a\n\n").status, 200);
    harness.clock.advance(7_000);
    harness.upstream.status = 500;
    harness.send("GET /y HTTP/1.1\n\n");
    let repeated = harness.send("GET /x?q=1 HTTP/1.1\nAuthorization: a\n\n");
    assert!(repeated.answered);
    assert_eq!((repeated.status, &*repeated.body), (200, &b"{\"good\":1}"[..]));
    let header = |name| repeated.header(name).unwrap_or_default();
    assert_eq!(
        (header("Age"), header("X-Circuit-Breaker"), header("X-Kept")),
        ("7".into(), "open".into(), "yes".into())
    );
    for other in [
        "GET /x?q=2 HTTP/1.1\nAuthorization: a\n\n",
        "GET /x?q=1 HTTP/1.1\n\n",
        "POST /x?q=1 HTTP/1.1\nAuthorization: a\n\n",
    ] {
        assert_eq!(harness.send(other).status, 503, "{other}");
    }
    harness
        .reload(&document(
            "{consecutive_failures: 1, open: {seconds: 300}, fallback: {type: cached, max_age: 5}}",
        ))
        .unwrap();
    assert_eq!(harness.send("GET /x?q=1 HTTP/1.1\nAuthorization: a\n\n").status, 503, "too old");
}

#[test]
fn where_no_target_is_healthy_the_fallback_stands_in_and_nothing_counts() {
    for (fallback, status) in
        [("{type: cached}", 200), ("{type: static, status: 203}", 203), ("{type: none}", 503)]
    {
        let mut harness = harness(&format!("{{consecutive_failures: 1, fallback: {fallback}}}"));
        get(&mut harness, 200);
        let healthy = std::mem::take(&mut harness.targets);
        let answer = get(&mut harness, 200);
        assert_eq!((answer.answered, answer.status), (true, status), "{fallback}");
        let told = (status != 503).then(|| "no-target".to_owned());
        assert_eq!(answer.header("X-Circuit-Breaker"), told, "{fallback}");
        assert_eq!(answer.header("Retry-After"), None, "it is no refusal");
        assert_eq!(state(&harness), "closed");
        harness.targets = healthy;
        assert!(!get(&mut harness, 200).answered, "{fallback}: it is asked as soon as there is a target");
    }
}

#[test]
fn the_fallback_stands_in_for_who_cannot_be_reached_and_it_counts() {
    for (trouble, told) in [(Trouble::Unreachable, Some("unreachable")), (Trouble::Reset, None)] {
        let mut harness = targets("{consecutive_failures: 2, fallback: {type: static, status: 203}}");
        harness.targets.truncate(1);
        harness.upstream.down = vec![(harness.targets[0], trouble)];
        for number in 1..=2 {
            let answer = get(&mut harness, 200);
            assert_eq!(answer.status, if told.is_some() { 203 } else { 502 }, "{trouble:?} {number}");
            assert_eq!(answer.header("X-Circuit-Breaker").as_deref(), told);
        }
        assert_eq!(state(&harness), "open", "{trouble:?}: both count");
        assert_eq!(get(&mut harness, 200).header("X-Circuit-Breaker").as_deref(), Some("open"));
    }
}

#[test]
fn what_must_not_be_stored_is_not_repeated() {
    for (name, value) in [
        ("Cache-Control", "max-age=5, private"),
        ("Cache-Control", "no-store"),
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "max-age=60, must-revalidate"),
        ("Cache-Control", "max-age=60, Proxy-Revalidate"),
        ("Cache-Control", "s-maxage=60"),
        ("Set-Cookie", "a=b"),
        ("Vary", "X-Any"),
        ("Vary", "*"),
    ] {
        let mut harness = harness("{consecutive_failures: 1, fallback: {type: cached}}");
        harness.upstream.headers.push((name, value.to_owned()));
        get(&mut harness, 200);
        get(&mut harness, 500);
        assert_eq!(get(&mut harness, 200).status, 503, "{name}: {value}");
    }
    let mut harness = harness("{consecutive_failures: 1, fallback: {type: cached}}");
    harness.send("GET /x HTTP/1.1\nCache-Control: no-store\n\n");
    get(&mut harness, 500);
    assert_eq!(get(&mut harness, 200).status, 503, "the client has forbidden it");
}

#[test]
fn a_response_stands_in_for_none_of_another_place_or_another_caller() {
    let text = "_format_version: '3.0'\nservices:\n- {name: orders, url: 'http://127.0.0.1:1', routes: [{name: a, paths: [/]}]}\n\
        upstreams:\n- {name: one, targets: [{target: '10.0.0.1:80'}]}\n- {name: two, targets: [{target: '10.0.0.2:80'}]}\nplugins:\n\
        - {name: route-by-header, service: orders, config: {rules: [{condition: {X-Tenant: a}, upstream_name: one}, {condition: \
        {X-Tenant: b}, upstream_name: two}]}}\n- {name: tls-metadata-headers, config: {inject_client_cert_details: true}}\n\
        - {name: circuit-breaker, service: orders, config: {per: plugin, consecutive_failures: 1, fallback: {type: cached}}}\n";
    let rooms = [
        plugin::room::<crate::tls_metadata_headers::TlsMetadataHeaders>(),
        plugin::room::<crate::route_by_header::RouteByHeader>(),
        ROOM,
    ];
    let mut harness = Harness::chain(&rooms, text).unwrap();
    let certificate = signed(&client_params("alice", &[]), &authority("ca.test"));
    let mut ask = |tenant: &str, shown: bool, status| {
        harness.tls = Some(handshake(shown.then_some(&**certificate.der())));
        harness.upstream.status = status;
        harness.send(&format!("GET /x HTTP/1.1\nX-Tenant: {tenant}\n\n")).status
    };
    assert_eq!((ask("a", true, 200), ask("c", true, 500)), (200, 500));
    assert_eq!(ask("a", true, 500), 200);
    assert_eq!(ask("b", true, 500), 503, "it would have gone to another upstream");
    assert_eq!(ask("a", false, 500), 503, "the service would have known another caller");
}

#[test]
fn a_fixed_answer_may_stand_in() {
    let config = "{consecutive_failures: 1, fallback: {type: static, status: 203, body: '[]', headers: {X-Stale: 'yes'}}}";
    let mut harness = harness(config);
    get(&mut harness, 500);
    let answer = get(&mut harness, 200);
    assert_eq!((answer.status, &*answer.body), (203, &b"[]"[..]));
    assert_eq!(answer.header("X-Stale").as_deref(), Some("yes"));
    assert_eq!(answer.header("Content-Type").as_deref(), Some("application/json"));
}

#[test]
fn another_service_may_stand_in_and_its_outcomes_do_not_count() {
    let config = |to: &str| {
        format!(
            "_format_version: '3.0'\nservices:\n- {{name: orders, url: 'http://127.0.0.1:1', routes: [{{name: a, paths: [/]}}]}}\n\
             - {{name: spare, url: 'http://127.0.0.1:2'}}\nplugins:\n- {{name: circuit-breaker, config: {{consecutive_failures: 1, \
             open: {{seconds: 10}}, fallback: {{type: service, service: {to}}}}}}}\n"
        )
    };
    let mut harness = Harness::new(ROOM, &config("spare")).unwrap();
    assert_eq!(get(&mut harness, 500).sent_to, None);
    let stood_in = get(&mut harness, 200);
    assert_eq!((stood_in.sent_to.as_deref(), stood_in.status), (Some("spare"), 200));
    assert_eq!(stood_in.header("X-Circuit-Breaker").as_deref(), Some("open"));
    harness.clock.advance(10_000);
    let probe = get(&mut harness, 200);
    assert_eq!((probe.sent_to, state(&harness)), (None, "closed".to_owned()));
    get(&mut harness, 500);
    (0..3).for_each(|_| assert_eq!(get(&mut harness, 500).sent_to.as_deref(), Some("spare")));
    harness.clock.advance(10_000);
    assert_eq!(get(&mut harness, 200).sent_to, None, "failures elsewhere keep it open no longer");
    let mut itself = Harness::new(ROOM, &config("orders")).unwrap();
    get(&mut itself, 500);
    assert!(get(&mut itself, 200).answered, "a service does not stand in for itself");
    let refusal = Harness::new(ROOM, &config("nobody")).err().unwrap_or_default();
    assert!(
        refusal.contains("config.fallback.service") || refusal.contains("there is no service 'nobody'"),
        "{refusal}"
    );
}
