//! What the room does, seen from outside: requests in, outcomes out.

use plugin::harness::{GET, Harness, START_MS, Subject};

use super::RateLimitingAdvanced;

const ROOM: Subject = Subject(plugin::room::<RateLimitingAdvanced>());

fn admitted(gateway: &mut Harness, count: usize) -> usize {
    gateway.statuses(GET, count).into_iter().filter(|status| *status == 200).count()
}

/// How many of five requests alike are admitted.
fn admitted_of(gateway: &mut Harness, request: &str) -> usize {
    gateway.statuses(request, 5).into_iter().filter(|status| *status == 200).count()
}

#[test]
fn several_limits_hold_at_once_and_are_told() {
    let mut gateway = ROOM.with("{limit: [2, 3], window_size: [10, 60], window_type: fixed}");
    let first = gateway.send(GET);
    let told = |name: &str| first.header(name).unwrap_or_default();
    assert_eq!(
        ["X-RateLimit-Limit-10", "X-RateLimit-Remaining-10", "X-RateLimit-Limit-Minute"].map(told),
        ["2", "1", "3"]
    );
    assert_eq!(["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"].map(told), ["2", "1", "10"]);
    assert_eq!(gateway.statuses(GET, 2), [200, 429]);
    gateway.clock.advance(10_000);
    assert_eq!(gateway.statuses(GET, 2), [200, 429], "what was refused did not count in the minute");
    let refusal = gateway.send(GET);
    assert_eq!(refusal.header("Retry-After").as_deref(), Some("50"), "the longer wait");
    assert_eq!(refusal.message.as_deref(), Some("API rate limit exceeded"));
}

#[test]
fn a_sliding_window_has_no_burst_at_its_boundary_and_a_fixed_one_has() {
    for (kind, expected) in [("fixed", 10), ("sliding", 0)] {
        let mut gateway = ROOM
            .with(&format!("{{limit: [10], window_size: [60], window_type: {kind}, disable_penalty: true}}"));
        gateway.clock.set(START_MS + 59_900);
        assert_eq!(admitted(&mut gateway, 20), 10);
        gateway.clock.set(START_MS + 60_000);
        assert_eq!(admitted(&mut gateway, 20), expected, "{kind}");
    }
}

#[test]
fn a_refusal_has_a_body_of_its_own_that_tells_what_retry_after_does() {
    let mut gateway = ROOM.with(
        "{limit: [1], window_size: [60], window_type: fixed, retry_after_jitter_max: 500, answer: {body: '{\"again\":$(retry_after)}'}}",
    );
    gateway.send(GET);
    let waits: Vec<String> = (0..20)
        .map(|_| {
            let refusal = gateway.send(GET);
            assert_eq!(refusal.header("RateLimit-Reset").as_deref(), Some("60"));
            assert_eq!(refusal.json()["again"].to_string(), refusal.header("Retry-After").unwrap());
            refusal.header("Retry-After").unwrap()
        })
        .collect();
    assert!(waits.iter().any(|wait| *wait != waits[0]), "they are spread: {waits:?}");
}

#[test]
fn who_goes_on_asking_stays_out_unless_that_is_disabled() {
    for (disabled, expected) in [("false", 0), ("true", 5)] {
        let mut gateway =
            ROOM.with(&format!("{{limit: [10], window_size: [60], disable_penalty: {disabled}}}"));
        assert_eq!(admitted(&mut gateway, 30), 10);
        gateway.clock.set(START_MS + 90_000);
        assert_eq!(admitted(&mut gateway, 10), expected, "disable_penalty {disabled}");
    }
}

#[test]
fn the_time_to_wait_is_when_there_is_room() {
    let mut gateway = ROOM.with("{limit: [4], window_size: [60], disable_penalty: true}");
    assert_eq!(admitted(&mut gateway, 4), 4);
    let wait: u64 = gateway.send(GET).header("Retry-After").unwrap().parse().unwrap();
    assert_eq!(wait, 75, "a quarter of the next window");
    gateway.clock.set(START_MS + wait * 1000 - 1);
    assert_eq!(gateway.send(GET).status, 429);
    gateway.clock.set(START_MS + wait * 1000);
    assert_eq!(gateway.send(GET).status, 200);
}

#[test]
fn jitter_is_added_within_its_bound() {
    let mut gateway =
        ROOM.with("{limit: [1], window_size: [60], window_type: fixed, retry_after_jitter_max: 20}");
    gateway.send(GET);
    let waits: std::collections::BTreeSet<u64> =
        (0..400).map(|_| gateway.send(GET).header("Retry-After").unwrap().parse().unwrap()).collect();
    assert_eq!((waits.first(), waits.last()), (Some(&60), Some(&80)));
}

