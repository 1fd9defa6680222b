//! Records as they may be shown: with a mask in place of every literal secret, and without what their schema says anyway.
//!
//! What is a secret is what the schema declares `encrypted`; nothing here knows a name.

use serde_json::{Map, Value};

use super::{Element, Field, Kind, RecordSchema};
use crate::concealed::MASK;
use crate::node::{Node, NodeKind};
use crate::problem::{Problems, Trail};
use crate::secret::is_reference;

impl RecordSchema {
    /// What a complete record says beyond its defaults, with [`MASK`] in place of literal secrets. References to secrets
    /// are none; a field that the schema does not have is not shown.
    #[must_use]
    pub fn shown(&self, mut fields: Map<String, Value>) -> Map<String, Value> {
        let told = self.fields.iter().filter_map(|field| {
            let value =
                fields.get_mut(field.name).map(Value::take).filter(|value| !field.goes_without(value))?;
            let shown = field.element.shown(value);
            (!field.is_filled_in(&shown)).then(|| (field.name.to_owned(), shown))
        });
        told.collect()
    }
}

impl Field {
    /// Whether the field is the same when it is left out.
    fn goes_without(&self, value: &Value) -> bool {
        value.is_null() || self.default.as_ref() == Some(value)
    }

    /// Whether it is a record of which nothing is left to tell, and that is there anyway.
    fn is_filled_in(&self, shown: &Value) -> bool {
        let is_record =
            self.required && self.default.is_none() && matches!(self.element.kind, Kind::Record(_));
        is_record && shown.as_object().is_some_and(Map::is_empty)
    }
}

impl Element {
    /// A value as it may be shown.
    pub(crate) fn shown(&self, value: Value) -> Value {
        match (&self.kind, value) {
            (_, value) if self.encrypted => masked(value),
            (Kind::Record(record), Value::Object(fields)) => Value::Object(record.shown(fields)),
            (Kind::Array(inner) | Kind::Set(inner), Value::Array(elements)) => {
                elements.into_iter().map(|element| inner.shown(element)).collect()
            }
            (Kind::Map(_, inner), Value::Object(fields)) => {
                fields.into_iter().map(|(name, value)| (name, inner.shown(value))).collect()
            }
            (Kind::Foreign(_), Value::Object(mut fields)) => fields.remove("id").unwrap_or_default(),
            (_, value) => value,
        }
    }

    /// Refuses the mask where a secret belongs. Whether it stood there.
    pub(super) fn refuse_mask(&self, node: &Node, trail: &Trail<'_>, problems: &mut Problems) -> bool {
        self.encrypted && refuse_masks(node, trail, problems)
    }
}

/// A secret as it is shown, and each part of one that has some.
fn masked(value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) if is_reference(&text) => Value::String(text),
        Value::Array(elements) => elements.into_iter().map(masked).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, masked(value))).collect(),
        _ => Value::from(MASK),
    }
}

fn refuse_masks(node: &Node, trail: &Trail<'_>, problems: &mut Problems) -> bool {
    match &node.kind {
        NodeKind::String(text) if text == MASK => {
            let problem =
                problems.add(trail, node.span, "stands for a secret that `GET /config` does not show");
            problem.suggestion = Some("write the secret itself, or a reference {vault://...}".to_owned());
            true
        }
        NodeKind::Array(elements) => {
            let refused = elements.iter().enumerate();
            refused
                .fold(false, |found, (index, node)| refuse_masks(node, &trail.index(index), problems) | found)
        }
        NodeKind::Object(entries) => entries
            .iter()
            .fold(false, |found, (key, node)| refuse_masks(node, &trail.field(&key.name), problems) | found),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Record;

    crate::record! {
        /// A server.
        pub struct Server {
            /// Its name.
            host: String = "127.0.0.1";
            /// What it is sent.
            password: Option<String>, [referenceable(), encrypted()];
        }
    }

    crate::record! {
        /// Secrets wherever there can be some.
        pub struct Secrets {
            /// In a record that is always there.
            server: Server;
            /// In one that need not be.
            other: Option<Server>;
            /// In a list as a whole.
            words: Option<Vec<String>>, [encrypted(), each(referenceable())];
            /// In the records of a list.
            servers: Option<Vec<Server>>;
            /// In a map.
            headers: Option<crate::Map<String>>, [values(referenceable()), values(encrypted())];
            /// Not a secret, though it is called so.
            secret_names: Vec<String> = ["a"];
        }
    }

    fn shown(given: &Value) -> Value {
        let complete = Secrets::schema().check(given).unwrap();
        let Value::Object(fields) = complete else { panic!("a record") };
        Value::Object(Secrets::schema().shown(fields))
    }

    #[test]
    fn literal_secrets_are_masked_wherever_they_are_and_references_are_not() {
        let given = json!({
            "server": { "host": "h", "password": "hidden" },
            "other": { "password": "{vault://env/word}" },
            "words": ["hidden", "{vault://env/word}"],
            "servers": [{ "host": "h", "password": "hidden" }, {}],
            "headers": { "X-Key": "hidden", "X-Other": "{vault://env/word}" },
            "secret_names": ["b"],
        });
        let expected = json!({
            "server": { "host": "h", "password": MASK },
            "other": { "password": "{vault://env/word}" },
            "words": [MASK, "{vault://env/word}"],
            "servers": [{ "host": "h", "password": MASK }, {}],
            "headers": { "X-Key": MASK, "X-Other": "{vault://env/word}" },
            "secret_names": ["b"],
        });
        assert_eq!(shown(&given), expected);
    }

    #[test]
    fn what_the_schema_says_anyway_is_not_told_and_what_it_does_not_is() {
        assert_eq!(shown(&json!({})), json!({}));
        assert_eq!(shown(&json!({ "server": { "host": "127.0.0.1" }, "secret_names": ["a"] })), json!({}));
        // Without it there would be none.
        assert_eq!(shown(&json!({ "other": {} })), json!({ "other": {} }));
    }

    #[test]
    fn a_field_that_nobody_declared_is_not_shown() {
        let Value::Object(fields) = json!({ "host": "h", "pasword": "hidden" }) else { panic!("a record") };
        assert_eq!(Value::Object(Server::schema().shown(fields)), json!({ "host": "h" }));
    }

    #[test]
    fn the_mask_is_refused_where_a_secret_belongs_and_nowhere_else() {
        let given = json!({
            "server": { "host": MASK, "password": MASK },
            "words": ["known", MASK],
            "servers": [{ "password": MASK }],
            "headers": { "X-Key": MASK },
        });
        let problems = Secrets::schema().check(&given).unwrap_err();
        let places: Vec<String> = problems.iter().map(|problem| problem.place.to_string()).collect();
        assert_eq!(places, ["server.password", "words[1]", "servers[0].password", "headers.X-Key"]);
        for problem in &problems {
            assert_eq!(problem.message, "stands for a secret that `GET /config` does not show");
            assert!(problem.suggestion.as_deref().unwrap().contains("{vault://...}"));
        }
    }
}
