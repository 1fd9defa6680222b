//! Edits by name, as the rooms that transform messages are told them: what to remove, rename, replace, add and append,
//! always in this order. Here are how entries of a configuration are read and checked, and how they are carried out.

use std::borrow::Cow;

use serde_json::Value;
use wire::Headers;

use crate::multipart::Form;
use crate::object::Object;

/// The edits of one part of a message: its headers, its query or its body. `V` is how a room keeps values.
pub struct Edits<V> {
    /// Names to remove.
    pub remove: Vec<String>,
    /// Names to change, with their new ones.
    pub rename: Vec<(String, String)>,
    /// Values to set where the name is there.
    pub replace: Vec<Setting<V>>,
    /// Values to set where the name is not there.
    pub add: Vec<Setting<V>>,
    /// Values to put beside those that are there.
    pub append: Vec<Setting<V>>,
}

/// A name with the value it is to have.
pub struct Setting<V> {
    /// The name.
    pub name: String,
    /// The value.
    pub value: V,
}

/// What can be edited by name.
pub trait Fields {
    /// How a value is written in it.
    type Value: ToOwned + ?Sized + 'static;

    /// Removes what has the name.
    fn remove(&mut self, name: &str);
    /// Gives what has one name another one. What has that one already gives way.
    fn rename(&mut self, from: &str, to: &str);
    /// Gives what has the name another value.
    fn replace(&mut self, name: &str, value: &Self::Value);
    /// Adds a value, unless something has the name.
    fn add(&mut self, name: &str, value: &Self::Value);
    /// Puts a value beside what has the name.
    fn append(&mut self, name: &str, value: &Self::Value);
}

impl<V> Edits<V> {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let settings = [&self.replace, &self.add, &self.append];
        self.remove.is_empty() && self.rename.is_empty() && settings.iter().all(|list| list.is_empty())
    }

    /// Whether an edit touches `name`, whatever its case.
    #[must_use]
    pub fn touches(&self, name: &str) -> bool {
        let settings = [&self.replace, &self.add, &self.append].into_iter().flatten();
        settings
            .map(|setting| &setting.name)
            .chain(&self.remove)
            .chain(self.rename.iter().flat_map(|(from, to)| [from, to]))
            .any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Carries the edits out. `written` tells how a value is written in `fields`.
    pub fn apply<'e, F: Fields>(
        &'e self,
        fields: &mut F,
        mut written: impl FnMut(&'e V) -> Cow<'e, F::Value>,
    ) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (from, to) in &self.rename {
            fields.rename(from, to);
        }
        for Setting { name, value } in &self.replace {
            fields.replace(name, &written(value));
        }
        for Setting { name, value } in &self.add {
            fields.add(name, &written(value));
        }
        for Setting { name, value } in &self.append {
            fields.append(name, &written(value));
        }
    }
}

impl Fields for Headers {
    type Value = [u8];

    fn remove(&mut self, name: &str) {
        Headers::remove(self, name);
    }

    fn rename(&mut self, from: &str, to: &str) {
        if !from.eq_ignore_ascii_case(to) && self.contains(from) {
            Headers::remove(self, to);
            Headers::rename(self, from, to);
        }
    }

    fn replace(&mut self, name: &str, value: &[u8]) {
        if self.contains(name) && !self.set(name, value) {
            // The value cannot stand in a field; the one that was to be replaced must not stay for that.
            Headers::remove(self, name);
        }
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if !self.contains(name) {
            Headers::append(self, name, value);
        }
    }

    fn append(&mut self, name: &str, value: &[u8]) {
        Headers::append(self, name, value);
    }
}

/// Values are JSON texts.
impl Fields for Object<'_> {
    type Value = str;

    fn remove(&mut self, name: &str) {
        Object::remove(self, name);
    }

    fn rename(&mut self, from: &str, to: &str) {
        Object::rename(self, from, to);
    }

    fn replace(&mut self, name: &str, value: &str) {
        Object::replace(self, name, value);
    }

    fn add(&mut self, name: &str, value: &str) {
        Object::add(self, name, value);
    }

    fn append(&mut self, name: &str, value: &str) {
        Object::append(self, name, value);
    }
}

impl Fields for Form<'_> {
    type Value = [u8];

    fn remove(&mut self, name: &str) {
        Form::remove(self, name);
    }

    fn rename(&mut self, from: &str, to: &str) {
        Form::rename(self, from, to);
    }

    fn replace(&mut self, name: &str, value: &[u8]) {
        Form::replace(self, name, value);
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        Form::add(self, name, value);
    }

    /// Nothing is appended to a form of parts; in Kong neither.
    fn append(&mut self, _: &str, _: &[u8]) {}
}

/// The name of a `name` or `name:value` entry.
#[must_use]
pub fn name_of(entry: &str) -> &str {
    entry.split(':').next().unwrap_or_default()
}

