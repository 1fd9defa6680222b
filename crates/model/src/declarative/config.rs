//! A configuration that checked: typed entities, and every entity as the JSON that the Admin API shows.

use std::fmt;
use std::sync::Arc;

use ahash::AHashMap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::courtesy::{free, offering};
use crate::entity::{
    CaCertificate, Certificate, Consumer, ConsumerGroup, ConsumerGroupConsumer, EntitySchema, Key, KeySet,
    PluginRow, Route, Service, Sni, Target, Upstream, Vault,
};
use crate::node::Span;
use crate::problem::Problem;
use crate::schema::{Kind, RecordSchema};
use crate::secret::{Found, without_secrets};

/// A whole configuration. Entities stand in the order of the document.
#[derive(Debug, Default)]
pub struct Config {
    /// The document's format: `1.1`, `2.1` or `3.0`; empty for [`Config::default`].
    pub format_version: String,
    /// Whether values are still to be transformed (passwords hashed); false when the document holds hashes.
    pub transform: bool,
    /// MD5 of the text, 32 hexadecimal digits.
    pub hash: String,
    /// What works but deserves attention.
    pub warnings: Vec<Problem>,
    /// Where requests are sent.
    pub services: Vec<Arc<Service>>,
    /// Which requests go where.
    pub routes: Vec<Arc<Route>>,
    /// Virtual hosts.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Addresses behind upstreams.
    pub targets: Vec<Arc<Target>>,
    /// Who uses services.
    pub consumers: Vec<Arc<Consumer>>,
    /// Groups of consumers.
    pub consumer_groups: Vec<Arc<ConsumerGroup>>,
    /// Who belongs to which group.
    pub consumer_group_consumers: Vec<Arc<ConsumerGroupConsumer>>,
    /// Policies.
    pub plugins: Vec<Arc<PluginRow>>,
    /// Certificates with keys.
    pub certificates: Vec<Arc<Certificate>>,
    /// Server names of certificates.
    pub snis: Vec<Arc<Sni>>,
    /// Trusted authorities.
    pub ca_certificates: Vec<Arc<CaCertificate>>,
    /// Sets of keys.
    pub key_sets: Vec<Arc<KeySet>>,
    /// Keys.
    pub keys: Vec<Arc<Key>>,
    /// Stores of secrets.
    pub vaults: Vec<Arc<Vault>>,
    /// The secrets that its references stand for.
    pub secrets: Vec<Found>,
    /// Entities other than plugins that refer to secrets, as they run.
    pub(super) with_secrets: AHashMap<Uuid, Sealed>,
    pub(super) groups: AHashMap<Uuid, Vec<Uuid>>,
    pub(super) collections: Vec<Collection>,
    pub(super) by_name: AHashMap<&'static str, usize>,
}

/// An entity as Kong's Admin API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// Its identity.
    pub id: Uuid,
    /// All its fields; what is unset is null, a reference is `{"id": ...}`. Fields that Kong lacks are there if set.
    pub value: Value,
    /// Where it stands in the document.
    pub span: Span,
}

/// An entity as it is kept: the fields that are set, as JSON text. The complete form takes many times the memory, and
/// only a few are looked at together.
#[derive(Debug)]
pub struct Stored {
    /// Its identity.
    pub id: Uuid,
    /// Where it stands in the document.
    pub span: Span,
    schema: Arc<EntitySchema>,
    text: Box<str>,
}

/// An entity with its secrets, which are not printed.
pub(super) struct Sealed(pub Value);

impl fmt::Debug for Sealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(with secrets)")
    }
}

/// All entities of one kind.
#[derive(Debug)]
pub(super) struct Collection {
    pub schema: Arc<EntitySchema>,
    pub entities: Vec<Stored>,
    pub by_id: AHashMap<Uuid, usize>,
    pub by_endpoint_key: AHashMap<String, usize>,
}

impl Stored {
    /// Keeps an entity of which `fields` is the complete form.
    pub(super) fn new(id: Uuid, span: Span, schema: &Arc<EntitySchema>, fields: &Map<String, Value>) -> Self {
        let mut text = Vec::with_capacity(USUAL_TEXT);
        serde_json::to_writer(&mut text, &SetFields { fields, record: &schema.record, within: false })
            .expect("JSON can always be written to memory");
        let text = String::from_utf8(text).expect("JSON is UTF-8").into_boxed_str();
        Self { id, span, schema: Arc::clone(schema), text }
    }

    /// The fields that are set.
    #[must_use]
    pub fn set_fields(&self) -> Value {
        serde_json::from_str(&self.text).expect("written from a value")
    }

