//! What works but is hardly meant: warnings about entities that are each right and do not go together.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher};

use ahash::{AHashMap, AHashSet, RandomState};
use serde_json::Value;
use uuid::Uuid;

use super::collect::{Row, place};
use super::layout::Layout;
use crate::courtesy::worked;
use crate::problem::{Problem, Problems, Step};
use crate::schema::{Blueprint, Held, Part};

/// What to know about plugins of routes that carry bytes.
pub(super) const ON_STREAMS: &str = "on the sessions of layer 4 run only plugins that can, where their `protocols` name 'tcp', 'tls', 'udp' or the like";

/// Warns about `rows`, which are without errors and resolved.
pub(super) fn advise(layout: &Layout<'_>, rows: &[Row], problems: &mut Problems) {
    let mut advisor = Advisor { layout, rows, problems };
    let of = |name: &str| {
        let collection = layout.collection(name);
        (0..rows.len()).filter(|row| Some(rows[*row].collection()) == collection).collect::<Vec<_>>()
    };
    let (services, routes) = (of("services"), of("routes"));
    let plugins = of("plugins");
    advisor.protocols(&plugins, &routes);
    advisor.strangers(&plugins, &of("consumers"));
    advisor.twins(&services, &routes);
    advisor.patterns(&routes);
}

struct Advisor<'a> {
    layout: &'a Layout<'a>,
    rows: &'a [Row],
    problems: &'a mut Problems,
}

