//! The Rust types that fields may have, and how each reads a validated value.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Deref;

use serde_json::Value;
use uuid::Uuid;

use super::{Element, FieldType, Kind, ValueError};

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
pub struct Reading<'a> {
    record: &'a Value,
    ahead: Option<Peekable<serde_json::map::Iter<'a>>>,
}

impl<'a> Reading<'a> {
    /// Begins to read `record`.
    pub fn of(record: &'a Value) -> Self {
        Self { record, ahead: record.as_object().map(|fields| fields.iter().peekable()) }
    }

    /// Reads one field; a missing one reads as null.
    ///
    /// # Errors
    /// When the value has another type than `T`.
    pub fn field<T: FieldType>(&mut self, name: &str) -> Result<T, ValueError> {
        match self.ahead.as_mut().and_then(|ahead| ahead.next_if(|(next, _)| *next == name)) {
            Some((_, value)) => T::from_value(value).map_err(|error| error.inside(name)),
            None => read_field(self.record, name),
        }
    }
}

/// A field's name without the `r#` of a raw identifier.
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
}

impl FieldType for String {
    fn kind() -> Kind {
        Kind::String
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        value.as_str().map(str::to_owned).ok_or_else(|| ValueError::expected("a string"))
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
}

impl FieldType for Reference {
    fn kind() -> Kind {
        Kind::Foreign("")
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Uuid::from_value(value.get("id").unwrap_or(value)).map(Reference)
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
}

impl<T: FieldType> FieldType for Set<T> {
    fn kind() -> Kind {
        Kind::Set(Box::new(Element::of(T::kind())))
    }

    fn from_value(value: &Value) -> Result<Self, ValueError> {
        Vec::from_value(value).map(Set)
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