    /// Whether `text`, which holds nothing that JSON escapes, occurs anywhere in the entity. To look is much cheaper
    /// than to read.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// All its fields.
    #[must_use]
    pub fn complete(&self) -> Entity {
        let mut set = self.set_fields();
        let mut fields = Map::with_capacity(self.schema.record.fields.len());
        for field in &self.schema.record.fields {
            let value = set.get_mut(field.name).map_or(Value::Null, Value::take);
            if field.extension && value.is_null() {
                continue;
            }
            fields.insert(field.name.to_owned(), value);
        }
        Entity { id: self.id, value: Value::Object(fields), span: self.span }
    }
}

/// Room for the text of most entities, in bytes.
const USUAL_TEXT: usize = 512;

/// A record as it is kept: an entity without what is not set; within one, without fields that Kong does not have where
/// nobody has set them.
struct SetFields<'a> {
    fields: &'a Map<String, Value>,
    record: &'a RecordSchema,
    within: bool,
}

impl Serialize for SetFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.fields {
            let field = || self.record.fields.iter().find(|field| field.name == name);
            match value {
                Value::Null if !self.within || field().is_some_and(|field| field.extension) => {}
                Value::Object(fields) => match field().map(|field| &field.element.kind) {
                    Some(Kind::Record(record)) => {
                        map.serialize_entry(name, &SetFields { fields, record, within: true })?;
                    }
                    _ => map.serialize_entry(name, value)?,
                },
                _ => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

impl Config {
    /// Frees the configuration, letting others have the core meanwhile.
    pub fn free(self) {
        free(self.services);
        free(self.routes);
        free(self.upstreams);
        free(self.targets);
        free(self.consumers);
        free(self.plugins);
        for collection in self.collections {
            free(collection.entities);
            offering(100, collection.by_endpoint_key.into_iter()).for_each(drop);
        }
    }

    /// The entities of a collection such as `routes` or `keyauth_credentials`; none when there is no such collection.
    pub fn entities(&self, collection: &str) -> &[Stored] {
        self.collection(collection).map_or(&[], |collection| &collection.entities)
    }

    /// The entity of that id, complete.
    pub fn entity(&self, collection: &str, id: Uuid) -> Option<Entity> {
        let collection = self.collection(collection)?;
        collection.by_id.get(&id).map(|index| collection.entities[*index].complete())
    }

    /// The fields of an entity that are set, with secrets in place of references: what runs, and is never shown.
    #[must_use]
    pub fn running_fields(&self, entity: &Stored) -> Value {
        match self.with_secrets.get(&entity.id) {
            Some(Sealed(value)) => value.clone(),
            None => entity.set_fields(),
        }
    }

    /// A message about this configuration, with references in place of secrets.
    #[must_use]
    pub fn without_secrets(&self, message: String) -> String {
        without_secrets(&self.secrets, message)
    }

    /// What is set of the entity of that id, as JSON text: the form of log lines.
    pub fn entity_text(&self, collection: &str, id: Uuid) -> Option<&str> {
        let collection = self.collection(collection)?;
        collection.by_id.get(&id).map(|index| &*collection.entities[*index].text)
    }

    /// The entity that `key` means, complete: its id or its endpoint key (a name, in most collections).
    pub fn find(&self, collection: &str, key: &str) -> Option<Entity> {
        if let Some(entity) = Uuid::try_parse(key).ok().and_then(|id| self.entity(collection, id)) {
            return Some(entity);
        }
        let collection = self.collection(collection)?;
        collection.by_endpoint_key.get(key).map(|index| collection.entities[*index].complete())
    }

    /// The schemas of all collections, those of plugins included.
    pub fn schemas(&self) -> impl Iterator<Item = &EntitySchema> {
        self.collections.iter().map(|collection| &*collection.schema)
    }

    /// The schema of a collection.
    pub fn schema(&self, collection: &str) -> Option<&EntitySchema> {
        self.collection(collection).map(|collection| &*collection.schema)
    }

    /// The service of that id.
    pub fn service(&self, id: Uuid) -> Option<&Arc<Service>> {
        self.position("services", id).map(|index| &self.services[index])
    }

    /// The route of that id.
    pub fn route(&self, id: Uuid) -> Option<&Arc<Route>> {
        self.position("routes", id).map(|index| &self.routes[index])
    }

    /// The consumer of that id.
    pub fn consumer(&self, id: Uuid) -> Option<&Arc<Consumer>> {
        self.position("consumers", id).map(|index| &self.consumers[index])
    }

    /// The upstream of that name, which services use as host.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        let collection = self.collection("upstreams")?;
        collection.by_endpoint_key.get(name).map(|index| &self.upstreams[*index])
    }

    /// The groups that a consumer belongs to, in the order of the document.
    pub fn groups_of(&self, consumer: Uuid) -> &[Uuid] {
        self.groups.get(&consumer).map_or(&[], Vec::as_slice)
    }

    fn position(&self, collection: &str, id: Uuid) -> Option<usize> {
        self.collection(collection)?.by_id.get(&id).copied()
    }

    fn collection(&self, name: &str) -> Option<&Collection> {
        self.by_name.get(name).map(|index| &self.collections[*index])
    }
}
