//! Walks a prepared document and validates every entity, each on its own.

use serde_json::Value;

use super::PluginSchema;
use super::layout::{Child, Layout};
use crate::node::{Key, Node, NodeKind};
use crate::pem;
use crate::problem::{Place, Problems, Step, Trail, nearest};
use crate::schema::Surroundings;

/// One entity of the document.
pub(super) struct Row<'n> {
    pub collection: usize,
    pub node: &'n Node,
    /// The row this one is nested in, and the field that points there.
    pub parent: Option<(usize, &'static str)>,
    /// The key its list stands under.
    pub key: &'n str,
    pub index: usize,
    /// The validated fields.
    pub value: Value,
}

pub(super) struct Collector<'l, 'n> {
    layout: &'l Layout<'l>,
    pub rows: Vec<Row<'n>>,
    pub problems: Problems,
}

impl<'l, 'n> Collector<'l, 'n> {
    pub fn new(layout: &'l Layout<'l>, problems: Problems) -> Self {
        Self { layout, rows: Vec::new(), problems }
    }

    pub fn document(&mut self, root: &'n Node) {
        let NodeKind::Object(entries) = &root.kind else {
            self.problems.add(&Trail::Root, root.span, "expected a declarative configuration");
            return;
        };
        if !entries.iter().any(|(key, _)| key.name == "_format_version") {
            let trail = Trail::Root.field("_format_version");
            self.problems.add(&trail, root.span, "required field missing");
        }
        for (key, node) in entries {
            match self.layout.collection(&key.name) {
                Some(collection) => self.list(key, node, collection, None, &Trail::Root),
                None => self.header_field(key, node),
            }
        }
    }

    fn header_field(&mut self, key: &Key, node: &Node) {
        let trail = Trail::Root.field(&key.name);
        let fault = match (key.name.as_str(), &node.kind) {
            ("_format_version", NodeKind::String(version)) => {
                let known = matches!(version.as_str(), "1.1" | "2.1" | "3.0");
                (!known).then_some("expected one of: 1.1, 2.1, 3.0")
            }
            ("_comment" | "_workspace", NodeKind::String(_)) | ("_transform", NodeKind::Bool(_)) => None,
            ("_format_version" | "_comment" | "_workspace", _) => Some("expected a string"),
            ("_transform", _) => Some("expected a boolean"),
            ("_ignore", NodeKind::Array(_)) => None,
            ("_ignore", _) => Some("expected an array"),
            ("_info" | "_konnect" | "_plugin_configs", NodeKind::Object(_) | NodeKind::Null) => None,
            ("_info" | "_konnect" | "_plugin_configs", _) => Some("expected a record"),
            _ => {
                let problem = self.problems.add(&trail, key.span, "unknown field");
                let known = self.layout.names().chain(HEADER_FIELDS);
                problem.suggestion = nearest(&key.name, known).map(|name| format!("did you mean '{name}'?"));
                return;
            }
        };
        if let Some(message) = fault {
            let problem = self.problems.add(&trail, node.span, message);
            if key.name == "_format_version" && matches!(node.kind, NodeKind::Number(_)) {
                problem.suggestion = Some("put the version in quotes: \"3.0\"".to_owned());
            }
        }
    }

