//! Bodies of `multipart/form-data` (RFC 7578), read and edited part by part.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::{Finder, find};

/// Most parts of a form.
const MOST_PARTS: usize = 1000;
/// Longest boundary (RFC 2046 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// The parts of a form, in order.
pub struct Form<'a> {
    boundary: &'a [u8],
    parts: Vec<Part<'a>>,
    changed: bool,
}

struct Part<'a> {
    /// The part's header section without the empty line that ends it.
    head: Cow<'a, [u8]>,
    /// Where the name stands in `head`, quotes excluded.
    name: Option<Range<usize>>,
    value: Cow<'a, [u8]>,
}

impl<'a> Form<'a> {
    /// Reads a body of the given `Content-Type`; `None` without a boundary, if the body is not well formed, or with
    /// more than a thousand parts.
    #[must_use]
    pub fn parse(content_type: &'a [u8], body: &'a [u8]) -> Option<Self> {
        let boundary = wire::media::parameter(content_type, "boundary")?;
        if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
            return None;
        }
        let delimiter = [b"\r\n--", boundary].concat();
        let finder = Finder::new(&delimiter);
        let mut rest = match body.strip_prefix(&delimiter[2..]) {
            Some(rest) => rest,
            None => &body[finder.find(body)? + delimiter.len()..],
        };
        let mut parts = Vec::new();
        while !rest.starts_with(b"--") {
            let line_end = find(rest, b"\r\n")?;
            if parts.len() == MOST_PARTS || !rest[..line_end].trim_ascii().is_empty() {
                return None;
            }
            let end = finder.find(&rest[line_end..])? + line_end;
            parts.push(Part::parse(&rest[(line_end + 2).min(end)..end])?);
            rest = &rest[end + delimiter.len()..];
        }
        Some(Self { boundary, parts, changed: false })
    }

    /// The content of the first part called `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The contents of all parts called `name`, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter(move |part| part.is_named(name)).map(|part| &*part.value)
    }

    /// The names and contents of all parts that have a name, in order.
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
        let named = self.parts.iter().filter_map(|part| Some((&part.head[part.name.clone()?], &*part.value)));
        named.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
    }

    /// Whether an edit has had an effect.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Removes the parts called `name`.
    pub fn remove(&mut self, name: &str) {
        let before = self.parts.len();
        self.parts.retain(|part| !part.is_named(name));
        self.changed |= self.parts.len() != before;
    }

    /// Gives the parts called `from` another name, in place of those that have it already.
    pub fn rename(&mut self, from: &str, to: &str) {
        if from == to || self.value(from).is_none() {
            return;
        }
        self.remove(to);
        for part in self.parts.iter_mut().filter(|part| part.is_named(from)) {
            part.set_name(to);
        }
        self.changed = true;
    }

    /// Replaces the part called `name`, if there is one, by a plain one with `value`.
    pub fn replace(&mut self, name: &str, value: &[u8]) {
        let Some(place) = self.parts.iter().position(|part| part.is_named(name)) else { return };
        self.parts[place] = Part::plain(name, self.harmless(value));
        let mut index = 0;
        self.parts.retain(|part| {
            index += 1;
            index - 1 == place || !part.is_named(name)
        });
        self.changed = true;
    }

    /// Adds a plain part, if there is none called `name`.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        if self.value(name).is_none() {
            self.parts.push(Part::plain(name, self.harmless(value)));
            self.changed = true;
        }
    }

    /// A new value, or none of it if the boundary stands in it: it would end its part.
    fn harmless<'v>(&self, value: &'v [u8]) -> &'v [u8] {
        if find(value, &[b"--", self.boundary].concat()).is_some() { b"" } else { value }
    }

    /// The form as a body.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.parts {
            for piece in [b"--", self.boundary, b"\r\n", &part.head, b"\r\n\r\n", &part.value, b"\r\n"] {
                out.extend_from_slice(piece);
            }
        }
        for piece in [b"--", self.boundary, b"--\r\n"] {
            out.extend_from_slice(piece);
        }
        out
    }
}

impl<'a> Part<'a> {
    fn parse(part: &'a [u8]) -> Option<Self> {
        let (head, value) = match part.strip_prefix(b"\r\n") {
            Some(value) => (&b""[..], value),
            None => {
                let end = find(part, b"\r\n\r\n")?;
                (&part[..end], &part[end + 4..])
            }
        };
        Some(Self { head: Cow::Borrowed(head), name: name_in(head), value: Cow::Borrowed(value) })
    }

    fn plain(name: &str, value: &[u8]) -> Self {
        let head = format!("Content-Disposition: form-data; name=\"{}\"", escaped(name)).into_bytes();
        let name = name_in(&head);
        Self { head: Cow::Owned(head), name, value: Cow::Owned(value.to_vec()) }
    }

    fn is_named(&self, name: &str) -> bool {
        let range = self.name.clone();
        range.is_some_and(|range| &self.head[range] == escaped(name).as_bytes())
    }

    fn set_name(&mut self, name: &str) {
        let Some(range) = self.name.clone() else { return };
        let quoted = range.start > 0 && self.head[range.start - 1] == b'"';
        let name = if quoted { escaped(name) } else { Cow::Owned(format!("\"{}\"", escaped(name))) };
        let head = [&self.head[..range.start], name.as_bytes(), &self.head[range.end..]].concat();
        self.name = name_in(&head);
        self.head = Cow::Owned(head);
    }
}

