//! A configuration that checked: typed entities, and every entity as the JSON that the Admin API shows.

use std::fmt;
use std::sync::Arc;

use ahash::{AHashMap, RandomState};
use hashbrown::HashTable;
use serde::{Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::courtesy::free;
use crate::entity::{
    CaCertificate, Certificate, Consumer, ConsumerGroup, ConsumerGroupConsumer, EntitySchema, Key, KeySet,
    PluginRow, Route, Service, Sni, Target, Upstream, Vault,
};
use crate::node::Span;
use crate::problem::Problem;
use crate::schema::{Blueprint, Field, Held, Packed, Part, Reading, Record, ValueError};
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

/// An entity as it is kept: the fields that are set, packed. The complete form takes many times the memory, and only a
/// few are looked at together.
#[derive(Debug)]
pub struct Stored {
    /// Its identity.
    pub id: Uuid,
    /// Where it stands in the document.
    pub span: Span,
    blueprint: Arc<Blueprint>,
    fields: Packed,
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
    pub blueprint: Arc<Blueprint>,
    pub entities: Vec<Stored>,
    /// The number of the field that may stand for the id.
    pub endpoint: Option<usize>,
    /// Places among the entities.
    pub by_id: HashTable<u32>,
    pub by_endpoint_key: HashTable<u32>,
    pub hasher: RandomState,
}

impl Collection {
    /// Makes room for so many entities.
    pub fn reserve(&mut self, count: usize) {
        self.entities.reserve_exact(count);
        self.by_id.reserve(count, |_| 0);
        if self.endpoint.is_some() {
            self.by_endpoint_key.reserve(count, |_| 0);
        }
    }

    pub fn add(&mut self, entity: Stored) {
        let place = self.entities.len() as u32;
        self.entities.push(entity);
        let Self { entities, endpoint, by_id, by_endpoint_key, hasher, .. } = self;
        let entity = &entities[place as usize];
        let hash = |place: &u32| hasher.hash_one(entities[*place as usize].id);
        by_id.insert_unique(hasher.hash_one(entity.id), place, hash);
        let key = |place: u32| entities[place as usize].fields.text_bytes((*endpoint)?);
        let Some(own) = key(place) else { return };
        let hash = |place: &u32| hasher.hash_one(key(*place).unwrap_or_default());
        match by_endpoint_key.find_mut(hasher.hash_one(own), |other| key(*other) == Some(own)) {
            // Where a key may repeat, it means the last one.
            Some(other) => *other = place,
            None => {
                by_endpoint_key.insert_unique(hasher.hash_one(own), place, hash);
            }
        }
    }

    fn by_id(&self, id: Uuid) -> Option<usize> {
        let place =
            self.by_id.find(self.hasher.hash_one(id), |place| self.entities[*place as usize].id == id);
        place.map(|place| *place as usize)
    }

    fn by_endpoint_key(&self, key: &str) -> Option<usize> {
        let endpoint = self.endpoint?;
        let key = key.as_bytes();
        let same = |place: &u32| self.entities[*place as usize].fields.text_bytes(endpoint) == Some(key);
        self.by_endpoint_key.find(self.hasher.hash_one(key), same).map(|place| *place as usize)
    }
}

impl Stored {
    pub(super) fn new(id: Uuid, span: Span, blueprint: &Arc<Blueprint>, fields: Packed) -> Self {
        Self { id, span, blueprint: Arc::clone(blueprint), fields }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Field, Held<'_>)> {
        self.blueprint.all(self.id, &self.fields)
    }

    /// One field; null when it is not set, or there is no such field.
    #[must_use]
    pub fn field(&self, name: &str) -> Value {
        let index = self.blueprint.index(name);
        index.map_or(Value::Null, |index| self.blueprint.held(self.id, &self.fields, index).to_value())
    }

    /// Whether the foreign key in `field` is `id`.
    #[must_use]
    pub fn refers_to(&self, field: &str, id: Uuid) -> bool {
        let index = self.blueprint.index(field);
        index.and_then(|index| self.fields.part(index)) == Some(Part::Reference(id))
    }

    /// The fields that are set.
    #[must_use]
    pub fn set_fields(&self) -> Value {
        let set = self.all().filter(|(_, held)| !held.is_null());
        Value::Object(set.map(|(field, held)| (field.name.to_owned(), held.to_value())).collect())
    }

    /// The same as JSON text: the form of log lines.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.blueprint.text(self.id, &self.fields)
    }

    /// All its fields.
    #[must_use]
    pub fn complete(&self) -> Entity {
        let fields = self.shown().map(|(field, held)| (field.name.to_owned(), held.to_value())).collect();
        Entity { id: self.id, value: Value::Object(fields), span: self.span }
    }

    fn shown(&self) -> impl Iterator<Item = (&Field, Held<'_>)> {
        self.all().filter(|(field, held)| !field.extension || !held.is_null())
    }
}

