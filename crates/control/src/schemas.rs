//! `/schemas`: the fields of entities and plugins in Kong's form, and the checking of single ones.

use model::declarative::prepare_entity;
use model::problem::{Place, Problem, Severity, Step};
use model::{Config, RecordSchema};
use serde_json::{Value, json};

use crate::call::Call;
use crate::reply::{Fault, Reply};
use crate::{Control, arguments};

/// `GET /schemas/{entity}`
pub fn entity(config: &Config, name: &str) -> Reply {
    match config.schema(name) {
        Some(schema) => Reply::ok(&schema.record.to_kong_json()),
        None => no_entity(name),
    }
}

/// `GET /schemas/plugins/{name}`
pub fn plugin(control: &Control, name: &str) -> Reply {
    match control.catalog.plugins.iter().find(|plugin| plugin.name == name) {
        Some(plugin) => Reply::ok(&plugin.to_kong_json()),
        None => Reply::message(404, &format!("No plugin named '{name}'")),
    }
}

/// `POST /schemas/{entity}/validate`
pub fn validate(call: &Call, config: &Config, name: &str) -> Reply {
    let Some(schema) = config.schema(name) else { return no_entity(name) };
    let given = match arguments::object(call) {
        Ok(given) => given.typed(&schema.record),
        Err(reply) => return reply,
    };
    let (entity, mut found) = prepare_entity(name, &given);
    found.extend(problems(&schema.record, &entity));
    verdict(&found)
}

/// `POST /schemas/plugins/validate`
pub fn validate_plugin(call: &Call, config: &Config) -> Reply {
    let Some(schema) = config.schema("plugins") else { return no_entity("plugins") };
    let mut given = match arguments::object(call) {
        Ok(given) => given,
        Err(reply) => return reply,
    };
    let config_given = given.take("config");
    let mut row = given.typed(&schema.record);
    row["config"] = json!({});
    let mut found = problems(&schema.record, &row);
    let name = row["name"].as_str();
    let known = call.control.catalog.plugins.iter().find(|plugin| Some(plugin.name) == name);
    match (known, name) {
        (Some(plugin), _) => {
            let given = config_given.typed(&plugin.config);
            found.extend(problems(&plugin.config, &given).into_iter().map(below_config));
        }
        (None, Some(name)) => {
            let message =
                format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property");
            let place = Place(vec![Step::Field("name".to_owned())]);
            found.push(Problem::new(place, model::node::Span::default(), message));
        }
        (None, None) => {}
    }
    verdict(&found)
}

fn no_entity(name: &str) -> Reply {
    Reply::message(404, &format!("No entity named '{name}'"))
}

fn problems(schema: &RecordSchema, value: &Value) -> Vec<Problem> {
    let problems = schema.check(value).err().unwrap_or_default();
    problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect()
}

fn below_config(mut problem: Problem) -> Problem {
    problem.place.0.insert(0, Step::Field("config".to_owned()));
    problem
}

/// Kong's answer to a single entity: fine, or how many violations and which.
fn verdict(problems: &[Problem]) -> Reply {
    if problems.is_empty() {
        return Reply::message(200, "schema validation successful");
    }
    let told: Vec<String> = problems.iter().map(told).collect();
    let told = told.join("; ");
    let message = match problems.len() {
        1 => format!("schema violation ({told})"),
        count => format!("{count} schema violations ({told})"),
    };
    let (_, fields, _) = model::declarative::problems_to_kong(problems);
    Reply::fault(Fault::SchemaViolation, &message, json!({ "fields": fields }))
}

fn told(problem: &Problem) -> String {
    let steps = problem.place.0.iter().map(|step| match step {
        Step::Field(name) => name.clone(),
        Step::Index(index) => (index + 1).to_string(),
    });
    let place = steps.collect::<Vec<_>>().join(".");
    if problem.entity || place.is_empty() {
        problem.message.clone()
    } else {
        format!("{place}: {}", problem.message)
    }
}
