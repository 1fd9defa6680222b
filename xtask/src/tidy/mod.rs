//! The house rules of STYLE.md that a machine can hold: each is a function from the sources to findings.

mod arrows;
mod comparisons;
mod engine;
mod lexer;
mod manners;
mod map;
mod rooms;
mod settings;
mod sizes;
mod source;

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;

use self::source::Tree;
use crate::say;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, from the root.
    path: String,
    /// The line, from 1; 0 is the file as a whole.
    line: usize,
    /// What is wrong.
    message: String,
}

impl Display for Finding {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.message),
            line => write!(out, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Names every broken rule. Whether none is.
pub fn check(root: &Path) -> io::Result<bool> {
    let tree = Tree::read(root)?;
    let names: Vec<&str> = plugins::ROOMS.iter().map(|room| room.name()).collect();
    let mut findings = [
        sizes::check(&tree),
        manners::check(&tree),
        engine::check(&tree, &names),
        arrows::check(&tree),
        rooms::check(&tree, &names),
        settings::check(&tree),
        comparisons::check(&tree),
        map::check(&tree, |path| root.join(path).exists()),
    ]
    .concat();
    findings.sort();
    for finding in &findings {
        say(&finding.to_string());
    }
    let long = sizes::over_the_aim(&tree);
    if !long.is_empty() {
        say(&format!("note: over the aim of {} lines: {}", sizes::FILE_AIM, long.join(", ")));
    }
    say(&format!("tidy: {} files, {} findings", tree.sources.len(), findings.len()));
    Ok(findings.is_empty())
}
