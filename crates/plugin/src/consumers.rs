//! The consumers of a configuration, by the names that those who prove who callers are have for them.

use std::sync::Arc;

use model::courtesy::{Table, offering};
use model::entity::Consumer;

use crate::build::{Build, BuildError};

/// What a name may be of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Username,
    UsernameInAnyCase,
    CustomId,
    Id,
}

type Names = Table<Box<str>, Arc<Consumer>>;

/// Consumers by one of their names; shared by all instances that look for it.
struct Index<const BY: usize>(Arc<Names>);

/// How a consumer is found.
pub struct Consumers(Vec<(By, Arc<Names>)>);

impl By {
    fn name(self, consumer: &Consumer) -> Option<Box<str>> {
        match self {
            Self::Username => consumer.username.as_deref().map(Box::from),
            Self::UsernameInAnyCase => consumer.username.as_deref().map(|name| name.to_lowercase().into()),
            Self::CustomId => consumer.custom_id.as_deref().map(Box::from),
            Self::Id => Some(consumer.id.to_string().into()),
        }
    }

    fn index(self, cx: &Build<'_>) -> Result<Arc<Names>, BuildError> {
        Ok(match self {
            Self::Username => cx.shared(|cx| Ok(Index::<0>(self.names(cx))))?.0.clone(),
            Self::UsernameInAnyCase => cx.shared(|cx| Ok(Index::<1>(self.names(cx))))?.0.clone(),
            Self::CustomId => cx.shared(|cx| Ok(Index::<2>(self.names(cx))))?.0.clone(),
            Self::Id => cx.shared(|cx| Ok(Index::<3>(self.names(cx))))?.0.clone(),
        })
    }

    fn names(self, cx: &Build<'_>) -> Arc<Names> {
        let named = |consumer: &Arc<Consumer>| Some((self.name(consumer)?, consumer.clone()));
        let consumers = offering(1_000, cx.config.consumers.iter());
        Arc::new(consumers.filter_map(named).collect())
    }
}

impl Consumers {
    /// Those whose names of the kinds `by` (`id`, `username`, `custom_id`) are looked at, in that order.
    ///
    /// # Errors
    /// None; the signature is that of [`Build::shared`].
    pub fn new(by: &[String], ignore_case: bool, cx: &Build<'_>) -> Result<Self, BuildError> {
        let kind = |name: &String| match name.as_str() {
            "id" => By::Id,
            "custom_id" => By::CustomId,
            _ if ignore_case => By::UsernameInAnyCase,
            _ => By::Username,
        };
        let indexes = by.iter().map(kind).map(|by| Ok((by, by.index(cx)?)));
        Ok(Self(indexes.collect::<Result<_, _>>()?))
    }

    /// The consumer that `name` names, in the order of the configuration.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.0.iter().find_map(|(by, names)| match by {
            By::UsernameInAnyCase => names.get(name.to_lowercase().as_str()),
            _ => names.get(name),
        })
    }
}
