//! What a case expects of texts, headers and JSON. Every function returns the differences, none means a match.

use crate::message::values;
use regex::Regex;
use serde_json::{Map, Value};

/// Whether `actual` is `expected`, or matches it when it begins with `~` (a regular expression).
pub(crate) fn text_matches(expected: &str, actual: &str) -> bool {
    match expected.strip_prefix('~') {
        // A broken expression matches nothing, which the case then reports.
        Some(pattern) => Regex::new(&format!("(?s){pattern}")).is_ok_and(|regex| regex.is_match(actual)),
        None => expected == actual,
    }
}

/// Whether `actual` holds `expected` somewhere.
pub(crate) fn text_holds(expected: &str, actual: &str) -> bool {
    if expected.starts_with('~') { text_matches(expected, actual) } else { actual.contains(expected) }
}

/// Headers: a text or number is the value, lines of one name being joined (RFC 9110 5.3); a list is all lines in order;
/// null is absence.
pub(crate) fn headers(expected: &Map<String, Value>, actual: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, wanted) in expected {
        let found = values(actual, name);
        let fits = match wanted {
            Value::Null => found.is_empty(),
            Value::Array(list) => {
                list.len() == found.len()
                    && list.iter().zip(&found).all(|(one, value)| scalar_matches(one, value))
            }
            one => !found.is_empty() && scalar_matches(one, &found.join(", ")),
        };
        if !fits {
            let wanted = if wanted.is_null() { "absent".to_owned() } else { wanted.to_string() };
            problems.push(format!("header {name}: expected {wanted}, got {found:?}"));
        }
    }
    problems
}

fn scalar_matches(expected: &Value, actual: &str) -> bool {
    match expected.as_str() {
        Some(text) => text_matches(text, actual),
        None => actual == expected.to_string().as_str(),
    }
}

/// JSON: members not named are free, null is absence or null, `~` begins a regular expression.
pub(crate) fn json(path: &str, expected: &Value, actual: &Value) -> Vec<String> {
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .flat_map(|(name, value)| {
                let at = format!("{path}.{name}");
                json(&at, value, found.get(name).unwrap_or(&Value::Null))
            })
            .collect(),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .flat_map(|(index, (one, other))| json(&format!("{path}[{index}]"), one, other))
            .collect(),
        (Value::String(wanted), Value::String(found)) if text_matches(wanted, found) => Vec::new(),
        (Value::Number(wanted), Value::Number(found)) if wanted.as_f64() == found.as_f64() => Vec::new(),
        _ if expected == actual => Vec::new(),
        _ => vec![format!("{path}: expected {expected}, got {actual}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headers_are_compared_line_by_line() {
        let actual = vec![("Vary".to_owned(), "Origin".to_owned()), ("vary".to_owned(), "Accept".to_owned())];
        let fits = |expected: Value| headers(expected.as_object().unwrap(), &actual).is_empty();
        assert!(fits(json!({"vary": ["Origin", "~^Acc"], "age": null})));
        assert!(!fits(json!({"vary": "Origin"})));
        assert!(fits(json!({"vary": "Origin, Accept"})));
        assert!(!fits(json!({"vary": ["Origin, Accept"]})));
        assert!(!fits(json!({"vary": null})));
        assert!(!fits(json!({"age": "~."})));
    }

    #[test]
    fn json_is_a_subset_but_arrays_are_whole() {
        let actual = json!({"a": {"b": [1, 2]}, "c": "text"});
        assert!(super::json("$", &json!({"a": {"b": [1, 2.0]}, "d": null}), &actual).is_empty());
        assert!(super::json("$", &json!({"c": "~^te"}), &actual).is_empty());
        assert_eq!(super::json("$", &json!({"a": {"b": [1]}}), &actual).len(), 1);
        assert_eq!(super::json("$", &json!({"c": null}), &actual).len(), 1);
    }
}
