//! Tests of the module `node`.

use serde_json::{Value, json};

use super::parse;
use crate::render::Source;

fn value(file: &str, text: &str) -> Value {
    let document = parse(file, text).unwrap();
    assert!(document.problems.is_empty(), "{:?}", document.problems);
    document.root.to_value()
}

fn fault(file: &str, text: &str) -> String {
    let problem = parse(file, text).unwrap_err();
    format!("{}:{}: {}", problem.span.line, problem.span.column, problem.message)
}

#[test]
fn yaml_scalars_follow_the_core_schema() {
    let text = "a: 3.0\nb: '3.0'\nc: yes\nd: on\ne: 0x1F\nf: -12\ng: ~\nh: 1e3\ni: .inf\nj: 007\nk: 12:30\nl: !!str 5\nm: 99999999999999999999\nn: 1.2.3\no: '-'\np: +5\nq: 18446744073709551615";
    assert_eq!(
        value("k.yml", text),
        json!({"a": 3.0, "b": "3.0", "c": "yes", "d": "on", "e": 31, "f": -12, "g": null, "h": 1000.0, "i": ".inf",
            "j": 7, "k": "12:30", "l": "5", "m": 1e20, "n": "1.2.3", "o": "-", "p": 5, "q": 18446744073709551615u64})
    );
}

#[test]
fn every_value_and_key_knows_its_place() {
    let document = parse("k.yml", "services:\n  - name: a\n    host: 'x y'\n").unwrap();
    let service = &document.root.field("services").unwrap().as_array().unwrap()[0];
    let (key, host) = &service.as_object().unwrap()[1];
    assert_eq!((key.span.line, key.span.column, key.span.length), (3, 5, 4));
    assert_eq!((host.span.line, host.span.column, host.span.length), (3, 11, 5));
    let document = parse("k.json", "{\n \"ü\": [1,\n  true]}").unwrap();
    let array = document.root.field("ü").unwrap().as_array().unwrap();
    assert_eq!((array[1].span.line, array[1].span.column, array[1].span.length), (3, 3, 4));
}

#[test]
fn anchors_aliases_and_merge_keys_are_resolved() {
    let text = "base: &b {x: 1, y: 2}\none: *b\ntwo:\n  <<: *b\n  y: 3\nthree:\n  <<: [*b, {z: 4}]\n";
    assert_eq!(
        value("k.yml", text),
        json!({"base": {"x": 1, "y": 2}, "one": {"x": 1, "y": 2}, "two": {"y": 3, "x": 1}, "three": {"x": 1, "y": 2, "z": 4}})
    );
    let several = "b: &b {x: 1, y: 2}\nc: &c {y: 3, z: 4}\nd: {<<: *b, w: 0, <<: *c}\n";
    assert_eq!(value("k.yml", several)["d"], json!({"w": 0, "x": 1, "y": 2, "z": 4}));
    // Each costs what it says, however many there are.
    let many = format!("a:\n{}", "  <<: {}\n".repeat(200_000));
    assert_eq!(value("k.yml", &many)["a"], json!({}));
}

#[test]
fn json_takes_every_escape_and_refuses_what_is_not_json() {
    assert_eq!(
        value("k.json", r#"{"a":"\ud83d\ude00\u00e9\"\\\/\b\f\n\r\t","b":[1,-2.5e3,null]}"#)["a"],
        json!("😀é\"\\/\u{8}\u{c}\n\r\t")
    );
    assert_eq!(fault("k.json", "{\"a\": 01}"), "1:7: invalid number");
    assert_eq!(fault("k.json", "{\"a\":\n tru}"), "2:2: expected a value");
    assert_eq!(fault("k.json", "{\"a\":\"\\ud83d\"}"), "1:7: invalid escape");
    assert_eq!(fault("k.json", "[1 2]"), "1:4: expected ',' or ']'");
    assert_eq!(fault("k.json", "{} x"), "1:4: unexpected text after the end of the document");
    assert_eq!(fault("k.json", ""), "1:1: unexpected end of the document");
}

#[test]
fn without_a_telling_name_json_is_tried_first() {
    assert_eq!(value("", "\t{\"a\":\"\\ud83d\\ude00\"}"), json!({"a": "😀"}));
    assert_eq!(value("", "a: 1"), json!({"a": 1}));
    assert_eq!(
        fault("", "{\"a\":\n tru]"),
        fault("k.json", "{\"a\":\n tru]"),
        "what looks like JSON is told as such"
    );
    assert_eq!(fault("", "{a: ]"), fault("k.yml", "{a: ]"));
}

#[test]
fn a_key_that_stands_twice_is_a_problem() {
    for (file, text) in [("k.yml", "a: 1\nb: 2\na: 3"), ("k.json", "{\"a\": 1, \"a\": 3}")] {
        let document = parse(file, text).unwrap();
        assert_eq!(document.problems[0].message, "the key 'a' stands here a second time");
        assert_eq!(document.root.field("a").unwrap().to_value(), json!(1));
    }
}

#[test]
fn bombs_and_towers_are_refused() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{},", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{previous}]\n");
    }
    assert!(fault("k.yml", &bomb).ends_with("aliases make the document too large"));
    let flat = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(200));
    assert!(fault("k.yml", &flat).ends_with("aliases make the document too large"));
    assert!(fault("k.json", &"[".repeat(100_000)).ends_with("the document is nested too deeply"));
    assert!(parse("k.yml", &"[".repeat(100_000)).is_err());
    assert!(parse("k.yml", &"{a: ".repeat(100_000)).is_err());
    let deep: String = (0..3000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(fault("k.yml", &deep).ends_with("the document is nested too deeply"));
    assert!(fault("k.yml", "a: &a [*a]").contains("alias"));
    let levels = |count: usize, inner: &str| format!("{}{inner}{}", "[".repeat(count), "]".repeat(count));
    let chain = |links: usize| {
        let link = |number: usize| format!("- &a{number} {}\n", levels(40, &format!("*a{}", number - 1)));
        format!("- &a0 x\n{}", (1..=links).map(link).collect::<String>())
    };
    assert!(fault("k.yml", &chain(200)).ends_with("the document is nested too deeply"));
    assert!(parse("k.yml", &chain(3)).is_ok(), "121 levels");
    assert!(fault("k.yml", "a: 1\n---\nb: 2").contains("a second document"));
}

#[test]
fn mutated_documents_never_panic() {
    let seeds = [
        "a: &x {b: [1, 'two', \"th\\u0072ee\"]}\nc: *x\nd: |\n  text\n  more\ne: >-\n  folded\n<<: *x\n? k\n: v\n# c\n",
        "{\"a\": [1.5, true, null, \"\\ud83d\\ude00\"], \"b\": {}}",
    ];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..5000 {
        let mut bytes = seeds[round % 2].as_bytes().to_vec();
        for _ in 0..=random(4) {
            if bytes.len() < 8 {
                break;
            }
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.insert(at, b"&*[]{}:,?-|>'\"#%@`!\n\t\\"[random(22)]),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        for file in ["k.yml", "k.json"] {
            if let Err(problem) = parse(file, &text) {
                Source::new(file, &text).render(&problem);
            }
        }
    }
}
