//! What the room does, seen from outside: requests in, outcomes out.

use plugin::harness::{GET, Harness, Subject};

use super::ServiceProtection;

const ROOM: Subject = Subject(plugin::room::<ServiceProtection>());

#[test]
fn all_callers_of_a_service_are_counted_together() {
    let document = "_format_version: \"3.0\"\nservices:\n- name: a\n  url: http://a.test\n  routes: [{name: a, paths: [/]}]\n  \
                    plugins: [{name: service-protection, config: {limit: [2, 3], window_size: [10, 60], window_type: fixed}}]\n";
    let mut gateway = Harness::new(ROOM.0, document).unwrap();
    let first = gateway.send(GET);
    let told = ["X-RateLimit-Limit-10", "X-RateLimit-Remaining-Minute", "RateLimit-Remaining"];
    assert_eq!(told.map(|name| first.header(name).unwrap_or_default()), ["2", "2", "1"]);
    gateway.peer = "10.0.0.9:1".parse().unwrap();
    assert_eq!(gateway.statuses("GET /else HTTP/1.1\nX-Other: yes\n\n", 2), [200, 429]);
    let refusal = gateway.send(GET);
    assert_eq!(refusal.message.as_deref(), Some("API rate limit exceeded"));
    assert_eq!(refusal.header("Retry-After").as_deref(), Some("10"));
}

#[test]
fn who_is_refused_by_a_limit_of_its_own_costs_the_service_nothing() {
    let document = "_format_version: \"3.0\"\nservices: [{name: a, url: 'http://a.test', routes: [{name: a, paths: [/]}]}]\n\
                    plugins:\n- {name: rate-limiting-advanced, config: {limit: [1], window_size: [60], identifier: ip}}\n\
                    - {name: service-protection, service: a, config: {limit: [2], window_size: [60], error_code: 503, \
                    error_message: full}}\n";
    let rooms = [plugin::room::<crate::rate_limiting_advanced::RateLimitingAdvanced>(), ROOM.0];
    let mut gateway = Harness::chain(&rooms, document).unwrap();
    assert_eq!(gateway.statuses(GET, 3), [200, 429, 429]);
    gateway.peer = "10.0.0.8:1".parse().unwrap();
    assert_eq!(gateway.statuses(GET, 1), [200]);
    gateway.peer = "10.0.0.9:1".parse().unwrap();
    let refusal = gateway.send(GET);
    assert_eq!((refusal.status, refusal.message.as_deref()), (503, Some("full")));
}

#[test]
fn what_cannot_be_honoured_is_an_error_that_names_it() {
    let with = |more: &str| ROOM.refuses(&format!("{{limit: [1], window_size: [1], {more}}}"));
    assert!(ROOM.refuses("{limit: [1, 2], window_size: [1]}").contains("same number of windows and limits"));
    assert!(ROOM.refuses("{window_size: [1]}").contains("required field missing"));
    assert!(with("identifier: ip").contains("unknown field"));
    assert!(with("strategy: cluster").contains("'cluster' needs a database"));
    assert!(with("strategy: redis").contains("sync_rate is needed"));
    let of_route = "_format_version: \"3.0\"\nroutes: [{name: a, paths: [/], plugins: [{name: service-protection, config: \
                    {limit: [1], window_size: [1]}}]}]\n";
    let problems = Harness::new(ROOM.0, of_route).err().unwrap();
    assert!(problems.contains("value must be null"), "{problems}");
}
