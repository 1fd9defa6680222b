//! What the request-transformer room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome};
use serde_json::json;

use super::RequestTransformer;

fn room() -> &'static dyn plugin::Definition {
    plugin::room::<RequestTransformer>()
}

fn send(config: &str, request: &str) -> Outcome {
    Harness::global(room(), config).unwrap().send(request)
}

fn refused(config: &str) -> String {
    Harness::global(room(), config).map(drop).unwrap_err()
}

fn body(outcome: &Outcome) -> String {
    String::from_utf8(outcome.upstream_body.clone()).unwrap()
}

#[test]
fn header_rules_apply_in_their_order() {
    let outcome = send(
        "{remove: {headers: [X-Gone, Host]}, rename: {headers: [\"a:X-B\", \"none:X-Kept\"]}, \
         replace: {headers: [\"X-B:new:er\", \"X-Absent:1\"]}, add: {headers: [\"X-B:no\", \"X-New:1\", \"X-Gone:2\"]}, \
         append: {headers: [\"X-New:2\", \"X-Kept:k2\"]}}",
        "GET / HTTP/1.1\nX-Gone: 1\nA: 1\nx-b: old\nX-Kept: k1\n\n",
    );
    let values = |name: &str| {
        let values =
            outcome.upstream_headers.all(name).map(|value| String::from_utf8_lossy(value).into_owned());
        values.collect::<Vec<_>>()
    };
    assert_eq!(values("X-B"), ["new:er"]);
    assert_eq!(
        (values("X-New"), values("X-Gone")),
        (vec!["1".to_owned(), "2".to_owned()], vec!["2".to_owned()])
    );
    assert_eq!(values("X-Kept"), ["k1", "k2"], "renaming what is not there changes nothing");
    assert!(values("A").is_empty() && values("X-Absent").is_empty());
    assert_eq!(values("Host"), ["gateway.test"], "the host can only be replaced");
}

#[test]
fn query_rules_leave_other_arguments_as_they_are() {
    let config = "{remove: {querystring: [gone]}, rename: {querystring: [\"old:new\"]}, \
        replace: {querystring: [\"r:x y&z\", \"absent:1\"]}, add: {querystring: [\"r:no\", \"n:\\u00e9\"]}, \
        append: {querystring: [\"r:2\"]}}";
    let outcome = send(config, "GET /?k=%7e+1&new=0&gone=1&old=%20&r=1&r=9&%67one&bare HTTP/1.1\n\n");
    assert_eq!(outcome.upstream_query.as_deref(), Some("k=%7e+1&new=%20&r=x%20y%26z&bare&n=%C3%A9&r=2"));
    let outcome = send("{remove: {querystring: [a]}}", "GET /?a=1 HTTP/1.1\n\n");
    assert_eq!(outcome.upstream_query, None);
    let outcome = send("{remove: {querystring: [b]}}", "GET /? HTTP/1.1\n\n");
    assert_eq!(
        outcome.upstream_query.as_deref(),
        Some(""),
        "an untouched query stays, bare question mark included"
    );
}

