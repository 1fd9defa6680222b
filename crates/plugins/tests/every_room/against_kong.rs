//! Every room of Kong's beside what Kong says of it.

use std::collections::BTreeMap;

use plugin::model::schema::{Element, Field, Kind, RecordSchema, Rule};
use serde_json::{Value, json};

use super::{kongs, reference};

#[test]
fn priorities_scopes_and_protocols_are_kongs() {
    for room in kongs() {
        let (name, reference, schema) = (room.name(), reference(*room), room.schema());
        assert_eq!(json!(room.priority()), reference["priority"], "{name}");
        let scopes = [
            ("consumer", schema.scopes.consumer),
            ("consumer_group", schema.scopes.consumer_group),
            ("route", schema.scopes.route),
            ("service", schema.scopes.service),
        ];
        let ours: Vec<&str> =
            scopes.iter().filter(|(_, allowed)| *allowed).map(|(scope, _)| *scope).collect();
        assert_eq!(json!(ours), reference["scopes"], "{name}");
        let mut protocols = schema.protocols.to_vec();
        protocols.sort_unstable();
        assert_eq!(json!(protocols), reference["protocols"], "{name}");
    }
}

#[test]
fn schemas_are_kongs() {
    let mut differences = Vec::new();
    for room in kongs() {
        let schema = room.schema();
        let mut fields = BTreeMap::new();
        flatten(&schema.config, "", &mut fields);
        let reference = reference(*room);
        compare_records(room.name(), &fields, &reference["config"], &mut differences);
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// Fields by dotted path, as the reference lists them.
fn flatten<'a>(record: &'a RecordSchema, prefix: &str, fields: &mut BTreeMap<String, &'a Field>) {
    for field in record.fields.iter().filter(|field| !field.extension) {
        let path = format!("{prefix}{}", field.name);
        match &field.element.kind {
            Kind::Record(inner) => flatten(inner, &format!("{path}."), fields),
            _ => {
                fields.insert(path, field);
            }
        }
    }
}

fn compare_records(
    name: &str,
    ours: &BTreeMap<String, &Field>,
    theirs: &Value,
    differences: &mut Vec<String>,
) {
    let theirs = theirs.as_object().expect("the reference describes records as objects");
    for path in ours.keys().filter(|path| !theirs.contains_key(*path)) {
        differences.push(format!("{name}: {path} is not a field of Kong's"));
    }
    for (path, reference) in theirs {
        let place = format!("{name}: {path}");
        let Some(field) = ours.get(path) else {
            differences.push(format!("{place} is missing"));
            continue;
        };
        compare_element(&place, &field.element, reference, differences);
        let default = field.default.as_ref().map(normal);
        if default != reference.get("default").map(normal) {
            differences.push(format!("{place}: default {default:?}, Kong's {:?}", reference.get("default")));
        }
        let mandatory = field.required && field.default.is_none() && !field.auto;
        if mandatory != (reference["required"] == true) {
            differences.push(format!("{place}: mandatory {mandatory}, Kong's {}", reference["required"]));
        }
    }
}

/// What a rule of one kind demands.
type RuleValue = fn(&Rule) -> Option<Value>;

fn compare_element(place: &str, ours: &Element, theirs: &Value, differences: &mut Vec<String>) {
    let mut differ = |what: &str, ours: Value, theirs: &Value| {
        if ours != *theirs {
            differences.push(format!("{place}: {what} {ours}, Kong's {theirs}"));
        }
    };
    differ("type", type_name(&ours.kind), &theirs["type"]);
    // Whatever takes a reference or is a secret there does and is here; here more does and is.
    differ(
        "referenceable",
        flag(ours.referenceable && theirs["referenceable"] == true),
        &theirs["referenceable"],
    );
    differ("encrypted", flag(ours.encrypted && theirs["encrypted"] == true), &theirs["encrypted"]);
    let of_rule = |pick: RuleValue| ours.rules.iter().find_map(pick).unwrap_or_default();
    let values = of_rule(|rule| match rule {
        Rule::OneOf(values) => Some(normal(&Value::Array(values.clone()))),
        _ => None,
    });
    differ("enum", values, &theirs.get("enum").map(normal).unwrap_or_default());
    // Bounds that Kong checks in code are not in its schema, so only recorded ones are compared.
    let bounds: [(&str, RuleValue); 4] = [
        ("minimum", |rule| if let Rule::Between(least, _) = rule { Some(json!(least)) } else { None }),
        ("maximum", |rule| if let Rule::Between(_, most) = rule { Some(json!(most)) } else { None }),
        ("minLength", |rule| {
            if let Rule::MinimumLength(length) = rule { Some(json!(*length as f64)) } else { None }
        }),
        ("maxLength", |rule| {
            if let Rule::MaximumLength(length) = rule { Some(json!(*length as f64)) } else { None }
        }),
    ];
    for (what, pick) in bounds {
        if let Some(theirs) = theirs.get(what) {
            differ(what, of_rule(pick), &normal(theirs));
        }
    }
    match &ours.kind {
        Kind::Array(inner) | Kind::Set(inner) => {
            compare_inner(&format!("{place}[]"), inner, &theirs["items"], differences);
        }
        Kind::Map(_, inner) => compare_inner(&format!("{place}{{}}"), inner, &theirs["values"], differences),
        _ => {}
    }
}

fn compare_inner(place: &str, ours: &Element, theirs: &Value, differences: &mut Vec<String>) {
    match &ours.kind {
        Kind::Record(record) => {
            let mut fields = BTreeMap::new();
            flatten(record, "", &mut fields);
            compare_records(place, &fields, theirs, differences);
        }
        _ => compare_element(place, ours, theirs, differences),
    }
}

/// The reference knows no sets and calls a map an object.
fn type_name(kind: &Kind) -> Value {
    Value::from(match kind {
        Kind::Set(_) => "array",
        Kind::Map(..) => "object",
        other => other.name(),
    })
}

fn flag(set: bool) -> Value {
    if set { Value::Bool(true) } else { Value::Null }
}

/// Numbers as floats, and lists in an order of their own: the reference has its lists sorted.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => {
            let mut values: Vec<Value> = values.iter().map(normal).collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        other => other.clone(),
    }
}
