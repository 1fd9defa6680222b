//! What the room does, seen from outside: requests in, outcomes out.

use std::net::TcpListener;

use plugin::harness::{GET, Harness, Outcome, START_MS, Subject};

use super::ResponseRatelimiting;

const ROOM: Subject = Subject(plugin::room::<ResponseRatelimiting>());

const LIMITS: &str = "limits: {video: {minute: 10, hour: 100}, image: {minute: 3}}";

/// A gateway whose service says what its responses cost.
fn gateway(more: &str, cost: &str) -> Harness {
    let mut gateway = ROOM.with(&format!("{{{LIMITS}, {more}}}"));
    costs(&mut gateway, &[cost]);
    gateway
}

fn costs(gateway: &mut Harness, costs: &[&str]) {
    let also = [
        ("ETag", "\"1\"".to_owned()),
        ("Cache-Control", "max-age=9".to_owned()),
        ("X-Other", "o".to_owned()),
    ];
    let costs = costs.iter().map(|cost| ("X-Kong-Limit", (*cost).to_owned()));
    gateway.upstream.headers = costs.chain(also).collect();
}

/// What a client is told to have left of videos in the minute and the hour, and of images.
fn left(outcome: &Outcome) -> [String; 3] {
    ["video-minute", "video-hour", "image-minute"]
        .map(|name| outcome.header(&format!("X-RateLimit-Remaining-{name}")).unwrap_or_default())
}

#[test]
fn what_a_response_costs_is_counted_and_told() {
    let mut gateway = gateway("", "video=3");
    let first = gateway.send("GET / HTTP/1.1\nX-RateLimit-Remaining-video: 999\n\n");
    assert_eq!((first.status, first.body.as_slice()), (200, b"{\"ok\":true}".as_slice()));
    assert_eq!(first.header("X-Kong-Limit"), None, "it is for the gateway alone");
    assert_eq!(left(&first), ["7", "97", "3"]);
    assert_eq!(first.header("X-RateLimit-Limit-video-hour").as_deref(), Some("100"));
    assert_eq!(
        first.upstream_header("X-RateLimit-Remaining-video").as_deref(),
        Some("10"),
        "no client's word"
    );
    let second = gateway.send(GET);
    let told =
        ["video", "image"].map(|name| second.upstream_header(&format!("X-RateLimit-Remaining-{name}")));
    assert_eq!(told.map(Option::unwrap), ["7", "3"]);
    assert_eq!(left(&second), ["4", "94", "3"]);
    gateway.clock.set(START_MS + 60_000);
    assert_eq!(left(&gateway.send(GET)), ["7", "91", "3"], "the minute is over, the hour is not");
}

#[test]
fn a_response_that_costs_what_is_used_up_is_replaced_by_an_empty_429() {
    let mut gateway = gateway("", "image=2");
    assert_eq!(gateway.statuses(GET, 2), [200, 200], "the last one may use more than is left");
    costs(&mut gateway, &["video=1, image=2"]);
    let refusal = gateway.send(GET);
    assert_eq!((refusal.status, refusal.answered, refusal.body.len()), (429, false, 0));
    assert_eq!(left(&refusal), ["10", "100", "0"], "it is counted nowhere");
    let about = ["Content-Type", "ETag", "Cache-Control", "X-Kong-Limit"].map(|name| refusal.header(name));
    assert_eq!(about, [None, None, None, None]);
    assert_eq!(["Content-Length", "X-Other"].map(|name| refusal.header(name).unwrap()), ["0", "o"]);
    costs(&mut gateway, &["video=1"]);
    assert_eq!(gateway.send(GET).status, 200, "it costs no image");
    gateway.upstream.headers.clear();
    assert_eq!(gateway.send(GET).status, 200, "it costs nothing");
    costs(&mut gateway, &["image=1"]);
    assert_eq!(gateway.send(GET).status, 429);
    gateway.clock.set(START_MS + 60_000);
    assert_eq!(gateway.send(GET).status, 200);
}

#[test]
fn who_has_nothing_left_is_refused_beforehand_where_that_is_asked_for() {
    let mut gateway = gateway("block_on_first_violation: true", "image=5");
    assert_eq!(gateway.send(GET).status, 200);
    costs(&mut gateway, &[]);
    let refusal = gateway.send(GET);
    assert_eq!((refusal.status, refusal.answered), (429, true), "though it would cost nothing");
    assert_eq!(refusal.message.as_deref(), Some("API rate limit exceeded for 'image'"));
    assert_eq!(refusal.header("X-RateLimit-Remaining-image-minute").as_deref(), Some("0"));
    gateway.clock.set(START_MS + 60_000);
    assert_eq!(gateway.send(GET).status, 200);
}

#[test]
fn clients_are_told_nothing_if_so_configured() {
    let mut gateway = gateway("hide_client_headers: true, block_on_first_violation: true", "image=3");
    for expected in [200, 429] {
        let outcome = gateway.send(GET);
        assert_eq!(outcome.status, expected);
        assert_eq!(outcome.headers.iter().filter(|(name, _)| name.contains("ate")).count(), 0);
    }
}