#[test]
fn json_bodies_change_at_the_top_level_only() {
    let config = "{remove: {body: [gone]}, rename: {body: [\"old:new\"]}, replace: {body: [\"r:2\"]}, \
        add: {body: [\"p1:v1\", \"r:no\"]}, append: {body: [\"list:z\", \"s:z\"]}}";
    let request = "POST / HTTP/1.1\nContent-Type: application/json; charset=utf-8\n\n";
    let outcome = send(
        config,
        &format!("{request}{}", r#"{"gone":1,"old":[],"r":1,"list":[],"s":"a","deep":{"gone":1.10}}"#),
    );
    assert_eq!(
        body(&outcome),
        r#"{"new":[],"r":"2","list":["z"],"s":["a","z"],"deep":{"gone":1.10},"p1":"v1"}"#
    );
    for untouched in ["{\"gone\":1", "[1]", "null", "\u{feff}{}"] {
        assert_eq!(body(&send(config, &format!("{request}{untouched}"))), untouched);
    }
    assert_eq!(body(&send("{add: {body: [\"a:1\"]}}", request)), r#"{"a":"1"}"#);
}

#[test]
fn values_from_the_request_cannot_leave_their_json_string() {
    let outcome = send(
        "{add: {body: [\"v:$(query_params.q)\"]}}",
        "POST /?q=%22%2c%22admin%22%3a%22true%0a%ff HTTP/1.1\nContent-Type: application/json\n\n{}",
    );
    let value: serde_json::Value = serde_json::from_slice(&outcome.upstream_body).unwrap();
    assert_eq!(value, json!({"v": "\",\"admin\":\"true\n\u{fffd}"}));
}

#[test]
fn forms_and_multipart_bodies_change_too() {
    let config = "{remove: {body: [gone]}, rename: {body: [\"old:new\"]}, replace: {body: [\"r:2\"]}, \
        add: {body: [\"p:a b\"]}}";
    let form = "POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\ngone=1&old=%20&r=1&k=+";
    assert_eq!(body(&send(config, form)), "new=%20&r=2&k=+&p=a%20b");
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = format!("{}{}{}--b--\r\n", part("gone", "1"), part("old", "\u{1}"), part("r", "1"));
    let head = "POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary=b\n\n";
    let outcome = Harness::global(room(), config).unwrap().send_bytes(head, multipart.as_bytes());
    let expected = format!("{}{}{}--b--\r\n", part("new", "\u{1}"), part("r", "2"), part("p", "a b"));
    assert_eq!(body(&outcome), expected);
}

#[test]
fn a_parameter_of_the_media_type_does_not_make_it_another() {
    let config = "{remove: {body: [is_admin]}}";
    for kind in [
        "application/x-www-form-urlencoded; x=application/json",
        "application/x-www-form-urlencoded;x=\"multipart/form-data\"",
    ] {
        let form = format!("POST / HTTP/1.1\nContent-Type: {kind}\n\nis_admin=1&a=2");
        assert_eq!(body(&send(config, &form)), "a=2", "{kind}");
    }
    let text = "POST / HTTP/1.1\nContent-Type: text/plain; x=application/json\n\n{\"is_admin\":1}";
    assert_eq!(body(&send(config, text)), "{\"is_admin\":1}");
}

#[test]
fn other_bodies_are_left_alone() {
    let config = "{add: {body: [\"a:1\"]}}";
    for (kind, coding) in [("text/plain", ""), ("application/json", "Content-Encoding: gzip\n")] {
        let outcome = send(config, &format!("POST / HTTP/1.1\nContent-Type: {kind}\n{coding}\n{{}}"));
        assert_eq!(body(&outcome), "{}");
    }
    let outcome = send(config, "POST / HTTP/1.1\n\n{}");
    assert_eq!(body(&outcome), "{}");
    let config = "{add: {headers: [\"Content-Type:application/json\"], body: [\"a:1\"]}}";
    assert_eq!(body(&send(config, "POST / HTTP/1.1\n\n{}")), r#"{"a":"1"}"#, "the type a rule gives counts");
}

#[test]
fn templates_see_the_request_as_it_came() {
    let config = "{remove: {headers: [x-id], querystring: [q]}, replace: {headers: [\"Host:$(headers.x_id).test\"]}, \
        add: {headers: [\"a:<$(headers['x-id'])>\", \"b:$(query_params.q)-$(query_params.none or 'd')\", \
        \"c:$(headers.none)\", \"d:$(uri_captures.id or headers.none or \\\"z\\\")$(query_params.bare)\"]}}";
    let outcome = send(config, "GET /?q=x%20y&bare HTTP/1.1\nX-Id: 7\n\n");
    let header = |name: &str| outcome.upstream_header(name).unwrap();
    assert_eq!([header("a"), header("b"), header("c"), header("d")], ["<7>", "x y-d", "", "ztrue"]);
    assert_eq!((outcome.upstream_header("X-Id"), outcome.upstream_query.as_deref()), (None, Some("bare")));
    assert_eq!(outcome.upstream_host.as_deref(), Some("7.test"));
}

#[test]
fn no_value_can_split_the_request() {
    let config = "{replace: {uri: \"/x/$(query_params.p)\", headers: [\"Host:$(query_params.h)\", \"Old:$(query_params.v)\"]}}";
    let outcome = send(
        config,
        "GET /?p=a%20HTTP/1.1%0d%0aEvil:%201%23%25%zz&h=a%0d%0aEvil:1&v=a%0d%0aEvil:1 HTTP/1.1\nOld: 1\n\n",
    );
    assert_eq!(outcome.upstream_path, "/x/a%20HTTP/1.1%0D%0AEvil:%201%23%25%25zz");
    assert_eq!(outcome.upstream_header("Old"), None, "what was to be replaced does not stay");
    assert_eq!((outcome.upstream_header("Evil"), outcome.upstream_host), (None, None));
}

#[test]
fn the_path_is_replaced_as_a_whole_and_may_bring_a_query() {
    let outcome = send("{replace: {uri: \"v2/a%2Fb?x=1\"}}", "GET /old?y=2 HTTP/1.1\n\n");
    assert_eq!(
        (outcome.upstream_path.as_str(), outcome.upstream_query.as_deref()),
        ("/v2/a%2Fb", Some("x=1&y=2"))
    );
}

#[test]
fn a_form_moves_to_the_query_of_a_method_without_body() {
    let form = "POST /?a=1 HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\nb=2&c=%20";
    let outcome = send("{http_method: GET, remove: {querystring: [b]}}", form);
    assert_eq!(
        (outcome.upstream_method.as_str(), outcome.upstream_query.as_deref()),
        ("GET", Some("a=1&c=%20"))
    );
    assert_eq!(body(&outcome), "");
    let outcome = send("{http_method: PUT}", form);
    assert_eq!((outcome.upstream_method.as_str(), body(&outcome).as_str()), ("PUT", "b=2&c=%20"));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let error = refused("{add: {headers: [\"x:1\", \"a:$(string.upper(headers.b))\"]}}");
    assert!(error.contains("$(string.upper(headers.b))"), "{error}");
    assert!(refused("{replace: {uri: \"/$(a\"}}").contains("without its ')'"));
    assert!(refused("{add: {headers: [\"a b:c\"]}}").contains("'a b' is not a valid header"));
    assert!(refused("{add: {headers: [\"a\"]}}").contains("invalid value: a"));
    assert!(refused("{rename: {headers: [\"a:b c\"]}}").contains("'b c' is not a valid header"));
    assert!(refused("{add: {headers: [\"Content-Length:5\"]}}").contains("frames the message"));
    assert!(refused("{http_method: get}").contains("invalid value: get"));
}
