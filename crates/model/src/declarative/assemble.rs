//! Validated and resolved rows into a [`Config`]: what loaders make up is filled in, typed forms are made.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::collect::Row;
use super::config::{Collection, Config, Sealed, Stored};
use super::layout::{self, Layout};
use super::prepare::Header;
use super::secrets::Resolved;
use crate::courtesy::worked;
use crate::entity::{PluginEntity, PluginRow};
use crate::node::Span;
use crate::problem::Problem;
use crate::schema::{Packed, Part, Reading, Record, ValueError};

pub(super) fn assemble(
    layout: &Layout<'_>,
    rows: Vec<Row>,
    mut secrets: Resolved,
    header: Header,
    warnings: Vec<Problem>,
    hash: String,
) -> Config {
    let mut config = Config {
        collections: layout.collections.iter().map(empty).collect(),
        by_name: layout.names().enumerate().map(|(index, name)| (name, index)).collect(),
        warnings,
        hash,
        ..Config::default()
    };
    let mut counts = vec![0; layout.collections.len()];
    rows.iter().for_each(|row| counts[row.collection()] += 1);
    config.collections.iter_mut().zip(counts).for_each(|(collection, count)| collection.reserve(count));
    for (index, row) in rows.into_iter().enumerate() {
        worked(2_000);
        let with_secrets = secrets.rows.remove(&index);
        let (collection, id) = (row.collection(), row.id.unwrap_or_default());
        let blueprint = &layout.collections[collection].blueprint;
        let fields = complete(row.fields, &layout.collections[collection], &header);
        let with_secrets = with_secrets.map(|secrets| completed(secrets, blueprint.whole(id, &fields)));
        let mut reading = match &with_secrets {
            Some(running) => Reading::of(running),
            None => Reading::kept(blueprint, id, &fields),
        };
        let name = blueprint.schema.name;
        let typed = keep_typed(&mut config, name, &mut reading, with_secrets.is_some(), row.span);
        typed.expect("validated by its own schema");
        config.collections[collection].add(Stored::new(id, row.span, blueprint, fields));
        if let Some(running) = with_secrets.filter(|_| name != "plugins") {
            config.with_secrets.insert(id, Sealed(running));
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

fn empty(collection: &layout::Collection) -> Collection {
    Collection {
        blueprint: Arc::clone(&collection.blueprint),
        entities: Vec::new(),
        endpoint: collection.keys.endpoint,
        by_id: HashTable::new(),
        by_endpoint_key: HashTable::new(),
        hasher: RandomState::new(),
    }
}

/// The form with secrets, with what the loader has made up for the one that is shown.
fn completed(mut with_secrets: Value, shown: Map<String, Value>) -> Value {
    for (name, value) in shown {
        let slot = &mut with_secrets[name.as_str()];
        if slot.is_null() || name == "tags" {
            *slot = value;
        }
    }
    with_secrets
}

/// Random secrets and the tags of the whole document.
fn complete(fields: Packed, collection: &layout::Collection, header: &Header) -> Packed {
    let keys = &collection.keys;
    let mut made: Vec<(usize, Value)> = Vec::new();
    for field in keys.made_up.iter().filter(|field| fields.part(**field).is_none()) {
        made.push((*field, Value::from(Uuid::new_v4().simple().to_string())));
    }
    if !header.select_tags.is_empty() {
        let mut tags = fields.part(keys.tags).map_or(Value::Null, Part::to_value);
        let tags = tags.as_array_mut().map(std::mem::take).unwrap_or_default();
        made.push((keys.tags, tags_with(tags, &header.select_tags)));
    }
    if made.is_empty() { fields } else { fields.with(made) }
}

fn tags_with(mut tags: Vec<Value>, more: &[String]) -> Value {
    for tag in more {
        if !tags.iter().any(|present| present == tag) {
            tags.push(Value::from(tag.as_str()));
        }
    }
    Value::Array(tags)
}

/// Adds the typed form of an entity; those of plugins have theirs in the plugin.
fn keep_typed(
    config: &mut Config,
    collection: &str,
    reading: &mut Reading<'_>,
    has_secrets: bool,
    span: Span,
) -> Result<(), ValueError> {
    match collection {
        "services" => keep(&mut config.services, reading),
        "routes" => keep(&mut config.routes, reading),
        "upstreams" => keep(&mut config.upstreams, reading),
        "targets" => keep(&mut config.targets, reading),
        "consumers" => keep(&mut config.consumers, reading),
        "consumer_groups" => keep(&mut config.consumer_groups, reading),
        "consumer_group_consumers" => keep(&mut config.consumer_group_consumers, reading),
        "certificates" => keep(&mut config.certificates, reading),
        "snis" => keep(&mut config.snis, reading),
        "ca_certificates" => keep(&mut config.ca_certificates, reading),
        "key_sets" => keep(&mut config.key_sets, reading),
        "keys" => keep(&mut config.keys, reading),
        "vaults" => keep(&mut config.vaults, reading),
        "plugins" => {
            let entity = PluginEntity::read(reading)?;
            config.plugins.push(Arc::new(PluginRow::new(entity, has_secrets, span)));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn keep<T: Record>(entities: &mut Vec<Arc<T>>, reading: &mut Reading<'_>) -> Result<(), ValueError> {
    entities.push(Arc::new(T::read(reading)?));
    Ok(())
}
