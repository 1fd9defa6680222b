//! What plugins bring with them: their schemas and their entities.

use serde_json::{Value, json};

use crate::entity::EntitySchema;
use crate::schema::RecordSchema;

/// Everything that a document may use beyond the model's own entities.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The plugins that may be used.
    pub plugins: Vec<PluginSchema>,
    /// Entities that plugins own, such as credentials.
    pub entities: Vec<EntitySchema>,
}

/// The description of a plugin.
#[derive(Debug, Clone)]
pub struct PluginSchema {
    /// The name that documents use.
    pub name: &'static str,
    /// Plugins of higher priority run first.
    pub priority: i64,
    /// Its settings.
    pub config: RecordSchema,
    /// What a row may be limited to.
    pub scopes: Scopes,
    /// The protocols it works on, unless a row names some of them.
    pub protocols: &'static [&'static str],
    /// Further ones that a row may name: those of layer 4.
    pub streams: &'static [&'static str],
}

/// What rows of a plugin may be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// A service.
    pub service: bool,
    /// A route.
    pub route: bool,
    /// A consumer.
    pub consumer: bool,
    /// A group of consumers.
    pub consumer_group: bool,
}

impl Scopes {
    /// Anything.
    pub const ALL: Self = Self { service: true, route: true, consumer: true, consumer_group: true };
    /// Anything but consumers and their groups, as for plugins that find out who the consumer is.
    pub const NO_CONSUMER: Self = Self { service: true, route: true, consumer: false, consumer_group: false };
}

impl PluginSchema {
    /// The protocols that a row may name.
    pub fn all_protocols(&self) -> impl Iterator<Item = &'static str> {
        self.protocols.iter().chain(self.streams).copied()
    }

    /// The schema of a row of this plugin as Kong's Admin API prints it under `/schemas/plugins/{name}`.
    pub fn to_kong_json(&self) -> Value {
        let scope = |allowed: bool, collection: &str| match allowed {
            true => json!({ "type": "foreign", "reference": collection }),
            false => json!({ "type": "foreign", "reference": collection, "eq": null }),
        };
        let mut config = self.config.to_kong_json();
        config["type"] = json!("record");
        config["required"] = json!(true);
        let protocols: Vec<&str> = self.all_protocols().collect();
        json!({ "fields": [
            { "route": scope(self.scopes.route, "routes") },
            { "service": scope(self.scopes.service, "services") },
            { "consumer": scope(self.scopes.consumer, "consumers") },
            { "consumer_group": scope(self.scopes.consumer_group, "consumer_groups") },
            { "protocols": { "type": "set", "required": true, "default": self.protocols,
                "elements": { "type": "string", "one_of": protocols } } },
            { "config": config },
        ] })
    }
}
