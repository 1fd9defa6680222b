//! What works but is hardly meant: warnings about entities that are each right and do not go together.

use ahash::AHashMap;
use serde_json::Value;

use super::collect::{Row, place};
use super::layout::Layout;
use crate::node::Span;
use crate::problem::{Problem, Problems, Severity, Step};

/// Warns about `rows`, which are without errors and resolved.
pub(super) fn advise(layout: &Layout<'_>, rows: &[Row<'_>], problems: &mut Problems) {
    let mut advisor = Advisor { rows, problems };
    let of = |name: &str| {
        let collection = layout.collection(name);
        (0..rows.len()).filter(|row| Some(rows[*row].collection) == collection).collect::<Vec<_>>()
    };
    advisor.protocols(&of("plugins"), &of("routes"));
}

struct Advisor<'a, 'n> {
    rows: &'a [Row<'n>],
    problems: &'a mut Problems,
}

impl<'a> Advisor<'a, '_> {
    /// Plugins that have no protocol in common with what they are for. Kong's Admin API refuses them in these words;
    /// without a database Kong takes them and runs them.
    fn protocols(&mut self, plugins: &[usize], routes: &[usize]) {
        let (mut by_id, mut by_service) = (AHashMap::new(), AHashMap::<&str, Vec<usize>>::new());
        for route in routes {
            by_id.insert(self.field(*route, "id").as_str(), *route);
            if let Some(service) = self.reference(*route, "service") {
                by_service.entry(service).or_default().push(*route);
            }
        }
        for plugin in plugins {
            let own = self.field(*plugin, "protocols");
            let shared = |route: &usize| have_common(own, &self.rows[*route].value["protocols"]);
            let route = self.reference(*plugin, "route").and_then(|id| by_id.get(&Some(id)));
            let service = self.reference(*plugin, "service").and_then(|id| by_service.get(id));
            let misses_route = route.is_some_and(|route| !shared(route));
            let misses_service = service.is_some_and(|routes| !routes.iter().any(shared));
            if misses_route {
                self.warn(*plugin, "protocols", "must match the associated route's protocols".to_owned());
            }
            if misses_service {
                let message =
                    "must match the protocols of at least one route pointing to this Plugin's service";
                self.warn(*plugin, "protocols", message.to_owned());
            }
        }
    }

    fn field(&self, row: usize, field: &str) -> &'a Value {
        &self.rows[row].value[field]
    }

    /// The id that a foreign key holds.
    fn reference(&self, row: usize, field: &str) -> Option<&'a str> {
        self.field(row, field)["id"].as_str()
    }

    /// Warns about a field of a row.
    fn warn(&mut self, row: usize, field: &str, message: String) {
        let node = self.rows[row].node;
        let mut place = place(self.rows, row);
        let span: Span = node.field(field).map_or(node.span, |given| given.span);
        place.0.push(Step::Field(field.to_owned()));
        let problem = self.problems.push(Problem::new(place, span, message));
        problem.severity = Severity::Warning;
    }
}

fn have_common(left: &Value, right: &Value) -> bool {
    let all = |list| -> &[Value] { Value::as_array(list).map_or(&[], Vec::as_slice) };
    all(left).iter().any(|protocol| all(right).contains(protocol))
}
