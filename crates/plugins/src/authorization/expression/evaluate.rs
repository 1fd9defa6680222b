//! Evaluates expressions. The effort is bounded; where there is no value, the failure says why, and `&&`, `||`, `all` and
//! `exists` do without it where the other parts decide (CEL specification, Logical Operators).

use std::cmp::Ordering;
use std::net::IpAddr;

use super::calls::is_client_address;
use super::functions;
use super::node::{Made, Node, Quantity};
use super::tree::Operator;
use super::value::{Failure, List, Value};
use crate::authorization::facts::Facts;

/// The element that a macro looks at, and those of the macros around it.
struct Element<'e, 'v> {
    value: Value<'v>,
    outer: Option<&'e Element<'e, 'v>>,
}

/// Evaluates expressions about one request.
pub(super) struct Evaluator<'v, 'x> {
    pub(super) facts: &'v Facts<'x>,
}

type Outcome<'v> = Result<Value<'v>, Failure>;

impl<'v> Evaluator<'v, '_> {
    pub(super) fn value(&self, node: &'v Node) -> Outcome<'v> {
        self.at(node, None)
    }

    fn at(&self, node: &'v Node, element: Option<&Element<'_, 'v>>) -> Outcome<'v> {
        self.facts.spend(1)?;
        match node {
            Node::Constant(constant) => Ok(Value::of_constant(constant)),
            Node::Constants(constants) => Ok(Value::List(List::Constants(constants))),
            Node::List(elements) => {
                let elements: Result<_, _> = elements.iter().map(|one| self.at(one, element)).collect();
                Ok(Value::List(List::Made(elements?)))
            }
            Node::Fact(fact) => self.facts.value(fact),
            Node::HasFact(fact) => Ok(Value::Bool(self.facts.has(fact))),
            Node::Element(place) => bound(*place, element),
            Node::Member(of, name) => self.member(of, name, element)?.ok_or(Failure::Absent),
            Node::HasMember(of, name) => Ok(Value::Bool(self.member(of, name, element)?.is_some())),
            Node::Index(parts) => self.index(&parts[0], &parts[1], element),
            Node::Not(operand) => Ok(Value::Bool(!self.at(operand, element)?.as_bool()?)),
            Node::Negative(operand) => functions::negative(&self.at(operand, element)?),
            Node::All(parts) => self.decided(parts, false, element),
            Node::Any(parts) => self.decided(parts, true, element),
            Node::Conditional(parts) => {
                let [condition, first, second] = &**parts;
                let chosen = if self.at(condition, element)?.as_bool()? { first } else { second };
                self.at(chosen, element)
            }
            Node::Binary(operator, parts) => self.binary(*operator, &parts[0], &parts[1], element),
            Node::HasRole(role) => Ok(Value::Bool(self.facts.roles().holds(*role))),
            Node::HasScope(scope) => Ok(Value::Bool(self.facts.scopes().holds(*scope))),
            Node::Call(function, arguments) => {
                let first = self.at(&arguments[0], element)?;
                let second = arguments.get(1).map(|argument| self.at(argument, element)).transpose()?;
                self.facts.spend(first.weight())?;
                functions::call(*function, first, second.as_ref())
            }
            Node::Matches(text, regex) => {
                let text = self.at(text, element)?;
                self.facts.spend(text.weight() * 4)?;
                Ok(Value::Bool(regex.is_match(text.as_text()?)))
            }
            Node::Within(address, network) => {
                if is_client_address(address) {
                    return Ok(Value::Bool(network.holds(self.facts.client_address())));
                }
                let address: IpAddr =
                    self.at(address, element)?.as_text()?.parse().map_err(|_| Failure::Text)?;
                Ok(Value::Bool(network.holds(address)))
            }
            Node::Elements(quantity, parts) => self.elements(*quantity, &parts[0], &parts[1], element),
            Node::Made(made) => self.made(made, element),
        }
    }

    /// All parts are true, or any is: `decisive` is what one part decides by. A part without a value matters only if no other
    /// one decides.
    fn decided(&self, parts: &'v [Node], decisive: bool, element: Option<&Element<'_, 'v>>) -> Outcome<'v> {
        let mut failure = None;
        for part in parts {
            match self.at(part, element).and_then(|value| value.as_bool()) {
                Ok(value) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(Failure::Effort) => return Err(Failure::Effort),
                Err(other) => failure = Some(other),
            }
        }
        failure.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn member(
        &self,
        of: &'v Node,
        name: &str,
        element: Option<&Element<'_, 'v>>,
    ) -> Result<Option<Value<'v>>, Failure> {
        match self.at(of, element)? {
            Value::Map(members) => Ok(members.get(name).map(Value::of_json)),
            _ => Err(Failure::Kind),
        }
    }

    fn index(&self, of: &'v Node, key: &'v Node, element: Option<&Element<'_, 'v>>) -> Outcome<'v> {
        let (of, key) = (self.at(of, element)?, self.at(key, element)?);
        match (&of, &key) {
            (Value::Map(members), Value::Text(name)) => {
                members.get(&**name).map(Value::of_json).ok_or(Failure::Absent)
            }
            (Value::Map(_), _) => Err(Failure::Absent),
            (Value::List(list), Value::Int(_) | Value::Uint(_)) => {
                let place = match key {
                    Value::Int(place) => usize::try_from(place),
                    Value::Uint(place) => usize::try_from(place),
                    _ => return Err(Failure::Kind),
                };
                place.ok().and_then(|place| list.element(place)).ok_or(Failure::Absent)
            }
            _ => Err(Failure::Kind),
        }
    }

    fn binary(
        &self,
        operator: Operator,
        left: &'v Node,
        right: &'v Node,
        element: Option<&Element<'_, 'v>>,
    ) -> Outcome<'v> {
        let (left, right) = (self.at(left, element)?, self.at(right, element)?);
        let spend = |effort| self.facts.spend(effort);
        let ordered = |fits: fn(Ordering) -> bool| {
            spend(left.weight())?;
            Ok(Value::Bool(left.order(&right)?.is_some_and(fits)))
        };
        match operator {
            Operator::Equal => Ok(Value::Bool(left.equals(&right, &spend)?)),
            Operator::Unequal => Ok(Value::Bool(!left.equals(&right, &spend)?)),
            Operator::Less => ordered(Ordering::is_lt),
            Operator::LessOrEqual => ordered(Ordering::is_le),
            Operator::Greater => ordered(Ordering::is_gt),
            Operator::GreaterOrEqual => ordered(Ordering::is_ge),
            Operator::In => self.contained(&left, &right),
            Operator::Add => self.sum(&left, &right),
            _ => functions::arithmetic(operator, &left, &right),
        }
    }

    fn sum(&self, left: &Value<'v>, right: &Value<'v>) -> Outcome<'v> {
        match (left, right) {
            (Value::Text(first), Value::Text(second)) => {
                self.facts.spend((first.len() + second.len()) / 32)?;
                Ok(Value::made_text([&**first, &**second].concat()))
            }
            (Value::List(first), Value::List(second)) => {
                self.facts.spend(first.len() + second.len())?;
                let all = first.clone().elements().chain(second.clone().elements());
                Ok(Value::List(List::Made(all.collect())))
            }
            _ => functions::arithmetic(Operator::Add, left, right),
        }
    }

    fn contained(&self, element: &Value<'v>, container: &Value<'v>) -> Outcome<'v> {
        match (container, element) {
            (Value::List(list), _) => {
                for place in 0..list.len() {
                    let Some(one) = list.element(place) else { break };
                    if one.equals(element, &|effort| self.facts.spend(effort))? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            (Value::Map(members), Value::Text(name)) => Ok(Value::Bool(members.contains_key(&**name))),
            (Value::Map(_), _) => Ok(Value::Bool(false)),
            _ => Err(Failure::Kind),
        }
    }

    /// A macro over the elements of a list, or over the names of a map.
    fn elements(
        &self,
        quantity: Quantity,
        list: &'v Node,
        condition: &'v Node,
        outer: Option<&Element<'_, 'v>>,
    ) -> Outcome<'v> {
        let test = |value: Value<'v>| self.at(condition, Some(&Element { value, outer }))?.as_bool();
        let mut tally = Tally { quantity, failure: None, found: 0 };
        for element in looked_at(self.at(list, outer)?)? {
            if let Some(decided) = tally.count(test(element))? {
                return Ok(Value::Bool(decided));
            }
        }
        tally.end().map(Value::Bool)
    }

    /// A macro that makes a list. An element without a result, or of which the condition has no value, leaves none.
    fn made(&self, made: &'v Made, outer: Option<&Element<'_, 'v>>) -> Outcome<'v> {
        let become_of = |value: Value<'v>| {
            let element = Element { value, outer };
            let is_kept = match &made.condition {
                Some(condition) => self.at(condition, Some(&element))?.as_bool()?,
                None => true,
            };
            match &made.result {
                _ if !is_kept => Ok(None),
                Some(result) => self.at(result, Some(&element)).map(Some),
                None => Ok(Some(element.value)),
            }
        };
        let elements = looked_at(self.at(&made.of, outer)?)?;
        let results: Result<_, _> = elements.filter_map(|one| become_of(one).transpose()).collect();
        Ok(Value::List(List::Made(results?)))
    }
}

