//! What is compared, and what is kept of it. Copies themselves are seen in the engine's tests and from end to end.

use plugin::harness::Harness;
use plugin::{Headers, room};

use super::Mirror;
use super::compare::{Difference, Side, differences, is_within};
use super::report::{Example, Report};

fn places(one: &str, other: &str) -> Vec<String> {
    let headers = Headers::new();
    let side = |body: &'static [u8]| Side { status: 200, headers: &headers, body };
    let found = differences(&side(leak(one)), &side(leak(other)));
    found.into_iter().map(|found| format!("{}: {} | {}", found.place, found.one, found.other)).collect()
}

fn leak(text: &str) -> &'static [u8] {
    Box::leak(text.to_owned().into_boxed_str()).as_bytes()
}

#[test]
fn json_is_compared_by_what_it_says() {
    let none: [&str; 0] = [];
    assert_eq!(places(r#"{"a":1,"b":[1,{"c":null}]}"#, r#"{ "b": [1.0, {"c": null}], "a": 1 }"#), none);
    let cases = [
        (r#"{"a":1}"#, r#"{"a":2}"#, vec!["body.a: 1 | 2"]),
        (r#"{"a":1}"#, r#"{"b":1}"#, vec!["body.a: 1 | ", "body.b:  | 1"]),
        (r#"{"a":[{"p":1},{"p":2}]}"#, r#"{"a":[{"p":1},{"p":3}]}"#, vec!["body.a[].p: 2 | 3"]),
        ("[1,2]", "[1]", vec!["body: 2 elements | 1 elements"]),
        (r#"{"a":"1"}"#, r#"{"a":1}"#, vec![r#"body.a: "1" | 1"#]),
        ("9007199254740993", "9007199254740992", vec!["body: 9007199254740993 | 9007199254740992"]),
        ("text", "Text", vec!["body: text | Text"]),
        ("{}", "", vec!["body: {} | "]),
    ];
    for (one, other, expected) in cases {
        assert_eq!(places(one, other), expected, "{one} and {other}");
    }
}

#[test]
fn differences_are_bounded() {
    let object = |value: u32| {
        let members: Vec<String> = (0..500).map(|number| format!("\"{number}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(places(&object(1), &object(2)).len(), 50);
    let long = |letter: &str| format!("\"{}\"", letter.repeat(10_000));
    assert!(places(&long("a"), &long("b")).iter().all(|told| told.len() < 300));
}

#[test]
fn status_and_headers_are_compared_but_for_those_of_the_moment() {
    let headers = |fields: &[(&str, &str)]| {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value.as_bytes());
        }
        headers
    };
    let one = headers(&[("Content-Type", "text/plain"), ("Date", "1"), ("Vary", "A"), ("vary", "B")]);
    let other = headers(&[("content-type", "text/plain"), ("date", "2"), ("Vary", "A, B"), ("X-New", "1")]);
    let side = |status, headers| Side { status, headers, body: b"" };
    let found = differences(&side(200, &one), &side(404, &other));
    let places: Vec<&str> = found.iter().map(|found| found.place.as_str()).collect();
    assert_eq!(places, ["status", "header x-new"]);
}

#[test]
fn what_lies_within_noise_is_noise() {
    for within in ["body.a", "body.a.b", "body.a[].c"] {
        assert!(is_within(within, "body.a"), "{within}");
    }
    assert!(!is_within("body.ab", "body.a") && !is_within("body", "body.a"));
}

#[test]
fn the_service_has_to_exist() {
    let refusal = Harness::global(room::<Mirror>(), "{service: shadow}").err().unwrap();
    assert!(refusal.contains("config.service: there is no service 'shadow'"), "{refusal}");
}

/// How many of `requests` would be copied; the harness makes no copies, which is counted.
fn chosen(config: &str, requests: usize, request: &str) -> u64 {
    let document = format!(
        "_format_version: '3.0'\nservices:\n- {{name: s, url: 'http://old.test', routes: [{{name: r, paths: [/]}}]}}\n- {{name: \
         shadow, url: 'http://new.test'}}\nplugins:\n- {{name: mirror, config: {{service: shadow, {config}}}}}\n- {{name: \
         request-termination, config: {{trigger: X-End, status_code: 418}}}}\n"
    );
    let mut harness = Harness::chain(crate::ROOMS, &document).unwrap_or_else(|problems| panic!("{problems}"));
    (0..requests).for_each(|_| drop(harness.send(request)));
    let mut skipped = 0;
    harness.services.figures.each(|family, values| {
        let of_skipped =
            values.iter().filter(|(labels, _)| family.name == "mirror_total" && labels[2] == "skipped");
        skipped += of_skipped.map(|(_, value)| value).sum::<u64>();
    });
    skipped
}

#[test]
fn a_share_of_the_safe_methods_is_copied_unless_others_are_named() {
    assert_eq!(chosen("percentage: 0", 100, "GET / HTTP/1.1\n\n"), 0);
    let half = chosen("percentage: 50", 1000, "GET / HTTP/1.1\n\n");
    assert!((440..=560).contains(&half), "{half}");
    for (methods, get, post) in [("percentage: 100", 1, 0), ("methods: [POST]", 0, 1)] {
        assert_eq!(chosen(methods, 1, "GET / HTTP/1.1\n\n"), get, "{methods}");
        assert_eq!(chosen(methods, 1, "POST / HTTP/1.1\n\n"), post, "{methods}");
    }
}

#[test]
fn what_the_service_was_not_asked_is_not_copied() {
    assert_eq!(chosen("percentage: 100", 1, "GET / HTTP/1.1\nX-End: 1\n\n"), 0);
}

#[test]
fn what_is_kept_of_a_route_is_bounded() {
    let services = plugin::Services::new(1, plugin::clock::Clock::fixed(0), false);
    let report = Report::new(&services, "r".to_owned(), "shadow");
    let at = |number: usize| Difference {
        place: format!("body.{number}"),
        one: String::new(),
        other: String::new(),
    };
    report.learn((0..600).map(at).collect());
    for number in 0..600 {
        report.note(Example {
            at_ms: number as u64,
            method: String::new(),
            target: String::new(),
            request_id: String::new(),
            differences: vec![at(number)],
        });
    }
    let told = report.to_json();
    let length = |member: &str| {
        told[member].as_array().map_or_else(|| told[member].as_object().unwrap().len(), Vec::len)
    };
    assert_eq!((length("noise"), length("differences"), length("examples")), (500, 500, 20));
    assert_eq!(
        (&told["elsewhere"], &told["examples"][0]["at"]),
        (&100.into(), &599.into()),
        "the last come first"
    );
}
