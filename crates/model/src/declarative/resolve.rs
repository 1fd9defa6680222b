//! What entities say about each other: references, identities, uniqueness.

use std::borrow::Cow;

use ahash::RandomState;
use hashbrown::HashTable;
use uuid::Uuid;

use super::collect::{Collector, Row, place};
use super::layout::{Collection, Layout};
use crate::concealed::UNTOLD;
use crate::courtesy::worked;
use crate::entity::identity_of;
use crate::problem::{Problem, Problems, Step, nearest};
use crate::schema::{Element, Field, Held, Packer, Part};
use crate::secret::is_reference;

pub(super) struct Resolver<'l> {
    layout: &'l Layout<'l>,
    rows: Vec<Row>,
    problems: Problems,
    known: Vec<Known>,
    /// Names that may still be compared to find out what was meant.
    comparisons: usize,
    hasher: RandomState,
    packer: Packer,
    /// What the foreign keys of a row mean, and its key: made anew for each row, in the same memory.
    references: Vec<(usize, Option<Uuid>)>,
    key: String,
}

/// Enough for a thousand wrong references among a thousand names; a document that is all wrong gets no more.
const COMPARISONS: usize = 1_000_000;

/// The rows of one collection by what they have taken.
#[derive(Default)]
struct Known {
    ids: HashTable<u32>,
    /// By the key that may stand for the id, where that is not unique anyway.
    keys: HashTable<u32>,
    /// In the order of [`super::layout::Keys::unique`].
    unique: Vec<HashTable<u32>>,
    /// Hashes of the keys, and the rows.
    cache_keys: HashTable<(u64, u32)>,
}

impl Known {
    /// Room for what `count` rows take.
    fn of(collection: &Collection, count: usize) -> Self {
        let keys = &collection.keys;
        let has_cache_keys = !keys.cache.is_empty() && !keys.is_cache_unique();
        Self {
            ids: HashTable::with_capacity(count),
            keys: HashTable::new(),
            unique: keys.unique.iter().map(|_| HashTable::with_capacity(count)).collect(),
            cache_keys: HashTable::with_capacity(if has_cache_keys { count } else { 0 }),
        }
    }

    /// The rows by the key that may stand for the id.
    fn by_key(&self, collection: &Collection) -> &HashTable<u32> {
        let endpoint = collection.keys.endpoint;
        let position = collection.keys.unique.iter().position(|field| Some(*field) == endpoint);
        position.map_or(&self.keys, |position| &self.unique[position])
    }
}

impl<'l> Resolver<'l> {
    pub fn new(layout: &'l Layout<'l>, collector: Collector<'l>) -> Self {
        Self {
            layout,
            rows: collector.rows,
            problems: collector.problems,
            known: Vec::new(),
            comparisons: COMPARISONS,
            hasher: RandomState::new(),
            packer: Packer::default(),
            references: Vec::new(),
            key: String::new(),
        }
    }

    /// Parents first, so that a child's identity may build on theirs.
    pub fn resolve(&mut self) {
        let mut by_collection: Vec<Vec<u32>> = vec![Vec::new(); self.layout.collections.len()];
        for (index, row) in self.rows.iter().enumerate() {
            by_collection[row.collection()].push(index as u32);
        }
        let layout = self.layout;
        let collections = layout.collections.iter().zip(&by_collection);
        self.known = collections.map(|(collection, rows)| Known::of(collection, rows.len())).collect();
        for collection in &layout.order {
            for row in &by_collection[*collection] {
                worked(1_000);
                self.references(*row as usize, &layout.collections[*collection]);
                self.identity(*row, &layout.collections[*collection]);
            }
        }
    }

    pub fn finish(self) -> (Vec<Row>, Problems) {
        (self.rows, self.problems)
    }

    fn references(&mut self, row: usize, collection: &Collection) {
        self.references.clear();
        let mut changes = false;
        for foreign in &collection.foreign {
            let given = self.rows[row].fields.part(foreign.index);
            let id = match self.rows[row].parent(foreign.index) {
                Some(parent) => self.rows[parent].id,
                None => match given.map_or(Ok(None), |given| self.lookup(given, foreign.target)) {
                    Ok(id) => id,
                    Err(wanted) => {
                        let wanted = wanted.to_owned();
                        self.dangling(row, foreign.field, &wanted, foreign.target);
                        None
                    }
                },
            };
            changes |= id.is_some() || self.rows[row].fields.part(foreign.index).is_some();
            self.references.push((foreign.index, id));
        }
        if changes {
            self.replace(row);
        }
    }