#[test]
fn the_cost_is_read_as_kong_reads_it_and_what_is_no_amount_is_passed_over() {
    let cases: [(&[&str], &str); 12] = [
        (&["video=2"], "8"),
        (&[" image=1 , video = 2 "], "8"),
        (&["image=1", "video=4"], "6"),
        (&["video=2,video=3"], "7"),
        (&["Video=2"], "10"),
        (&["audio=2"], "10"),
        (&["video"], "10"),
        (&["video=2=3"], "10"),
        (&["video=-2"], "10"),
        (&["video=two"], "10"),
        (&["video=1.5"], "8"),
        (&["video=99999999999"], "0"),
    ];
    for (values, expected) in cases {
        let mut gateway = gateway("", "");
        costs(&mut gateway, values);
        assert_eq!(left(&gateway.send(GET))[0], expected, "{values:?}");
    }
    let mut gateway = gateway("header_name: X-Cost", "video=1");
    assert_eq!(left(&gateway.send(GET))[0], "10");
    gateway.upstream.headers = vec![("x-cost", "video=1".to_owned())];
    let outcome = gateway.send(GET);
    assert_eq!((left(&outcome)[0].as_str(), outcome.header("X-Cost")), ("9", None));
}

#[test]
fn callers_are_told_apart() {
    for (by, expected) in
        [("consumer", [200, 429, 200]), ("credential", [200, 200, 200]), ("ip", [200, 429, 429])]
    {
        let document = format!(
            "_format_version: \"3.0\"\nconsumers:\n- {{username: a, keyauth_credentials: [{{key: k1}}, {{key: k2}}]}}\n\
             - {{username: b, keyauth_credentials: [{{key: k3}}]}}\nplugins:\n- name: key-auth\n\
             - name: response-ratelimiting\n  config: {{limit_by: {by}, limits: {{image: {{month: 1}}}}}}\n"
        );
        let rooms = [plugin::room::<crate::key_auth::KeyAuth>(), ROOM.0];
        let mut gateway = Harness::chain(&rooms, &document).unwrap();
        costs(&mut gateway, &["image=1"]);
        let found =
            ["k1", "k2", "k3"].map(|key| gateway.send(&format!("GET /?apikey={key} HTTP/1.1\n\n")).status);
        assert_eq!(found, expected, "{by}");
        let stranger = gateway.send(GET);
        assert_eq!((stranger.status, stranger.header("X-RateLimit-Limit-image-month")), (401, None));
    }
}

#[test]
fn without_redis_the_failure_mode_takes_over() {
    // A port on which nobody listens any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = |more: &str| {
        gateway(&format!("policy: redis, redis: {{host: 127.0.0.1, port: {port}}}, {more}"), "image=9")
    };
    let mut open = away("fault_tolerant: true");
    for _ in 0..3 {
        let outcome = open.send("GET / HTTP/1.1\nX-RateLimit-Remaining-image: 999\n\n");
        assert_eq!((outcome.status, outcome.header("X-Kong-Limit")), (200, None));
        assert_eq!(outcome.header("X-RateLimit-Limit-image-minute"), None);
        assert_eq!(outcome.upstream_header("X-RateLimit-Remaining-image"), None, "nobody knows");
    }
    let mut closed = away("fault_tolerant: false");
    assert_eq!(closed.statuses(GET, 2), [500, 500]);
    let mut local = away("failure_mode: local");
    assert_eq!(local.statuses(GET, 3), [200, 429, 429]);
}

#[test]
fn what_cannot_work_is_refused_with_kongs_words() {
    let order = "The limit for hour(3.0) cannot be lower than the limit for minute(5.0)";
    assert!(ROOM.refuses("{limits: {video: {minute: 5, hour: 3}}}").contains(order));
    assert!(ROOM.refuses("{}").contains("required field missing"));
    assert!(ROOM.refuses("{limits: {}}").contains("length must be at least 1"));
    assert!(ROOM.refuses("{limits: {video: {}}}").contains("at least one of these fields must be non-empty"));
    assert!(ROOM.refuses("{limits: {video: {minute: 0}}}").contains("value must be greater than 0"));
    assert!(ROOM.refuses("{limits: {'a b': {minute: 1}}}").contains("stands in header fields"));
    let with = |more: &str| ROOM.refuses(&format!("{{{LIMITS}, {more}}}"));
    assert!(with("limit_by: header").contains("expected one of: consumer, credential, ip"));
    assert!(with("policy: cluster").contains("expected one of: local, redis (policy"));
    assert!(with("policy: redis").contains("required field missing"));
    assert!(with("sync_rate: 1").contains("unknown field"));
    let tls = with("policy: redis, redis: {host: r, ssl: true}");
    assert!(tls.contains("config.redis.ssl: TLS is not available"), "{tls}");
    assert!(Harness::global(ROOM.0, &format!("{{{LIMITS}, policy: redis, redis_host: r}}")).is_ok());
}
