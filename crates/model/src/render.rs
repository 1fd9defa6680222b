//! Problems as people and programs read them.

use std::cell::Cell;

use serde_json::{Value, json};

use crate::concealed::{concealed, is_secret_name, strike_out};
use crate::node::{Span, looks_like_json};
use crate::problem::{Problem, Severity, Step};

/// A text with its lines found, to show problems in.
#[derive(Debug)]
pub struct Source<'t> {
    name: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
    is_json: bool,
    /// Where the last problem was: those after it on a long line are counted on from there.
    reached: Cell<Reached>,
}

/// A place in a line, from its beginning.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    line: u32,
    bytes: usize,
    characters: usize,
}

/// A secret that begins farther before what is shown is not known for one.
const LONGEST_SECRET: usize = 16 * 1024;
/// How much of a long line is shown on either side of a problem.
const CONTEXT: usize = 60;

impl<'t> Source<'t> {
    /// The text of the file `name`.
    pub fn new(name: &'t str, text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        let is_json = match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()) {
            Some(extension) if matches!(extension.as_str(), "json" | "yaml" | "yml") => extension == "json",
            _ => looks_like_json(text),
        };
        Self {
            name,
            text,
            line_starts: std::iter::once(0).chain(ends).collect(),
            is_json,
            reached: Cell::default(),
        }
    }

    /// `kong.yml:12:9: error: services[0].host: expected a string`, the line itself with the fault underlined, and
    /// the suggestion if there is one.
    pub fn render(&self, problem: &Problem) -> String {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = problem.place.to_string();
        let separator = if place.is_empty() { "" } else { ": " };
        let mut shown = String::from(self.name);
        let (span, reached) = self.in_characters(problem.span);
        if span.line > 0 {
            shown += &format!(":{}:{}", span.line, span.column);
        }
        shown += &format!(": {severity}: {place}{separator}{}\n", problem.message);
        if let Some(line) = self.line(span.line) {
            shown += &snippet(line, reached, span, problem);
        }
        if let Some(suggestion) = &problem.suggestion {
            shown += &format!("help: {suggestion}\n");
        }
        shown
    }

    /// One problem for programs.
    pub fn to_json(&self, problem: &Problem) -> Value {
        let (span, _) = self.in_characters(problem.span);
        json!({
            "file": self.name,
            "line": span.line,
            "column": span.column,
            "length": span.length,
            "path": problem.place.to_string(),
            "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "message": problem.message,
            "suggestion": problem.suggestion,
        })
    }

    fn line(&self, number: u32) -> Option<&'t str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = *self.line_starts.get(index)?;
        let end = self.line_starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
        Some(self.text[start..end].trim_end_matches('\r'))
    }

    /// JSON's reader counts bytes; people count characters. Also where the span begins.
    fn in_characters(&self, span: Span) -> (Span, Reached) {
        let Some(line) = self.line(span.line) else { return (span, Reached::default()) };
        let reached = self.reach(line, span.line, span.column.saturating_sub(1) as usize);
        if !self.is_json {
            return (span, reached);
        }
        let end = line.floor_char_boundary(reached.bytes + span.length as usize);
        let length = line[reached.bytes..end].chars().count().max(1);
        (Span { line: span.line, column: reached.characters as u32 + 1, length: length as u32 }, reached)
    }

    /// The place `before` bytes (of JSON) or characters into a line.
    fn reach(&self, line: &str, number: u32, before: usize) -> Reached {
        let count = |reached: Reached| if self.is_json { reached.bytes } else { reached.characters };
        let mut reached = self.reached.get();
        if reached.line != number || count(reached) > before {
            reached = Reached { line: number, bytes: 0, characters: 0 };
        }
        let mut rest = line[reached.bytes..].chars();
        while count(reached) < before
            && let Some(character) = rest.next()
        {
            reached.bytes += character.len_utf8();
            reached.characters += 1;
        }
        self.reached.set(reached);
        reached
    }
}

/// Where a secret begins that the line does not name as one: in a list or a map of them, on a line of its own, or behind a name
/// that is misspelt. `fault` is the place of the fault in `line`.
fn secret_beside(problem: &Problem, span: Span, line: &[char], fault: usize) -> Option<usize> {
    let meant = problem.suggestion.as_deref().and_then(|text| text.split('\'').nth(1));
    if meant.is_some_and(is_secret_name) {
        return Some(fault.saturating_add(span.length as usize));
    }
    match &problem.place.0[..] {
        [.., Step::Field(name), Step::Index(_)] => is_secret_name(name).then_some(fault),
        // Before what has a name of its own, or refers to a secret, nothing needs to be hidden here.
        [.., Step::Field(name)] if is_secret_name(name) => is_bare(line.get(fault..)?).then_some(fault),
        [.., Step::Field(map), Step::Field(_)] if is_secret_name(map) => {
            let end = fault.saturating_add(span.length as usize);
            let behind = line.get(end..)?.iter().find(|letter| !matches!(letter, '"' | '\''));
            Some(if behind == Some(&':') { end } else { fault })
        }
        _ => None,
    }
}

/// Whether a value begins here that is no reference, and not a name with its value, or several of them in braces.
fn is_bare(rest: &[char]) -> bool {
    let text: String = rest.iter().collect();
    let text = text.trim_start_matches(['"', '\'']);
    let after_name =
        text.trim_start_matches(|letter: char| letter.is_alphanumeric() || "_-".contains(letter));
    let after_name = after_name.trim_start_matches(['"', '\'']);
    let is_name = after_name.starts_with(": ") || after_name == ":";
    !text.is_empty() && !text.starts_with('{') && !is_name
}

/// The line with the fault underlined; of a long line only the part around the fault.
fn snippet(line: &str, reached: Reached, span: Span, problem: &Problem) -> String {
    let fault = reached.characters;
    let skipped = fault.saturating_sub(CONTEXT);
    let width = CONTEXT * 2;
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    let unseen = skipped.saturating_sub(LONGEST_SECRET);
    let before = line[..reached.bytes].char_indices().rev().take(fault - unseen).last();
    let seen = &line[before.map_or(reached.bytes, |(index, _)| index)..];
    let mut shown = concealed(seen.chars().take(skipped - unseen + width).map(printable));
    if let Some(start) = secret_beside(problem, span, &shown, fault - unseen) {
        let start = start.min(shown.len());
        strike_out(&mut shown[start..]);
    }
    let shown: String = shown.into_iter().skip(skipped - unseen).collect();
    let lead = if skipped > 0 { "..." } else { "" };
    let number = span.line.to_string();
    let margin = " ".repeat(number.len());
    let blank = " ".repeat(lead.len() + fault - skipped);
    let room = shown.chars().count().saturating_sub(fault - skipped).max(1);
    let carets = "^".repeat((span.length as usize).clamp(1, room));
    format!("{number} | {lead}{shown}\n{margin} | {blank}{carets}\n")
}