impl<'a> Advisor<'a> {
    /// Plugins that have no protocol in common with what they are for. Kong's Admin API refuses them in these words;
    /// without a database Kong takes them and runs them.
    fn protocols(&mut self, plugins: &[usize], routes: &[usize]) {
        if plugins.is_empty() {
            return;
        }
        let (mut by_id, mut by_service) = (AHashMap::new(), AHashMap::<Uuid, Vec<usize>>::new());
        for route in routes {
            worked(1_000);
            by_id.insert(self.rows[*route].id, *route);
            if let Some(service) = self.reference(*route, "service") {
                by_service.entry(service).or_default().push(*route);
            }
        }
        let streams = serde_json::json!(["tcp", "tls", "tls_passthrough", "udp"]);
        for plugin in plugins {
            worked(1_000);
            let own = &*self.field(*plugin, "protocols");
            let carried = |route: &usize| have_common(&self.field(*route, "protocols"), &streams);
            let shared = |route: &usize| have_common(own, &self.field(*route, "protocols"));
            let route = self.reference(*plugin, "route").and_then(|id| by_id.get(&Some(id)));
            let service = self.reference(*plugin, "service").and_then(|id| by_service.get(&id));
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

    /// Plugins that would have somebody stand in for callers without credentials who is no consumer.
    fn strangers(&mut self, plugins: &[usize], consumers: &[usize]) {
        let named: Vec<(usize, String)> =
            plugins.iter().filter_map(|plugin| Some((*plugin, self.anonymous(*plugin)?))).collect();
        let mut missing: AHashSet<&str> = named.iter().map(|(_, name)| name.as_str()).collect();
        for consumer in consumers.iter().take_while(|_| !named.is_empty()) {
            worked(200);
            let row = &self.rows[*consumer];
            let username = self.layout.collections[row.collection()].blueprint.index("username");
            username.and_then(|index| row.fields.text(index)).map(|username| missing.remove(username));
            missing.retain(|name| Uuid::try_parse(name).ok().is_none_or(|id| row.id != Some(id)));
        }
        for (plugin, name) in named.iter().filter(|(_, name)| missing.contains(name.as_str())) {
            let message = format!("there is no consumer '{name}': callers without credentials get 500");
            let problem = self.warn(*plugin, "", message);
            problem.place.0.extend(["config", "anonymous"].map(|step| Step::Field(step.to_owned())));
            let help = "add a consumer of that name, or leave the field out so that they get 401";
            problem.suggestion = Some(help.to_owned());
        }
    }

    /// The consumer that stands in for callers without credentials, where a plugin names one.
    fn anonymous(&self, plugin: usize) -> Option<String> {
        let schema = self.layout.plugin(self.field(plugin, "name").as_str()?)?;
        schema.config.field("anonymous")?;
        let name = self.field(plugin, "config")["anonymous"].as_str()?.to_owned();
        Some(name).filter(|name| !name.is_empty())
    }

    /// Prefixes that look like regular expressions.
    fn patterns(&mut self, routes: &[usize]) {
        for route in routes {
            worked(200);
            let paths = &*self.field(*route, "paths");
            let looks_so = |path: &str| !path.starts_with('~') && path.contains(['{', '}', '|', '^']);
            let pattern = |path: &Value| path.as_str().is_some_and(looks_so);
            let Some(index) = paths.as_array().and_then(|paths| paths.iter().position(pattern)) else {
                continue;
            };
            let message = "as a prefix it stands for just these characters".to_owned();
            let problem = self.warn(*route, "paths", message);
            problem.place.0.push(Step::Index(index));
            problem.suggestion = Some("a regular expression begins with '~'".to_owned());
        }
    }

    /// Routes that match the same requests as another one. Those of disabled services match nothing.
    fn twins(&mut self, services: &[usize], routes: &[usize]) {
        let disabled = services.iter().filter(|service| *self.field(**service, "enabled") == false);
        let disabled: AHashSet<Uuid> = disabled.filter_map(|service| self.rows[*service].id).collect();
        let Some(route) = routes.first() else { return };
        let collection = &self.layout.collections[self.rows[*route].collection()];
        let service = collection.blueprint.index("service").unwrap_or_default();
        let mut criteria = Criteria::new(&collection.blueprint);
        let mut first = AHashMap::<u64, usize>::with_capacity(routes.len());
        for route in routes {
            worked(1_000);
            let service = self.rows[*route].fields.part(service);
            if matches!(service, Some(Part::Reference(service)) if disabled.contains(&service)) {
                continue;
            }
            let twin = *first.entry(criteria.of(&self.rows[*route])).or_insert(*route);
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
        let is_random = |row: usize| {
            let id = &self.layout.collections[self.rows[row].collection()].keys.id;
            self.field(row, "name").is_null() && self.rows[row].given(*id).is_none()
        };
        let anew =
            if is_random(route) || is_random(other) { ", which is another one after each load" } else { "" };
        let suggestion = format!(
            "remove one or tell them apart; as it is, the larger regex_priority decides, then the larger id{anew}"
        );
        self.warn(route, "", message).suggestion = Some(suggestion);
    }

    fn field(&self, row: usize, field: &str) -> Cow<'a, Value> {
        self.layout.held(&self.rows[row], field).map_or(Cow::Owned(Value::Null), Held::value)
    }

    /// The id that a foreign key holds.
    fn reference(&self, row: usize, field: &str) -> Option<Uuid> {
        self.layout.held(&self.rows[row], field)?.reference()
    }

    /// Warns about a field of a row, or about the row itself if it is not given.
    fn warn(&mut self, row: usize, field: &str, message: String) -> &mut Problem {
        let mut place = place(self.rows, row);
        if !field.is_empty() {
            place.0.push(Step::Field(field.to_owned()));
        }
        let span = self.layout.span_of(&self.rows[row], field);
        self.problems.push(Problem::new(place, span, message).warning())
    }
}

fn have_common(left: &Value, right: &Value) -> bool {
    let all = |list| -> &[Value] { Value::as_array(list).map_or(&[], Vec::as_slice) };
    all(left).iter().any(|protocol| all(right).contains(protocol))
}

/// The number of an element, the same for those that are equal.
type Numbering = fn(&RandomState, Part<'_>) -> u64;

/// What routes ask of a request, as a number: the same for those that ask the same in other words.
struct Criteria<'a> {
    blueprint: &'a Blueprint,
    hasher: RandomState,
    /// The numbers of the fields, and how their elements are compared.
    lists: Vec<(usize, Numbering)>,
    headers: Option<usize>,
    /// Numbers of elements: made anew for each field, in the same memory.
    numbers: Vec<u64>,
}

/// The fields that are compared to the letter.
const EXACT: [&str; 5] = ["protocols", "methods", "paths", "sources", "destinations"];
/// Those whose case does not matter.
const CASELESS: [&str; 2] = ["hosts", "snis"];

impl<'a> Criteria<'a> {
    fn new(blueprint: &'a Blueprint) -> Self {
        let exact = EXACT.iter().map(|name| (*name, exact as Numbering));
        let caseless = CASELESS.iter().map(|name| (*name, caseless_part as Numbering));
        let lists = exact.chain(caseless);
        Self {
            blueprint,
            hasher: RandomState::new(),
            lists: lists.filter_map(|(name, number)| Some((blueprint.index(name)?, number))).collect(),
            headers: blueprint.index("headers"),
            numbers: Vec::new(),
        }
    }

    fn of(&mut self, route: &Row) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for (index, number) in &self.lists {
            self.numbers.clear();
            match route.fields.part(*index) {
                Some(Part::List(parts)) => {
                    self.numbers.extend(parts.map(|part| number(&self.hasher, part)));
                }
                // What is not given asks what the default asks.
                _ => self.numbers.extend(
                    list(self.blueprint.absent(*index))
                        .map(|value| number(&self.hasher, value.as_str().map_or(Part::Null, Part::Text))),
                ),
            }
            hash_as_set(*index, &mut self.numbers, &mut hasher);
        }
        let headers = self.headers.and_then(|index| route.fields.part(index)).map(Part::to_value);
        let headers = headers.as_ref().and_then(Value::as_object).into_iter().flatten();
        let mut numbers: Vec<u64> = headers.map(|(name, values)| self.header(name, values)).collect();
        hash_as_set(usize::MAX, &mut numbers, &mut hasher);
        hasher.finish()
    }

    fn header(&self, name: &str, values: &Value) -> u64 {
        let values = list(values).filter_map(Value::as_str);
        let mut values: Vec<u64> = values.map(|value| header_value(&self.hasher, value)).collect();
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(caseless(&self.hasher, name));
        hash_as_set(0, &mut values, &mut hasher);
        hasher.finish()
    }
}

/// Hashes numbers whose order and repetitions do not matter, if there are any.
fn hash_as_set(field: usize, numbers: &mut Vec<u64>, hasher: &mut impl Hasher) {
    if !numbers.is_empty() {
        numbers.sort_unstable();
        numbers.dedup();
        (field, numbers).hash(hasher);
    }
}

fn exact(hasher: &RandomState, part: Part<'_>) -> u64 {
    match part {
        Part::Text(text) => hasher.hash_one(text),
        other => hasher.hash_one(other.to_value().to_string()),
    }
}

fn caseless_part(hasher: &RandomState, part: Part<'_>) -> u64 {
    match part {
        Part::Text(text) => caseless(hasher, text),
        other => exact(hasher, other),
    }
}

fn caseless(hasher: &RandomState, text: &str) -> u64 {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return hasher.hash_one(text.to_ascii_lowercase());
    }
    hasher.hash_one(text)
}

/// Values are compared whatever their case; expressions are not, since `\S` is not `\s`.
fn header_value(hasher: &RandomState, text: &str) -> u64 {
    if text.starts_with("~*") { hasher.hash_one(text) } else { caseless(hasher, text) }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
