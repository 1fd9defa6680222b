//! What a directory says: read whole or not at all, and names stay what they are.

use plugin::ldap::{Answer, Entry, Name, escaped};

/// Pieces of LDAP messages.
pub const TOKENS: &[&[u8]] = &[
    b"\x30",
    b"\x02\x01\x01",
    b"\x02\x01\0",
    b"\x61\x07\x0a\x01\0\x04\0\x04\0",
    b"\x64",
    b"\x65",
    b"\x73",
    b"\x78",
    b"\x04\0",
    b"\x04\x01a",
    b"\x31\0",
    b"\x0a\x01\x31",
    b"\x80",
    b"\x81\x80",
    b"\x82\x01\0",
    b"\x84\xff\xff\xff\xff",
    b"\x85",
    b"\xff",
    b"memberOf",
    b";range=0-1",
    b"cn=",
    b"\\2c",
    b"\\",
    b",",
    b"+",
    b"=",
    b"\"",
    b" ",
    b"dc=x",
];

/// Reads a message.
pub fn run(bytes: &[u8]) {
    name(&String::from_utf8_lossy(bytes));
    let Ok((_, answer)) = Answer::read_message(bytes) else { return };
    for length in (0..bytes.len()).rev().take(16) {
        assert!(Answer::read_message(&bytes[..length]).is_err(), "whole without its end");
    }
    if let Answer::Entry(entry) = answer {
        told(&entry, bytes.len());
    }
}

fn told(entry: &Entry, length: usize) {
    let values = entry.attributes.iter().flat_map(|(_, values)| values);
    let told: usize = entry.name.len() + values.clone().map(Vec::len).sum::<usize>();
    assert!(told <= length, "more than was told");
    for (attribute, _) in &entry.attributes {
        let _ = entry.values(attribute);
    }
    name(&entry.name);
    for value in values {
        name(&String::from_utf8_lossy(value));
    }
}

/// A text is read as a name, and is read back when it is written as a part of one.
fn name(text: &str) {
    let parent = Name::parse("dc=x").unwrap();
    if let Some(name) = Name::parse(text) {
        assert_eq!(Name::parse(text), Some(name), "not equal to itself");
    }
    let written = Name::parse(&format!("cn={},dc=x", escaped(text))).unwrap();
    assert_eq!(written.child_of(&parent, "cn"), Some(text), "a name has become another");
}
