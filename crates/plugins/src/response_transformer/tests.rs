//! What the response-transformer room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome};
use serde_json::json;

use super::ResponseTransformer;

fn room() -> &'static dyn plugin::Definition {
    plugin::room::<ResponseTransformer>()
}

fn gateway(config: &str) -> Harness {
    Harness::global(room(), config).unwrap()
}

fn refused(config: &str) -> String {
    Harness::global(room(), config).map(drop).unwrap_err()
}

fn respond(config: &str, content_type: &str, body: &str) -> Outcome {
    let mut gateway = gateway(config);
    gateway.upstream.headers = vec![("Content-Type", content_type.to_owned())];
    gateway.upstream.body = body.as_bytes().to_vec();
    gateway.send("GET / HTTP/1.1\n\n")
}

const ALL: &str = "{remove: {json: [gone]}, rename: {json: [\"old:new\"]}, \
    replace: {json: [\"r:5\", \"absent:1\"], json_types: [number]}, \
    add: {json: [\"n:1.5\", \"b:true\", \"s:\\\"q\\\"\", \"r:no\"], json_types: [number, boolean, string]}, \
    append: {json: [\"list:2\", \"b2:false\"], json_types: [number, boolean]}}";

#[test]
fn header_rules_apply_in_their_order() {
    let mut gateway = gateway(
        "{remove: {headers: [X-Gone]}, rename: {headers: [\"a:X-B\"]}, replace: {headers: [\"X-B:new:er\", \"X-No:1\"]}, \
         add: {headers: [\"X-B:no\", \"X-New:1\"]}, append: {headers: [\"X-New:2\"]}}",
    );
    gateway.upstream.headers =
        [("X-Gone", "1"), ("A", "1"), ("X-B", "old")].map(|(name, value)| (name, value.to_owned())).to_vec();
    let outcome = gateway.send("GET / HTTP/1.1\n\n");
    assert_eq!(outcome.header("X-B").as_deref(), Some("new:er"));
    assert_eq!(outcome.headers.all("X-New").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!([outcome.header("X-Gone"), outcome.header("A"), outcome.header("X-No")], [None, None, None]);
}

#[test]
fn a_value_that_no_field_can_carry_does_not_leave_the_old_one() {
    let mut gateway = gateway(r#"{replace: {headers: ["Server:a\nb"]}}"#);
    gateway.upstream.headers.push(("Server", "secret/1.0".to_owned()));
    assert_eq!(gateway.send("GET / HTTP/1.1\n\n").header("Server"), None);
}

#[test]
fn json_members_change_and_the_length_follows() {
    let outcome =
        respond(ALL, "Application/JSON; charset=utf-8", r#"{"gone":1,"old":[],"r":1,"list":[1],"x":1.10}"#);
    let expected = r#"{"new":[],"r":5,"list":[1,2],"x":1.10,"n":1.5,"b":true,"s":"q","b2":[false]}"#;
    assert_eq!(String::from_utf8(outcome.body.clone()).unwrap(), expected);
    assert_eq!(outcome.header("Content-Length"), Some(expected.len().to_string()));
}

#[test]
fn what_is_not_a_json_object_passes_unchanged() {
    for (kind, body) in [
        ("text/plain", "{\"gone\":1}"),
        ("application/json", "{\"gone\":1"),
        ("application/json", "[{\"gone\":1}]"),
        ("application/json", ""),
    ] {
        let outcome = respond(ALL, kind, body);
        assert_eq!(outcome.body, body.as_bytes(), "{kind} {body}");
        assert_eq!(outcome.header("Content-Length"), Some(body.len().to_string()));
    }
    let mut gateway = gateway(ALL);
    gateway.upstream.headers.push(("Content-Encoding", "gzip".to_owned()));
    assert_eq!(gateway.send("GET / HTTP/1.1\n\n").json(), json!({"ok": true}));
}

#[test]
fn a_head_response_keeps_its_length() {
    let mut gateway = gateway(ALL);
    gateway.upstream.body = Vec::new();
    gateway.upstream.headers.push(("Transfer-Encoding", "none".to_owned()));
    gateway.upstream.headers.push(("Content-Length", "11".to_owned()));
    let outcome = gateway.send("HEAD / HTTP/1.1\n\n");
    assert_eq!(
        (outcome.header("Content-Length").as_deref(), outcome.body.as_slice()),
        (Some("11"), &b""[..])
    );
}

#[test]
fn deep_and_broken_documents_do_no_harm() {
    let deep = format!("{{\"gone\":1,\"a\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let outcome = respond("{remove: {json: [gone]}}", "application/json", &deep);
    assert_eq!(outcome.body.len(), deep.len() - "\"gone\":1,".len());
    let bad = "{\"a\":".repeat(50_000);
    assert_eq!(respond(ALL, "application/json", &bad).body, bad.as_bytes());
}

#[test]
fn values_that_are_not_of_their_type_are_refused() {
    let error = refused("{add: {json: [\"a:1\", \"b:x\"], json_types: [string, number]}}");
    assert!(error.contains("'x' is not a number"), "{error}");
    assert!(refused("{replace: {json: [\"a:yes\"], json_types: [boolean]}}").contains("not a boolean"));
    assert!(refused("{add: {json: [], json_types: [number]}}").contains("more types than values"));
    assert!(refused("{add: {json: [\"a:1\"], json_types: [integer]}}").contains("expected one of"));
    assert!(refused("{add: {headers: [\"Transfer-Encoding:chunked\"]}}").contains("frames the message"));
    assert!(refused("{rename: {headers: [\"a\"]}}").contains("invalid value: a"));
}
