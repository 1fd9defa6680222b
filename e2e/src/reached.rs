//! What the upstream is to see of a request that somebody could have read differently.

use crate::message::Message;
use crate::recorder::Recorded;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A request as the upstream is to see it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Seen {
    Line(String),
    Parts(Parts),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    line: String,
    body: Option<String>,
    /// Values by name; null is absence.
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    trailers: Map<String, Value>,
}

impl Seen {
    /// The start line of the request.
    pub fn line(&self) -> &str {
        match self {
            Seen::Line(line) => line,
            Seen::Parts(parts) => &parts.line,
        }
    }
}

/// What the upstream saw beside or instead of `wanted`, the start lines of whole requests, of which the first are those
/// of a case: they are looked at closely. Others that are `unfinished` may have begun: this case's, and that of the one
/// before, which the upstream may read as late as now.
pub(crate) fn upstream_problems(
    case: &[Seen],
    unfinished: [Option<&str>; 2],
    wanted: &[String],
    seen: &[Recorded],
) -> Vec<String> {
    let mut problems = Vec::new();
    let whole: Vec<&Message> = seen.iter().filter(|one| one.whole).map(|one| &one.message).collect();
    let lines: Vec<&str> = whole.iter().map(|one| one.start_line.as_str()).collect();
    if lines != wanted {
        problems.push(format!("  ! upstream: expected {wanted:?}, got {lines:?}"));
    }
    for one in seen.iter().filter(|one| !one.whole) {
        if !unfinished.contains(&Some(&one.message.start_line)) {
            problems.push(format!("  ! upstream: {:?} began", one.message.start_line));
        }
    }
    for (wanted, found) in case.iter().zip(&whole) {
        let Seen::Parts(parts) = wanted else { continue };
        let mut differences = crate::expect::headers(&parts.headers, &found.headers);
        differences.extend(crate::expect::headers(&parts.trailers, &found.trailers));
        if parts.body.as_ref().is_some_and(|body| *body != found.text()) {
            differences.push(format!("body {:?}, expected {:?}", found.text(), parts.body));
        }
        problems.extend(differences.iter().map(|one| format!("  ! upstream {}: {one}", parts.line)));
    }
    problems
}
