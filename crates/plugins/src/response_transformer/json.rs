//! Edits of a JSON body's top-level members.

use std::borrow::Cow;

use plugin::edits::{Edits, Setting, pair_of};
use plugin::model::schema::{Faults, Value};
use plugin::object::Object;
use plugin::serialize;
use serde_json::Number;

/// The body after the edits; `None` if it is no JSON object or nothing changed.
pub fn edited(body: &[u8], edits: &Edits<String>) -> Option<Vec<u8>> {
    let mut object = Object::parse(body)?;
    edits.apply(&mut object, |json| Cow::Borrowed(json.as_str()));
    object.is_changed().then(|| object.to_json())
}

/// Notes values of a record with `json` and `json_types` that are not of their type, and types too many.
pub fn check_types(record: &Value, faults: &mut Faults) {
    let strings = |field: &str| -> Vec<&str> {
        record[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let (entries, types) = (strings("json"), strings("json_types"));
    if types.len() > entries.len() {
        faults.field("json_types", "there are more types than values");
    }
    for (entry, kind) in entries.iter().zip(types) {
        let Some((_, value)) = pair_of(entry) else { continue };
        if let Err(expected) = typed(value, Some(kind)) {
            faults.field("json", format!("'{value}' is not {expected}"));
        }
    }
}

/// The entries, each value as JSON of the type at the same position; one without a value does nothing.
pub fn settings(entries: &[String], types: &[String]) -> Vec<Setting<String>> {
    let types = types.iter().map(|kind| Some(kind.as_str())).chain(std::iter::repeat(None));
    let settings = entries.iter().zip(types).filter_map(|(entry, kind)| {
        let (name, value) = pair_of(entry)?;
        Some(Setting { name: name.to_owned(), value: typed(value, kind).ok()? })
    });
    settings.collect()
}

/// A value as JSON of the given type.
fn typed(value: &str, kind: Option<&str>) -> Result<String, &'static str> {
    match kind {
        Some("number") => {
            let plain = value.trim().parse::<Number>().ok();
            let number = plain.or_else(|| Number::from_f64(value.trim().parse().ok()?));
            number.map(|number| number.to_string()).ok_or("a number")
        }
        Some("boolean") if value == "true" || value == "false" => Ok(value.to_owned()),
        Some("boolean") => Err("a boolean"),
        _ => {
            let inside = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            let mut quoted = Vec::with_capacity(inside.len() + 2);
            serialize::string(&mut quoted, inside.as_bytes());
            Ok(String::from_utf8_lossy(&quoted).into_owned())
        }
    }
}
