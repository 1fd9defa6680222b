//! Checks calls: macros, functions, and those that need constants.

use regex::RegexBuilder;

use super::check::{Checked, Checker, constant_text, unknown};
use super::node::{Fact, Function, Kind, Made, Network, Node, Quantity};
use super::times;
use super::tree::{Call, Constant, Fault, Form, Tree};

/// The most memory that a regular expression may come to, in bytes.
const LARGEST_PATTERN: usize = 1 << 18;

/// A function: its name, whether it is called on something, what it is, its arguments (that on which it is called first), how
/// many of them may be left out, and its result.
type Signature = (&'static str, Style, Function, &'static [Kind], usize, Kind);

/// How a function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    On,
    Both,
}

const FUNCTIONS: [Signature; 22] = [
    ("size", Style::Both, Function::Size, &[Kind::Any], 0, Kind::Int),
    ("startsWith", Style::On, Function::StartsWith, &[Kind::Text, Kind::Text], 0, Kind::Bool),
    ("endsWith", Style::On, Function::EndsWith, &[Kind::Text, Kind::Text], 0, Kind::Bool),
    ("contains", Style::On, Function::Contains, &[Kind::Text, Kind::Text], 0, Kind::Bool),
    ("lowerAscii", Style::On, Function::LowerAscii, &[Kind::Text], 0, Kind::Text),
    ("upperAscii", Style::On, Function::UpperAscii, &[Kind::Text], 0, Kind::Text),
    ("int", Style::Plain, Function::ToInt, &[Kind::Any], 0, Kind::Int),
    ("uint", Style::Plain, Function::ToUint, &[Kind::Any], 0, Kind::Uint),
    ("double", Style::Plain, Function::ToDouble, &[Kind::Any], 0, Kind::Double),
    ("string", Style::Plain, Function::ToText, &[Kind::Any], 0, Kind::Text),
    ("timestamp", Style::Plain, Function::ToMoment, &[Kind::Any], 0, Kind::Moment),
    ("duration", Style::Plain, Function::ToSpan, &[Kind::Any], 0, Kind::Span),
    ("getFullYear", Style::On, Function::FullYear, &[Kind::Moment, Kind::Text], 1, Kind::Int),
    ("getMonth", Style::On, Function::Month, &[Kind::Moment, Kind::Text], 1, Kind::Int),
    ("getDayOfYear", Style::On, Function::DayOfYear, &[Kind::Moment, Kind::Text], 1, Kind::Int),
    ("getDayOfMonth", Style::On, Function::DayOfMonth, &[Kind::Moment, Kind::Text], 1, Kind::Int),
    ("getDate", Style::On, Function::Date, &[Kind::Moment, Kind::Text], 1, Kind::Int),
    ("getDayOfWeek", Style::On, Function::DayOfWeek, &[Kind::Moment, Kind::Text], 1, Kind::Int),
    ("getHours", Style::On, Function::Hours, &[Kind::Any, Kind::Text], 1, Kind::Int),
    ("getMinutes", Style::On, Function::Minutes, &[Kind::Any, Kind::Text], 1, Kind::Int),
    ("getSeconds", Style::On, Function::Seconds, &[Kind::Any, Kind::Text], 1, Kind::Int),
    ("getMilliseconds", Style::On, Function::Milliseconds, &[Kind::Any, Kind::Text], 1, Kind::Int),
];

/// What there is besides functions.
const OTHERS: [&str; 9] =
    ["has", "all", "exists", "exists_one", "filter", "map", "matches", "cidr", "containsIP"];

