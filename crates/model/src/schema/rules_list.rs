//! Rules over one value, with Kong's wordings.

use regex::Regex;
use serde_json::Value;

/// What a value must satisfy beyond its type. Made by the functions in [`super::rules`].
#[derive(Debug, Clone)]
pub enum Rule {
    /// One of these values.
    OneOf(Vec<Value>),
    /// None of these values.
    NotOneOf(Vec<Value>),
    /// A number within these bounds, both allowed.
    Between(f64, f64),
    /// A number above this.
    GreaterThan(f64),
    /// Exactly this value.
    Equals(Value),
    /// Any value but this.
    NotEquals(Value),
    /// At least so many characters or elements.
    MinimumLength(usize),
    /// At most so many characters or elements.
    MaximumLength(usize),
    /// Exactly so many characters or elements.
    Length(usize),
    /// A string that begins so.
    StartsWith(&'static str),
    /// A string that matches the pattern.
    Matches(Box<Regex>),
    /// A string that does not match the pattern.
    NotMatches(Box<Regex>),
    /// An array that holds the value.
    Contains(Value),
    /// A string in a named format.
    Format(&'static str, fn(&str) -> Result<(), String>),
    /// Whatever the function says.
    Custom(fn(&Value) -> Result<(), String>),
    /// For every element of an array or set.
    Each(Box<Rule>),
    /// For every key of a map.
    Keys(Box<Rule>),
    /// For every value of a map.
    Values(Box<Rule>),
    /// The collection that a foreign key points into.
    To(&'static str),
    /// May be a vault reference.
    Referenceable,
    /// Is a secret.
    Encrypted,
    /// Is on its way out; the text says what to use instead.
    Deprecated(&'static str),
    /// Must not be null.
    Required,
    /// Differs in every entity.
    Unique,
    /// Made up by the loader when absent.
    Auto,
    /// A field that Kong does not have.
    Extension,
    /// An integer that the Rust type can hold.
    Fits(i64, i64),
}

/// One function per rule.
pub mod constructors {
    use regex::Regex;
    use serde_json::Value;

    use super::Rule;

    /// One of these values.
    pub fn one_of<T: Into<Value> + Clone>(values: &[T]) -> Rule {
        Rule::OneOf(values.iter().cloned().map(Into::into).collect())
    }

    /// None of these values.
    pub fn not_one_of<T: Into<Value> + Clone>(values: &[T]) -> Rule {
        Rule::NotOneOf(values.iter().cloned().map(Into::into).collect())
    }

    /// A number within these bounds, both allowed.
    pub fn between(least: impl Into<Bound>, most: impl Into<Bound>) -> Rule {
        Rule::Between(least.into().0, most.into().0)
    }

    /// A number above `bound`.
    pub fn gt(bound: impl Into<Bound>) -> Rule {
        Rule::GreaterThan(bound.into().0)
    }

    /// Exactly this value.
    pub fn equals(value: impl Into<Value>) -> Rule {
        Rule::Equals(value.into())
    }

    /// Any value but this.
    pub fn not_equals(value: impl Into<Value>) -> Rule {
        Rule::NotEquals(value.into())
    }

    /// At least so many characters or elements.
    pub fn len_min(length: usize) -> Rule {
        Rule::MinimumLength(length)
    }

    /// At most so many characters or elements.
    pub fn len_max(length: usize) -> Rule {
        Rule::MaximumLength(length)
    }

    /// Exactly so many characters or elements.
    pub fn len_eq(length: usize) -> Rule {
        Rule::Length(length)
    }

    /// A string that begins so.
    pub fn starts_with(prefix: &'static str) -> Rule {
        Rule::StartsWith(prefix)
    }

    /// A string that matches `pattern`, a regular expression of the `regex` crate written by us.
    pub fn matches(pattern: &str) -> Rule {
        Rule::Matches(Box::new(Regex::new(pattern).expect("patterns in schemas are constants under test")))
    }

    /// A string that does not match `pattern`.
    pub fn not_matches(pattern: &str) -> Rule {
        Rule::NotMatches(Box::new(Regex::new(pattern).expect("patterns in schemas are constants under test")))
    }

    /// An array that holds `value`.
    pub fn contains(value: impl Into<Value>) -> Rule {
        Rule::Contains(value.into())
    }

    /// Whatever the function says; its error is the message.
    pub fn custom_value(check: fn(&Value) -> Result<(), String>) -> Rule {
        Rule::Custom(check)
    }

    /// `rule` for every element of an array or set.
    pub fn each(rule: Rule) -> Rule {
        Rule::Each(Box::new(rule))
    }

    /// `rule` for every key of a map.
    pub fn keys(rule: Rule) -> Rule {
        Rule::Keys(Box::new(rule))
    }

    /// `rule` for every value of a map.
    pub fn values(rule: Rule) -> Rule {
        Rule::Values(Box::new(rule))
    }

    /// The collection that a `Reference` points into.
    pub fn to(collection: &'static str) -> Rule {
        Rule::To(collection)
    }

    /// May be a `{vault://...}` reference.
    pub fn referenceable() -> Rule {
        Rule::Referenceable
    }

    /// Is a secret.
    pub fn encrypted() -> Rule {
        Rule::Encrypted
    }

    /// Is on its way out; `instead` says what to use.
    pub fn deprecated(instead: &'static str) -> Rule {
        Rule::Deprecated(instead)
    }

    /// Must not be null although its type is optional (or: as the consequence of a condition).
    pub fn required() -> Rule {
        Rule::Required
    }

    /// No two entities of the collection may share the value.
    pub fn unique() -> Rule {
        Rule::Unique
    }

    /// Made up by the loader when absent: a random string, or a time stamp.
    pub fn auto() -> Rule {
        Rule::Auto
    }

    /// A field that Kong does not have.
    pub fn extension() -> Rule {
        Rule::Extension
    }

    /// A bound of a number, written as an integer or a float.
    #[derive(Debug, Clone, Copy)]
    pub struct Bound(pub f64);

    impl From<i64> for Bound {
        fn from(bound: i64) -> Self {
            Self(bound as f64)
        }
    }

    impl From<i32> for Bound {
        fn from(bound: i32) -> Self {
            Self(f64::from(bound))
        }
    }

    impl From<f64> for Bound {
        fn from(bound: f64) -> Self {
            Self(bound)
        }
    }
}

impl Rule {
    /// Whether `value`, which has the right type, satisfies the rule; the error is the message.
    pub(super) fn test(&self, value: &Value) -> Result<(), String> {
        match self {
            Rule::OneOf(values) if !values.contains(value) => {
                Err(format!("expected one of: {}", list(values)))
            }
            Rule::NotOneOf(values) if values.contains(value) => {
                Err(format!("must not be one of: {}", list(values)))
            }
            Rule::Equals(expected) if value != expected => Err(format!("value must be {}", plain(expected))),
            Rule::NotEquals(other) if value == other => Err(format!("value must not be {}", plain(other))),
            Rule::Contains(wanted) if !value.as_array().is_some_and(|array| array.contains(wanted)) => {
                Err(format!("expected to contain: {}", plain(wanted)))
            }
            Rule::Required if value.is_null() => Err("required field missing".to_owned()),
            Rule::Custom(check) => check(value),
            Rule::Each(rule) => value.as_array().into_iter().flatten().try_for_each(|each| rule.test(each)),
            _ => self.test_number(value).and_then(|()| self.test_text(value)),
        }
    }

    fn test_number(&self, value: &Value) -> Result<(), String> {
        let Some(number) = value.as_f64() else { return Ok(()) };
        match self {
            Rule::Between(least, most) if !(*least..=*most).contains(&number) => {
                Err(format!("value should be between {least} and {most}"))
            }
            Rule::GreaterThan(bound) if number <= *bound => {
                Err(format!("value must be greater than {bound}"))
            }
            Rule::Fits(least, most) => match value.as_i64() {
                Some(number) if (*least..=*most).contains(&number) => Ok(()),
                _ => Err(format!("value should be between {least} and {most}")),
            },
            _ => Ok(()),
        }
    }

    fn test_text(&self, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        match (self, text) {
            (Rule::MinimumLength(length), _) if length_of(value) < *length => {
                Err(format!("length must be at least {length}"))
            }
            (Rule::MaximumLength(length), _) if length_of(value) > *length => {
                Err(format!("length must be at most {length}"))
            }
            (Rule::Length(length), _) if length_of(value) != *length => {
                Err(format!("length must be {length}"))
            }
            (Rule::StartsWith(prefix), Some(text)) if !text.starts_with(prefix) => {
                Err(format!("should start with: {prefix}"))
            }
            (Rule::Matches(pattern), Some(text)) if !pattern.is_match(text) => {
                Err(format!("invalid value: {text}"))
            }
            (Rule::NotMatches(pattern), Some(text)) if pattern.is_match(text) => {
                Err(format!("invalid value: {text}"))
            }
            (Rule::Format(_, check), Some(text)) => check(text),
            _ => Ok(()),
        }
    }
}

/// A value as messages show it: strings without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(values: &[Value]) -> String {
    values.iter().map(plain).collect::<Vec<_>>().join(", ")
}

/// Bytes of a string (as Lua counts), elements of a list, entries of a map. Others have no length to object to.
fn length_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.len(),
        Value::Object(entries) => entries.len(),
        _ => 0,
    }
}
