//! The groups of consumers, by name: consumer groups, and those of the entities `acls`.

use std::sync::Arc;

use ahash::AHashMap;
use model::courtesy::Table;
use uuid::Uuid;

use crate::build::{Build, BuildError};

/// Consumer groups that somebody is in by the word of whoever authenticated the caller, in its order.
#[derive(Debug, PartialEq, Eq)]
pub struct ConsumerGroups {
    /// Their ids.
    pub ids: Box<[Uuid]>,
    /// Their names, in the same order.
    pub names: Arc<[Box<str>]>,
}

/// The consumer groups of the configuration by name.
pub struct KnownGroups(AHashMap<Box<str>, Uuid>);

impl KnownGroups {
    /// All of them.
    #[must_use]
    pub fn new(cx: &Build<'_>) -> Self {
        let groups = cx.config.consumer_groups.iter();
        Self(groups.map(|group| (group.name.as_str().into(), group.id)).collect())
    }

    /// Those that are called so; names of others are left out.
    #[must_use]
    pub fn named<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> ConsumerGroups {
        let found = names.into_iter().filter_map(|name| Some((*self.0.get(name)?, Box::from(name))));
        let (ids, names): (Vec<_>, Vec<_>) = found.unzip();
        ConsumerGroups { ids: ids.into(), names: names.into() }
    }
}

/// The groups of each consumer that is in one.
pub struct Groups(Table<Uuid, Box<[Arc<str>]>>);

impl Groups {
    /// Those of the configuration; made once for all rooms.
    ///
    /// # Errors
    /// None; the signature is that of [`Build::shared`].
    pub fn of_configuration(cx: &Build<'_>) -> Result<Arc<Self>, BuildError> {
        cx.shared(Self::new)
    }

    /// The groups of a consumer; consumer groups come first.
    #[must_use]
    pub fn of(&self, consumer: Uuid) -> &[Arc<str>] {
        self.0.get(&consumer).map_or(&[], |groups| groups)
    }

    fn new(cx: &Build<'_>) -> Result<Self, BuildError> {
        let mut names: AHashMap<&str, Arc<str>> = AHashMap::new();
        let by_id: AHashMap<Uuid, &str> =
            cx.config.consumer_groups.iter().map(|group| (group.id, group.name.as_str())).collect();
        let mut groups: AHashMap<Uuid, Vec<Arc<str>>> = AHashMap::new();
        for member in &cx.config.consumer_group_consumers {
            if let Some(name) = by_id.get(&member.consumer_group.0) {
                let name = names.entry(name).or_insert_with(|| Arc::from(*name)).clone();
                groups.entry(member.consumer.0).or_default().push(name);
            }
        }
        let mut of_acls: AHashMap<String, Arc<str>> = AHashMap::new();
        for acl in cx.config.entities("acls") {
            let fields = acl.set_fields();
            let consumer = fields["consumer"]["id"].as_str().and_then(|id| Uuid::try_parse(id).ok());
            let (Some(consumer), Some(name)) = (consumer, fields["group"].as_str()) else { continue };
            let known = names.get(name).cloned();
            let name = known
                .unwrap_or_else(|| of_acls.entry(name.to_owned()).or_insert_with(|| Arc::from(name)).clone());
            let known = groups.entry(consumer).or_default();
            if !known.contains(&name) {
                known.push(name);
            }
        }
        Ok(Self(groups.into_iter().map(|(id, groups)| (id, groups.into_boxed_slice())).collect()))
    }
}
