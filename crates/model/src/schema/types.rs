//! The Rust types that fields may have, and how each reads a validated value.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Deref;

use serde_json::Value;
use uuid::Uuid;

use super::packed::{Entries, Packed, Part, Raw};
use super::{Blueprint, Element, FieldType, Held, Kind, ValueError};

/// A list whose order has no meaning; it keeps the order of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<T>(pub Vec<T>);

/// A map that keeps the order of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<T>(pub Vec<(String, T)>);

/// A foreign key: the id of another entity. The collection is given by the rule `to("services")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference(pub Uuid);

/// Reads one field of a record; a missing one reads as null.
///
/// # Errors
/// When the value has another type than `T`.
pub fn read_field<T: FieldType>(record: &Value, name: &str) -> Result<T, ValueError> {
    T::from_value(record.get(name).unwrap_or(&Value::Null)).map_err(|error| error.inside(name))
}

/// Reads the fields of a record in the order of its schema, in which they stand: the next one is at hand, without a
/// search by name.
pub struct Reading<'a>(Source<'a>);

enum Source<'a> {
    Value { record: &'a Value, ahead: Option<Peekable<serde_json::map::Iter<'a>>> },
    Kept(Kept<'a>),
}

/// An entity in the form it is kept in.
struct Kept<'a> {
    blueprint: &'a Blueprint,
    id: Uuid,
    packed: &'a Packed,
    rest: Entries<'a>,
    /// The next field that is set.
    ahead: Option<(usize, Raw<'a>)>,
    /// The number of the next field.
    next: usize,
}

impl<'a> Reading<'a> {
    /// Begins to read `record`.
    pub fn of(record: &'a Value) -> Self {
        let ahead = record.as_object().map(|fields| fields.iter().peekable());
        Self(Source::Value { record, ahead })
    }

    /// Begins to read an entity in the form it is kept in.
    pub(crate) fn kept(blueprint: &'a Blueprint, id: Uuid, packed: &'a Packed) -> Self {
        let mut rest = packed.entries();
        let ahead = rest.next();
        Self(Source::Kept(Kept { blueprint, id, packed, rest, ahead, next: 0 }))
    }

    /// The whole record, for what reads its fields under other names.
    pub fn whole(&self) -> Value {
        match &self.0 {
            Source::Value { record, .. } => (*record).clone(),
            Source::Kept(kept) => Value::Object(kept.blueprint.whole(kept.id, kept.packed)),
        }
    }

    /// Reads one field; a missing one reads as null.
    ///
    /// # Errors
    /// When the value has another type than `T`.
    pub fn field<T: FieldType>(&mut self, name: &str) -> Result<T, ValueError> {
        match &mut self.0 {
            Source::Value { record, ahead } => {
                match ahead.as_mut().and_then(|ahead| ahead.next_if(|(next, _)| *next == name)) {
                    Some((_, value)) => T::from_value(value).map_err(|error| error.inside(name)),
                    None => read_field(record, name),
                }
            }
            Source::Kept(kept) => kept.field(name).read().map_err(|error| error.inside(name)),
        }
    }
}

impl<'a> Kept<'a> {
    fn field(&mut self, name: &str) -> Held<'a> {
        let index = self.next;
        if self.blueprint.schema.record.fields.get(index).is_none_or(|field| field.name != name) {
            let found = self.blueprint.index(name);
            return found.map_or(Held::Absent(&Value::Null), |index| {
                self.blueprint.held(self.id, self.packed, index)
            });
        }
        self.next += 1;
        if let Some((at, raw)) = self.ahead
            && at == index
        {
            self.ahead = self.rest.next();
            return Held::Given(raw.part().unwrap_or(Part::Null));
        }
        if self.blueprint.is_id(index) {
            return Held::Given(Part::Id(self.id));
        }
        Held::Absent(self.blueprint.absent(index))
    }
}

impl Held<'_> {
    fn read<T: FieldType>(self) -> Result<T, ValueError> {
        match self {
            Held::Given(part) => T::from_part(part),
            Held::Absent(value) => T::from_value(value),
        }
    }
}

