//! Under which names credentials are sent, so that what is written down about a request leaves them out.
//!
//! Rooms say it when they are built ([`Plugin::credentials`](crate::Plugin::credentials)). What one of them takes for a
//! credential is left out of every line, whatever its route: browsers send a cookie to all of them, and callers mistake paths.

use std::sync::{Mutex, OnceLock, PoisonError};

use ahash::AHashSet;
use wire::{Field, Known};

use crate::query::decoded;

/// Stands for a credential.
pub(crate) const REDACTED: &[u8] = b"REDACTED";

/// Where credentials are sent, as far as rooms have said. Case does not count: a wrongly written name has the same value.
#[derive(Default)]
pub struct Places {
    headers: AHashSet<Box<str>>,
    arguments: AHashSet<Box<str>>,
    cookies: AHashSet<Box<str>>,
}

impl Places {
    /// A header of requests or responses: its name, or that with a scheme behind a colon.
    pub fn header(&mut self, name: &str) {
        add(&mut self.headers, name.split(':').next().unwrap_or_default());
    }

    /// An argument of queries, those of `Location` and `Referer` among them.
    pub fn argument(&mut self, name: &str) {
        add(&mut self.arguments, name);
    }

    /// A cookie, set or sent.
    pub fn cookie(&mut self, name: &str) {
        add(&mut self.cookies, name);
    }
}

fn add(names: &mut AHashSet<Box<str>>, name: &str) {
    if !name.is_empty() && !names.contains(name) {
        names.insert(name.into());
    }
}

/// The places of one snapshot: declared while its rooms are built, and read once requests come.
#[derive(Default)]
pub struct Confidential {
    declared: Mutex<Places>,
    names: OnceLock<Names>,
}

