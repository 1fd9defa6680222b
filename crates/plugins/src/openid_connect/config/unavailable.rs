//! Fields that cannot be honoured: each but its default is refused by its name.

use plugin::record;
use plugin::redis::fields::FullRedis;

use super::nested::Principals;
use super::only_defaults;

record! {
    /// What is not available in this version.
    #[allow(dead_code)]
    pub struct Unavailable {
        /// Ask others for claims that the token only points to.
        resolve_distributed_claims: bool = false;
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
        /// Principals in place of consumers.
        principals: Principals;
        /// The Redis server with what gateways share.
        cluster_cache_redis: FullRedis;
    }
    checks: [custom_fields(only_defaults::<Unavailable>)]
}
