//! JSON objects whose members are edited by name. Values that are not edited keep the very text they had, so
//! numbers lose no digit and empty lists stay lists.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member found in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its value as JSON text.
    pub value: &'a str,
    /// The name stands more than once.
    pub repeated: bool,
}

/// Looks for the member `name` of the object that `document` is. Takes no memory however large the document is.
#[must_use]
pub fn member<'a>(document: &'a [u8], name: &str) -> Option<Found<'a>> {
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let found = Search { name }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    found
}

struct Search<'n> {
    name: &'n str,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = Option<Found<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = Option<Found<'de>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found: Self::Value = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name != self.name {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            found = Some(Found { value: value.get(), repeated: found.is_some() });
        }
        Ok(found)
    }
}

/// The members of one object, in order.
pub struct Object<'a> {
    members: Vec<(String, Cow<'a, str>)>,
    changed: bool,
}

impl<'a> Object<'a> {
    /// An object without members.
    #[must_use]
    pub fn empty() -> Self {
        Self { members: Vec::new(), changed: false }
    }

    /// Reads a document; `None` if it is not JSON or not an object.
    #[must_use]
    pub fn parse(document: &'a [u8]) -> Option<Self> {
        let Members(members) = serde_json::from_slice(document).ok()?;
        let members = members.into_iter().map(|(name, value)| (name, Cow::Borrowed(value.get()))).collect();
        Some(Self { members, changed: false })
    }

    /// Whether there is a member called `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| known == name)
    }

    /// Whether an edit has had an effect.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Removes the member.
    pub fn remove(&mut self, name: &str) {
        let before = self.members.len();
        self.members.retain(|(known, _)| known != name);
        self.changed |= self.members.len() != before;
    }

    /// Gives the member another name, in place of a member that has it already.
    pub fn rename(&mut self, from: &str, to: &str) {
        if from == to || !self.contains(from) {
            return;
        }
        self.remove(to);
        for (name, _) in self.members.iter_mut().filter(|(name, _)| name == from) {
            to.clone_into(name);
        }
        self.changed = true;
    }

    /// Gives the member, if it is there, the value written as `json`.
    pub fn replace(&mut self, name: &str, json: &str) {
        if let Some((_, value)) = self.members.iter_mut().find(|(known, _)| known == name) {
            *value = Cow::Owned(json.to_owned());
            let mut first = true;
            self.members.retain(|(known, _)| known != name || std::mem::take(&mut first));
            self.changed = true;
        }
    }

    /// Adds the member, if it is not there, with the value written as `json`.
    pub fn add(&mut self, name: &str, json: &str) {
        if !self.contains(name) {
            self.members.push((name.to_owned(), Cow::Owned(json.to_owned())));
            self.changed = true;
        }
    }

    /// Appends the value written as `json` to the member, which becomes a list if it is none. An object stays as
    /// it is.
    pub fn append(&mut self, name: &str, json: &str) {
        let Some((_, value)) = self.members.iter_mut().find(|(known, _)| known == name) else {
            return self.add(name, &format!("[{json}]"));
        };
        let list = match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(elements) if elements.trim().is_empty() => format!("[{json}]"),
            Some(elements) => format!("[{elements},{json}]"),
            None if value.starts_with('{') => return,
            None if value == "null" => format!("[{json}]"),
            None => format!("[{value},{json}]"),
        };
        *value = Cow::Owned(list);
        self.changed = true;
    }

    /// The object as text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (index, (name, value)) in self.members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            crate::serialize::string(&mut out, name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
        out
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(document: &str, edit: impl FnOnce(&mut Object<'_>)) -> String {
        let mut object = Object::parse(document.as_bytes()).unwrap();
        edit(&mut object);
        String::from_utf8(object.to_json()).unwrap()
    }

    #[test]
    fn one_member_is_found_without_the_others() {
        let found =
            |document: &'static str| member(document.as_bytes(), "k").map(|it| (it.value, it.repeated));
        assert_eq!(found(r#"{"a":[{"k":1}],"k":"v"}"#), Some((r#""v""#, false)));
        assert_eq!(found(r#"{"k":1,"k":[2]}"#), Some(("[2]", true)));
        assert_eq!(found(r#"{"\u006b":true}"#), Some(("true", false)));
        for nothing in [r#"{"a":1}"#, r#"["k"]"#, r#"{"k":1"#, r#"{"k":1} x"#, "", "null"] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_not_edited_keeps_its_text() {
        let document = r#"{"a": 1.10, "b":[ ],"c":12345678901234567890123, "d":{"x" : null}}"#;
        let same = edited(document, |_| {});
        assert_eq!(same, r#"{"a":1.10,"b":[ ],"c":12345678901234567890123,"d":{"x" : null}}"#);
    }

    #[test]
    fn each_edit_has_its_condition() {
        assert_eq!(edited(r#"{"a":1,"b":2,"a":3}"#, |object| object.remove("a")), r#"{"b":2}"#);
        assert_eq!(edited(r#"{"a":1,"b":2}"#, |object| object.rename("a", "b")), r#"{"b":1}"#);
        assert_eq!(edited(r#"{"b":2}"#, |object| object.rename("a", "b")), r#"{"b":2}"#);
        assert_eq!(edited(r#"{"a":1,"a":2}"#, |object| object.replace("a", "9")), r#"{"a":9}"#);
        assert_eq!(edited("{}", |object| object.replace("a", "9")), "{}");
        assert_eq!(edited(r#"{"a":false}"#, |object| object.add("a", "9")), r#"{"a":false}"#);
        assert_eq!(edited("{}", |object| object.add("a\"", "9")), r#"{"a\"":9}"#);
    }

    #[test]
    fn appending_makes_lists() {
        let cases = [
            ("{}", r#"{"a":["v"]}"#),
            (r#"{"a":"x"}"#, r#"{"a":["x","v"]}"#),
            (r#"{"a":[]}"#, r#"{"a":["v"]}"#),
            (r#"{"a":[1, 2]}"#, r#"{"a":[1, 2,"v"]}"#),
            (r#"{"a":null}"#, r#"{"a":["v"]}"#),
            (r#"{"a":{}}"#, r#"{"a":{}}"#),
        ];
        for (before, after) in cases {
            assert_eq!(edited(before, |object| object.append("a", "\"v\"")), after);
        }
    }

    #[test]
    fn what_is_no_object_is_refused_however_deep() {
        let deep = "[".repeat(1_000_000);
        let deep_member = format!("{{\"a\":{deep}");
        for document in
            ["", "[]", "1", "{", "{\"a\":1}x", "{\"a\":\"\u{1}\"}", "\u{feff}{}", &deep, &deep_member]
        {
            assert!(Object::parse(document.as_bytes()).is_none());
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_none());
        let nested = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Object::parse(nested.as_bytes()).unwrap().to_json(), nested.as_bytes());
    }
}
