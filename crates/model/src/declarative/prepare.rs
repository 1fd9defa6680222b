//! Rewrites a document into Kong's plain 3.0 form before validation: older formats, shorthands, decK's extra keys.

use std::cell::Cell;
use std::mem;

use serde_json::Value;

use super::layout::Layout;
use super::migrate::migrate_path;
use crate::courtesy::worked;
use crate::entity::{settle_algorithm, target_normal_form};
use crate::node::{Key, Node, NodeKind, Span};
use crate::problem::{Problem, Problems, Trail};

/// What the keys of the document that are no collection say.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub format_version: String,
    pub transform: bool,
    pub select_tags: Vec<String>,
    migrates: bool,
    defaults: Vec<(String, Node)>,
    plugin_configs: Vec<(Key, Node)>,
    /// Bytes that copies of these may still take; none once they have been found too many.
    room: Cell<Option<usize>>,
}

/// What defaults and shared settings may grow to where they are filled in, as aliases may.
const LARGEST_COPIES: usize = 512 << 20;

impl Header {
    /// A copy of shared settings for the entity at `trail`, while there is room for it.
    fn copy(&self, node: &Node, span: Span, trail: &Trail<'_>, problems: &mut Problems) -> Option<Node> {
        let room = self.room.get()?;
        self.room.set(room.checked_sub(node.size(room)));
        if self.room.get().is_none() {
            problems.add(trail, span, "defaults and shared settings make the document too large");
            return None;
        }
        Some(node.clone())
    }
}

/// Reads the header, then rewrites every entity in place.
pub(super) fn prepare(root: &mut Node, layout: &Layout<'_>, problems: &mut Problems) -> Header {
    let NodeKind::Object(entries) = &mut root.kind else { return Header::default() };
    let mut header = header(entries, problems);
    for (key, node) in entries.iter_mut() {
        if let Some(collection) = layout.collection(&key.name) {
            list(node, layout, collection, &header, &Trail::Root.field(&key.name), problems);
        }
    }
    header.defaults = Vec::new();
    header.plugin_configs = Vec::new();
    header
}

fn header(entries: &mut [(Key, Node)], problems: &mut Problems) -> Header {
    let room = Cell::new(Some(LARGEST_COPIES));
    let mut header = Header { transform: true, room, ..Header::default() };
    for (key, node) in entries {
        match (key.name.as_str(), &node.kind) {
            ("_format_version", NodeKind::String(version)) => {
                header.migrates = matches!(version.as_str(), "1.1" | "2.1");
                header.format_version.clone_from(version);
            }
            ("_transform", NodeKind::Bool(transform)) => header.transform = *transform,
            ("_info", NodeKind::Object(_)) => info(node, &mut header, problems),
            ("_plugin_configs", NodeKind::Object(_)) => {
                if let NodeKind::Object(configs) = mem::replace(&mut node.kind, NodeKind::Null) {
                    header.plugin_configs = configs;
                }
            }
            ("_konnect", _) => {
                problems.warn(&Trail::Root.field("_konnect"), key.span, "'_konnect' has no effect here");
            }
            ("_workspace", NodeKind::String(name)) if name != "default" => {
                let message = "there is one workspace only, so '_workspace' has no effect here";
                problems.warn(&Trail::Root.field("_workspace"), key.span, message);
            }
            _ => {}
        }
    }
    header
}

fn info(node: &mut Node, header: &mut Header, problems: &mut Problems) {
    let trail = Trail::Root.field("_info");
    let NodeKind::Object(entries) = &mut node.kind else { return };
    for (key, node) in entries {
        match (key.name.as_str(), mem::replace(&mut node.kind, NodeKind::Null)) {
            ("select_tags", NodeKind::Array(tags)) => {
                header.select_tags = tags.iter().filter_map(Node::as_str).map(str::to_owned).collect();
            }
            ("defaults", NodeKind::Object(defaults)) => {
                header.defaults =
                    defaults.into_iter().map(|(key, node)| (format!("{}s", key.name), node)).collect();
            }
            ("select_tags" | "defaults" | "lookup_tags" | "default_lookup_tags", _) => {}
            (name, _) => {
                problems.add(&trail.field(name), key.span, "unknown field");
            }
        }
    }
}

fn list(
    node: &mut Node,
    layout: &Layout<'_>,
    collection: usize,
    header: &Header,
    trail: &Trail<'_>,
    problems: &mut Problems,
) {
    let NodeKind::Array(elements) = &mut node.kind else { return };
    let schema = &layout.collections[collection];
    for (index, element) in elements.iter_mut().enumerate() {
        worked(1_000);
        let trail = trail.index(index);
        let span = element.span;
        if schema.schema().name == "consumer_group_consumers" {
            membership(element);
        }
        let NodeKind::Object(entries) = &mut element.kind else { continue };
        rewrite(schema.schema().name, entries, span, header, &trail, problems);
        for (key, node) in entries {
            if let Some(child) = schema.child(&key.name) {
                list(node, layout, child.collection, header, &trail.field(&key.name), problems);
            }
        }
    }
}

