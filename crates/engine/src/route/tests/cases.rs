//! The router cases R01-R45 and R61 of kong-cases.md.

use model::serde_json::{Value, json};

use super::{Request, compile, ordinal, route, table};

/// A request and the number of the route that must take it.
type Expected = (Request, Option<usize>);

fn get(host: &str, path: &str) -> Request {
    Request::get(host, path)
}

fn check(name: &str, routes: &[Value], expected: &[Expected]) {
    let router = compile(&table(routes));
    for (request, route) in expected {
        assert_eq!(ordinal(&router, request), *route, "{name}: {request:?}");
    }
}

#[test]
fn r01_r03_single_fields() {
    let routes = [
        json!({"hosts": ["one.test", "two.test"]}),
        json!({"methods": ["TRACE"]}),
        json!({"paths": ["/my"]}),
    ];
    check(
        "R01",
        &routes,
        &[
            (get("one.test", "/"), Some(0)),
            (get("two.test", "/"), Some(0)),
            (get("other", "/").method("TRACE"), Some(1)),
            (get("other", "/my"), Some(2)),
            (get("other", "/"), None),
        ],
    );
    check(
        "R03",
        &[json!({"methods": ["GET"]}), json!({"paths": ["/ex"]})],
        &[(get("", "/ex"), Some(1)), (get("", "/ex/status"), Some(1)), (get("", "/"), Some(0))],
    );
}

#[test]
fn r05_r11_hosts_and_paths_together() {
    let routes = [json!({"hosts": ["h1"], "paths": ["/v1/p"]}), json!({"hosts": ["h2"], "paths": ["/"]})];
    check("R05", &routes, &[(get("h1", "/v1/p"), Some(0)), (get("h2", "/v1/p"), Some(1))]);
    check(
        "R07",
        &[json!({"paths": ["/"]}), json!({"paths": ["/my"]})],
        &[
            (get("", "/"), Some(0)),
            (get("", "/my"), Some(1)),
            (get("", "/my/hello"), Some(1)),
            (get("", "/foo/baz"), Some(0)),
        ],
    );
    let routes = [
        json!({"hosts": ["e.com"], "paths": ["/m"]}),
        json!({"hosts": ["e.com"], "paths": ["/m/h"]}),
        json!({"hosts": ["e.net"], "paths": ["/m/h/w"]}),
    ];
    check("R09", &routes, &[(get("e.com", "/m/h/w"), Some(1)), (get("e.com", "/m/h/w/more"), Some(1))]);
    let routes = [
        json!({"hosts": ["a.test"], "methods": ["GET"], "paths": ["/root"]}),
        json!({"hosts": ["b.test"], "methods": ["GET"], "paths": ["/root/fix/get"]}),
    ];
    check("R11", &routes, &[(get("a.test", "/root/fix/get"), Some(0)), (get("a.test", "/"), None)]);
}

#[test]
fn r13_r17_prefixes_and_split_routes() {
    check("R13", &[json!({"paths": ["/foo"]})], &[(get("", "/foobar"), Some(0)), (get("", "/fo"), None)]);
    let routes = [
        json!({"hosts": ["d"], "paths": ["~/some/thing/else", "/foo"]}),
        json!({"hosts": ["d"], "paths": ["/foo/bar"]}),
    ];
    check(
        "R15",
        &routes,
        &[
            (get("d", "/some/thing/else"), Some(0)),
            (get("d", "/foo/bar"), Some(1)),
            (get("d", "/foo"), Some(0)),
        ],
    );
    let mut routes = vec![json!({"hosts": ["d"], "paths": ["/u"]}); 5];
    routes.push(json!({"hosts": ["d"], "paths": ["/t"]}));
    check("R17", &routes, &[(get("d", "/t"), Some(5)), (get("d", "/u"), Some(4))]);
}

