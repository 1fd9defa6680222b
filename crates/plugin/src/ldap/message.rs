//! What a directory is asked, and what it says (RFC 4511 4.1, 4.2, 4.5, 4.12).
//!
//! A filter is made of parts and never of a text, so that nothing in a value can end it.

use std::time::Duration;

use super::ber::{BOOLEAN, ENUMERATED, Elements, INTEGER, OCTETS, SEQUENCE, SET, head, push, push_number};

/// Tags of operations.
const BIND: u8 = 0x60;
const BIND_ANSWER: u8 = 0x61;
const SEARCH: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_ANSWER: u8 = 0x78;
/// A password, among the ways to bind.
const SIMPLE: u8 = 0x80;
/// The name of an extended operation.
const NAME_OF_OPERATION: u8 = 0x80;
/// RFC 4511 4.14.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// Tags of filters (RFC 4511 4.5.1).
const OR: u8 = 0xa1;
const EQUALITY: u8 = 0xa3;
const PRESENT: u8 = 0x87;
/// Asks for no attribute at all (RFC 4511 4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";

/// Which entries are searched, seen from the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The base itself.
    Base = 0,
    /// The entries right below it.
    Children = 1,
    /// It, and all below it.
    Subtree = 2,
}

/// A question for entries.
#[derive(Debug, Clone)]
pub struct Search<'s> {
    /// The distinguished name where it begins.
    pub base: &'s str,
    /// How far it reaches.
    pub scope: Scope,
    /// An attribute, and the values of which it must have one. Without values all entries are meant.
    pub having: (&'s str, Vec<&'s [u8]>),
    /// The attributes that are told; without any, names only.
    pub attributes: &'s [&'s str],
    /// Entries that are wanted at most.
    pub most: usize,
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its distinguished name (RFC 4514).
    pub name: String,
    /// Attributes with their values.
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// The values of an attribute, named in any case (RFC 4512 2.5); none where the entry does not show it.
    ///
    /// # Errors
    /// Only some of many values are told, as Active Directory does.
    pub fn values(&self, attribute: &str) -> Result<&[Vec<u8>], &'static str> {
        let mut found = &[][..];
        for (name, values) in &self.attributes {
            let (kind, options) = name.split_once(';').unwrap_or((name, ""));
            if !kind.eq_ignore_ascii_case(attribute) {
                continue;
            }
            if options.to_ascii_lowercase().contains("range=") {
                return Err("an attribute has more values than the server tells at once");
            }
            if options.is_empty() {
                found = values;
            }
        }
        Ok(found)
    }
}

/// The operation that an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Being somebody.
    Bind,
    /// Looking for entries.
    Search,
    /// Anything that is named by an object identifier.
    Extended,
}

/// What a server says in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The end of an operation, and its result code (RFC 4511 A.1).
    Done(Operation, u32),
    /// An entry that was found.
    Entry(Entry),
    /// Another server knows more.
    Reference,
}

impl Answer {
    /// The number of the question, and what is said to it, in the content of a message.
    ///
    /// # Errors
    /// Why it is no such thing.
    pub fn read(content: &[u8]) -> Result<(u32, Self), &'static str> {
        let mut parts = Elements(content);
        let number = parts.number(INTEGER).ok_or("a message without a number")?;
        let (tag, content) = parts.next().ok_or("a message without an operation")?;
        let done = |operation| -> Result<Self, &'static str> {
            let code = Elements(content).number(ENUMERATED).ok_or("an answer without a result")?;
            Ok(Self::Done(operation, code))
        };
        let answer = match tag {
            BIND_ANSWER => done(Operation::Bind)?,
            SEARCH_DONE => done(Operation::Search)?,
            EXTENDED_ANSWER => done(Operation::Extended)?,
            SEARCH_ENTRY => Self::Entry(entry(content)?),
            SEARCH_REFERENCE => Self::Reference,
            _ => return Err("an answer of no known kind"),
        };
        Ok((number, answer))
    }

    /// As [`Answer::read`], of a whole message with its head and not a byte more.
    ///
    /// # Errors
    /// Why it is no such thing.
    pub fn read_message(bytes: &[u8]) -> Result<(u32, Self), &'static str> {
        match head(bytes, bytes.len())? {
            Some((SEQUENCE, start, length)) if bytes.len() == start + length => Self::read(&bytes[start..]),
            _ => Err("no message"),
        }
    }
}

fn entry(content: &[u8]) -> Result<Entry, &'static str> {
    let mut parts = Elements(content);
    let name = parts.expect(OCTETS).and_then(text).ok_or("an entry without a name")?;
    let list = parts.expect(SEQUENCE).ok_or("an entry without attributes")?;
    let mut attributes = Vec::new();
    for attribute in all(list, SEQUENCE)? {
        let mut parts = Elements(attribute);
        let kind = parts.expect(OCTETS).and_then(text).ok_or("an attribute without a name")?;
        let values = parts.expect(SET).ok_or("an attribute without values")?;
        attributes.push((kind, all(values, OCTETS)?.into_iter().map(<[u8]>::to_vec).collect()));
    }
    Ok(Entry { name, attributes })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// The contents of elements that all have the tag; a list that is cut off is none.
fn all(content: &[u8], tag: u8) -> Result<Vec<&[u8]>, &'static str> {
    let mut parts = Elements(content);
    let mut found = Vec::new();
    while !parts.0.is_empty() {
        found.push(parts.expect(tag).ok_or("a list with something else in it")?);
    }
    Ok(found)
}

/// A question with its number.
pub(super) fn message(number: u32, operation: &[u8]) -> Vec<u8> {
    let (mut body, mut message) = (Vec::new(), Vec::new());
    push_number(&mut body, INTEGER, number);
    body.extend_from_slice(operation);
    push(&mut message, SEQUENCE, &body);
    message
}

