//! What entities say about each other: references, identities, uniqueness.

use ahash::{AHashMap, AHashSet};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::collect::{Collector, Row, place};
use super::layout::{Collection, Layout};
use crate::courtesy::worked;
use crate::problem::{Problem, Problems, Step, nearest};

pub(super) struct Resolver<'l> {
    layout: &'l Layout<'l>,
    rows: Vec<Row>,
    problems: Problems,
    ids: Vec<Uuid>,
    known: Vec<Known>,
    /// Names that may still be compared to find out what was meant.
    comparisons: usize,
}

/// Enough for a thousand wrong references among a thousand names; a document that is all wrong gets no more.
const COMPARISONS: usize = 1_000_000;

/// What is taken in one collection.
#[derive(Default)]
struct Known {
    ids: AHashSet<Uuid>,
    keys: AHashMap<String, Uuid>,
    unique: AHashMap<&'static str, AHashSet<String>>,
    cache_keys: AHashSet<String>,
}

impl<'l> Resolver<'l> {
    pub fn new(layout: &'l Layout<'l>, collector: Collector<'l>) -> Self {
        let ids = vec![Uuid::nil(); collector.rows.len()];
        let known = layout.collections.iter().map(|_| Known::default()).collect();
        Self {
            layout,
            rows: collector.rows,
            problems: collector.problems,
            ids,
            known,
            comparisons: COMPARISONS,
        }
    }

    /// Parents first, so that a child's identity may build on theirs.
    pub fn resolve(&mut self) {
        let mut by_collection: Vec<Vec<usize>> = vec![Vec::new(); self.layout.collections.len()];
        for (index, row) in self.rows.iter().enumerate() {
            by_collection[row.collection].push(index);
        }
        let layout = self.layout;
        for collection in &layout.order {
            for row in &by_collection[*collection] {
                worked(2_000);
                self.references(*row, &layout.collections[*collection]);
                self.identity(*row, &layout.collections[*collection]);
            }
        }
    }

    pub fn finish(self) -> (Vec<Row>, Problems) {
        (self.rows, self.problems)
    }

    fn references(&mut self, row: usize, collection: &Collection) {
        for (field, target) in &collection.foreign {
            let given = self.rows[row].parent.filter(|(_, parent_field)| parent_field == field);
            let id = match given {
                Some((parent, _)) => Some(self.ids[parent]),
                None => match self.lookup(&self.rows[row].value[*field], *target) {
                    Ok(id) => id,
                    Err(wanted) => {
                        self.dangling(row, field, &wanted, *target);
                        None
                    }
                },
            };
            self.rows[row].value[*field] = id.map_or(Value::Null, reference);
        }
    }

