//! Checks an expression and makes it ready to be evaluated: names become facts, macros and functions what they do. What is
//! wrong whatever the request says is found here.

use plugin::claims::WantedClaims;
use plugin::model::problem::nearest;

use super::calls;
use super::names::{self, Group};
use super::node::{Fact, Kind, Node};
use super::tree::{Call, Constant, Fault, Form, Operator, Tree};
use crate::authorization::vocabulary::Vocabulary;

/// What names in an expression may stand for.
pub(in crate::authorization) struct Names<'a> {
    /// Where claims are asked for.
    pub(in crate::authorization) wanted: &'a WantedClaims,
    /// The roles that matter.
    pub(in crate::authorization) roles: &'a mut Vocabulary,
    /// The scopes that matter.
    pub(in crate::authorization) scopes: &'a mut Vocabulary,
    /// The parts of the path that the rule's patterns name, in order.
    pub(in crate::authorization) parameters: &'a [Box<str>],
}

pub(super) struct Checker<'a, 'n> {
    pub(super) names: &'n mut Names<'a>,
    /// Names of the elements that macros look at, the innermost last.
    pub(super) elements: Vec<Box<str>>,
}

pub(super) type Checked = Result<(Node, Kind), Fault>;

impl Checker<'_, '_> {
    pub(super) fn check(&mut self, tree: &Tree) -> Checked {
        let at = tree.at;
        match &tree.form {
            Form::Constant(constant) => Ok((Node::Constant(constant.clone()), Kind::of(constant))),
            Form::Name(name) => self.name(at, name),
            Form::List(elements) => self.list(elements),
            Form::Select(of, name) => self.select(at, of, name),
            Form::Index(parts) => self.index(at, parts),
            Form::Call(call) => self.call(at, call),
            Form::Not(operand) => {
                let operand = self.expect(operand, Kind::Bool)?;
                Ok((Node::Not(Box::new(operand)), Kind::Bool))
            }
            Form::Negative(operand) => {
                let (operand, kind) = self.check(operand)?;
                match kind {
                    Kind::Int | Kind::Double | Kind::Span | Kind::Any => {
                        Ok((Node::Negative(Box::new(operand)), kind))
                    }
                    other => Err(Fault::new(at, format!("{} has no negative", other.as_str()))),
                }
            }
            Form::All(parts) => Ok((Node::All(self.truths(parts)?), Kind::Bool)),
            Form::Any(parts) => Ok((Node::Any(self.truths(parts)?), Kind::Bool)),
            Form::Conditional(parts) => {
                let [condition, first, second] = &**parts;
                let condition = self.expect(condition, Kind::Bool)?;
                let ((first, kind), (second, other)) = (self.check(first)?, self.check(second)?);
                let kind = if kind == other { kind } else { Kind::Any };
                Ok((Node::Conditional(Box::new([condition, first, second])), kind))
            }
            Form::Binary(Operator::In, parts) => self.contained(at, parts),
            Form::Binary(operator, parts) => self.binary(at, *operator, parts),
        }
    }

    /// The part, which must be able to be of that kind.
    pub(super) fn expect(&mut self, tree: &Tree, expected: Kind) -> Result<Node, Fault> {
        let (node, kind) = self.check(tree)?;
        if expected == Kind::Any || kind == Kind::Any || kind == expected {
            return Ok(node);
        }
        let message = format!("{} is needed here, and this is {}", expected.as_str(), kind.as_str());
        Err(Fault::new(tree.at, message))
    }

    fn truths(&mut self, parts: &[Tree]) -> Result<Box<[Node]>, Fault> {
        parts.iter().map(|part| self.expect(part, Kind::Bool)).collect()
    }

    fn list(&mut self, elements: &[Tree]) -> Checked {
        let constants = elements.iter().map(|element| match &element.form {
            Form::Constant(constant) => Some(constant.clone()),
            _ => None,
        });
        if let Some(constants) = constants.collect::<Option<_>>() {
            return Ok((Node::Constants(constants), Kind::List));
        }
        let elements: Result<_, _> = elements.iter().map(|element| Ok(self.check(element)?.0)).collect();
        Ok((Node::List(elements?), Kind::List))
    }

