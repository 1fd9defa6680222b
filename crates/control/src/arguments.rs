//! The entity in the body of a call: as JSON, or as a form whose fields have Kong's names, `config.minute=5` or `paths[]=/a`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::RecordSchema;
use model::schema::{Element, Kind};
use plugin::multipart;
use plugin::{media, query};
use serde_json::{Map, Number, Value};

use crate::call::Call;
use crate::reply::Reply;

/// Most fields of a form.
const MOST_FIELDS: usize = 1000;
/// Most steps from a form's outermost to its innermost value.
const MOST_STEPS: usize = 32;

/// The object in the body; that of an empty body is empty.
///
/// # Errors
/// The answer, if there is none.
pub fn object(call: &Call) -> Result<Arguments, Reply> {
    if call.body.is_empty() {
        return Ok(Arguments::Json(Value::Object(Map::new())));
    }
    let content_type = call.content_type.as_bytes();
    let body = &call.body[..];
    let form = match &*media::essence(content_type).to_ascii_lowercase() {
        b"application/json" => return json(body).map(Arguments::Json),
        b"application/x-www-form-urlencoded" => form(query::pairs(body), body),
        b"multipart/form-data" => match multipart::Form::parse(content_type, body) {
            Some(parts) => form(parts.fields(), body),
            None => Err("it is not well formed, or has too many parts".to_owned()),
        },
        _ => return Err(Reply::message(415, UNSUPPORTED)),
    };
    let refused = |problem| Reply::message(400, &format!("Cannot parse form body: {problem}"));
    form.map(Arguments::Form).map_err(refused)
}

const UNSUPPORTED: &str = "Unsupported Media Type; send application/json, \
                           application/x-www-form-urlencoded or multipart/form-data";

/// What a body says.
#[derive(Debug, PartialEq)]
pub enum Arguments {
    /// Its values have their types.
    Json(Value),
    /// All values are texts; which of them are numbers is for the schema to say.
    Form(Value),
}

impl Arguments {
    /// The object, with the types that the schema has for what is given.
    pub fn typed(self, schema: &RecordSchema) -> Value {
        match self {
            Self::Json(value) => value,
            // A field without a value is null.
            Self::Form(value) if value == "" => Value::Null,
            Self::Form(mut value) => {
                infer_record(&mut value, schema);
                value
            }
        }
    }

    /// The same for one field, which is taken out.
    pub fn take(&mut self, name: &str) -> Self {
        let taken = |value: &mut Value| value.get_mut(name).map_or(Value::Null, Value::take);
        match self {
            Self::Json(value) => Self::Json(taken(value)),
            Self::Form(value) => Self::Form(taken(value)),
        }
    }
}

fn json(body: &[u8]) -> Result<Value, Reply> {
    let value: Value = serde_json::from_slice(body).map_err(|error| Reply::no_json(&error))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Reply::message(400, "Cannot parse JSON body: it is no object"))
    }
}

/// The object that fields of a form stand for.
fn form<'f>(
    fields: impl Iterator<Item = (Cow<'f, [u8]>, Cow<'f, [u8]>)>,
    body: &[u8],
) -> Result<Value, String> {
    if json(body).is_ok() {
        return Err("it is JSON; send it with Content-Type: application/json".to_owned());
    }
    let mut all = Given::Record(BTreeMap::new());
    for (index, (name, value)) in fields.enumerate() {
        if index == MOST_FIELDS {
            return Err(format!("it has more than {MOST_FIELDS} fields"));
        }
        let (Ok(name), Ok(value)) = (std::str::from_utf8(&name), std::str::from_utf8(&value)) else {
            return Err(format!("field '{}' is not UTF-8", String::from_utf8_lossy(&name)));
        };
        let put = steps(name).and_then(|steps| all.put(&steps, value));
        put.map_err(|problem| format!("field '{name}' {problem}"))?;
    }
    Ok(all.into_value())
}

/// One step from a value to another inside it.
enum Step<'n> {
    /// Into the field of a record.
    Field(&'n str),
    /// To the element that stands there, counted from 1.
    Element(usize),
    /// To a new element.
    Next,
}

/// The steps in a name: fields behind dots, elements in brackets.
fn steps(name: &str) -> Result<Vec<Step<'_>>, String> {
    let mut steps = Vec::new();
    for part in name.split('.') {
        let (field, elements) = elements(part)?;
        if field.is_empty() {
            return Err("has an empty name between dots".to_owned());
        }
        steps.push(Step::Field(field));
        steps.extend(elements);
        if steps.len() > MOST_STEPS {
            return Err(format!("has more than {MOST_STEPS} parts"));
        }
    }
    Ok(steps)
}

