//! What the rate-limiting room does, seen from outside: requests in, outcomes out.

use plugin::harness::{GET, Harness, Outcome, START_MS, Subject};

use super::RateLimiting;

const ROOM: Subject = Subject(plugin::room::<RateLimiting>());

fn fields<const N: usize>(outcome: &Outcome, names: [&str; N]) -> [Option<String>; N] {
    names.map(|name| outcome.header(name))
}

#[test]
fn the_limit_is_admitted_and_the_next_request_is_refused_until_the_window_ends() {
    let mut gateway = ROOM.with("{minute: 2}");
    gateway.clock.set(START_MS + 30_500);
    let first = gateway.send(GET);
    let names = [
        "X-RateLimit-Limit-Minute",
        "X-RateLimit-Remaining-Minute",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "Retry-After",
    ];
    let some =
        |values: [&str; 6]| values.map(|value| Some(value.to_owned()).filter(|value| !value.is_empty()));
    assert_eq!(fields(&first, names), some(["2", "1", "2", "1", "30", ""]));
    gateway.send(GET);
    let refusal = gateway.send(GET);
    assert_eq!((refusal.status, refusal.message.as_deref()), (429, Some("API rate limit exceeded")));
    assert_eq!(fields(&refusal, names), some(["2", "0", "2", "0", "30", "30"]));
    gateway.clock.set(START_MS + 59_999);
    assert_eq!(gateway.send(GET).header("Retry-After").as_deref(), Some("1"));
    gateway.clock.set(START_MS + 60_000);
    assert_eq!(gateway.send(GET).status, 200);
}

#[test]
fn the_general_fields_follow_the_tightest_period() {
    let mut gateway = ROOM.with("{minute: 6, hour: 99999}");
    let outcome = gateway.send(GET);
    let names = ["RateLimit-Limit", "RateLimit-Remaining", "X-RateLimit-Remaining-Hour"];
    assert_eq!(fields(&outcome, names).map(Option::unwrap), ["6", "5", "99998"]);
    let mut gateway = ROOM.with("{second: 3, year: 3}");
    let outcome = gateway.send(GET);
    assert_eq!(
        outcome.header("RateLimit-Reset").as_deref(),
        Some("31536000"),
        "of two alike, the longer one"
    );
}

#[test]
fn a_request_counts_in_all_windows_or_in_none() {
    let mut gateway = ROOM.with("{minute: 1, hour: 3}");
    assert_eq!(gateway.statuses(GET, 5), [200, 429, 429, 429, 429]);
    gateway.clock.advance(60_000);
    let outcome = gateway.send(GET);
    assert_eq!(outcome.status, 200);
    assert_eq!(outcome.header("X-RateLimit-Remaining-Hour").as_deref(), Some("1"));
}

#[test]
fn counters_survive_a_reload_and_a_change_of_the_limit() {
    let document = |minute| {
        format!(
            "_format_version: \"3.0\"\nplugins:\n- name: rate-limiting\n  config: {{minute: {minute}, policy: local}}\n"
        )
    };
    let mut gateway = Harness::new(ROOM.0, &document(2)).unwrap();
    assert_eq!(gateway.statuses(GET, 3), [200, 200, 429]);
    gateway.reload(&document(2)).unwrap();
    assert_eq!(gateway.send(GET).status, 429);
    gateway.reload(&document(3)).unwrap();
    assert_eq!(gateway.statuses(GET, 2), [200, 429]);
}

#[test]
fn clients_are_told_nothing_if_so_configured() {
    let mut gateway =
        ROOM.with("{minute: 1, hide_client_headers: true, error_code: 404, error_message: nope}");
    assert_eq!(gateway.send(GET).headers.iter().filter(|(name, _)| name.contains("ate")).count(), 0);
    let refusal = gateway.send(GET);
    assert_eq!((refusal.status, refusal.message.as_deref()), (404, Some("nope")));
    assert_eq!((refusal.header("Retry-After"), refusal.header("RateLimit-Limit")), (None, None));
}