    /// Puts what references mean in their place.
    fn replace(&mut self, row: usize) {
        let mut references = self.references.iter().peekable();
        let fields = &mut self.rows[row].fields;
        for (index, raw) in fields.entries() {
            let mut is_reference = false;
            while let Some((at, id)) = references.next_if(|(at, _)| *at <= index) {
                is_reference |= *at == index;
                id.iter().for_each(|id| self.packer.add_reference(*at, *id));
            }
            if !is_reference {
                self.packer.add_raw(index, raw);
            }
        }
        for (at, id) in references {
            id.iter().for_each(|id| self.packer.add_reference(*at, *id));
        }
        *fields = self.packer.finish();
    }

    /// The id that a reference means; the error is what it named in vain.
    fn lookup<'a>(&self, reference: Part<'a>, target: usize) -> Result<Option<Uuid>, &'a str> {
        let wanted = match reference {
            Part::Text(text) => text,
            Part::Object(mut entries) => match entries.find_entry("id") {
                Some(Part::Text(id)) => id,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let by_id = Uuid::try_parse(wanted).ok().filter(|id| self.has_id(target, *id));
        match by_id.or_else(|| self.id_by_key(target, wanted)) {
            Some(id) => Ok(Some(id)),
            None => Err(wanted),
        }
    }

    fn has_id(&self, collection: usize, id: Uuid) -> bool {
        let same = |row: &u32| self.rows[*row as usize].id == Some(id);
        self.known[collection].ids.find(self.hasher.hash_one(id), same).is_some()
    }

    fn id_by_key(&self, collection: usize, key: &str) -> Option<Uuid> {
        let known = self.known[collection].by_key(&self.layout.collections[collection]);
        let field = self.layout.collections[collection].keys.endpoint?;
        let key = key.as_bytes();
        let same = |row: &u32| self.rows[*row as usize].fields.text_bytes(field) == Some(key);
        let row = known.find(self.hasher.hash_one(key), same)?;
        self.rows[*row as usize].id
    }

    fn dangling(&mut self, row: usize, field: &str, wanted: &str, target: usize) {
        let collection = self.layout.collections[target].schema().name;
        let message = format!("invalid reference '{field}: {wanted}' (no such entry in '{collection}')");
        let suggestion = self.meant(wanted, target);
        self.problem(row, Some(field), field, message).suggestion = suggestion;
    }

    fn meant(&mut self, wanted: &str, target: usize) -> Option<String> {
        let known = self.known[target].by_key(&self.layout.collections[target]);
        self.comparisons = self.comparisons.checked_sub(known.len())?;
        let field = self.layout.collections[target].keys.endpoint?;
        let names = known.iter().filter_map(|row| self.rows[*row as usize].fields.text(field));
        let name = nearest(wanted, names)?;
        Some(format!("did you mean '{name}'?"))
    }

    fn identity(&mut self, row: u32, collection: &Collection) {
        let fresh = self.unique_fields(row, collection);
        let own = row as usize;
        let mut key = std::mem::take(&mut self.key);
        let has_key = write_cache_key(collection, &self.rows[own], &mut key);
        let explicit = self.rows[own].id;
        let id = explicit.or_else(|| derived_id(collection, &self.rows[own], has_key.then_some(&key)));
        let id = id.unwrap_or_else(Uuid::new_v4);
        self.rows[own].id = Some(id);
        let (rows, hasher) = (&self.rows, &self.hasher);
        let known = &mut self.known[rows[own].collection()];
        if let Some(field) = collection.keys.endpoint.filter(|field| !collection.keys.unique.contains(field))
        {
            take_text(&mut known.keys, row, field, rows, hasher);
        }
        let hash = |row: &u32| hasher.hash_one(rows[*row as usize].id.unwrap_or_default());
        let same = |other: &u32| rows[*other as usize].id == Some(id);
        let new_id = take(&mut known.ids, hasher.hash_one(id), row, same, hash);
        let new_cache_key = !has_key || collection.keys.is_cache_unique() || {
            let hash = hasher.hash_one(&key);
            let same = |(known, other): &(u64, u32)| {
                let mut text = String::new();
                *known == hash
                    && write_cache_key(collection, &rows[*other as usize], &mut text)
                    && text == key
            };
            take(&mut known.cache_keys, hash, (hash, row), same, |(hash, _)| *hash)
        };
        self.key = key;
        if fresh && !(new_id && new_cache_key) {
            self.taken(own, collection, id, new_id);
        }
    }

    fn taken(&mut self, row: usize, collection: &Collection, id: Uuid, new_id: bool) {
        let schema = collection.schema();
        let (what, set_to) = if new_id {
            let parts =
                collection.keys.cache.iter().map(|(field, _)| shown(collection, &self.rows[row], *field));
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
    fn unique_fields(&mut self, row: u32, collection: &Collection) -> bool {
        let mut fresh = true;
        for (position, field) in collection.keys.unique.iter().enumerate() {
            let taken = &mut self.known[self.rows[row as usize].collection()].unique[position];
            if take_text(taken, row, *field, &self.rows, &self.hasher) {
                continue;
            }
            fresh = false;
            let (name, text) =
                (collection.schema().name, self.rows[row as usize].fields.text(*field).unwrap_or_default());
            let Field { name: field, element, .. } = &collection.schema().record.fields[*field];
            let text = told(text, element);
            let message = format!(
                "uniqueness violation: '{name}' entity with {field} set to '{text}' already declared"
            );
            self.problem(row as usize, None, field, message);
        }
        fresh
    }

    /// Notes a problem of a row: in Kong's tree at `field` or at the row itself, in the text at the value of `shown`.
    fn problem(&mut self, row: usize, field: Option<&str>, shown: &str, message: String) -> &mut Problem {
        let span = self.layout.span_of(&self.rows[row], shown);
        let mut place = place(&self.rows, row);
        place.0.extend(field.map(|field| Step::Field(field.to_owned())));
        self.problems.push(Problem::new(place, span, message))
    }
}

/// Takes `entry` unless there is one that is the `same`. Whether it was taken.
fn take<T>(
    table: &mut HashTable<T>,
    hash: u64,
    entry: T,
    same: impl FnMut(&T) -> bool,
    rehash: impl Fn(&T) -> u64,
) -> bool {
    let fresh = table.find(hash, same).is_none();
    if fresh {
        table.insert_unique(hash, entry, rehash);
    }
    fresh
}

/// Takes the text of a field, if there is one. False when it is another row's already.
fn take_text(table: &mut HashTable<u32>, row: u32, field: usize, rows: &[Row], hasher: &RandomState) -> bool {
    let text = |row: u32| rows[row as usize].fields.text_bytes(field);
    let Some(own) = text(row) else { return true };
    let hash = |row: &u32| hasher.hash_one(text(*row).unwrap_or_default());
    take(table, hasher.hash_one(own), row, |other| text(*other) == Some(own), hash)
}

/// A value as messages tell it.
fn told<'a>(text: &'a str, element: &Element) -> &'a str {
    if element.encrypted && !is_reference(text) { UNTOLD } else { text }
}