/// What a macro has seen.
struct Tally {
    quantity: Quantity,
    failure: Option<Failure>,
    found: usize,
}

impl Tally {
    /// Counts what became of the condition for one element; the result, if that decides.
    fn count(&mut self, outcome: Result<bool, Failure>) -> Result<Option<bool>, Failure> {
        match (self.quantity, outcome) {
            (Quantity::All, Ok(false)) => return Ok(Some(false)),
            (Quantity::Some, Ok(true)) => return Ok(Some(true)),
            (Quantity::One, Ok(true)) => self.found += 1,
            (_, Ok(_)) => {}
            (Quantity::One, Err(failure)) | (_, Err(failure @ Failure::Effort)) => return Err(failure),
            (_, Err(failure)) => self.failure = Some(failure),
        }
        Ok(None)
    }

    fn end(self) -> Result<bool, Failure> {
        match (self.quantity, self.failure) {
            (_, Some(failure)) => Err(failure),
            (Quantity::All, None) => Ok(true),
            (Quantity::Some, None) => Ok(false),
            (Quantity::One, None) => Ok(self.found == 1),
        }
    }
}

/// What a macro looks at: the elements of a list, or the names of a map.
fn looked_at<'v>(value: Value<'v>) -> Result<impl Iterator<Item = Value<'v>>, Failure> {
    let (list, map) = match value {
        Value::List(list) => (Some(list), None),
        Value::Map(members) => (None, Some(members)),
        _ => return Err(Failure::Kind),
    };
    let names = map.into_iter().flat_map(|members| members.keys().map(|name| Value::text(name)));
    Ok(list.into_iter().flat_map(List::elements).chain(names))
}

fn bound<'v>(place: usize, innermost: Option<&Element<'_, 'v>>) -> Outcome<'v> {
    let mut element = innermost;
    for _ in 0..place {
        element = element.and_then(|element| element.outer);
    }
    // The check has found every name.
    element.map(|element| element.value.clone()).ok_or(Failure::Absent)
}
