//! Rules over several fields of a record, with Kong's wordings.

use serde_json::Value;

use super::{Fields, Rule};

/// What the fields of a record must satisfy together. Made by the functions in [`super::checks`].
#[derive(Debug, Clone)]
pub enum Check {
    /// At least one is set.
    AtLeastOneOf(&'static [&'static str]),
    /// Exactly one is set.
    OnlyOneOf(&'static [&'static str]),
    /// All are set or none is.
    MutuallyRequired(&'static [&'static str]),
    /// Those that are set differ.
    Distinct(&'static [&'static str]),
    /// When one field satisfies a rule, another must satisfy its rule.
    Conditional(Box<Condition>),
    /// Whatever the function says about the record as a whole.
    Custom(fn(&Value) -> Result<(), String>),
    /// Whatever the function says about single fields or the record as a whole.
    Fields(fn(&Value, &mut Faults)),
    /// The same, for a function that does without the complete form of an entity.
    Entity(fn(&Fields<'_>, &mut Faults)),
}

/// "If this field is so, that field must be so."
#[derive(Debug, Clone)]
pub struct Condition {
    /// The dotted field that decides.
    pub if_field: &'static str,
    /// What it must satisfy for the condition to hold.
    pub if_match: Rule,
    /// The dotted field that is bound.
    pub then_field: &'static str,
    /// What that one must satisfy then.
    pub then_match: Rule,
}

/// What a check found: the dotted field (`None`: the record itself) and the message.
#[derive(Debug, Default)]
pub struct Faults(pub Vec<(Option<String>, String)>);

/// One function per check.
pub mod constructors {
    use serde_json::Value;

    use super::{Check, Condition, Faults};
    use crate::schema::{Fields, Rule};

    /// At least one of the fields is set.
    pub fn at_least_one_of(fields: &'static [&'static str]) -> Check {
        Check::AtLeastOneOf(fields)
    }

    /// Exactly one of the fields is set.
    pub fn only_one_of(fields: &'static [&'static str]) -> Check {
        Check::OnlyOneOf(fields)
    }

    /// All of the fields are set or none is.
    pub fn mutually_required(fields: &'static [&'static str]) -> Check {
        Check::MutuallyRequired(fields)
    }

    /// Those of the fields that are set differ.
    pub fn distinct(fields: &'static [&'static str]) -> Check {
        Check::Distinct(fields)
    }

    /// When `if_field` satisfies `if_match`, `then_field` must satisfy `then_match`.
    pub fn conditional(
        if_field: &'static str,
        if_match: Rule,
        then_field: &'static str,
        then_match: Rule,
    ) -> Check {
        Check::Conditional(Box::new(Condition { if_field, if_match, then_field, then_match }))
    }

    /// Whatever the function says about the record; its error is the message.
    pub fn custom(check: fn(&Value) -> Result<(), String>) -> Check {
        Check::Custom(check)
    }

    /// Whatever the function says, field by field.
    pub fn custom_fields(check: fn(&Value, &mut Faults)) -> Check {
        Check::Fields(check)
    }

    /// The same for entities of which there may be very many: no complete form is made for the function.
    pub fn custom_entity(check: fn(&Fields<'_>, &mut Faults)) -> Check {
        Check::Entity(check)
    }
}

impl Faults {
    /// Notes that a (dotted) field is wrong.
    pub fn field(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((Some(field.into()), message.into()));
    }

    /// Notes that the record as a whole is wrong.
    pub fn record(&mut self, message: impl Into<String>) {
        self.0.push((None, message.into()));
    }
}

impl Check {
    /// Tests a record that has its defaults.
    pub(crate) fn test(&self, record: &Fields<'_>, faults: &mut Faults) {
        let set = |fields: &[&str]| fields.iter().filter(|field| is_set(record.at(field))).count();
        match self {
            Check::AtLeastOneOf(fields) if set(fields) == 0 => {
                faults.record(format!("at least one of these fields must be non-empty: {}", quoted(fields)));
            }
            Check::OnlyOneOf(fields) if set(fields) != 1 => {
                faults.record(format!("only one of these fields must be non-empty: {}", quoted(fields)));
            }
            Check::MutuallyRequired(fields) if !matches!(set(fields), count if count == 0 || count == fields.len()) =>
            {
                faults.record(format!("all or none of these fields must be set: {}", quoted(fields)));
            }
            Check::Distinct(fields) if repeats(record, fields) => {
                faults.record(format!("values of these fields must be distinct: {}", quoted(fields)));
            }
            Check::Conditional(condition) => condition.test(record, faults),
            Check::Custom(check) => {
                if let Err(message) = check(&record.whole()) {
                    faults.record(message);
                }
            }
            Check::Fields(check) => check(&record.whole(), faults),
            Check::Entity(check) => check(record, faults),
            _ => {}
        }
    }
}

impl Condition {
    fn test(&self, record: &Fields<'_>, faults: &mut Faults) {
        let deciding = record.at(self.if_field);
        let applies = self.if_match.test(deciding).is_ok()
            && (!deciding.is_null() || matches!(&self.if_match, Rule::Equals(Value::Null)));
        if !applies {
            return;
        }
        let bound = record.at(self.then_field);
        if bound.is_null() && !matches!(self.then_match, Rule::Required) {
            return;
        }
        if let Err(message) = self.then_match.test(bound) {
            faults.field(self.then_field, message);
            faults.record(format!("failed conditional validation given value of field '{}'", self.if_field));
        }
    }
}

/// The value under a dotted name; null when there is none.
pub fn at<'a>(record: &'a Value, dotted: &str) -> &'a Value {
    dotted.split('.').fold(record, |value, name| value.get(name).unwrap_or(&Value::Null))
}

/// Kong's "non-empty": neither null, nor an empty list or map.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        _ => true,
    }
}

fn repeats(record: &Fields<'_>, fields: &[&str]) -> bool {
    let values: Vec<&Value> =
        fields.iter().map(|field| record.at(field)).filter(|value| is_set(value)).collect();
    values.iter().enumerate().any(|(index, value)| values[..index].contains(value))
}

fn quoted(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("'{field}'")).collect::<Vec<_>>().join(", ")
}
