//! The limits of a snapshot with whom they are for, so that somebody can tell callers how they stand.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::{AHashMap, AHashSet};
use uuid::Uuid;

use super::peek::Readable;
use crate::build::{Build, BuildError};
use crate::exchange::Matched;
use crate::views::Access;

type Members = Arc<AHashSet<Uuid>>;
type Choice = Box<dyn Fn(&Access<'_>) -> Vec<Arc<dyn Readable>> + Send + Sync>;

/// The limits that the rooms of one configuration have registered, in the order of the document.
#[derive(Default)]
pub struct Register(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: Vec<Arc<Entry>>,
    members: AHashMap<Uuid, Members>,
}

/// An instance with limits.
pub struct Entry {
    /// The plugin's name.
    pub plugin: &'static str,
    /// The instance's name, or else its id.
    pub instance: String,
    route: Option<Uuid>,
    service: Option<Uuid>,
    consumer: Option<Uuid>,
    group: Option<Members>,
    choice: Choice,
}

impl Register {
    /// The instances that may decide about requests of `matched`, or, without it, about those of routes and services that
    /// have no instance of their own; the one that goes before others first (kong.md 1.9).
    #[must_use]
    pub fn entries_for(&self, matched: Option<&Matched>) -> Vec<Arc<Entry>> {
        let route = matched.map(|matched| matched.route.id);
        let service = matched.and_then(|matched| matched.service.as_ref()).map(|service| service.id);
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.clone();
        let is_for = |own: Option<Uuid>, asked: Option<Uuid>| own.is_none() || own == asked;
        let mut entries: Vec<_> = all
            .into_iter()
            .filter(|entry| is_for(entry.route, route) && is_for(entry.service, service))
            .collect();
        entries.sort_by_key(|entry| entry.precedence());
        entries
    }
}

impl Entry {
    /// Whether it may decide about requests of that consumer.
    #[must_use]
    pub fn is_for(&self, consumer: Option<Uuid>) -> bool {
        let is_member = |members: &Members| consumer.is_some_and(|consumer| members.contains(&consumer));
        match (self.consumer, &self.group) {
            (Some(own), _) => Some(own) == consumer,
            (None, Some(members)) => is_member(members),
            (None, None) => true,
        }
    }

    /// The kinds of entities that it is limited to.
    #[must_use]
    pub fn scope(&self) -> Vec<&'static str> {
        let kinds = [
            ("route", self.route.is_some()),
            ("service", self.service.is_some()),
            ("consumer", self.consumer.is_some()),
            ("consumer_group", self.consumer.is_none() && self.group.is_some()),
        ];
        kinds.into_iter().filter(|(_, limited)| *limited).map(|(kind, _)| kind).collect()
    }

    /// Its limits for the request's caller, several where it has names for them.
    #[must_use]
    pub fn limits(&self, cx: &Access<'_>) -> Vec<Arc<dyn Readable>> {
        (self.choice)(cx)
    }

    /// The less, the more specific.
    fn precedence(&self) -> u8 {
        let (consumer, group) = (self.consumer.is_some(), self.group.is_some());
        match (self.route.is_some(), self.service.is_some()) {
            (true, true) if consumer => 0,
            (true, true) if group => 1,
            (true, false) if consumer => 2,
            (false, true) if consumer => 3,
            (true, false) if group => 4,
            (false, true) if group => 5,
            (true, true) => 6,
            (false, false) if consumer => 7,
            (false, false) if group => 8,
            (true, false) => 9,
            (false, true) => 10,
            (false, false) => 11,
        }
    }
}

impl Build<'_> {
    /// The limits of this configuration. What is in it is known once every room has been built.
    ///
    /// # Errors
    /// None of its own.
    pub fn limits(&self) -> Result<Arc<Register>, BuildError> {
        self.shared(|_| Ok(Register::default()))
    }

    /// Registers the limits of the instance that is being built; `choice` tells which ones hold for a request.
    ///
    /// # Errors
    /// None of its own.
    pub fn register_limits(
        &self,
        plugin: &'static str,
        choice: impl Fn(&Access<'_>) -> Vec<Arc<dyn Readable>> + Send + Sync + 'static,
    ) -> Result<(), BuildError> {
        let register = self.limits()?;
        let mut inner = register.0.lock().unwrap_or_else(PoisonError::into_inner);
        let group = self.row.consumer_group.map(|group| {
            let members = inner.members.entry(group);
            members.or_insert_with(|| Arc::new(self.members(group))).clone()
        });
        let instance = self.row.instance_name.clone().unwrap_or_else(|| self.row.id.to_string());
        let (route, service, consumer) = (self.row.route, self.row.service, self.row.consumer);
        let choice = Box::new(choice);
        inner.entries.push(Arc::new(Entry { plugin, instance, route, service, consumer, group, choice }));
        Ok(())
    }

    fn members(&self, group: Uuid) -> AHashSet<Uuid> {
        let memberships = self.config.consumer_group_consumers.iter();
        let of_group = memberships.filter(|membership| membership.consumer_group.0 == group);
        of_group.map(|membership| membership.consumer.0).collect()
    }
}