    /// The id that a reference means; the error is what it named in vain.
    fn lookup(&self, reference: &Value, target: usize) -> Result<Option<Uuid>, String> {
        let known = &self.known[target];
        let wanted = match reference {
            Value::String(text) => text,
            Value::Object(entries) => match entries.get("id") {
                Some(Value::String(id)) => id,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let by_id = Uuid::try_parse(wanted).ok().filter(|id| known.ids.contains(id));
        match by_id.or_else(|| known.keys.get(wanted).copied()) {
            Some(id) => Ok(Some(id)),
            None => Err(wanted.clone()),
        }
    }

    fn dangling(&mut self, row: usize, field: &str, wanted: &str, target: usize) {
        let collection = self.layout.collections[target].schema.name;
        let message = format!("invalid reference '{field}: {wanted}' (no such entry in '{collection}')");
        let suggestion = self.meant(wanted, target);
        self.problem(row, Some(field), field, message).suggestion = suggestion;
    }

    fn meant(&mut self, wanted: &str, target: usize) -> Option<String> {
        self.comparisons = self.comparisons.checked_sub(self.known[target].keys.len())?;
        let name = nearest(wanted, self.known[target].keys.keys().map(String::as_str))?;
        Some(format!("did you mean '{name}'?"))
    }

    fn identity(&mut self, row: usize, collection: &Collection) {
        let fresh = self.unique_fields(row, collection);
        let schema = &collection.schema;
        let value = &self.rows[row].value;
        let explicit = value["id"].as_str().and_then(|id| Uuid::try_parse(id).ok());
        let cache_key = cache_key(collection, value);
        let endpoint_key = schema.endpoint_key.and_then(|field| value[field].as_str()).map(str::to_owned);
        let id = explicit.or_else(|| derived_id(collection, value, cache_key.as_deref()));
        let id = id.unwrap_or_else(Uuid::new_v4);
        self.ids[row] = id;
        self.rows[row].value["id"] = Value::String(id.to_string());
        let known = &mut self.known[row_collection(&self.rows, row)];
        if let Some(key) = endpoint_key {
            known.keys.entry(key).or_insert(id);
        }
        let new_id = known.ids.insert(id);
        let new_cache_key = cache_key.is_none_or(|key| known.cache_keys.insert(key));
        if fresh && !(new_id && new_cache_key) {
            self.taken(row, collection, id, new_id);
        }
    }

    fn taken(&mut self, row: usize, collection: &Collection, id: Uuid, new_id: bool) {
        let schema = &collection.schema;
        let (what, set_to) = if new_id {
            let parts = schema.cache_key.iter().map(|field| shown(&self.rows[row].value[*field]));
            (schema.cache_key.join(","), parts.collect::<Vec<_>>().join(","))
        } else {
            ("primary key".to_owned(), id.to_string())
        };
        let message = format!(
            "uniqueness violation: '{}' entity with {what} set to '{set_to}' already declared",
            schema.name
        );
        let suggestion = (!schema.cache_key.is_empty())
            .then(|| format!("only one row may have the same {}", schema.cache_key.join(", ")));
        let key = schema.cache_key.first().copied().unwrap_or("id");
        self.problem(row, None, key, message).suggestion = suggestion;
    }

    /// Whether no unique field repeats another row's.
    fn unique_fields(&mut self, row: usize, collection: &Collection) -> bool {
        let mut fresh = true;
        for field in collection.schema.unique_fields() {
            let Some(text) = self.rows[row].value[field.name].as_str().map(str::to_owned) else { continue };
            let taken = self.known[row_collection(&self.rows, row)].unique.entry(field.name).or_default();
            if taken.insert(text.clone()) {
                continue;
            }
            fresh = false;
            let (name, field) = (collection.schema.name, field.name);
            let message = format!(
                "uniqueness violation: '{name}' entity with {field} set to '{text}' already declared"
            );
            self.problem(row, None, field, message);
        }
        fresh
    }

    /// Notes a problem of a row: in Kong's tree at `field` or at the row itself, in the text at the value of `shown`.
    fn problem(&mut self, row: usize, field: Option<&str>, shown: &str, message: String) -> &mut Problem {
        let span = self.rows[row].span_of(shown);
        let mut place = place(&self.rows, row);
        place.0.extend(field.map(|field| Step::Field(field.to_owned())));
        self.problems.push(Problem::new(place, span, message))
    }
}

/// A foreign key. The map is not made larger than it is, since there are as many of them as entities.
fn reference(id: Uuid) -> Value {
    let mut entries = Map::with_capacity(1);
    entries.insert("id".to_owned(), Value::String(id.to_string()));
    Value::Object(entries)
}

fn row_collection(rows: &[Row], row: usize) -> usize {
    rows[row].collection
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
    }
}

/// The key under which Kong caches the entity, or `None` when a part that it needs is missing.
fn cache_key(collection: &Collection, value: &Value) -> Option<String> {
    let schema = &collection.schema;
    if schema.cache_key.is_empty() {
        return None;
    }
    let mut key = format!("{}:*", schema.name);
    for name in schema.cache_key {
        let part = shown(&value[*name]);
        // Kong's open edition has no groups, so that rows without one have the ids they have there.
        if *name == "consumer_group" && part.is_empty() && schema.name == "plugins" {
            continue;
        }
        let needed = schema
            .record
            .field(name)
            .is_some_and(|field| field.required || field.auto || schema.cache_key.len() == 1);
        if part.is_empty() && needed {
            return None;
        }
        key.push(':');
        key.push_str(&part);
    }
    Some(key)
}

/// The id that follows from the entity's key: its cache key if it has one, else its endpoint key, which says
/// together with the parent who it is where it may repeat.
fn derived_id(collection: &Collection, value: &Value, cache_key: Option<&str>) -> Option<Uuid> {
    let schema = &collection.schema;
    let id = |key: &str| Uuid::new_v5(&collection.names, key.as_bytes());
    if !schema.cache_key.is_empty() {
        return cache_key.map(id);
    }
    let field = schema.record.field(schema.endpoint_key?)?;
    let key = value[field.name].as_str()?;
    let parent = collection.foreign.first().map(|(parent, _)| shown(&value[*parent]));
    match parent.filter(|_| !field.unique) {
        Some(parent) => Some(id(&format!("{key}:{parent}"))),
        None => Some(id(key)),
    }
}
