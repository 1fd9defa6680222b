//! Whose certificates clients are told to choose from when they are asked for one, by the server name. Compiled at reload.

use std::sync::Arc;

use ahash::AHashSet;
use model::{Config, PluginRow, Uuid};
use plugin::Definition;
use plugin::exchange::Demand;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{DistinguishedName, RootCertStore, ServerConfig};

use super::certificate::Choice;
use super::demands::{Names, names_of};
use super::keeper::{Keeper, Manner};
use super::offer::Offer;

/// Bytes of all names in a handshake: the list has two bytes for its length, and others follow it (RFC 8446 4.2.4).
const MOST_BYTES: usize = 48 << 10;

/// What clients are told, by the server name that they ask for.
#[derive(Default)]
pub struct Hints {
    all: Vec<Hint>,
    manners: Vec<Manner>,
}

/// What the clients of some names are told.
struct Hint {
    /// None is all names.
    of: Option<Names>,
    authorities: Arc<[DistinguishedName]>,
}

impl Hints {
    /// What the plugins of `config` want clients to be told, beside the names of those that the operator's settings believe.
    pub fn compile(config: &Config, definitions: &[&'static dyn Definition], keeper: &Keeper) -> Self {
        let mut all = Vec::new();
        for row in config.plugins.iter().filter(|row| row.enabled) {
            let definition = definitions.iter().find(|definition| definition.name() == row.name);
            let told = definition.map(|definition| definition.tells_authorities(row)).unwrap_or_default();
            if !told.is_empty() {
                all.push(Hint::of(config, row, &told, keeper.believed().names()));
            }
        }
        if all.is_empty() {
            return Self::default();
        }
        // Without randomness there were no certificates to be shown either.
        Self { all, manners: keeper.manners().unwrap_or_default() }
    }

    /// What clients that ask for `name` are told, if it is not the usual.
    pub fn of(&self, name: Option<&[u8]>, demand: Demand) -> Option<Arc<[DistinguishedName]>> {
        if self.all.is_empty() || demand == Demand::Nothing {
            return None;
        }
        let is_for = |hint: &&Hint| match (&hint.of, name) {
            (None, _) => true,
            (Some(names), Some(name)) => names.has(name),
            (Some(_), None) => false,
        };
        let mut fitting = self.all.iter().filter(is_for);
        let first = fitting.next()?;
        let mut together = fitting.flat_map(|hint| hint.authorities.iter()).peekable();
        if together.peek().is_none() {
            return Some(first.authorities.clone());
        }
        Some(bounded(first.authorities.iter().chain(together)))
    }

    /// What rustls has to do so that clients are told these names.
    pub fn config(
        &self,
        choice: Arc<Choice>,
        (demand, offer): (Demand, Offer),
        names: &Arc<[DistinguishedName]>,
    ) -> Option<Arc<ServerConfig>> {
        let manner = self.manners.iter().find(|manner| manner.demand == demand)?;
        let mut config = manner.config(choice, names).ok()?;
        config.alpn_protocols = offer.protocols();
        Some(Arc::new(config))
    }
}

impl Hint {
    fn of(config: &Config, row: &PluginRow, told: &[String], usual: &Arc<[DistinguishedName]>) -> Self {
        let mut store = RootCertStore::empty();
        for id in told.iter().filter_map(|id| Uuid::try_parse(id).ok()) {
            let entity = config.ca_certificates.iter().find(|entity| entity.id == id);
            let read = entity.map(|entity| CertificateDer::from_pem_slice(entity.cert.as_bytes()));
            // One that cannot be read is reported by the plugin.
            store.add_parsable_certificates(read.and_then(Result::ok));
        }
        let of = names_of(config, row).map(|names| {
            let mut own = Names::default();
            names.iter().for_each(|name| own.add(name));
            own
        });
        Self { of, authorities: bounded(store.subjects().iter().chain(usual.iter())) }
    }
}

/// Each name once; none at all where they are too many for a handshake, so that clients choose from everything.
fn bounded<'a>(all: impl Iterator<Item = &'a DistinguishedName>) -> Arc<[DistinguishedName]> {
    let mut seen: AHashSet<&[u8]> = AHashSet::new();
    let mut names = Vec::new();
    for name in all {
        if seen.insert(name.as_ref()) {
            names.push(name.clone());
        }
    }
    let bytes: usize = names.iter().map(|name: &DistinguishedName| name.as_ref().len() + 2).sum();
    if bytes > MOST_BYTES { Arc::from([]) } else { names.into() }
}