/// A part of a name without the brackets behind it, and what stands in these. Other brackets belong to the name.
fn elements(part: &str) -> Result<(&str, Vec<Step<'_>>), String> {
    let mut field = part;
    let mut elements = Vec::new();
    while let Some((before, index)) = field.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        if before.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        elements.push(match index.parse() {
            Ok(index) => Step::Element(index),
            Err(_) if index.is_empty() => Step::Next,
            Err(_) => return Err("has too large a number in brackets".to_owned()),
        });
        field = before;
    }
    elements.reverse();
    Ok((field, elements))
}

/// What fields of a form have come to so far.
#[derive(Default)]
enum Given {
    #[default]
    Nothing,
    Text(String),
    Record(BTreeMap<String, Given>),
    /// By their numbers, which need not be without gaps.
    List(BTreeMap<usize, Given>),
}

impl Given {
    fn put(&mut self, steps: &[Step<'_>], value: &str) -> Result<(), String> {
        let Some((step, rest)) = steps.split_first() else { return self.put_here(value) };
        match step {
            Step::Field(name) => self.record()?.entry((*name).to_owned()).or_default().put(rest, value),
            Step::Element(index) => self.list()?.entry(*index).or_default().put(rest, value),
            Step::Next => next(self.list()?)?.put(rest, value),
        }
    }

    /// A field that is given more than once is a list.
    fn put_here(&mut self, value: &str) -> Result<(), String> {
        match self {
            Self::Nothing => *self = Self::Text(value.to_owned()),
            _ => *next(self.list()?)? = Self::Text(value.to_owned()),
        }
        Ok(())
    }

    fn record(&mut self) -> Result<&mut BTreeMap<String, Self>, String> {
        if matches!(self, Self::Nothing) {
            *self = Self::Record(BTreeMap::new());
        }
        match self {
            Self::Record(fields) => Ok(fields),
            _ => Err("is below another one that has a value of its own".to_owned()),
        }
    }

    fn list(&mut self) -> Result<&mut BTreeMap<usize, Self>, String> {
        match std::mem::take(self) {
            Self::Nothing => *self = Self::List(BTreeMap::new()),
            text @ Self::Text(_) => *self = Self::List(BTreeMap::from([(1, text)])),
            other => *self = other,
        }
        match self {
            Self::List(elements) => Ok(elements),
            _ => Err("has a value, and others below it".to_owned()),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Text(text) => Value::String(text),
            Self::Record(fields) => {
                Value::Object(fields.into_iter().map(|(name, given)| (name, given.into_value())).collect())
            }
            Self::List(elements) => Value::Array(elements.into_values().map(Self::into_value).collect()),
        }
    }
}

/// A new element behind all others.
fn next(elements: &mut BTreeMap<usize, Given>) -> Result<&mut Given, String> {
    let last = elements.last_key_value().map_or(0, |(index, _)| *index);
    let next = last.checked_add(1).ok_or("stands behind an element with too large a number")?;
    Ok(elements.entry(next).or_default())
}

fn infer_record(value: &mut Value, schema: &RecordSchema) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let older = || schema.shorthands.iter().find(|older| older.name == *name);
        let field = schema.field(name).or_else(|| schema.field_at(older()?.target));
        if let Some(field) = field {
            infer(value, &field.element);
        }
    }
}

/// Gives texts the type that is expected of them, where they have its form. A field without a value is null.
fn infer(value: &mut Value, expected: &Element) {
    if value == "" {
        *value = Value::Null;
        return;
    }
    match (&expected.kind, &mut *value) {
        (Kind::Integer | Kind::Number, Value::String(text)) => {
            let number = text.trim().parse::<Number>();
            *value = number.map_or_else(|_| Value::String(std::mem::take(text)), Value::Number);
        }
        (Kind::Boolean, Value::String(text)) => match text.as_str() {
            "true" => *value = Value::Bool(true),
            "false" => *value = Value::Bool(false),
            _ => {}
        },
        (Kind::Array(element) | Kind::Set(element), _) => {
            if value.is_string() {
                *value = Value::Array(vec![value.take()]);
            }
            if let Value::Array(elements) = value {
                elements.iter_mut().for_each(|value| infer(value, element));
            }
        }
        (Kind::Map(_, of_values), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| infer(value, of_values));
        }
        (Kind::Record(record), value) => infer_record(value, record),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
