//! What works but is hardly meant: warnings about entities that are each right and do not go together.

use std::hash::{BuildHasher, Hash, Hasher};

use ahash::{AHashMap, AHashSet, RandomState};
use serde_json::Value;

use super::collect::{Row, place};
use super::layout::Layout;
use crate::courtesy::worked;
use crate::problem::{Problem, Problems, Severity, Step};

/// What to know about plugins of routes that carry bytes.
pub(super) const ON_STREAMS: &str = "on the sessions of layer 4 run only plugins that can, where their `protocols` name 'tcp', 'tls', 'udp' or the like";

/// Warns about `rows`, which are without errors and resolved.
pub(super) fn advise(layout: &Layout<'_>, rows: &[Row], problems: &mut Problems) {
    let mut advisor = Advisor { rows, problems };
    let of = |name: &str| {
        let collection = layout.collection(name);
        (0..rows.len()).filter(|row| Some(rows[*row].collection) == collection).collect::<Vec<_>>()
    };
    let (services, routes) = (of("services"), of("routes"));
    advisor.protocols(&of("plugins"), &routes);
    advisor.twins(&services, &routes);
}

struct Advisor<'a> {
    rows: &'a [Row],
    problems: &'a mut Problems,
}

impl<'a> Advisor<'a> {
    /// Plugins that have no protocol in common with what they are for. Kong's Admin API refuses them in these words;
    /// without a database Kong takes them and runs them.
    fn protocols(&mut self, plugins: &[usize], routes: &[usize]) {
        let (mut by_id, mut by_service) = (AHashMap::new(), AHashMap::<&str, Vec<usize>>::new());
        for route in routes {
            worked(1_000);
            by_id.insert(self.field(*route, "id").as_str(), *route);
            if let Some(service) = self.reference(*route, "service") {
                by_service.entry(service).or_default().push(*route);
            }
        }
        let streams = serde_json::json!(["tcp", "tls", "tls_passthrough", "udp"]);
        for plugin in plugins {
            worked(1_000);
            let own = self.field(*plugin, "protocols");
            let carried = |route: &usize| have_common(&self.rows[*route].value["protocols"], &streams);
            let shared = |route: &usize| have_common(own, &self.rows[*route].value["protocols"]);
            let route = self.reference(*plugin, "route").and_then(|id| by_id.get(&Some(id)));
            let service = self.reference(*plugin, "service").and_then(|id| by_service.get(id));
            let misses_route = route.is_some_and(|route| !shared(route));
            let misses_service = service.is_some_and(|routes| !routes.iter().any(shared));
            let of_streams =
                route.is_some_and(carried) || service.is_some_and(|routes| routes.iter().any(carried));
            let suggestion = of_streams.then(|| ON_STREAMS.to_owned());
            if misses_route {
                let message = "must match the associated route's protocols";
                self.warn(*plugin, "protocols", message.to_owned()).suggestion.clone_from(&suggestion);
            }
            if misses_service {
                let message =
                    "must match the protocols of at least one route pointing to this Plugin's service";
                self.warn(*plugin, "protocols", message.to_owned()).suggestion = suggestion;
            }
        }
    }

    /// Routes that match the same requests as another one. Those of disabled services match nothing.
    fn twins(&mut self, services: &[usize], routes: &[usize]) {
        let disabled = services.iter().filter(|service| self.field(**service, "enabled") == false);
        let disabled: AHashSet<&str> =
            disabled.filter_map(|service| self.field(*service, "id").as_str()).collect();
        let (criteria, mut first) = (Criteria::default(), AHashMap::<u64, usize>::new());
        for route in routes {
            worked(1_000);
            if self.reference(*route, "service").is_some_and(|service| disabled.contains(service)) {
                continue;
            }
            let twin = *first.entry(criteria.of(&self.rows[*route].value)).or_insert(*route);
            if twin != *route {
                self.twin(*route, twin);
            }
        }
    }

    fn twin(&mut self, route: usize, other: usize) {
        let line = self.rows[other].span.line;
        let other_name = self.field(other, "name").as_str().map(|name| format!(" '{name}'"));
        let message = format!(
            "has the same criteria as the route{} on line {line}: a request is given to one of them only",
            other_name.unwrap_or_default()
        );
        let is_random = |row: usize| self.field(row, "name").is_null() && !self.rows[row].gives("id");
        let anew =
            if is_random(route) || is_random(other) { ", which is another one after each load" } else { "" };
        let suggestion = format!(
            "remove one or tell them apart; as it is, the larger regex_priority decides, then the larger id{anew}"
        );
        self.warn(route, "", message).suggestion = Some(suggestion);
    }

    fn field(&self, row: usize, field: &str) -> &'a Value {
        &self.rows[row].value[field]
    }

    /// The id that a foreign key holds.
    fn reference(&self, row: usize, field: &str) -> Option<&'a str> {
        self.field(row, field)["id"].as_str()
    }

    /// Warns about a field of a row, or about the row itself if it is not given.
    fn warn(&mut self, row: usize, field: &str, message: String) -> &mut Problem {
        let mut place = place(self.rows, row);
        if !field.is_empty() {
            place.0.push(Step::Field(field.to_owned()));
        }
        let problem = self.problems.push(Problem::new(place, self.rows[row].span_of(field), message));
        problem.severity = Severity::Warning;
        problem
    }
}

fn have_common(left: &Value, right: &Value) -> bool {
    let all = |list| -> &[Value] { Value::as_array(list).map_or(&[], Vec::as_slice) };
    all(left).iter().any(|protocol| all(right).contains(protocol))
}

/// What routes ask of a request, as a number: the same for those that ask the same in other words.
#[derive(Default)]
struct Criteria(RandomState);

impl Criteria {
    fn of(&self, route: &Value) -> u64 {
        let mut hasher = self.0.build_hasher();
        for field in ["protocols", "methods", "paths", "sources", "destinations"] {
            as_set(field, list(&route[field]).map(|value| self.exact(value))).hash(&mut hasher);
        }
        for field in ["hosts", "snis"] {
            let names = list(&route[field]).filter_map(Value::as_str);
            as_set(field, names.map(|name| self.caseless(name))).hash(&mut hasher);
        }
        let headers = route["headers"].as_object().into_iter().flatten();
        let headers = headers.map(|(name, values)| {
            let values = list(values).filter_map(Value::as_str).map(|value| self.header_value(value));
            self.0.hash_one((self.caseless(name), as_set("", values)))
        });
        as_set("headers", headers).hash(&mut hasher);
        hasher.finish()
    }

    fn exact(&self, value: &Value) -> u64 {
        match value {
            Value::String(text) => self.0.hash_one(text),
            other => self.0.hash_one(other.to_string()),
        }
    }

    fn caseless(&self, text: &str) -> u64 {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.0.hash_one(text.to_ascii_lowercase());
        }
        self.0.hash_one(text)
    }

    /// Values are compared whatever their case; expressions are not, since `\S` is not `\s`.
    fn header_value(&self, text: &str) -> u64 {
        if text.starts_with("~*") { self.0.hash_one(text) } else { self.caseless(text) }
    }
}

/// Numbers whose order and repetitions do not matter, under a name.
fn as_set(name: &str, numbers: impl Iterator<Item = u64>) -> (&str, Vec<u64>) {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    (name, numbers)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
