//! Fields that cannot be honoured: each but its default is refused by its name.

use plugin::record;
use plugin::redis::fields::FullRedis;

use super::nested::{CertificateHeader, Principals, TokenExchange};
use super::{METHODS, only_defaults};

record! {
    /// What is not available in this version.
    #[allow(dead_code)]
    pub struct Unavailable {
        /// Argument by which a caller chooses one of several clients.
        client_arg: String = "client_id";
        /// Argument with the caller's ID token.
        id_token_param_name: Option<String>;
        /// Where the caller's ID token is looked for.
        id_token_param_type: Vec<String> = ["body", "header", "query"], [each(one_of(&["body", "header", "query"]))];
        /// Grants whose tokens are not verified.
        ignore_signature: Vec<String> = [], [each(one_of(&["authorization_code", "client_credentials", "introspection", "password", "refresh_token", "session", "userinfo"]))];
        /// Headers of the caller that are sent with requests for tokens.
        token_headers_client: Option<Vec<String>>;
        /// Grants whose answers' headers are sent to the client.
        token_headers_grants: Option<Vec<String>>, [each(one_of(&["authorization_code", "client_credentials", "password", "refresh_token"]))];
        /// What stands before the names of headers that the client gets.
        token_headers_prefix: Option<String>;
        /// Headers of the provider's answer that the client gets.
        token_headers_replay: Option<Vec<String>>;
        /// Arguments of the caller that are sent with requests for tokens.
        token_post_args_client: Option<Vec<String>>;
        /// Tokens are remembered by their scopes, too.
        token_cache_key_include_scope: bool = false;
        /// Seconds that an answer is used while the provider is down.
        cache_ttl_resurrect: Option<f64>;
        /// What kind of answer is asked for about users.
        userinfo_accept: String = "application/json", [one_of(&["application/json", "application/jwt"])];
        /// Headers of the caller sent with questions about users.
        userinfo_headers_client: Option<Vec<String>>;
        /// Arguments of the caller sent with questions about users.
        userinfo_query_args_client: Option<Vec<String>>;
        /// Names of arguments sent with questions about users.
        userinfo_query_args_names: Option<Vec<String>>;
        /// Values of arguments sent with questions about users.
        userinfo_query_args_values: Option<Vec<String>>;
        /// Ask others for claims that the token only points to.
        resolve_distributed_claims: bool = false;
        /// Address where tokens are exchanged.
        token_exchange_endpoint: Option<String>;
        /// Remember exchanged tokens.
        cache_token_exchange: bool = true;
        /// Methods that `login_action` follows.
        login_methods: Vec<String> = ["authorization_code"], [each(one_of(METHODS))];
        /// Sign authorization requests.
        require_signed_request_object: Option<bool>;
        /// Verify the tokens of a session at every request.
        reverify: bool = false;
        /// Check the settings against the discovery document.
        verify_parameters: bool = false;
        /// Claim that is compared with a cookie.
        jwt_session_claim: String = "sid";
        /// Cookie that is compared with a claim.
        jwt_session_cookie: Option<String>;
        /// Sessions that share a cookie must be of the same subject.
        session_enforce_same_subject: bool = false;
        /// Host of memcached.
        session_memcached_host: String = "127.0.0.1";
        /// Port of memcached.
        session_memcached_port: i64 = 11211, [between(0, 65535)];
        /// Prefix of keys in memcached.
        session_memcached_prefix: Option<String>;
        /// Unix socket of memcached.
        session_memcached_socket: Option<String>;
        /// Speak TLS with memcached.
        session_memcached_ssl: Option<bool>;
        /// Check the certificate of memcached.
        session_memcached_ssl_verify: bool = true;
        /// Keep lists of sessions.
        session_store_metadata: bool = false;
        /// What gateways share.
        cluster_cache_items: Vec<String> = ["introspection"], [each(one_of(&["introspection", "tokens"]))];
        /// How gateways share what they remember.
        cluster_cache_strategy: String = "off", [one_of(&["off", "redis"])];
        /// Path of the claim with names of consumer groups.
        consumer_groups_claim: Option<Vec<String>>;
        /// A caller none of whose groups is a consumer group passes nevertheless.
        consumer_groups_optional: bool = false;
        /// Seconds that a DPoP proof is good for.
        dpop_proof_lifetime: f64 = 300;
        /// Demand nonces in DPoP proofs.
        dpop_use_nonce: bool = false;
        /// Refuse methods that cannot prove possession.
        proof_of_possession_auth_methods_validation: bool = true;
        /// Demand DPoP proofs.
        proof_of_possession_dpop: String = "off", [one_of(&["off", "optional", "strict"])];
        /// Demand that tokens are bound to the client's certificate.
        proof_of_possession_mtls: String = "off", [one_of(&["off", "optional", "strict"])];
        /// The client's certificate comes in a header.
        proof_of_possession_mtls_from_header: Option<CertificateHeader>;
        /// Principals in place of consumers.
        principals: Principals;
        /// Exchange of tokens.
        token_exchange: Option<TokenExchange>;
        /// Certificate that the gateway shows to the provider.
        tls_client_auth_cert_id: Option<String>;
        /// Check the provider's certificate where the gateway shows one.
        tls_client_auth_ssl_verify: bool = true;
        /// Address for questions about tokens with the gateway's certificate.
        mtls_introspection_endpoint: Option<String>;
        /// Address for revocation with the gateway's certificate.
        mtls_revocation_endpoint: Option<String>;
        /// Address for tokens with the gateway's certificate.
        mtls_token_endpoint: Option<String>;
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
        /// Header in which the signed answer of introspection goes upstream.
        upstream_introspection_jwt_header: Option<String>;
        /// Header in which the session's id goes upstream.
        upstream_session_id_header: Option<String>;
        /// Header in which what is known about the user goes upstream, signed.
        upstream_user_info_jwt_header: Option<String>;
        /// Header in which the client gets the key of the token.
        downstream_access_token_jwk_header: Option<String>;
        /// Header in which the client gets the key of the ID token.
        downstream_id_token_jwk_header: Option<String>;
        /// Header in which the client gets the signed answer of introspection.
        downstream_introspection_jwt_header: Option<String>;
        /// Header in which the client gets the session's id.
        downstream_session_id_header: Option<String>;
        /// Header in which the client gets what is known about the user, signed.
        downstream_user_info_jwt_header: Option<String>;
        /// The Redis server with what gateways share.
        cluster_cache_redis: FullRedis;
    }
    checks: [custom_fields(only_defaults::<Unavailable>)]
}
