//! What operators and functions make of values.

use super::node::Function;
use super::times::{self, Calendar};
use super::tree::Operator;
use super::value::{Failure, Value};

type Outcome<'v> = Result<Value<'v>, Failure>;

/// Beyond these milliseconds since the epoch there are no timestamps: the years 1 to 9999.
const MOMENTS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

pub(super) fn negative<'v>(value: &Value<'v>) -> Outcome<'v> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(Failure::Arithmetic),
        Value::Span(value) => value.checked_neg().map(Value::Span).ok_or(Failure::Arithmetic),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(Failure::Kind),
    }
}

pub(super) fn arithmetic<'v>(operator: Operator, left: &Value<'v>, right: &Value<'v>) -> Outcome<'v> {
    let value = match (left, right) {
        (Value::Int(left), Value::Int(right)) => match operator {
            Operator::Add => left.checked_add(*right),
            Operator::Subtract => left.checked_sub(*right),
            Operator::Multiply => left.checked_mul(*right),
            Operator::Divide => left.checked_div(*right),
            _ => left.checked_rem(*right),
        }
        .map(Value::Int),
        (Value::Uint(left), Value::Uint(right)) => match operator {
            Operator::Add => left.checked_add(*right),
            Operator::Subtract => left.checked_sub(*right),
            Operator::Multiply => left.checked_mul(*right),
            Operator::Divide => left.checked_div(*right),
            _ => left.checked_rem(*right),
        }
        .map(Value::Uint),
        (Value::Double(left), Value::Double(right)) => Some(Value::Double(match operator {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
            _ => return Err(Failure::Kind),
        })),
        _ => return times(operator, left, right),
    };
    value.ok_or(Failure::Arithmetic)
}

fn times<'v>(operator: Operator, left: &Value<'v>, right: &Value<'v>) -> Outcome<'v> {
    let value = match (operator, left, right) {
        (Operator::Add, Value::Moment(moment), Value::Span(span))
        | (Operator::Add, Value::Span(span), Value::Moment(moment)) => in_range(moment.checked_add(*span)),
        (Operator::Subtract, Value::Moment(moment), Value::Span(span)) => in_range(moment.checked_sub(*span)),
        (Operator::Subtract, Value::Moment(left), Value::Moment(right)) => {
            left.checked_sub(*right).map(Value::Span)
        }
        (Operator::Add, Value::Span(left), Value::Span(right)) => left.checked_add(*right).map(Value::Span),
        (Operator::Subtract, Value::Span(left), Value::Span(right)) => {
            left.checked_sub(*right).map(Value::Span)
        }
        _ => return Err(Failure::Kind),
    };
    value.ok_or(Failure::Arithmetic)
}

fn in_range<'v>(moment: Option<i64>) -> Option<Value<'v>> {
    moment.filter(|moment| MOMENTS.contains(moment)).map(Value::Moment)
}

/// Calls `function`; `second` is its second argument, if it was given one.
pub(super) fn call<'v>(function: Function, first: Value<'v>, second: Option<&Value<'v>>) -> Outcome<'v> {
    match function {
        Function::Size => size(&first),
        Function::StartsWith => two_texts(&first, second, |text, part| text.starts_with(part)),
        Function::EndsWith => two_texts(&first, second, |text, part| text.ends_with(part)),
        Function::Contains => two_texts(&first, second, |text, part| text.contains(part)),
        Function::LowerAscii => recased(first, u8::is_ascii_uppercase, str::to_ascii_lowercase),
        Function::UpperAscii => recased(first, u8::is_ascii_lowercase, str::to_ascii_uppercase),
        Function::ToInt => to_int(&first),
        Function::ToUint => to_uint(&first),
        Function::ToDouble => to_double(&first),
        Function::ToText => to_text(first),
        Function::ToMoment => match first {
            Value::Moment(_) => Ok(first),
            Value::Int(seconds) => in_range(seconds.checked_mul(1000)).ok_or(Failure::Arithmetic),
            first => times::moment(first.as_text()?).map(Value::Moment).ok_or(Failure::Text),
        },
        Function::ToSpan => match first {
            Value::Span(_) => Ok(first),
            first => times::span(first.as_text()?).map(Value::Span).ok_or(Failure::Text),
        },
        _ => part_of_time(function, &first, second),
    }
}

