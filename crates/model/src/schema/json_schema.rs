//! A schema as JSON Schema (2020-12), for editors and forms.

use serde_json::{Map, Value, json};

use super::kong_json::number;
use super::{Element, Field, Kind, RecordSchema, Rule};

impl RecordSchema {
    /// An object schema that refuses unknown keys.
    pub fn to_json_schema(&self) -> Value {
        let mut properties = Map::new();
        for field in &self.fields {
            properties.insert(field.name.to_owned(), field.to_json_schema());
        }
        for shorthand in &self.shorthands {
            let Some(field) = self.field_at(shorthand.target) else { continue };
            let mut schema = field.to_json_schema();
            schema["deprecated"] = json!(true);
            properties.insert(shorthand.name.to_owned(), schema);
        }
        let needed = |field: &&Field| {
            field.required && field.default.is_none() && !matches!(field.element.kind, Kind::Record(_))
        };
        let required: Vec<&str> = self.fields.iter().filter(needed).map(|field| field.name).collect();
        json!({
            "type": "object",
            "description": words(self.doc),
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }
}

impl Field {
    fn to_json_schema(&self) -> Value {
        let mut schema = self.element.json_schema();
        schema.insert("description".to_owned(), json!(words(self.doc)));
        if let Some(default) = &self.default {
            schema.insert("default".to_owned(), default.clone());
        }
        if self.deprecated.is_some() {
            schema.insert("deprecated".to_owned(), json!(true));
        }
        let nullable = !self.required || self.default.is_some();
        if let Some(kind) = schema.get_mut("type").filter(|_| nullable) {
            *kind = json!([kind, "null"]);
        }
        if let Some(Value::Array(values)) = schema.get_mut("enum").filter(|_| nullable) {
            values.push(Value::Null);
        }
        Value::Object(schema)
    }
}

impl Element {
    fn json_schema(&self) -> Map<String, Value> {
        let schema = match &self.kind {
            Kind::Any => json!({}),
            Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
            Kind::String | Kind::Foreign(_) => json!({ "type": "string" }),
            Kind::Boolean | Kind::Integer | Kind::Number => json!({ "type": self.kind.name() }),
            Kind::Array(element) | Kind::Set(element) => {
                json!({ "type": "array", "items": element.json_schema() })
            }
            Kind::Map(_, values) => json!({ "type": "object", "additionalProperties": values.json_schema() }),
            Kind::Record(record) => record.to_json_schema(),
        };
        let Value::Object(mut schema) = schema else { return Map::new() };
        // A vault reference may stand for the value, so its rules bind only what is written out.
        let rules = self.rules.iter().filter(|_| !self.referenceable);
        schema.extend(rules.flat_map(|rule| rule.json_schema(&self.kind)));
        schema
    }
}

impl Rule {
    fn json_schema(&self, kind: &Kind) -> Vec<(String, Value)> {
        let (least, most) = match kind {
            Kind::Array(_) | Kind::Set(_) => ("minItems", "maxItems"),
            Kind::Map(..) => ("minProperties", "maxProperties"),
            _ => ("minLength", "maxLength"),
        };
        let keywords = match self {
            Rule::OneOf(values) => vec![("enum", json!(values))],
            Rule::NotOneOf(values) => vec![("not", json!({ "enum": values }))],
            Rule::Between(least, most) => vec![("minimum", number(*least)), ("maximum", number(*most))],
            Rule::GreaterThan(bound) => vec![("exclusiveMinimum", number(*bound))],
            Rule::Equals(value) => vec![("const", value.clone())],
            Rule::MinimumLength(length) => vec![(least, json!(length))],
            Rule::MaximumLength(length) => vec![(most, json!(length))],
            Rule::Length(length) => vec![(least, json!(length)), (most, json!(length))],
            Rule::Matches(pattern) => vec![("pattern", json!(pattern.as_str()))],
            _ => Vec::new(),
        };
        keywords.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn words(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
