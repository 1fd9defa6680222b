//! The groups of all consumers.

use std::sync::Arc;

use ahash::AHashMap;
use plugin::model::courtesy::Table;
use plugin::model::{self, Reference};
use plugin::{Build, BuildError};
use uuid::Uuid;

model::entity! {
    /// That a consumer is in a group, for the acl plugin.
    pub struct AclGroup in "acls" {
        /// Who is in the group.
        consumer: Reference, [to("consumers")];
        /// Name of the group; it comes into being by being named.
        group: String, [len_min(1)];
    }
    admin: ("acls", "acls")
    cache_key: ["consumer", "group"]
}

/// Groups by consumer.
pub(super) struct Groups(Table<Uuid, Membership>);

/// The groups of one consumer, never empty.
#[derive(Default)]
pub(super) struct Membership {
    pub(super) groups: Vec<Box<str>>,
    /// The same as the upstream is told them.
    pub(super) header: Box<str>,
}

/// The groups given by `acls`.
pub(super) struct AclsOnly(pub(super) Arc<Groups>);

/// The groups given by `acls` and by consumer groups.
pub(super) struct WithConsumerGroups(pub(super) Arc<Groups>);

impl Groups {
    /// The groups of a consumer; none if it has none.
    pub(super) fn of(&self, consumer: Uuid) -> Option<&Membership> {
        self.0.get(&consumer)
    }

    fn join(&mut self, consumer: Uuid, group: String) {
        let groups = &mut self.0.entry(consumer).or_default().groups;
        let group = group.into_boxed_str();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }

    fn finished(mut self) -> Arc<Self> {
        for membership in self.0.values_mut() {
            membership.header = membership.groups.join(", ").into();
        }
        Arc::new(self)
    }

    fn from_acls(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut groups = Self(Table::default());
        for acl in cx.entities::<AclGroup>()? {
            groups.join(acl.consumer.0, acl.group);
        }
        Ok(groups)
    }
}

impl AclsOnly {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self(Groups::from_acls(cx)?.finished()))
    }
}

impl WithConsumerGroups {
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut groups = Groups::from_acls(cx)?;
        let names: AHashMap<Uuid, &str> =
            cx.config.consumer_groups.iter().map(|group| (group.id, group.name.as_str())).collect();
        for member in &cx.config.consumer_group_consumers {
            if let Some(name) = names.get(&member.consumer_group.0) {
                groups.join(member.consumer.0, (*name).to_owned());
            }
        }
        Ok(Self(groups.finished()))
    }
}
