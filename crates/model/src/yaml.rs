//! YAML text into a [`Node`] tree, by YAML 1.2's core schema: `yes` and `on` are strings, `3.0` is a float.

pub(crate) mod block;

use ahash::AHashMap;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as Marked, StrInput, Tag};
use serde_json::Number;

use crate::courtesy::worked;
use crate::node::{Budget, Key, Node, NodeKind, Span, Syntax};

/// Parses the one document of a YAML text.
///
/// # Errors
/// The first thing that is not YAML, or that asks for more than the budget.
pub(crate) fn parse(text: &str, budget: &mut Budget) -> Result<Node, Syntax> {
    let mut builder = Builder { open: Vec::new(), anchors: AHashMap::new(), root: None };
    let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, place) = event.map_err(|error| unreadable(&error))?;
        builder.event(event, span(place), budget)?;
    }
    Ok(builder.root.unwrap_or(Node::bare(NodeKind::Null)))
}

/// What is usually the matter where the parser says `message`. Its words are those of a grammar.
pub(crate) fn advice(message: &str) -> Option<&'static str> {
    const ADVICE: [(&str, &str); 7] = [
        (
            "mapping values are not allowed",
            "fields of one entity begin in one column; is this line indented too far?",
        ),
        (
            "expected key",
            "fields of one entity begin in one column; is a line before this one indented otherwise?",
        ),
        (
            "expected '-'",
            "entries of one list begin in one column; is a line before this one indented otherwise?",
        ),
        ("tab", "indent with spaces: YAML takes no tabs"),
        ("quoted scalar", "is a quotation mark missing at the end of a text?"),
        ("expected ',' or '", "is a comma or a closing bracket missing?"),
        ("expect ':'", "is a colon missing behind a name?"),
    ];
    ADVICE.iter().find(|(part, _)| message.contains(part)).map(|(_, advice)| *advice)
}

/// A list or mapping that has begun and not ended.
struct Open {
    anchor: usize,
    span: Span,
    content: Content,
    /// Levels below it, those that aliases have put in included.
    height: usize,
}

