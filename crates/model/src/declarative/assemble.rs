//! Validated and resolved rows into a [`Config`]: what loaders make up is filled in, typed forms are made.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ahash::AHashMap;
use serde_json::Value;
use uuid::Uuid;

use super::collect::Row;
use super::config::{Collection, Config, Entity};
use super::layout::Layout;
use super::prepare::Header;
use crate::entity::{EntitySchema, PluginRow};
use crate::problem::Problem;
use crate::schema::{Kind, Record};

pub(super) fn assemble(
    layout: &Layout<'_>,
    rows: Vec<Row>,
    header: Header,
    warnings: Vec<Problem>,
    hash: String,
) -> Config {
    let empty = |schema: &EntitySchema| Collection {
        schema: schema.clone(),
        entities: Vec::new(),
        by_id: AHashMap::new(),
        by_endpoint_key: AHashMap::new(),
    };
    let mut collections: Vec<Collection> =
        layout.collections.iter().map(|collection| empty(&collection.schema)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for row in rows {
        let collection = &mut collections[row.collection];
        let mut value = row.value;
        complete(&mut value, &collection.schema, &header, now.as_millis());
        collection.add(Entity { id: identity(&value), value, span: row.span });
    }
    let by_name = layout.names().enumerate().map(|(index, name)| (name, index)).collect();
    let mut config = Config { warnings, hash, collections, by_name, ..Config::default() };
    config.format_version = header.format_version;
    config.transform = header.transform;
    fill_typed(&mut config);
    config
}

impl Collection {
    fn add(&mut self, entity: Entity) {
        let index = self.entities.len();
        self.by_id.insert(entity.id, index);
        let key = self.schema.endpoint_key.and_then(|field| entity.value[field].as_str());
        if let Some(key) = key {
            self.by_endpoint_key.insert(key.to_owned(), index);
        }
        self.entities.push(entity);
    }
}

fn identity(value: &Value) -> Uuid {
    value["id"].as_str().and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_default()
}

/// Time stamps, random secrets and the tags of the whole document.
fn complete(value: &mut Value, schema: &EntitySchema, header: &Header, milliseconds: u128) {
    let Some(fields) = value.as_object_mut() else { return };
    for field in &schema.record.fields {
        let Some(slot) = fields.get_mut(field.name).filter(|slot| field.auto && slot.is_null()) else {
            continue;
        };
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

fn fill_typed(config: &mut Config) {
    config.services = typed(config, "services");
    config.routes = typed(config, "routes");
    config.upstreams = typed(config, "upstreams");
    config.targets = typed(config, "targets");
    config.consumers = typed(config, "consumers");
    config.consumer_groups = typed(config, "consumer_groups");
    config.consumer_group_consumers = typed(config, "consumer_group_consumers");
    config.certificates = typed(config, "certificates");
    config.snis = typed(config, "snis");
    config.ca_certificates = typed(config, "ca_certificates");
    config.key_sets = typed(config, "key_sets");
    config.keys = typed(config, "keys");
    config.vaults = typed(config, "vaults");
    for membership in &config.consumer_group_consumers {
        config.groups.entry(membership.consumer.0).or_default().push(membership.consumer_group.0);
    }
    let plugins = config.entities("plugins").iter();
    let row =
        |entity: &Entity| PluginRow::new(&entity.value, entity.span).expect("validated by its own schema");
    config.plugins = plugins.map(|entity| Arc::new(row(entity))).collect();
}

fn typed<T: Record>(config: &Config, collection: &str) -> Vec<Arc<T>> {
    let entities = config.entities(collection).iter();
    let read = |entity: &Entity| T::from_value(&entity.value).expect("validated by its own schema");
    entities.map(|entity| Arc::new(read(entity))).collect()
}
