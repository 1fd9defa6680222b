//! What of TLS outlives a reload: keys of tickets, sessions with services, the default certificate, the system's roots.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use ahash::AHashMap;
use rustls::server::NoServerSessionStorage;
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{Choice, Pair};
use super::provider;
use super::settings::{TlsSettings, Trusted};
use super::terminator::Shown;
use super::tickets::{Domain, Tickets};
use super::trust::{Fingerprint, Trust};

/// The parts of TLS that outlive reloads.
pub struct Keeper {
    settings: TlsSettings,
    tickets: Tickets,
    default: Option<Arc<Shown>>,
    client_certificate: Option<Arc<Choice>>,
    /// Read when first needed: it is a large file.
    trusted: OnceLock<Arc<RootCertStore>>,
    /// By what they come to, so that sessions and connections are kept where nothing changed.
    trusts: Mutex<AHashMap<Fingerprint, Weak<Trust>>>,
}

impl Keeper {
    /// Makes the default certificate ready.
    ///
    /// # Errors
    /// When there is no randomness for keys.
    pub fn new(settings: TlsSettings) -> Result<Self, rustls::Error> {
        let client = settings.client_certificate.clone();
        let mut keeper = Self {
            tickets: Tickets::default(),
            default: None,
            client_certificate: client.map(|pair| Arc::new(Choice::new(vec![pair]))),
            trusted: OnceLock::new(),
            trusts: Mutex::default(),
            settings,
        };
        if !keeper.settings.default_certificates.is_empty() {
            let pairs = keeper.settings.default_certificates.clone();
            keeper.default = Some(Arc::new(keeper.shown(pairs)?));
        }
        Ok(keeper)
    }

    /// For checking a configuration: nothing outside the process is looked at.
    ///
    /// # Errors
    /// When there is no randomness for keys.
    pub fn for_check() -> Result<Self, rustls::Error> {
        Self::new(TlsSettings { trusted: Vec::new(), ..TlsSettings::default() })
    }

    /// Whether certificates of services are checked that do not say so themselves.
    pub fn verifies_services(&self) -> bool {
        self.settings.verify_services
    }

    /// What is shown where no server name matches.
    pub(super) fn default_shown(&self) -> Option<Arc<Shown>> {
        self.default.clone()
    }

    /// What is shown to services that have no certificate of their own set.
    pub(super) fn client_certificate(&self) -> Option<&Arc<Choice>> {
        self.client_certificate.as_ref()
    }

    /// Makes pairs ready to be shown to clients.
    pub(super) fn shown(&self, pairs: Vec<Pair>) -> Result<Shown, rustls::Error> {
        let choice = Arc::new(Choice::new(pairs));
        Shown::new(&choice, |choice| self.server_config(choice, Domain::anyone()))
    }

    /// Nothing is stored per session: a ticket holds it, encrypted, at the client.
    pub(super) fn server_config(
        &self,
        choice: Arc<Choice>,
        domain: Domain,
    ) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(self.settings.versions.supported())?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(choice);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.settings.session_tickets {
            config.ticketer = self.tickets.of(domain)?;
        }
        // Each has its price, and clients open few connections at once.
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    /// The authorities that are believed about services which name none.
    pub(super) fn trusted(&self) -> &Arc<RootCertStore> {
        self.trusted.get_or_init(|| {
            let mut store = RootCertStore::empty();
            for trusted in &self.settings.trusted {
                match trusted {
                    Trusted::System => add_system(&mut store),
                    Trusted::Only(authorities) => {
                        store.add_parsable_certificates(authorities.0.iter().cloned());
                    }
                }
            }
            Arc::new(store)
        })
    }

    /// The trust that comes to `fingerprint`: one in use, or a new one.
    pub(super) fn trust(
        &self,
        fingerprint: Fingerprint,
        make: impl FnOnce() -> Result<Trust, rustls::Error>,
    ) -> Result<Arc<Trust>, rustls::Error> {
        let mut trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = trusts.get(&fingerprint).and_then(Weak::upgrade) {
            return Ok(known);
        }
        trusts.retain(|_, trust| trust.strong_count() > 0);
        let fresh = Arc::new(make()?);
        trusts.insert(fingerprint, Arc::downgrade(&fresh));
        Ok(fresh)
    }
}

fn add_system(store: &mut RootCertStore) {
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("the system has no certificates of authorities: no service can be verified by them");
    }
}
