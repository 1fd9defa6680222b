//! Further fields that cannot be honoured: each but its default is refused by its name.

use plugin::record;
use plugin::redis::fields::FullRedis;

use super::nested::{CertificateHeader, Principals, SessionRedis, TokenExchange};
use super::{METHODS, only_defaults};

record! {
    /// Sessions of people who logged in. None of it is available in this version.
    #[allow(dead_code)]
    pub struct Sessions {
        /// Methods that make no session.
        disable_session: Option<Vec<String>>, [each(one_of(METHODS))];
        /// Claim that is compared with a cookie.
        jwt_session_claim: String = "sid";
        /// Cookie that is compared with a claim.
        jwt_session_cookie: Option<String>;
        /// Seconds that a session lasts at most.
        session_absolute_timeout: f64 = 86400;
        /// Which sessions are shared.
        session_audience: String = "default";
        /// What of the client a session is bound to.
        session_bind: Option<Vec<String>>, [each(one_of(&["ip", "scheme", "user-agent"]))];
        /// Domain of the session's cookie.
        session_cookie_domain: Option<String>;
        /// Scripts do not see the session's cookie.
        session_cookie_http_only: bool = true;
        /// Name of the session's cookie.
        session_cookie_name: String = "session";
        /// Path of the session's cookie.
        session_cookie_path: String = "/";
        /// Whether the session's cookie is sent with requests from other sites.
        session_cookie_same_site: String = "Lax", [one_of(&["Default", "Lax", "None", "Strict"])];
        /// Whether the session's cookie is sent over TLS only.
        session_cookie_secure: Option<bool>;
        /// Sessions that share a cookie must be of the same subject.
        session_enforce_same_subject: bool = false;
        /// Hash the keys of stored sessions.
        session_hash_storage_key: bool = false;
        /// Hash the subject of stored sessions.
        session_hash_subject: bool = false;
        /// Seconds that a session lasts without requests.
        session_idling_timeout: f64 = 900;
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
        /// Remember people beyond their session.
        session_remember: bool = false;
        /// Seconds that people are remembered at most.
        session_remember_absolute_timeout: f64 = 2592000;
        /// Name of the cookie by which people are remembered.
        session_remember_cookie_name: String = "remember";
        /// Seconds after which that cookie is renewed.
        session_remember_rolling_timeout: f64 = 604800;
        /// What of a session goes upstream.
        session_request_headers: Option<Vec<String>>, [each(one_of(&["absolute-timeout", "audience", "id", "idling-timeout", "rolling-timeout", "subject", "timeout"]))];
        /// What of a session goes to the client.
        session_response_headers: Option<Vec<String>>, [each(one_of(&["absolute-timeout", "audience", "id", "idling-timeout", "rolling-timeout", "subject", "timeout"]))];
        /// Seconds after which a session is renewed.
        session_rolling_timeout: f64 = 3600;
        /// Secret that sessions are encrypted with.
        session_secret: Option<String>, [referenceable(), encrypted()];
        /// Where sessions are kept.
        session_storage: String = "cookie", [one_of(&["cookie", "memcache", "memcached", "redis"])];
        /// Keep lists of sessions.
        session_store_metadata: bool = false;
        /// The Redis server with sessions.
        redis: SessionRedis;
        /// What gateways share.
        cluster_cache_items: Vec<String> = ["introspection"], [each(one_of(&["introspection", "tokens"]))];
        /// How gateways share what they remember.
        cluster_cache_strategy: String = "off", [one_of(&["off", "redis"])];
        /// The Redis server with what gateways share.
        cluster_cache_redis: FullRedis;
    }
    checks: [custom_fields(only_defaults::<Sessions>)]
}

record! {
    /// What else there is. None of it is available in this version.
    #[allow(dead_code)]
    pub struct Further {
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
        /// Header in which the ID token goes upstream.
        upstream_id_token_header: Option<String>;
        /// Header in which the key of the ID token goes upstream.
        upstream_id_token_jwk_header: Option<String>;
        /// Header in which the answer of introspection goes upstream.
        upstream_introspection_header: Option<String>;
        /// Header in which the signed answer of introspection goes upstream.
        upstream_introspection_jwt_header: Option<String>;
        /// Header in which the refresh token goes upstream.
        upstream_refresh_token_header: Option<String>;
        /// Header in which the session's id goes upstream.
        upstream_session_id_header: Option<String>;
        /// Header in which what is known about the user goes upstream.
        upstream_user_info_header: Option<String>;
        /// Header in which what is known about the user goes upstream, signed.
        upstream_user_info_jwt_header: Option<String>;
        /// Header in which the client gets the key of the token.
        downstream_access_token_jwk_header: Option<String>;
        /// Header in which the client gets the ID token.
        downstream_id_token_header: Option<String>;
        /// Header in which the client gets the key of the ID token.
        downstream_id_token_jwk_header: Option<String>;
        /// Header in which the client gets the answer of introspection.
        downstream_introspection_header: Option<String>;
        /// Header in which the client gets the signed answer of introspection.
        downstream_introspection_jwt_header: Option<String>;
        /// Header in which the client gets the refresh token.
        downstream_refresh_token_header: Option<String>;
        /// Header in which the client gets the session's id.
        downstream_session_id_header: Option<String>;
        /// Header in which the client gets what is known about the user.
        downstream_user_info_header: Option<String>;
        /// Header in which the client gets what is known about the user, signed.
        downstream_user_info_jwt_header: Option<String>;
    }
    checks: [custom_fields(only_defaults::<Further>)]
}
