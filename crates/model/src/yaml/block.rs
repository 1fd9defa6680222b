//! Values into YAML as people read it: one line for each scalar. Readers of YAML 1.1 and 1.2 read the same values.

use serde_json::{Map, Value};

/// Lists and mappings deeper than this stand on one line, as JSON: indents would grow without end.
const DEEPEST: usize = 6;
/// Words that are no texts unless they are quoted, in one version of YAML or the other.
const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];

/// Adds the entries of a mapping, indented by `depth` steps.
pub(crate) fn mapping(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    for (name, field) in fields {
        indent(out, depth);
        text(out, name);
        out.push(':');
        value(out, field, depth + 1);
    }
}

/// Adds a mapping that is an element of a list.
pub(crate) fn element(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    let start = out.len();
    mapping(out, fields, depth + 1);
    dash(out, start, depth);
}

/// Adds a value behind a key, with what is below it indented by `depth` steps.
fn value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() && depth <= DEEPEST => {
            out.push('\n');
            mapping(out, fields, depth);
        }
        Value::Array(elements) if !elements.is_empty() && depth <= DEEPEST => {
            out.push('\n');
            list(out, elements, depth);
        }
        other => {
            out.push(' ');
            on_one_line(out, other);
            out.push('\n');
        }
    }
}

fn list(out: &mut String, elements: &[Value], depth: usize) {
    for one in elements {
        match one {
            Value::Object(fields) if !fields.is_empty() => element(out, fields, depth),
            Value::Array(elements) if !elements.is_empty() && depth < DEEPEST => {
                let start = out.len();
                list(out, elements, depth + 1);
                dash(out, start, depth);
            }
            other => {
                indent(out, depth);
                out.push_str("- ");
                on_one_line(out, other);
                out.push('\n');
            }
        }
    }
}

/// Puts a dash into the last step of the indent of what begins at `start`, which is one step deeper than the dash.
fn dash(out: &mut String, start: usize, depth: usize) {
    let at = start + depth * STEP.len();
    out.replace_range(at..at + STEP.len(), "- ");
}

const STEP: &str = "  ";

fn indent(out: &mut String, depth: usize) {
    (0..depth).for_each(|_| out.push_str(STEP));
}

fn on_one_line(out: &mut String, value: &Value) {
    match value {
        Value::String(word) => text(out, word),
        other => quoted(out, &other.to_string()),
    }
}

fn text(out: &mut String, text: &str) {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/' || first == '_');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte);
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if begins && text.bytes().all(is_plain) && !is_word {
        out.push_str(text);
    } else {
        quoted(out, &Value::from(text).to_string());
    }
}

/// Adds JSON, which is YAML but for characters that end lines or do not print.
fn quoted(out: &mut String, json: &str) {
    if json.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return out.push_str(json);
    }
    for character in json.chars() {
        if character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
        {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::parse;

    fn written(value: &Value) -> String {
        let mut out = String::new();
        mapping(&mut out, value.as_object().unwrap(), 0);
        out
    }

    #[test]
    fn it_reads_like_what_people_write() {
        let value = json!({
            "services": [{ "name": "orders", "port": 80, "tags": ["a", "1"], "nothing": {} }, { "path": "/a/b" }],
            "lists": [["a", []], [[1]]],
            "on": "no",
        });
        let expected = "services:
  - name: orders
    port: 80
    tags:
      - a
      - \"1\"
    nothing: {}
  - path: /a/b
lists:
  - - a
    - []
  - - - 1
\"on\": \"no\"
";
        assert_eq!(written(&value), expected);
    }

    #[test]
    fn whatever_is_written_is_read_again() {
        let mut deep = json!(["x: y"]);
        for level in 0..60 {
            deep = if level % 2 == 0 { json!({ "a b": deep, "n": null }) } else { json!([deep, -1.5, true]) };
        }
        let odd: String =
            (0..0x250).chain([0x2028, 0x2029, 0xfeff, 0xfffe, 0x1f600]).filter_map(char::from_u32).collect();
        let words = [
            "",
            " ",
            "~",
            "null",
            "Yes",
            "0x1",
            "1e3",
            ".5",
            "2020-01-01",
            "a: b",
            "a #b",
            "- a",
            "*a",
            "&a",
            "<<",
            "=",
            "---",
        ];
        let mut value = json!({ "deep": deep, "odd": odd, "words": words, "lines": "a\n\n  b\r\n" });
        // As a key it would merge what is behind it.
        for word in words.into_iter().filter(|word| *word != "<<") {
            value[word] = json!([{ word: word }]);
        }
        for character in odd.chars() {
            value["each"][format!("{character}")] = json!(format!("a{character}"));
        }
        let text = written(&value);
        assert_eq!(parse("shown.yml", &text).unwrap().root.to_value(), value);
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    }

    #[test]
    fn what_is_nested_deeply_takes_little_more_than_its_json() {
        let mut deep = json!(vec![0; 1000]);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(written(&json!({ "deep": deep })).len() < 4_000);
    }
}