#[test]
fn r19_r27_regular_expressions() {
    check(
        "R19",
        &[json!({"paths": [r"~/users/\d+/profile"]})],
        &[
            (get("", "/users/123/profile"), Some(0)),
            (get("", "/users/foo/profile"), None),
            (get("", "/extra/users/1/profile"), None),
            (get("", "/users/1/profile/more"), Some(0)),
        ],
    );
    let routes = [json!({"paths": ["/r/fixture"]}), json!({"paths": ["~/r/(fixture)"]})];
    check("R21", &routes, &[(get("", "/r/fixture"), Some(1))]);
    let routes = [
        json!({"paths": ["~/s/(?P<foo>re)"], "regex_priority": 0}),
        json!({"paths": ["~/s/(re)"], "regex_priority": 4}),
    ];
    check("R23", &routes, &[(get("", "/s/re"), Some(1))]);
    let turned = [routes[1].clone(), routes[0].clone()];
    check("R23 turned", &turned, &[(get("", "/s/re"), Some(0))]);
    let negative = [json!({"paths": ["~/s"], "regex_priority": -1}), json!({"paths": ["~/s/"]})];
    check("a negative priority is below none", &negative, &[(get("", "/s/"), Some(1))]);
    let routes = [
        json!({"hosts": ["*.e.com"], "paths": [r"~/u/\d+/p"]}),
        json!({"hosts": ["*.e.com"], "paths": ["/u"]}),
    ];
    check("R25", &routes, &[(get("t.e.com", "/u/1/p"), Some(0)), (get("t.e.com", "/u"), Some(1))]);
    check(
        "R27",
        &[json!({"paths": ["~/(users/)?19/(?<sub>profile)$"]})],
        &[
            (get("", "/19/profile"), Some(0)),
            (get("", "/users/19/profile"), Some(0)),
            (get("", "/19/profile/x"), None),
        ],
    );
}

#[test]
fn r31_r35_wildcards_and_ports() {
    let routes =
        [json!({"hosts": ["*.r.com"]}), json!({"hosts": ["x.*"]}), json!({"hosts": ["plain.r.com"]})];
    check(
        "R31",
        &routes,
        &[
            (get("plain.r.com", "/"), Some(2)),
            (get("foo.r.com", "/"), Some(0)),
            (get("a.b.r.com", "/"), Some(0)),
            (get("r.com", "/"), None),
            (get("x.org", "/"), Some(1)),
            (get("x.org:123", "/"), Some(1)),
            (get("PLAIN.R.com", "/"), Some(2)),
        ],
    );
    let routes = [json!({"hosts": ["d.org"]}), json!({"hosts": ["only.org:321"]})];
    let mut by_listener = get("only.org", "/");
    by_listener.listen_port = 321;
    check(
        "R33",
        &routes,
        &[
            (get("d.org:80", "/"), Some(0)),
            (get("d.org:9999", "/"), Some(0)),
            (get("only.org:321", "/"), Some(1)),
            (get("only.org:123", "/"), None),
            (get("only.org", "/"), None),
            (by_listener, Some(1)),
        ],
    );
    let routes = [json!({"hosts": ["*.d.com", "e.com"], "paths": ["/p"], "methods": ["GET", "TRACE"]})];
    check(
        "R35",
        &routes,
        &[
            (get("foo.d.com", "/p"), Some(0)),
            (get("e.com", "/p").method("TRACE"), Some(0)),
            (get("foo.d.com", "/p").method("POST"), None),
        ],
    );
}

#[test]
fn ipv6_hosts_match_in_brackets() {
    check(
        "IPv6",
        &[json!({"hosts": ["::1"]}), json!({"hosts": ["[::2]:81"]})],
        &[
            (get("[::1]", "/"), Some(0)),
            (get("[::1]:8000", "/"), Some(0)),
            (get("[::2]:81", "/"), Some(1)),
            (get("[::2]", "/"), None),
        ],
    );
}

