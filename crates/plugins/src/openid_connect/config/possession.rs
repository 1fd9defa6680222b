//! Fields about certificates and keys that tokens are bound to, and that the gateway signs in with.

use plugin::record;

use super::nested::CertificateHeader;
use super::rules;

record! {
    /// Certificates and keys in place of secrets.
    pub struct Possession {
        /// Id of the certificate that the gateway shows to the provider, where it signs in with `tls_client_auth` or
        /// `self_signed_tls_client_auth`.
        tls_client_auth_cert_id: Option<String>;
        /// Check the provider's certificate where the gateway shows its own.
        tls_client_auth_ssl_verify: bool = true;
        /// Address for questions about tokens by who shows a certificate. Without it, `introspection_endpoint`, or else what
        /// the discovery document names for that.
        mtls_introspection_endpoint: Option<String>, [custom_value(rules::address)];
        /// Address for revocation by who shows a certificate. Without it, `revocation_endpoint`, or else what the discovery
        /// document names for that.
        mtls_revocation_endpoint: Option<String>, [custom_value(rules::address)];
        /// Address for tokens by who shows a certificate. Without it, `token_endpoint`, or else what the discovery document
        /// names for that.
        mtls_token_endpoint: Option<String>, [custom_value(rules::address)];
        /// Whether tokens have to be bound to the certificate that the client shows (RFC 8705): with `strict`, all; with
        /// `optional`, those that say so.
        proof_of_possession_mtls: String = "off", [one_of(&["off", "optional", "strict"])];
        /// The header in which a proxy in front passes on the client's certificate, in place of the one that the client shows
        /// to the gateway itself.
        proof_of_possession_mtls_from_header: Option<CertificateHeader>;
        /// Whether tokens have to come with a proof that the client holds their key (RFC 9449): with `strict`, all; with
        /// `optional`, those that say so.
        proof_of_possession_dpop: String = "off", [one_of(&["off", "optional", "strict"])];
        /// Refuse a configuration with methods that prove possession of nothing. Without it, callers who use them are not
        /// asked for proofs.
        proof_of_possession_auth_methods_validation: bool = true;
        /// Seconds that a DPoP proof is good for, and within which it cannot be used twice.
        dpop_proof_lifetime: f64 = 300, [between(1, 86_400)];
        /// Demand that DPoP proofs have a nonce that the gateway has given out.
        dpop_use_nonce: bool = false;
    }
}
