//! Templates: text with `$(...)`, where the parentheses hold a value of the request and what to use without it.

use std::borrow::Cow;

use plugin::{Access, query, target};

/// A template, parsed when the configuration is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// The first of these that the request has.
    First(Vec<Term>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Header(String),
    Argument(String),
    CaptureName(String),
    CaptureIndex(usize),
    Literal(String),
}

/// Longest chain of alternatives.
const MOST_TERMS: usize = 16;

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Why it cannot be honoured, naming the template.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some(start) = rest.find("$(") {
            if start > 0 {
                pieces.push(Piece::Text(rest.as_bytes()[..start].to_vec()));
            }
            let inside = &rest[start + 2..];
            let end =
                closing(inside).ok_or_else(|| format!("template '{source}' has a '$(' without its ')'"))?;
            let terms = terms(&inside[..end]).ok_or_else(|| {
                format!(
                    "template '{source}': cannot evaluate '$({})'; this version knows headers, query_params and \
                     uri_captures, as in $(headers.name), $(query_params[\"name\"]) or $(uri_captures[1]), each \
                     with an optional or 'default'",
                    &inside[..end]
                )
            })?;
            pieces.push(Piece::First(terms));
            rest = &inside[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.as_bytes().to_vec()));
        }
        Ok(Self(pieces))
    }

    /// The text of a template without values.
    pub fn constant(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [] => Some(b""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the template's text for the request; what the request has not is empty.
    pub fn render(&self, cx: &Access<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::First(terms) => {
                    if let Some(value) = terms.iter().find_map(|term| term.value(cx)) {
                        out.extend_from_slice(&value);
                    }
                }
            }
        }
    }
}

impl Term {
    fn value<'a>(&'a self, cx: &'a Access<'_>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Header(name) => header(cx, name).map(Cow::Borrowed),
            Self::Argument(name) => argument(cx, name),
            Self::CaptureName(name) => cx.captures.name(name).map(Cow::Borrowed),
            Self::CaptureIndex(group) => cx.captures.index(*group).map(Cow::Borrowed),
            Self::Literal(text) => Some(Cow::Borrowed(text.as_bytes())),
        }
    }
}

/// A header by name; `_` stands for `-` too, as names with a dot in front cannot hold a dash.
fn header<'a>(cx: &'a Access<'_>, name: &str) -> Option<&'a [u8]> {
    let headers = &cx.request.headers;
    headers.get(name).or_else(|| if name.contains('_') { headers.get(&name.replace('_', "-")) } else { None })
}

/// An argument of the query, decoded; one without `=` is `true`.
fn argument<'a>(cx: &'a Access<'_>, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut pairs = target::query_pairs(&cx.upstream.query, usize::MAX);
    let pair = pairs.find(|pair| *query::decoded(pair.name) == *name.as_bytes())?;
    Some(pair.value.map_or(Cow::Borrowed(b"true"), query::decoded))
}

/// Where the parenthesis that is open at the start of `text` closes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => drop(bytes.next()),
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') if depth == 0 => return Some(at),
            (None, b')') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// `term or term or ...`
fn terms(expression: &str) -> Option<Vec<Term>> {
    let mut terms = Vec::new();
    let mut rest = expression.trim();
    loop {
        let (term, after) = term(rest)?;
        terms.push(term);
        let after = after.trim_start();
        if after.is_empty() {
            return Some(terms);
        }
        let next = after.strip_prefix("or")?;
        if terms.len() == MOST_TERMS || !next.starts_with([' ', '\t', '\'', '"']) {
            return None;
        }
        rest = next.trim_start();
    }
}

/// Makes the term for a name in one of the tables.
type Make = fn(String) -> Term;

const HEADERS: (&str, Make) = ("headers", Term::Header);
const ARGUMENTS: (&str, Make) = ("query_params", Term::Argument);
const CAPTURES: (&str, Make) = ("uri_captures", Term::CaptureName);

fn term(text: &str) -> Option<(Term, &str)> {
    if text.starts_with(['\'', '"']) {
        let (literal, rest) = quoted(text)?;
        return Some((Term::Literal(literal), rest));
    }
    for (table, make) in [HEADERS, ARGUMENTS, CAPTURES] {
        let Some(rest) = text.strip_prefix(table) else { continue };
        if let Some(rest) = rest.strip_prefix('.') {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            let starts_well = rest.starts_with(|letter: char| is_word(letter) && !letter.is_ascii_digit());
            return starts_well.then(|| (make(rest[..end].to_owned()), &rest[end..]));
        }
        let inside = rest.strip_prefix('[')?.trim_start();
        if inside.starts_with(['\'', '"']) {
            let (name, rest) = quoted(inside)?;
            return Some((make(name), rest.trim_start().strip_prefix(']')?));
        }
        let (index, rest) = inside.split_once(']')?;
        let index = index.trim().parse().ok().filter(|_| table == "uri_captures")?;
        return Some((Term::CaptureIndex(index), rest));
    }
    None
}

/// A Lua string in quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next()?;
    let mut literal = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => literal.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                mark @ ('\\' | '\'' | '"') => mark,
                _ => return None,
            }),
            _ if letter == quote => return Some((literal, &text[at + 1..])),
            _ => literal.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(source: &str) -> Vec<Term> {
        match Template::parse(source).unwrap().0.as_slice() {
            [Piece::First(terms)] => terms.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_of_a_value_is_known() {
        let header = |name: &str| Term::Header(name.to_owned());
        let literal = |text: &str| Term::Literal(text.to_owned());
        assert_eq!(only("$(headers.x_y)"), [header("x_y")]);
        assert_eq!(only("$( headers[ 'x-y' ] )"), [header("x-y")]);
        assert_eq!(only("$(headers[\"a)b\"])"), [header("a)b")]);
        assert_eq!(only("$(query_params.q or 'it\\'s')"), [Term::Argument("q".to_owned()), literal("it's")]);
        assert_eq!(only("$(uri_captures[1] or \"\")"), [Term::CaptureIndex(1), literal("")]);
        assert_eq!(
            only("$(uri_captures.id or headers.id or 'none')"),
            [Term::CaptureName("id".to_owned()), header("id"), literal("none")]
        );
        assert_eq!(Template::parse("a $(headers.b)$(headers.c) d").unwrap().0.len(), 4);
        assert_eq!(Template::parse("plain $ ( text )").unwrap().constant(), Some(&b"plain $ ( text )"[..]));
    }

    #[test]
    fn other_lua_is_refused_by_name() {
        for expression in [
            "",
            "1",
            "x",
            "headers",
            "headers.",
            "headers.1x",
            "headers[1]",
            "headers.a.b",
            "headers.a or",
            "or 'a'",
            "headers.a and 'b'",
            "headers.a or'b' 'c'",
            "string.upper(headers.a)",
            "headers.a .. 'b'",
            "'a",
            "shared.x",
            "headers[a]",
            "uri_captures[-1]",
            "uri_captures[1",
            "headers.a orx",
            "headersx.a",
            "(headers.a)",
        ] {
            let source = format!("v-$({expression})");
            let error = Template::parse(&source).unwrap_err();
            assert!(error.contains(&source), "{error}");
        }
        assert!(Template::parse("a$(headers.b").unwrap_err().contains("without its ')'"));
    }
}
