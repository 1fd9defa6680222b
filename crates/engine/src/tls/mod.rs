//! TLS, on both sides: certificates shown to clients, and trust in services. rustls on aws-lc-rs does the work.
//!
//! Towards clients: [`accept`] reads the `ClientHello`, asks the [`Terminator`] of the newest snapshot which
//! certificate belongs to the server name and whether the client has to show one, and finishes the handshake. Towards services: a [`Trust`] says whom to
//! believe and what to show. What outlives a reload is in the [`Keeper`]. No private key is ever printed.

mod accept;
mod beside;
mod certificate;
mod clients;
mod default_certificate;
mod demands;
mod fingerprint;
mod hints;
mod keeper;
mod offer;
mod roots;
mod seldom;
mod settings;
mod staple;
mod stream;
mod terminator;
mod tickets;
mod trust;
mod verify;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use accept::{Handshakes, Pending, accept};
pub use beside::server_config;
pub use certificate::Pair;
pub use default_certificate::default_pairs;
pub use keeper::Keeper;
pub use offer::Offer;
pub use roots::client_config;
pub use seldom::Seldom;
pub use settings::{Authorities, TlsSettings, Trusted, Versions};
pub use stream::Secure;
pub use terminator::{Certificates, Terminator};
pub use trust::{Identity, Trust, Wanted};

/// The one provider of cryptography.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
}

#[cfg(test)]
pub mod tests {
    //! What tests need to see of the inside.

    use std::sync::Arc;

    use rustls::ServerConfig;

    pub use super::tickets::{Domain, LIFETIME};
    use super::{Keeper, Pair, certificate::Choice};

    /// Whether both are the same in memory: the second one has not been read again.
    pub fn is_same(one: &Pair, other: &Pair) -> bool {
        Arc::ptr_eq(&one.plain, &other.plain)
    }

    /// A server of a trust domain.
    pub fn server_config(keeper: &Keeper, pair: Pair, domain: &Domain) -> ServerConfig {
        keeper.server_config(Arc::new(Choice::new(vec![pair])), domain).unwrap()
    }
}