/// A name as browsers write it between quotes (HTML 4.10.21.8).
fn escaped(name: &str) -> Cow<'_, str> {
    if name.contains(['"', '\r', '\n']) {
        return Cow::Owned(name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A"));
    }
    Cow::Borrowed(name)
}

fn name_in(head: &[u8]) -> Option<Range<usize>> {
    let field = b"content-disposition:";
    let mut start = 0;
    loop {
        let end = find(&head[start..], b"\r\n").map_or(head.len(), |length| start + length);
        let line = &head[start..end];
        if line.get(..field.len()).is_some_and(|name| name.eq_ignore_ascii_case(field)) {
            let range = parameter(line, b"name")?;
            return Some(start + range.start..start + range.end);
        }
        if end == head.len() {
            return None;
        }
        start = end + 2;
    }
}

/// Where the value of a `; name=value` or `; name="value"` parameter stands in a field.
fn parameter(field: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    let mut quoted = false;
    while at < field.len() {
        match field[at] {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            b';' if !quoted => {
                let blanks = field[at + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                let start = at + 1 + blanks;
                let end = start + name.len();
                let found = field.get(start..end).is_some_and(|found| found.eq_ignore_ascii_case(name));
                if found && field.get(end) == Some(&b'=') {
                    return Some(value_at(field, end + 1));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn value_at(field: &[u8], start: usize) -> Range<usize> {
    let until = |start: usize, stop: &dyn Fn(u8) -> bool| {
        field[start..].iter().position(|byte| stop(*byte)).map_or(field.len(), |length| start + length)
    };
    match field.get(start) {
        Some(b'"') => start + 1..until(start + 1, &|byte| byte == b'"'),
        _ => start..until(start, &|byte| byte == b';' || byte.is_ascii_whitespace()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/form-data; charset=utf-8; boundary=\"b-1\"";

    fn body() -> Vec<u8> {
        b"preamble\r\n--b-1\r\nContent-Disposition: form-data; filename=\"name=x\"; name=\"a\"\r\n\
          Content-Type: image/png\r\n\r\n\x00\r\n--b\r\n--b-1 \r\ncontent-disposition: form-data; name=b\r\n\r\n\
          \r\n--b-1--\r\nepilogue"
            .to_vec()
    }

    #[test]
    fn parts_are_found_by_name() {
        let body = body();
        let form = Form::parse(TYPE, &body).unwrap();
        assert_eq!((form.value("a"), form.value("b")), (Some(&b"\x00\r\n--b"[..]), Some(&b""[..])));
        assert_eq!((form.value("name=x"), form.parts.len()), (None, 2));
    }

    #[test]
    fn edits_leave_other_parts_alone() {
        let body = body();
        let mut form = Form::parse(TYPE, &body).unwrap();
        form.rename("b", "c\"");
        form.add("d", b"4");
        form.add("a", b"no");
        form.replace("nothing", b"no");
        let edited = form.to_body();
        assert!(edited.starts_with(&body[b"preamble\r\n".len()..b"preamble\r\n".len() + 100]));
        let again = Form::parse(TYPE, &edited).unwrap();
        assert_eq!((again.value("c\""), again.value("d")), (Some(&b""[..]), Some(&b"4"[..])));
        assert_eq!((again.value("a"), again.value("b")), (Some(&b"\x00\r\n--b"[..]), None));
        let mut form = Form::parse(TYPE, &body).unwrap();
        form.replace("a", b"plain");
        form.remove("b");
        let expected = "--b-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nplain\r\n--b-1--\r\n";
        assert_eq!(form.to_body(), expected.as_bytes());
    }

    #[test]
    fn a_value_cannot_smuggle_a_part_in() {
        let body = body();
        let evil = b"x\r\n--b-1\r\nContent-Disposition: form-data; name=\"admin\"\r\n\r\ny";
        let mut form = Form::parse(TYPE, &body).unwrap();
        form.add("e", evil);
        form.replace("b", evil);
        form.remove("a");
        let edited = form.to_body();
        let again = Form::parse(TYPE, &edited).unwrap();
        assert_eq!([again.value("e"), again.value("b")], [Some(&b""[..]); 2]);
        assert_eq!((again.value("admin"), again.parts.len()), (None, 2), "and the other edits still apply");
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let unended = b"--b-1\r\nContent-Disposition: form-data; name=a\r\n\r\nx";
        let cases: [&[u8]; 6] =
            [b"", b"--b-1", b"--b-1x\r\n\r\n\r\n--b-1--", b"--b-1\r\n--b-1--", b"x", unended];
        for body in cases {
            assert!(Form::parse(TYPE, body).is_none(), "{}", String::from_utf8_lossy(body));
        }
        let whole = body();
        assert!(Form::parse(b"multipart/form-data", &whole).is_none());
        assert!(Form::parse(b"multipart/form-data; boundary=", &whole).is_none());
        let many = b"--b-1\r\n\r\n\r\n".repeat(MOST_PARTS + 1);
        assert!(Form::parse(TYPE, &[&many[..], b"--b-1--"].concat()).is_none());
    }

    #[test]
    fn a_long_boundary_over_a_long_body_is_linear() {
        let boundary = "a".repeat(LONGEST_BOUNDARY);
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let body = [format!("--{boundary}\r\n\r\n").as_bytes(), &b"\r\n--aaaaaaaa".repeat(200_000)].concat();
        assert!(Form::parse(content_type.as_bytes(), &body).is_none());
    }
}
