//! Regular expressions of paths and header values.

use std::ops::Range;
use std::sync::Arc;

use plugin::exchange::Captures;
use regex_automata::meta;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, HirKind};
use smallvec::SmallVec;

/// Largest compiled program, in bytes, as with the `regex` crate.
const PROGRAM_LIMIT: usize = 10 << 20;
/// Most literal beginnings by which one expression is indexed.
const MOST_PREFIXES: usize = 16;
/// Starts and ends of groups held without allocating: 16 groups.
const INLINE_SLOTS: usize = 32;

/// From this many expressions on, each is to be small rather than fast.
const MANY: usize = 1000;

/// What an expression is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Build {
    /// Speed: up to some 50 KB each.
    Fast,
    /// Size: some 10 KB each, half the speed unless the processor's cache decides.
    Small,
}

/// A compiled regular expression.
pub(super) struct Pattern {
    regex: meta::Regex,
    /// By group number; none when no group has a name.
    names: Option<Arc<[Option<Box<str>>]>>,
}

/// An expression of a route's `paths`, and what every path it matches begins with.
pub(super) struct PathPattern {
    pub pattern: Pattern,
    /// Not empty unless the expression matches nothing at all.
    pub prefixes: Vec<Vec<u8>>,
    /// Texts that are somewhere in every path it matches.
    pub literals: Vec<Vec<u8>>,
}

impl Build {
    /// What suits a table with so many expressions.
    pub fn for_number(patterns: usize) -> Build {
        if patterns < MANY { Build::Fast } else { Build::Small }
    }
}

impl PathPattern {
    /// Compiles an expression without its `~`.
    pub fn new(text: &str, build: Build) -> Result<PathPattern, String> {
        let hir = parse(text, false)?;
        let mut literals = Vec::new();
        collect_literals(&hir, &mut literals);
        Ok(PathPattern { pattern: Pattern::new(text, &hir, build)?, prefixes: prefixes(&hir), literals })
    }
}

impl Pattern {
    /// Compiles an expression for a header value, without its `~*`. Case does not count.
    pub fn for_header(text: &str) -> Result<Pattern, String> {
        Pattern::new(text, &parse(text, true)?, Build::Fast)
    }

    fn new(text: &str, hir: &Hir, build: Build) -> Result<Pattern, String> {
        let config = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(PROGRAM_LIMIT))
            .hybrid(false)
            .dfa(false)
            .onepass(build == Build::Fast);
        let regex = meta::Builder::new()
            .configure(config)
            .build_from_hir(hir)
            .map_err(|error| format!("invalid regex: '{text}' ({error})"))?;
        let names: Arc<[_]> = group_names(&regex).collect();
        let named = names.iter().any(Option::is_some);
        Ok(Pattern { regex, names: named.then_some(names) })
    }

    /// Whether the expression matches anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Matches from the first byte on and tells where the match ends. `groups` changes only on a match.
    pub fn match_start(&self, text: &[u8], groups: &mut Vec<Option<Range<usize>>>) -> Option<usize> {
        let count = self.regex.captures_len();
        let mut slots: SmallVec<[Option<NonMaxUsize>; INLINE_SLOTS]> = SmallVec::from_elem(None, count * 2);
        self.regex.search_slots(&Input::new(text).anchored(Anchored::Yes), &mut slots)?;
        groups.clear();
        groups.extend(slots.chunks_exact(2).map(|pair| Some(pair[0]?.get()..pair[1]?.get())));
        groups.first().cloned().flatten().map(|whole| whole.end)
    }

    /// Completes what [`Pattern::match_start`] has begun.
    pub fn describe(&self, text: &[u8], captures: &mut Captures) {
        captures.names.clone_from(&self.names);
        captures.text.clear();
        captures.text.extend_from_slice(text);
    }
}

fn group_names(regex: &meta::Regex) -> impl Iterator<Item = Option<Box<str>>> {
    let groups = regex.group_info();
    groups.all_names().map(|(_, _, name)| name.map(Box::from))
}

fn parse(text: &str, case_insensitive: bool) -> Result<Hir, String> {
    ParserBuilder::new()
        .utf8(false)
        .case_insensitive(case_insensitive)
        .build()
        .parse(text)
        .map_err(|error| format!("invalid regex: '{text}' ({error})"))
}

/// Every text that matches begins with one of these; none of them begins with another.
fn prefixes(hir: &Hir) -> Vec<Vec<u8>> {
    let mut extractor = Extractor::new();
    extractor.limit_total(MOST_PREFIXES);
    let sequence = extractor.extract(hir);
    let Some(literals) = sequence.literals() else { return vec![Vec::new()] };
    let mut prefixes: Vec<Vec<u8>> = literals.iter().map(|literal| literal.as_bytes().to_vec()).collect();
    keep_shortest(&mut prefixes);
    prefixes
}

/// Collects texts that every match contains.
fn collect_literals(hir: &Hir, literals: &mut Vec<Vec<u8>>) {
    match hir.kind() {
        HirKind::Literal(literal) => literals.push(literal.0.to_vec()),
        HirKind::Capture(capture) => collect_literals(&capture.sub, literals),
        HirKind::Repetition(repetition) if repetition.min > 0 => collect_literals(&repetition.sub, literals),
        HirKind::Concat(parts) => parts.iter().for_each(|part| collect_literals(part, literals)),
        _ => {}
    }
}

/// Drops every text that begins with another one.
pub(super) fn keep_shortest(texts: &mut Vec<Vec<u8>>) {
    texts.sort();
    texts.dedup_by(|later, kept| later.starts_with(kept));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes_of(text: &str) -> Vec<String> {
        let pattern = PathPattern::new(text, Build::Fast).unwrap();
        pattern.prefixes.into_iter().map(|prefix| String::from_utf8(prefix).unwrap()).collect()
    }

    #[test]
    fn literal_beginnings_are_found_and_none_begins_with_another() {
        for (text, expected) in [
            (r"/users/\d+/profile", &["/users/"][..]),
            (r"/(users/)?19/(?<sub>profile)$", &["/19/profile", "/users/19/profile"]),
            (r"/(a|b)/x", &["/a/x", "/b/x"]),
            (r"/(a|ab)", &["/a"]),
            (r"^/anchored/.*", &["/anchored/"]),
            (r".*", &[""]),
            (r"(/x)?", &[""]),
            (r"/[a&&b]", &[]),
        ] {
            assert_eq!(prefixes_of(text), expected, "{text}");
        }
    }

    #[test]
    fn literals_are_those_that_no_match_can_lack() {
        for (text, expected) in [
            (r"/v\d+/users/(\d+)/(edit)$", &["/v", "/users/", "/", "edit"][..]),
            (r"/a(b)?c+(de){2}f*(g|hh)", &["/a", "c", "de"]),
            (r"(?i)/x", &["/"]),
            (r"/.*", &["/"]),
        ] {
            let literals = PathPattern::new(text, Build::Fast).unwrap().literals;
            let literals: Vec<_> = literals.iter().map(|text| str::from_utf8(text).unwrap()).collect();
            assert_eq!(literals, expected, "{text}");
        }
    }

    #[test]
    fn beginnings_stay_few_however_the_expression_is_written() {
        for text in [r"(?i)/abcdefghijkl", r"/[a-h][a-h][a-h]", r"/(a|b|c)(d|e|f)(g|h|i)(j|k|l)"] {
            let count = prefixes_of(text).len();
            assert!((1..=MOST_PREFIXES).contains(&count), "{text}: {count}");
        }
    }
}