    fn name(&mut self, at: usize, name: &str) -> Checked {
        if let Some(place) = self.elements.iter().rev().position(|known| **known == *name) {
            return Ok((Node::Element(place), Kind::Any));
        }
        let (fact, kind) = match name {
            "roles" => (Fact::Roles, Kind::List),
            "scopes" => (Fact::Scopes, Kind::List),
            "authenticated" => (Fact::Authenticated, Kind::Bool),
            _ if names::ROOTS.contains(&name) => {
                let message = format!("{name} as a whole is no value: name a part of it, such as ");
                return Err(Fault::new(at, message + names::part_of(name)));
            }
            _ => return Err(unknown(at, name, names::ROOTS.into_iter())),
        };
        Ok((Node::Fact(fact), kind))
    }

    /// The name of something known about the request that is not hidden by an element's.
    fn root<'t>(&self, tree: &'t Tree) -> Option<&'t str> {
        match &tree.form {
            Form::Name(name) if !self.elements.contains(name) => Some(name),
            _ => None,
        }
    }

    /// The group of facts that `tree` stands for.
    pub(super) fn group(&self, tree: &Tree) -> Option<Group> {
        match (&tree.form, self.root(tree)) {
            (_, Some("claims")) => Some(Group::Claims),
            (_, Some("parameters")) => Some(Group::Parameters),
            (Form::Select(of, name), _) if self.root(of) == Some("request") => match &**name {
                "headers" => Some(Group::Headers),
                "query" => Some(Group::Query),
                _ => None,
            },
            _ => None,
        }
    }

    /// The fact that `name` is in its group.
    pub(super) fn of_group(&mut self, at: usize, group: Group, name: &str) -> Result<(Fact, Kind), Fault> {
        Ok(match group {
            Group::Claims => (Fact::Claim(self.names.wanted.want_json(name)), Kind::Any),
            Group::Headers => (Fact::Header(name.to_ascii_lowercase().into()), Kind::Text),
            Group::Query => (Fact::Argument(name.into()), Kind::Text),
            Group::Parameters => {
                let known = self.names.parameters.iter().position(|known| **known == *name);
                let number = known.ok_or_else(|| {
                    Fault::new(at, format!("the paths of the rule have no part {{{name}}}"))
                })?;
                (Fact::Parameter(number), Kind::Text)
            }
        })
    }

    /// The fact that `of.name` is; none if `of` is a value of its own.
    pub(super) fn fact(&mut self, at: usize, of: &Tree, name: &str) -> Result<Option<(Fact, Kind)>, Fault> {
        if let Some(group) = self.group(of) {
            return self.of_group(at, group, name).map(Some);
        }
        let Some(root) = self.root(of).filter(|root| names::ROOTS.contains(root)) else { return Ok(None) };
        let known = names::parts_of(root);
        if known.is_empty() {
            return Ok(None);
        }
        if let Some((_, fact, kind)) = known.iter().find(|(known, ..)| *known == name) {
            return Ok(Some((fact.clone(), *kind)));
        }
        if root == "request" && matches!(name, "headers" | "query") {
            let message = format!("request.{name} as a whole is no value: name a part of it");
            return Err(Fault::new(at, message));
        }
        let groups = if root == "request" { &["headers", "query"][..] } else { &[] };
        Err(unknown(at, name, known.iter().map(|(known, ..)| *known).chain(groups.iter().copied())))
    }

    fn select(&mut self, at: usize, of: &Tree, name: &str) -> Checked {
        if let Some((fact, kind)) = self.fact(at, of, name)? {
            return Ok((Node::Fact(fact), kind));
        }
        let of = self.expect(of, Kind::Map)?;
        Ok((Node::Member(Box::new(of), name.into()), Kind::Any))
    }

    fn index(&mut self, at: usize, parts: &[Tree; 2]) -> Checked {
        let [of, key] = parts;
        if let Some(group) = self.group(of) {
            let name =
                constant_text(key).ok_or_else(|| Fault::new(key.at, "a constant string is needed here"))?;
            let (fact, kind) = self.of_group(key.at, group, name)?;
            return Ok((Node::Fact(fact), kind));
        }
        let ((of, kind), (key, _)) = (self.check(of)?, self.check(key)?);
        if !matches!(kind, Kind::Any | Kind::List | Kind::Map) {
            return Err(Fault::new(at, format!("{} has no parts", kind.as_str())));
        }
        Ok((Node::Index(Box::new([of, key])), Kind::Any))
    }

    /// `element in container`.
    fn contained(&mut self, at: usize, parts: &[Tree; 2]) -> Checked {
        let [element, container] = parts;
        if let Some(group) = self.group(container) {
            let name = constant_text(element);
            let name = name.ok_or_else(|| Fault::new(element.at, "a constant string is needed here"))?;
            let (fact, _) = self.of_group(element.at, group, name)?;
            return Ok((Node::HasFact(fact), Kind::Bool));
        }
        match (constant_text(element), self.root(container)) {
            (Some(role), Some("roles")) => {
                return Ok((Node::HasRole(self.names.roles.number(role)), Kind::Bool));
            }
            (Some(scope), Some("scopes")) => {
                return Ok((Node::HasScope(self.names.scopes.number(scope)), Kind::Bool));
            }
            _ => {}
        }
        let ((element, _), (container, kind)) = (self.check(element)?, self.check(container)?);
        if !matches!(kind, Kind::Any | Kind::List | Kind::Map) {
            let message = format!("a list or a map is needed after in, and this is {}", kind.as_str());
            return Err(Fault::new(at, message));
        }
        Ok((Node::Binary(Operator::In, Box::new([element, container])), Kind::Bool))
    }

    fn binary(&mut self, at: usize, operator: Operator, parts: &[Tree; 2]) -> Checked {
        let [left, right] = parts;
        let ((left, left_kind), (right, right_kind)) = (self.check(left)?, self.check(right)?);
        let kind = result_of(operator, left_kind, right_kind).ok_or_else(|| {
            let (left, right) = (left_kind.as_str(), right_kind.as_str());
            Fault::new(at, format!("{} does not go with {left} and {right}", operator.as_str()))
        })?;
        Ok((Node::Binary(operator, Box::new([left, right])), kind))
    }

    fn call(&mut self, at: usize, call: &Call) -> Checked {
        calls::check(self, at, call)
    }
}

