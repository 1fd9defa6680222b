//! Edits of a JSON body's top-level members.

use plugin::model::schema::{Faults, Value};
use plugin::object::Object;
use plugin::serialize;
use serde_json::Number;

use super::pair;

/// The edits, in the order they are made.
#[derive(Default)]
pub struct Edits {
    /// Names to remove.
    pub remove: Vec<String>,
    /// Names to change, with their new ones.
    pub rename: Vec<(String, String)>,
    /// Names and JSON texts to set where the name is there.
    pub replace: Vec<(String, String)>,
    /// Names and JSON texts to set where the name is not there.
    pub add: Vec<(String, String)>,
    /// Names and JSON texts to put beside what is there.
    pub append: Vec<(String, String)>,
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
    for (entry, kind) in entries.iter().zip(types).filter(|(entry, _)| !pair(entry).1.is_empty()) {
        let (_, value) = pair(entry);
        if let Err(expected) = typed(value, Some(kind)) {
            faults.field("json", format!("'{value}' is not {expected}"));
        }
    }
}

/// The entries, each value as JSON of the type at the same position; one without a value does nothing.
pub fn settings(entries: &[String], types: &[String]) -> Vec<(String, String)> {
    let types = types.iter().map(|kind| Some(kind.as_str())).chain(std::iter::repeat(None));
    let settings = entries.iter().zip(types).filter_map(|(entry, kind)| {
        let (name, value) = pair(entry);
        let json = typed(value, kind).ok().filter(|_| !value.is_empty())?;
        Some((name.to_owned(), json))
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

impl Edits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let settings = [&self.rename, &self.replace, &self.add, &self.append];
        self.remove.is_empty() && settings.iter().all(|settings| settings.is_empty())
    }

    /// The body after the edits; `None` if it is no JSON object or nothing changed.
    pub fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut object = Object::parse(body)?;
        for name in &self.remove {
            object.remove(name);
        }
        for (from, to) in &self.rename {
            object.rename(from, to);
        }
        for (name, json) in &self.replace {
            object.replace(name, json);
        }
        for (name, json) in &self.add {
            object.add(name, json);
        }
        for (name, json) in &self.append {
            object.append(name, json);
        }
        object.is_changed().then(|| object.to_json())
    }
}
