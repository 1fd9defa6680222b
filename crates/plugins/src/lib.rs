//! The rooms, one folder each, and the list of them in execution order.
//!
//! A room imports the `plugin` contract and nothing else of the gateway. Adding one means its folder, a `mod` line
//! and an entry in [`ROOMS`].

pub mod acl;
pub mod authorization;
pub mod basic_auth;
pub mod bot_detection;
pub mod canary;
pub mod circuit_breaker;
pub mod concurrency_limit;
pub mod correlation_id;
pub mod cors;
pub mod fault_injection;
pub mod file_log;
pub mod forward_auth;
pub mod header_cert_auth;
pub mod hmac_auth;
pub mod ip_restriction;
pub mod jwt;
pub mod jwt_signer;
pub mod key_auth;
pub mod key_auth_enc;
pub mod ldap_auth;
pub mod ldap_auth_advanced;
pub mod mirror;
pub mod mtls_auth;
pub mod oauth2;
pub mod oauth2_introspection;
pub mod opa;
pub mod openid_connect;
pub mod prometheus;
pub mod proxy_cache;
pub mod rate_limit_status;
pub mod rate_limiting;
pub mod rate_limiting_advanced;
pub mod redirect;
pub mod request_size_limiting;
pub mod request_termination;
pub mod request_transformer;
pub mod response_ratelimiting;
pub mod response_transformer;
pub mod route_by_header;
pub mod service_protection;
pub mod session;
pub mod tls_handshake_modifier;
pub mod tls_metadata_headers;
pub mod traffic_split;
pub mod upstream_jwt;
pub mod upstream_retry;
pub mod upstream_timeout;
pub mod usage;

use plugin::Definition;
use plugin::model::Catalog;

/// Every plugin, in execution order: highest priority first.
pub static ROOMS: &[&dyn Definition] = &[
    plugin::room::<mirror::Mirror>(),
    plugin::room::<correlation_id::CorrelationId>(),
    plugin::room::<bot_detection::BotDetection>(),
    plugin::room::<cors::Cors>(),
    plugin::room::<session::Session>(),
    plugin::room::<oauth2_introspection::Oauth2Introspection>(),
    plugin::room::<mtls_auth::MtlsAuth>(),
    plugin::room::<jwt::Jwt>(),
    plugin::room::<oauth2::Oauth2>(),
    plugin::room::<key_auth::KeyAuth>(),
    plugin::room::<key_auth_enc::KeyAuthEnc>(),
    plugin::room::<ldap_auth::LdapAuth>(),
    plugin::room::<ldap_auth_advanced::LdapAuthAdvanced>(),
    plugin::room::<basic_auth::BasicAuth>(),
    plugin::room::<openid_connect::OpenidConnect>(),
    plugin::room::<hmac_auth::HmacAuth>(),
    plugin::room::<jwt_signer::JwtSigner>(),
    plugin::room::<header_cert_auth::HeaderCertAuth>(),
    plugin::room::<tls_handshake_modifier::TlsHandshakeModifier>(),
    plugin::room::<tls_metadata_headers::TlsMetadataHeaders>(),
    plugin::room::<ip_restriction::IpRestriction>(),
    plugin::room::<request_size_limiting::RequestSizeLimiting>(),
    plugin::room::<acl::Acl>(),
    plugin::room::<forward_auth::ForwardAuth>(),
    plugin::room::<authorization::Authorization>(),
    plugin::room::<opa::Opa>(),
    plugin::room::<rate_limit_status::RateLimitStatus>(),
    plugin::room::<rate_limiting_advanced::RateLimitingAdvanced>(),
    plugin::room::<rate_limiting::RateLimiting>(),
    plugin::room::<service_protection::ServiceProtection>(),
    plugin::room::<response_ratelimiting::ResponseRatelimiting>(),
    plugin::room::<upstream_jwt::UpstreamJwt>(),
    plugin::room::<route_by_header::RouteByHeader>(),
    plugin::room::<traffic_split::TrafficSplit>(),
    plugin::room::<request_transformer::RequestTransformer>(),
    plugin::room::<response_transformer::ResponseTransformer>(),
    plugin::room::<redirect::Redirect>(),
    plugin::room::<fault_injection::FaultInjection>(),
    plugin::room::<upstream_timeout::UpstreamTimeout>(),
    plugin::room::<proxy_cache::ProxyCache>(),
    plugin::room::<circuit_breaker::CircuitBreaker>(),
    plugin::room::<concurrency_limit::ConcurrencyLimit>(),
    plugin::room::<upstream_retry::UpstreamRetry>(),
    plugin::room::<canary::Canary>(),
    plugin::room::<prometheus::Prometheus>(),
    plugin::room::<usage::Usage>(),
    plugin::room::<file_log::FileLog>(),
    plugin::room::<request_termination::RequestTermination>(),
];

/// What the plugins bring into a configuration: the schemas of their settings and the entities they own.
#[must_use]
pub fn catalog() -> Catalog {
    Catalog {
        plugins: ROOMS.iter().map(|room| room.schema()).collect(),
        entities: ROOMS.iter().flat_map(|room| room.entities()).collect(),
    }
}