fn size<'v>(value: &Value<'v>) -> Outcome<'v> {
    let size = match value {
        Value::Text(text) => text.chars().count(),
        Value::List(list) => list.len(),
        Value::Map(members) => members.len(),
        _ => return Err(Failure::Kind),
    };
    i64::try_from(size).map(Value::Int).map_err(|_| Failure::Arithmetic)
}

fn two_texts<'v>(
    text: &Value<'v>,
    part: Option<&Value<'v>>,
    holds: impl Fn(&str, &str) -> bool,
) -> Outcome<'v> {
    Ok(Value::Bool(holds(text.as_text()?, part.ok_or(Failure::Kind)?.as_text()?)))
}

/// The text in another case, borrowed if it is in that case already.
fn recased<'v>(value: Value<'v>, is_other: fn(&u8) -> bool, change: fn(&str) -> String) -> Outcome<'v> {
    match value {
        Value::Text(text) if text.bytes().any(|byte| is_other(&byte)) => Ok(Value::made_text(change(&text))),
        Value::Text(_) => Ok(value),
        _ => Err(Failure::Kind),
    }
}

fn to_int<'v>(value: &Value<'v>) -> Outcome<'v> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        Value::Double(number) => (-LIMIT < *number && *number < LIMIT).then_some(*number as i64),
        Value::Text(text) => return text.parse().map(Value::Int).map_err(|_| Failure::Text),
        Value::Moment(moment) => Some(moment.div_euclid(1000)),
        _ => return Err(Failure::Kind),
    };
    number.map(Value::Int).ok_or(Failure::Arithmetic)
}

fn to_uint<'v>(value: &Value<'v>) -> Outcome<'v> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Uint(number) => Some(*number),
        Value::Double(number) => (0.0 <= *number && *number < LIMIT).then_some(*number as u64),
        Value::Text(text) => return text.parse().map(Value::Uint).map_err(|_| Failure::Text),
        _ => return Err(Failure::Kind),
    };
    number.map(Value::Uint).ok_or(Failure::Arithmetic)
}

fn to_double<'v>(value: &Value<'v>) -> Outcome<'v> {
    match value {
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Uint(number) => Ok(Value::Double(*number as f64)),
        Value::Double(number) => Ok(Value::Double(*number)),
        Value::Text(text) => text.parse().map(Value::Double).map_err(|_| Failure::Text),
        _ => Err(Failure::Kind),
    }
}

fn to_text(value: Value<'_>) -> Outcome<'_> {
    let text = match value {
        Value::Text(_) => return Ok(value),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        _ => return Err(Failure::Kind),
    };
    Ok(Value::made_text(text))
}

fn part_of_time<'v>(function: Function, value: &Value<'v>, zone: Option<&Value<'v>>) -> Outcome<'v> {
    let moment = match (value, zone) {
        (Value::Moment(moment), None) => *moment,
        (Value::Moment(moment), Some(zone)) => {
            moment + times::offset(zone.as_text()?).ok_or(Failure::Text)?
        }
        (Value::Span(span), None) => return part_of_span(function, *span),
        _ => return Err(Failure::Kind),
    };
    let calendar = Calendar::of(moment);
    Ok(Value::Int(match function {
        Function::FullYear => calendar.year,
        Function::Month => calendar.month,
        Function::DayOfYear => calendar.day_of_year,
        Function::DayOfMonth => calendar.day,
        Function::Date => calendar.day + 1,
        Function::DayOfWeek => calendar.day_of_week,
        Function::Hours => calendar.hours,
        Function::Minutes => calendar.minutes,
        Function::Seconds => calendar.seconds,
        Function::Milliseconds => calendar.milliseconds,
        _ => return Err(Failure::Kind),
    }))
}

/// A length of time in one unit; of milliseconds, those beyond whole seconds.
fn part_of_span<'v>(function: Function, span: i64) -> Outcome<'v> {
    Ok(Value::Int(match function {
        Function::Hours => span / 3_600_000,
        Function::Minutes => span / 60_000,
        Function::Seconds => span / 1000,
        Function::Milliseconds => span % 1000,
        _ => return Err(Failure::Kind),
    }))
}
