//! An entity's schema with all that follows from it and need not be found out for each entity: what a field is that is
//! not given, which fields say who an entity is, how the kept form is read.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use ahash::AHashMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::packed::{Packed, Packer, Part};
use super::{Field, Kind, RecordSchema};
use crate::entity::EntitySchema;
use crate::node::{Node, NodeKind};
use crate::problem::{Problems, Trail};

/// A schema, prepared for many entities.
#[derive(Debug)]
pub(crate) struct Blueprint {
    /// The schema.
    pub schema: EntitySchema,
    /// The numbers of the fields.
    by_name: AHashMap<&'static str, usize>,
    /// What each field is when it is not given.
    absent: Box<[Absent]>,
    /// The fields that are something when they are not given.
    filled: Box<[usize]>,
    /// Where the identity stands.
    id: usize,
}

/// What a field is that is not given.
#[derive(Debug)]
struct Absent {
    value: Value,
    /// The field as JSON text, with its name; empty when it is null.
    member: Box<str>,
    /// A record that must not be empty, so that leaving it out is a fault of its fields.
    faulty: bool,
}

/// A value of a kept entity.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held<'a> {
    /// It says so itself.
    Given(Part<'a>),
    /// It does not say, and then the schema does.
    Absent(&'a Value),
}

impl Blueprint {
    /// Prepares a schema. Time stamps that nobody gives are the present.
    pub fn new(schema: EntitySchema) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let absent: Box<[Absent]> =
            schema.record.fields.iter().map(|field| absent(field, now.as_millis())).collect();
        let filled = absent.iter().enumerate().filter(|(_, absent)| !absent.value.is_null());
        let filled = filled.map(|(index, _)| index).collect();
        let by_name: AHashMap<_, _> =
            schema.record.fields.iter().enumerate().map(|(index, field)| (field.name, index)).collect();
        let id = by_name.get("id").copied().unwrap_or(usize::MAX);
        Self { schema, by_name, absent, filled, id }
    }

    /// The number of the field of that name.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Whether the field of that number is the identity.
    pub(super) fn is_id(&self, index: usize) -> bool {
        index == self.id
    }

    /// What the field of that number is when it is not given.
    pub(crate) fn absent(&self, index: usize) -> &Value {
        &self.absent[index].value
    }

    /// The same by name.
    pub(super) fn absent_named(&self, name: &str) -> &Value {
        let found = self.filled.iter().find(|index| self.schema.record.fields[**index].name == name);
        found.map_or(&Value::Null, |index| self.absent(*index))
    }

    /// Whether leaving the field of that number out is more than not giving it: a record with fields that are required.
    pub(super) fn is_faulty(&self, index: usize) -> bool {
        self.absent[index].faulty
    }

    /// The field of that number of an entity.
    pub(crate) fn held<'a>(&'a self, id: Uuid, packed: &'a Packed, index: usize) -> Held<'a> {
        if index == self.id {
            return Held::Given(Part::Id(id));
        }
        packed.part(index).map_or_else(|| Held::Absent(self.absent(index)), Held::Given)
    }

    /// All fields of an entity, in the order of the schema.
    pub(crate) fn all<'a>(
        &'a self,
        id: Uuid,
        packed: &'a Packed,
    ) -> impl Iterator<Item = (&'a Field, Held<'a>)> {
        let mut given = packed.entries().peekable();
        self.schema.record.fields.iter().enumerate().map(move |(index, field)| {
            let part = given.next_if(|(at, _)| *at == index).and_then(|(_, raw)| raw.part());
            let part = if index == self.id { Some(Part::Id(id)) } else { part };
            (field, part.map_or_else(|| Held::Absent(self.absent(index)), Held::Given))
        })
    }

    /// The form in which an entity is kept of which `whole` are all fields.
    pub(crate) fn pack(&self, whole: &Map<String, Value>) -> Packed {
        let mut packer = Packer::default();
        for (index, field) in self.schema.record.fields.iter().enumerate() {
            let value = whole.get(field.name).unwrap_or(&Value::Null);
            match &field.element.kind {
                _ if index == self.id || value == self.absent(index) => {}
                Kind::Foreign(_) if reference(value).is_some() => {
                    reference(value).iter().for_each(|id| packer.add_reference(index, *id));
                }
                _ => packer.add(index, value),
            }
        }
        packer.finish()
    }

    /// The fields of an entity that are set, as JSON text.
    pub(crate) fn text(&self, id: Uuid, packed: &Packed) -> String {
        let mut text = Vec::with_capacity(USUAL_TEXT);
        text.push(b'{');
        let fields = self.all(id, packed).zip(&self.absent).filter(|((_, held), _)| !held.is_null());
        for ((field, held), absent) in fields {
            if text.len() > 1 {
                text.push(b',');
            }
            match held {
                Held::Given(part) => {
                    // A field's name needs no escape.
                    text.push(b'"');
                    text.extend_from_slice(field.name.as_bytes());
                    text.extend_from_slice(b"\":");
                    serde_json::to_writer(&mut text, &part).expect("JSON can always be written to memory");
                }
                Held::Absent(_) => text.extend_from_slice(absent.member.as_bytes()),
            }
        }
        text.push(b'}');
        String::from_utf8(text).expect("JSON is UTF-8")
    }

    /// An entity with all its fields.
    pub(crate) fn whole(&self, id: Uuid, packed: &Packed) -> Map<String, Value> {
        let mut whole = Map::with_capacity(self.schema.record.fields.len());
        whole.extend(self.all(id, packed).map(|(field, held)| (field.name.to_owned(), held.to_value())));
        whole
    }
}