/// A wish to be `dn`, with its password.
pub(super) fn bind(dn: &str, password: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    push_number(&mut content, INTEGER, 3);
    push(&mut content, OCTETS, dn.as_bytes());
    push(&mut content, SIMPLE, password);
    element(BIND, &content)
}

/// A wish for TLS.
pub(super) fn start_tls() -> Vec<u8> {
    element(EXTENDED, &element(NAME_OF_OPERATION, START_TLS))
}

/// A search that the server should not spend more than `time` on.
pub(super) fn search(search: &Search<'_>, time: Duration) -> Vec<u8> {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(0x7fff_ffff);
    let mut content = element(OCTETS, search.base.as_bytes());
    push_number(&mut content, ENUMERATED, search.scope as u32);
    // Aliases are not followed.
    push_number(&mut content, ENUMERATED, 0);
    push_number(&mut content, INTEGER, narrow(search.most as u64));
    push_number(&mut content, INTEGER, narrow(time.as_secs().max(1)));
    push(&mut content, BOOLEAN, &[0]);
    content.extend(filter(search.having.0, &search.having.1));
    let wanted = if search.attributes.is_empty() { &[NO_ATTRIBUTES][..] } else { search.attributes };
    let names: Vec<u8> = wanted.iter().flat_map(|name| element(OCTETS, name.as_bytes())).collect();
    push(&mut content, SEQUENCE, &names);
    element(SEARCH, &content)
}

fn filter(attribute: &str, values: &[&[u8]]) -> Vec<u8> {
    let equal = |value: &&[u8]| {
        let mut pair = element(OCTETS, attribute.as_bytes());
        push(&mut pair, OCTETS, value);
        element(EQUALITY, &pair)
    };
    match values {
        [] => element(PRESENT, b"objectClass"),
        [value] => equal(value),
        values => element(OR, &values.iter().flat_map(equal).collect::<Vec<u8>>()),
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, tag, content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `uid=a,dc=x` with two groups, as a server tells it.
    fn told() -> Vec<u8> {
        let mut attribute = element(OCTETS, b"memberOf");
        let values = [element(OCTETS, b"cn=g,dc=x"), element(OCTETS, b"\xff")].concat();
        push(&mut attribute, SET, &values);
        let mut content = element(OCTETS, b"uid=a,dc=x");
        push(&mut content, SEQUENCE, &element(SEQUENCE, &attribute));
        message(7, &element(SEARCH_ENTRY, &content))
    }

    #[test]
    fn an_entry_is_read_whole_or_not_at_all() {
        let told = told();
        let (number, answer) = Answer::read_message(&told).unwrap();
        let Answer::Entry(entry) = answer else { panic!("{answer:?}") };
        assert_eq!((number, entry.name.as_str()), (7, "uid=a,dc=x"));
        assert_eq!(entry.values("memberof"), Ok(&[b"cn=g,dc=x".to_vec(), b"\xff".to_vec()][..]));
        assert_eq!(entry.values("member"), Ok(&[][..]));
        for length in 0..told.len() {
            assert!(Answer::read_message(&told[..length]).is_err(), "cut at {length}");
        }
        // The length of the last value, one more than there is: the list does not end with what fits.
        let mut broken = told;
        let place = broken.len() - 2;
        broken[place] += 1;
        assert!(Answer::read_message(&broken).is_err());
    }

    #[test]
    fn values_told_in_parts_are_an_error() {
        let entry = Entry {
            name: "uid=a".to_owned(),
            attributes: vec![
                ("cn;lang-de".to_owned(), vec![]),
                ("memberOf".to_owned(), vec![]),
                ("memberOf;Range=0-1499".to_owned(), vec![b"cn=g".to_vec()]),
            ],
        };
        assert!(entry.values("memberOf").is_err());
        assert_eq!(entry.values("cn"), Ok(&[][..]), "of another language");
    }

    #[test]
    fn a_value_stays_one_in_a_filter() {
        let hostile = b"*)(uid=*))(|(uid=*";
        let made = filter("uid", &[hostile]);
        let mut parts = Elements(&made);
        let mut pair = Elements(parts.expect(EQUALITY).unwrap());
        assert_eq!((pair.expect(OCTETS), pair.expect(OCTETS)), (Some(&b"uid"[..]), Some(&hostile[..])));
        assert!(pair.0.is_empty() && parts.0.is_empty());
        let either = filter("uid", &[b"a", b"b"]);
        assert_eq!(Elements(Elements(&either).expect(OR).unwrap()).count(), 2);
        assert_eq!(filter("uid", &[]), [&[0x87, 11][..], b"objectClass"].concat());
    }

    #[test]
    fn a_search_is_bounded_on_the_servers_side_too() {
        let question = Search {
            base: "dc=x",
            scope: Scope::Subtree,
            having: ("uid", vec![b"a"]),
            attributes: &[],
            most: 2,
        };
        let made = search(&question, Duration::from_millis(2500));
        let mut parts = Elements(Elements(&made).expect(SEARCH).unwrap());
        assert_eq!(parts.expect(OCTETS), Some(&b"dc=x"[..]));
        let numbers = [ENUMERATED, ENUMERATED, INTEGER, INTEGER].map(|tag| parts.number(tag));
        assert_eq!(numbers, [Some(2), Some(0), Some(2), Some(2)]);
        assert_eq!(parts.expect(BOOLEAN), Some(&[0][..]));
        assert!(parts.expect(EQUALITY).is_some());
        assert_eq!(Elements(parts.expect(SEQUENCE).unwrap()).expect(OCTETS), Some(&b"1.1"[..]));
    }
}
