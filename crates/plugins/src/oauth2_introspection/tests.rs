//! An authorization server on the loopback is asked about tokens.

use plugin::harness::{Harness, Outcome, START_MS, Subject};
use plugin::outbound::loopback::{Given, Loopback};
use plugin::query;

const SUBJECT: Subject = Subject(plugin::room::<super::Oauth2Introspection>());

/// A server that knows some tokens.
fn server() -> Loopback {
    Loopback::answering(|request| {
        let token = query::values(&request.body, "token").next().unwrap_or_default().into_owned();
        let ends = START_MS / 1000 + 10;
        match &*String::from_utf8_lossy(&token) {
            "alice" => Given::json(
                r#"{"active":true,"username":"alice","client_id":"app","scope":"a b","aud":["x","y"],"tenant":7,"sub":"bad\nvalue"}"#,
            ),
            "ends" => Given::json(&format!(r#"{{"active":true,"username":"alice","exp":{ends}}}"#)),
            "ended" => Given::json(r#"{"active":true,"username":"alice","exp":1}"#),
            "odd" => Given::json(r#"{"active":true,"exp":"soon"}"#),
            "vague" => Given::json(r#"{"active":"yes"}"#),
            "html" => Given::answer(200, &[], "<html>"),
            "denied" => Given::answer(401, &[], ""),
            _ => Given::json(r#"{"active":false}"#),
        }
    })
}

fn room(server: &Loopback, more: &str) -> Harness {
    let url = server.url("/introspect");
    let config = format!("{{introspection_url: \"{url}\", authorization_value: Basic Z2F0ZQ==, {more}}}");
    let document = format!(
        "_format_version: \"3.0\"\nplugins:\n- name: oauth2-introspection\n  config: {config}\nconsumers:\n\
         - {{username: alice, custom_id: one}}\n- {{username: app-user, custom_id: app}}\n- {{username: guest}}\n"
    );
    Harness::new(SUBJECT.0, &document).unwrap().in_real_time()
}

fn send(room: &mut Harness, token: &str) -> Outcome {
    room.send(&format!("GET /a HTTP/1.1\nAuthorization: Bearer {token}\nX-Credential-Scope: forged\nX-Credential-Iss: forged\n\n"))
}

#[test]
fn an_active_token_makes_its_holder_known() {
    let server = server();
    let outcome = send(&mut room(&server, "custom_claims_forward: [tenant]"), "alice");
    assert!(!outcome.answered);
    let told = |name: &str| outcome.upstream_header(name).unwrap_or_default();
    assert_eq!(told("X-Consumer-Username"), "alice");
    assert_eq!(told("X-Credential-Identifier"), "alice");
    assert_eq!((told("X-Credential-Scope"), told("X-Credential-Client-ID")), ("a b".into(), "app".into()));
    assert_eq!((told("X-Credential-Aud"), told("X-Credential-tenant")), ("[\"x\",\"y\"]".into(), "7".into()));
    assert_eq!((told("X-Credential-Sub"), told("X-Credential-Iss")), (String::new(), String::new()));
    assert_eq!(told("Authorization"), "");
    let seen = server.last();
    assert_eq!((&*seen.method, &*seen.target, &*seen.text()), ("POST", "/introspect", "token=alice"));
    assert_eq!(seen.header("authorization").as_deref(), Some("Basic Z2F0ZQ=="));
    assert_eq!(seen.header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
}

#[test]
fn the_server_is_asked_as_it_wants_to_be() {
    let server = server();
    let more =
        "token_type_hint: access token, introspect_request: true, custom_introspection_headers: {X-Key: k}";
    let mut room = room(&server, more);
    send(&mut room, "a%2B/=b");
    let seen = server.last();
    assert_eq!(seen.text(), "token_type_hint=access%20token&token=a%252B%2F%3Db");
    assert_eq!(seen.header("x-key").as_deref(), Some("k"));
    assert_eq!(seen.header("x-request-path").as_deref(), Some("/a"));
    assert_eq!(seen.header("x-request-http-method").as_deref(), Some("GET"));
    send(&mut room, "a%2B/=b");
    assert_eq!(server.seen().len(), 1);
    room.send("GET /b HTTP/1.1\nAuthorization: Bearer a%2B/=b\n\n");
    room.send("PUT /a HTTP/1.1\nAuthorization: Bearer a%2B/=b\n\n");
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn no_token_and_a_bad_one_are_told_apart() {
    let server = server();
    let mut room = room(&server, "");
    for request in [
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\nAuthorization: Basic alice\n\n",
        "GET / HTTP/1.1\nAuthorization: Bearer \n\n",
    ] {
        let outcome = room.send(request);
        assert_eq!((outcome.status, outcome.json()["error"].as_str()), (401, Some("invalid_request")));
        assert_eq!(outcome.header("WWW-Authenticate").as_deref(), Some("Bearer realm=\"service\""));
    }
    assert_eq!(server.seen().len(), 0);
    for token in ["mallory", "ended"] {
        let outcome = send(&mut room, token);
        assert_eq!(
            (outcome.status, outcome.json()["error"].as_str()),
            (401, Some("invalid_token")),
            "{token}"
        );
        assert!(outcome.header("WWW-Authenticate").unwrap().contains("error=\"invalid_token\""));
    }
}

#[test]
fn different_tokens_are_too_many() {
    let server = server();
    let mut room = room(&server, "");
    let form = "Content-Type: application/x-www-form-urlencoded";
    for request in [
        "GET / HTTP/1.1\nAuthorization: Bearer alice\nAuthorization: Bearer mallory\n\n".to_owned(),
        "GET /?access_token=mallory HTTP/1.1\nAuthorization: Bearer alice\n\n".to_owned(),
        "GET /?access_token=alice&access_token=mallory HTTP/1.1\n\n".to_owned(),
        format!("POST / HTTP/1.1\n{form}\n\naccess_token=alice&access_token=mallory"),
    ] {
        let outcome = room.send(&request);
        assert_eq!((outcome.answered, outcome.status), (true, 401), "{request}");
        assert_eq!(outcome.json()["error"], "invalid_token");
    }
    assert_eq!(server.seen().len(), 0);
    let same =
        "GET /?access_token=alice HTTP/1.1\nAuthorization: Bearer alice\nAuthorization: Bearer alice\n\n";
    assert_eq!(room.send(same).status, 200);
}

#[test]
fn a_token_may_stand_in_three_places_and_is_hidden_in_all() {
    let server = server();
    let form = "POST /?a=1 HTTP/1.1\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\n\nb=2&access_token=alice";
    let mut plain = room(&server, "");
    let outcome = plain.send("GET /?a=1&access_token=alice HTTP/1.1\n\n");
    assert_eq!((outcome.status, outcome.upstream_query.as_deref()), (200, Some("a=1")));
    let outcome = plain.send(form);
    assert_eq!((outcome.status, &outcome.upstream_body[..]), (200, &b"b=2"[..]));
    assert_eq!(plain.send(&form.replace("x-www-form-urlencoded", "json")).status, 401);
    let outcome = plain.send("GET / HTTP/1.1\nAuthorization: bEARER alice\n\n");
    assert_eq!((outcome.status, outcome.upstream_header("Authorization")), (200, None));
    let mut shown = room(&server, "hide_credentials: false");
    assert_eq!(shown.send(form).upstream_body, b"b=2&access_token=alice");
    assert_eq!(send(&mut shown, "alice").upstream_header("Authorization").as_deref(), Some("Bearer alice"));
}

#[test]
fn what_the_server_says_holds_for_its_time() {
    let server = server();
    let mut room = room(&server, "ttl: 20, negative_ttl: 5");
    for (token, wait_ms, calls) in [
        ("alice", 0, 1),
        ("alice", 19_999, 1),
        ("alice", 1, 2),
        ("mallory", 0, 3),
        ("mallory", 4_999, 3),
        ("mallory", 1, 4),
    ] {
        room.clock.advance(wait_ms);
        send(&mut room, token);
        assert_eq!(server.seen().len(), calls, "{token} after {wait_ms}");
    }
    let mut plain = self::room(&server, "ttl: 0");
    assert_eq!((send(&mut plain, "alice").status, send(&mut plain, "alice").status), (200, 200));
    assert_eq!(server.seen().len(), 6);
}

#[test]
fn nothing_holds_beyond_the_end_of_a_token() {
    let server = server();
    let mut room = room(&server, "ttl: 1000");
    assert_eq!(send(&mut room, "ends").status, 200);
    room.clock.advance(9_999);
    assert_eq!((send(&mut room, "ends").status, server.seen().len()), (200, 1));
    room.clock.advance(1);
    assert_eq!((send(&mut room, "ends").status, server.seen().len()), (401, 2));
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    let server = server();
    let mut room = room(&server, "ttl: 1000, leeway: 5");
    assert_eq!(send(&mut room, "ends").status, 200);
    room.clock.advance(14_999);
    assert_eq!((send(&mut room, "ends").status, server.seen().len()), (200, 1), "remembered");
    let mut other = self::room(&server, "leeway: 5");
    other.clock.advance(14_999);
    assert_eq!(send(&mut other, "ends").status, 200, "and asked about anew");
    other.clock.advance(1);
    assert_eq!(send(&mut other, "ends").status, 401);
    room.clock.advance(1);
    assert_eq!((send(&mut room, "ends").status, server.seen().len()), (401, 4));
}

#[test]
fn a_server_that_cannot_be_relied_on_lets_nobody_pass() {
    let server = server();
    let mut room = room(&server, "anonymous: guest");
    for token in ["odd", "vague", "html", "denied"] {
        let outcome = send(&mut room, token);
        assert_eq!((outcome.answered, outcome.status), (true, 503), "{token}");
    }
    send(&mut room, "denied");
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn the_consumer_is_found_as_configured_and_anew_after_a_reload() {
    let server = server();
    let mut room = room(&server, "consumer_by: client_id");
    let outcome = send(&mut room, "alice");
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("app-user"));
    let url = server.url("/introspect");
    let document = |consumer: &str| {
        format!(
            "_format_version: \"3.0\"\nplugins:\n- name: oauth2-introspection\n  config: {{introspection_url: \"{url}\", \
             authorization_value: Basic Z2F0ZQ==, consumer_by: client_id}}\nconsumers:\n- {{username: {consumer}}}\n"
        )
    };
    room.reload(&document("renamed, custom_id: app")).unwrap();
    let outcome = send(&mut room, "alice");
    assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("renamed"));
    room.reload(&document("gone")).unwrap();
    let outcome = send(&mut room, "alice");
    assert_eq!((outcome.status, outcome.upstream_header("X-Consumer-Username")), (200, None));
    assert_eq!(outcome.upstream_header("X-Credential-Identifier").as_deref(), Some("alice"));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn callers_without_a_valid_token_may_pass_as_somebody_and_preflights_as_nobody() {
    let server = server();
    let mut room = room(&server, "anonymous: guest, run_on_preflight: false");
    for outcome in [send(&mut room, "mallory"), room.send("GET / HTTP/1.1\nX-Credential-Scope: forged\n\n")] {
        assert_eq!(outcome.upstream_header("X-Consumer-Username").as_deref(), Some("guest"));
        assert_eq!(outcome.upstream_header("X-Anonymous-Consumer").as_deref(), Some("true"));
        assert_eq!(outcome.upstream_header("X-Credential-Scope"), None);
    }
    let outcome = room.send("OPTIONS / HTTP/1.1\n\n");
    assert_eq!((outcome.answered, outcome.upstream_header("X-Consumer-Username")), (false, None));
    assert_eq!(self::room(&server, "").send("OPTIONS / HTTP/1.1\n\n").status, 401);
}

#[test]
fn what_cannot_be_sent_or_asked_is_refused() {
    let refuses = |config: &str| SUBJECT.refuses(config);
    assert!(refuses("{introspection_url: a, authorization_value: b}").contains("config.introspection_url"));
    let value = "{introspection_url: \"http://a\", authorization_value: \"a\\nb\"}";
    assert!(refuses(value).contains("config.authorization_value"));
    let header = "{introspection_url: \"http://a\", authorization_value: b, custom_introspection_headers: {X-A: \"a\\nb\"}}";
    assert!(refuses(header).contains("config.custom_introspection_headers.X-A"));
    let claim = "{introspection_url: \"http://a\", authorization_value: b, custom_claims_forward: [\"a b\"]}";
    assert!(refuses(claim).contains("'a b'"));
}