enum Content {
    Array(Vec<Node>),
    Object { entries: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder {
    open: Vec<Open>,
    /// What has a name, with its own level and those below it.
    anchors: AHashMap<usize, (Node, usize)>,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span, budget: &mut Budget) -> Result<(), Syntax> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind =
                    scalar(&text, style, tag.as_deref()).map_err(|message| Syntax { span, message })?;
                let is_key =
                    matches!(self.open.last(), Some(Open { content: Content::Object { key: None, .. }, .. }));
                if is_key && anchor == 0 {
                    self.key(text.into_owned(), span);
                    return Ok(());
                }
                self.complete(Node { kind, span }, 0, anchor, budget)
            }
            Event::SequenceStart(anchor, _) => self.begin(Content::Array(Vec::new()), anchor, span, budget),
            Event::MappingStart(anchor, _) => {
                self.begin(Content::Object { entries: Vec::new(), key: None }, anchor, span, budget)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(budget),
            Event::Alias(anchor) => {
                let Some((node, height)) = self.anchors.get(&anchor) else {
                    return Err(Syntax { span, message: "an alias inside its own anchor".to_owned() });
                };
                if self.open.len() + height > budget.depth {
                    return Err(too_deep(span));
                }
                budget.expand(node, span)?;
                let (node, height) = (node.clone(), *height);
                self.complete(node, height, 0, budget)
            }
            Event::DocumentStart(_) if self.root.is_some() => Err(Syntax {
                span,
                message: "a second document begins here; one file holds one document".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn key(&mut self, name: String, span: Span) {
        if let Some(Open { content: Content::Object { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(Key { name, span });
        }
    }

    fn begin(&mut self, content: Content, anchor: usize, span: Span, budget: &Budget) -> Result<(), Syntax> {
        if self.open.len() >= budget.depth {
            return Err(too_deep(span));
        }
        if let Some(Open { content: Content::Object { key: None, .. }, .. }) = self.open.last() {
            return Err(Syntax { span, message: "a key must be a plain value".to_owned() });
        }
        self.open.push(Open { anchor, span: Span { length: 1, ..span }, content, height: 0 });
        Ok(())
    }

    fn end(&mut self, budget: &mut Budget) -> Result<(), Syntax> {
        worked(4_000);
        let Some(Open { anchor, span, content, height }) = self.open.pop() else { return Ok(()) };
        let node = match content {
            Content::Array(elements) => Node { kind: NodeKind::Array(elements), span },
            Content::Object { mut entries, .. } => {
                merge(&mut entries)?;
                budget.refuse_duplicates(&mut entries);
                let span = entries
                    .first()
                    .map_or(span, |(key, _)| if key.span.line < span.line { span } else { key.span });
                Node { kind: NodeKind::Object(entries), span }
            }
        };
        self.complete(node, height + 1, anchor, budget)
    }

    fn complete(
        &mut self,
        node: Node,
        height: usize,
        anchor: usize,
        budget: &mut Budget,
    ) -> Result<(), Syntax> {
        if anchor != 0 {
            budget.expand(&node, node.span)?;
            self.anchors.insert(anchor, (node.clone(), height));
        }
        if let Some(open) = self.open.last_mut() {
            open.height = open.height.max(height);
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Array(elements)) => elements.push(node),
            Some(Content::Object { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Some(name) = plain_key(&node) else {
                        return Err(Syntax {
                            span: node.span,
                            message: "a key must be a plain value".to_owned(),
                        });
                    };
                    *key = Some(Key { name, span: node.span });
                }
            },
        }
        Ok(())
    }
}

fn too_deep(span: Span) -> Syntax {
    Syntax { span, message: "the document is nested too deeply".to_owned() }
}

/// An anchored or aliased key.
fn plain_key(node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::String(text) => Some(text.clone()),
        NodeKind::Bool(flag) => Some(flag.to_string()),
        NodeKind::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Replaces `<<: *mapping` and `<<: [*one, *two]` by the entries that the mapping does not have itself. It may stand several
/// times; the first mapping that has an entry counts.
fn merge(entries: &mut Vec<(Key, Node)>) -> Result<(), Syntax> {
    if entries.iter().all(|(key, _)| key.name != "<<") {
        return Ok(());
    }
    let (merges, own): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|(key, _)| key.name == "<<");
    *entries = own;
    let mut known: ahash::AHashSet<String> = entries.iter().map(|(key, _)| key.name.clone()).collect();
    for (key, node) in merges {
        let wrong =
            || Syntax { span: key.span, message: "'<<' takes a mapping or a list of mappings".to_owned() };
        let sources = match node.kind {
            NodeKind::Object(_) => vec![node],
            NodeKind::Array(nodes) => nodes,
            _ => return Err(wrong()),
        };
        for source in sources {
            let NodeKind::Object(fields) = source.kind else { return Err(wrong()) };
            entries.extend(fields.into_iter().filter(|(key, _)| known.insert(key.name.clone())));
        }
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<NodeKind, String> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None => Ok(NodeKind::String(text.to_owned())),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
            Ok(NodeKind::String(text.to_owned()))
        }
        Some(tag) if tag.is_yaml_core_schema() => match (tag.suffix.as_str(), plain(text)) {
            ("null", kind @ NodeKind::Null)
            | ("bool", kind @ NodeKind::Bool(_))
            | ("int" | "float", kind @ NodeKind::Number(_)) => Ok(kind),
            (name, _) => Err(format!("'{text}' is no '{name}'")),
        },
        Some(tag) if tag.suffix.is_empty() => Ok(NodeKind::String(text.to_owned())),
        Some(tag) => Err(format!("unknown tag '{}{}'", tag.handle, tag.suffix)),
    }
}

fn plain(text: &str) -> NodeKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeKind::Null,
        "true" | "True" | "TRUE" => NodeKind::Bool(true),
        "false" | "False" | "FALSE" => NodeKind::Bool(false),
        _ => number(text).map_or_else(|| NodeKind::String(text.to_owned()), NodeKind::Number),
    }
}

/// YAML's integers (decimal, `0x`, `0o`) and finite floats. Infinity and "not a number" have no JSON form and
/// stay text.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.bytes().next()?.is_ascii_digit() && !digits.starts_with('.') {
        return None;
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return unsigned(hexadecimal, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return unsigned(octal, 8);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.strip_prefix('+').unwrap_or(text);
        return match number.parse::<i64>() {
            Ok(number) => Some(Number::from(number)),
            Err(_) => unsigned(number, 10).or_else(|| Number::from_f64(number.parse().ok()?)),
        };
    }
    let float = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if float { Number::from_f64(text.parse().ok()?) } else { None }
}

fn unsigned(digits: &str, radix: u32) -> Option<Number> {
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok().map(Number::from)
}

fn span(marked: Marked) -> Span {
    let (start, end) = (marked.start, marked.end);
    let length = if end.line() == start.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
    Span { line: count(start.line()), column: count(start.col() + 1), length: count(length) }
}

fn unreadable(error: &ScanError) -> Syntax {
    let marker = error.marker();
    let span = Span { line: count(marker.line()), column: count(marker.col() + 1), length: 1 };
    Syntax { span, message: error.info().to_owned() }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
