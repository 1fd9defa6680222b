//! What upstreams and clients are told of sessions.

use plugin::Headers;
use plugin::web_session::{Opened, Property, Sessions};

/// What one of them is told.
pub(super) struct SessionTold {
    properties: Vec<Property>,
    /// A header with the id, beside that of the property.
    id_header: Option<String>,
}

impl SessionTold {
    /// `names` are properties as Kong calls them.
    pub(super) fn new(names: Option<&[String]>, id_header: Option<&str>) -> Self {
        let properties = names.unwrap_or_default().iter().filter_map(|name| Property::named(name));
        let id_header = id_header.filter(|name| !name.is_empty());
        Self { properties: properties.collect(), id_header: id_header.map(str::to_owned) }
    }

    /// Takes out what others say of a session.
    pub(super) fn clear(&self, headers: &mut Headers) {
        for property in &self.properties {
            headers.remove(property.field());
        }
        if let Some(name) = &self.id_header {
            headers.remove(name);
        }
    }

    /// Tells of a session, in place of what others say.
    pub(super) fn tell(&self, sessions: &Sessions, opened: &Opened, now_s: u64, headers: &mut Headers) {
        sessions.tell(opened, &self.properties, now_s, headers);
        if let Some(name) = &self.id_header {
            headers.set(name, opened.id().as_bytes());
        }
    }
}