#[test]
fn r37_r43_headers_and_methods() {
    check(
        "R37",
        &[json!({"headers": {"location": ["l1", "l2"]}})],
        &[
            (get("", "/").header("location", "l1"), Some(0)),
            (get("", "/").header("Location", "L2"), Some(0)),
            (get("", "/").header("location", "l3").header("location", "l2"), Some(0)),
            (get("", "/").header("location", "l3"), None),
            (get("", "/"), None),
        ],
    );
    check(
        "R39",
        &[json!({"headers": {"user_agent": ["foo"]}})],
        &[
            (get("", "/").header("User-Agent", "FOO"), Some(0)),
            (get("", "/").header("USER_AGENT", "foo"), Some(0)),
            (get("", "/").header("useragent", "foo"), None),
        ],
    );
    let pattern = [json!({"headers": {"version": [r"~*^V\d+$", "beta"]}})];
    check(
        "header expressions",
        &pattern,
        &[
            (get("", "/").header("version", "v12"), Some(0)),
            (get("", "/").header("version", "BETA"), Some(0)),
            (get("", "/").header("version", "v12x"), None),
        ],
    );
    let routes = [
        json!({"headers": {"version": ["v1", "v2"]}, "paths": ["/root"]}),
        json!({"headers": {"version": ["v1", "v2"]}, "paths": ["/root/fix"]}),
    ];
    check("R41", &routes, &[(get("", "/root/fix/get").header("version", "v2"), Some(1))]);
    check(
        "R43",
        &[json!({"paths": ["/p"], "methods": ["POST", "PUT"]})],
        &[(get("", "/p").method("DELETE"), None), (get("", "/p").method("POST"), Some(0))],
    );
}

#[test]
fn r45_server_names_count_over_tls_only() {
    check(
        "R45",
        &[json!({"snis": ["www.e.org", "*.f.org", "g.org."], "hosts": ["h"]})],
        &[
            (get("h", "/").tls("www.e.org"), Some(0)),
            (get("h", "/").tls("x.f.org"), Some(0)),
            (get("h", "/").tls("g.org"), Some(0)),
            (get("h", "/").tls("other"), None),
            (get("h", "/").tls(""), None),
            (get("h", "/"), Some(0)),
        ],
    );
}

#[test]
fn r61_reserved_triplets_stay_apart() {
    let routes = [json!({"paths": ["/endel%2Fst"]})];
    check("R61", &routes, &[(get("", "/endel%2Fst"), Some(0)), (get("", "/endel/st"), None)]);
}

#[test]
fn each_field_of_the_priority_outranks_the_ones_after_it() {
    let rungs = [
        json!({"hosts": ["*.t"], "paths": ["/a"], "methods": ["GET"], "headers": {"x": ["1"]}}),
        json!({"hosts": ["a.t"], "paths": ["/"], "methods": ["GET"]}),
        json!({"paths": ["/"], "methods": ["GET"], "headers": {"x": ["1"], "y": ["1"]}}),
        json!({"paths": ["~/a"], "methods": ["GET"], "headers": {"x": ["1"]}}),
        json!({"hosts": ["*.t"], "paths": ["~/a/b"], "regex_priority": 9, "methods": ["GET"]}),
        json!({"hosts": ["*.t"], "paths": ["~/a/b"], "methods": ["GET"]}),
        json!({"hosts": ["*.t"], "paths": ["/a/b"], "methods": ["GET"]}),
        json!({"hosts": ["*.t"], "paths": ["/a"], "methods": ["GET"]}),
        json!({"hosts": ["a.t"], "paths": ["~/a"]}),
        json!({"hosts": ["a.t"]}),
    ];
    let request = get("a.t", "/a/b").header("x", "1").header("y", "1");
    for first in 0..rungs.len() {
        // The better route has the smaller id, so that the id cannot be what decides.
        check("priority", &rungs[first..], &[(request.clone(), Some(0))]);
    }
}

#[test]
fn ties_go_to_the_larger_id() {
    let (small, large) = (route(1, &json!({"paths": ["/a"]})), route(2, &json!({"paths": ["/a"]})));
    for routes in [[small.clone(), large.clone()], [large, small]] {
        let found = ordinal(&compile(&routes), &get("", "/a")).unwrap();
        assert_eq!(routes[found].id.as_u128(), 2);
    }
}

#[test]
fn no_routes_find_nothing() {
    assert_eq!(ordinal(&compile(&[]), &get("a", "/")), None);
}
