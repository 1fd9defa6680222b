//! Walks a prepared document and validates every entity, each on its own.

use serde_json::Value;
use uuid::Uuid;

use super::PluginSchema;
use super::layout::{Child, Collection, Foreign, Layout};
use crate::courtesy::worked;
use crate::node::{Key, Node, NodeKind, Span};
use crate::pem;
use crate::problem::{Place, Problems, Step, Trail, nearest};
use crate::schema::{Blueprint, Draft, Packed, Surroundings};

/// One entity of the document.
pub(super) struct Row {
    collection: u16,
    /// Where it stands in the text.
    pub span: Span,
    /// The numbers of the fields that the document gives, and where.
    given: Box<[(u16, Span)]>,
    parent: Option<Parent>,
    /// The key its list stands under.
    key: &'static str,
    index: u32,
    /// Who it is; as given, until references are resolved.
    pub id: Option<Uuid>,
    /// The fields that are set, without the identity.
    pub fields: Packed,
    /// Whether there is a reference to a secret among them.
    pub refers: bool,
}

/// The row that another one is nested in, and the number of the field that points there.
#[derive(Clone, Copy)]
struct Parent {
    row: u32,
    field: u16,
}

impl Row {
    pub fn collection(&self) -> usize {
        usize::from(self.collection)
    }

    /// The row this one is nested in, if the field of number `field` points there.
    pub fn parent(&self, field: usize) -> Option<usize> {
        let parent = self.parent.filter(|parent| usize::from(parent.field) == field)?;
        Some(parent.row as usize)
    }

    /// Where the document says what the field of that number is.
    pub fn given(&self, field: usize) -> Option<Span> {
        self.given.iter().find(|(index, _)| usize::from(*index) == field).map(|(_, span)| *span)
    }
}

pub(super) struct Collector<'l> {
    layout: &'l Layout<'l>,
    pub rows: Vec<Row>,
    pub problems: Problems,
    draft: Draft,
}

/// Where the list of a row stands.
#[derive(Clone, Copy)]
struct List {
    key: &'static str,
    collection: usize,
    /// The row that it is nested in, and the field that points there.
    parent: Option<(usize, Foreign)>,
}

impl<'l> Collector<'l> {
    pub fn new(layout: &'l Layout<'l>, problems: Problems) -> Self {
        Self { layout, rows: Vec::new(), problems, draft: Draft::default() }
    }

