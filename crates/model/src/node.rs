//! A parsed document: JSON's data model with the place in the text of every key and value.

use serde_json::{Map, Number, Value};

/// Where something stands in a text. Lines and columns count from 1; a zero line means "nowhere".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Line, from 1; 0 when the value did not come from a text.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Length in characters on that line, at least 1 when the line is known.
    pub length: u32,
}

/// One value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub kind: NodeKind,
    /// Where it stands.
    pub span: Span,
}

/// The value of a [`Node`].
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer or a float; which one it was is kept.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// A mapping, in the order of the text, keys unique.
    Object(Vec<(Key, Node)>),
}

/// A mapping's key with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// A node without a place.
    pub fn bare(kind: NodeKind) -> Self {
        Self { kind, span: Span::default() }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, NodeKind::Null)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a mapping.
    pub fn as_object(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            NodeKind::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_array(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The value under `name` of a mapping.
    pub fn field(&self, name: &str) -> Option<&Node> {
        self.as_object()?.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The same data without places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(flag) => Value::Bool(*flag),
            NodeKind::Number(number) => Value::Number(number.clone()),
            NodeKind::String(text) => Value::String(text.clone()),
            NodeKind::Array(elements) => Value::Array(elements.iter().map(Node::to_value).collect()),
            NodeKind::Object(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (key, node) in entries {
                    map.insert(key.name.clone(), node.to_value());
                }
                Value::Object(map)
            }
        }
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        Self::bare(match value {
            Value::Null => NodeKind::Null,
            Value::Bool(flag) => NodeKind::Bool(*flag),
            Value::Number(number) => NodeKind::Number(number.clone()),
            Value::String(text) => NodeKind::String(text.clone()),
            Value::Array(elements) => NodeKind::Array(elements.iter().map(Node::from).collect()),
            Value::Object(map) => NodeKind::Object(
                map.iter()
                    .map(|(name, value)| {
                        (Key { name: name.clone(), span: Span::default() }, Node::from(value))
                    })
                    .collect(),
            ),
        })
    }
}
