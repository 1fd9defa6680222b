//! Certificates: what the gateway shows to clients, and to services that ask.

crate::entity! {
    /// A certificate with its private key, and for another key type a second pair.
    pub struct Certificate in "certificates" {
        /// The certificate chain, PEM.
        cert: String, [referenceable(), pem_certificate()];
        /// Its private key, PEM.
        key: String, [referenceable(), encrypted(), pem_key()];
        /// A second chain, of another key type.
        cert_alt: Option<String>, [referenceable(), pem_certificate()];
        /// The second private key.
        key_alt: Option<String>, [referenceable(), encrypted(), pem_key()];
    }
    checks: [mutually_required(&["cert_alt", "key_alt"])]
}