#[test]
fn a_refusal_has_a_body_of_its_own_if_it_is_given() {
    let answer = "{body: 'in $(retry_after) s, yes $(retry_after)', content_type: text/plain, headers: {X-Why: limit}}";
    for hidden in [false, true] {
        let mut gateway =
            ROOM.with(&format!("{{minute: 1, hour: 1, hide_client_headers: {hidden}, answer: {answer}}}"));
        gateway.clock.set(START_MS + 30_000);
        assert_eq!(gateway.send(GET).header("X-Why"), None);
        let refusal = gateway.send(GET);
        assert_eq!((refusal.status, refusal.body.as_slice()), (429, &b"in 3570 s, yes 3570"[..]));
        assert_eq!(fields(&refusal, ["Content-Type", "X-Why"]).map(Option::unwrap), ["text/plain", "limit"]);
        assert_eq!(refusal.header("Retry-After"), (!hidden).then(|| "3570".to_owned()));
        gateway.clock.set(START_MS + 60_000);
        assert_eq!(gateway.send(GET).body, b"in 3540 s, yes 3540", "the hour is full still");
    }
    let without_body = ROOM.refuses("{minute: 1, answer: {headers: {X-Why: limit}}}");
    assert!(without_body.contains("config.answer.headers: goes with a body"), "{without_body}");
    let unsendable = ROOM.refuses(r#"{minute: 1, answer: {body: "", headers: {X-Why: "a\nb"}}}"#);
    assert!(unsendable.contains("config.answer.headers.X-Why"), "{unsendable}");
}

#[test]
fn callers_are_told_apart_by_header_and_otherwise_by_address() {
    let mut gateway = ROOM.with("{minute: 1, limit_by: header, header_name: X-Key}");
    assert_eq!(gateway.statuses("GET / HTTP/1.1\nX-Key: a\n\n", 2), [200, 429]);
    assert_eq!(gateway.statuses("GET / HTTP/1.1\nx-key: b\n\n", 2), [200, 429]);
    assert_eq!(gateway.statuses(GET, 2), [200, 429]);
    assert_eq!(gateway.send("GET / HTTP/1.1\nX-Key: 127.0.0.1\n\n").status, 200);
    gateway.peer = "[::ffff:127.0.0.1]:1".parse().unwrap();
    assert_eq!(gateway.send(GET).status, 429, "the same address in the other notation");
    gateway.peer = "[2001:db8::1]:1".parse().unwrap();
    assert_eq!(gateway.send(GET).status, 200);
}

#[test]
fn one_path_is_limited_for_all_and_others_by_address() {
    let mut gateway = ROOM.with("{minute: 1, limit_by: path, path: /a}");
    gateway.send("GET /a?x HTTP/1.1\n\n");
    gateway.peer = "10.0.0.9:1".parse().unwrap();
    assert_eq!(gateway.statuses("GET /a HTTP/1.1\n\n", 1), [429]);
    assert_eq!(gateway.statuses("GET /a/b HTTP/1.1\n\n", 2), [200, 429]);
    assert_eq!(gateway.statuses("GET /c HTTP/1.1\n\n", 1), [429], "they share the address's counter");
}

#[test]
fn consumers_and_groups_count_together() {
    let document = |by: &str| {
        format!(
            "_format_version: \"3.0\"\nconsumer_groups: [{{name: gold}}]\nconsumers:\n\
             - {{username: a, keyauth_credentials: [{{key: k1}}, {{key: k2}}], groups: [{{name: gold}}]}}\n\
             - {{username: b, keyauth_credentials: [{{key: k3}}], groups: [{{name: gold}}]}}\nplugins:\n\
             - name: key-auth\n- name: rate-limiting\n  config: {{minute: 1, limit_by: {by}}}\n"
        )
    };
    let rooms = [plugin::room::<crate::key_auth::KeyAuth>(), ROOM.0];
    for (by, expected) in [
        ("consumer", [200, 429, 200]),
        ("credential", [200, 200, 200]),
        ("consumer-group", [200, 429, 429]),
        ("ip", [200, 429, 429]),
    ] {
        let mut gateway = Harness::chain(&rooms, &document(by)).unwrap();
        let found =
            ["k1", "k2", "k3"].map(|key| gateway.send(&format!("GET /?apikey={key} HTTP/1.1\n\n")).status);
        assert_eq!(found, expected, "{by}");
    }
}

#[test]
fn a_fractional_limit_admits_what_kong_admits() {
    let mut gateway = ROOM.with("{minute: 1.5}");
    let outcome = gateway.send(GET);
    assert_eq!(outcome.header("X-RateLimit-Limit-Minute").as_deref(), Some("1.5"));
    assert_eq!(gateway.statuses(GET, 2), [200, 429]);
}

#[test]
fn what_cannot_work_is_refused_with_kongs_words() {
    let order = "The limit for hour(3.0) cannot be lower than the limit for minute(5.0)";
    assert!(ROOM.refuses("{minute: 5, hour: 3}").contains(order));
    assert!(
        ROOM.refuses("{policy: local}").contains("at least one of these fields must be non-empty: 'second'")
    );
    assert!(ROOM.refuses("{minute: 0}").contains("value must be greater than 0"));
    assert!(ROOM.refuses("{minute: 5, limit_by: header}").contains("required field missing"));
    assert!(ROOM.refuses("{minute: 5, policy: cluster}").contains("expected one of: local, redis (policy"));
    assert!(ROOM.refuses("{minute: 5, policy: redis}").contains("required field missing"));
    assert!(ROOM.refuses("{minute: 5, sync_rate: 1}").contains("sync_rate can only"));
    assert!(
        ROOM.refuses("{minute: 5, policy: redis, redis: {host: r}, sync_rate: 0.01}").contains("from 0.02")
    );
    let cloud = ROOM
        .refuses("{minute: 5, policy: redis, redis: {host: r, cloud_authentication: {auth_provider: aws}}}");
    assert!(cloud.contains("config.redis.cloud_authentication.auth_provider"), "{cloud}");
    let tls = ROOM.refuses("{minute: 5, policy: redis, redis: {host: r, ssl: true}}");
    assert!(tls.contains("config.redis.ssl: TLS is not available"), "{tls}");
    assert!(Harness::global(ROOM.0, "{minute: 5, policy: redis, redis: {host: r}, sync_rate: 0.1}").is_ok());
    assert!(ROOM.refuses("{minute: 5, error_code: 1000}").contains("expected a status code"));
    assert!(ROOM.refuses("{minute: 5000000000}").contains("must be below"));
    assert!(ROOM.refuses("{minutes: 5}").contains("unknown field"));
    assert!(Harness::global(ROOM.0, "{minute: 5, redis_host: r, redis_port: 1}").is_ok());
}

#[test]
fn workers_together_admit_exactly_the_limit() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use plugin::exchange::{Client, Exchange};
    use plugin::services::Worker;
    use plugin::{Access, Flow};

    let gateway = ROOM.with("{minute: 1000, hour: 1500}");
    let config = plugin::model::declarative::load(
        "kong.yml",
        "_format_version: \"3.0\"\nplugins:\n- name: rate-limiting\n  config: {minute: 1000, hour: 1500}\n",
        &plugin::model::Catalog { plugins: vec![ROOM.0.schema()], entities: Vec::new() },
    )
    .unwrap();
    let (services, shared) = (&gateway.services, plugin::build::Shared::default());
    let row = &config.plugins[0];
    let cx = plugin::Build { config: &config, row, routes: &[], services, shared: &shared };
    let phases = ROOM.0.build(row, &cx).unwrap();
    let admitted = Arc::new(AtomicU32::new(0));
    let run = |clock_at: u64| {
        services.clock.set(clock_at);
        std::thread::scope(|scope| {
            for index in 0..4 {
                let (phases, admitted, services) = (&phases, &admitted, services.clone());
                scope.spawn(move || {
                    let worker = std::rc::Rc::new(Worker::new(index, services));
                    let mut exchange = Exchange::new(worker, Client::default());
                    for _ in 0..1000 {
                        exchange.begin(std::time::Instant::now());
                        let flow = phases.access(&mut Access::new(&mut exchange, 0));
                        admitted.fetch_add(u32::from(matches!(flow, Flow::Next)), Ordering::Relaxed);
                    }
                });
            }
        });
        admitted.swap(0, Ordering::Relaxed)
    };
    assert_eq!(run(START_MS + 3_600_000), 1000);
    assert_eq!(run(START_MS + 3_660_000), 500, "the hour's limit binds in the second minute");
}
