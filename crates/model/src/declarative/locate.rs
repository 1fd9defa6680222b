//! Points problems at the very value they are about, in the text: whoever finds one knows the entity and the path of a field below
//! it, but not where that stands.

use std::sync::Arc;

use super::errors::attach_owners;
use super::layout::Layout;
use super::{Catalog, read, sort_by_place};
use crate::node::{Node, NodeKind, Span};
use crate::problem::{Place, Problem, Problems, Step};

/// Finds the places of problems that were found after `text` had been read. Each has the span of its entity, and as place the name
/// of the collection and the dotted path of a field: `config.rules[0].when`. Those that have the place of their value already stay
/// what they are, and are pointed at it.
pub fn locate(file_name: &str, text: &str, catalog: &Catalog, problems: Vec<Problem>) -> Vec<Problem> {
    if problems.is_empty() {
        return problems;
    }
    let layout = Layout::new(catalog);
    let mut problems = Problems { list: problems };
    if let Ok((root, _)) = read(file_name, text, &layout, &mut Problems::default()) {
        for problem in &mut problems.list {
            place_in_document(&root, &layout, problem);
        }
        finish(&root, &layout, &mut problems, file_name);
    }
    problems.list
}

/// The last things to find out about problems, in the order of the text.
pub(super) fn finish(root: &Node, layout: &Layout<'_>, problems: &mut Problems, file_name: &str) {
    for problem in &mut problems.list {
        point(root, problem);
    }
    sort_by_place(&Arc::from(file_name), problems);
    attach_owners(root, layout, &mut problems.list);
}

/// Gives a problem the place in the document of the entity that it is about, and of the field below it.
fn place_in_document(root: &Node, layout: &Layout<'_>, problem: &mut Problem) {
    let [Step::Field(collection), Step::Field(field)] = &problem.place.0[..] else { return };
    let wanted = Wanted { layout, collection: layout.collection(collection), span: problem.span };
    let mut steps = Vec::new();
    if problem.span.line > 0 && wanted.below(root, None, &mut steps) {
        steps.extend(path(field));
        problem.span = walk(root, &steps, |_| {}).span;
        problem.place = Place(steps);
    }
}

/// An entity, as one looks for it.
struct Wanted<'a> {
    layout: &'a Layout<'a>,
    collection: Option<usize>,
    span: Span,
}

impl Wanted<'_> {
    /// Whether the entity stands below `node`, which is one of the collection `inside` or the document; `steps` lead to it then.
    fn below(&self, node: &Node, inside: Option<usize>, steps: &mut Vec<Step>) -> bool {
        for (key, list) in node.as_object().unwrap_or_default() {
            let collection = match inside {
                None => self.layout.collection(&key.name),
                Some(parent) => {
                    self.layout.collections[parent].child(&key.name).map(|child| child.collection)
                }
            };
            let (Some(collection), Some(elements)) = (collection, list.as_array()) else { continue };
            steps.push(Step::Field(key.name.clone()));
            for (index, element) in elements.iter().enumerate() {
                steps.push(Step::Index(index));
                let found = Some(collection) == self.collection && element.span == self.span;
                if found || self.below(element, Some(collection), steps) {
                    return true;
                }
                steps.pop();
            }
            steps.pop();
        }
        false
    }
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