#[test]
fn an_even_stream_has_a_burst_and_no_windows() {
    let mut gateway = ROOM.with("{limit: [600], window_size: [60], algorithm: gcra, burst: [5]}");
    assert_eq!(admitted(&mut gateway, 20), 5);
    let refusal = gateway.send(GET);
    let told = ["RateLimit-Remaining", "Retry-After"].map(|name| refusal.header(name).unwrap());
    assert_eq!(told, ["0", "1"]);
    for _ in 0..10 {
        gateway.clock.advance(100);
        assert_eq!(gateway.statuses(GET, 2), [200, 429], "one every 100 ms");
    }
    gateway.clock.advance(60_000);
    assert_eq!(admitted(&mut gateway, 20), 5);
    let mut gateway = ROOM.with("{limit: [600], window_size: [60], algorithm: gcra}");
    assert_eq!(admitted(&mut gateway, 100), 60, "a tenth of the limit where no burst is given");
}

#[test]
fn a_request_beyond_the_limit_waits_for_room_within_its_tries() {
    let throttling = "throttling: {enabled: true, interval: 1, queue_limit: 1, retry_times: 2}";
    let mut gateway =
        ROOM.with(&format!("{{limit: [1], window_size: [60], window_type: fixed, {throttling}}}"));
    assert_eq!(gateway.send(GET).status, 200);
    let clock = gateway.clock.clone();
    assert_eq!(gateway.send(GET).status, 429, "two tries later there is still no room");
    clock.set(START_MS + 60_000);
    assert_eq!(gateway.send(GET).status, 200);
}

#[test]
fn callers_are_told_apart_by_several_things_together() {
    let mut gateway = ROOM
        .with("{limit: [1], window_size: [60], compound_identifier: [ip, header], header_name: X-Tenant}");
    let of = |tenant: &str| format!("GET / HTTP/1.1\nX-Tenant: {tenant}\n\n");
    assert_eq!(gateway.statuses(&of("a"), 2), [200, 429]);
    assert_eq!(gateway.statuses(&of("b"), 2), [200, 429]);
    gateway.peer = "10.0.0.9:1".parse().unwrap();
    assert_eq!(gateway.statuses(&of("a"), 2), [200, 429]);
}

#[test]
fn instances_with_a_namespace_count_together() {
    let document = |namespaces: [&str; 2], dictionary: &str| {
        let one = |route: &str, more: &str| {
            format!(
                "- name: rate-limiting-advanced\n  route: {route}\n  config: {{limit: [1], window_size: [60], {more}}}\n"
            )
        };
        format!(
            "_format_version: \"3.0\"\nroutes: [{{name: a, paths: [/a]}}, {{name: b, paths: [/b]}}]\nplugins:\n{}{}",
            one("a", &format!("namespace: {}", namespaces[0])),
            one("b", &format!("namespace: {}, dictionary_name: {dictionary}", namespaces[1])),
        )
    };
    // The harness runs both instances on each request.
    for (namespaces, dictionary, expected) in [
        (["x", "x"], "kong_rate_limiting_counters", 429),
        (["x", "y"], "kong_rate_limiting_counters", 200),
        (["x", "x"], "other", 200),
    ] {
        let mut gateway = Harness::new(ROOM.0, &document(namespaces, dictionary)).unwrap();
        assert_eq!(gateway.send(GET).status, expected, "{namespaces:?} {dictionary}");
    }
}

#[test]
fn enforced_groups_have_limits_of_their_own() {
    let document = |enforced: bool| {
        format!(
            "_format_version: \"3.0\"\nconsumer_groups:\n- name: gold\n  plugins: [{{name: rate-limiting-advanced, \
             config: {{limit: [3], window_size: [60]}}}}]\nconsumers:\n\
             - {{username: a, keyauth_credentials: [{{key: k1}}], groups: [{{name: gold}}]}}\n\
             - {{username: b, keyauth_credentials: [{{key: k2}}]}}\nplugins:\n- name: key-auth\n\
             - name: rate-limiting-advanced\n  config: {{limit: [1], window_size: [60], consumer_groups: [gold], \
             enforce_consumer_groups: {enforced}}}\n"
        )
    };
    let rooms = [plugin::room::<crate::key_auth::KeyAuth>(), ROOM.0];
    let count = |enforced: bool, key: &str| {
        let mut gateway = Harness::chain(&rooms, &document(enforced)).unwrap();
        let request = format!("GET /?apikey={key} HTTP/1.1\n\n");
        gateway.statuses(&request, 5).into_iter().filter(|status| *status == 200).count()
    };
    assert_eq!((count(true, "k1"), count(true, "k2")), (3, 1));
    assert_eq!(count(false, "k1"), 1);
    let missing =
        ROOM.refuses("{limit: [1], window_size: [1], enforce_consumer_groups: true, consumer_groups: [no]}");
    assert!(missing.contains("no consumer group 'no'"), "{missing}");
}

