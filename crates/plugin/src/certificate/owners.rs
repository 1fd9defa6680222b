//! Whose a certificate is: by a credential that names it, by the name of a consumer, or nobody's.

use std::sync::Arc;

use ahash::AHashMap;
use model::Uuid;
use model::entity::Consumer;
use model::subject::Subject;

use super::Accepted;
use super::fields::Fields;
use crate::build::{Build, BuildError};
use crate::consumers::Consumers;
use crate::identity::{Caller, Credential};

/// A credential: a name in certificates that stands for a consumer.
pub struct Mapping {
    /// Its identity.
    pub id: Uuid,
    /// Whom it stands for.
    pub consumer: Uuid,
    /// The name.
    pub subject_name: String,
    /// Only in certificates that this authority has vouched for.
    pub authority: Option<Uuid>,
}

/// Who has which certificate.
pub(super) struct Owners {
    /// By name; those for one authority come first.
    mappings: AHashMap<Box<str>, Vec<Named>>,
    /// By the fields of `consumer_by`.
    consumers: Option<Consumers>,
    default: Option<Arc<Consumer>>,
    /// Attributes of alternative names that are distinguished names which count as names.
    attributes: Vec<String>,
    /// No consumer is looked for; this is the caller's group.
    group_by: Option<GroupBy>,
}

/// Whom a name stands for: in certificates of one authority, or in all.
type Named = (Option<Uuid>, Arc<Caller>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum GroupBy {
    CommonName,
    DistinguishedName,
}

impl Owners {
    pub(super) fn new(
        fields: &Fields,
        mappings: impl Iterator<Item = Mapping>,
        attributes: Vec<String>,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let group_by = if fields.authenticated_group_by == "DN" {
            GroupBy::DistinguishedName
        } else {
            GroupBy::CommonName
        };
        let default = match fields.default_consumer.as_deref().filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => Some(cx.consumer_named(name).ok_or_else(|| {
                BuildError::new("config.default_consumer", format!("there is no consumer '{name}'"))
            })?),
        };
        let mut owners = Self {
            mappings: AHashMap::new(),
            consumers: None,
            default,
            attributes,
            group_by: fields.skip_consumer_lookup.then_some(group_by),
        };
        if fields.skip_consumer_lookup {
            return Ok(owners);
        }
        for mapping in mappings {
            owners.add(mapping, cx);
        }
        owners.consumers = Some(Consumers::new(&fields.consumer_by, false, cx)?);
        Ok(owners)
    }

    fn add(&mut self, mapping: Mapping, cx: &Build<'_>) {
        let Some(consumer) = cx.consumer(mapping.consumer) else { return };
        let identifier = mapping.id.hyphenated().to_string().into();
        let caller = Caller::authenticated(Some(consumer), Credential { id: mapping.id, identifier });
        let named = self.mappings.entry(mapping.subject_name.into()).or_default();
        named.push((mapping.authority, caller));
        named.sort_by_key(|(authority, _)| authority.is_none());
    }

    /// Whom a certificate that is believed stands for; none if it is nobody's.
    pub(super) fn accept(&self, subject: &Subject, issuers: &[Uuid]) -> Option<Accepted> {
        if let Some(group_by) = self.group_by {
            let group = match group_by {
                GroupBy::CommonName => subject.common_name.as_deref()?,
                GroupBy::DistinguishedName => &subject.distinguished_name,
            };
            let groups: Arc<[Box<str>]> = Arc::from([Box::from(group)]);
            return Some(Accepted::new(Accepted::identified(None, group), Some(groups), subject));
        }
        let names = self.names(subject);
        let caller = self.mapped(&names, issuers).or_else(|| self.named(&names))?;
        Some(Accepted::new(caller, None, subject))
    }

    /// The alternative names, or the common name where there are none.
    fn names<'a>(&self, subject: &'a Subject) -> Vec<&'a str> {
        let Some(alternatives) = &subject.alternatives else {
            return subject.common_name.as_deref().into_iter().collect();
        };
        let counts = |name: &str| self.attributes.iter().any(|one| one.eq_ignore_ascii_case(name));
        let directories = subject.directories.iter().filter(|(name, _)| counts(name));
        alternatives.iter().map(String::as_str).chain(directories.map(|(_, value)| value.as_str())).collect()
    }

    /// By a credential: first those for one of the authorities, then those for any.
    fn mapped(&self, names: &[&str], issuers: &[Uuid]) -> Option<Arc<Caller>> {
        [true, false].into_iter().find_map(|bound| {
            let mut found = names.iter().filter_map(|name| self.mappings.get(*name)).flatten();
            let fits = |authority: &Option<Uuid>| match authority {
                Some(authority) => bound && issuers.contains(authority),
                None => !bound,
            };
            found.find(|(authority, _)| fits(authority)).map(|(_, caller)| caller.clone())
        })
    }

    /// By the name of a consumer, or the one that stands for all others.
    fn named(&self, names: &[&str]) -> Option<Arc<Caller>> {
        let consumers = self.consumers.as_ref();
        let found = names.iter().find_map(|name| Some((consumers?.find(name)?.clone(), *name)));
        match found {
            Some((consumer, name)) => Some(Accepted::identified(Some(consumer), name)),
            None => {
                let name = names.first().copied().unwrap_or_default();
                self.default.clone().map(|consumer| Accepted::identified(Some(consumer), name))
            }
        }
    }
}
