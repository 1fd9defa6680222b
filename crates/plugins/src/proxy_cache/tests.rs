//! What the proxy-cache room does, seen from outside: requests in, outcomes out.

use plugin::admin::{Answer, Call};
use plugin::harness::{Harness, Outcome, START_MS};
use serde_json::Value;

use super::ProxyCache;

fn room() -> &'static dyn plugin::Definition {
    plugin::room::<ProxyCache>()
}

fn gateway(config: &str) -> Harness {
    Harness::global(room(), &format!("{{strategy: memory, {config}}}")).unwrap()
}

fn get(gateway: &mut Harness, head: &str) -> Outcome {
    gateway.send(&format!("GET {head}\n\n"))
}

/// `X-Cache-Status` of a GET with these fields.
fn status(gateway: &mut Harness, target: &str, fields: &str) -> String {
    let head = format!("{target} HTTP/1.1\n{fields}");
    get(gateway, head.trim_end()).header("X-Cache-Status").unwrap_or_default()
}

fn plain(gateway: &mut Harness, target: &str) -> String {
    status(gateway, target, "")
}

fn control(gateway: &mut Harness, value: &str) {
    gateway.upstream.headers =
        vec![("Content-Type", "application/json".to_owned()), ("Cache-Control", value.to_owned())];
}

fn call(gateway: &Harness, method: &str, path: &str, parameters: &[&str]) -> Answer {
    let mut endpoints = room().endpoints().iter();
    let endpoint = endpoints.find(|endpoint| (endpoint.method, endpoint.path) == (method, path)).unwrap();
    (endpoint.handle)(&Call { parameters, query: None, services: &gateway.services })
}

#[test]
fn a_response_is_stored_and_answers_until_its_time_is_over() {
    let mut gateway = gateway("cache_ttl: 2");
    gateway.upstream.headers.push(("X-Own", "1".to_owned()));
    let miss = get(&mut gateway, "/a?x=1 HTTP/1.1");
    assert_eq!((miss.answered, miss.header("X-Cache-Status").as_deref()), (false, Some("Miss")));
    let key = miss.header("X-Cache-Key").unwrap();
    assert!(key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()));
    gateway.upstream.body = b"{\"changed\":true}".to_vec();
    gateway.clock.advance(1999);
    let hit = get(&mut gateway, "/a?x=1 HTTP/1.1");
    assert_eq!((hit.answered, hit.status, hit.body.as_slice()), (true, 200, &b"{\"ok\":true}"[..]));
    let fields = ["X-Cache-Status", "X-Cache-Key", "Age", "Content-Type", "X-Own"]
        .map(|name| hit.header(name).unwrap());
    assert_eq!(fields, ["Hit", key.as_str(), "1", "application/json", "1"]);
    gateway.clock.advance(1);
    assert_eq!(plain(&mut gateway, "/a?x=1"), "Miss");
}

#[test]
fn a_clock_that_is_set_back_keeps_no_response_longer() {
    let mut gateway = gateway("cache_ttl: 2, storage_ttl: 10");
    assert_eq!(plain(&mut gateway, "/"), "Miss");
    gateway.clock.set(plugin::harness::START_MS - 3_600_000);
    gateway.clock.advance(1_000);
    let hit = get(&mut gateway, "/ HTTP/1.1");
    assert_eq!(["X-Cache-Status", "Age"].map(|name| hit.header(name).unwrap()), ["Hit", "1"]);
    gateway.clock.advance(2_000);
    assert_eq!(plain(&mut gateway, "/"), "Refresh");
    gateway.clock.set(plugin::harness::START_MS - 7_200_000);
    gateway.clock.advance(10_000);
    assert_eq!(plain(&mut gateway, "/"), "Miss");
}

