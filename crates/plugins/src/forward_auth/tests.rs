//! A service on the loopback decides about requests.

use plugin::harness::{Harness, Outcome, Subject};
use plugin::outbound::loopback::{Given, Loopback};

const SUBJECT: Subject = Subject(plugin::room::<super::ForwardAuth>());

/// A service that lets those with the token `good` pass and knows who they are.
fn service() -> Loopback {
    Loopback::answering(|request| match request.header("authorization").as_deref() {
        Some("good") => Given::answer(
            200,
            &[("X-User", "alice"), ("X-Roles", "a"), ("X-Roles", "b"), ("X-Other", "1")],
            "ok",
        ),
        Some("trouble") => Given::answer(502, &[], ""),
        _ => Given::answer(
            403,
            &[("Content-Type", "text/plain"), ("X-Inner", "secret"), ("Set-Cookie", "a=1")],
            "no",
        ),
    })
}

fn room(service: &Loopback, more: &str) -> Harness {
    let url = service.url("/decide?x=1");
    SUBJECT.with(&format!("{{url: \"{url}\", upstream_headers: [X-User, X-Roles]{more}}}")).in_real_time()
}

fn send(room: &mut Harness, token: &str) -> Outcome {
    room.send(&format!("DELETE /orders/7?now HTTP/1.1\nHost: api.test\nAuthorization: {token}\nX-User: mallory\nx-roles: root\nX-Secret: 1\n\n"))
}

#[test]
fn the_service_is_told_what_traefik_would_tell_it() {
    let service = service();
    send(&mut room(&service, ""), "good");
    let seen = service.last();
    assert_eq!((&*seen.method, &*seen.target, seen.body.len()), ("GET", "/decide?x=1", 0));
    let header = |name: &str| seen.header(name).unwrap_or_default();
    assert_eq!(header("authorization"), "good");
    assert_eq!(header("x-forwarded-method"), "DELETE");
    assert_eq!(header("x-forwarded-proto"), "http");
    assert_eq!(header("x-forwarded-host"), "api.test");
    assert_eq!(header("x-forwarded-uri"), "/orders/7?now");
    assert_eq!(header("x-forwarded-for"), "127.0.0.1");
    assert_eq!((header("x-secret"), header("x-user")), (String::new(), String::new()));
}

