//! Validation of entities: like that of records, but what comes back is only what the document gives.

use serde_json::Value;

use super::blueprint::drop_unset_extensions;
use super::packed::{Packed, Packer};
use super::validate::{Surroundings, add_faults, refuse_given};
use super::{Blueprint, Faults, Fields, Kind};
use crate::node::{Key, Node, NodeKind, Span};
use crate::problem::{Problems, Trail};

/// An entity that is being read. One serves for many, so that each brings no lists of its own.
#[derive(Default)]
pub(crate) struct Draft {
    /// The fields that are set, by number.
    values: Vec<(usize, Value)>,
    /// Where the document gives a field.
    pub given: Vec<(u16, Span)>,
    /// Which entry of the document is about each field.
    entries: Vec<Option<usize>>,
    packer: Packer,
}

impl Draft {
    /// The fields as checks see them.
    pub fn fields<'a>(&'a self, blueprint: &'a Blueprint) -> Fields<'a> {
        Fields::given(blueprint, &self.values)
    }

    /// Sets a field.
    fn set(&mut self, index: usize, value: Value) {
        match self.values.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(position) => self.values[position].1 = value,
            Err(position) => self.values.insert(position, (index, value)),
        }
    }

    /// Sets a field by its name.
    pub fn set_named(&mut self, blueprint: &Blueprint, name: &str, value: Value) {
        if let Some(index) = blueprint.index(name) {
            self.set(index, value);
        }
    }

    /// Takes a field out.
    pub fn take(&mut self, index: usize) -> Option<Value> {
        let position = self.values.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.values.remove(position).1)
    }

    /// The form that is kept, and whether it refers to secrets.
    pub fn pack(&mut self) -> (Packed, bool) {
        for (index, value) in &self.values {
            self.packer.add(*index, value);
        }
        let refers = self.packer.refers;
        (self.packer.finish(), refers)
    }
}

impl Blueprint {
    /// Validates an entity into `draft`. Whether it is a record at all.
    pub(crate) fn validate(
        &self,
        node: &Node,
        trail: &Trail<'_>,
        surroundings: &Surroundings<'_>,
        problems: &mut Problems,
        draft: &mut Draft,
    ) -> bool {
        let NodeKind::Object(entries) = &node.kind else {
            problems.add(trail, node.span, "expected a record");
            return false;
        };
        let record = &self.schema.record;
        let moved = record.expand_shorthands(entries, trail, problems);
        let entries = moved.as_deref().unwrap_or(entries);
        draft.begin(self, entries, trail, surroundings, problems);
        let before = problems.errors();
        for index in 0..record.fields.len() {
            let entry = draft.entries[index].map(|position| &entries[position]);
            if surroundings.given == Some(record.fields[index].name) {
                refuse_given(entry, trail, problems);
            } else {
                self.field(index, entry, node.span, trail, problems, draft);
            }
        }
        if problems.errors() == before {
            let mut faults = Faults::default();
            let fields = draft.fields(self);
            record.checks.iter().for_each(|check| check.test(&fields, &mut faults));
            add_faults(faults, entries, node.span, trail, problems);
        }
        true
    }

    fn field(
        &self,
        index: usize,
        entry: Option<&(Key, Node)>,
        parent: Span,
        trail: &Trail<'_>,
        problems: &mut Problems,
        draft: &mut Draft,
    ) {
        let field = &self.schema.record.fields[index];
        let given = entry.is_some_and(|(_, node)| !node.is_null());
        if !given && !self.is_faulty(index) && !field.is_missed() {
            return;
        }
        let mut value = field.validate(entry, parent, trail, problems);
        if let Some((_, node)) = entry.filter(|_| given) {
            draft.given.push((index as u16, node.span));
        }
        if let Kind::Record(record) = &field.element.kind {
            drop_unset_extensions(&mut value, record);
        }
        if !value.is_null() {
            draft.values.push((index, value));
        }
    }
}

impl Draft {
    /// Finds out which entry is about which field.
    fn begin(
        &mut self,
        blueprint: &Blueprint,
        entries: &[(Key, Node)],
        trail: &Trail<'_>,
        surroundings: &Surroundings<'_>,
        problems: &mut Problems,
    ) {
        self.values.clear();
        self.given.clear();
        self.entries.clear();
        let record = &blueprint.schema.record;
        self.entries.resize(record.fields.len(), None);
        for (position, (key, _)) in entries.iter().enumerate() {
            let name = key.name.as_str();
            if let Some(index) = blueprint.index(name) {
                self.entries[index] = Some(position);
            } else if !surroundings.others.contains(&name) {
                record.refuse_unknown(key, trail, surroundings.others, problems);
            }
        }
    }
}
