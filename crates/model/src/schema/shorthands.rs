//! Older spellings of fields: their values go where they belong today.

use serde_json::Value;

use super::rules_list::plain;
use super::{RecordSchema, Shorthand};
use crate::concealed::{UNTOLD, is_secret_name};
use crate::node::{Key, Node, NodeKind, Span};
use crate::problem::{Problems, Trail};

impl RecordSchema {
    /// The entries with older spellings replaced, or `None` when there are none.
    pub(super) fn expand_shorthands(
        &self,
        entries: &[(Key, Node)],
        trail: &Trail<'_>,
        problems: &mut Problems,
    ) -> Option<Vec<(Key, Node)>> {
        let shorthand = |name: &str| self.shorthands.iter().find(|shorthand| shorthand.name == name);
        if self.shorthands.is_empty() || !entries.iter().any(|(key, _)| shorthand(&key.name).is_some()) {
            return None;
        }
        let kept = entries.iter().filter(|(key, _)| shorthand(&key.name).is_none());
        let mut expanded: Vec<(Key, Node)> = kept.cloned().collect();
        for (key, node) in entries {
            let Some(Shorthand { name, target }) = shorthand(&key.name) else { continue };
            if node.is_null() {
                continue;
            }
            let advice = format!("{name} is deprecated, please use {target} instead");
            problems.warn(&trail.field(name), key.span, advice);
            if let Some(other) = place_below(&mut expanded, key.span, target, node) {
                let told =
                    |value: &Value| if is_secret_name(name) { UNTOLD.to_owned() } else { plain(value) };
                let (old, new) = (told(&node.to_value()), told(&other));
                let message = format!(
                    "both deprecated and new field are used but their values mismatch: {name} = {old} vs {target} = {new}"
                );
                problems.add(&trail.field(name), key.span, message);
            }
        }
        Some(expanded)
    }
}

/// Puts `node` under the dotted `target`; returns the value that was there already if it differs.
fn place_below(entries: &mut Vec<(Key, Node)>, span: Span, target: &str, node: &Node) -> Option<Value> {
    let (name, rest) = target.split_once('.').map_or((target, None), |(name, rest)| (name, Some(rest)));
    let position = entries.iter().position(|(key, _)| key.name == name).unwrap_or_else(|| {
        entries.push((Key { name: name.to_owned(), span }, Node { kind: NodeKind::Null, span }));
        entries.len() - 1
    });
    let present = &mut entries[position].1;
    let Some(rest) = rest else {
        if present.is_null() {
            *present = node.clone();
            return None;
        }
        let value = present.to_value();
        return (value != node.to_value()).then_some(value);
    };
    if present.is_null() {
        present.kind = NodeKind::Object(Vec::new());
    }
    match &mut present.kind {
        NodeKind::Object(entries) => place_below(entries, span, rest, node),
        _ => None,
    }
}
