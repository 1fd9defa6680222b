//! Entities: lists, single ones, and those below another, for every collection alike. Nothing can be written.

use model::{Config, Entity, EntitySchema, Field, Stored, Uuid};
use serde_json::Value;

use crate::call::Call;
use crate::page::{page, tagged};
use crate::reply::{Fault, Reply};

/// Collections that are only reached through the entity they belong to.
const ONLY_NESTED: [&str; 2] = ["targets", "consumer_group_consumers"];

/// The target of an upstream that a key means.
pub fn target<'c>(config: &'c Config, upstream: &str, key: &str) -> Option<&'c Stored> {
    let nested = nested(config, config.schema("upstreams")?, upstream, "targets")?;
    among(nested.child, children(config, &nested)?, key)
}

/// What a path means.
pub enum Found<'c> {
    /// `/routes`
    List(&'c EntitySchema),
    /// `/routes/{key}`
    One(&'c EntitySchema, String),
    /// `/services/{key}/routes`
    Children(Nested<'c>),
    /// `/services/{key}/routes/{key}`
    Child(Nested<'c>, String),
    /// `/routes/{key}/service`
    Parent(&'c EntitySchema, String, &'c Field, &'c EntitySchema),
    /// `/consumer_groups/{key}/consumers` and `/consumers/{key}/consumer_groups`
    Members(&'c EntitySchema, String, &'static str),
}

/// The entities of a collection that refer to one entity of another.
pub struct Nested<'c> {
    parent: &'c EntitySchema,
    key: String,
    child: &'c EntitySchema,
    field: &'c Field,
}

/// Finds out what a path means.
pub fn resolve<'c>(config: &'c Config, path: &[&str]) -> Option<Found<'c>> {
    let (first, rest) = path.split_first()?;
    let schema = config.schemas().find(|schema| schema.admin_name == *first)?;
    if ONLY_NESTED.contains(&schema.name) {
        return None;
    }
    let nested = |key: &str, name: &str| nested(config, schema, key, name);
    match rest {
        [] => Some(Found::List(schema)),
        [key] => Some(Found::One(schema, (*key).to_owned())),
        [key, name] => members(schema, key, name)
            .or_else(|| nested(key, name).map(Found::Children))
            .or_else(|| parent(config, schema, key, name)),
        [key, "targets", "all"] => nested(key, "targets").map(Found::Children),
        [key, name, child] => Some(Found::Child(nested(key, name)?, (*child).to_owned())),
        _ => None,
    }
}

fn nested<'c>(config: &'c Config, parent: &'c EntitySchema, key: &str, name: &str) -> Option<Nested<'c>> {
    let child = config.schemas().find(|schema| schema.admin_nested_name == name)?;
    let (field, _) = child.foreign_keys().find(|(_, collection)| *collection == parent.name)?;
    Some(Nested { parent, key: key.to_owned(), child, field })
}

fn parent<'c>(config: &'c Config, schema: &'c EntitySchema, key: &str, name: &str) -> Option<Found<'c>> {
    let (field, collection) = schema.foreign_keys().find(|(field, _)| field.name == name)?;
    Some(Found::Parent(schema, key.to_owned(), field, config.schema(collection)?))
}

fn members<'c>(schema: &'c EntitySchema, key: &str, name: &str) -> Option<Found<'c>> {
    let of = match (schema.name, name) {
        ("consumer_groups", "consumers") => "consumers",
        ("consumers", "consumer_groups") => "consumer_groups",
        _ => return None,
    };
    Some(Found::Members(schema, key.to_owned(), of))
}

/// The paths under which a collection is offered.
pub fn paths(schema: &EntitySchema, all: &[&EntitySchema]) -> Vec<String> {
    let mut paths = Vec::new();
    if !ONLY_NESTED.contains(&schema.name) {
        paths.push(format!("/{}", schema.admin_name));
        paths.push(format!("/{}/{{{}}}", schema.admin_name, schema.name));
    }
    for (field, collection) in schema.foreign_keys() {
        let Some(parent) = all.iter().find(|parent| parent.name == collection) else { continue };
        let below = format!("/{}/{{{}}}/{}", parent.admin_name, parent.name, schema.admin_nested_name);
        if schema.name != "consumer_group_consumers" {
            paths.push(format!("{below}/{{{}}}", schema.name));
            paths.push(below);
        }
        if !ONLY_NESTED.contains(&schema.name) {
            paths.push(format!("/{}/{{{}}}/{}", schema.admin_name, schema.name, field.name));
        }
    }
    paths
}

impl Found<'_> {
    /// The methods that Kong has here. Those that write are refused without a database, in words of their own.
    pub fn methods(&self) -> Vec<&'static str> {
        match self {
            Found::List(_) | Found::Children(_) => vec!["GET", "POST"],
            Found::One(..) | Found::Child(..) | Found::Parent(..) => vec!["DELETE", "GET", "PATCH", "PUT"],
            Found::Members(..) => vec!["GET"],
        }
    }
}

