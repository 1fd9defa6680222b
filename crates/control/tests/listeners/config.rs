//! `/config`: every way to hand over a configuration, and every way it is refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use control::Bounds;

use crate::support::{Plane, parse};
use model::MASK;
use serde_json::json;

const GOOD: &str = "_format_version: '3.0'\nservices:\n- {name: new, host: h.test}\n";

/// What `GET /config` shows.
fn shown(plane: &Plane) -> String {
    plane.get("/config").json()["config"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_served_is_shown_without_its_secrets() {
    let plane = Plane::start();
    let text = shown(&plane);
    for told in
        ["name: one", "path: /base", "username: bob", "group: staff", "key: issuer", "name: correlation-id"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    // Bob's key is `k`.
    assert!(!text.contains("secret: shown") && !text.contains("key: k\n"), "{text}");
    assert_eq!(text.matches(MASK).count(), 2, "{text}");
    let asked = plane.get("/config?check_hash=1&flatten_errors=1&format=json").json();
    assert_eq!(asked, json!({ "config": text }), "however it is asked for");
}

#[test]
fn what_was_shown_is_taken_again_only_without_masks() {
    let plane = Plane::start();
    let text = shown(&plane);
    let refused = plane.post("/config", "text/yaml", &text);
    assert_eq!(refused.status, 400);
    let body = refused.json();
    let message = "stands for a secret that `GET /config` does not show";
    assert_eq!(body["fields"]["keyauth_credentials"][0]["key"], message);
    assert_eq!(body["fields"]["jwt_secrets"][0]["secret"], message);
    for problem in body["problems"].as_array().unwrap() {
        let number = problem["line"].as_u64().unwrap() as usize;
        let line = text.lines().nth(number - 1).unwrap();
        assert_eq!(
            line.find('"').map(|at| at + 1),
            problem["column"].as_u64().map(|at| at as usize),
            "{line}"
        );
        assert_eq!(problem["suggestion"], "write the secret itself, or a reference {vault://...}");
    }
    let paths: Vec<_> = body["problems"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect();
    assert_eq!(paths.len(), 2);
    assert!(paths.contains(&json!("keyauth_credentials[0].key")), "{paths:?}");
    let kept = plane.get("/consumers/bob/key-auth").json();
    assert_eq!(
        kept["data"][0]["key"], "k",
        "entities are shown as Kong shows them, and the old one is served"
    );
    let before = plane.get("/routes").body;
    let whole = text.replacen(MASK, "k", 1).replacen(MASK, "another", 1);
    let answer = plane.post("/config", "text/yaml", &whole);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(plane.names("/routes", "id"), {
        let before: serde_json::Value = serde_json::from_str(&before).unwrap();
        before["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    });
}

#[test]
fn problems_come_with_their_places_in_the_text() {
    let plane = Plane::start();
    for (text, expected) in [
        ("_format_version: '3.0'\nservices:\n- {name: a}\n", (3, 4, "services[0].host")),
        ("_format_version: '3.0'\nservices: [", (3, 1, "")),
        (
            "{\"_format_version\": \"3.0\",\n \"services\": [{\"name\": \"ä\", \"host\": 5}]}",
            (2, 37, "services[0].host"),
        ),
    ] {
        let body = plane.post("/config?flatten_errors=1", "", text).json();
        let problem = &body["problems"][0];
        let place = (problem["line"].as_u64(), problem["column"].as_u64(), problem["path"].as_str());
        assert_eq!(place, (Some(expected.0), Some(expected.1), Some(expected.2)), "{body}");
        assert_eq!(problem["severity"], "error");
    }
}

#[test]
fn a_body_that_is_no_json_is_told_where_it_is_none() {
    let plane = Plane::start();
    for target in ["/config", "/schemas/services/validate"] {
        let answer = plane.post(target, "application/json", "{\"host\": \"h\",\n  \"port\": }");
        let message = "Cannot parse JSON body: expected value at line 2 column 11";
        assert_eq!((answer.status, answer.json()), (400, json!({ "message": message })), "{target}");
    }
}

#[test]
fn a_configuration_is_taken_in_every_form() {
    let form =
        format!("check_hash=1&config={}", GOOD.replace('\n', "%0A").replace(' ', "+").replace('&', "%26"));
    let multipart =
        format!("--b\r\nContent-Disposition: form-data; name=\"config\"\r\n\r\n{GOOD}\r\n--b--\r\n");
    let in_json = json!({ "config": GOOD }).to_string();
    let as_json =
        json!({ "_format_version": "3.0", "services": [{ "name": "new", "host": "h.test" }] }).to_string();
    for (content_type, body) in [
        ("application/yaml", GOOD),
        ("text/yaml; charset=utf-8", GOOD),
        ("", GOOD),
        ("application/json", as_json.as_str()),
        ("application/json", in_json.as_str()),
        ("application/x-www-form-urlencoded", form.as_str()),
        ("multipart/form-data; boundary=b", multipart.as_str()),
    ] {
        let plane = Plane::start();
        let answer = plane.post("/config", content_type, body);
        assert_eq!(answer.status, 201, "{content_type}: {}", answer.body);
        assert_eq!(plane.names("/services", "name"), ["new"], "{content_type}");
        let id = plane.get("/services/new").json()["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.json()["services"][&id], plane.get("/services/new").json(), "{content_type}");
    }
}

#[test]
fn what_is_served_already_is_not_loaded_again() {
    let plane = Plane::start();
    assert_eq!(plane.post("/config?check_hash=1", "text/yaml", GOOD).status, 201);
    let again = plane.post("/config?check_hash=1", "text/yaml", GOOD);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(plane.post("/config", "text/yaml", GOOD).status, 201);
}

#[test]
fn a_bad_one_is_refused_with_the_tree_of_its_errors() {
    let plane = Plane::start();
    let bad = "{_format_version: '3.0', services: [{name: ok, host: h}, {name: bad, host: h, port: -1}], nonsense: 1}";
    let answer = plane.post("/config", "text/yaml", bad);
    assert_eq!(answer.status, 400);
    let body = answer.json();
    assert_eq!((&body["code"], &body["name"]), (&json!(14), &json!("invalid declarative configuration")));
    assert!(body["message"].as_str().unwrap().starts_with("declarative config is invalid: {"), "{body}");
    let fields = json!([null, { "port": "value should be between 0 and 65535" }]);
    assert_eq!(body["fields"]["services"], fields);
    assert_eq!(body["fields"]["nonsense"], "unknown field");
    assert!(body.get("flattened_errors").is_none());
    assert_eq!(plane.names("/services", "name"), ["one", "two", "three"], "the old one stays");
}

#[test]
fn errors_come_by_entity_for_those_who_ask() {
    let plane = Plane::start();
    let bad = "{_format_version: '3.0', services: [{name: bad, host: h, port: -1, tags: [t]}], nonsense: 1}";
    let body = plane.post("/config?flatten_errors=1", "text/yaml", bad).json();
    let error = &body["flattened_errors"][0];
    assert_eq!((&error["entity_type"], &error["entity_name"]), (&json!("service"), &json!("bad")));
    assert_eq!(error["entity_tags"], json!(["t"]));
    assert_eq!(error["errors"][0]["field"], "port");
    assert_eq!(body["fields"], json!({ "nonsense": "unknown field" }), "told once");
}

#[test]
fn what_is_no_configuration_is_refused() {
    let plane = Plane::start();
    for (content_type, body, status) in [
        ("text/yaml", "", 400),
        ("text/yaml", " \n", 400),
        ("application/json", "{", 400),
        ("application/json", "{}", 400),
        ("application/x-www-form-urlencoded", "other=1", 400),
        ("multipart/form-data; boundary=b", "no parts", 400),
        ("multipart/form-data", "--b", 400),
        ("text/yaml", "a: [", 400),
        ("text/yaml", "\u{0}", 400),
        ("image/png", "x", 415),
    ] {
        let answer = plane.post("/config", content_type, body);
        assert_eq!(answer.status, status, "{content_type} {body:?}: {}", answer.body);
        assert!(answer.json()["message"].is_string());
    }
    for (content_type, body) in [("application/x-www-form-urlencoded", "other=1"), ("text/yaml", " \n")] {
        let answer = plane.post("/config", content_type, body);
        assert_eq!(answer.body, r#"{"message":"expected a declarative configuration"}"#);
    }
    assert_eq!(plane.names("/services", "name").len(), 3);
}

#[test]
fn one_load_at_a_time() {
    let plane = Plane::start();
    plane.gate.set_closed(true);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| plane.post("/config", "text/yaml", GOOD));
        plane.gate.await_somebody();
        let second = plane.post("/config", "text/yaml", GOOD);
        assert_eq!(second.status, 429);
        assert!(second.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(plane.get("/status").status, 200, "the rest goes on");
        plane.gate.set_closed(false);
        assert_eq!(first.join().unwrap().status, 201);
    });
    assert_eq!(plane.post("/config", "text/yaml", GOOD).status, 201);
}

#[test]
fn a_load_goes_on_alone_when_its_client_has_left() {
    // One connection at a time: the next one is taken once the one before is forgotten.
    let plane = Plane::within(Bounds { connections: 1, ..Bounds::default() });
    plane.gate.set_closed(true);
    let mut leaving = TcpStream::connect(plane.admin()).unwrap();
    let length = GOOD.len();
    write!(leaving, "POST /config HTTP/1.1\r\nHost: a\r\nContent-Type: text/yaml\r\nContent-Length: {length}\r\n\r\n{GOOD}").unwrap();
    plane.gate.await_somebody();
    drop(leaving);
    let other = GOOD.replace("new", "other");
    assert_eq!(plane.post("/config", "text/yaml", &other).status, 429);
    plane.gate.set_closed(false);
    while plane.post("/config", "text/yaml", &other).status == 429 {}
    assert_eq!(plane.names("/services", "name"), ["other"], "the later one is served");
}

#[test]
fn who_comes_at_a_wrong_time_is_told_to_come_again() {
    let plane = Plane::start();
    let answer = plane.post("/config?flatten_errors=1", "text/yaml", "too-early: 1");
    assert_eq!((answer.status, answer.body.as_str()), (429, r#"{"message":"not now"}"#));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn a_fault_of_ours_is_an_answer_and_does_no_lasting_harm() {
    let plane = Plane::start();
    let answer = plane.post("/config", "text/yaml", "fall-over: 1");
    assert_eq!((answer.status, answer.body.as_str()), (500, r#"{"message":"An unexpected error occurred"}"#));
    assert_eq!(plane.post("/config", "text/yaml", GOOD).status, 201);
}

/// Sends a head and returns the answer, although the body never comes.
fn answer_to_head(plane: &Plane, head: &str) -> u16 {
    let mut stream = TcpStream::connect(plane.admin()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    parse(&String::from_utf8(raw).unwrap()).status
}

#[test]
fn bodies_are_bounded() {
    let plane = Plane::start();
    let head = |target: &str, length: u64| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/yaml\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    assert_eq!(answer_to_head(&plane, &head("/config", (64 << 20) + 1)), 413);
    assert_eq!(answer_to_head(&plane, &head("/schemas/services/validate", (1 << 20) + 1)), 413);
    // Without a length announced, by what has come.
    let mut stream = TcpStream::connect(plane.admin()).unwrap();
    let chunked = "POST /schemas/services/validate HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(format!("{chunked}{:x}\r\n", 1 << 20).as_bytes()).unwrap();
    stream.write_all(&vec![b' '; 1 << 20]).unwrap();
    stream.write_all(b"\r\n1\r\n").unwrap();
    stream.write_all(b" ").unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[test]
fn stopping_ends_idle_connections_and_closes_the_listeners() {
    let plane = Plane::start();
    let address = plane.admin();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    idle.write_all(b"GET /status/ready HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let asked = std::time::Instant::now();
    plane.running.stop();
    assert!(asked.elapsed() < Duration::from_secs(30), "it waited for the connection to time out");
    idle.read_to_end(&mut Vec::new()).unwrap();
    assert!(TcpStream::connect(address).is_err());
}
