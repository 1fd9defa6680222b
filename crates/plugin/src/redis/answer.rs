//! What a Redis says, as rooms see it.

use redis::Value;

/// Arrays within arrays that are read.
const DEEPEST: usize = 4;

/// An answer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is no such value.
    Nothing,
    /// A number.
    Number(i64),
    /// Bytes, texts included.
    Bytes(Vec<u8>),
    /// Several in an order.
    List(Vec<Answer>),
}

impl Answer {
    /// The bytes, if that is what it is.
    #[must_use]
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The parts, if there are any.
    #[must_use]
    pub fn into_list(self) -> Vec<Self> {
        match self {
            Self::List(parts) => parts,
            _ => Vec::new(),
        }
    }

    /// The same as the wire has it; none for what no room asks for.
    pub(super) fn of(value: Value) -> Option<Self> {
        Self::within(value, DEEPEST)
    }

    fn within(value: Value, depth: usize) -> Option<Self> {
        Some(match value {
            Value::Nil => Self::Nothing,
            Value::Int(number) => Self::Number(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(parts) => {
                let depth = depth.checked_sub(1)?;
                Self::List(parts.into_iter().map(|part| Self::within(part, depth)).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_was_said_and_no_deeper_than_rooms_look() {
        let said = Value::Array(vec![Value::Nil, Value::Int(-1), Value::BulkString(b"\0a".to_vec())]);
        let read = [Answer::Nothing, Answer::Number(-1), Answer::Bytes(b"\0a".to_vec())];
        assert_eq!(Answer::of(said).map(Answer::into_list).as_deref(), Some(&read[..]));
        let nested = |depth| (0..depth).fold(Value::Okay, |inner, _| Value::Array(vec![inner]));
        assert!(Answer::of(nested(DEEPEST)).is_some());
        assert_eq!(Answer::of(nested(DEEPEST + 1)), None);
        assert_eq!(Answer::of(Value::Double(1.0)), None);
    }
}
