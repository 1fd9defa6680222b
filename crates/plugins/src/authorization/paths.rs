//! Patterns of paths, and which of many a path fits, found without a look at each.
//!
//! A pattern is compared segment by segment with the path in its normal form. `*` and `{name}` stand for one segment, `*` at
//! the end for one or more, `**` at the end for any number. A slash at the end of either changes nothing, except that `/a/` has
//! something below `/a`.

use ahash::AHashMap;
use plugin::model::path::normalize_text;

use super::vocabulary::Marks;

/// Most segments of a pattern.
const LONGEST: usize = 64;

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    segments: Box<[Segment]>,
    tail: Tail,
    /// The segments that the rule's parameters are in, see [`name_parameters`].
    parameters: Box<[usize]>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Text(Box<[u8]>),
    /// Any one; with its name, if it has one.
    One(Option<Box<str>>),
}

/// What may follow the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tail {
    Nothing,
    Something,
    Anything,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('/').ok_or_else(|| format!("{text:?} must begin with a slash"))?;
        let mut parts: Vec<&str> = inner.split('/').collect();
        let tail = match parts.last() {
            Some(&"**") => Tail::Anything,
            Some(&"*") => Tail::Something,
            Some(&"") => {
                parts.pop();
                Tail::Nothing
            }
            _ => Tail::Nothing,
        };
        if tail != Tail::Nothing {
            parts.pop();
        }
        if parts.len() > LONGEST {
            return Err(format!("{text:?} has more than {LONGEST} segments"));
        }
        let segments: Result<_, _> = parts.into_iter().map(|part| Segment::parse(part, text)).collect();
        Ok(Self { segments: segments?, tail, parameters: Box::default() })
    }

    /// The one that every path fits.
    pub(super) fn any() -> Self {
        Self { segments: Box::default(), tail: Tail::Anything, parameters: Box::default() }
    }

    /// Whether it fits a path in its normal form.
    pub(super) fn fits(&self, path: &[u8]) -> bool {
        let mut rest = path.strip_prefix(b"/");
        for segment in &self.segments {
            let Some(text) = rest else { return false };
            let (first, after) = split(text);
            if after.is_none() && first.is_empty() {
                return false;
            }
            if let Segment::Text(text) = segment
                && **text != *first
            {
                return false;
            }
            rest = after;
        }
        match self.tail {
            Tail::Nothing => rest.is_none_or(<[u8]>::is_empty),
            Tail::Something => rest.is_some(),
            Tail::Anything => true,
        }
    }

    /// The segment that the rule's parameter of that number is in, if it fits the path.
    pub(super) fn parameter<'p>(&self, number: usize, path: &'p [u8]) -> Option<&'p [u8]> {
        if !self.fits(path) {
            return None;
        }
        path.split(|byte| *byte == b'/').nth(1 + self.parameters.get(number)?)
    }

    /// Patterns that come first say more: text before any segment, and that before any path, from the first segment on.
    pub(super) fn specificity(&self) -> impl Ord + use<> {
        let is_any = |segment: &Segment| matches!(segment, Segment::One(_));
        let mut segments: Vec<u8> = self.segments.iter().map(|segment| u8::from(is_any(segment))).collect();
        segments.push(if self.tail == Tail::Nothing { 0 } else { 2 });
        (segments, self.tail)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.segments
            .iter()
            .position(|segment| matches!(segment, Segment::One(Some(known)) if **known == *name))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::One(name) => name.as_deref(),
            Segment::Text(_) => None,
        })
    }
}

impl Segment {
    fn parse(part: &str, pattern: &str) -> Result<Self, String> {
        if part == "*" {
            return Ok(Self::One(None));
        }
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let is_named =
                name.bytes().all(is_name) && !name.is_empty() && !name.as_bytes()[0].is_ascii_digit();
            return match is_named {
                true => Ok(Self::One(Some(name.into()))),
                false => Err(format!("{{{name}}} in {pattern:?}: a name has letters, digits and _ only")),
            };
        }
        if part.is_empty() {
            return Err(format!("{pattern:?} has a segment without text"));
        }
        if part.contains(['*', '{', '}', '?', '#']) {
            let message =
                "*, ** and {name} stand for whole segments, ** at the end only, and queries do not count";
            return Err(format!("{part:?} in {pattern:?}: {message}"));
        }
        let normal = normalize_text(&format!("/{part}"));
        match normal.strip_prefix('/') {
            Some(normal) if !normal.is_empty() && !normal.contains('/') => {
                Ok(Self::Text(normal.as_bytes().into()))
            }
            _ => Err(format!("{part:?} in {pattern:?} can be in no path")),
        }
    }
}

/// The first segment of what follows a slash, and what follows the next slash.
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
        None => (text, None),
    }
}

/// The names of segments that all of a rule's patterns have. Each pattern learns where they are.
pub(super) fn name_parameters(patterns: &mut [Pattern]) -> Vec<Box<str>> {
    let Some((first, others)) = patterns.split_first() else { return Vec::new() };
    let common = first.names().filter(|name| others.iter().all(|other| other.position(name).is_some()));
    let names: Vec<Box<str>> = common.map(Box::from).collect();
    for pattern in patterns {
        pattern.parameters = names.iter().filter_map(|name| pattern.position(name)).collect();
    }
    names
}

/// Patterns with the numbers of those who have them.
#[derive(Default)]
pub(super) struct Index {
    nodes: Vec<Node>,
}

/// What paths that began alike may go on with.
#[derive(Default)]
struct Node {
    texts: AHashMap<Box<[u8]>, usize>,
    one: Option<usize>,
    /// Who has a pattern that ends here.
    ending: Marks,
    /// Who has a pattern for something below.
    below: Marks,
}

impl Index {
    pub(super) fn add(&mut self, pattern: &Pattern, number: u32) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut place = 0;
        for segment in &pattern.segments {
            let next = self.nodes.len();
            let node = &mut self.nodes[place];
            let child = match segment {
                Segment::Text(text) => *node.texts.entry(text.clone()).or_insert(next),
                Segment::One(_) => *node.one.get_or_insert(next),
            };
            if child == next {
                self.nodes.push(Node::default());
            }
            place = child;
        }
        let node = &mut self.nodes[place];
        if pattern.tail != Tail::Something {
            node.ending.set(number);
        }
        if pattern.tail != Tail::Nothing {
            node.below.set(number);
        }
    }

    /// Adds to `found` who has a pattern that fits a path in its normal form.
    pub(super) fn find(&self, path: &[u8], found: &mut Marks) {
        if !self.nodes.is_empty() {
            self.descend(0, path.strip_prefix(b"/"), found);
        }
    }

    /// As deep as the longest pattern, and through no more nodes than patterns have segments.
    fn descend(&self, place: usize, rest: Option<&[u8]>, found: &mut Marks) {
        let node = &self.nodes[place];
        let Some(text) = rest else {
            found.join(&node.ending);
            return;
        };
        found.join(&node.below);
        let (first, after) = split(text);
        if first.is_empty() && after.is_none() {
            found.join(&node.ending);
            return;
        }
        if let Some(child) = node.texts.get(first) {
            self.descend(*child, after, found);
        }
        if let Some(child) = node.one {
            self.descend(child, after, found);
        }
    }
}
