//! The authorities that the operator's settings believe about servers, and connections of plugins made by them.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

use super::provider;
use super::settings::{TlsSettings, Trusted, Versions};
use super::verify::Verifier;

/// The authorities. Read when first needed: the system's are a large file.
pub struct Roots {
    sources: Vec<Trusted>,
    store: OnceLock<Arc<RootCertStore>>,
}

impl Roots {
    /// Those in `sources`.
    pub fn new(sources: Vec<Trusted>) -> Self {
        Self { sources, store: OnceLock::new() }
    }

    /// All of them.
    pub fn store(&self) -> &Arc<RootCertStore> {
        self.store.get_or_init(|| {
            let mut store = RootCertStore::empty();
            for trusted in &self.sources {
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

    /// How a plugin speaks TLS with a server of its own, believing these authorities or anybody.
    ///
    /// # Errors
    /// When rustls cannot speak it.
    pub fn client_config(&self, verify: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
        let verifier = match verify {
            true => Verifier::Authorities { roots: self.store().clone(), depth: None },
            false => Verifier::Anyone,
        };
        let config = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(Versions::Both.supported())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// How a server is spoken with before there is a gateway, believing those that the settings trust about servers.
///
/// # Errors
/// When TLS cannot be spoken.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, String> {
    Roots::new(settings.trusted.clone()).client_config(true).map_err(|error| error.to_string())
}

fn add_system(store: &mut RootCertStore) {
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("the system has no certificates of authorities: no service can be verified by them");
    }
}