#[test]
fn who_may_pass_passes_with_what_the_service_says_of_them() {
    let service = service();
    let outcome = send(&mut room(&service, ""), "good");
    assert!(!outcome.answered);
    let all = |name: &str| outcome.upstream_headers.all(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(
        (all("X-User"), all("X-Roles")),
        (vec![b"alice".to_vec()], vec![b"a".to_vec(), b"b".to_vec()])
    );
    assert_eq!(outcome.upstream_header("X-Other"), None);
}

#[test]
fn any_other_answer_is_the_clients() {
    let service = service();
    let outcome = send(&mut room(&service, ""), "bad");
    assert!(outcome.answered);
    assert_eq!((outcome.status, &outcome.body[..]), (403, &b"no"[..]));
    assert_eq!(outcome.header("Content-Type").as_deref(), Some("text/plain"));
    assert_eq!(outcome.header("Set-Cookie").as_deref(), Some("a=1"));
    assert_eq!(outcome.header("X-Inner"), None);
}

#[test]
fn without_an_answer_nobody_passes_unless_that_is_wanted() {
    let service = Loopback::answering(|_| Given::answer(200, &[("X-User", "alice")], "four"));
    let outcome = send(&mut room(&service, ", max_body_size: 3"), "good");
    assert_eq!((outcome.answered, outcome.status), (true, 503));
    assert_eq!(outcome.message.as_deref(), Some("The authorization service does not answer"));
    let outcome = send(&mut room(&service, ", max_body_size: 3, status_on_error: 403"), "good");
    assert_eq!(outcome.status, 403);
    let outcome = send(&mut room(&service, ", max_body_size: 3, fail_open: true"), "good");
    assert!(!outcome.answered);
    assert_eq!((outcome.upstream_header("X-User"), outcome.upstream_header("X-Roles")), (None, None));
    assert!(!send(&mut room(&service, ", max_body_size: 4"), "good").answered);
}

#[test]
fn decisions_hold_for_requests_that_are_alike_and_for_their_time() {
    let service = service();
    let mut room = room(&service, ", cache: {ttl: 10, refusal_ttl: 5, by: [headers, method]}");
    for (token, calls) in [("good", 1), ("good", 1), ("bad", 2), ("bad", 2), ("trouble", 3), ("trouble", 4)] {
        send(&mut room, token);
        assert_eq!(service.seen().len(), calls, "{token}");
    }
    assert_eq!(send(&mut room, "good").upstream_header("X-User").as_deref(), Some("alice"));
    assert_eq!(send(&mut room, "bad").status, 403);
    room.send("GET / HTTP/1.1\nAuthorization: good\n\n");
    assert_eq!(service.seen().len(), 5);
    room.clock.advance(5_000);
    send(&mut room, "good");
    assert_eq!(service.seen().len(), 5);
    send(&mut room, "bad");
    assert_eq!(service.seen().len(), 6);
}

#[test]
fn nothing_is_remembered_unless_that_is_wanted_and_nothing_of_other_rules() {
    let service = service();
    let mut plain = room(&service, "");
    send(&mut plain, "good");
    send(&mut plain, "good");
    assert_eq!(service.seen().len(), 2);
    let document = |more: &str| {
        let url = service.url("/");
        format!(
            "_format_version: \"3.0\"\nplugins:\n- name: forward-auth\n  config: {{url: \"{url}\", cache: {{ttl: 10}}{more}}}\n"
        )
    };
    let mut room = Harness::new(SUBJECT.0, &document("")).unwrap().in_real_time();
    send(&mut room, "good");
    room.reload(&document("")).unwrap();
    send(&mut room, "good");
    assert_eq!(service.seen().len(), 3);
    room.reload(&document(", upstream_headers: [X-User]")).unwrap();
    assert_eq!(send(&mut room, "good").upstream_header("X-User").as_deref(), Some("alice"));
    assert_eq!(service.seen().len(), 4);
}

#[test]
fn what_decisions_may_depend_on_makes_requests_differ() {
    let service = service();
    let mut room = room(&service, ", request_headers: [Authorization, X-A], cache: {ttl: 10}");
    let alike = "GET /a?b HTTP/1.1\nHost: one.test\nAuthorization: good\n\n";
    room.send(alike);
    room.send(alike);
    assert_eq!(service.seen().len(), 1);
    let others = [
        alike.replace("GET", "PUT"),
        alike.replace("/a?b", "/a?"),
        alike.replace("/a?b", "/a"),
        alike.replace("/a?b", "/ab"),
        alike.replace("one", "two"),
        alike.replace("good", "bad"),
        alike.replace("\n\n", "\nX-A: 1\n\n"),
        alike.replace("\n\n", "\nX-A:\n\n"),
    ];
    for (calls, other) in others.iter().enumerate() {
        room.send(other);
        assert_eq!(service.seen().len(), calls + 2, "{other}");
    }
    room.peer = "127.0.0.2:1".parse().unwrap();
    room.send(alike);
    assert_eq!(service.seen().len(), others.len() + 2);
}

#[test]
fn preflights_need_not_be_asked_about() {
    let service = service();
    let preflight = "OPTIONS / HTTP/1.1\nX-User: mallory\n\n";
    assert_eq!(room(&service, "").send(preflight).status, 403);
    let outcome = room(&service, ", run_on_preflight: false").send(preflight);
    assert!(!outcome.answered);
    assert_eq!(outcome.upstream_header("X-User"), None);
}

#[test]
fn what_the_service_says_is_not_said_by_clients_behind_the_body_but_is_shown_to_it() {
    let service = service();
    let more = ", request_headers: [Authorization, X-User], run_on_preflight: false";
    let mut room = room(&service, more).trailing(&["X-User", "x_roles", "X-Consumer-Username", "X-Secret"]);
    assert_eq!(send(&mut room, "good").trailer_names(), ["X-Secret"]);
    assert_eq!(service.last().header("x-user").as_deref(), Some("mallory"));
    assert_eq!(room.send("OPTIONS / HTTP/1.1\n\n").trailer_names(), ["X-Secret"]);
}

#[test]
fn what_cannot_be_asked_or_compared_is_refused() {
    assert!(SUBJECT.refuses("{url: \"access.internal\"}").contains("config.url"));
    assert!(SUBJECT.refuses("{url: \"https://access.internal\"}").contains("TLS"));
    let refusal = SUBJECT.refuses("{url: \"http://a\", cache: {by: [cookies]}}");
    assert!(refusal.contains("config.cache.by") && refusal.contains("'cookies'"), "{refusal}");
    assert!(
        SUBJECT.refuses("{url: \"http://a\", cache: {by: [\"header:a b\"]}}").contains("config.cache.by")
    );
}
