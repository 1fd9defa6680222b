//! What the router makes of regular expressions: captures, refusals.

use model::serde_json::json;
use plugin::exchange::Captures;

use super::super::Router;
use super::{Request, compile, route, table};

#[test]
fn captures_carry_names_numbers_and_the_whole() {
    let routes = table(&[json!({"paths": [r"~/users/(?<user>\d+)/(edit)?(?P<rest>.*)"]})]);
    let router = compile(&routes);
    let mut captures = Captures::default();
    let found = Request::get("", "/users/42/x/y").find(&router, &mut captures).unwrap();
    assert_eq!((found.matched_len, found.by_path), (13, true));
    assert_eq!(captures.index(0), Some(&b"/users/42/x/y"[..]));
    assert_eq!(captures.name("user"), Some(&b"42"[..]));
    assert_eq!(captures.index(2), None, "a group that took no part");
    assert_eq!(captures.name("rest"), Some(&b"x/y"[..]));
}

#[test]
fn captures_of_the_request_before_do_not_survive() {
    let routes = table(&[json!({"paths": ["~/r/(?<x>.)"]}), json!({"paths": ["/p"]})]);
    let router = compile(&routes);
    let mut captures = Captures::default();
    for path in ["/p", "/nothing"] {
        assert!(Request::get("", "/r/1").find(&router, &mut captures).is_some());
        assert!(captures.name("x").is_some());
        Request::get("", path).find(&router, &mut captures);
        assert!(captures.index(0).is_none() && captures.name("x").is_none() && captures.text.is_empty());
    }
}

#[test]
fn a_better_route_without_expression_leaves_no_captures() {
    let routes = table(&[json!({"paths": ["~/r/(?<x>.)"]}), json!({"paths": ["/r"], "methods": ["GET"]})]);
    let mut captures = Captures::default();
    let found = Request::get("", "/r/1").find(&compile(&routes), &mut captures).unwrap();
    assert_eq!(found.ordinal, 1);
    assert!(captures.groups.is_empty() && captures.names.is_none());
}

#[test]
fn alternatives_are_all_anchored_at_the_start() {
    let router = compile(&table(&[json!({"paths": [r"~/a\d|/b"]})]));
    let found = |path: &str| Request::get("", path).find(&router, &mut Captures::default()).is_some();
    assert!(found("/a1") && found("/b/c"));
    assert!(!found("/ax/b"));
}

#[test]
fn an_expression_that_does_not_compile_names_its_route() {
    for (field, value) in
        [("paths", json!(["~/a(?!b)"])), ("paths", json!(["/ok", "~/("])), ("headers", json!({"x": ["~*["]}))]
    {
        let bad = route(1, &json!({ field: value }));
        let good = route(2, &json!({"paths": ["/"]}));
        let error = Router::compile([(3, &good), (7, &bad)].into_iter()).err().unwrap();
        assert_eq!(error.0, 7);
        assert!(error.1.starts_with("invalid regex: '"), "{}", error.1);
    }
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let router = compile(&table(&[json!({"paths": ["~/a(?<x>.*)"]}), json!({"paths": ["/"]})]));
    let mut captures = Captures::default();
    let found = Request::get("", "/").with_lookup(|lookup| {
        let path = b"/a\xff\xfe/b";
        router.find(&super::Lookup { path, ..*lookup }, &mut captures)
    });
    assert_eq!(found.map(|found| (found.ordinal, found.matched_len)), Some((0, 2)));
}
