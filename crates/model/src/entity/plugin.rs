//! Plugins: a policy with its configuration, on the requests of some scope.

use std::fmt;

use serde_json::Value;
use uuid::Uuid;

use super::service::PROTOCOLS;
use crate::node::Span;
use crate::schema::{Reference, Set};

crate::entity! {
    /// A policy with its configuration, on the requests of a scope: those of a route, a service, a consumer, a group
    /// or any combination; without one, all.
    pub struct PluginEntity in "plugins" {
        /// Which plugin.
        name: String;
        /// A name of this row, to tell rows of one plugin apart.
        instance_name: Option<String>, [unique(), utf8_name()];
        /// Only requests of this route.
        route: Option<Reference>, [to("routes")];
        /// Only requests to this service.
        service: Option<Reference>, [to("services")];
        /// Only requests of this consumer.
        consumer: Option<Reference>, [to("consumers")];
        /// Only requests of members of this group.
        consumer_group: Option<Reference>, [to("consumer_groups")];
        /// The plugin's own settings.
        config: Value;
        /// The protocols it works on.
        protocols: Set<String>, [auto(), len_min(1), each(one_of(&PROTOCOLS))];
        /// A disabled row is as good as absent.
        enabled: bool = true;
    }
    endpoint_key: "instance_name"
    cache_key: ["name", "route", "service", "consumer", "consumer_group"]
}

/// A plugin's row, ready for whoever builds chains of plugins.
#[derive(Clone)]
pub struct PluginRow {
    /// The row's identity.
    pub id: Uuid,
    /// Which plugin.
    pub name: String,
    /// The row's own name.
    pub instance_name: Option<String>,
    /// Only requests of this route.
    pub route: Option<Uuid>,
    /// Only requests to this service.
    pub service: Option<Uuid>,
    /// Only requests of this consumer.
    pub consumer: Option<Uuid>,
    /// Only requests of members of this group.
    pub consumer_group: Option<Uuid>,
    /// The settings, complete.
    pub config: Value,
    /// Whether some of them are secrets, and stand as references in what is shown of the row.
    pub has_secrets: bool,
    /// Whether it runs at all.
    pub enabled: bool,
    /// The protocols it works on.
    pub protocols: Vec<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Where the row stands in the document.
    pub span: Span,
}

/// Settings may hold secrets.
impl fmt::Debug for PluginRow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PluginRow")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

impl PluginRow {
    /// The row of an entity that stands at `span`.
    pub fn new(entity: PluginEntity, has_secrets: bool, span: Span) -> Self {
        let scope = |reference: Option<Reference>| reference.map(|Reference(id)| id);
        Self {
            id: entity.id,
            name: entity.name,
            instance_name: entity.instance_name,
            route: scope(entity.route),
            service: scope(entity.service),
            consumer: scope(entity.consumer),
            consumer_group: scope(entity.consumer_group),
            config: entity.config,
            has_secrets,
            enabled: entity.enabled,
            protocols: entity.protocols.0,
            tags: entity.tags.map(|Set(tags)| tags).unwrap_or_default(),
            span,
        }
    }
}
