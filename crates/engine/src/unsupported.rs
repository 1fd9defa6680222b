//! What a configuration may ask for that this version cannot honour, told by name rather than ignored.

use std::sync::Arc;

use model::entity::{Service, Upstream};
use model::problem::Step;
use model::{Config, Place, Problem, Value};
use uuid::Uuid;

use crate::balance;

/// Everything in `config` that cannot be honoured whatever its plugins say.
pub fn unsupported(config: &Config) -> Vec<Problem> {
    let mut problems = services(config);
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

fn services(config: &Config) -> Vec<Problem> {
    let refuse = |service: &Arc<Service>| {
        let message = format!(
            "this version reaches services over 'http', 'https', 'grpc' and 'grpcs' only, not '{}'",
            service.protocol
        );
        at(config, "services", service.id, "protocol", &message)
    };
    let speaks = |service: &Service| matches!(service.protocol.as_str(), "http" | "https" | "grpc" | "grpcs");
    let unsupported = config.services.iter().filter(|service| service.enabled && !speaks(service));
    let mut problems: Vec<Problem> = unsupported.map(refuse).collect();
    for route in &config.routes {
        let of_requests =
            |protocol: &String| matches!(protocol.as_str(), "http" | "https" | "grpc" | "grpcs");
        if !route.protocols.iter().any(of_requests) {
            let message = "this version routes 'http', 'https', 'grpc' and 'grpcs' only";
            problems.push(at(config, "routes", route.id, "protocols", message));
        }
    }
    problems
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
        for entity in config.entities(schema.name) {
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
