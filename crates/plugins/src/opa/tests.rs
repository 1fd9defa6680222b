//! What the opa room does, seen from outside: an OPA server on the loopback, or policies of its own.

use plugin::harness::{GET, Harness, Outcome, Subject};
use plugin::outbound::loopback::{Given, Loopback};
use serde_json::{Value, json};

mod callers;
mod rego;

const SUBJECT: Subject = Subject(plugin::room::<super::Opa>());

/// A room that asks a server.
fn asking(server: &Loopback, more: &str) -> Harness {
    SUBJECT.with(&configuration(server, more)).in_real_time()
}

fn configuration(server: &Loopback, more: &str) -> String {
    let port = server.port();
    format!("{{opa_host: 127.0.0.1, opa_port: {port}, opa_path: /v1/data/example/allow{more}}}")
}

/// What becomes of a request when the server answers with this result.
fn decided(result: &str, more: &str) -> Outcome {
    let answer = format!("{{\"result\":{result},\"decision_id\":\"1\"}}");
    let server = Loopback::answering(move |_| Given::json(&answer));
    let mut room = asking(&server, more).trailing(&["X-User", "x_role", "X-Mine"]);
    room.send("GET / HTTP/1.1\nX-User: mallory\nX-User: root\n\n")
}

/// What the server is told about a request.
fn told(more: &str, request: &str) -> Value {
    let server = Loopback::answering(|_| Given::json("{\"result\":true}"));
    let outcome = asking(&server, more).send(request);
    assert!(!outcome.answered);
    serde_json::from_slice(&server.last().body).unwrap()
}

#[test]
fn the_server_is_asked_as_opa_wants_to_be() {
    let server = Loopback::answering(|_| Given::json("{\"result\":true}"));
    asking(&server, "").send("DELETE /orders HTTP/1.1\n\n");
    let seen = server.last();
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/v1/data/example/allow"));
    assert_eq!(seen.header("content-type").as_deref(), Some("application/json"));
}

#[test]
fn the_input_has_what_kong_documents() {
    let request = "POST /a/b?page=2&tag=a&tag=b%20c&draft HTTP/1.1\nHost: API.example.com:8080\nX-One: 1\nX-Two: a\nx-two: b\nAuthorization: Bearer t\n\n{}";
    let http = json!({
        "host": "api.example.com", "port": "8000", "tls": {}, "method": "POST", "scheme": "http", "path": "/a/b",
        "querystring": {"page": "2", "tag": ["a", "b c"], "draft": true},
        "headers": {"host": "API.example.com:8080", "x-one": "1", "x-two": ["a", "b"],
            "authorization": "Bearer t", "content-length": "2"},
    });
    let input = json!({"input": {"request": {"http": http}, "client_ip": "127.0.0.1"}});
    assert_eq!(told("", request), input);
}

#[test]
fn bodies_are_told_where_that_is_wanted() {
    let body = |more: &str, content_type: &str, body: &str| {
        let told = told(more, &format!("POST / HTTP/1.1\nContent-Type: {content_type}\n\n{body}"));
        let http = &told["input"]["request"]["http"];
        json!([http.get("body"), http.get("body_size"), http.get("parsed_body")])
    };
    let raw = ", include_body_in_opa_input: true";
    let parsed = ", include_parsed_json_body_in_opa_input: true";
    let json = r#"{"b":[1,"é"],"a":2,"a":3}"#;
    assert_eq!(body("", "application/json", json), json!([null, null, null]));
    assert_eq!(body(raw, "text/plain", json), json!([json, 26, null]));
    assert_eq!(
        body(parsed, "Application/JSON; charset=utf-8", json),
        json!([null, null, {"b": [1, "é"], "a": 3}])
    );
    for (content_type, text) in [
        ("application/jsonx", "{}"),
        ("application/json", "{"),
        ("application/json", ""),
        ("text/plain", "1"),
    ] {
        assert_eq!(body(parsed, content_type, text), json!([null, null, null]), "{content_type} {text}");
    }
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(body(parsed, "application/json", &nested(100))[2].is_array());
    assert!(body(parsed, "application/json", &nested(101))[2].is_null());
    // Brackets in text are none.
    let text = format!("\"\\\"{}\"", nested(200));
    assert!(body(parsed, "application/json", &text)[2].is_string());
}

