//! Groups: where they are in the directory, how they are told, and which a user has to be in.

use plugin::BuildError;
use plugin::ldap::{Entry, Groups, Name};

use super::Config;

/// Attributes that groups have and users do not (RFC 4519 2.17 and 2.40, RFC 2307 4).
const OF_GROUPS: [&str; 2] = ["member", "uniqueMember"];
const OF_GROUPS_BY_USERNAME: &str = "memberUid";

/// What tells which groups a user is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The user's own entry, by the names of the groups.
    Own,
    /// The entries of the groups, by the names of users' entries.
    OfEntries,
    /// The entries of the groups, by usernames.
    OfUsernames,
}

/// Where groups are, and how they are told.
#[derive(Debug)]
pub(super) struct Places {
    /// The attribute that says who is in which group.
    pub attribute: String,
    pub told: Told,
    /// The name right below which groups are.
    pub base: String,
    parent: Name,
    /// The attribute that names them there.
    named_by: String,
}

impl Places {
    pub(super) fn of(config: &Config) -> Result<Self, BuildError> {
        let fields = &config.fields;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let group_base = given(&config.group_base_dn);
        let field = if group_base.is_some() { "config.group_base_dn" } else { "config.base_dn" };
        let base = group_base.unwrap_or_else(|| fields.base_dn.clone());
        let parent = Name::parse(&base).ok_or_else(|| {
            BuildError::new(field, "is no distinguished name, such as ou=people,dc=example,dc=com")
        })?;
        let attribute = config.group_member_attribute.clone();
        let told = if OF_GROUPS.iter().any(|name| name.eq_ignore_ascii_case(&attribute)) {
            Told::OfEntries
        } else if OF_GROUPS_BY_USERNAME.eq_ignore_ascii_case(&attribute) {
            Told::OfUsernames
        } else {
            Told::Own
        };
        let named_by = given(&config.group_name_attribute).unwrap_or_else(|| fields.attribute.clone());
        Ok(Self { attribute, told, base, parent, named_by })
    }

    /// The groups with these distinguished names that are where groups have to be. Any other is not the one of that name.
    pub(super) fn named<'n>(&self, names: impl Iterator<Item = &'n str>) -> Groups {
        let mut groups: Vec<Box<str>> = Vec::new();
        for name in names.filter_map(Name::parse) {
            if let Some(group) = name.child_of(&self.parent, &self.named_by) {
                groups.push(group.into());
            }
        }
        groups.sort_unstable();
        groups.dedup();
        groups.into()
    }

    /// The groups that these entries are.
    pub(super) fn of_entries(&self, entries: &[Entry]) -> Groups {
        self.named(entries.iter().map(|entry| entry.name.as_str()))
    }
}

/// The groups that a user has to be in: one of several lists, all of a list.
pub(super) struct Requirements(Vec<Requirement>);

struct Requirement {
    /// The text as it is: the name of a group may have spaces.
    whole: String,
    all: Vec<String>,
}

impl Requirements {
    pub(super) fn new(texts: &[String]) -> Self {
        let all = |text: &String| text.split_whitespace().map(str::to_owned).collect();
        Self(texts.iter().map(|text| Requirement { whole: text.clone(), all: all(text) }).collect())
    }

    /// Whether who is in `groups` gets in. With no requirements everybody does.
    pub(super) fn are_met(&self, groups: &[Box<str>]) -> bool {
        let is_in = |name: &str| groups.iter().any(|group| **group == *name);
        let met = |one: &Requirement| is_in(&one.whole) || one.all.iter().all(|name| is_in(name));
        self.0.is_empty() || self.0.iter().any(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_alternatives_and_the_names_in_one_go_together() {
        let met = |required: &[&str], groups: &[&str]| {
            let required: Vec<String> = required.iter().map(|text| (*text).to_owned()).collect();
            let groups: Vec<Box<str>> = groups.iter().map(|group| (*group).into()).collect();
            Requirements::new(&required).are_met(&groups)
        };
        assert!(met(&[], &[]));
        assert!(met(&["a", "b"], &["b"]));
        assert!(!met(&["a", "b"], &["c"]));
        assert!(!met(&["a", "b"], &[]));
        assert!(met(&["a b"], &["b", "a"]));
        assert!(!met(&["a b"], &["a"]));
        assert!(met(&["a b", "c"], &["c"]));
        assert!(met(&["a  b"], &["a", "b"]));
        assert!(met(&["*Dev - A"], &["*Dev - A"]), "a name with spaces");
        assert!(!met(&["*Dev - A"], &["A", "*Dev"]));
        assert!(!met(&["a"], &["A"]), "as acl compares them");
    }
}
