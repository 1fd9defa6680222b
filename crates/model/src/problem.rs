//! What is wrong with a document: where, what, and what was probably meant.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use crate::node::Span;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// The document works, but not as its author may think.
    Warning,
}

/// One step of a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field of a record or a key of a map.
    Field(String),
    /// An element of a list, from 0.
    Index(usize),
}

/// The path of a value inside its document, shown as `services[1].routes[0].paths[0]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(pub Vec<Step>);

/// One fault of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The document's name; empty when it has none.
    pub file: Arc<str>,
    /// Where in the text.
    pub span: Span,
    /// Which value.
    pub place: Place,
    /// What is wrong, in Kong's words where Kong has some.
    pub message: String,
    /// What was probably meant, such as "did you mean 'strip_path'?".
    pub suggestion: Option<String>,
    /// Error or warning.
    pub severity: Severity,
    /// Whether several fields of the record at `place` are wrong together (Kong lists these under `@entity`).
    pub entity: bool,
    /// The entity it is about, once the document has been read.
    pub owner: Option<Arc<Owner>>,
}

/// The entity that a problem is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// How many steps of the problem's place lead to it.
    pub depth: usize,
    /// What it is, in the singular: `route`.
    pub entity_type: String,
    /// Its own fields as the document gives them.
    pub entity: serde_json::Value,
}

/// So many errors, and so many warnings, are told of one document: nobody reads more, and what is found in a large document
/// could take more memory than the document.
pub(crate) const MOST_TOLD: usize = 1000;

/// Where checks put what they find.
#[derive(Debug, Default)]
pub struct Problems {
    /// What was found so far, in the order of discovery, at most [`MOST_TOLD`] of each severity.
    pub(crate) list: Vec<Problem>,
    errors: usize,
    warnings: usize,
    /// The last one that was not kept.
    untold: Option<Box<Problem>>,
}

/// The path to the value under inspection. It lives on the stack and costs nothing until something is wrong.
#[derive(Debug, Clone, Copy)]
pub enum Trail<'a> {
    /// The document itself.
    Root,
    /// A field of the value at the parent trail.
    Field(&'a Trail<'a>, &'a str),
    /// An element of the value at the parent trail.
    Index(&'a Trail<'a>, usize),
}

impl<'a> Trail<'a> {
    /// The trail of a field below this one.
    pub fn field(&'a self, name: &'a str) -> Trail<'a> {
        Trail::Field(self, name)
    }

    /// The trail of an element below this one.
    pub fn index(&'a self, index: usize) -> Trail<'a> {
        Trail::Index(self, index)
    }

    /// The owned form.
    pub fn place(&self) -> Place {
        let mut steps = Vec::new();
        self.collect(&mut steps);
        Place(steps)
    }

    fn collect(&self, steps: &mut Vec<Step>) {
        match self {
            Trail::Root => {}
            Trail::Field(parent, name) => {
                parent.collect(steps);
                steps.push(Step::Field((*name).to_owned()));
            }
            Trail::Index(parent, index) => {
                parent.collect(steps);
                steps.push(Step::Index(*index));
            }
        }
    }
}

impl Problems {
    /// Notes that the value at `trail` is wrong.
    pub fn add(&mut self, trail: &Trail<'_>, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(Problem::new(trail.place(), span, message.into()))
    }

    /// Notes that fields of the record at `trail` do not go together.
    pub fn add_entity(&mut self, trail: &Trail<'_>, span: Span, message: impl Into<String>) -> &mut Problem {
        let problem = self.add(trail, span, message);
        problem.entity = true;
        problem
    }

    /// Notes something that works but deserves attention.
    pub fn warn(&mut self, trail: &Trail<'_>, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(Problem::new(trail.place(), span, message.into()).warning())
    }

    /// Notes a problem made elsewhere. Beyond [`MOST_TOLD`] of its severity it is only counted.
    pub fn push(&mut self, problem: Problem) -> &mut Problem {
        let found = match problem.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *found += 1;
        if *found > MOST_TOLD {
            return self.untold.insert(Box::new(problem));
        }
        self.list.push(problem);
        self.list.last_mut().expect("pushed on the line above")
    }

    /// Errors found so far, those included that are not kept.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Whether nothing worse than a warning was found.
    pub fn is_usable(&self) -> bool {
        self.errors == 0
    }