#[test]
fn a_body_that_is_too_large_is_refused_and_one_that_nobody_needs_is_not_read() {
    let server = Loopback::answering(|_| Given::json("{\"result\":true}"));
    let parsed = ", include_parsed_json_body_in_opa_input: true, max_body_size: 4";
    let send = |content_type: &str, body: &str| {
        asking(&server, parsed)
            .send(&format!("POST / HTTP/1.1\nContent-Type: {content_type}\n\n{body}"))
            .status
    };
    assert_eq!(send("application/json", "1234"), 200);
    assert_eq!(send("application/json", "12345"), 413);
    assert_eq!(send("text/plain", "12345"), 200);
}

#[test]
fn who_and_where_is_told_where_that_is_wanted() {
    let document = |port: u16, more: &str| {
        format!(
            "_format_version: '3.0'
services:
- id: 11111111-1111-4111-8111-111111111111
  url: http://a.test
  routes:
  - id: 22222222-2222-4222-8222-222222222222
    paths: [/]
consumers:
- {{id: 33333333-3333-4333-8333-333333333333, username: alice, tags: [one], keyauth_credentials: [{{key: k}}]}}
plugins:
- {{name: key-auth}}
- {{name: opa, config: {{opa_host: 127.0.0.1, opa_port: {port}, opa_path: /v1/data/a{more}}}}}
"
        )
    };
    let server = Loopback::answering(|_| Given::json("{\"result\":true}"));
    let rooms = [plugin::room::<crate::key_auth::KeyAuth>(), plugin::room::<super::Opa>()];
    let told = |more: &str| {
        let mut room = Harness::chain(&rooms, &document(server.port(), more)).unwrap().in_real_time();
        assert!(!room.send("GET / HTTP/1.1\napikey: k\n\n").answered);
        let input: Value = serde_json::from_slice(&server.last().body).unwrap();
        json!(["service", "route", "consumer", "claims"].map(|member| input["input"].get(member)))
    };
    assert_eq!(told(""), json!([null, null, null, null]));
    let all = ", include_service_in_opa_input: true, include_route_in_opa_input: true, \
        include_consumer_in_opa_input: true, include_claims_in_opa_input: [sub]";
    assert_eq!(
        told(all),
        json!([
            {"id": "11111111-1111-4111-8111-111111111111"},
            {"id": "22222222-2222-4222-8222-222222222222"},
            {"id": "33333333-3333-4333-8333-333333333333", "username": "alice", "tags": ["one"]},
            {},
        ])
    );
}

#[test]
fn true_passes_and_false_does_not() {
    assert!(!decided("true", "").answered);
    let outcome = decided("false", "");
    assert_eq!((outcome.status, outcome.json()), (403, json!({"message": "unauthorized"})));
    assert_eq!(outcome.header("content-type").as_deref(), Some("application/json; charset=utf-8"));
}

