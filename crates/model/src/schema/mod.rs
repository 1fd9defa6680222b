//! The schema machinery: one description of a record that validates, fills defaults, prints itself in Kong's
//! and JSON Schema's form, and feeds typed structs. Plugin configurations and entities use the same one.

mod blueprint;
mod checks_list;
mod draft;
mod fields;
mod formats;
mod json_schema;
mod kong_json;
mod packed;
mod record;
mod rules_list;
mod shorthands;
mod shown;
mod types;
mod validate;

use std::fmt::{self, Display, Formatter};

pub(crate) use blueprint::{Blueprint, Held};
pub use checks_list::{Check, Condition, Faults, at};
pub(crate) use draft::Draft;
pub use fields::Fields;
pub(crate) use formats::{check_percent, last_line};
pub use packed::Part;
pub(crate) use packed::{Packed, Packer};
pub use rules_list::Rule;
pub use serde_json::Value;
pub use types::{Map, Reference, Set};
#[doc(hidden)]
pub use types::{Reading, plain_name, read_field};
pub(crate) use validate::Surroundings;

/// Constructors of [`Rule`]s; in scope inside the brackets of a field in [`record!`](crate::record!).
pub mod rules {
    pub use super::formats::*;
    pub use super::rules_list::constructors::*;
}

/// Constructors of [`Check`]s; in scope inside `checks:` of [`record!`](crate::record!).
pub mod checks {
    pub use super::checks_list::constructors::*;
    pub use super::rules::*;
}

/// A struct that [`record!`](crate::record!) declared.
pub trait Record: Sized {
    /// The record's description.
    fn schema() -> RecordSchema;

    /// The typed form of a value that [`RecordSchema::validate`] returned.
    ///
    /// # Errors
    /// When `value` does not have the record's shape, which validation rules out.
    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Self::read(&mut Reading::of(value))
    }

    /// The typed form of the record that is being read.
    ///
    /// # Errors
    /// When it does not have the record's shape.
    #[doc(hidden)]
    fn read(reading: &mut Reading<'_>) -> Result<Self, ValueError>;
}

/// A type that a field of a record may have.
pub trait FieldType: Sized {
    /// The field may be null.
    const NULLABLE: bool = false;

    /// What values the type takes.
    fn kind() -> Kind;

    /// The smallest and largest value that an integer type can hold.
    fn limits() -> Option<(i64, i64)> {
        None
    }

    /// The typed form of a validated value.
    ///
    /// # Errors
    /// When the value has another shape.
    fn from_value(value: &Value) -> Result<Self, ValueError>;

    /// The typed form of a value in the form it is kept in.
    ///
    /// # Errors
    /// When the value has another shape.
    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        Self::from_value(&part.to_value())
    }
}

/// A value that does not have the shape its schema promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// The field, dotted; empty for the record itself.
    pub field: String,
    /// What was expected.
    pub message: String,
}

/// The description of a record: an entity, a plugin's configuration or a part of either.
#[derive(Debug, Clone, Default)]
pub struct RecordSchema {
    /// What the record is for, in the words of its users.
    pub doc: &'static str,
    /// The fields, in order.
    pub fields: Vec<Field>,
    /// Rules over several fields.
    pub checks: Vec<Check>,
    /// Older spellings of fields and where their values go.
    pub shorthands: Vec<Shorthand>,
}

/// An older name of a (nested) field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shorthand {
    /// The name that is still accepted, such as `redis_host`.
    pub name: &'static str,
    /// The dotted field it stands for, such as `redis.host`.
    pub target: &'static str,
}

/// One field of a record.
#[derive(Debug, Clone)]
pub struct Field {
    /// The field's name in documents.
    pub name: &'static str,
    /// What the field is for, in the words of its users.
    pub doc: &'static str,
    /// Whether leaving it out, or null, is wrong.
    pub required: bool,
    /// What it is when left out or null.
    pub default: Option<Value>,
    /// Its type and rules.
    pub element: Element,
    /// Set when the field is on its way out: what to use instead.
    pub deprecated: Option<&'static str>,
    /// Two entities may not have the same value here.
    pub unique: bool,
    /// The loader makes a value up when there is none.
    pub auto: bool,
    /// Kong has no such field: where Kong's form is asked for, it shows only once it is set.
    pub extension: bool,
}

/// A type with its rules: of a field, of an array's elements, of a map's keys and values.
#[derive(Debug, Clone)]
pub struct Element {
    /// The type.
    pub kind: Kind,
    /// What values are allowed beyond the type.
    pub rules: Vec<Rule>,
    /// The value may be a `{vault://...}` reference, which no rule looks into.
    pub referenceable: bool,
    /// The value is a secret.
    pub encrypted: bool,
}