    /// What is told of a document: its problems, and how many more there are.
    pub(crate) fn told(self) -> Vec<Problem> {
        let mut told = self.list;
        let errors = self.errors.saturating_sub(MOST_TOLD);
        if errors > 0 {
            let file = told.first().map_or_else(|| Arc::from(""), |first| Arc::clone(&first.file));
            let message = format!("{errors} more errors are not shown");
            told.push(Problem { file, ..Problem::new(Place::default(), Span::default(), message) });
        }
        told
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(found: I) -> Self {
        let mut problems = Self::default();
        problems.extend(found);
        problems
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, found: I) {
        found.into_iter().for_each(|problem| {
            self.push(problem);
        });
    }
}

impl Problem {
    /// An error about one value.
    pub fn new(place: Place, span: Span, message: String) -> Self {
        let file = Arc::from("");
        Self {
            file,
            span,
            place,
            message,
            suggestion: None,
            severity: Severity::Error,
            entity: false,
            owner: None,
        }
    }

    /// The same as a warning.
    pub(crate) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }
}

/// `file:line:column: place: message (suggestion)`, as far as they are known.
impl Display for Problem {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.span.line > 0 {
            write!(formatter, ":{}:{}", self.span.line, self.span.column)?;
        }
        if !self.place.0.is_empty() {
            write!(formatter, ": {}", self.place)?;
        }
        write!(formatter, ": {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(formatter, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

impl Display for Place {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if position == 0 => write!(formatter, "{name}")?,
                Step::Field(name) => write!(formatter, ".{name}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The name of `known` that is nearest to `given`, if any is near enough to be meant: one that differs in few letters, or else the
/// shortest that goes on where `given` ends.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = letters(given);
    let allowed = (given.len() / 3).clamp(1, 3);
    let goes_on = |name: &str| given.len() >= SHORTEST_BEGINNING && letters(name).starts_with(&given);
    let ranked = known.into_iter().filter_map(|name| match distance(&given, &letters(name)) {
        near if near <= allowed => Some((near, name)),
        _ if goes_on(name) => Some((LONGEST_NAME + name.len(), name)),
        _ => None,
    });
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, name)| name)
}

/// The known name that was spelt with one or two letters wrong: for where strange names are usual, too.
pub fn misspelt<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = letters(given);
    let allowed = (given.len() / 3).clamp(1, 2);
    let ranked = known.into_iter().map(|name| (distance(&given, &letters(name)), name));
    ranked.filter(|(rank, _)| *rank <= allowed).min_by_key(|(rank, _)| *rank).map(|(_, name)| name)
}

/// A name to compare with others: without regard to case, and no longer than names are.
fn letters(name: &str) -> Vec<char> {
    name.chars().take(LONGEST_NAME).flat_map(char::to_lowercase).collect()
}

/// Fewer letters are the beginning of too much.
const SHORTEST_BEGINNING: usize = 4;

/// Names beyond this length are compared by their beginning only, so that a hostile one costs nothing.
const LONGEST_NAME: usize = 64;

/// Optimal string alignment distance: insert, delete, replace, swap neighbours.
fn distance(given: &[char], name: &[char]) -> usize {
    let width = name.len() + 1;
    let mut before_last = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for row in 1..=given.len() {
        let mut current = vec![row; width];
        for column in 1..width {
            let differs = usize::from(given[row - 1] != name[column - 1]);
            let mut best = (last[column] + 1).min(current[column - 1] + 1).min(last[column - 1] + differs);
            let swapped = row > 1
                && column > 1
                && given[row - 1] == name[column - 2]
                && given[row - 2] == name[column - 1];
            if swapped {
                best = best.min(before_last[column - 2] + 1);
            }
            current[column] = best;
        }
        before_last = last;
        last = current;
    }
    last[width - 1]
}

#[cfg(test)]
mod tests {
    use super::{misspelt, nearest};

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let names = ["jwt", "cors", "acl", "rate-limiting", "key-auth"];
        for (given, meant) in [
            ("jtw", Some("jwt")),
            ("cor", Some("cors")),
            ("ratelimiting", Some("rate-limiting")),
            ("Key_Auth", Some("key-auth")),
            ("rate-limting", Some("rate-limiting")),
            ("rate", Some("rate-limiting")),
            ("key", None),
            ("oauth2", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names), meant, "{given}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }

    #[test]
    fn a_misspelt_name_has_two_wrong_letters_at_most() {
        let names = ["trusted_ips", "prefix", "prefixes", "conf"];
        for (given, meant) in [
            ("trusted_ip", Some("trusted_ips")),
            ("trustde_isp", Some("trusted_ips")),
            ("trusted", None),
            ("trasted_imz", None),
            ("preifx", Some("prefix")),
            ("prefixx", Some("prefix")),
            ("prefixee", Some("prefixes")),
            ("suffix", None),
            ("cont", Some("conf")),
            ("core", None),
        ] {
            assert_eq!(misspelt(given, names), meant, "{given}");
        }
    }
}
