//! How many sub-routes a request has tested must not depend on how many there are.

use model::serde_json::{Value, json};
use plugin::exchange::Captures;

use super::super::search::Search;
use super::{Request, compile, table};

/// The most sub-routes that one of the requests has tested among `count` routes; every request must find its own.
fn most_tested(count: usize, fields: fn(usize) -> Value, request: fn(usize) -> Request) -> usize {
    let routes = table(&(0..count).map(fields).collect::<Vec<_>>());
    let router = compile(&routes);
    let mut captures = Captures::default();
    let tested = (0..count).step_by(1 + count / 50).map(|number| {
        request(number).with_lookup(|lookup| {
            let mut search = Search::new(&router, lookup, &mut captures);
            search.run();
            let tested = search.tested;
            assert_eq!(search.finish().map(|found| found.ordinal), Some(number));
            tested
        })
    });
    tested.max().unwrap()
}

fn host_of(number: usize) -> String {
    format!("h{number}.test")
}

#[test]
fn prefixes_hosts_and_patterns() {
    type Family = (&'static str, fn(usize) -> Value, fn(usize) -> Request);
    let families: [Family; 6] = [
        (
            "prefixes",
            |n| json!({"paths": [format!("/api/{n}/")]}),
            |n| Request::get("a.test", &format!("/api/{n}/x")),
        ),
        ("hosts", |n| json!({"hosts": [host_of(n)]}), |n| Request::get(&host_of(n), "/x")),
        (
            "hosts and one prefix",
            |n| json!({"hosts": [host_of(n)], "paths": ["/v1"]}),
            |n| Request::get(&host_of(n), "/v1/x"),
        ),
        (
            "wildcards",
            |n| json!({"hosts": [format!("*.h{n}.test")]}),
            |n| Request::get(&format!("a.h{n}.test"), "/"),
        ),
        (
            "ports",
            |n| json!({"hosts": [format!("a.test:{}", n + 1)]}),
            |n| Request::get(&format!("a.test:{}", n + 1), "/"),
        ),
        (
            "one host, prefixes",
            |n| json!({"hosts": ["a.test"], "paths": [format!("/{n}/")]}),
            |n| Request::get("a.test", &format!("/{n}/")),
        ),
    ];
    for (name, fields, request) in families {
        for count in [10, 10_000] {
            assert_eq!(most_tested(count, fields, request), 1, "{name}, {count} routes");
        }
    }
}

#[test]
fn regular_expressions_with_different_beginnings() {
    let fields = |n: usize| json!({"paths": [format!(r"~/r{n}-/(?<id>\d+)$")]});
    let request = |n: usize| Request::get("a.test", &format!("/r{n}-/7"));
    for count in [10, 1_000] {
        assert_eq!(most_tested(count, fields, request), 1, "{count} routes");
    }
}

#[test]
fn regular_expressions_with_the_same_beginning() {
    let fields = |n: usize| json!({"paths": [format!(r"~/v\d+/things-{n}/(?<id>\d+)$")]});
    let request = |n: usize| Request::get("a.test", &format!("/v2/things-{n}/7"));
    for count in [10, 1_000] {
        assert_eq!(most_tested(count, fields, request), 1, "{count} routes");
    }
}

#[test]
fn a_path_that_repeats_a_literal_is_not_tested_more_often() {
    let routes = table(&vec![json!({"paths": [r"~/v\d+/x/y$"]}); 20]);
    let router = compile(&routes);
    let mut captures = Captures::default();
    let path = format!("/v1{}", "/x/y".repeat(100)) + "/z";
    Request::get("", &path).with_lookup(|lookup| {
        let mut search = Search::new(&router, lookup, &mut captures);
        search.run();
        assert_eq!(search.tested, 20);
    });
}

#[test]
fn one_path_many_header_values_or_server_names() {
    let by_header = |n: usize| json!({"paths": ["/"], "headers": {"x-tenant": [format!("t{n}")]}});
    let header = |n: usize| Request::get("", "/").header("X-Tenant", &format!("T{n}"));
    let by_sni = |n: usize| json!({"paths": ["/"], "snis": [host_of(n)]});
    let sni = |n: usize| Request::get("", "/").tls(&host_of(n));
    for count in [10, 10_000] {
        assert_eq!(most_tested(count, by_header, header), 1, "{count} routes by header");
        assert_eq!(most_tested(count, by_sni, sni), 1, "{count} routes by server name");
    }
}

#[test]
fn nested_prefixes_test_the_longest_only() {
    let fields = |n: usize| json!({"paths": [format!("/{}", "a".repeat(n))]});
    let request = |n: usize| Request::get("", &format!("/{}b", "a".repeat(n)));
    assert_eq!(most_tested(500, fields, request), 1);
}

#[test]
fn a_search_allocates_nothing_once_warm() {
    let routes = table(&[
        json!({"hosts": ["*.a.test", "b.*", "c.test:8000"], "paths": ["/p"]}),
        json!({"paths": [r"~/r/(?<id>\d+)/(x)?"]}),
        json!({"paths": ["/h"], "headers": {"x-a": ["1", "~*^b+$"]}, "methods": ["GET"], "snis": ["s.test"]}),
    ]);
    let router = compile(&routes);
    let mut captures = Captures::default();
    let requests = [
        (Request::get("q.A.test", "/p/1"), Some(0)),
        (Request::get("c.test", "/p"), Some(0)),
        (Request::get("", "/r/77/x"), Some(1)),
        (Request::get("", "/h").header("X-A", "bb").tls("s.test"), Some(2)),
        (Request::get("", "/nothing"), None),
    ];
    for (request, expected) in requests {
        request.with_lookup(|lookup| {
            router.find(lookup, &mut captures);
            let mut found = None;
            let spent = allocation_counter::measure(|| found = router.find(lookup, &mut captures));
            assert_eq!(found.map(|found| found.ordinal), expected);
            assert_eq!(spent.count_total, 0, "{request:?}");
        });
    }
}