/// A type in Kong's terms.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `string`
    String,
    /// `string` holding a UUID
    Uuid,
    /// `foreign`: the id of an entity of the named collection, or a not yet resolved name
    Foreign(&'static str),
    /// Anything at all.
    Any,
    /// `array`
    Array(Box<Element>),
    /// `set`: an array whose order has no meaning
    Set(Box<Element>),
    /// `map`: keys and values
    Map(Box<Element>, Box<Element>),
    /// `record`
    Record(Box<RecordSchema>),
}

/// What `Debug` of a record prints of a field: nothing of one that holds a secret, or may hold one in place of a
/// reference.
#[doc(hidden)]
pub fn printable<'a>(schema: &RecordSchema, name: &str, value: &'a dyn fmt::Debug) -> &'a dyn fmt::Debug {
    if schema.field(name).is_none_or(|field| field.element.is_secret()) { &"(secret)" } else { value }
}

impl RecordSchema {
    /// One record with the fields, checks and shorthands of all `parts`, and the text of the last.
    pub fn joined(parts: Vec<Self>) -> Self {
        let mut joined = Self { doc: "", fields: Vec::new(), checks: Vec::new(), shorthands: Vec::new() };
        for part in parts {
            joined.doc = part.doc;
            joined.fields.extend(part.fields);
            joined.checks.extend(part.checks);
            joined.shorthands.extend(part.shorthands);
        }
        joined
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The number of the field of that name.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The field under a dotted name, through nested records.
    pub fn field_at(&self, dotted: &str) -> Option<&Field> {
        match dotted.split_once('.') {
            None => self.field(dotted),
            Some((name, rest)) => match &self.field(name)?.element.kind {
                Kind::Record(record) => record.field_at(rest),
                _ => None,
            },
        }
    }
}

impl Field {
    /// A field of type `T`.
    pub fn of<T: FieldType>(
        name: &'static str,
        doc: &'static str,
        default: Option<Value>,
        rules: Vec<Rule>,
    ) -> Self {
        let mut field = Self {
            name,
            doc,
            required: !T::NULLABLE,
            default,
            element: Element::of(T::kind()),
            deprecated: None,
            unique: false,
            auto: false,
            extension: false,
        };
        for rule in rules {
            field.apply(rule);
        }
        if let Some((least, most)) = T::limits() {
            field.element.rules.push(Rule::Fits(least, most));
        }
        field
    }

    fn apply(&mut self, rule: Rule) {
        match rule {
            Rule::Required => self.required = true,
            Rule::Unique => self.unique = true,
            Rule::Auto => {
                self.auto = true;
                self.required = false;
            }
            Rule::Extension => self.extension = true,
            Rule::Deprecated(instead) => self.deprecated = Some(instead),
            other => self.element.apply(other),
        }
    }
}

impl Element {
    /// A type without rules.
    pub fn of(kind: Kind) -> Self {
        Self { kind, rules: Vec::new(), referenceable: false, encrypted: false }
    }

    /// Whether a value, or a part of it that is no record, is a secret or may be one.
    fn is_secret(&self) -> bool {
        let within = match &self.kind {
            Kind::Array(element) | Kind::Set(element) | Kind::Map(_, element) => element.is_secret(),
            Kind::Any => true,
            _ => false,
        };
        self.encrypted || self.referenceable || within
    }

    /// Adds a rule, or hands it to the elements, keys or values it is for.
    pub fn apply(&mut self, rule: Rule) {
        match (rule, &mut self.kind) {
            (Rule::Each(inner), Kind::Array(element) | Kind::Set(element)) => element.apply(*inner),
            (Rule::Values(inner), Kind::Map(_, element)) => element.apply(*inner),
            (Rule::Keys(inner), Kind::Map(element, _)) => element.apply(*inner),
            (Rule::To(collection), kind) => *kind = Kind::Foreign(collection),
            (Rule::Referenceable, _) => self.referenceable = true,
            (Rule::Encrypted, _) => self.encrypted = true,
            (rule, _) => self.rules.push(rule),
        }
    }
}

impl ValueError {
    /// The value itself has another type.
    pub fn expected(what: &str) -> Self {
        Self { field: String::new(), message: format!("expected {what}") }
    }

    /// The same error seen from the record that holds the value as `field`.
    pub fn inside(mut self, field: &str) -> Self {
        self.field = if self.field.is_empty() { field.to_owned() } else { format!("{field}.{}", self.field) };
        self
    }
}

impl Display for ValueError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for ValueError {}

#[cfg(test)]
mod tests;
