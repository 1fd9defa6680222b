//! A certificate that is shown to servers, with its private key. No form of it can be printed.

use std::fmt;
use std::sync::Arc;

use model::entity::Certificate;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::build::{Build, BuildError};
use crate::remember::Digest;

/// Sessions with servers that are kept to be resumed.
const SESSIONS: usize = 32;

/// A chain with its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    chain: String,
    key: String,
}

impl OwnCertificate {
    /// The first pair of the entity with that id, which the field `field` of a configuration names.
    ///
    /// # Errors
    /// There is none.
    pub fn named(cx: &Build<'_>, field: &str, id: &str) -> Result<Self, BuildError> {
        let named = |entity: &&Arc<Certificate>| entity.id.to_string().eq_ignore_ascii_case(id);
        let found = cx.config.certificates.iter().find(named);
        let found =
            found.ok_or_else(|| BuildError::new(field, "names no certificate of the configuration"))?;
        Ok(Self { chain: found.cert.clone(), key: found.key.clone() })
    }

    /// How TLS is spoken by who shows it. Sessions are not shared with others.
    pub(super) fn shown_with(&self, plain: &ClientConfig) -> Result<Arc<ClientConfig>, String> {
        let unusable = |_| "the certificate that is to be shown cannot be used".to_owned();
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(unusable)?;
        let key = plain.crypto_provider().key_provider.load_private_key(key);
        let key =
            key.map_err(|_| "the key of the certificate that is to be shown cannot be used".to_owned())?;
        let mut config = plain.clone();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(config))
    }
}

/// Tells one from another, and nothing else: clients are kept by it.
impl fmt::Debug for OwnCertificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = Digest::of([self.chain.as_bytes(), self.key.as_bytes()]);
        out.debug_tuple("OwnCertificate").field(&digest).finish()
    }
}
