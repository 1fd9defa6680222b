//! Validated and resolved rows into a [`Config`]: what loaders make up is filled in, typed forms are made.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ahash::AHashMap;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::collect::Row;
use super::config::{Collection, Config, Sealed, Stored};
use super::layout::Layout;
use super::prepare::Header;
use super::secrets::Resolved;
use crate::courtesy::worked;
use crate::entity::{EntitySchema, PluginRow};
use crate::node::Span;
use crate::problem::Problem;
use crate::schema::{Kind, Record, ValueError};

pub(super) fn assemble(
    layout: &Layout<'_>,
    rows: Vec<Row>,
    mut secrets: Resolved,
    header: Header,
    warnings: Vec<Problem>,
    hash: String,
) -> Config {
    let empty = |schema: &EntitySchema| Collection {
        schema: Arc::new(schema.clone()),
        entities: Vec::new(),
        by_id: AHashMap::new(),
        by_endpoint_key: AHashMap::new(),
    };
    let mut config = Config {
        collections: layout.collections.iter().map(|collection| empty(&collection.schema)).collect(),
        by_name: layout.names().enumerate().map(|(index, name)| (name, index)).collect(),
        warnings,
        hash,
        ..Config::default()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for (index, row) in rows.into_iter().enumerate() {
        worked(5_000);
        let with_secrets = secrets.rows.remove(&index);
        let Value::Object(mut fields) = row.value else { continue };
        let schema = Arc::clone(&config.collections[row.collection].schema);
        complete(&mut fields, &schema, &header, now.as_millis());
        let value = Value::Object(fields);
        let with_secrets = with_secrets.map(|secrets| completed(secrets, &value));
        let running = with_secrets.as_ref().unwrap_or(&value);
        keep_typed(&mut config, schema.name, running, row.span).expect("validated by its own schema");
        config.collections[row.collection].add(&value, row.span);
        if let Some(running) = with_secrets.filter(|_| schema.name != "plugins") {
            config.with_secrets.insert(identity(&value), Sealed(running));
        }
    }
    config.secrets = secrets.found;
    for membership in &config.consumer_group_consumers {
        config.groups.entry(membership.consumer.0).or_default().push(membership.consumer_group.0);
    }
    config.format_version = header.format_version;
    config.transform = header.transform;
    config
}

impl Collection {
    fn add(&mut self, value: &Value, span: Span) {
        let index = self.entities.len();
        let id = identity(value);
        self.by_id.insert(id, index);
        if let Some(key) = self.schema.endpoint_key.and_then(|field| value[field].as_str()) {
            self.by_endpoint_key.insert(key.to_owned(), index);
        }
        if let Value::Object(fields) = value {
            self.entities.push(Stored::new(id, span, &self.schema, fields));
        }
    }
}

/// The form with secrets, with what the loader has made up for the one that is shown.
fn completed(mut with_secrets: Value, shown: &Value) -> Value {
    for (name, value) in shown.as_object().into_iter().flatten() {
        let slot = &mut with_secrets[name.as_str()];
        if slot.is_null() || name == "tags" {
            slot.clone_from(value);
        }
    }
    with_secrets
}

fn identity(value: &Value) -> Uuid {
    value["id"].as_str().and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_default()
}

/// Time stamps, random secrets and the tags of the whole document.
fn complete(fields: &mut Map<String, Value>, schema: &EntitySchema, header: &Header, milliseconds: u128) {
    for field in schema.record.fields.iter().filter(|field| field.auto) {
        let Some(slot) = fields.get_mut(field.name).filter(|slot| slot.is_null()) else { continue };
        *slot = match field.element.kind {
            Kind::Integer => Value::from(u64::try_from(milliseconds / 1000).unwrap_or(u64::MAX)),
            Kind::Number => Value::from(milliseconds as f64 / 1000.0),
            Kind::String => Value::from(Uuid::new_v4().simple().to_string()),
            _ => continue,
        };
    }
    if header.select_tags.is_empty() {
        return;
    }
    let mut tags = fields["tags"].as_array().cloned().unwrap_or_default();
    for tag in &header.select_tags {
        if !tags.iter().any(|present| present == tag) {
            tags.push(Value::from(tag.as_str()));
        }
    }
    fields["tags"] = Value::Array(tags);
}

/// Adds the typed form of an entity; those of plugins have theirs in the plugin.
fn keep_typed(config: &mut Config, collection: &str, value: &Value, span: Span) -> Result<(), ValueError> {
    match collection {
        "services" => keep(&mut config.services, value),
        "routes" => keep(&mut config.routes, value),
        "upstreams" => keep(&mut config.upstreams, value),
        "targets" => keep(&mut config.targets, value),
        "consumers" => keep(&mut config.consumers, value),
        "consumer_groups" => keep(&mut config.consumer_groups, value),
        "consumer_group_consumers" => keep(&mut config.consumer_group_consumers, value),
        "certificates" => keep(&mut config.certificates, value),
        "snis" => keep(&mut config.snis, value),
        "ca_certificates" => keep(&mut config.ca_certificates, value),
        "key_sets" => keep(&mut config.key_sets, value),
        "keys" => keep(&mut config.keys, value),
        "vaults" => keep(&mut config.vaults, value),
        "plugins" => {
            config.plugins.push(Arc::new(PluginRow::new(value, span)?));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn keep<T: Record>(entities: &mut Vec<Arc<T>>, value: &Value) -> Result<(), ValueError> {
    entities.push(Arc::new(T::from_value(value)?));
    Ok(())
}