impl<'a> Held<'a> {
    /// The value, where it has to be one.
    pub fn value(self) -> Cow<'a, Value> {
        match self {
            Held::Given(part) => Cow::Owned(part.to_value()),
            Held::Absent(value) => Cow::Borrowed(value),
        }
    }

    /// The id that a foreign key holds.
    pub fn reference(self) -> Option<Uuid> {
        match self {
            Held::Given(Part::Reference(id)) => Some(id),
            _ => None,
        }
    }

    pub fn to_value(self) -> Value {
        match self {
            Held::Given(part) => part.to_value(),
            Held::Absent(value) => value.clone(),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Held::Given(Part::Null) | Held::Absent(Value::Null))
    }
}

impl Serialize for Held<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(part) => part.serialize(serializer),
            Self::Absent(value) => value.serialize(serializer),
        }
    }
}

/// Room for the text of most entities, in bytes.
const USUAL_TEXT: usize = 512;

fn absent(field: &Field, milliseconds: u128) -> Absent {
    let (value, faulty) = absent_value(field, milliseconds);
    let member = if value.is_null() { String::new() } else { format!("\"{}\":{value}", field.name) };
    Absent { value, member: member.into(), faulty }
}

/// What a field is that is not given, and whether that is a fault.
fn absent_value(field: &Field, milliseconds: u128) -> (Value, bool) {
    let plain = |value: Value| (value, false);
    if let Some(default) = &field.default {
        return plain(default.clone());
    }
    match &field.element.kind {
        Kind::Integer if field.auto => {
            plain(Value::from(u64::try_from(milliseconds / 1000).unwrap_or(u64::MAX)))
        }
        Kind::Number if field.auto => plain(Value::from(milliseconds as f64 / 1000.0)),
        Kind::Record(record) if field.required => {
            let mut problems = Problems::default();
            let mut value = record.validate(&Node::bare(NodeKind::Null), &Trail::Root, &mut problems);
            drop_unset_extensions(&mut value, record);
            (value, !problems.list.is_empty())
        }
        _ => plain(Value::Null),
    }
}

/// What a foreign key points to.
fn reference(value: &Value) -> Option<Uuid> {
    Uuid::try_parse(value.get("id")?.as_str()?).ok()
}

/// Takes fields that Kong does not have out of a record where nobody has set them.
pub(super) fn drop_unset_extensions(value: &mut Value, record: &RecordSchema) {
    let Value::Object(fields) = value else { return };
    for field in &record.fields {
        if let Kind::Record(inner) = &field.element.kind
            && let Some(value) = fields.get_mut(field.name)
        {
            drop_unset_extensions(value, inner);
        }
        if field.extension && fields.get(field.name).is_some_and(Value::is_null) {
            fields.shift_remove(field.name);
        }
    }
}