/// Both sides of an `old:new` or `name:value` entry; the right one may be empty.
#[must_use]
pub fn sides_of(entry: &str) -> (&str, &str) {
    let (name, value) = entry.split_once(':').unwrap_or((entry, ""));
    (name, value.trim_start_matches(':'))
}

/// Both sides of an entry that has a value; one without does nothing.
#[must_use]
pub fn pair_of(entry: &str) -> Option<(&str, &str)> {
    Some(sides_of(entry)).filter(|(_, value)| !value.is_empty())
}

/// The names of `old:new` entries.
#[must_use]
pub fn renames(entries: &[String]) -> Vec<(String, String)> {
    let pairs = entries.iter().filter_map(|entry| pair_of(entry));
    pairs.map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
}

/// Rule: an entry with a colon and something before it.
///
/// # Errors
/// What is wrong with the entry.
pub fn entry(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.starts_with(':') || !text.contains(':') {
        return Err(format!("invalid value: {text}"));
    }
    Ok(())
}

/// Rule: an entry whose name is one of a header.
///
/// # Errors
/// What is wrong with the entry.
pub fn header_entry(value: &Value) -> Result<(), String> {
    is_header(name_of(value.as_str().unwrap_or_default()))
}

/// Rule: an `old:new` entry of names of headers.
///
/// # Errors
/// What is wrong with the entry.
pub fn header_rename(value: &Value) -> Result<(), String> {
    entry(value)?;
    let (from, to) = sides_of(value.as_str().unwrap_or_default());
    for name in [from, to] {
        is_header(name)?;
        is_free(name)?;
    }
    Ok(())
}

/// Rule: a `name:value` entry of a header.
///
/// # Errors
/// What is wrong with the entry.
pub fn header_setting(value: &Value) -> Result<(), String> {
    entry(value)?;
    header_entry(value)?;
    is_free(name_of(value.as_str().unwrap_or_default()))
}

fn is_header(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("'{name}' is not a valid header"))
}

/// The fields that say where a message ends are the gateway's.
fn is_free(name: &str) -> Result<(), String> {
    if name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding") {
        return Err(format!("'{name}' frames the message and cannot be set"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &'static str) -> Setting<&'static str> {
        Setting { name: name.to_owned(), value }
    }

    #[test]
    fn edits_are_carried_out_in_their_order() {
        let edits = Edits {
            remove: vec!["a".to_owned()],
            rename: vec![("b".to_owned(), "a".to_owned())],
            replace: vec![setting("a", "2"), setting("c", "2"), setting("none", "2")],
            add: vec![setting("a", "3"), setting("c", "3")],
            append: vec![setting("a", "4"), setting("c", "4")],
        };
        let mut object = Object::parse(br#"{"a":0,"b":1,"x":{}}"#).unwrap();
        edits.apply(&mut object, |value| Cow::Borrowed(*value));
        assert_eq!(object.to_json(), br#"{"a":[2,4],"x":{},"c":[3,4]}"#);
        let mut headers = Headers::new();
        for (name, value) in [("a", "0"), ("b", "1"), ("x", "0")] {
            headers.append(name, value.as_bytes());
        }
        edits.apply(&mut headers, |value| Cow::Borrowed(value.as_bytes()));
        let all = |name: &str| headers.all(name).collect::<Vec<_>>();
        assert_eq!((all("a"), all("c")), (vec![&b"2"[..], b"4"], vec![&b"3"[..], b"4"]));
        assert!(all("b").is_empty() && all("none").is_empty() && all("x") == [b"0"]);
        assert!(edits.touches("B") && edits.touches("None") && !edits.touches("x"));
    }

    #[test]
    fn entries_are_split_at_the_first_colon() {
        assert_eq!(pair_of("X-A:b:c"), Some(("X-A", "b:c")));
        assert_eq!(pair_of("X-A::b"), Some(("X-A", "b")));
        assert_eq!([pair_of("X-A:"), pair_of("X-A"), pair_of("X-A::")], [None; 3]);
        assert_eq!((name_of("X-A:b"), name_of("X-A")), ("X-A", "X-A"));
    }

    #[test]
    fn the_fields_that_frame_a_message_are_not_to_be_had() {
        let refused = |result: Result<(), String>| result.unwrap_err().contains("frames the message");
        assert!(refused(header_setting(&Value::from("Content-Length:1"))));
        assert!(refused(header_rename(&Value::from("X-A:transfer-encoding"))));
        assert!(refused(header_rename(&Value::from("transfer-encoding:X-A"))));
        assert_eq!(header_entry(&Value::from("Content-Length")), Ok(()), "it may be removed");
        assert_eq!(header_rename(&Value::from("X-A:X-B")), Ok(()));
    }
}
