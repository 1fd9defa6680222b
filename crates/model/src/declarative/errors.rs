//! Problems in the shapes of Kong's `POST /config`: one message, a tree, a list by entity.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::layout::Layout;
use crate::node::{Node, NodeKind};
use crate::problem::{Owner, Problem, Severity, Step};

/// The message, the tree `fields` and the list `flattened_errors` of an answer to a document that does not check.
pub fn problems_to_kong(problems: &[Problem]) -> (String, Value, Value) {
    let errors = || problems.iter().filter(|problem| problem.severity == Severity::Error);
    let mut fields = Value::Object(Map::new());
    for problem in errors() {
        insert(&mut fields, &problem.place.0, problem);
    }
    let message = format!("declarative config is invalid: {}", lua(&fields));
    let flattened = flatten(errors());
    (message, fields, flattened)
}

/// Puts a message where its value stands. A string that stands there already stays: it was found first.
fn insert(tree: &mut Value, steps: &[Step], problem: &Problem) {
    let Some((step, rest)) = steps.split_first() else {
        let key = if problem.entity { "@entity" } else { "error" };
        if let Some(fields) = tree.as_object_mut() {
            match fields.entry(key).or_insert_with(|| if problem.entity { json!([]) } else { Value::Null }) {
                Value::Array(messages) => messages.push(Value::from(problem.message.as_str())),
                slot => *slot = Value::from(problem.message.as_str()),
            }
        }
        return;
    };
    let Some(slot) = slot(tree, step) else { return };
    if rest.is_empty() && !problem.entity && slot.is_null() {
        *slot = Value::from(problem.message.as_str());
        return;
    }
    if slot.is_null() {
        *slot = match rest.first() {
            Some(Step::Index(_)) => json!([]),
            _ => json!({}),
        };
    }
    insert(slot, rest, problem);
}

fn slot<'t>(tree: &'t mut Value, step: &Step) -> Option<&'t mut Value> {
    match (tree, step) {
        (Value::Object(fields), Step::Field(name)) => {
            Some(fields.entry(name.as_str()).or_insert(Value::Null))
        }
        (Value::Array(elements), Step::Index(index)) => {
            if elements.len() <= *index {
                elements.resize(index + 1, Value::Null);
            }
            elements.get_mut(*index)
        }
        _ => None,
    }
}

/// The tree as Kong's message shows it: a Lua table, where a list with gaps names its indexes.
fn lua(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            let gaps = elements.iter().any(Value::is_null);
            let present = elements.iter().enumerate().filter(|(_, element)| !element.is_null());
            let shown =
                present.map(
                    |(index, element)| {
                        if gaps { format!("[{}]={}", index + 1, lua(element)) } else { lua(element) }
                    },
                );
            format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let shown = fields.iter().map(|(name, value)| {
                let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if plain {
                    format!("{name}={}", lua(value))
                } else {
                    format!("[{}]={}", Value::from(name.as_str()), lua(value))
                }
            });
            format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn flatten<'p>(errors: impl Iterator<Item = &'p Problem>) -> Value {
    let mut owners: Vec<(&Arc<Owner>, Vec<Value>)> = Vec::new();
    for problem in errors {
        let Some(owner) = &problem.owner else { continue };
        let error = flat(problem, owner.depth);
        match owners.iter_mut().rev().take(64).find(|(known, _)| Arc::ptr_eq(known, owner)) {
            Some((_, errors)) => errors.push(error),
            None => owners.push((owner, vec![error])),
        }
    }
    owners.into_iter().map(|(owner, errors)| entity_errors(owner, errors)).collect()
}

fn entity_errors(owner: &Owner, errors: Vec<Value>) -> Value {
    let mut listed = Map::new();
    listed.insert("entity_type".to_owned(), Value::from(owner.entity_type.as_str()));
    for (key, field) in [("entity_id", "id"), ("entity_name", "name"), ("entity_tags", "tags")] {
        if let Some(value) = owner.entity.get(field).filter(|value| !value.is_null()) {
            listed.insert(key.to_owned(), value.clone());
        }
    }
    listed.insert("entity".to_owned(), owner.entity.clone());
    listed.insert("errors".to_owned(), Value::Array(errors));
    Value::Object(listed)
}

fn flat(problem: &Problem, depth: usize) -> Value {
    let steps = &problem.place.0[depth.min(problem.place.0.len())..];
    if problem.entity || steps.is_empty() {
        return json!({ "type": "entity", "message": problem.message });
    }
    let dotted: Vec<String> = steps
        .iter()
        .map(|step| match step {
            Step::Field(name) => name.clone(),
            Step::Index(index) => (index + 1).to_string(),
        })
        .collect();
    json!({ "type": "field", "field": dotted.join("."), "message": problem.message })
}

/// Tells every problem which entity it is about.
pub(super) fn attach_owners(root: &Node, layout: &Layout<'_>, problems: &mut [Problem]) {
    let mut last: Option<(Vec<Step>, Arc<Owner>)> = None;
    for problem in problems {
        let Some((depth, owner)) = owner(root, layout, &problem.place.0) else { continue };
        let steps = &problem.place.0[..depth];
        let owner = match &last {
            Some((known, owner)) if known == steps => Arc::clone(owner),
            _ => Arc::new(owner()),
        };
        last = Some((steps.to_vec(), Arc::clone(&owner)));
        problem.owner = Some(owner);
    }
}

/// The innermost entity on the way to a place: how many steps lead to it, and its description on demand.
fn owner<'n>(
    root: &'n Node,
    layout: &'n Layout<'_>,
    steps: &[Step],
) -> Option<(usize, impl Fn() -> Owner + 'n)> {
    let mut node = root;
    let mut inside = None;
    let mut depth = 0;
    for pair in steps.chunks_exact(2) {
        let [Step::Field(name), Step::Index(index)] = pair else { break };
        let collection = match inside {
            None => layout.collection(name),
            Some(parent) => {
                let parent: usize = parent;
                layout.collections[parent].child(name).map(|child| child.collection)
            }
        };
        let next = node.field(name).and_then(|list| list.as_array()?.get(*index));
        let (Some(collection), Some(next)) = (collection, next) else { break };
        (node, inside, depth) = (next, Some(collection), depth + 2);
    }
    let collection = inside?;
    Some((depth, move || describe(node, layout, collection, depth)))
}

fn describe(node: &Node, layout: &Layout<'_>, collection: usize, depth: usize) -> Owner {
    let collection = &layout.collections[collection];
    let own =
        node.as_object().unwrap_or_default().iter().filter(|(key, _)| collection.child(&key.name).is_none());
    let kind = NodeKind::Object(own.cloned().collect());
    let name = collection.schema().name;
    let entity_type = name.strip_suffix('s').unwrap_or(name).to_owned();
    Owner { depth, entity_type, entity: Node { kind, span: node.span }.to_value() }
}