    fn list(
        &mut self,
        key: &'n Key,
        node: &'n Node,
        collection: usize,
        parent: Option<(usize, &'static str)>,
        trail: &Trail<'_>,
    ) {
        let trail = trail.field(&key.name);
        match &node.kind {
            NodeKind::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let row =
                        Row { collection, node: element, parent, key: &key.name, index, value: Value::Null };
                    self.row(row, &trail.index(index));
                }
            }
            NodeKind::Null => {}
            _ => {
                self.problems.add(&trail, node.span, "expected an array");
            }
        }
    }

    fn row(&mut self, mut row: Row<'n>, trail: &Trail<'_>) {
        let collection = &self.layout.collections[row.collection];
        let surroundings =
            Surroundings { others: &collection.others, given: row.parent.map(|(_, field)| field) };
        if row.node.is_null() {
            self.problems.add(trail, row.node.span, "expected a record");
            return;
        }
        row.value =
            collection.schema.record.validate_within(row.node, trail, &surroundings, &mut self.problems);
        if row.value.is_null() {
            return;
        }
        match collection.schema.name {
            "plugins" => self.plugin(&mut row, trail),
            "ca_certificates" => self.digest(&mut row, trail),
            "routes" if row.value["path_handling"] == "v1" => {
                let span = row.node.field("path_handling").map_or(row.node.span, |node| node.span);
                let message = "path_handling='v1' is deprecated and treated as 'v0'";
                self.problems.warn(&trail.field("path_handling"), span, message);
            }
            _ => {}
        }
        let node = row.node;
        let own = self.rows.len();
        self.rows.push(row);
        for (key, node) in node.as_object().unwrap_or_default() {
            match (key.name.as_str(), &node.kind) {
                ("_comment", kind) if !matches!(kind, NodeKind::String(_) | NodeKind::Null) => {
                    self.problems.add(&trail.field("_comment"), node.span, "expected a string");
                }
                ("_ignore", kind) if !matches!(kind, NodeKind::Array(_) | NodeKind::Null) => {
                    self.problems.add(&trail.field("_ignore"), node.span, "expected an array");
                }
                (name, _) => {
                    if let Some(Child { collection, field, .. }) = collection.child(name) {
                        self.list(key, node, collection, Some((own, field)), trail);
                    }
                }
            }
        }
    }

    /// The digest of an authority's certificate, which says who it is. As in Kong, that of the certificate counts.
    fn digest(&mut self, row: &mut Row<'n>, trail: &Trail<'_>) {
        let Some(digest) = row.value["cert"].as_str().and_then(pem::digest) else { return };
        let given = row.value["cert_digest"].as_str();
        if given.is_some_and(|given| !given.eq_ignore_ascii_case(&digest)) {
            let span = row.node.field("cert_digest").map_or(row.node.span, |node| node.span);
            let message = format!("is not the digest of the certificate, which is {digest}");
            self.problems.warn(&trail.field("cert_digest"), span, message);
        }
        row.value["cert_digest"] = Value::String(digest);
    }

    /// What depends on which plugin it is: the settings, the scopes, the protocols.
    fn plugin(&mut self, row: &mut Row<'n>, trail: &Trail<'_>) {
        let Some(name) = row.value["name"].as_str() else { return };
        let node = row.node;
        let field_span = |name: &str| node.field(name).map_or(node.span, |field| field.span);
        let Some(plugin) = self.layout.plugin(name) else {
            let message =
                format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property");
            let problem = self.problems.add(&trail.field("name"), field_span("name"), message);
            problem.suggestion =
                nearest(name, self.layout.plugin_names()).map(|name| format!("did you mean '{name}'?"));
            return;
        };
        let absent = Node { kind: NodeKind::Null, span: node.span };
        let config = node.field("config").unwrap_or(&absent);
        row.value["config"] = plugin.config.validate(config, &trail.field("config"), &mut self.problems);
        for (field, allowed) in scopes(plugin) {
            let given = row.parent.is_some_and(|(_, parent)| parent == field);
            if !allowed && (given || !row.value[field].is_null()) {
                self.problems.add(&trail.field(field), field_span(field), "value must be null");
            }
        }
        self.protocols(plugin, row, trail);
    }

    fn protocols(&mut self, plugin: &PluginSchema, row: &mut Row<'n>, trail: &Trail<'_>) {
        if row.value["protocols"].is_null() {
            row.value["protocols"] = plugin.protocols.iter().copied().collect();
            return;
        }
        let trail = trail.field("protocols");
        let nodes = row.node.field("protocols").and_then(Node::as_array).unwrap_or_default();
        for (index, node) in nodes.iter().enumerate() {
            if node.as_str().is_some_and(|protocol| !plugin.protocols.contains(&protocol)) {
                let message = format!("expected one of: {}", plugin.protocols.join(", "));
                self.problems.add(&trail.index(index), node.span, message);
            }
        }
    }
}

const HEADER_FIELDS: [&str; 8] = [
    "_format_version",
    "_transform",
    "_comment",
    "_ignore",
    "_info",
    "_workspace",
    "_konnect",
    "_plugin_configs",
];

fn scopes(plugin: &PluginSchema) -> [(&'static str, bool); 4] {
    let scopes = plugin.scopes;
    [
        ("route", scopes.route),
        ("service", scopes.service),
        ("consumer", scopes.consumer),
        ("consumer_group", scopes.consumer_group),
    ]
}

/// Where a row stands in the document.
pub(super) fn place(rows: &[Row<'_>], row: usize) -> Place {
    let Row { parent, key, index, .. } = &rows[row];
    let mut place = parent.map_or_else(Place::default, |(parent, _)| place(rows, parent));
    place.0.push(Step::Field((*key).to_owned()));
    place.0.push(Step::Index(*index));
    place
}