/// An entity alone, as a document would have it after its shorthands are written out, and what is wrong with those.
pub fn prepare_entity(collection: &str, entity: &Value) -> (Value, Vec<Problem>) {
    let (mut node, mut problems) = (Node::from(entity), Problems::default());
    if let NodeKind::Object(entries) = &mut node.kind {
        rewrite(collection, entries, node.span, &Header::default(), &Trail::Root, &mut problems);
    }
    (node.to_value(), problems.told())
}

fn rewrite(
    collection: &str,
    entries: &mut Vec<(Key, Node)>,
    span: Span,
    header: &Header,
    trail: &Trail<'_>,
    problems: &mut Problems,
) {
    match collection {
        "services" => expand_url(entries, trail, problems),
        "routes" => {
            migrate_paths(entries, header);
            keep_grpc_path(entries, span);
        }
        "plugins" => share_config(entries, header, trail, problems),
        "targets" => normalize_target(entries),
        _ => {}
    }
    if let Some((_, defaults)) = header.defaults.iter().find(|(name, _)| name == collection) {
        fill(entries, defaults, span, (header, trail), problems);
    }
    if collection == "upstreams" {
        settle_upstream(entries, span);
    }
}

fn entry<'n>(entries: &'n mut [(Key, Node)], name: &str) -> Option<&'n mut Node> {
    entries.iter_mut().find(|(key, _)| key.name == name).map(|(_, node)| node)
}

/// Sets a field; what the document says explicitly gives way.
fn set(entries: &mut Vec<(Key, Node)>, name: &str, span: Span, kind: NodeKind) {
    let node = Node { kind, span };
    match entry(entries, name) {
        Some(present) => *present = node,
        None => entries.push((Key { name: name.to_owned(), span }, node)),
    }
}

/// `url: http://host:8080/path` sets protocol, host, port and path.
fn expand_url(entries: &mut Vec<(Key, Node)>, trail: &Trail<'_>, problems: &mut Problems) {
    let Some(position) = entries.iter().position(|(key, _)| key.name == "url") else { return };
    let (_, node) = entries.remove(position);
    let span = node.span;
    let parts = match &node.kind {
        NodeKind::Null => return,
        NodeKind::String(text) => UrlParts::of(text).ok_or("missing host in url"),
        _ => Err("expected a string"),
    };
    let parts = match parts {
        Ok(parts) => parts,
        Err(message) => {
            problems.add(&trail.field("url"), span, message);
            // The document is refused by now; this keeps "host: required field missing" from being said as well.
            set(entries, "host", span, NodeKind::String("unknown".to_owned()));
            return;
        }
    };
    set(entries, "protocol", span, NodeKind::String(parts.protocol));
    set(entries, "host", span, NodeKind::String(parts.host));
    set(entries, "port", span, NodeKind::Number(parts.port.into()));
    set(entries, "path", span, parts.path.map_or(NodeKind::Null, NodeKind::String));
}

struct UrlParts {
    protocol: String,
    host: String,
    port: u64,
    path: Option<String>,
}

impl UrlParts {
    /// Port: explicit, else by scheme. Scheme: explicit, else by port.
    fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, url.strip_prefix("//").unwrap_or(url)),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let bracket = authority.rfind(']').map_or(0, |index| index + 1);
        let (host, port) = match authority[bracket..].split_once(':') {
            Some((host, port)) => (&authority[..bracket + host.len()], Some(port.parse().ok()?)),
            None => (authority, None),
        };
        let path = tail.split(['?', '#']).next().unwrap_or_default();
        if host.is_empty() {
            return None;
        }
        // Schemes have no case (RFC 3986 3.1).
        let scheme = scheme.map(str::to_ascii_lowercase);
        let secure =
            matches!(scheme.as_deref(), Some("https" | "wss")) || (scheme.is_none() && port == Some(443));
        Some(Self {
            protocol: scheme.unwrap_or_else(|| if secure { "https" } else { "http" }.to_owned()),
            host: host.to_owned(),
            port: port.unwrap_or(if secure { 443 } else { 80 }),
            path: (!path.is_empty()).then(|| path.to_owned()),
        })
    }
}

fn migrate_paths(entries: &mut [(Key, Node)], header: &Header) {
    if !header.migrates {
        return;
    }
    let Some(NodeKind::Array(paths)) = entry(entries, "paths").map(|node| &mut node.kind) else { return };
    for path in paths {
        if let NodeKind::String(text) = &mut path.kind {
            *text = migrate_path(text);
        }
    }
}