/// The same as [`Stored::complete`], without building it: for where there may be very many.
impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown().map(|(field, held)| (field.name, held)))
    }
}

impl Config {
    /// Whether there was no document at all; one without entities is a configuration.
    pub fn is_none(&self) -> bool {
        self.format_version.is_empty()
    }

    /// Frees the configuration, letting others have the core meanwhile.
    pub fn free(self) {
        free(self.services);
        free(self.routes);
        free(self.upstreams);
        free(self.targets);
        free(self.consumers);
        free(self.consumer_group_consumers);
        free(self.groups);
        free(self.plugins);
        free(self.with_secrets);
        for collection in self.collections {
            free(collection.entities);
        }
    }

    /// The entities of a collection such as `routes` or `keyauth_credentials`; none when there is no such collection.
    pub fn entities(&self, collection: &str) -> &[Stored] {
        self.collection(collection).map_or(&[], |collection| &collection.entities)
    }

    /// The entity of that id, complete.
    pub fn entity(&self, collection: &str, id: Uuid) -> Option<Entity> {
        let collection = self.collection(collection)?;
        collection.by_id(id).map(|index| collection.entities[index].complete())
    }

    /// An entity in its typed form, with secrets in place of references: what runs, and is never shown.
    ///
    /// # Errors
    /// When the entity is not what its type says, which loading rules out.
    pub fn typed<T: Record>(&self, entity: &Stored) -> Result<T, ValueError> {
        match self.with_secrets.get(&entity.id) {
            Some(Sealed(value)) => T::from_value(value),
            None => T::read(&mut Reading::kept(&entity.blueprint, entity.id, &entity.fields)),
        }
    }

    /// A message about this configuration, with references in place of secrets.
    #[must_use]
    pub fn without_secrets(&self, message: String) -> String {
        without_secrets(&self.secrets, message)
    }

    /// What is set of the entity of that id, as JSON text: the form of log lines.
    pub fn entity_text(&self, collection: &str, id: Uuid) -> Option<String> {
        let collection = self.collection(collection)?;
        collection.by_id(id).map(|index| collection.entities[index].to_text())
    }

    /// The entity that `key` means, complete: its id or its endpoint key (a name, in most collections).
    pub fn find(&self, collection: &str, key: &str) -> Option<Entity> {
        if let Some(entity) = Uuid::try_parse(key).ok().and_then(|id| self.entity(collection, id)) {
            return Some(entity);
        }
        let collection = self.collection(collection)?;
        collection.by_endpoint_key(key).map(|index| collection.entities[index].complete())
    }

    /// The schemas of all collections, those of plugins included.
    pub fn schemas(&self) -> impl Iterator<Item = &EntitySchema> {
        self.collections.iter().map(|collection| &collection.blueprint.schema)
    }

    /// The schema of a collection.
    pub fn schema(&self, collection: &str) -> Option<&EntitySchema> {
        self.collection(collection).map(|collection| &collection.blueprint.schema)
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
        collection.by_endpoint_key(name).map(|index| &self.upstreams[index])
    }

    /// The groups that a consumer belongs to, in the order of the document.
    pub fn groups_of(&self, consumer: Uuid) -> &[Uuid] {
        self.groups.get(&consumer).map_or(&[], Vec::as_slice)
    }

    fn position(&self, collection: &str, id: Uuid) -> Option<usize> {
        self.collection(collection)?.by_id(id)
    }

    fn collection(&self, name: &str) -> Option<&Collection> {
        self.by_name.get(name).map(|index| &self.collections[*index])
    }
}
