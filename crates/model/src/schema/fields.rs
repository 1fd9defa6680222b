//! A record as checks see it, whatever form it is in: complete, with the defaults of what is not given.

use std::borrow::Cow;
use std::ops::Index;

use serde_json::{Map, Value};

use super::Blueprint;

/// The fields of a record.
#[derive(Clone, Copy)]
pub struct Fields<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Whole(&'a Value),
    Given(&'a Blueprint, &'a [(usize, Value)]),
}

static NOTHING: Value = Value::Null;

impl<'a> Fields<'a> {
    /// Those of a complete record.
    pub fn of(record: &'a Value) -> Self {
        Self(Form::Whole(record))
    }

    /// Those of an entity of which `given` is set.
    pub(super) fn given(blueprint: &'a Blueprint, given: &'a [(usize, Value)]) -> Self {
        Self(Form::Given(blueprint, given))
    }

    /// The value of a field; null when there is none.
    pub fn field(&self, name: &str) -> &'a Value {
        match self.0 {
            Form::Whole(record) => record.get(name).unwrap_or(&NOTHING),
            Form::Given(blueprint, given) => {
                let fields = &blueprint.schema.record.fields;
                let set = given.iter().find(|(index, _)| fields[*index].name == name);
                set.map_or_else(|| blueprint.absent_named(name), |(_, value)| value)
            }
        }
    }

    /// The value under a dotted name; null when there is none.
    pub fn at(&self, dotted: &str) -> &'a Value {
        match dotted.split_once('.') {
            None => self.field(dotted),
            Some((name, rest)) => super::at(self.field(name), rest),
        }
    }

    /// The complete record.
    pub(super) fn whole(&self) -> Cow<'a, Value> {
        match self.0 {
            Form::Whole(record) => Cow::Borrowed(record),
            Form::Given(blueprint, _) => {
                let names = blueprint.schema.record.fields.iter().map(|field| field.name);
                let fields = names.map(|name| (name.to_owned(), self.field(name).clone()));
                Cow::Owned(Value::Object(fields.collect::<Map<_, _>>()))
            }
        }
    }
}

impl Index<&str> for Fields<'_> {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.field(name)
    }
}
