//! A configuration as a document for people: what became of each entity, with a mask in place of every literal secret.
//!
//! It is made of what is kept, not of the text that was read: comments, and whatever else in a text has no meaning, may hold
//! secrets as well.

use ahash::AHashMap;
use serde_json::{Map, Value};

use super::config::{Collection, Config, Stored};
use super::{Catalog, PluginSchema};
use crate::courtesy::offering;
use crate::schema::Held;
use crate::yaml::block;

/// Plugins by their names.
type Plugins<'c> = AHashMap<&'static str, &'c PluginSchema>;

impl Config {
    /// The configuration as a document in YAML, with [`MASK`](crate::MASK) in place of literal secrets; empty where there
    /// is none. Without secrets it stands for the same entities. `catalog` is the one that it was read with.
    #[must_use]
    pub fn shown(&self, catalog: &Catalog) -> String {
        if self.is_none() {
            return String::new();
        }
        let plugins: Plugins<'_> = catalog.plugins.iter().map(|plugin| (plugin.name, plugin)).collect();
        // Entities are kept in the form of today, with hashes in place of passwords.
        let mut text = String::from("_format_version: \"3.0\"\n_transform: false\n");
        for Collection { blueprint, entities, .. } in &self.collections {
            let schema = &blueprint.schema;
            if !entities.is_empty() {
                text.push_str(schema.name);
                text.push_str(":\n");
            }
            for entity in offering(4_000, entities.iter()) {
                let mut fields = given(entity);
                if schema.name == "plugins" {
                    settle(&mut fields, &plugins);
                }
                block::element(&mut text, &fields, 1);
            }
        }
        text
    }
}

/// The fields that are set, rather than being what they are in every entity.
fn given(entity: &Stored) -> Map<String, Value> {
    let given = entity.all().filter_map(|(field, held)| match held {
        Held::Given(part) if !held.is_null() => Some((field, part)),
        _ => None,
    });
    given.map(|(field, part)| (field.name.to_owned(), field.element.shown(part.to_value()))).collect()
}

/// Shows the settings in a row of a plugin, in which only the plugin's schema knows secrets.
fn settle(row: &mut Map<String, Value>, plugins: &Plugins<'_>) {
    let config = row.shift_remove("config");
    let Some(plugin) = row.get("name").and_then(|name| plugins.get(name.as_str()?)) else { return };
    let is_usual = |protocols: &Value| *protocols == plugin.protocols.iter().copied().collect::<Value>();
    if row.get("protocols").is_some_and(is_usual) {
        row.shift_remove("protocols");
    }
    if let Some(Value::Object(config)) = config {
        let config = plugin.config.shown(config);
        if !config.is_empty() {
            row.insert("config".to_owned(), Value::Object(config));
        }
    }
}
