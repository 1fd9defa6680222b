//! `/config`: shows the configuration being served, without its secrets, and takes a new one.

use std::borrow::Cow;

use model::courtesy::courteously;
use model::declarative::{Stored, digest, problems_to_kong};
use model::{Config, Problem, Source};
use plugin::multipart::Form;
use plugin::{media, query};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::Unserved;
use crate::call::Call;
use crate::reply::{Fault, Reply};

/// Seconds after which a configuration may be sent again that could not be taken.
const RETRY_AFTER: &str = "1";

/// `GET /config`
pub fn show(call: &Call, config: &Config) -> Reply {
    let text = courteously(|| config.shown(&call.control.catalog));
    Reply::ok(&json!({ "config": text }))
}

/// `POST /config`
pub fn load(call: &Call, config: &Config) -> Reply {
    let text = match text(call) {
        Ok(text) => text,
        Err(reply) => return reply,
    };
    if call.is_on("check_hash") && digest(&text) == config.hash {
        return Reply::empty(304);
    }
    match call.control.source.apply(&text) {
        Ok(config) => Reply::json(201, &ByCollection(&config)),
        Err(Unserved::Wrong(problems)) => refused(&text, &problems, call.is_on("flatten_errors")),
        Err(Unserved::Busy(why)) => Reply::message(429, why).with("Retry-After", RETRY_AFTER.to_owned()),
    }
}

/// The declarative text in the body: the body itself, or its field `config`.
fn text(call: &Call) -> Result<Cow<'_, str>, Reply> {
    let expected = || Reply::message(400, "expected a declarative configuration");
    let body = &call.body[..];
    let content_type = call.content_type.as_bytes();
    let essence = media::essence(content_type).to_ascii_lowercase();
    let found = match essence.as_slice() {
        b"application/json" => json_text(body).map_err(|error| Reply::no_json(&error))?,
        b"application/x-www-form-urlencoded" => match query::values(body, "config").next() {
            Some(value) => Cow::Owned(value.into_owned()),
            None => return Err(expected()),
        },
        b"multipart/form-data" => {
            let form = Form::parse(content_type, body).ok_or_else(expected)?;
            Cow::Owned(form.value("config").ok_or_else(expected)?.to_vec())
        }
        other if other.is_empty() || is_yaml(other) => Cow::Borrowed(body),
        _ => return Err(Reply::message(415, "Unsupported Media Type")),
    };
    let text = match found {
        Cow::Borrowed(text) => std::str::from_utf8(text).ok().map(Cow::Borrowed),
        Cow::Owned(text) => String::from_utf8(text).ok().map(Cow::Owned),
    };
    text.filter(|text| !text.trim().is_empty()).ok_or_else(expected)
}

fn is_yaml(essence: &[u8]) -> bool {
    matches!(
        essence,
        b"text/yaml" | b"text/x-yaml" | b"application/yaml" | b"application/x-yaml" | b"text/plain"
    )
}

/// JSON is a configuration, or an object whose `config` is the text of one.
fn json_text(body: &[u8]) -> serde_json::Result<Cow<'_, [u8]>> {
    if body.trim_ascii().is_empty() {
        return Ok(Cow::Borrowed(b""));
    }
    let mut value: Value = serde_json::from_slice(body)?;
    Ok(match value.get_mut("config").map(Value::take) {
        Some(Value::String(text)) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(body),
    })
}

/// Every entity by its collection and id. There may be very many, so they are written one by one.
struct ByCollection<'c>(&'c Config);

impl Serialize for ByCollection<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.0.schemas().map(|schema| (schema.name, self.0.entities(schema.name)));
        let some = all.filter(|(_, entities)| !entities.is_empty());
        serializer.collect_map(some.map(|(name, entities)| (name, ById(entities))))
    }
}

struct ById<'c>(&'c [Stored]);

impl Serialize for ById<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|entity| (entity.id.to_string(), entity)))
    }
}

/// What is wrong with `text`, as Kong tells it, and in `problems` as `biplane check --json` does.
fn refused(text: &str, problems: &[Problem], flatten: bool) -> Reply {
    let (message, fields, flattened) = problems_to_kong(problems);
    let source = Source::new(problems.first().map_or("", |problem| &*problem.file), text);
    let placed: Value = problems.iter().map(|problem| source.to_json(problem)).collect();
    if !flatten {
        let more = json!({ "fields": fields, "problems": placed });
        return Reply::fault(Fault::InvalidConfiguration, &message, more);
    }
    // What the list tells by entity is not told a second time.
    let rest: Vec<Problem> = problems.iter().filter(|problem| problem.owner.is_none()).cloned().collect();
    let (_, rest, _) = problems_to_kong(&rest);
    let more = json!({ "fields": rest, "flattened_errors": flattened, "problems": placed });
    Reply::fault(Fault::InvalidConfiguration, &message, more)
}
