//! What a room may use while it is made ready to run. Happens at reload, off the data path.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use model::courtesy::offering;
use model::entity::{Consumer, Entity};
use model::schema::Record;
use model::{Config, PluginRow};
use uuid::Uuid;

use crate::confidential::Confidential;
use crate::exchange::Matched;
use crate::remember::{Digest, Parts};
use crate::services::Services;

/// What is wrong with a plugin's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// Path of the field within the plugin entity, such as `config.redis.host`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl BuildError {
    /// A problem with the field at `field`.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for BuildError {}

/// Things the rooms of one snapshot share, such as the index of all API keys. Made on first use.
#[derive(Default)]
pub struct Shared {
    by_type: Mutex<AHashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    confidential: Arc<Confidential>,
}

impl Shared {
    /// The snapshot's one value of type `T`, if a room has asked for it.
    #[must_use]
    pub fn known<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let key = TypeId::of::<T>();
        let known = self.by_type.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.and_then(|any| any.downcast::<T>().ok())
    }
}

/// The context of a build.
pub struct Build<'a> {
    /// The whole configuration.
    pub config: &'a Config,
    /// The row being built.
    pub row: &'a PluginRow,
    /// The routes of the configuration by [`Matched::ordinal`].
    pub routes: &'a [Arc<Matched>],
    /// What outlives requests and reloads.
    pub services: &'a Arc<Services>,
    /// What the rooms of this snapshot share.
    pub shared: &'a Shared,
}

impl Build<'_> {
    /// The snapshot's one value of type `T`, made by `make` for the first room that asks.
    ///
    /// # Errors
    /// Whatever `make` reports.
    pub fn shared<T, F>(&self, make: F) -> Result<Arc<T>, BuildError>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Self) -> Result<T, BuildError>,
    {
        if let Some(found) = self.shared.known() {
            return Ok(found);
        }
        let made = Arc::new(make(self)?);
        let erased: Arc<dyn Any + Send + Sync> = made.clone();
        self.shared.by_type.lock().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), erased);
        Ok(made)
    }

    /// Where the rooms of this snapshot expect credentials.
    #[must_use]
    pub fn confidential(&self) -> &Arc<Confidential> {
        &self.shared.confidential
    }

    /// The routes whose requests the row is for, as far as that is known without a consumer.
    pub fn routes_in_scope(&self) -> impl Iterator<Item = &Matched> {
        let (route, service) = (self.row.route, self.row.service);
        self.routes.iter().map(AsRef::as_ref).filter(move |matched| {
            let of_service = |id| matched.service.as_ref().is_some_and(|service| service.id == id);
            route.is_none_or(|id| matched.route.id == id) && service.is_none_or(of_service)
        })
    }

    /// A digest of what the configuration says in the fields of `R`, secrets included: by what instances know whether they have the
    /// same settings. `Debug` would not tell, as it shows no secret and nothing that could be one.
    #[must_use]
    pub fn fingerprint<R: Record>(&self) -> Digest {
        let mut parts = Parts::default();
        for field in R::schema().fields {
            parts.add(field.name.as_bytes());
            parts.add(self.row.config[field.name].to_string().as_bytes());
        }
        parts.digest()
    }

    /// The entities of a kind that a room declared.
    ///
    /// # Errors
    /// When an entity is not what its schema says, which loading rules out.
    pub fn entities<T: Entity>(&self) -> Result<impl Iterator<Item = T>, BuildError> {
        let name = T::entity_schema().name;
        let stored = offering(500, self.config.entities(name).iter());
        let typed = stored.map(|entity| self.config.typed::<T>(entity));
        let typed = typed.map(|entity| entity.map_err(|problem| BuildError::new(name, problem.to_string())));
        // What a room does with one takes about as long as reading it.
        Ok(offering(1_000, typed.collect::<Result<Vec<_>, _>>()?.into_iter()))
    }

    /// A consumer by id.
    #[must_use]
    pub fn consumer(&self, id: Uuid) -> Option<Arc<Consumer>> {
        self.config.consumer(id).cloned()
    }

    /// A consumer by id or username, as the `anonymous` fields name it.
    #[must_use]
    pub fn consumer_named(&self, reference: &str) -> Option<Arc<Consumer>> {
        let found = self.config.find("consumers", reference)?;
        self.consumer(found.id)
    }
}
