//! Expressions made at random come to the same here and in the `cel` crate, which follows the specification: true, false, or no
//! value.

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Program, Value};
use plugin::claims::WantedClaims;
use plugin::harness::Dice;
use serde_json::{Value as Json, json};

use super::tests::Result;
use super::{Condition, Names};
use crate::authorization::tests::{decided, gateway};
use crate::authorization::vocabulary::Vocabulary;

/// Expressions compared in one go.
const BATCH: usize = 100;
const BATCHES: usize = 12;

fn claims() -> Json {
    json!({"i": 7, "n": -3, "d": 0.5, "w": 2.0, "s": "abc", "t": "", "b": true, "f": false, "z": null,
        "l": [1, 2, 3], "m": ["a", "abc"], "e": [], "o": {"s": "abc", "l": [1, "a"], "i": 7}})
}

fn reference_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap()),
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(elements) => Value::List(Arc::new(elements.iter().map(reference_value).collect())),
        Json::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), reference_value(value)));
            members.collect::<HashMap<String, Value>>().into()
        }
    }
}

/// What the reference says; none if it refuses the expression.
fn reference(expression: &str) -> Option<Result> {
    let program = Program::compile(expression).ok()?;
    let mut context = Context::default();
    context.add_variable_from_value("claims", reference_value(&claims()));
    Some(match program.execute(&context) {
        Ok(Value::Bool(true)) => Result::True,
        Ok(Value::Bool(false)) => Result::False,
        Ok(_) | Err(_) => Result::Failure,
    })
}

fn is_accepted(expression: &str) -> bool {
    let (mut roles, mut scopes) = (Vocabulary::default(), Vocabulary::default());
    let wanted = WantedClaims::default();
    let mut names = Names { wanted: &wanted, roles: &mut roles, scopes: &mut scopes, parameters: &[] };
    Condition::new(expression, &mut names).is_ok()
}

/// Makes expressions at random, from a seed.
struct Writer(Dice);

/// What an expression is meant to be; one in twelve is something else.
#[derive(Clone, Copy)]
enum Meant {
    Number,
    Text,
    List,
    Anything,
}

impl Writer {
    fn below(&mut self, count: usize) -> usize {
        self.0.index(count)
    }

    fn one_of(&mut self, of: &[&str]) -> String {
        of[self.below(of.len())].to_owned()
    }

    fn meant(&mut self) -> Meant {
        [Meant::Number, Meant::Text, Meant::List][self.below(3)]
    }

    fn atom(&mut self, meant: Meant) -> String {
        let meant = if self.below(12) == 0 { Meant::Anything } else { meant };
        match meant {
            Meant::Number => self.one_of(&[
                "claims.i",
                "claims.n",
                "claims.i",
                "claims.o.i",
                "claims.l[1]",
                "1",
                "-2",
                "3",
                "7",
                "claims.d",
                "claims.w",
                "0.5",
                "2u",
                "size(claims.m)",
            ]),
            Meant::Text => self.one_of(&[
                "claims.s",
                "claims.t",
                "claims.o.s",
                "claims.m[0]",
                "'abc'",
                "''",
                "'a'",
                "'b'",
            ]),
            Meant::List => self.one_of(&[
                "claims.l",
                "claims.m",
                "claims.e",
                "claims.o['l']",
                "[1, 2, 3]",
                "['a', 'abc']",
                "[]",
            ]),
            Meant::Anything => self.one_of(&[
                "claims.b",
                "claims.z",
                "null",
                "claims.o",
                "claims.none",
                "claims.o.none",
                "claims.l[7]",
                "true",
                "claims.m[claims.l[0]]",
                "claims.i",
                "claims.s",
                "claims.l",
            ]),
        }
    }

    fn value(&mut self, depth: usize, meant: Meant) -> String {
        if depth == 0 || self.below(3) == 0 {
            return self.atom(meant);
        }
        match (self.below(3), meant) {
            (0, _) => format!(
                "({} ? {} : {})",
                self.truth(depth - 1),
                self.value(depth - 1, meant),
                self.value(depth - 1, meant)
            ),
            (_, Meant::Number) => {
                let operator = self.one_of(&["+", "-", "*", "/", "%"]);
                format!("({} {operator} {})", self.value(depth - 1, meant), self.value(depth - 1, meant))
            }
            (_, Meant::Text) => {
                format!("({} + {})", self.value(depth - 1, meant), self.value(depth - 1, meant))
            }
            (1, _) => self.made_list(depth - 1),
            _ => {
                let element = self.meant();
                format!("[{}, {}]", self.value(depth - 1, element), self.value(depth - 1, element))
            }
        }
    }

