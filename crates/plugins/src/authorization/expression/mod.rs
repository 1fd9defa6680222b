//! Conditions in the Common Expression Language: its syntax, its operators with their treatment of failures, the macros, and the
//! functions for texts and times. No bytes, and no maps or messages in expressions. The effort of an evaluation is bounded.
//!
//! An expression is checked once and evaluated over what it borrows from the request.

mod calls;
mod check;
mod evaluate;
mod functions;
mod lexer;
mod names;
mod node;
mod parser;
mod times;
mod tree;
mod value;

#[cfg(test)]
mod against_reference;
#[cfg(test)]
mod tests;

pub(super) use check::Names;
pub(super) use node::Fact;
pub(super) use value::{Failure, List, Value};

use check::Checker;
use evaluate::Evaluator;
use node::{Kind, Node};

use super::facts::Facts;

/// A condition, ready to be evaluated.
#[derive(Debug)]
pub(super) struct Condition(Node);

impl Condition {
    /// Checks `text`.
    ///
    /// # Errors
    /// What is wrong with it, and where in the text.
    pub(super) fn new(text: &str, names: &mut Names<'_>) -> Result<Self, String> {
        let checked = parser::parse(text).and_then(|tree| {
            let mut checker = Checker { names, elements: Vec::new() };
            checker.expect(&tree, Kind::Bool)
        });
        checked.map(Self).map_err(|fault| {
            let before = text.get(..fault.at).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&character| character != '\n').count() + 1;
            format!("{} (line {line}, column {column} of the expression)", fault.message)
        })
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Result<bool, Failure> {
        Evaluator { facts }.value(&self.0)?.as_bool()
    }
}