#[test]
fn groups_that_are_vouched_for_have_their_limits() {
    let document = |more: &str| {
        format!(
            "_format_version: \"3.0\"\nconsumer_groups:\n- {{name: gold, plugins: [{{name: rate-limiting-advanced, config: \
             {{limit: [3], window_size: [60]}}}}]}}\n- {{name: plain}}\nplugins:\n- {{name: vouching}}\n\
             - name: rate-limiting-advanced\n  config: {{limit: [1], window_size: [60], consumer_groups: [plain, gold], \
             enforce_consumer_groups: true}}\n{more}"
        )
    };
    let vouching = plugin::room::<plugin::harness::vouching::Vouching>();
    let keys = plugin::room::<crate::key_auth::KeyAuth>();
    let consumer = "- {name: key-auth}\nconsumers: [{username: a, keyauth_credentials: [{key: k}]}]\n";
    for (rooms, more) in [(vec![vouching, ROOM.0], ""), (vec![vouching, keys, ROOM.0], consumer)] {
        for (vouched, expected) in [("gold", 3), ("plain,gold", 3), ("plain", 1), ("other", 1)] {
            let mut gateway = Harness::chain(&rooms, &document(more)).unwrap();
            let request = format!("GET / HTTP/1.1\napikey: k\nvouched-consumer-groups: {vouched}\n\n");
            assert_eq!(admitted_of(&mut gateway, &request), expected, "{vouched} {more}");
        }
    }
}

#[test]
fn callers_are_told_apart_by_a_claim_of_their_token() {
    let chain = |more: &str| {
        let document = format!(
            "_format_version: \"3.0\"\nconsumers: [{{username: partner, jwt_secrets: [{{key: k, secret: s}}]}}]\n\
             plugins:\n- {{name: jwt, config: {{anonymous: partner}}}}\n- name: rate-limiting-advanced\n  \
             config: {{limit: [1], window_size: [60], claim_name: tenant, {more}}}\n"
        );
        Harness::chain(&[plugin::room::<crate::jwt::Jwt>(), ROOM.0], &document).unwrap()
    };
    let of = |tenant: serde_json::Value| {
        let token = crate::jwt::tests::hs256(&serde_json::json!({"iss": "k", "tenant": tenant}));
        format!("GET / HTTP/1.1\nAuthorization: Bearer {token}\n\n")
    };
    let (acme, corp) = (of("acme".into()), of("corp".into()));
    let mut gateway = chain("");
    assert_eq!(gateway.statuses(&acme, 2), [200, 429], "the second time its token is remembered");
    assert_eq!(gateway.statuses(&corp, 2), [200, 429], "one consumer, another tenant");
    assert_eq!(gateway.statuses(&of(7.into()), 2), [200, 429], "a number will do");
    assert_eq!(
        gateway.statuses(&of(["acme"].as_slice().into()), 2),
        [200, 429],
        "a list is no value: by address"
    );
    let forged = acme.replace("\n\n", "x\n\n");
    assert_eq!(gateway.statuses(&forged, 1), [429], "nor is what nobody has signed");
    let mut gateway = chain("compound_identifier: [ip]");
    assert_eq!(gateway.statuses(&acme, 2), [200, 429]);
    gateway.peer = "10.0.0.9:1".parse().unwrap();
    assert_eq!(gateway.statuses(&acme, 2), [200, 429], "the claim and the address together");
}

#[test]
fn what_cannot_be_honoured_is_an_error_that_names_it() {
    let with = |more: &str| ROOM.refuses(&format!("{{limit: [1], window_size: [1], {more}}}"));
    assert!(ROOM.refuses("{limit: [1, 2], window_size: [1]}").contains("same number of windows and limits"));
    assert!(ROOM.refuses("{limit: [1], window_size: [0.5]}").contains("whole seconds"));
    assert!(ROOM.refuses("{limit: [0], window_size: [1]}").contains("above 0"));
    assert!(with("strategy: cluster").contains("'cluster' needs a database"));
    assert!(with("strategy: redis").contains("sync_rate is needed"));
    assert!(with("sync_rate: 0").contains("only be used with strategy 'redis'"));
    assert!(with("burst: [1]").contains("config.burst"));
    assert!(with("identifier: header").contains("needs 'header_name'"));
    assert!(with("identifier: ip, claim_name: tenant").contains("takes the place of 'identifier'"));
    assert!(with("lock_dictionary_name: mine").contains("leave lock_dictionary_name out"));
    let redis = |fields: &str| with(&format!("strategy: redis, sync_rate: 0, redis: {{{fields}}}"));
    let sentinels = "sentinel_master: m, sentinel_nodes: [{host: s}]";
    assert!(redis(&format!("{sentinels}, sentinel_role: slave")).contains("config.redis.sentinel_role"));
    assert!(redis(sentinels).contains("sentinel_role"));
    assert!(redis("cluster_nodes: [{ip: c}], database: 1").contains("config.redis.database"));
    assert!(redis("connection_is_proxied: true, database: 1").contains("config.redis.connection_is_proxied"));
    assert!(redis("cloud_authentication: {auth_provider: gcp}").contains("auth_provider"));
    let both = format!("{sentinels}, sentinel_role: master, cluster_nodes: [{{ip: c}}]");
    assert!(redis(&both).contains("config.redis.cluster_nodes"));
}
