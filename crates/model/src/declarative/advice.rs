//! What works but is hardly meant: warnings about entities that are each right and do not go together.

use std::fmt::Write as _;

use ahash::{AHashMap, AHashSet};
use md5::{Digest, Md5};
use serde_json::Value;

use super::collect::{Row, place};
use super::layout::Layout;
use crate::courtesy::worked;
use crate::problem::{Problem, Problems, Severity, Step};

/// What to know about plugins of routes that carry bytes.
pub(super) const STREAMS_WITHOUT_PLUGINS: &str =
    "plugins run on requests only, not on the sessions of layer 4";

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
            let suggestion = of_streams.then(|| STREAMS_WITHOUT_PLUGINS.to_owned());
            if misses_route {
                let message = "must match the associated route's protocols";
                self.warn(*plugin, "protocols", message.to_owned()).suggestion.clone_from(&suggestion);
            }
            if misses_service {
                let message =
                    "must match the protocols of at least one route pointing to this Plugin's service";
                self.warn(*plugin, "protocols", message.to_owned()).suggestion.clone_from(&suggestion);
            }
            if of_streams && have_common(own, &streams) {
                let message = "has no effect on the routes of 'tcp', 'tls', 'udp' or 'tls_passthrough' here";
                self.warn(*plugin, "protocols", message.to_owned()).suggestion = suggestion;
            }
        }
    }

    /// Routes that match the same requests as another one. Those of disabled services match nothing.
    fn twins(&mut self, services: &[usize], routes: &[usize]) {
        let disabled = services.iter().filter(|service| self.field(**service, "enabled") == false);
        let disabled: AHashSet<&str> =
            disabled.filter_map(|service| self.field(*service, "id").as_str()).collect();
        let mut first: AHashMap<[u8; 16], usize> = AHashMap::new();
        for route in routes {
            worked(3_000);
            if self.reference(*route, "service").is_some_and(|service| disabled.contains(service)) {
                continue;
            }
            let twin = *first.entry(criteria(&self.rows[*route].value)).or_insert(*route);
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

/// A digest of what a route asks of a request, the same for routes that ask the same in other words.
fn criteria(route: &Value) -> [u8; 16] {
    let mut text = String::new();
    let mut add = |field: &str, mut values: Vec<String>| {
        values.sort_unstable();
        values.dedup();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{field} {values:?}");
    };
    for field in ["protocols", "methods", "paths", "sources", "destinations"] {
        add(field, list(&route[field]).map(Value::to_string).collect());
    }
    for field in ["hosts", "snis"] {
        add(field, list(&route[field]).map(|name| name.to_string().to_ascii_lowercase()).collect());
    }
    let headers = route["headers"].as_object().into_iter().flatten();
    let mut headers: Vec<(String, Vec<String>)> = headers
        .map(|(name, values)| (name.to_ascii_lowercase(), list(values).map(header_value).collect()))
        .collect();
    headers.sort_unstable();
    for (name, values) in headers {
        add(&name, values);
    }
    Md5::digest(text.as_bytes()).into()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Values are compared whatever their case; expressions are not, since `\S` is not `\s`.
fn header_value(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    if text.starts_with("~*") { text.to_owned() } else { text.to_ascii_lowercase() }
}