/// A field's name without the `r#` of a raw identifier.
#[inline]
pub fn plain_name(identifier: &'static str) -> &'static str {
    identifier.strip_prefix("r#").unwrap_or(identifier)
}

impl<T> Deref for Set<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> Deref for Map<T> {
    type Target = [(String, T)];

    fn deref(&self) -> &[(String, T)] {
        &self.0
    }
}

impl<T> Map<T> {
    /// The value under `name`.
    pub fn value(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl FieldType for bool {
    fn kind() -> Kind {
        Kind::Boolean
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        value.as_bool().ok_or_else(|| ValueError::expected("a boolean"))
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        match part {
            Part::Bool(flag) => Ok(flag),
            _ => Err(ValueError::expected("a boolean")),
        }
    }
}

impl FieldType for String {
    fn kind() -> Kind {
        Kind::String
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        value.as_str().map(str::to_owned).ok_or_else(|| ValueError::expected("a string"))
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        match part {
            Part::Text(text) => Ok(text.to_owned()),
            other => Self::from_value(&other.to_value()),
        }
    }
}

impl FieldType for f64 {
    fn kind() -> Kind {
        Kind::Number
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        value.as_f64().ok_or_else(|| ValueError::expected("a number"))
    }
}

impl FieldType for Uuid {
    fn kind() -> Kind {
        Kind::Uuid
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        let text = value.as_str().unwrap_or_default();
        Uuid::try_parse(text).map_err(|_| ValueError::expected("a valid UUID"))
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        match part {
            Part::Id(id) => Ok(id),
            other => Self::from_value(&other.to_value()),
        }
    }
}

impl FieldType for Reference {
    fn kind() -> Kind {
        Kind::Foreign("")
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Uuid::from_value(value.get("id").unwrap_or(value)).map(Reference)
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        match part {
            Part::Reference(id) => Ok(Reference(id)),
            other => Self::from_value(&other.to_value()),
        }
    }
}

impl FieldType for Value {
    const NULLABLE: bool = true;

    fn kind() -> Kind {
        Kind::Any
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Ok(value.clone())
    }
}

impl<T: FieldType> FieldType for Option<T> {
    const NULLABLE: bool = true;

    fn kind() -> Kind {
        T::kind()
    }

    fn limits() -> Option<(i64, i64)> {
        T::limits()
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        if part == Part::Null { Ok(None) } else { T::from_part(part).map(Some) }
    }
}

impl<T: FieldType> FieldType for Vec<T> {
    fn kind() -> Kind {
        Kind::Array(Box::new(Element::of(T::kind())))
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        let elements = value.as_array().ok_or_else(|| ValueError::expected("an array"))?;
        elements
            .iter()
            .enumerate()
            .map(|(index, element)| {
                T::from_value(element).map_err(|error| error.inside(&format!("[{index}]")))
            })
            .collect()
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        let Part::List(parts) = part else { return Err(ValueError::expected("an array")) };
        let mut elements = Vec::with_capacity(parts.count());
        for (index, element) in parts.enumerate() {
            elements.push(T::from_part(element).map_err(|error| error.inside(&format!("[{index}]")))?);
        }
        Ok(elements)
    }
}

impl<T: FieldType> FieldType for Set<T> {
    fn kind() -> Kind {
        Kind::Set(Box::new(Element::of(T::kind())))
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Vec::from_value(value).map(Set)
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        Vec::from_part(part).map(Set)
    }
}

impl<T: FieldType> FieldType for Map<T> {
    fn kind() -> Kind {
        Kind::Map(Box::new(Element::of(Kind::String)), Box::new(Element::of(T::kind())))
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        let entries = value.as_object().ok_or_else(|| ValueError::expected("a map"))?;
        entries
            .iter()
            .map(|(name, value)| match T::from_value(value) {
                Ok(value) => Ok((name.clone(), value)),
                Err(error) => Err(error.inside(name)),
            })
            .collect::<Result<_, _>>()
            .map(Map)
    }
}

impl<T: FieldType> FieldType for BTreeMap<String, T> {
    fn kind() -> Kind {
        Map::<T>::kind()
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Map::from_value(value).map(|map| map.0.into_iter().collect())
    }
}

impl FieldType for i64 {
    fn kind() -> Kind {
        Kind::Integer
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        value.as_i64().ok_or_else(|| ValueError::expected("an integer"))
    }

    fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
        part.as_integer().ok_or_else(|| ValueError::expected("an integer"))
    }
}

macro_rules! integer_fields {
    ($($type:ty: $most:expr),* $(,)?) => {$(
        impl FieldType for $type {
            fn kind() -> Kind {
                Kind::Integer
            }

            fn limits() -> Option<(i64, i64)> {
                Some((<$type>::MIN as i64, $most))
            }

            fn from_value(value: &Value) -> Result<Self, ValueError> {
                let number = value.as_i64().and_then(|number| <$type>::try_from(number).ok());
                number.ok_or_else(|| ValueError::expected("an integer"))
            }

            fn from_part(part: Part<'_>) -> Result<Self, ValueError> {
                let number = part.as_integer().and_then(|number| <$type>::try_from(number).ok());
                number.ok_or_else(|| ValueError::expected("an integer"))
            }
        }
    )*};
}

integer_fields! {
    u8: u8::MAX as i64,
    u16: u16::MAX as i64,
    u32: u32::MAX as i64,
    u64: i64::MAX,
    usize: i64::MAX,
    i32: i32::MAX as i64,
}
