//! Points problems at the very value they are about, in the text: whoever finds one knows the entity and the path of a field below
//! it, but not where that stands.

use std::sync::Arc;

use ahash::AHashMap;

use super::errors::attach_owners;
use super::layout::Layout;
use super::{Catalog, read, sort_by_place};
use crate::node::{Node, NodeKind};
use crate::problem::{Place, Problem, Problems, Step};

/// Finds the places of problems that were found after `text` had been read. Each has the span of its entity, and as place the name
/// of the collection and the dotted path of a field: `config.rules[0].when`. Those that have the place of their value already stay
/// what they are, and are pointed at it.
pub fn locate(file_name: &str, text: &str, catalog: &Catalog, problems: Vec<Problem>) -> Vec<Problem> {
    if problems.is_empty() {
        return problems;
    }
    let layout = Layout::new(catalog);
    let mut problems: Problems = problems.into_iter().collect();
    if let Ok((root, _)) = read(file_name, text, &layout, &mut Problems::default()) {
        let mut entities = Entities::of(&layout, &problems.list);
        entities.search(&root, None, &mut Vec::new());
        for problem in &mut problems.list {
            entities.place(&root, problem);
        }
        finish(&root, &layout, &mut problems, file_name);
    }
    problems.told()
}

/// The last things to find out about problems, in the order of the text.
pub(super) fn finish(root: &Node, layout: &Layout<'_>, problems: &mut Problems, file_name: &str) {
    for problem in &mut problems.list {
        point(root, problem);
    }
    sort_by_place(&Arc::from(file_name), problems);
    attach_owners(root, layout, &mut problems.list);
}

/// Entities that problems are about, by their collection and the line and column at which they begin, with the steps that lead to
/// those that have been found. The document is gone through once, however many there are.
struct Entities<'a> {
    layout: &'a Layout<'a>,
    found: AHashMap<(usize, u32, u32), Option<Vec<Step>>>,
}

impl<'a> Entities<'a> {
    fn of(layout: &'a Layout<'a>, problems: &[Problem]) -> Self {
        let wanted = problems.iter().filter_map(|problem| key(layout, problem));
        Self { layout, found: wanted.map(|key| (key, None)).collect() }
    }

    /// Looks below `node`, which is an entity of the collection `inside`, or the document. `steps` lead there.
    fn search(&mut self, node: &Node, inside: Option<usize>, steps: &mut Vec<Step>) {
        for (name, list) in node.as_object().unwrap_or_default() {
            let collection = match inside {
                None => self.layout.collection(&name.name),
                Some(parent) => {
                    self.layout.collections[parent].child(&name.name).map(|child| child.collection)
                }
            };
            let (Some(collection), Some(elements)) = (collection, list.as_array()) else { continue };
            steps.push(Step::Field(name.name.clone()));
            for (index, element) in elements.iter().enumerate() {
                steps.push(Step::Index(index));
                let key = (collection, element.span.line, element.span.column);
                if let Some(place) = self.found.get_mut(&key) {
                    place.get_or_insert_with(|| steps.clone());
                }
                self.search(element, Some(collection), steps);
                steps.pop();
            }
            steps.pop();
        }
    }

    /// Gives a problem the place in the document of the entity that it is about, and of the field below it.
    fn place(&self, root: &Node, problem: &mut Problem) {
        let found = key(self.layout, problem).and_then(|key| self.found.get(&key)?.as_ref());
        let (Some(entity), [_, Step::Field(field)]) = (found, &problem.place.0[..]) else { return };
        let mut steps = entity.clone();
        steps.extend(path(field));
        problem.span = walk(root, &steps, |_| {}).span;
        problem.place = Place(steps);
    }
}

/// By what the entity of a problem is found, where the problem does not have its whole place.
fn key(layout: &Layout<'_>, problem: &Problem) -> Option<(usize, u32, u32)> {
    let [Step::Field(collection), Step::Field(_)] = &problem.place.0[..] else { return None };
    let span = problem.span;
    if span.line > 0 { Some((layout.collection(collection)?, span.line, span.column)) } else { None }
}

/// The steps of `config.rules[0].when`.
fn path(dotted: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in dotted.split('.').filter(|part| !part.is_empty()) {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        steps.push(Step::Field(name.to_owned()));
        let indices = indices.split('[').filter_map(|index| index.trim_end_matches(']').parse().ok());
        steps.extend(indices.map(Step::Index));
    }
    steps
}

/// Moves a problem that stands at something on the way to its place to the last value on that way. One that stands at the very key
/// stays there.
fn point(root: &Node, problem: &mut Problem) {
    let Place(steps) = &problem.place;
    let key = match &steps[..] {
        [way @ .., Step::Field(name)] => walk(root, way, |_| {}).entry(name).map(|(key, _)| key.span),
        _ => None,
    };
    let mut passed = false;
    let last = walk(root, steps, |node| passed |= node.span == problem.span).span;
    if passed && key != Some(problem.span) {
        problem.span = last;
    }
}

/// The last value of the document on the way that `steps` describe. Tells `passing` of those before it.
fn walk<'n>(root: &'n Node, steps: &[Step], mut passing: impl FnMut(&Node)) -> &'n Node {
    let mut node = root;
    for step in steps {
        let next = match (step, &node.kind) {
            (Step::Field(name), _) => node.field(name),
            (Step::Index(index), NodeKind::Array(elements)) => elements.get(*index),
            _ => None,
        };
        let Some(next) = next.filter(|next| next.span.line > 0) else { break };
        passing(node);
        node = next;
    }
    node
}
