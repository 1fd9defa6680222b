//! How collections hang together: which may be nested where, and in which order references resolve.

use ahash::AHashMap;
use uuid::Uuid;

use super::{Catalog, PluginSchema};
use crate::entity::{EntitySchema, core_schemas, space_of_names};

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
    pub schema: EntitySchema,
    /// What ids follow from, together with keys.
    pub names: Uuid,
    /// Collections that may be nested here: key, collection, the field that points here.
    pub children: Vec<Child>,
    /// The keys that may stand beside the fields.
    pub others: Vec<&'static str>,
    /// Foreign keys: field and collection.
    pub foreign: Vec<(&'static str, usize)>,
}

/// A collection that may be nested in another.
#[derive(Clone, Copy)]
pub(super) struct Child {
    /// The key that the list stands under.
    pub key: &'static str,
    pub collection: usize,
    /// The child's field that points to the parent.
    pub field: &'static str,
}

impl<'c> Layout<'c> {
    pub fn new(catalog: &'c Catalog) -> Self {
        let schemas = core_schemas().into_iter().chain(catalog.entities.iter().cloned());
        let mut collections: Vec<Collection> = schemas
            .map(|schema| Collection {
                names: space_of_names(schema.name),
                schema,
                children: Vec::new(),
                others: Vec::new(),
                foreign: Vec::new(),
            })
            .collect();
        let by_name: AHashMap<_, _> = collections
            .iter()
            .enumerate()
            .map(|(index, collection)| (collection.schema.name, index))
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
        self.collections.iter().map(|collection| collection.schema.name)
    }

    pub fn plugin(&self, name: &str) -> Option<&'c PluginSchema> {
        self.plugins.get(name).copied()
    }

    pub fn plugin_names(&self) -> impl Iterator<Item = &'static str> {
        self.plugins.keys().copied()
    }
}

impl Collection {
    pub fn child(&self, key: &str) -> Option<Child> {
        self.children.iter().find(|child| child.key == key).copied()
    }
}

/// Notes the foreign keys of one collection, and the collection as a child of those it points to.
fn link(collections: &mut [Collection], index: usize, by_name: &AHashMap<&'static str, usize>) {
    let name = collections[index].schema.name;
    let keys: Vec<(&'static str, &'static str)> =
        collections[index].schema.foreign_keys().map(|(field, target)| (field.name, target)).collect();
    for (field, target) in keys {
        let Some(target) = by_name.get(target).copied() else { continue };
        collections[index].foreign.push((field, target));
        let parent = &mut collections[target];
        let key = if (parent.schema.name, name) == ("consumers", "consumer_group_consumers") {
            "groups"
        } else {
            name
        };
        if parent.child(key).is_none() && parent.schema.record.field(key).is_none() {
            parent.children.push(Child { key, collection: index, field });
        }
    }
}

/// Depth first along the references. A cycle of references would be cut somewhere; there is none in Kong.
fn order(collections: &[Collection]) -> Vec<usize> {
    fn visit(index: usize, collections: &[Collection], seen: &mut [bool], order: &mut Vec<usize>) {
        if std::mem::replace(&mut seen[index], true) {
            return;
        }
        for (_, target) in &collections[index].foreign {
            visit(*target, collections, seen, order);
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