/// On a gRPC route the path is never stripped, so that is the default there.
fn keep_grpc_path(entries: &mut Vec<(Key, Node)>, span: Span) {
    let Some(protocols) = entry(entries, "protocols").and_then(|node| node.as_array()) else { return };
    let grpc = |node: &Node| node.as_str().is_some_and(|protocol| protocol.starts_with("grpc"));
    let only_grpc = !protocols.is_empty() && protocols.iter().all(grpc);
    if only_grpc && entry(entries, "strip_path").is_none_or(|node| node.is_null()) {
        set(entries, "strip_path", span, NodeKind::Bool(false));
    }
}

/// decK's `_config: name` takes settings from `_plugin_configs`; what the plugin sets itself wins.
fn share_config(entries: &mut Vec<(Key, Node)>, header: &Header, trail: &Trail<'_>, problems: &mut Problems) {
    let Some(position) = entries.iter().position(|(key, _)| key.name == "_config") else { return };
    let (_, reference) = entries.remove(position);
    let shared =
        reference.as_str().and_then(|name| header.plugin_configs.iter().find(|(key, _)| key.name == name));
    let Some((_, shared)) = shared else {
        let message = "'_config' names no entry of '_plugin_configs'";
        problems.add(&trail.field("_config"), reference.span, message);
        return;
    };
    match entry(entries, "config").filter(|node| !node.is_null()) {
        Some(Node { kind: NodeKind::Object(own), .. }) => {
            fill(own, shared, reference.span, (header, trail), problems);
        }
        Some(_) => {}
        None => {
            entries.retain(|(key, _)| key.name != "config");
            if let Some(shared) = header.copy(shared, reference.span, trail, problems) {
                entries.push((Key { name: "config".to_owned(), span: reference.span }, shared));
            }
        }
    }
}

/// Adds what `entries` do not have, inside nested mappings too. `span` is where that is asked for.
fn fill(
    entries: &mut Vec<(Key, Node)>,
    defaults: &Node,
    span: Span,
    (header, trail): (&Header, &Trail<'_>),
    problems: &mut Problems,
) {
    for (key, default) in defaults.as_object().unwrap_or_default() {
        match entry(entries, &key.name) {
            None => {
                let copy = header.copy(default, span, trail, problems);
                entries.extend(copy.map(|copy| (key.clone(), copy)));
            }
            Some(Node { kind: NodeKind::Object(nested), .. }) => {
                fill(nested, default, span, (header, trail), problems);
            }
            Some(_) => {}
        }
    }
}

fn settle_upstream(entries: &mut Vec<(Key, Node)>, span: Span) {
    let text = |entries: &mut Vec<(Key, Node)>, name: &str| {
        entry(entries, name).and_then(|node| node.as_str().map(str::to_owned))
    };
    let (algorithm, hash_on) = (text(entries, "algorithm"), text(entries, "hash_on"));
    for (name, value) in settle_algorithm(algorithm.as_deref(), hash_on.as_deref()) {
        let span = entry(entries, name).map_or(span, |node| node.span);
        let kind = value.as_str().map_or(NodeKind::Null, |text| NodeKind::String(text.to_owned()));
        set(entries, name, span, kind);
    }
}

fn normalize_target(entries: &mut [(Key, Node)]) {
    if let Some(NodeKind::String(target)) = entry(entries, "target").map(|node| &mut node.kind)
        && let Some(normal) = target_normal_form(target)
    {
        *target = normal;
    }
}

/// `groups: [gold]` and `groups: [{name: gold}]` become rows that point to the group.
fn membership(element: &mut Node) {
    let span = element.span;
    match &mut element.kind {
        NodeKind::String(name) => {
            let node = Node { kind: NodeKind::String(mem::take(name)), span };
            element.kind = NodeKind::Object(vec![(Key { name: "consumer_group".to_owned(), span }, node)]);
        }
        NodeKind::Object(entries) => {
            let named = entries.iter().any(|(key, _)| key.name == "name");
            if named {
                entries.retain(|(key, _)| {
                    !matches!(key.name.as_str(), "id" | "tags" | "created_at" | "updated_at")
                });
            }
            // A row that says its group has an id of its own.
            if entries.iter().any(|(key, _)| key.name == "consumer_group") {
                return;
            }
            for (key, _) in entries {
                if key.name == if named { "name" } else { "id" } {
                    "consumer_group".clone_into(&mut key.name);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_shared_settings_are_bounded_and_that_is_said_once() {
        let node = Node { kind: NodeKind::String("x".repeat(1000)), span: Span::default() };
        let header = Header { room: Cell::new(Some(2500)), ..Header::default() };
        let mut problems = Problems::default();
        let mut copied = || header.copy(&node, Span::default(), &Trail::Root, &mut problems).is_some();
        assert_eq!([copied(), copied(), copied(), copied()], [true, true, false, false]);
        assert_eq!(problems.list.len(), 1);
    }
}