    /// Takes the document apart, so that each entity's part is gone before the next one is validated: both forms of a
    /// large document together would take much memory.
    pub fn document(&mut self, root: Node) {
        let NodeKind::Object(entries) = root.kind else {
            self.problems.add(&Trail::Root, root.span, "expected a declarative configuration");
            return;
        };
        if !entries.iter().any(|(key, _)| key.name == "_format_version") {
            let trail = Trail::Root.field("_format_version");
            self.problems.add(&trail, root.span, "required field missing");
        }
        for (key, node) in entries {
            match self.layout.collection(&key.name) {
                Some(collection) => {
                    let key = self.layout.collections[collection].schema().name;
                    self.list(List { key, collection, parent: None }, node, &Trail::Root);
                }
                None => self.header_field(&key, &node),
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

    fn list(&mut self, list: List, node: Node, trail: &Trail<'_>) {
        let trail = trail.field(list.key);
        match node.kind {
            NodeKind::Array(elements) => {
                for (index, element) in elements.into_iter().enumerate() {
                    self.row(list, index, element, &trail.index(index));
                }
            }
            NodeKind::Null => {}
            _ => {
                self.problems.add(&trail, node.span, "expected an array");
            }
        }
    }

    fn row(&mut self, list: List, index: usize, node: Node, trail: &Trail<'_>) {
        worked(3_000);
        let collection = &self.layout.collections[list.collection];
        let given = list.parent.map(|(_, foreign)| foreign.field);
        let surroundings = Surroundings { others: &collection.others, given };
        let (problems, draft) = (&mut self.problems, &mut self.draft);
        let before = problems.list.len();
        let readable = collection.blueprint.validate(&node, trail, &surroundings, problems, draft);
        if collection.schema().name == "plugins" {
            self.misplaced(before, &node);
        }
        if !readable {
            return;
        }
        self.check(collection, given, &node, trail);
        let id = self.draft.take(collection.keys.id);
        let (fields, refers) = self.draft.pack();
        let own = self.rows.len();
        self.rows.push(Row {
            collection: list.collection as u16,
            span: node.span,
            given: self.draft.given.as_slice().into(),
            parent: list.parent.map(|(row, foreign)| Parent { row: row as u32, field: foreign.index as u16 }),
            key: list.key,
            index: index as u32,
            id: id.and_then(|id| Uuid::try_parse(id.as_str()?).ok()),
            fields,
            refers,
        });
        self.nested(list.collection, own, node, trail);
    }

    /// What the schema of one collection cannot say.
    fn check(
        &mut self,
        collection: &'l Collection,
        parent: Option<&'static str>,
        node: &Node,
        trail: &Trail<'_>,
    ) {
        let blueprint = &collection.blueprint;
        match blueprint.schema.name {
            "plugins" => self.plugin(blueprint, parent, node, trail),
            "ca_certificates" => self.digest(blueprint, node, trail),
            "routes" if self.draft.fields(blueprint)["path_handling"] == "v1" => {
                let message = "path_handling='v1' is deprecated and treated as 'v0'";
                self.problems.warn(&trail.field("path_handling"), span_of(node, "path_handling"), message);
            }
            _ => {}
        }
    }

    /// What stands beside the fields of the row `own`: other entities, and words of Kong's own.
    fn nested(&mut self, collection: usize, own: usize, node: Node, trail: &Trail<'_>) {
        let NodeKind::Object(entries) = node.kind else { return };
        for (key, node) in entries {
            match (key.name.as_str(), &node.kind) {
                ("_comment", kind) if !matches!(kind, NodeKind::String(_) | NodeKind::Null) => {
                    self.problems.add(&trail.field("_comment"), node.span, "expected a string");
                }
                ("_ignore", kind) if !matches!(kind, NodeKind::Array(_) | NodeKind::Null) => {
                    self.problems.add(&trail.field("_ignore"), node.span, "expected an array");
                }
                (name, _) => {
                    if let Some(child) = self.layout.collections[collection].child(name) {
                        let Child { key, collection, field } = child;
                        self.list(List { key, collection, parent: Some((own, field)) }, node, trail);
                    }
                }
            }
        }
    }

    /// Says of fields of a plugin's configuration that stand beside it where they belong: they are indented too little.
    fn misplaced(&mut self, before: usize, node: &Node) {
        let name = node.field("name").and_then(Node::as_str);
        let Some(plugin) = name.and_then(|name| self.layout.plugin(name)) else { return };
        for problem in &mut self.problems.list[before..] {
            let Some(Step::Field(field)) = problem.place.0.last() else { continue };
            let unknown = node.entry(field).is_some_and(|(key, _)| key.span == problem.span);
            if unknown && plugin.config.field(field).is_some() {
                problem.suggestion = Some(format!("'{field}' belongs under 'config': indent it further"));
            }
        }
    }

    /// The digest of an authority's certificate, which says who it is. As in Kong, that of the certificate counts.
    fn digest(&mut self, blueprint: &Blueprint, node: &Node, trail: &Trail<'_>) {
        let fields = self.draft.fields(blueprint);
        let Some(digest) = fields["cert"].as_str().and_then(pem::digest) else { return };
        let given = fields["cert_digest"].as_str();
        if given.is_some_and(|given| !given.eq_ignore_ascii_case(&digest)) {
            let message = format!("is not the digest of the certificate, which is {digest}");
            self.problems.warn(&trail.field("cert_digest"), span_of(node, "cert_digest"), message);
        }
        self.draft.set_named(blueprint, "cert_digest", Value::String(digest));
    }

    /// What depends on which plugin it is: the settings, the scopes, the protocols.
    fn plugin(
        &mut self,
        blueprint: &Blueprint,
        parent: Option<&'static str>,
        node: &Node,
        trail: &Trail<'_>,
    ) {
        let fields = self.draft.fields(blueprint);
        let Some(name) = fields["name"].as_str() else { return };
        let Some(plugin) = self.layout.plugin(name) else {
            let message =
                format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property");
            let problem = self.problems.add(&trail.field("name"), span_of(node, "name"), message);
            problem.suggestion = Some(match nearest(name, self.layout.plugin_names()) {
                Some(name) => format!("did you mean '{name}'?"),
                None => "this gateway has no plugin of that name; `GET /plugins/enabled` lists those it has"
                    .to_owned(),
            });
            return;
        };
        let absent = Node { kind: NodeKind::Null, span: node.span };
        let config = node.field("config").unwrap_or(&absent);
        let config = plugin.config.validate(config, &trail.field("config"), &mut self.problems);
        for (field, allowed) in scopes(plugin) {
            if !allowed && (parent == Some(field) || !fields[field].is_null()) {
                let problem =
                    self.problems.add(&trail.field(field), span_of(node, field), "value must be null");
                problem.suggestion =
                    Some(format!("'{name}' cannot be limited to a {}", field.replace('_', " ")));
            }
        }
        let has_protocols = !fields["protocols"].is_null();
        self.draft.set_named(blueprint, "config", config);
        if has_protocols {
            self.protocols(plugin, node, trail);
        } else {
            let protocols = plugin.protocols.iter().copied().collect();
            self.draft.set_named(blueprint, "protocols", protocols);
        }
    }

    fn protocols(&mut self, plugin: &PluginSchema, node: &Node, trail: &Trail<'_>) {
        let trail = trail.field("protocols");
        let nodes = node.field("protocols").and_then(Node::as_array).unwrap_or_default();
        for (index, node) in nodes.iter().enumerate() {
            let is_known = |protocol: &str| plugin.all_protocols().any(|known| known == protocol);
            if node.as_str().is_some_and(|protocol| !is_known(protocol)) {
                let known: Vec<&str> = plugin.all_protocols().collect();
                let message = format!("expected one of: {}", known.join(", "));
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

/// Where `field` of an entity stands, or the entity where it is not given.
fn span_of(entity: &Node, field: &str) -> Span {
    entity.field(field).filter(|node| !node.is_null()).unwrap_or(entity).span
}

/// Where a row stands in the document.
pub(super) fn place(rows: &[Row], row: usize) -> Place {
    let Row { parent, key, index, .. } = &rows[row];
    let mut place = parent.map_or_else(Place::default, |parent| place(rows, parent.row as usize));
    place.0.push(Step::Field((*key).to_owned()));
    place.0.push(Step::Index(*index as usize));
    place
}
