//! Validation: a document's node in, a complete value with its defaults out, everything wrong noted.

use serde_json::{Map, Number, Value};

use super::checks_list::Faults;
use super::{Element, Field, Fields, Kind, RecordSchema, Rule};
use crate::node::{Key, Node, NodeKind, Span};
use crate::problem::{Problem, Problems, Trail, nearest};
use crate::secret::{SecretReference, is_reference};

impl RecordSchema {
    /// Validates plain JSON and fills in the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with the value.
    pub fn check(&self, value: &Value) -> Result<Value, Vec<Problem>> {
        let mut problems = Problems::default();
        let complete = self.validate(&Node::from(value), &Trail::Root, &mut problems);
        if problems.is_usable() { Ok(complete) } else { Err(problems.told()) }
    }

    /// Validates a record and fills in its defaults; a null node reads as an empty record. What comes back is
    /// complete, with null for what is unset or wrong.
    pub fn validate(&self, node: &Node, trail: &Trail<'_>, problems: &mut Problems) -> Value {
        let entries = match &node.kind {
            NodeKind::Object(entries) => entries.as_slice(),
            NodeKind::Null => &[],
            _ => {
                problems.add(trail, node.span, "expected a record");
                return Value::Null;
            }
        };
        let moved = self.expand_shorthands(entries, trail, problems);
        let entries = moved.as_deref().unwrap_or(entries);
        for (key, _) in entries {
            let name = key.name.as_str();
            if self.field(name).is_none() {
                self.refuse_unknown(key, trail, &[], problems);
            }
        }
        let before = problems.errors();
        let mut record = Map::with_capacity(self.fields.len());
        for field in &self.fields {
            let entry = entries.iter().find(|(key, _)| key.name == field.name);
            record.insert(field.name.to_owned(), field.validate(entry, node.span, trail, problems));
        }
        let record = Value::Object(record);
        if problems.errors() == before {
            let mut faults = Faults::default();
            let fields = Fields::of(&record);
            self.checks.iter().for_each(|check| check.test(&fields, &mut faults));
            add_faults(faults, entries, node.span, trail, problems);
        }
        record
    }

    pub(super) fn refuse_unknown(
        &self,
        key: &Key,
        trail: &Trail<'_>,
        others: &[&'static str],
        problems: &mut Problems,
    ) {
        let problem = problems.add(&trail.field(&key.name), key.span, "unknown field");
        problem.suggestion = Some(self.advice(&key.name, others));
    }

    /// What was probably meant by a name that is no field here.
    fn advice(&self, given: &str, others: &[&'static str]) -> String {
        let names = || self.fields.iter().map(|field| field.name).chain(others.iter().copied());
        if let Some(name) = nearest(given, names()) {
            return format!("did you mean '{name}'?");
        }
        let holds = |field: &&Field| matches!(&field.element.kind, Kind::Record(record) if record.field(given).is_some());
        match self.fields.iter().find(holds) {
            Some(field) => format!("'{given}' belongs under '{}'", field.name),
            None => {
                let names: Vec<&str> = names().take(MOST_TOLD + 1).collect();
                let more = if names.len() > MOST_TOLD { ", ..." } else { "" };
                format!("the fields here are {}{more}", names[..names.len().min(MOST_TOLD)].join(", "))
            }
        }
    }
}

/// Fields that are named where nothing is near to what was written.
const MOST_TOLD: usize = 24;

/// Names that a record's surroundings bring with them.
#[derive(Debug, Default)]
pub(crate) struct Surroundings<'a> {
    /// Keys that may stand beside the fields.
    pub others: &'a [&'static str],
    /// The field whose value follows from where the record stands.
    pub given: Option<&'a str>,
}

/// Whether something is worse than a warning.
/// Notes what checks have found about a record.
pub(super) fn add_faults(
    faults: Faults,
    entries: &[(Key, Node)],
    span: Span,
    trail: &Trail<'_>,
    problems: &mut Problems,
) {
    for (field, message) in faults.0 {
        match field {
            None => {
                problems.add_entity(trail, span, message);
            }
            Some(field) => add_below(entries, span, trail, &field, &message, problems),
        }
    }
}