/// A part of a key as it is shown: a text, or the id that a reference means.
fn shown<'a>(collection: &'a Collection, row: &'a Row, field: usize) -> Cow<'a, str> {
    match collection.blueprint.held(row.id.unwrap_or_default(), &row.fields, field) {
        Held::Given(Part::Text(text)) => Cow::Borrowed(text),
        Held::Given(Part::Reference(id) | Part::Id(id)) => Cow::Owned(id.to_string()),
        Held::Absent(value) => Cow::Borrowed(value.as_str().unwrap_or_default()),
        Held::Given(_) => Cow::Borrowed(""),
    }
}

/// Writes the key under which Kong caches the entity. False when there is none, or a part that it needs is missing.
fn write_cache_key(collection: &Collection, row: &Row, key: &mut String) -> bool {
    key.clear();
    let schema = collection.schema();
    if collection.keys.cache.is_empty() {
        return false;
    }
    key.push_str(schema.name);
    key.push_str(":*");
    for (field, needed) in &collection.keys.cache {
        let part = shown(collection, row, *field);
        // Kong's open edition has no groups, so that rows without one have the ids they have there.
        if part.is_empty()
            && schema.name == "plugins"
            && schema.record.fields[*field].name == "consumer_group"
        {
            continue;
        }
        if part.is_empty() && *needed {
            return false;
        }
        key.push(':');
        key.push_str(&part);
    }
    true
}

/// The id that follows from the entity's key: its cache key if it has one, else its endpoint key, which says
/// together with the parent who it is where it may repeat.
fn derived_id(collection: &Collection, row: &Row, cache_key: Option<&String>) -> Option<Uuid> {
    let id = |key: &str| identity_of(&collection.names, key);
    if !collection.keys.cache.is_empty() {
        return cache_key.map(|key| id(key));
    }
    let field = collection.keys.endpoint?;
    let key = row.fields.text(field)?;
    match collection.foreign.first().filter(|_| !collection.schema().record.fields[field].unique) {
        Some(foreign) => Some(id(&format!("{key}:{}", shown(collection, row, foreign.index)))),
        None => Some(id(key)),
    }
}