#[test]
fn a_response_that_is_kept_longer_than_it_is_fresh_is_refreshed() {
    let mut gateway = gateway("cache_ttl: 2, storage_ttl: 10");
    assert_eq!(plain(&mut gateway, "/"), "Miss");
    gateway.clock.advance(3000);
    assert_eq!(plain(&mut gateway, "/"), "Refresh");
    assert_eq!(plain(&mut gateway, "/"), "Hit");
    gateway.clock.advance(10_000);
    assert_eq!(plain(&mut gateway, "/"), "Miss");
}

#[test]
fn what_is_not_configured_to_be_kept_bypasses() {
    let mut gateway = gateway("cache_ttl: 9");
    for _ in 0..2 {
        let post = gateway.send("POST / HTTP/1.1\n\nx");
        assert_eq!(
            (post.header("X-Cache-Status").as_deref(), post.header("X-Cache-Key")),
            (Some("Bypass"), None)
        );
        gateway.upstream.status = 500;
        assert_eq!(plain(&mut gateway, "/"), "Bypass");
        gateway.upstream.status = 200;
        for kind in ["text/html", "application/json; charset=utf-8", "nonsense"] {
            gateway.upstream.headers = vec![("Content-Type", kind.to_owned())];
            assert_eq!(plain(&mut gateway, "/"), "Bypass", "{kind}");
        }
    }
    let mut gateway = self::gateway("content_type: [\"application/json; charset=utf-8\"]");
    gateway.upstream.headers = vec![("Content-Type", "application/json; charset=utf-8".to_owned())];
    assert_eq!([plain(&mut gateway, "/"), plain(&mut gateway, "/")], ["Miss", "Hit"]);
}

#[test]
fn parts_and_confirmations_are_never_stored() {
    let mut gateway = gateway("response_code: [200, 206, 304]");
    for code in [206, 304] {
        gateway.upstream.status = code;
        assert_eq!([plain(&mut gateway, "/"), plain(&mut gateway, "/")], ["Bypass", "Bypass"], "{code}");
    }
}

#[test]
fn a_stored_answer_to_head_keeps_the_length_of_the_body() {
    let mut gateway = gateway("cache_ttl: 9");
    gateway.upstream.headers.push(("Transfer-Encoding", "none".to_owned()));
    gateway.upstream.headers.push(("Content-Length", "1234".to_owned()));
    gateway.upstream.body = Vec::new();
    gateway.send("HEAD / HTTP/1.1\n\n");
    let hit = gateway.send("HEAD / HTTP/1.1\n\n");
    assert_eq!((hit.answered, hit.header("Content-Length").as_deref()), (true, Some("1234")));
    assert_eq!(plain(&mut gateway, "/"), "Miss", "GET and HEAD do not share");
}

#[test]
fn the_key_holds_what_the_response_depends_on() {
    let mut gateway = gateway("vary_headers: [X-Kind]");
    assert_eq!(plain(&mut gateway, "/a?x=1&y=2"), "Miss");
    assert_eq!(plain(&mut gateway, "/a?y=2&x=1"), "Hit", "the order of arguments does not count");
    for other in ["/a?x=2&y=2", "/a", "/A?x=1&y=2", "/a?x=1&y=2&y=3", "/a?x=1&y", "/a?x=1:y=2", "/a?x=1&y=2&"]
    {
        let expected = if other.ends_with('&') { "Hit" } else { "Miss" };
        assert_eq!(plain(&mut gateway, other), expected, "{other}");
    }
    assert_eq!(status(&mut gateway, "/a?x=1&y=2", "X-Kind: b"), "Miss");
    assert_eq!(status(&mut gateway, "/a?x=1&y=2", "X-Other: b"), "Hit");
    assert_eq!(status(&mut gateway, "/a?x=1&y=2", "Host: other.test"), "Miss");
    let mut gateway = self::gateway("ignore_uri_case: true, vary_query_params: [a]");
    assert_eq!(plain(&mut gateway, "/P?a=1&b=1"), "Miss");
    assert_eq!([plain(&mut gateway, "/p?b=2&a=1"), plain(&mut gateway, "/p?a=2")], ["Hit", "Miss"]);
}