/// Refuses the field whose value follows from where the record stands.
pub(super) fn refuse_given(entry: Option<&(Key, Node)>, trail: &Trail<'_>, problems: &mut Problems) {
    if let Some((key, node)) = entry.filter(|(_, node)| !node.is_null()) {
        problems.add(&trail.field(&key.name), node.span, "value must be null");
    }
}

/// Notes a fault of a dotted field at the deepest key that the document has.
fn add_below(
    entries: &[(Key, Node)],
    span: Span,
    trail: &Trail<'_>,
    dotted: &str,
    message: &str,
    problems: &mut Problems,
) {
    let (name, rest) = dotted.split_once('.').map_or((dotted, None), |(name, rest)| (name, Some(rest)));
    let entry = entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node);
    let span = entry.map_or(span, |node| node.span);
    let trail = trail.field(name);
    match rest {
        None => {
            problems.add(&trail, span, message);
        }
        Some(rest) => {
            let below = entry.and_then(Node::as_object).unwrap_or_default();
            add_below(below, span, &trail, rest, message, problems);
        }
    }
}

impl Field {
    /// Whether leaving it out is wrong.
    pub(super) fn is_missed(&self) -> bool {
        self.required && self.default.is_none() && !matches!(self.element.kind, Kind::Record(_))
    }

    pub(super) fn validate(
        &self,
        entry: Option<&(Key, Node)>,
        parent: Span,
        trail: &Trail<'_>,
        problems: &mut Problems,
    ) -> Value {
        let trail = trail.field(self.name);
        if let Some((key, node)) = entry.filter(|(_, node)| !node.is_null()) {
            if let Some(instead) = self.deprecated {
                problems.warn(
                    &trail,
                    key.span,
                    format!("{} is deprecated, please use {instead} instead", self.name),
                );
            }
            return self.element.validate(node, &trail, problems);
        }
        if let Some(default) = &self.default {
            return default.clone();
        }
        let span = entry.map_or(parent, |(key, _)| key.span);
        match &self.element.kind {
            Kind::Record(record) if self.required => {
                record.validate(&Node { kind: NodeKind::Null, span }, &trail, problems)
            }
            _ => {
                if self.required {
                    problems.add(&trail, span, "required field missing");
                }
                Value::Null
            }
        }
    }
}

impl Element {
    /// Validates one value; what comes back is null when it is wrong.
    pub(crate) fn validate(&self, node: &Node, trail: &Trail<'_>, problems: &mut Problems) -> Value {
        if let Some(reference) = node.as_str().filter(|text| self.referenceable && is_reference(text)) {
            if let Err(message) = SecretReference::parse(reference) {
                problems.add(trail, node.span, message);
            }
            return Value::from(reference);
        }
        if self.refuse_mask(node, trail, problems) {
            return Value::Null;
        }
        let before = problems.errors();
        let value = self.typed(node, trail, problems);
        if problems.errors() > before {
            return value;
        }
        for rule in &self.rules {
            if let Err(message) = rule.test(&value) {
                let problem = problems.add(trail, node.span, message);
                problem.suggestion = meant(rule, &value);
                break;
            }
        }
        value
    }

    /// Whether `value`, which has the right type, satisfies the rules.
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        self.rules.iter().all(|rule| rule.test(value).is_ok())
    }

    fn typed(&self, node: &Node, trail: &Trail<'_>, problems: &mut Problems) -> Value {
        let (expected, value) = match (&self.kind, &node.kind) {
            (Kind::Any, _) => return node.to_value(),
            (Kind::Boolean, NodeKind::Bool(flag)) => return Value::Bool(*flag),
            (Kind::Boolean, _) => ("expected a boolean", None),
            (Kind::Integer, NodeKind::Number(number)) => ("expected an integer", integer(number)),
            (Kind::Integer, _) => ("expected an integer", None),
            (Kind::Number, NodeKind::Number(number)) => return Value::Number(number.clone()),
            (Kind::Number, _) => ("expected a number", None),
            (Kind::String, NodeKind::String(text)) => return Value::String(text.clone()),
            (Kind::String, _) => ("expected a string", None),
            (Kind::Uuid, NodeKind::String(text)) => ("expected a valid UUID", identifier(text)),
            (Kind::Uuid, _) => ("expected a valid UUID", None),
            (Kind::Foreign(_), NodeKind::String(text)) => return Value::String(text.clone()),
            (Kind::Foreign(_), NodeKind::Object(entries)) => ("expected a string", foreign(entries)),
            (Kind::Foreign(_), _) => ("expected a string", None),
            (Kind::Array(element) | Kind::Set(element), NodeKind::Array(nodes)) => {
                return elements(element, nodes, trail, problems);
            }
            (Kind::Array(_), _) => ("expected an array", None),
            (Kind::Set(_), _) => ("expected a set", None),
            (Kind::Map(keys, values), NodeKind::Object(entries)) => {
                return map(keys, values, entries, trail, problems);
            }
            (Kind::Map(..), _) => ("expected a map", None),
            (Kind::Record(record), _) => return record.validate(node, trail, problems),
        };
        value.unwrap_or_else(|| {
            problems.add(trail, node.span, expected).suggestion = self.kind.meant(node);
            Value::Null
        })
    }
}

