//! Values while an expression is evaluated. They borrow from the request and from the expression.

use std::cmp::Ordering;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use super::tree::Constant;

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authorization) enum Failure {
    /// What was asked for is not there.
    Absent,
    /// It is there more than once, and nothing says which one counts.
    Ambiguous,
    /// A value is of a kind that it must not be of.
    Kind,
    /// A result is too large, or there is none.
    Arithmetic,
    /// Bytes that are no text, or a text that is not what it should be.
    Text,
    /// It would have taken too long.
    Effort,
}

#[derive(Debug, Clone)]
pub(in crate::authorization) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'v>),
    /// Milliseconds since the epoch.
    Moment(i64),
    /// Milliseconds.
    Span(i64),
    List(List<'v>),
    Map(&'v serde_json::Map<String, Json>),
}

/// A text that costs nothing to copy.
#[derive(Debug, Clone)]
pub(in crate::authorization) enum Text<'v> {
    Borrowed(&'v str),
    Made(Rc<str>),
}

#[derive(Debug, Clone)]
pub(in crate::authorization) enum List<'v> {
    Json(&'v [Json]),
    Constants(&'v [Constant]),
    Names(&'v [&'v str]),
    Tags(&'v [String]),
    Groups(&'v [Arc<str>]),
    Made(Rc<[Value<'v>]>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'v> Value<'v> {
    pub(super) fn of_constant(constant: &'v Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(value) => Self::Bool(*value),
            Constant::Int(value) => Self::Int(*value),
            Constant::Uint(value) => Self::Uint(*value),
            Constant::Double(value) => Self::Double(*value),
            Constant::Text(text) => Self::text(text),
            Constant::Moment(value) => Self::Moment(*value),
            Constant::Span(value) => Self::Span(*value),
        }
    }

    pub(in crate::authorization) fn of_json(json: &'v Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Uint(value),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::text(text),
            Json::Array(elements) => Self::List(List::Json(elements)),
            Json::Object(members) => Self::Map(members),
        }
    }

    pub(in crate::authorization) fn text(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    pub(in crate::authorization) fn made_text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    pub(super) fn as_bool(&self) -> Result<bool, Failure> {
        match self {
            Self::Bool(value) => Ok(*value),
            _ => Err(Failure::Kind),
        }
    }

    pub(super) fn as_text(&self) -> Result<&str, Failure> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(Failure::Kind),
        }
    }

    /// How much effort it is to look at all of it.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len() / 32,
            Self::List(list) => list.len(),
            Self::Map(members) => members.len(),
            _ => 0,
        }
    }

    /// Whether both are the same; values of different kinds, apart from numbers, never are. `spend` is told the effort and may
    /// refuse it.
    pub(super) fn equals(
        &self,
        other: &Self,
        spend: &dyn Fn(usize) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        spend(1 + self.weight())?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => **left == **right,
            (Self::Moment(left), Self::Moment(right)) | (Self::Span(left), Self::Span(right)) => {
                left == right
            }
            (Self::List(left), Self::List(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for place in 0..left.len() {
                    let (Some(left), Some(right)) = (left.element(place), right.element(place)) else {
                        break;
                    };
                    if !left.equals(&right, spend)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(left), Self::Map(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (name, left) in *left {
                    let Some(right) = right.get(name) else { return Ok(false) };
                    if !Value::of_json(left).equals(&Value::of_json(right), spend)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => numbers_in_order(self, other) == Some(Some(Ordering::Equal)),
        })
    }

    /// Which of two comes first; nothing comes before or after what is not a number.
    pub(super) fn order(&self, other: &Self) -> Result<Option<Ordering>, Failure> {
        Ok(Some(match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Text(left), Self::Text(right)) => (**left).cmp(right),
            (Self::Moment(left), Self::Moment(right)) | (Self::Span(left), Self::Span(right)) => {
                left.cmp(right)
            }
            _ => return numbers_in_order(self, other).ok_or(Failure::Kind),
        }))
    }
}

/// The order of two numbers of any kind, exact; none if one of them is no number.
fn numbers_in_order(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => Some(left.partial_cmp(right)),
        (Value::Double(left), _) => Some(double_and_whole(*left, whole(right)?)),
        (_, Value::Double(right)) => Some(double_and_whole(*right, whole(left)?).map(Ordering::reverse)),
        _ => Some(Some(whole(left)?.cmp(&whole(right)?))),
    }
}

/// A 64-bit number beside a floating-point one: as whole numbers where both can be, so that nothing is rounded.
fn double_and_whole(double: f64, whole: i128) -> Option<Ordering> {
    const BEYOND: f64 = 36_893_488_147_419_103_232.0;
    if double.is_nan() {
        return None;
    }
    let bounded = double.clamp(-BEYOND, BEYOND);
    let order = (bounded.trunc() as i128).cmp(&whole);
    Some(order.then_with(|| bounded.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal)))
}

impl<'v> List<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(elements) => elements.len(),
            Self::Constants(elements) => elements.len(),
            Self::Names(elements) => elements.len(),
            Self::Tags(elements) => elements.len(),
            Self::Groups(elements) => elements.len(),
            Self::Made(elements) => elements.len(),
        }
    }

    pub(super) fn elements(self) -> impl Iterator<Item = Value<'v>> {
        (0..self.len()).map_while(move |place| self.element(place))
    }

    pub(super) fn element(&self, place: usize) -> Option<Value<'v>> {
        Some(match self {
            Self::Json(elements) => Value::of_json(elements.get(place)?),
            Self::Constants(elements) => Value::of_constant(elements.get(place)?),
            Self::Names(elements) => Value::text(elements.get(place)?),
            Self::Tags(elements) => Value::text(elements.get(place)?),
            Self::Groups(elements) => Value::text(elements.get(place)?),
            Self::Made(elements) => elements.get(place)?.clone(),
        })
    }
}