#[test]
fn consumers_do_not_share_responses() {
    let document = "_format_version: \"3.0\"\nconsumers:\n- {username: a, keyauth_credentials: [{key: k1}]}\n\
        - {username: b, keyauth_credentials: [{key: k2}]}\nplugins:\n- name: key-auth\n- name: proxy-cache\n  \
        config: {strategy: memory}\n";
    let rooms = [plugin::room::<crate::key_auth::KeyAuth>(), room()];
    let mut gateway = Harness::chain(&rooms, document).unwrap();
    let found = ["k1", "k2", "k1", "k2"].map(|key| status(&mut gateway, "/", &format!("apikey: {key}")));
    assert_eq!(found, ["Miss", "Miss", "Hit", "Hit"]);
}

#[test]
fn the_store_survives_a_reload() {
    let document = "_format_version: \"3.0\"\nplugins:\n- name: proxy-cache\n  config: {strategy: memory}\n";
    let mut gateway = Harness::new(room(), document).unwrap();
    plain(&mut gateway, "/");
    gateway.reload(document).unwrap();
    assert_eq!(plain(&mut gateway, "/"), "Hit");
}

#[test]
fn personal_fields_are_not_repeated() {
    let mut gateway = gateway("cache_ttl: 9");
    for (name, value) in [
        ("Set-Cookie", "session=1"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("X-RateLimit-Remaining-Minute", "4"),
        ("RateLimit-Remaining", "4"),
        ("Keep-Alive", "5"),
        ("ETag", "\"1\""),
    ] {
        gateway.upstream.headers.push((name, value.to_owned()));
    }
    get(&mut gateway, "/ HTTP/1.1");
    let hit = get(&mut gateway, "/ HTTP/1.1");
    let mut names: Vec<_> = hit.headers.iter().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    assert_eq!(names, ["Age", "Content-Type", "ETag", "X-Cache-Key", "X-Cache-Status"]);
}

#[test]
fn fields_about_caching_can_be_left_out() {
    let mut gateway = gateway("response_headers: {age: false, X-Cache-Status: false, X-Cache-Key: false}");
    for expected in [false, true] {
        let outcome = get(&mut gateway, "/ HTTP/1.1");
        assert_eq!(outcome.answered, expected);
        assert!(["Age", "X-Cache-Status", "X-Cache-Key"].iter().all(|name| outcome.header(name).is_none()));
    }
}

#[test]
fn incomplete_and_large_bodies_are_not_stored() {
    let mut gateway = gateway("cache_ttl: 9");
    gateway.upstream.headers.push(("Transfer-Encoding", "chunked".to_owned()));
    gateway.upstream.headers.push(("Content-Length", "12".to_owned()));
    assert_eq!(
        [plain(&mut gateway, "/"), plain(&mut gateway, "/")],
        ["Miss", "Miss"],
        "shorter than announced"
    );
    gateway.upstream.headers.pop();
    gateway.upstream.body = vec![b'x'; super::store::LARGEST + 1];
    assert_eq!([plain(&mut gateway, "/"), plain(&mut gateway, "/")], ["Miss", "Miss"]);
    gateway.upstream.body.pop();
    assert_eq!([plain(&mut gateway, "/"), plain(&mut gateway, "/")], ["Miss", "Hit"]);
}

#[test]
fn an_error_that_takes_the_place_of_a_response_is_not_stored_as_one() {
    let document = "_format_version: \"3.0\"\nplugins:\n- name: proxy-cache\n  config: {strategy: memory}\n";
    let mut gateway = Harness::new(room(), document).unwrap();
    let catalog = plugin::model::Catalog { plugins: vec![room().schema()], entities: Vec::new() };
    let config = plugin::model::declarative::load("kong.yml", document, &catalog).unwrap();
    let (services, shared) = (gateway.services.clone(), plugin::build::Shared::default());
    let row = &config.plugins[0];
    let cx = plugin::Build { config: &config, row, routes: &[], services: &services, shared: &shared };
    let instance = room().build(row, &cx).unwrap();
    let worker = std::rc::Rc::new(plugin::services::Worker::new(0, services.clone()));
    let mut exchange = plugin::Exchange::new(worker, plugin::exchange::Client::default());
    exchange.begin(std::time::Instant::now());
    exchange.enter_chain(1);
    exchange.request.set_target(plugin::Method::Get, b"/").unwrap();
    exchange.request.headers.append("Host", b"gateway.test");
    assert!(matches!(instance.access(&mut plugin::Access::new(&mut exchange, 0)), plugin::Flow::Next));
    for (source, status) in [(plugin::Source::Upstream, 200), (plugin::Source::Gateway, 502)] {
        (exchange.source, exchange.response.status) = (source, status);
        exchange.response.headers.set("Content-Type", b"application/json");
        instance.header_filter(&mut plugin::HeaderFilter::new(&mut exchange, 0));
    }
    assert_eq!(exchange.response.headers.get("X-Cache-Status"), Some(&b"Bypass"[..]));
    instance.body_filter(&mut plugin::BodyFilter::new(&mut exchange, 0, b"{}", true));
    assert_eq!(plain(&mut gateway, "/"), "Miss");
    assert_eq!(plain(&mut gateway, "/"), "Hit", "the harness asks with the same key");
}

#[test]
fn responses_say_whether_and_how_long_they_may_be_kept() {
    for (value, expected) in [
        ("max-age=5", "Hit"),
        ("public", "Bypass"),
        ("max-age=0", "Bypass"),
        ("s-maxage=0, max-age=5", "Bypass"),
        ("max-age=5, private", "Bypass"),
        ("max-age=5, No-Store", "Bypass"),
        ("max-age=5, no-cache", "Bypass"),
        ("max-age=soon", "Bypass"),
    ] {
        let mut gateway = gateway("cache_control: true");
        control(&mut gateway, value);
        plain(&mut gateway, "/");
        assert_eq!(plain(&mut gateway, "/"), expected, "{value}");
    }
    let mut gateway = gateway("cache_control: true, storage_ttl: 100");
    control(&mut gateway, "max-age=5");
    gateway.upstream.headers.push(("Age", "3".to_owned()));
    plain(&mut gateway, "/");
    assert_eq!(get(&mut gateway, "/ HTTP/1.1").header("Age").as_deref(), Some("3"));
    gateway.clock.advance(3000);
    assert_eq!(plain(&mut gateway, "/"), "Refresh", "its age on arrival counts");
}

#[test]
fn a_response_is_as_old_as_its_date_says() {
    let made = |seconds: u64| {
        let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(START_MS / 1000 - seconds);
        ("Date", httpdate::fmt_http_date(moment))
    };
    for (seconds, expected) in [(3600, "Bypass"), (5, "Hit")] {
        let mut gateway = gateway("cache_control: true");
        control(&mut gateway, "max-age=3600");
        gateway.upstream.headers.push(made(seconds));
        plain(&mut gateway, "/");
        assert_eq!(plain(&mut gateway, "/"), expected, "{seconds} seconds ago");
    }
    let mut gateway = gateway("cache_control: true");
    control(&mut gateway, "max-age=3600");
    gateway.upstream.headers.extend([made(5), ("Age", "7".to_owned())]);
    plain(&mut gateway, "/");
    assert_eq!(get(&mut gateway, "/ HTTP/1.1").header("Age").as_deref(), Some("7"), "the greater one counts");
}

#[test]
fn what_a_request_has_changed_is_forgotten() {
    let change = |gateway: &mut Harness, method: &str, status: u16| {
        gateway.upstream.status = status;
        let outcome = gateway.send(&format!("{method} /items/1 HTTP/1.1\n\nx"));
        gateway.upstream.status = 200;
        outcome.header("X-Cache-Status").unwrap_or_default()
    };
    for (method, code, expected) in [
        ("PUT", 200, "Miss"),
        ("DELETE", 204, "Miss"),
        ("POST", 303, "Miss"),
        ("PATCH", 200, "Miss"),
        ("PUT", 409, "Hit"),
        ("PUT", 500, "Hit"),
        ("OPTIONS", 200, "Hit"),
    ] {
        let mut gateway = gateway("cache_control: true");
        control(&mut gateway, "max-age=300");
        gateway.send("HEAD /items/1 HTTP/1.1\n\n");
        assert_eq!([plain(&mut gateway, "/items/1"), plain(&mut gateway, "/items/2")], ["Miss", "Miss"]);
        assert_eq!(change(&mut gateway, method, code), "Bypass");
        let head = gateway.send("HEAD /items/1 HTTP/1.1\n\n").header("X-Cache-Status");
        assert_eq!(head.as_deref(), Some(expected), "{method} {code}");
        assert_eq!(plain(&mut gateway, "/items/1"), expected, "{method} {code}");
        assert_eq!(plain(&mut gateway, "/items/2"), "Hit");
    }
    let mut gateway = gateway("cache_ttl: 9");
    plain(&mut gateway, "/items/1");
    change(&mut gateway, "PUT", 200);
    assert_eq!(plain(&mut gateway, "/items/1"), "Hit", "as Kong does, without cache_control");
}

#[test]
fn a_response_that_was_on_its_way_when_it_became_untrue_is_not_stored() {
    let mut gateway = gateway("cache_control: true");
    control(&mut gateway, "max-age=300");
    gateway.send_while("GET /items/1 HTTP/1.1\n\n", |gateway| {
        assert_eq!(gateway.send("PUT /items/1 HTTP/1.1\n\nx").status, 200);
    });
    assert_eq!([plain(&mut gateway, "/items/1"), plain(&mut gateway, "/items/1")], ["Miss", "Hit"]);
    let key = get(&mut gateway, "/items/2 HTTP/1.1").header("X-Cache-Key").unwrap();
    call(&gateway, "DELETE", "/proxy-cache/{key}", &[&key]);
    gateway.send_while("GET /items/2 HTTP/1.1\n\n", |gateway| {
        assert_eq!(call(gateway, "DELETE", "/proxy-cache/{key}", &[&key]).status, 404, "it is not there yet");
    });
    assert_eq!(plain(&mut gateway, "/items/2"), "Miss");
    gateway.send_while("GET /items/3 HTTP/1.1\n\n", |gateway| {
        assert_eq!(gateway.send("PUT /items/4 HTTP/1.1\n\nx").status, 200);
    });
    assert_eq!(plain(&mut gateway, "/items/3"), "Hit", "that was something else");
}

#[test]
fn requests_say_what_they_accept() {
    let mut gateway = gateway("cache_control: true, storage_ttl: 100");
    let asked = |gateway: &mut Harness, value: &str| status(gateway, "/", &format!("Cache-Control: {value}"));
    control(&mut gateway, "max-age=10");
    let alone = get(&mut gateway, "/ HTTP/1.1\nCache-Control: only-if-cached");
    assert_eq!((alone.status, alone.answered), (504, true));
    plain(&mut gateway, "/");
    assert_eq!([asked(&mut gateway, "no-cache"), asked(&mut gateway, "no-store")], ["Bypass", "Bypass"]);
    gateway.clock.advance(4000);
    assert_eq!([asked(&mut gateway, "max-age=4"), asked(&mut gateway, "min-fresh=6")], ["Hit", "Hit"]);
    assert_eq!(asked(&mut gateway, "max-age=3"), "Refresh");
    gateway.clock.advance(4000);
    assert_eq!(
        [asked(&mut gateway, "min-fresh=7"), asked(&mut gateway, "only-if-cached")],
        ["Refresh", "Hit"]
    );
    gateway.clock.advance(15_000);
    assert_eq!([asked(&mut gateway, "max-stale=5"), asked(&mut gateway, "max-stale")], ["Hit", "Hit"]);
    assert_eq!([asked(&mut gateway, "max-stale=4"), plain(&mut gateway, "/")], ["Refresh", "Hit"]);
    control(&mut gateway, "s-maxage=10");
    plain(&mut gateway, "/b");
    gateway.clock.advance(11_000);
    assert_eq!(status(&mut gateway, "/b", "Cache-Control: max-stale"), "Refresh", "it must be checked first");
}

#[test]
fn requests_with_credentials_share_only_what_is_meant_for_all() {
    let secret = "Authorization: Bearer x";
    for (value, expected) in [
        ("max-age=9", ["Bypass", "Miss", "Refresh"]),
        ("max-age=9, public", ["Miss", "Hit", "Hit"]),
        ("max-age=9, must-revalidate", ["Miss", "Hit", "Hit"]),
        ("max-age=9, proxy-revalidate", ["Bypass", "Miss", "Refresh"]),
    ] {
        let mut gateway = gateway("cache_control: true");
        control(&mut gateway, value);
        let first = status(&mut gateway, "/", secret);
        let (without, with) = (plain(&mut gateway, "/"), status(&mut gateway, "/", secret));
        let with = if with == "Bypass" { "Refresh".to_owned() } else { with };
        assert_eq!([first, without, with], expected, "{value}");
    }
}

#[test]
fn vary_is_heeded_with_cache_control() {
    let mut gateway = gateway("cache_control: true");
    control(&mut gateway, "max-age=9");
    gateway.upstream.headers.push(("Vary", "Accept-Language, X-B".to_owned()));
    assert_eq!(status(&mut gateway, "/", "Accept-Language: de"), "Miss");
    assert_eq!(status(&mut gateway, "/", "Accept-Language: de"), "Hit");
    assert_eq!(status(&mut gateway, "/", "Accept-Language: fr"), "Refresh");
    gateway.upstream.headers.push(("Vary", "*".to_owned()));
    assert_eq!([plain(&mut gateway, "/x"), plain(&mut gateway, "/x")], ["Bypass", "Bypass"]);
}

#[test]
fn stored_responses_can_be_seen_and_forgotten() {
    let mut gateway = gateway("cache_ttl: 7");
    let key = get(&mut gateway, "/ HTTP/1.1").header("X-Cache-Key").unwrap();
    let shown = call(&gateway, "GET", "/proxy-cache/{key}", &[&key]);
    let shown: Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!(
        (&shown["status"], &shown["ttl"], &shown["body"]),
        (&200.into(), &7.into(), &"{\"ok\":true}".into())
    );
    assert_eq!(shown["headers"]["Content-Type"], "application/json");
    let of_plugin = "/proxy-cache/{plugin_id}/caches/{key}";
    assert_eq!(call(&gateway, "GET", of_plugin, &["nobody", &key]).status, 404);
    let (instance, _) = gateway.services.all_kept::<super::Instance>().remove(0);
    let plugin = instance.split('/').next().unwrap().to_owned();
    assert_eq!(call(&gateway, "DELETE", of_plugin, &[&plugin, &key]).status, 204);
    assert_eq!(call(&gateway, "DELETE", "/proxy-cache/{key}", &[&key]).status, 404);
    assert_eq!(call(&gateway, "GET", "/proxy-cache/{key}", &["zz"]).status, 404);
    assert_eq!(plain(&mut gateway, "/"), "Miss");
    assert_eq!(call(&gateway, "DELETE", "/proxy-cache", &[]).status, 204);
    assert_eq!(plain(&mut gateway, "/"), "Miss");
}

#[test]
fn wrong_settings_are_named() {
    let refused = |config: &str| Harness::global(room(), config).map(drop).unwrap_err();
    assert!(refused("{}").contains("required field missing"));
    assert!(refused("{strategy: redis}").contains("expected one of: memory"));
    assert!(refused("{strategy: memory, content_type: [json]}").contains("'json' is not a media type"));
    assert!(refused("{strategy: memory, response_code: []}").contains("length must be at least 1"));
}