impl Kind {
    /// What to write instead of a value of the wrong type, where that is plain.
    fn meant(&self, node: &Node) -> Option<String> {
        let suggestion = match (self, &node.kind) {
            (Kind::String, NodeKind::Number(_) | NodeKind::Bool(_)) => "put the value in quotes".to_owned(),
            (Kind::Boolean, NodeKind::String(text)) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => "write true".to_owned(),
                "no" | "off" | "false" => "write false".to_owned(),
                _ => return None,
            },
            (Kind::Integer | Kind::Number, NodeKind::String(text)) if text.parse::<f64>().is_ok() => {
                "write the number without quotes".to_owned()
            }
            (Kind::Array(_) | Kind::Set(_), NodeKind::String(_) | NodeKind::Number(_)) => {
                "put a single value in brackets, too: [...]".to_owned()
            }
            (Kind::Foreign(_), _) => match node.field("name").and_then(Node::as_str) {
                Some(name) => format!("write the name itself: {name}"),
                None => "write the name or the id".to_owned(),
            },
            _ => return None,
        };
        Some(suggestion)
    }
}

fn elements(element: &Element, nodes: &[Node], trail: &Trail<'_>, problems: &mut Problems) -> Value {
    let validated =
        nodes.iter().enumerate().map(|(index, node)| element.validate(node, &trail.index(index), problems));
    Value::Array(validated.collect())
}

fn map(
    keys: &Element,
    values: &Element,
    entries: &[(Key, Node)],
    trail: &Trail<'_>,
    problems: &mut Problems,
) -> Value {
    let mut validated = Map::with_capacity(entries.len());
    for (key, node) in entries {
        let trail = trail.field(&key.name);
        let name = Value::String(key.name.clone());
        for rule in &keys.rules {
            if let Err(message) = rule.test(&name) {
                problems.add(&trail, key.span, message);
            }
        }
        validated.insert(key.name.clone(), values.validate(node, &trail, problems));
    }
    Value::Object(validated)
}

/// An integer of 64 bits with a sign, also when written as `100.0`.
fn integer(number: &Number) -> Option<Value> {
    if number.is_i64() || number.is_u64() {
        return number.as_i64().map(Value::from);
    }
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then(|| Value::from(float as i64))
}

fn identifier(text: &str) -> Option<Value> {
    let hyphenated = text.len() == 36;
    let id = uuid::Uuid::try_parse(text).ok().filter(|_| hyphenated)?;
    Some(Value::String(id.hyphenated().to_string()))
}

/// A foreign key in its `{id: ...}` form.
fn foreign(entries: &[(Key, Node)]) -> Option<Value> {
    match entries {
        [(key, node)] if key.name == "id" => {
            let id = identifier(node.as_str()?)?;
            Some(Value::Object(Map::from_iter([("id".to_owned(), id)])))
        }
        _ => None,
    }
}

/// The allowed value that is nearest to a wrong one, or what else was probably meant.
fn meant(rule: &Rule, value: &Value) -> Option<String> {
    let pattern = |text: &str| text.starts_with('/') && text.contains(['\\', '^', '{', '|']);
    if matches!(rule, Rule::Format("router_path", _)) && value.as_str().is_some_and(pattern) {
        return Some("a regular expression begins with '~'".to_owned());
    }
    let Rule::OneOf(values) = rule else { return None };
    let name = nearest(value.as_str()?, values.iter().filter_map(Value::as_str))?;
    Some(format!("did you mean '{name}'?"))
}