    fn made_list(&mut self, depth: usize) -> String {
        let list = self.value(depth, Meant::List);
        let operator = self.one_of(&["+", "-", "=="]);
        let result = format!("x {operator} {}", self.atom(Meant::Number));
        match self.below(4) {
            0 => format!("({list} + {})", self.value(depth, Meant::List)),
            1 => format!("{list}.filter(x, x == {} || {})", self.atom(Meant::Number), self.truth(0)),
            2 => format!("{list}.map(x, {result})"),
            _ => format!("{list}.map(x, x != {}, {result})", self.atom(Meant::Number)),
        }
    }

    fn truth(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.one_of(&[
                "claims.b",
                "claims.f",
                "claims.none",
                "true",
                "false",
                "has(claims.o.s)",
                "has(claims.o.x)",
                "!claims.b",
            ]);
        }
        let meant = self.meant();
        match self.below(9) {
            0 => format!("({} && {})", self.truth(depth - 1), self.truth(depth - 1)),
            1 => format!("({} || {})", self.truth(depth - 1), self.truth(depth - 1)),
            2 => format!("!{}", self.truth(depth - 1)),
            3 | 4 => {
                let operator = self.one_of(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({} {operator} {})", self.value(depth - 1, meant), self.value(depth - 1, meant))
            }
            5 => format!("({} in {})", self.value(depth - 1, meant), self.value(depth - 1, Meant::List)),
            6 => {
                let quantity = self.one_of(&["all", "exists", "exists_one"]);
                let list = self.value(depth - 1, Meant::List);
                let operator = self.one_of(&["==", "!=", "<"]);
                let element = if self.below(2) == 0 { "'abc'".to_owned() } else { self.atom(Meant::Number) };
                format!("{list}.{quantity}(x, x {operator} {element} || {})", self.truth(0))
            }
            7 => {
                let function = self.one_of(&["startsWith", "endsWith", "contains"]);
                format!("{}.{function}({})", self.atom(Meant::Text), self.atom(Meant::Text))
            }
            _ => {
                format!("({} ? {} : {})", self.truth(depth - 1), self.truth(depth - 1), self.truth(depth - 1))
            }
        }
    }
}

#[test]
fn expressions_come_to_the_same_as_in_the_reference() {
    let mut writer = Writer(Dice::new(2026));
    let mut seen = [0; 3];
    let mut differences = Vec::new();
    for _ in 0..BATCHES {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let expression = writer.truth(3);
            if is_accepted(&expression) {
                let expected =
                    reference(&expression).unwrap_or_else(|| panic!("the reference refuses {expression}"));
                batch.push((expression, expected));
            }
        }
        let rules: Vec<Json> = batch.iter().enumerate().flat_map(|(number, (expression, _))| {
            let path = format!("/{number}");
            let allow = json!({"name": format!("true {number}"), "paths": [path], "when": expression});
            [allow, json!({"name": format!("failure {number}"), "effect": "deny", "paths": [path], "when": expression})]
        }).collect();
        let mut gateway = gateway(&json!({"default": "allow", "rules": rules}).to_string());
        for (number, (expression, expected)) in batch.iter().enumerate() {
            let outcome = gateway.send(&format!("GET /{number} HTTP/1.1\ntoken: {}", claims()));
            let found = match decided(&outcome).0.as_str() {
                "allow: default" => Result::False,
                allowed if allowed.starts_with("allow: true") => Result::True,
                _ => Result::Failure,
            };
            seen[found as usize] += 1;
            if found != *expected {
                differences.push(format!("{expression}\n  {found:?}, the reference {expected:?}"));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{}\n{}",
        differences.len(),
        differences[..differences.len().min(30)].join("\n")
    );
    // All three come up often enough to say something.
    assert!(seen.iter().all(|count| *count > BATCH * BATCHES / 10), "{seen:?}");
}