impl Confidential {
    /// Has `room` say what it takes credentials from.
    pub(crate) fn declare(&self, room: impl FnOnce(&mut Places)) {
        room(&mut self.declared.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All names. They stay as they are from the first call on: none before every room has been built.
    #[must_use]
    pub fn names(&self) -> &Names {
        self.names.get_or_init(|| Names::new(&self.declared.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Names of credentials, ready to be looked up.
pub struct Names {
    /// What is shown of each [`Known`] field.
    known: [Share; Known::ALL.len()],
    /// Other fields that are credentials.
    others: List,
    arguments: List,
    cookies: List,
}

/// How much of a field is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Whole,
    Part,
    Nothing,
}

impl Names {
    fn new(places: &Places) -> Self {
        let (arguments, cookies) = (List::new(&places.arguments), List::new(&places.cookies));
        let holding = |list: &List| if list.lengths == 0 { Share::Whole } else { Share::Part };
        let mut known = [Share::Whole; Known::ALL.len()];
        for (field, share) in [
            (Known::Location, holding(&arguments)),
            (Known::Referer, holding(&arguments)),
            (Known::Cookie, holding(&cookies)),
            (Known::SetCookie, holding(&cookies)),
            (Known::Authorization, Share::Nothing),
            (Known::ProxyAuthorization, Share::Nothing),
        ] {
            known[field as usize] = share;
        }
        let others = places.headers.iter().filter(|name| {
            let share = known.get_mut(Known::classify(name.as_bytes()) as usize);
            share.map(|share| *share = Share::Nothing).is_none()
        });
        let others = List::new(others);
        Self { known, others, arguments, cookies }
    }

    /// How much of `field` is shown.
    pub(crate) fn share(&self, field: &Field<'_>) -> Share {
        match self.known.get(field.known as usize) {
            Some(share) => *share,
            None if self.others.has(field.name) => Share::Nothing,
            None => Share::Whole,
        }
    }

    /// Whether the value of an argument is shown that is called so, still encoded.
    pub(crate) fn shows_argument(&self, name: &[u8]) -> bool {
        !self.arguments.has(&decoded(name))
    }

    /// Hands on the value of a field that is shown in part.
    pub(crate) fn field(&self, field: &Field<'_>, mut show: impl FnMut(&[u8])) {
        let value = field.value;
        match field.known {
            Known::Cookie => self.cookies.redact(value, |byte| byte == b';', show),
            Known::SetCookie => {
                let end = memchr::memchr(b';', value).unwrap_or(value.len());
                self.cookies.redact(&value[..end], |_| false, &mut show);
                show(&value[end..]);
            }
            _ => self.target(value, show),
        }
    }

    /// Hands on a request target or another reference (RFC 3986 4.1), a piece after the other, without credentials among its
    /// arguments. Those of a fragment are such as well (RFC 6749 4.2.2).
    pub fn target(&self, target: &[u8], mut show: impl FnMut(&[u8])) {
        let end = memchr::memchr2(b'?', b'#', target).map_or(target.len(), |sign| sign + 1);
        show(&target[..end]);
        self.query(&target[end..], show);
    }

    /// The same of a query.
    pub(crate) fn query(&self, query: &[u8], show: impl FnMut(&[u8])) {
        self.arguments.redact(query, |byte| matches!(byte, b'&' | b'#'), show);
    }
}

/// Names of one kind.
struct List {
    /// A bit for each length that one of them has, so that most others are told apart without a look at them.
    lengths: u64,
    names: Vec<Box<str>>,
}

impl List {
    fn new<'n>(names: impl IntoIterator<Item = &'n Box<str>>) -> Self {
        let names: Vec<_> = names.into_iter().cloned().collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | length_bit(name.as_bytes()));
        Self { lengths, names }
    }

    fn has(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name) != 0
            && self.names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Hands on `text`, pairs of names and values, with the values replaced whose names are here.
    fn redact(&self, text: &[u8], is_separator: impl Fn(u8) -> bool, mut show: impl FnMut(&[u8])) {
        if self.lengths == 0 {
            return show(text);
        }
        let (mut at, mut unshown) = (0, 0);
        for pair in text.split(|byte| is_separator(*byte)) {
            let sign = memchr::memchr(b'=', pair).filter(|sign| sign + 1 < pair.len());
            if let Some(sign) = sign.filter(|sign| self.has(&decoded(pair[..*sign].trim_ascii()))) {
                show(&text[unshown..=at + sign]);
                show(REDACTED);
                unshown = at + pair.len();
            }
            at += pair.len() + 1;
        }
        show(&text[unshown..]);
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Confidential {
        let confidential = Confidential::default();
        confidential.declare(|places| {
            ["apikey", "X-Token", "x-other:bearer"].iter().for_each(|name| places.header(name));
            ["jwt", "code"].iter().for_each(|name| places.argument(name));
            ["session", "session2"].iter().for_each(|name| places.cookie(name));
        });
        confidential
    }

    fn shown(name: &str, value: &str) -> String {
        let (declared, known) = (declared(), Known::classify(name.as_bytes()));
        let names = declared.names();
        let field = Field { known, name: name.as_bytes(), value: value.as_bytes() };
        let mut shown = Vec::new();
        match names.share(&field) {
            Share::Whole => shown.extend_from_slice(field.value),
            Share::Part => names.field(&field, |piece| shown.extend_from_slice(piece)),
            Share::Nothing => shown.extend_from_slice(REDACTED),
        }
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn values_of_credentials_are_replaced_and_nothing_else() {
        for (name, value, expected) in [
            ("Apikey", "s3cret", "REDACTED"),
            ("x-token", "s3cret", "REDACTED"),
            ("X-Other", "Bearer s3cret", "REDACTED"),
            ("Authorization", "Basic s3cret", "REDACTED"),
            ("X-Tokens", "plain", "plain"),
            (
                "Cookie",
                "a=b; session=s3cret; session2=\"s3cret\";c",
                "a=b; session=REDACTED; session2=REDACTED;c",
            ),
            ("Cookie", "sessions=plain; session=", "sessions=plain; session="),
            ("Cookie", "Session = s3cret==;;x=session=1", "Session =REDACTED;;x=session=1"),
            ("Set-Cookie", "session=s3cret; Path=/; code=x", "session=REDACTED; Path=/; code=x"),
            ("Set-Cookie", "lang=en; session=x", "lang=en; session=x"),
            (
                "Location",
                "https://a.test/b?jwt=s3cret#code=s3cret&x=1",
                "https://a.test/b?jwt=REDACTED#code=REDACTED&x=1",
            ),
            ("Referer", "http://a.test/#code=s3cret", "http://a.test/#code=REDACTED"),
            ("Referer", "http://code=1/jwt=2", "http://code=1/jwt=2"),
        ] {
            assert_eq!(shown(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn arguments_of_targets_are_found_however_they_are_written() {
        for (target, expected) in [
            ("/a?b=1&jwt=s3?cret=&c", "/a?b=1&jwt=REDACTED&c"),
            ("/jwt=1?%6a%77t=s3cret&JWT=s3cret&jwt", "/jwt=1?%6a%77t=REDACTED&JWT=REDACTED&jwt"),
            ("/a?jwt=&code=s3cret&&code=s3cret", "/a?jwt=&code=REDACTED&&code=REDACTED"),
            ("/a?", "/a?"),
            ("*", "*"),
        ] {
            let mut shown = Vec::new();
            declared().names().target(target.as_bytes(), |piece| shown.extend_from_slice(piece));
            assert_eq!(String::from_utf8(shown).unwrap(), expected);
        }
    }
}
