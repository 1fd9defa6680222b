//! `/tags` and `/tags/{tag}`: who carries which tag.

use model::{Config, Uuid};
use serde_json::{Value, json};

use crate::call::Call;
use crate::page::{Item, page, tags_of};
use crate::reply::Reply;

struct Carrier {
    tag: String,
    entity_name: &'static str,
    entity_id: Uuid,
}

impl Item for Carrier {
    fn id(&self) -> Uuid {
        self.entity_id
    }

    fn show(&self) -> Value {
        json!({ "tag": self.tag, "entity_name": self.entity_name, "entity_id": self.entity_id.to_string() })
    }
}

/// Every tag with its entity, or those of one tag.
pub fn list(call: &Call, config: &Config, tag: Option<&str>) -> Reply {
    let mut carriers = Vec::new();
    for schema in config.schemas() {
        for entity in config.entities(schema.name) {
            let tags = tags_of(entity).into_iter().filter(|own| tag.is_none_or(|tag| own == tag));
            carriers.extend(tags.map(|tag| Carrier { tag, entity_name: schema.name, entity_id: entity.id }));
        }
    }
    page(call, &carriers)
}