/// Answers a call.
pub fn answer(call: &Call, config: &Config, found: &Found<'_>) -> Reply {
    match found {
        Found::List(schema) if call.method == "GET" => {
            let asked = call.argument("custom_id").filter(|_| schema.name == "consumers");
            let wanted =
                |entity: &&Stored| asked.as_deref().is_none_or(|id| has_text(entity, "custom_id", id));
            list(call, config, schema, config.entities(schema.name).iter().filter(wanted).collect())
        }
        Found::List(schema) => unsupported(&call.method, schema, None),
        Found::One(schema, key) => {
            one(call, schema, key, || Some(shown(config, schema, find(config, schema, key)?).value))
        }
        Found::Children(nested) => match children(config, nested) {
            None => Reply::not_found(),
            Some(children) if call.method == "GET" => list(call, config, nested.child, children),
            Some(_) => unsupported(&call.method, nested.child, None),
        },
        Found::Child(nested, key) => one(call, nested.child, key, || {
            let child = among(nested.child, children(config, nested)?, key)?;
            Some(shown(config, nested.child, child.complete()).value)
        }),
        Found::Parent(schema, key, field, parent) => one(call, parent, "", || {
            let id = id_of(&find(config, schema, key)?.value[field.name])?;
            Some(shown(config, parent, config.entity(parent.name, id)?).value)
        }),
        Found::Members(schema, key, of) => {
            let Some(members) = members_of(config, schema, key, of) else { return Reply::not_found() };
            page(call, &members)
        }
    }
}

fn one(call: &Call, schema: &EntitySchema, key: &str, entity: impl FnOnce() -> Option<Value>) -> Reply {
    if call.method != "GET" {
        return unsupported(&call.method, schema, Some(key));
    }
    entity().map_or_else(Reply::not_found, |entity| Reply::ok(&entity))
}

fn list(call: &Call, config: &Config, schema: &EntitySchema, entities: Vec<&Stored>) -> Reply {
    match tagged(call, entities) {
        Err(fault) => fault,
        Ok(entities) if schema.name == "certificates" => {
            let complete = entities.into_iter().map(|entity| shown(config, schema, entity.complete()));
            page(call, &complete.collect::<Vec<_>>())
        }
        Ok(entities) => page(call, &entities),
    }
}

/// Kong's refusal of what needs a database.
fn unsupported(method: &str, schema: &EntitySchema, key: Option<&str>) -> Reply {
    let verb = match method {
        "POST" => "create",
        "PUT" => "create or update",
        "PATCH" => "update",
        _ => "remove",
    };
    let by_name = key.filter(|key| !key.is_empty() && Uuid::try_parse(key).is_err() && method != "DELETE");
    let by = match schema.endpoint_key.filter(|_| by_name.is_some()) {
        Some(field) => format!(" by '{field}'"),
        None => String::new(),
    };
    let message = format!("cannot {verb} '{}' entities{by} when not using a database", schema.name);
    Reply::fault(Fault::OperationUnsupported, &message, Value::Null)
}

/// The entity that a key means. A certificate may also be asked for by one of its server names.
fn find(config: &Config, schema: &EntitySchema, key: &str) -> Option<Entity> {
    let found = config.find(schema.name, key);
    if schema.name != "certificates" {
        return found;
    }
    found.or_else(|| config.entity("certificates", id_of(&config.find("snis", key)?.value["certificate"])?))
}

/// The same among the children of one entity.
fn among<'c>(schema: &EntitySchema, children: Vec<&'c Stored>, key: &str) -> Option<&'c Stored> {
    let id = Uuid::try_parse(key).ok();
    let with_port = (schema.name == "targets").then(|| format!("{key}:8000"));
    let keys = || [Some(key), with_port.as_deref()].into_iter().flatten();
    let is_meant = |entity: &&Stored| {
        let has_key = |field| keys().any(|key| has_text(entity, field, key));
        Some(entity.id) == id || schema.endpoint_key.is_some_and(has_key)
    };
    children.into_iter().find(is_meant)
}

/// The entities below another; `None` when that one is not there.
fn children<'c>(config: &'c Config, nested: &Nested<'_>) -> Option<Vec<&'c Stored>> {
    let parent = find(config, nested.parent, &nested.key)?.id;
    let entities = config.entities(nested.child.name).iter();
    Some(entities.filter(|entity| entity.refers_to(nested.field.name, parent)).collect())
}

fn members_of(config: &Config, schema: &EntitySchema, key: &str, of: &'static str) -> Option<Vec<Entity>> {
    let id = find(config, schema, key)?.id;
    let (own, other) = match of {
        "consumers" => ("consumer_group", "consumer"),
        _ => ("consumer", "consumer_group"),
    };
    let rows = config.entities("consumer_group_consumers").iter();
    let rows = rows.filter(|row| row.refers_to(own, id));
    Some(rows.filter_map(|row| config.entity(of, id_of(&row.field(other))?)).collect())
}

/// Whether a field of an entity is this text.
fn has_text(entity: &Stored, field: &str, text: &str) -> bool {
    entity.field(field) == *text
}

fn id_of(reference: &Value) -> Option<Uuid> {
    Uuid::try_parse(reference["id"].as_str()?).ok()
}

/// The entity as Kong shows it: a certificate lists its server names.
fn shown(config: &Config, schema: &EntitySchema, mut entity: Entity) -> Entity {
    if schema.name == "certificates" {
        let snis = config.entities("snis").iter();
        let own = snis.filter(|sni| sni.refers_to("certificate", entity.id));
        entity.value["snis"] = own.map(|sni| sni.field("name")).collect();
    }
    entity
}
