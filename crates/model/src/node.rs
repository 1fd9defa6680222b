//! A parsed document: JSON's data model with the place in the text of every key and value.

use ahash::AHashSet;
use serde_json::{Map, Number, Value};

use crate::problem::{MOST_TOLD, Place, Problem};
use crate::{json, yaml};

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
        self.entry(name).map(|(_, node)| node)
    }

    /// The same with its key.
    pub fn entry(&self, name: &str) -> Option<&(Key, Node)> {
        self.as_object()?.iter().find(|(key, _)| key.name == name)
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

/// A document that could be read.
#[derive(Debug)]
pub struct Document {
    /// Its content.
    pub root: Node,
    /// What the reader already found wrong: keys that stand twice.
    pub problems: Vec<Problem>,
}

/// What a document may ask for.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Levels of nesting.
    pub depth: usize,
    /// Bytes that aliases may still copy.
    pub expansion: usize,
    /// Keys that stand twice.
    pub duplicates: Vec<(Span, String)>,
}

/// Why a text could not be read.
#[derive(Debug)]
pub(crate) struct Syntax {
    pub span: Span,
    pub message: String,
}

/// Deeper nesting than any configuration needs, and shallow enough for every stack and for the reader of JSON that entities
/// are kept in.
const DEEPEST: usize = 128;
/// What all aliases of a document together may grow to.
const LARGEST_EXPANSION: usize = 128 << 20;
/// The largest text that is read at all.
const LARGEST_TEXT: usize = 512 << 20;

/// Reads a YAML or JSON text. The file name decides: `.json`, `.yaml`, `.yml`; with any other name JSON is tried
/// first.
///
/// # Errors
/// Why the text cannot be read.
pub fn parse(file: &str, text: &str) -> Result<Document, Problem> {
    if text.len() > LARGEST_TEXT {
        let message = format!("the document is larger than {} MiB", LARGEST_TEXT >> 20);
        return Err(Problem::new(Place::default(), Span::default(), message));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    let mut budget = Budget { depth: DEEPEST, expansion: LARGEST_EXPANSION, duplicates: Vec::new() };
    let parsed = match extension.as_str() {
        "json" => json::parse(text, &mut budget),
        "yml" | "yaml" => yaml::parse(text, &mut budget),
        _ => json::parse(text, &mut budget).or_else(|of_json| {
            budget.duplicates.clear();
            let told = |of_yaml| if looks_like_json(text) { of_json } else { of_yaml };
            yaml::parse(text, &mut budget).map_err(told)
        }),
    };
    let problem = |span, message| Problem::new(Place::default(), span, message);
    let root = parsed.map_err(|syntax| {
        let suggestion = yaml::advice(&syntax.message).map(str::to_owned);
        Problem { suggestion, ..problem(syntax.span, syntax.message) }
    })?;
    let duplicate =
        |(span, name): (Span, String)| problem(span, format!("the key '{name}' stands here a second time"));
    Ok(Document { root, problems: budget.duplicates.into_iter().map(duplicate).collect() })
}

/// Whether a text that is neither YAML nor JSON is meant as JSON: YAML's mappings seldom have both, braces and quoted keys.
pub(crate) fn looks_like_json(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('{').map(str::trim_start);
    inside.is_some_and(|inside| inside.starts_with('"'))
}

impl Budget {
    /// Pays for one copy of `node`.
    pub fn expand(&mut self, node: &Node, span: Span) -> Result<(), Syntax> {
        match self.expansion.checked_sub(node.size(self.expansion)) {
            Some(rest) => {
                self.expansion = rest;
                Ok(())
            }
            None => Err(Syntax { span, message: "aliases make the document too large".to_owned() }),
        }
    }

    /// Notes and removes entries whose key stands twice; the first one stays.
    pub fn refuse_duplicates(&mut self, entries: &mut Vec<(Key, Node)>) {
        if entries.len() <= FEW {
            let repeated =
                |index: usize| entries[..index].iter().any(|(key, _)| key.name == entries[index].0.name);
            if !(1..entries.len()).any(repeated) {
                return;
            }
        }
        let mut seen = AHashSet::with_capacity(entries.len());
        entries.retain(|(key, _)| {
            let first = seen.insert(key.name.clone());
            if !first && self.duplicates.len() <= MOST_TOLD {
                self.duplicates.push((key.span, key.name.clone()));
            }
            first
        });
    }
}

/// Up to here comparing every pair of keys is cheaper than hashing them.
const FEW: usize = 24;

impl Node {
    /// Bytes a copy takes, not counted further than `limit`.
    pub(crate) fn size(&self, limit: usize) -> usize {
        let own = size_of::<Node>();
        let mut size = own;
        match &self.kind {
            NodeKind::String(text) => size += text.len(),
            NodeKind::Array(elements) => {
                for element in elements {
                    size += element.size(limit);
                    if size > limit {
                        break;
                    }
                }
            }
            NodeKind::Object(entries) => {
                for (key, value) in entries {
                    size += size_of::<Key>() + key.name.len() + value.size(limit);
                    if size > limit {
                        break;
                    }
                }
            }
            _ => {}
        }
        size
    }
}

#[cfg(test)]
mod tests;
