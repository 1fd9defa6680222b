//! `${NAME}` in any text of a case.

use serde_json::Value;
use std::collections::BTreeMap;

/// The values of a case, by name.
pub(crate) type Values = BTreeMap<String, String>;

/// Replaces every placeholder of `text`. `${repeat:COUNT:TEXT}` stands for TEXT so many times.
pub(crate) fn fill(text: &str, values: &Values) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let end =
            rest[start..].find('}').ok_or_else(|| format!("'{text}': a placeholder without '}}'"))? + start;
        filled.push_str(&rest[..start]);
        filled.push_str(&value(&rest[start + 2..end], values)?);
        rest = &rest[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// [`fill`] on every text of a value, member names included.
pub(crate) fn fill_value(value: &Value, values: &Values) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text, values)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| fill_value(item, values)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let filled =
                members.iter().map(|(name, item)| Ok((fill(name, values)?, fill_value(item, values)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn value(name: &str, values: &Values) -> Result<String, String> {
    if let Some((count, text)) = name.strip_prefix("repeat:").and_then(|rest| rest.split_once(':')) {
        let count: usize = count.parse().map_err(|_| format!("${{{name}}}: the count is no number"))?;
        return Ok(text.repeat(count));
    }
    values.get(name).cloned().ok_or_else(|| format!("unknown placeholder ${{{name}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_unknown_ones_refused() {
        let values = Values::from([("ECHO".to_owned(), "127.0.0.1:1".to_owned())]);
        assert_eq!(
            fill("http://${ECHO}/x $(headers.a)", &values).unwrap(),
            "http://127.0.0.1:1/x $(headers.a)"
        );
        assert_eq!(fill("${repeat:3:ab}", &values).unwrap(), "ababab");
        assert!(fill("${ECHOS}", &values).is_err());
    }
}
