//! How collections hang together: which may be nested where, and in which order references resolve.

use std::sync::Arc;

use ahash::AHashMap;
use uuid::Uuid;

use super::collect::Row;
use super::{Catalog, PluginSchema};
use crate::entity::{EntitySchema, core_schemas, space_of_names};
use crate::node::Span;
use crate::schema::{Blueprint, Held, Kind};

/// All collections of a document.
pub(super) struct Layout<'c> {
    pub collections: Vec<Collection>,
    /// Collections in an order in which references point backwards.
    pub order: Vec<usize>,
    by_name: AHashMap<&'static str, usize>,
    plugins: AHashMap<&'static str, &'c PluginSchema>,
}

/// One collection.
pub(super) struct Collection {
    pub blueprint: Arc<Blueprint>,
    /// What ids follow from, together with keys.
    pub names: Uuid,
    /// Collections that may be nested here: key, collection, the field that points here.
    pub children: Vec<Child>,
    /// The keys that may stand beside the fields.
    pub others: Vec<&'static str>,
    /// Foreign keys, in the order of the schema.
    pub foreign: Vec<Foreign>,
    /// The numbers of fields that say who an entity is.
    pub keys: Keys,
}

/// A foreign key.
#[derive(Clone, Copy)]
pub(super) struct Foreign {
    pub field: &'static str,
    /// The number of that field.
    pub index: usize,
    /// The collection it points into.
    pub target: usize,
}

/// Fields of a collection, by their numbers.
pub(super) struct Keys {
    pub id: usize,
    pub tags: usize,
    /// The field that may stand for the id.
    pub endpoint: Option<usize>,
    /// The fields whose values differ in every entity.
    pub unique: Vec<usize>,
    /// The fields that together do, and whether there is no such key without a value of the field.
    pub cache: Vec<(usize, bool)>,
    /// Texts that are made up when they are not given.
    pub made_up: Vec<usize>,
}

/// A collection that may be nested in another.
#[derive(Clone, Copy)]
pub(super) struct Child {
    /// The key that the list stands under.
    pub key: &'static str,
    pub collection: usize,
    /// The child's field that points to the parent.
    pub field: Foreign,
}

impl<'c> Layout<'c> {
    pub fn new(catalog: &'c Catalog) -> Self {
        let schemas = core_schemas().into_iter().chain(catalog.entities.iter().cloned());
        let mut collections: Vec<Collection> = schemas
            .map(|schema| Collection {
                names: space_of_names(schema.name),
                keys: Keys::of(&schema),
                blueprint: Arc::new(Blueprint::new(schema)),
                children: Vec::new(),
                others: Vec::new(),
                foreign: Vec::new(),
            })
            .collect();
        let by_name: AHashMap<_, _> = collections
            .iter()
            .enumerate()
            .map(|(index, collection)| (collection.schema().name, index))
            .collect();
        for index in 0..collections.len() {
            link(&mut collections, index, &by_name);
        }
        for collection in &mut collections {
            collection.others = vec!["_comment", "_ignore"];
            collection.others.extend(collection.children.iter().map(|child| child.key));
        }
        let order = order(&collections);
        let plugins = catalog.plugins.iter().map(|plugin| (plugin.name, plugin)).collect();
        Self { collections, order, by_name, plugins }
    }

    pub fn collection(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.collections.iter().map(|collection| collection.schema().name)
    }

    pub fn plugin(&self, name: &str) -> Option<&'c PluginSchema> {
        self.plugins.get(name).copied()
    }

    /// A field of an entity; none where the collection has no such field.
    pub fn held<'r>(&'r self, row: &'r Row, field: &str) -> Option<Held<'r>> {
        let blueprint = &self.collections[row.collection()].blueprint;
        let index = blueprint.index(field)?;
        Some(blueprint.held(row.id.unwrap_or_default(), &row.fields, index))
    }

    /// Where `field` of an entity stands, or the entity where it is not given.
    pub fn span_of(&self, row: &Row, field: &str) -> Span {
        let index = self.collections[row.collection()].blueprint.index(field);
        index.and_then(|index| row.given(index)).unwrap_or(row.span)
    }

    pub fn plugin_names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.keys().copied()
    }
}

impl Collection {
    pub fn schema(&self) -> &EntitySchema {
        &self.blueprint.schema
    }

    pub fn child(&self, key: &str) -> Option<Child> {
        self.children.iter().find(|child| child.key == key).copied()
    }
}

impl Keys {
    fn of(schema: &EntitySchema) -> Self {
        let record = &schema.record;
        let index = |name: &str| record.index(name);
        let cache = schema.cache_key.iter().filter_map(|name| {
            let field = record.field(name)?;
            let needed = field.required || field.auto || schema.cache_key.len() == 1;
            Some((index(name)?, needed))
        });
        let made_up = |field: &crate::Field| field.auto && matches!(field.element.kind, Kind::String);
        let numbered = || record.fields.iter().enumerate();
        Self {
            id: index("id").unwrap_or(usize::MAX),
            tags: index("tags").unwrap_or(usize::MAX),
            endpoint: schema.endpoint_key.and_then(index),
            unique: numbered().filter(|(_, field)| field.unique).map(|(index, _)| index).collect(),
            cache: cache.collect(),
            made_up: numbered().filter(|(_, field)| made_up(field)).map(|(index, _)| index).collect(),
        }
    }

    /// Whether one field alone makes both a unique value and the key that is unique.
    pub fn is_cache_unique(&self) -> bool {
        matches!(self.cache[..], [(index, _)] if self.unique.contains(&index))
    }
}

/// Notes the foreign keys of one collection, and the collection as a child of those it points to.
fn link(collections: &mut [Collection], index: usize, by_name: &AHashMap<&'static str, usize>) {
    let schema = collections[index].schema();
    let name = schema.name;
    let keys: Vec<(&'static str, Option<usize>, &'static str)> = schema
        .foreign_keys()
        .map(|(field, target)| (field.name, schema.record.index(field.name), target))
        .collect();
    for (field, position, target) in keys {
        let (Some(position), Some(target)) = (position, by_name.get(target).copied()) else { continue };
        let foreign = Foreign { field, index: position, target };
        collections[index].foreign.push(foreign);
        let parent = &mut collections[target];
        let key = if (parent.schema().name, name) == ("consumers", "consumer_group_consumers") {
            "groups"
        } else {
            name
        };
        if parent.child(key).is_none() && parent.schema().record.field(key).is_none() {
            parent.children.push(Child { key, collection: index, field: foreign });
        }
    }
}

/// Depth first along the references. A cycle of references would be cut somewhere; there is none in Kong.
fn order(collections: &[Collection]) -> Vec<usize> {
    fn visit(index: usize, collections: &[Collection], seen: &mut [bool], order: &mut Vec<usize>) {
        if std::mem::replace(&mut seen[index], true) {
            return;
        }
        for foreign in &collections[index].foreign {
            visit(foreign.target, collections, seen, order);
        }
        order.push(index);
    }
    let mut seen = vec![false; collections.len()];
    let mut order = Vec::with_capacity(collections.len());
    for index in 0..collections.len() {
        visit(index, collections, &mut seen, &mut order);
    }
    order
}