/// The kind that the result of an operator is of; none if it does not go with such operands.
fn result_of(operator: Operator, left: Kind, right: Kind) -> Option<Kind> {
    use Kind::{Any, Bool, Double, Int, Moment, Null, Span, Text, Uint};
    let is_any = left == Any || right == Any;
    let is_alike = is_any || left == right || (left.is_number() && right.is_number());
    match operator {
        Operator::Equal | Operator::Unequal => (is_alike || left == Null || right == Null).then_some(Bool),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            let is_ordered = |kind| !matches!(kind, Null | Kind::List | Kind::Map);
            (is_alike && is_ordered(left) && is_ordered(right)).then_some(Bool)
        }
        _ => match (operator, left, right) {
            (_, Any, _) | (_, _, Any) => Some(Any),
            (Operator::Remainder, Double, _) => None,
            (_, Int, Int) | (_, Uint, Uint) | (_, Double, Double) => Some(left),
            (Operator::Add, Text, Text) | (Operator::Add, Kind::List, Kind::List) => Some(left),
            (Operator::Add, Moment, Span) | (Operator::Add, Span, Moment) => Some(Moment),
            (Operator::Subtract, Moment, Span) => Some(Moment),
            (Operator::Subtract, Moment, Moment) => Some(Span),
            (Operator::Add | Operator::Subtract, Span, Span) => Some(Span),
            _ => None,
        },
    }
}

pub(super) fn constant_text(tree: &Tree) -> Option<&str> {
    match &tree.form {
        Form::Constant(Constant::Text(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn unknown<'k>(at: usize, name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Fault {
    let advice = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
    };
    Fault::new(at, format!("{name} is not known; {advice}"))
}