pub(super) fn check(checker: &mut Checker<'_, '_>, at: usize, call: &Call) -> Checked {
    let arguments = &call.arguments;
    match (&*call.name, call.on.as_deref()) {
        ("has", None) => has(checker, at, arguments),
        ("all", Some(list)) => elements(checker, at, Quantity::All, list, arguments),
        ("exists", Some(list)) => elements(checker, at, Quantity::Some, list, arguments),
        ("exists_one" | "existsOne", Some(list)) => elements(checker, at, Quantity::One, list, arguments),
        ("filter", Some(list)) => filter(checker, at, list, arguments),
        ("map", Some(list)) => map(checker, at, list, arguments),
        ("matches", on) => {
            let given: Vec<&Tree> = on.into_iter().chain(arguments).collect();
            let [text, pattern] = given[..] else { return Err(Fault::new(at, "matches takes one pattern")) };
            matches(checker, text, pattern)
        }
        ("containsIP", Some(network)) => within(checker, at, network, arguments),
        ("cidr", None) => Err(Fault::new(at, "cidr is only for cidr('10.0.0.0/8').containsIP(client.ip)")),
        _ => function(checker, at, call),
    }
}

/// `has(of.name)`.
fn has(checker: &mut Checker<'_, '_>, at: usize, arguments: &[Tree]) -> Checked {
    let [Tree { form: Form::Select(of, name), at: name_at, .. }] = arguments else {
        return Err(Fault::new(at, "has takes one member, as in has(claims.sub)"));
    };
    let node = match checker.fact(*name_at, of, name)? {
        Some((fact, _)) => Node::HasFact(fact),
        None => Node::HasMember(Box::new(checker.expect(of, Kind::Map)?), name.clone()),
    };
    Ok((node, Kind::Bool))
}

fn elements(
    checker: &mut Checker<'_, '_>,
    at: usize,
    quantity: Quantity,
    list: &Tree,
    arguments: &[Tree],
) -> Checked {
    let [Tree { form: Form::Name(element), .. }, condition] = arguments else {
        return Err(Fault::new(
            at,
            "a name for an element and a condition are needed, as in exists(one, one == 'a')",
        ));
    };
    let list = elements_of(checker, at, list)?;
    let condition = of_element(checker, element, condition, Kind::Bool)?;
    Ok((Node::Elements(quantity, Box::new([list, condition])), Kind::Bool))
}

/// `list.filter(element, condition)`.
fn filter(checker: &mut Checker<'_, '_>, at: usize, list: &Tree, arguments: &[Tree]) -> Checked {
    let [Tree { form: Form::Name(element), .. }, condition] = arguments else {
        let message = "a name for an element and a condition are needed, as in filter(one, one != 'a')";
        return Err(Fault::new(at, message));
    };
    let of = elements_of(checker, at, list)?;
    let condition = Some(of_element(checker, element, condition, Kind::Bool)?);
    Ok((Node::Made(Box::new(Made { of, condition, result: None })), Kind::List))
}

/// `list.map(element, result)` or `list.map(element, condition, result)`.
fn map(checker: &mut Checker<'_, '_>, at: usize, list: &Tree, arguments: &[Tree]) -> Checked {
    let (element, condition, result) = match arguments {
        [Tree { form: Form::Name(element), .. }, result] => (element, None, result),
        [Tree { form: Form::Name(element), .. }, condition, result] => (element, Some(condition), result),
        _ => {
            let message =
                "a name for an element and what becomes of it are needed, as in map(one, one + 'a')";
            return Err(Fault::new(at, message));
        }
    };
    let of = elements_of(checker, at, list)?;
    let condition = condition.map(|condition| of_element(checker, element, condition, Kind::Bool));
    let condition = condition.transpose()?;
    let result = Some(of_element(checker, element, result, Kind::Any)?);
    Ok((Node::Made(Box::new(Made { of, condition, result })), Kind::List))
}

/// What has elements, or names, to look at.
fn elements_of(checker: &mut Checker<'_, '_>, at: usize, list: &Tree) -> Result<Node, Fault> {
    let (list, kind) = checker.check(list)?;
    if !matches!(kind, Kind::Any | Kind::List | Kind::Map) {
        return Err(Fault::new(at, format!("{} has no elements", kind.as_str())));
    }
    Ok(list)
}

/// A part in which `element` is the name of an element.
fn of_element(
    checker: &mut Checker<'_, '_>,
    element: &str,
    part: &Tree,
    expected: Kind,
) -> Result<Node, Fault> {
    checker.elements.push(element.into());
    let part = checker.expect(part, expected);
    checker.elements.pop();
    part
}

