//! Configurations that are refused, and what they are told.

use super::*;

#[test]
fn what_cannot_be_honoured_is_refused_by_its_name() {
    let room = Subject(plugin::room::<OpenidConnect>());
    for (fields, name) in [
        ("auth_methods: [bearer, session]", "config.auth_methods: needs a 'client_id'"),
        ("auth_methods: [bearer, kong_oauth2]", "config.auth_methods: 'kong_oauth2' cannot"),
        ("auth_methods: []", "nobody could ever pass"),
        ("response_mode: fragment", "what comes behind a '#'"),
        ("response_mode: fragment.jwt", "what comes behind a '#'"),
        ("response_type: [code, id_token]", "only 'code' is available"),
        (
            "auth_methods: [session], client_id: [a], client_secret: [b], session_storage: memcached, \
             session_memcached_prefix: 'a b'",
            "config.session_memcached_prefix",
        ),
        (
            "auth_methods: [session], client_id: [a], client_secret: [b], session_storage: memcache, \
             session_memcached_socket: memcached.sock",
            "config.session_memcached_socket: is no absolute path",
        ),
        (
            "auth_methods: [session], client_id: [a], client_secret: [b], session_store_metadata: true",
            "config.session_store_metadata",
        ),
        ("cluster_cache_strategy: redis", "config.cluster_cache_strategy: 'redis' needs"),
        (
            "auth_methods: [bearer, password], proof_of_possession_dpop: strict",
            "auth_methods: 'password' proves",
        ),
        (
            "auth_methods: [bearer, userinfo], proof_of_possession_mtls: optional",
            "auth_methods: 'userinfo' proves",
        ),
        (
            "auth_methods: [session], client_id: [a], client_secret: [b], session_storage: redis, redis: {socket: s}",
            "config.redis.socket: is no absolute path",
        ),
        (
            "auth_methods: [session], client_id: [a], client_secret: [b], session_storage: redis, \
             redis: {socket: /s, ssl: true}",
            "config.redis.socket: a Unix socket",
        ),
        (
            "auth_methods: [session], client_id: [a], client_secret: [b], session_storage: redis, \
             redis: {socket: /s, cluster_nodes: [{port: 1}]}",
            "config.redis.socket: is one server",
        ),
        ("principals: {enabled: true}", "principals.enabled"),
        (
            "client_id: [a], client_auth: [private_key_jwt]",
            "config.client_auth: 'private_key_jwt' needs a key",
        ),
        (
            "client_id: [a], client_auth: [private_key_jwt], client_jwk: [{kty: EC}]",
            "config.client_jwk: cannot sign",
        ),
        ("http_version: 2", "spoken with in 1.1 or 1.0"),
        ("http_proxy: 'https://p.test'", "config.http_proxy: must begin with http://"),
    ] {
        let methods = if fields.starts_with("auth") { "" } else { "auth_methods: [bearer], " };
        let refusal = room.refuses(&format!("{{issuer: 'http://issuer.test', {methods}{fields}}}"));
        assert!(refusal.contains(name), "{name}: {refusal}");
    }
}