#[test]
fn an_object_that_allows_says_what_the_service_gets() {
    let outcome = decided(
        r#"{"allow": true, "status": 418, "message": "no", "headers": {"X-User": "alice", "X-Level": 3, "X-Role": ["a", "b"], "Host": "b.test"}}"#,
        "",
    );
    assert!(!outcome.answered);
    let all = |name: &str| outcome.upstream_headers.all(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!((all("X-User"), outcome.trailer_names()), (vec![b"alice".to_vec()], vec!["X-Mine"]));
    assert_eq!((all("X-Level"), all("X-Role")), (vec![b"3".to_vec()], vec![b"a".to_vec(), b"b".to_vec()]));
    assert_eq!(outcome.upstream_host.as_deref(), Some("b.test"));
    assert_eq!(all("Host"), [b"gateway.test".to_vec()]);
    assert_eq!(outcome.header("X-User"), None);
}

#[test]
fn an_object_that_refuses_says_what_the_client_gets() {
    let outcome = decided(
        r#"{"allow": false, "status": 418, "message": {"error": "no"}, "headers": {"X-Why": "late"}}"#,
        "",
    );
    assert_eq!((outcome.status, outcome.json()), (418, json!({"message": {"error": "no"}})));
    assert_eq!(outcome.header("X-Why").as_deref(), Some("late"));
    assert_eq!(outcome.upstream_header("X-Why"), None);
    let outcome = decided(r#"{"allow": false, "headers": {"Content-Type": "application/problem+json"}}"#, "");
    assert_eq!((outcome.status, outcome.json()), (403, json!({"message": "unauthorized"})));
    assert_eq!(outcome.headers.count("content-type"), 1);
    assert_eq!(outcome.header("content-type").as_deref(), Some("application/problem+json"));
}

#[test]
fn a_result_that_is_no_decision_lets_nobody_pass() {
    let results = [
        "null",
        "1",
        "\"true\"",
        "[true]",
        "{}",
        r#"{"allow": "true"}"#,
        r#"{"allow": false, "status": "403"}"#,
        r#"{"allow": false, "status": 99}"#,
        r#"{"allow": false, "status": 199}"#,
        r#"{"allow": false, "status": 600}"#,
        r#"{"allow": true, "headers": []}"#,
        r#"{"allow": true, "headers": {"X-A": {}}}"#,
        r#"{"allow": true, "headers": {"X A": "1"}}"#,
        r#"{"allow": true, "headers": {"X-A": "1\r\nX-B: 2"}}"#,
        r#"{"allow": true, "headers": {"Content-Length": "0"}}"#,
        r#"{"allow": true, "headers": {"Transfer-Encoding": "chunked"}}"#,
        r#"{"allow": true, "headers": {"Connection": "x-user"}}"#,
        r#"{"allow": true, "headers": {"Host": "a b"}}"#,
        r#"{"allow": true, "headers": {"Host": ["a", "b"]}}"#,
    ];
    for result in results {
        let outcome = decided(result, ", fail_open: true");
        assert_eq!(outcome.status, 500, "{result}");
        assert_eq!(outcome.message.as_deref(), Some("An unexpected error occurred"));
    }
    for answer in [Given::json("{}"), Given::json("no"), Given::answer(404, &[], "{\"result\":true}")] {
        let server = Loopback::answering(move |_| answer.clone());
        let mut room = asking(&server, ", fail_open: true, status_on_error: 503, cache: {ttl: 10}");
        assert_eq!(room.statuses(GET, 2), [503, 503]);
        assert_eq!(server.seen().len(), 2, "nothing of it is remembered");
    }
}

#[test]
fn a_server_without_an_answer_lets_nobody_pass_unless_that_is_wanted() {
    let server = Loopback::answering(|_| Given::answer(503, &[], "{\"result\":true}"));
    let outcome = asking(&server, "").send(GET);
    assert_eq!((outcome.answered, outcome.status), (true, 500));
    assert_eq!(asking(&server, ", status_on_error: 403").send(GET).status, 403);
    assert!(!asking(&server, ", fail_open: true").send(GET).answered);
    let silent = Loopback::answering(|_| Given::Silence);
    assert_eq!(asking(&silent, ", timeout: 0.05").send(GET).status, 500);
    let huge = Loopback::answering(|_| {
        Given::json(&format!("{{\"result\":true,\"a\":\"{}\"}}", "a".repeat(1 << 20)))
    });
    assert_eq!(asking(&huge, "").send(GET).status, 500);
}

#[test]
fn decisions_hold_for_requests_that_are_alike_and_for_their_time() {
    let server = Loopback::answering(|request| match request.text().contains("\"x-token\":\"good\"") {
        true => Given::json(r#"{"result":{"allow":true,"headers":{"X-User":"alice"}}}"#),
        false => Given::json("{\"result\":false}"),
    });
    let mut room = asking(&server, ", cache: {ttl: 10, refusal_ttl: 5, by: [method, 'header:x-token']}");
    let send = |room: &mut Harness, method: &str, token: &str| {
        room.send(&format!("{method} / HTTP/1.1\nX-Token: {token}\nX-Other: {}\n\n", server.seen().len()))
    };
    for (method, token, status, calls) in [
        ("GET", "good", 200, 1),
        ("GET", "good", 200, 1),
        ("GET", "bad", 403, 2),
        ("GET", "bad", 403, 2),
        ("PUT", "good", 200, 3),
    ] {
        assert_eq!(send(&mut room, method, token).status, status);
        assert_eq!(server.seen().len(), calls, "{method} {token}");
    }
    assert_eq!(send(&mut room, "GET", "good").upstream_header("X-User").as_deref(), Some("alice"));
    room.clock.advance(5_000);
    send(&mut room, "GET", "good");
    assert_eq!(server.seen().len(), 3);
    send(&mut room, "GET", "bad");
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn by_itself_all_of_the_input_counts() {
    let server = Loopback::answering(|_| Given::json("{\"result\":true}"));
    let more = ", include_body_in_opa_input: true, cache: {ttl: 10}";
    let mut room = asking(&server, more);
    for (request, calls) in [("1", 1), ("1", 1), ("2", 2)] {
        room.send(&format!("POST / HTTP/1.1\n\n{request}"));
        assert_eq!(server.seen().len(), calls);
    }
    room.peer = "127.0.0.2:1".parse().unwrap();
    room.send("POST / HTTP/1.1\n\n1");
    assert_eq!(server.seen().len(), 3);
    // Other rules, other decisions.
    let document = |more: &str| {
        format!(
            "_format_version: '3.0'\nplugins:\n- {{name: opa, config: {}}}\n",
            configuration(&server, more)
        )
    };
    room.reload(&document(&format!("{more}, timeout: 4"))).unwrap();
    room.send("POST / HTTP/1.1\n\n1");
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn decisions_are_told_in_logs_metrics_and_the_debug_header() {
    let debug = ", debug_header: X-Decision";
    for (result, header) in [
        ("true", "allow: /v1/data/example/allow"),
        ("false", "deny: /v1/data/example/allow"),
        ("7", "failed: /v1/data/example/allow"),
        (r#"{"allow": false, "rule": "too late"}"#, "deny: too late"),
        (r#"{"allow": false, "rule": "a\nb"}"#, "deny: /v1/data/example/allow"),
        (r#"{"allow": true, "rule": 7}"#, "allow: /v1/data/example/allow"),
    ] {
        let outcome = decided(result, debug);
        assert_eq!(outcome.header("X-Decision").as_deref(), Some(header), "{result}");
        assert_eq!(outcome.log_fields, [("opa".to_owned(), header.to_owned())]);
        assert_eq!(decided(result, "").header("X-Decision"), None);
    }
    let server = Loopback::answering(|_| Given::json("{\"result\":false}"));
    let mut room = asking(&server, "");
    room.statuses(GET, 3);
    let mut counted = Vec::new();
    room.services.figures.each(|family, figures| {
        if family.name == "opa_decisions_total" {
            counted.extend(figures.iter().map(|(labels, count)| (labels[1..].join(" "), *count)));
        }
    });
    let path = "/v1/data/example/allow";
    let count = |decision: &str, count: u64| (format!("{path} {decision}"), count);
    assert_eq!(counted, [count("allowed", 0), count("denied", 3), count("failed", 0)]);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    for (config, field) in [
        ("{}", "required field missing"),
        ("{opa_path: v1/data}", "should start with: /"),
        ("{opa_path: /v1//data}", "empty segments"),
        ("{opa_path: /a, opa_host: 'a b'}", "config.opa_host"),
        ("{opa_path: /a, opa_port: 0}", "config.opa_host"),
        ("{opa_path: /a, opa_protocol: https}", "TLS"),
        ("{opa_path: /a, cache: {by: [cookies]}}", "'cookies'"),
        ("{opa_path: /a, cache: {by: ['header:a b']}}", "config.cache.by"),
        ("{opa_path: /a, debug_header: 'a b'}", "bad header name 'a b'"),
    ] {
        let refusal = SUBJECT.refuses(config);
        assert!(refusal.contains(field), "{config}: {refusal}");
    }
    // Addresses of IPv6 may be written as they are.
    let _room = SUBJECT.with("{opa_path: /a, opa_host: '::1'}");
}

#[test]
fn bodies_of_any_bytes_are_told_as_text() {
    let server = Loopback::answering(|_| Given::json("{\"result\":true}"));
    let mut room =
        asking(&server, ", include_body_in_opa_input: true, include_parsed_json_body_in_opa_input: true");
    for body in [&b"\xff\x00\"\\\n"[..], b"\xed\xa0\x80", b"{\"a\":\"\xff\"}", b"\xef\xbb\xbf{}"] {
        assert!(
            !room
                .send_bytes("POST / HTTP/1.1\nContent-Type: application/json\nX-A: \u{e9}\n\n", body)
                .answered
        );
        let told: Value = serde_json::from_slice(&server.last().body).unwrap();
        let http = &told["input"]["request"]["http"];
        assert_eq!(http["body"], &*String::from_utf8_lossy(body));
        assert_eq!((&http["body_size"], http.get("parsed_body")), (&json!(body.len()), None));
    }
}
