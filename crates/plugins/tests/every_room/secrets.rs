//! What is shown of configurations: no secret of any room or entity, and everything else.

use plugin::model::declarative::load;
use plugin::model::entity::core_schemas;
use plugin::model::schema::{Element, Kind, RecordSchema};
use plugin::model::{Config, MASK, is_secret_name};
use plugins::ROOMS;
use serde_json::{Map, Value, json};

use super::block;

/// Stands in a configuration wherever a secret belongs.
const HIDDEN: &str = "to-be-hidden";

/// Texts that are called like secrets and are none: by what a token says who has signed it, and names of claims.
const NAMED_LIKE_SECRETS: [&str; 2] = ["jwt_secrets.key", "upstream-jwt.claims_from_token"];

/// Every record that a configuration has: settings of plugins, and entities.
fn records() -> Vec<(&'static str, RecordSchema)> {
    let settings = ROOMS.iter().map(|room| (room.name(), room.schema().config));
    let entities = core_schemas().into_iter().chain(ROOMS.iter().flat_map(|room| room.entities()));
    settings.chain(entities.map(|entity| (entity.name, entity.record))).collect()
}

/// A record with all its fields. Where one is a secret, by what is declared or by how it is called, it is [`HIDDEN`].
fn filled(record: &RecordSchema, path: &str) -> Map<String, Value> {
    let fields = record.fields.iter().map(|field| {
        let path = format!("{path}.{}", field.name);
        let is_secret = is_secret_name(field.name) && !NAMED_LIKE_SECRETS.contains(&path.as_str());
        (field.name.to_owned(), value(&field.element, &path, is_secret))
    });
    fields.collect()
}

fn value(element: &Element, path: &str, is_secret: bool) -> Value {
    let is_secret = is_secret || element.encrypted;
    match &element.kind {
        Kind::String => Value::from(if is_secret { HIDDEN } else { "shown" }),
        Kind::Array(inner) | Kind::Set(inner) => json!([value(inner, path, is_secret)]),
        Kind::Map(_, inner) => json!({ "name": value(inner, path, is_secret) }),
        Kind::Record(record) => Value::Object(filled(record, path)),
        _ => json!(1),
    }
}

#[test]
fn no_secret_of_any_room_or_entity_is_shown() {
    let (mut secrets, mut told) = (0, Vec::new());
    for (name, record) in records() {
        let given = filled(&record, name);
        let count = |fields: &Map<String, Value>, text: &str| json!(fields).to_string().matches(text).count();
        let (hidden, shown) = (count(&given, HIDDEN), record.shown(given));
        if (count(&shown, HIDDEN), count(&shown, MASK)) != (0, hidden) {
            told.push(format!("{name}: {}", json!(shown)));
        }
        secrets += hidden;
    }
    assert!(told.is_empty(), "{told:#?}");
    assert!(secrets > 100, "{secrets}");
}

/// The entities of a configuration, without the times at which they were read.
fn entities(config: &Config) -> Vec<Value> {
    let all = config.schemas().flat_map(|schema| config.entities(schema.name));
    let mut values: Vec<Value> = all.map(|entity| entity.complete().value).collect();
    for value in &mut values {
        (value["created_at"], value["updated_at"]) = (Value::Null, Value::Null);
    }
    values
}

#[test]
fn what_is_shown_of_each_example_is_the_same_configuration_or_refused_for_its_masks() {
    let catalog = plugins::catalog();
    let (mut same, mut refused) = (0, 0);
    for room in ROOMS {
        let (_, example) = room.doc().split_once("## Example").unwrap();
        let config = load("kong.yml", block(example, "yaml").unwrap(), &catalog).unwrap();
        let text = config.shown(&catalog);
        match load("kong.yml", &text, &catalog) {
            Ok(again) => {
                assert_eq!(entities(&again), entities(&config), "{text}");
                assert!(!text.contains(MASK), "{text}");
                same += 1;
            }
            Err(problems) => {
                assert_eq!(problems.len(), text.matches(MASK).count(), "{text}\n{problems:?}");
                let told = "stands for a secret that `GET /config` does not show";
                assert!(problems.iter().all(|problem| problem.message == told), "{problems:?}");
                refused += 1;
            }
        }
    }
    assert!(same > 20 && refused > 5, "{same} {refused}");
}
