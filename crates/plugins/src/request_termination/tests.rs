//! What the request-termination room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome};
use serde_json::json;

use super::RequestTermination;

fn harness(config: &str) -> Harness {
    Harness::global(plugin::room::<RequestTermination>(), config).unwrap()
}

fn send(config: &str, request: &str) -> Outcome {
    harness(config).send(request)
}

#[test]
fn by_default_the_service_is_unavailable() {
    let outcome = send("{}", "GET / HTTP/1.1");
    assert!(outcome.answered);
    assert_eq!(outcome.status, 503);
    assert_eq!(outcome.body, br#"{"message":"Service unavailable"}"#);
    assert_eq!(outcome.header("Content-Type").as_deref(), Some("application/json; charset=utf-8"));
}

#[test]
fn each_status_has_its_text_or_none() {
    let texts = [
        (401, "Unauthorized"),
        (404, "Not found"),
        (405, "Method not allowed"),
        (500, "An unexpected error occurred"),
        (502, "Bad Gateway"),
    ];
    for (status, text) in texts {
        let outcome = send(&format!("{{status_code: {status}}}"), "GET / HTTP/1.1");
        assert_eq!((outcome.status, outcome.json()), (status, json!({ "message": text })));
    }
    for status in [200, 204, 301, 418, 599] {
        let outcome = send(&format!("{{status_code: {status}}}"), "GET / HTTP/1.1");
        assert_eq!((outcome.status, outcome.body), (status, Vec::new()));
        assert_eq!(outcome.headers.get("Content-Type"), None);
    }
}

#[test]
fn a_message_or_a_body_replaces_the_text() {
    let outcome = send("{status_code: 406, message: \"a \\\"b\\\"\"}", "GET / HTTP/1.1");
    assert_eq!(outcome.body, br#"{"message":"a \"b\""}"#);
    let outcome = send("{body: '<p>x</p>', content_type: text/html}", "GET / HTTP/1.1");
    assert_eq!((outcome.status, &outcome.body[..]), (503, &b"<p>x</p>"[..]));
    assert_eq!(outcome.header("Content-Type").as_deref(), Some("text/html"));
    let outcome = send("{body: '[]'}", "GET / HTTP/1.1");
    assert_eq!(outcome.header("Content-Type").as_deref(), Some("application/json; charset=utf-8"));
}

#[test]
fn a_trigger_is_a_header_or_a_query_argument() {
    let mut harness = harness("{trigger: gate-closed}");
    assert!(!harness.send("GET / HTTP/1.1").answered);
    assert!(!harness.send("GET /?other=gate-closed HTTP/1.1").answered);
    assert!(harness.send("GET / HTTP/1.1\nGate-Closed: 1").answered);
    assert!(harness.send("GET / HTTP/1.1\nGate-Closed:").answered);
    assert!(harness.send("GET /?gate-closed=1 HTTP/1.1").answered);
    assert!(harness.send("GET /?a=b&gate%2Dclosed HTTP/1.1").answered);
}

#[test]
fn the_echo_shows_the_request() {
    let document = r#"
_format_version: "3.0"
services:
- {name: orders, url: "http://orders:80", routes: [{name: orders, paths: [/orders]}]}
plugins:
- {name: request-termination, config: {echo: true, status_code: 200, message: seen}}
"#;
    let mut harness = Harness::new(plugin::room::<RequestTermination>(), document).unwrap();
    let request = "POST /orders/1?a=1&a=2&b HTTP/1.1\nHost: h.test:81\nX-A: 1\nX-A: 2\n\
                   Content-Type: application/json; charset=utf-8\n\n{\"k\": [1]}";
    let shown = harness.send(request);
    assert_eq!(shown.status, 200);
    assert_eq!(shown.header("Content-Type").as_deref(), Some("application/json"));
    let shown = shown.json();
    assert_eq!(shown["message"], "seen");
    assert_eq!(shown["kong"]["worker_pid"], std::process::id());
    assert_eq!(shown["kong"]["node_id"], harness.services.node_id.to_string());
    let seen = &shown["request"];
    assert_eq!(
        (&seen["scheme"], &seen["host"], &seen["port"]),
        (&json!("http"), &json!("h.test"), &json!(8000))
    );
    assert_eq!((&seen["method"], &seen["path"]), (&json!("POST"), &json!("/orders/1")));
    assert_eq!(seen["query"], json!({"a": ["1", "2"], "b": true}));
    assert_eq!(seen["headers"]["x-a"], json!(["1", "2"]));
    assert_eq!((&seen["body"], &seen["raw_body"]), (&json!({"k": [1]}), &json!("{\"k\": [1]}")));
    assert!(shown["matched_route"]["id"].is_string() && shown["matched_service"]["id"].is_string());
}

#[test]
fn the_echo_of_a_bare_request_leaves_out_what_is_not_there() {
    let outcome = send("{echo: true, status_code: 418}", "GET / HTTP/1.1");
    assert_eq!(outcome.status, 418);
    let shown = outcome.json();
    assert!(shown.get("message").is_none() && shown.get("matched_route").is_none());
    assert!(shown["request"].get("body").is_none() && shown["request"].get("raw_body").is_none());
    let broken = send("{echo: true}", "POST / HTTP/1.1\nContent-Type: application/json\n\n{\"k\"").json();
    assert!(broken["request"].get("body").is_none());
    assert_eq!(broken["request"]["raw_body"], "{\"k\"");
}

#[test]
fn contradicting_settings_are_refused() {
    let refusal = |config| Harness::global(plugin::room::<RequestTermination>(), config).err().unwrap();
    let message = "message cannot be used with content_type or body";
    assert!(refusal("{message: a, body: b}").contains(message));
    assert!(refusal("{message: a, content_type: b}").contains(message));
    assert!(refusal("{content_type: text/plain}").contains("content_type requires a body"));
    assert!(refusal("{echo: true, body: b}").contains("echo cannot be used with content_type and body"));
    assert!(refusal("{status_code: 600}").contains("value should be between 100 and 599"));
    assert!(refusal("{status_code: 101}").contains("informational"));
    assert!(refusal("{trigger: 'a b'}").contains("bad header name"));
}
