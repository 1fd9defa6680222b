//! A schema as Kong's Admin API prints it under `/schemas`.

use serde_json::{Map, Value, json};

use super::{Check, Element, Field, Kind, RecordSchema, Rule};

impl RecordSchema {
    /// `{"fields": [{name: {...}}, ...], "entity_checks": [...], "shorthand_fields": [...]}`
    pub fn to_kong_json(&self) -> Value {
        let mut schema = Map::new();
        self.print_into(&mut schema);
        Value::Object(schema)
    }

    fn print_into(&self, schema: &mut Map<String, Value>) {
        let fields = self.fields.iter().filter(|field| !field.extension);
        let fields = fields.map(|field| json!({ field.name: field.to_kong_json() })).collect();
        schema.insert("fields".to_owned(), Value::Array(fields));
        let checks: Vec<Value> = self.checks.iter().filter_map(Check::to_kong_json).collect();
        if !checks.is_empty() {
            schema.insert("entity_checks".to_owned(), Value::Array(checks));
        }
        if !self.shorthands.is_empty() {
            let shorthands = self.shorthands.iter().map(|shorthand| {
                let kind =
                    self.field_at(shorthand.target).map_or("string", |field| field.element.kind.name());
                let target: Vec<&str> = shorthand.target.split('.').collect();
                let replaced = json!({ "replaced_with": [{ "path": target }] });
                json!({ shorthand.name: { "type": kind, "deprecation": replaced } })
            });
            schema.insert("shorthand_fields".to_owned(), Value::Array(shorthands.collect()));
        }
    }
}

impl Field {
    fn to_kong_json(&self) -> Value {
        let mut printed = self.element.print();
        if self.required {
            printed.insert("required".to_owned(), Value::Bool(true));
        }
        if let Some(default) = &self.default {
            printed.insert("default".to_owned(), default.clone());
        }
        if self.unique {
            printed.insert("unique".to_owned(), Value::Bool(true));
        }
        if self.auto {
            printed.insert("auto".to_owned(), Value::Bool(true));
        }
        if let Some(instead) = self.deprecated {
            let path: Vec<&str> = instead.split('.').collect();
            printed.insert("deprecation".to_owned(), json!({ "replaced_with": [{ "path": path }] }));
        }
        if !self.doc.trim().is_empty() {
            let words: Vec<&str> = self.doc.split_whitespace().collect();
            printed.insert("description".to_owned(), Value::String(words.join(" ")));
        }
        Value::Object(printed)
    }
}

impl Element {
    fn print(&self) -> Map<String, Value> {
        let mut printed = Map::new();
        printed.insert("type".to_owned(), Value::from(self.kind.name()));
        match &self.kind {
            Kind::Uuid => {
                printed.insert("uuid".to_owned(), Value::Bool(true));
            }
            Kind::Foreign(collection) => {
                printed.insert("reference".to_owned(), Value::from(*collection));
            }
            Kind::Array(element) | Kind::Set(element) => {
                printed.insert("elements".to_owned(), Value::Object(element.print()));
            }
            Kind::Map(keys, values) => {
                printed.insert("keys".to_owned(), Value::Object(keys.print()));
                printed.insert("values".to_owned(), Value::Object(values.print()));
            }
            Kind::Record(record) => record.print_into(&mut printed),
            _ => {}
        }
        for rule in &self.rules {
            if let Some((name, value)) = rule.to_kong_json() {
                printed.insert(name.to_owned(), value);
            }
        }
        if self.referenceable {
            printed.insert("referenceable".to_owned(), Value::Bool(true));
        }
        if self.encrypted {
            printed.insert("encrypted".to_owned(), Value::Bool(true));
        }
        printed
    }
}

impl Kind {
    /// Kong's name of the type.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::String | Kind::Uuid => "string",
            Kind::Foreign(_) => "foreign",
            Kind::Any => "any",
            Kind::Array(_) => "array",
            Kind::Set(_) => "set",
            Kind::Map(..) => "map",
            Kind::Record(_) => "record",
        }
    }
}

impl Rule {
    fn to_kong_json(&self) -> Option<(&'static str, Value)> {
        Some(match self {
            Rule::OneOf(values) => ("one_of", Value::Array(values.clone())),
            Rule::NotOneOf(values) => ("not_one_of", Value::Array(values.clone())),
            Rule::Between(least, most) => ("between", json!([number(*least), number(*most)])),
            Rule::GreaterThan(bound) => ("gt", number(*bound)),
            Rule::Equals(value) => ("eq", value.clone()),
            Rule::NotEquals(value) => ("ne", value.clone()),
            Rule::MinimumLength(length) => ("len_min", json!(length)),
            Rule::MaximumLength(length) => ("len_max", json!(length)),
            Rule::Length(length) => ("len_eq", json!(length)),
            Rule::StartsWith(prefix) => ("starts_with", json!(prefix)),
            Rule::Matches(pattern) => ("match", json!(pattern.as_str())),
            Rule::NotMatches(pattern) => ("not_match", json!(pattern.as_str())),
            Rule::Contains(value) => ("contains", value.clone()),
            Rule::Required => ("required", Value::Bool(true)),
            Rule::Format("uuid", _) => ("uuid", Value::Bool(true)),
            Rule::Format("regex", _) => ("is_regex", Value::Bool(true)),
            Rule::Each(rule) => {
                let (name, value) = rule.to_kong_json()?;
                ("elements", json!({ name: value }))
            }
            _ => return None,
        })
    }
}

impl Check {
    /// `None` for checks that only code can express.
    fn to_kong_json(&self) -> Option<Value> {
        Some(match self {
            Check::AtLeastOneOf(fields) => json!({ "at_least_one_of": fields }),
            Check::OnlyOneOf(fields) => json!({ "only_one_of": fields }),
            Check::MutuallyRequired(fields) => json!({ "mutually_required": fields }),
            Check::Distinct(fields) => json!({ "distinct": fields }),
            Check::Conditional(condition) => {
                let (if_name, if_value) = condition.if_match.to_kong_json()?;
                let (then_name, then_value) = condition.then_match.to_kong_json()?;
                json!({ "conditional": {
                    "if_field": condition.if_field,
                    "if_match": { if_name: if_value },
                    "then_field": condition.then_field,
                    "then_match": { then_name: then_value },
                } })
            }
            Check::Custom(_) | Check::Fields(_) | Check::Entity(_) => return None,
        })
    }
}

/// A bound as an integer where it is one.
pub(super) fn number(bound: f64) -> Value {
    if bound.fract() == 0.0 && bound.abs() < 9_007_199_254_740_992.0 {
        Value::from(bound as i64)
    } else {
        Value::from(bound)
    }
}
