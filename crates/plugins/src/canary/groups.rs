//! The groups of callers, by every way there is to be in one.

use ahash::AHashMap;
use plugin::model::Reference;
use plugin::model::schema::FieldType;
use plugin::{Build, BuildError, Exchange};
use uuid::Uuid;

/// The groups of all consumers: those of their `acls` and their consumer groups.
pub(super) struct Groups(AHashMap<Uuid, Vec<Box<str>>>);

impl Groups {
    /// The groups in the configuration.
    pub(super) fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut groups: AHashMap<Uuid, Vec<Box<str>>> = AHashMap::new();
        for acl in cx.config.entities("acls") {
            let fields = acl.set_fields();
            let consumer = Reference::from_value(&fields["consumer"])
                .map_err(|problem| BuildError::new("acls", problem.to_string()))?;
            let group = fields["group"].as_str().unwrap_or_default();
            groups.entry(consumer.0).or_default().push(group.into());
        }
        for member in &cx.config.consumer_group_consumers {
            let mut known = cx.config.consumer_groups.iter();
            if let Some(group) = known.find(|group| group.id == member.consumer_group.0) {
                groups.entry(member.consumer.0).or_default().push(group.name.as_str().into());
            }
        }
        Ok(Self(groups))
    }

    /// Whether the caller is in one of the groups `listed`.
    pub(super) fn has_any(&self, exchange: &Exchange, listed: &[Box<str>]) -> bool {
        let consumer = exchange.identity.consumer_id();
        let own = consumer.and_then(|consumer| self.0.get(&consumer)).into_iter().flatten();
        let identity = &exchange.identity;
        let vouched = identity.groups.iter().flat_map(|groups| groups.iter());
        let consumer_groups = identity.consumer_groups.iter().flat_map(|groups| groups.names.iter());
        own.chain(vouched).chain(consumer_groups).any(|group| listed.contains(group))
    }
}
