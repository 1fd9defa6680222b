//! Fields that cannot be honoured: each but its default is refused by its name.

use plugin::record;

use super::nested::{CertificateHeader, Principals};
use super::only_defaults;

record! {
    /// What is not available in this version.
    #[allow(dead_code)]
    pub struct Unavailable {
        /// Argument with the caller's ID token.
        id_token_param_name: Option<String>;
        /// Where the caller's ID token is looked for.
        id_token_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Ask others for claims that the token only points to.
        resolve_distributed_claims: bool = false;
        /// Check the settings against the discovery document.
        verify_parameters: bool = false;
        /// Sessions that share a cookie must be of the same subject.
        session_enforce_same_subject: bool = false;
        /// The client's certificate comes in a header.
        proof_of_possession_mtls_from_header: Option<CertificateHeader>;
        /// Principals in place of consumers.
        principals: Principals;
        /// Proxy for requests to the provider.
        http_proxy: Option<String>;
        /// How to sign in to that proxy.
        http_proxy_authorization: Option<String>, [referenceable()];
        /// Proxy for requests to the provider over TLS.
        https_proxy: Option<String>;
        /// How to sign in to that proxy.
        https_proxy_authorization: Option<String>, [referenceable()];
        /// Hosts that no proxy is used for.
        no_proxy: Option<String>;
        /// Header in which the key of the token goes upstream.
        upstream_access_token_jwk_header: Option<String>;
        /// Header in which the key of the ID token goes upstream.
        upstream_id_token_jwk_header: Option<String>;
        /// Header in which the session's id goes upstream.
        upstream_session_id_header: Option<String>;
        /// Header in which the client gets the key of the token.
        downstream_access_token_jwk_header: Option<String>;
        /// Header in which the client gets the key of the ID token.
        downstream_id_token_jwk_header: Option<String>;
        /// Header in which the client gets the session's id.
        downstream_session_id_header: Option<String>;
    }
    checks: [custom_fields(only_defaults::<Unavailable>)]
}
