//! CA certificates: whom the gateway trusts.

crate::entity! {
    /// A certificate authority that may be trusted.
    pub struct CaCertificate in "ca_certificates" {
        /// The one certificate, PEM.
        cert: String, [pem_single_certificate()];
        /// The SHA-256 digest of the certificate, hexadecimal.
        cert_digest: Option<String>, [unique(), matches("^[0-9a-fA-F]{64}$")];
    }
    admin: ("ca_certificates", "ca_certificates")
    cache_key: ["cert_digest"]
}