fn matches(checker: &mut Checker<'_, '_>, text: &Tree, pattern: &Tree) -> Checked {
    let text = checker.expect(text, Kind::Text)?;
    let constant = constant_text(pattern);
    let constant = constant.ok_or_else(|| Fault::new(pattern.at, "the pattern must be a constant string"))?;
    let regex = RegexBuilder::new(constant).size_limit(LARGEST_PATTERN).build();
    let regex = regex.map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Fault::new(pattern.at, format!("this is no regular expression: {reason}"))
    })?;
    Ok((Node::Matches(Box::new(text), regex), Kind::Bool))
}

/// `cidr('10.0.0.0/8').containsIP(address)`.
fn within(checker: &mut Checker<'_, '_>, at: usize, network: &Tree, arguments: &[Tree]) -> Checked {
    let written = match &network.form {
        Form::Call(Call { on: None, name, arguments }) if **name == *"cidr" => match &arguments[..] {
            [text] => constant_text(text).map(|constant| (text.at, constant)),
            _ => None,
        },
        _ => None,
    };
    let (Some((text_at, text)), [address]) = (written, arguments) else {
        return Err(Fault::new(at, "it is written cidr('10.0.0.0/8').containsIP(client.ip)"));
    };
    let network = Network::parse(text);
    let network =
        network.ok_or_else(|| Fault::new(text_at, format!("{text:?} is no network, as 10.0.0.0/8 is")))?;
    let address = checker.expect(address, Kind::Text)?;
    Ok((Node::Within(Box::new(address), network), Kind::Bool))
}

fn function(checker: &mut Checker<'_, '_>, at: usize, call: &Call) -> Checked {
    let style = if call.on.is_some() { Style::On } else { Style::Plain };
    let fits = |signature: &&Signature| {
        signature.0 == &*call.name && matches!(signature.1, Style::Both) | (signature.1 == style)
    };
    let Some((name, _, function, kinds, optional, result)) = FUNCTIONS.iter().find(fits) else {
        let known = FUNCTIONS.iter().map(|signature| signature.0).chain(OTHERS);
        return Err(unknown(at, &call.name, known));
    };
    let given: Vec<&Tree> = call.on.as_deref().into_iter().chain(&call.arguments).collect();
    if given.len() > kinds.len() || given.len() + optional < kinds.len() {
        let needed = kinds.len() - usize::from(style == Style::On);
        return Err(Fault::new(at, format!("{name} takes {needed} arguments, not {}", call.arguments.len())));
    }
    if let Some(constant) = folded(*function, at, &given)? {
        return Ok((Node::Constant(constant), *result));
    }
    if let (Some(zone), true) = (given.get(1), *optional == 1)
        && let Some(zone_text) = constant_text(zone)
        && times::offset(zone_text).is_none()
    {
        let message = "zones are told by their offset, as in '+02:00', or are 'UTC'";
        return Err(Fault::new(zone.at, message));
    }
    let arguments: Result<_, _> =
        given.into_iter().zip(*kinds).map(|(argument, kind)| checker.expect(argument, *kind)).collect();
    Ok((Node::Call(*function, arguments?), *result))
}

/// The constant that a point or a length of time in an expression is.
fn folded(function: Function, at: usize, given: &[&Tree]) -> Result<Option<Constant>, Fault> {
    let [argument] = given else { return Ok(None) };
    let Some(text) = constant_text(argument) else { return Ok(None) };
    let wrong = |what: &str| Fault::new(at, format!("{text:?} is no {what}"));
    match function {
        Function::ToMoment => match times::moment(text) {
            Some(moment) => Ok(Some(Constant::Moment(moment))),
            None => Err(wrong("timestamp, as 2026-01-31T18:00:00Z is")),
        },
        Function::ToSpan => match times::span(text) {
            Some(span) => Ok(Some(Constant::Span(span))),
            None => Err(wrong("duration, as 1h30m is")),
        },
        _ => Ok(None),
    }
}

/// Whether there need be a look at the fact's text to compare addresses.
pub(super) fn is_client_address(node: &Node) -> bool {
    matches!(node, Node::Fact(Fact::ClientAddress))
}
