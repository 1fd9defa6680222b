//! What a configuration may ask for that this version cannot honour, told by name rather than ignored.

use std::sync::Arc;

use model::courtesy::offering;
use model::entity::Upstream;
use model::problem::Step;
use model::{Config, Place, Problem, Value};
use uuid::Uuid;

use crate::balance;
use crate::stream::demands;

/// Everything in `config` that cannot be honoured whatever its plugins say.
pub fn unsupported(config: &Config) -> Vec<Problem> {
    let mut problems = demands::problems(config);
    problems.extend(upstreams(config));
    problems.extend(secrets(config));
    problems
}

/// A problem with a field of an entity, at the place of the entity in its document.
pub fn at(config: &Config, collection: &str, id: Uuid, field: &str, message: &str) -> Problem {
    let span = config.entity(collection, id).map(|entity| entity.span).unwrap_or_default();
    let place = Place(vec![Step::Field(collection.to_owned()), Step::Field(field.to_owned())]);
    Problem::new(place, span, message.to_owned())
}

fn upstreams(config: &Config) -> Vec<Problem> {
    let refused = |upstream: &Arc<Upstream>| {
        let found = balance::unsupported(upstream).into_iter();
        let problem =
            |(field, message): (&str, String)| at(config, "upstreams", upstream.id, field, &message);
        found.map(problem).collect::<Vec<_>>()
    };
    config.upstreams.iter().flat_map(refused).collect()
}

/// References to vaults in plugin settings and credentials: used literally they would be well-known secrets.
fn secrets(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let message = "references to vaults are not resolved by this version; write the value itself";
    for schema in config.schemas() {
        for entity in offering(200, config.entities(schema.name).iter()) {
            if !entity.mentions("{vault://") {
                continue;
            }
            if let Some(field) = reference_in(&entity.set_fields()) {
                problems.push(at(config, schema.name, entity.id, &field, message));
            }
        }
    }
    problems
}

/// The dotted path of the first vault reference in a value.
fn reference_in(value: &Value) -> Option<String> {
    let join = |name: String, rest: String| if rest.is_empty() { name } else { format!("{name}.{rest}") };
    match value {
        Value::String(text) => (text.starts_with("{vault://") && text.ends_with('}')).then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| Some(join(index.to_string(), reference_in(item)?))),
        Value::Object(fields) => {
            fields.iter().find_map(|(name, field)| Some(join(name.clone(), reference_in(field)?)))
        }
        _ => None,
    }
}
