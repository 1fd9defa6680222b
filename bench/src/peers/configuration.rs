//! The proxies' configuration files: minimal, and for the peers on the generous side (long keep-alive, bodies
//! streamed, no temporary files). It never touches the limits of Biplane.

pub mod large;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::load::{ISSUER, PATH, ROUTES, SECRET, SECRET_BASE64URL, route_path};

/// The name of the access log of a full chain, in the proxy's folder.
pub const ACCESS_LOG: &str = "access.log";
/// nginx without an access log.
pub const NGINX_LOG_OFF: &str = "off";
/// nginx with its default access log, in its folder.
pub const NGINX_LOG_ON: &str = "access.log";

/// nginx: one worker, upstream keep-alive.
pub fn nginx(folder: &Path, own: SocketAddr, backend: SocketAddr, log: &str) -> String {
    nginx_with(folder, backend, log, 1, &format!("listen {own};"), NGINX_PROXIES)
}

/// What a location of nginx does that proxies.
pub const NGINX_PROXIES: &str = "proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;";

/// The same where WebSocket is to pass.
pub const NGINX_UPGRADES: &str = "proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
            proxy_read_timeout 3600s;";

/// nginx with so many workers, a server that listens as `listen` says, and one location.
pub fn nginx_with(
    folder: &Path,
    backend: SocketAddr,
    log: &str,
    workers: usize,
    listen: &str,
    location: &str,
) -> String {
    let folder = folder.display();
    let log = if log == NGINX_LOG_OFF { log.to_owned() } else { format!("{folder}/{log}") };
    format!(
        "user root;
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 32768; }}
http {{
    access_log {log};
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/client;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream backend {{
        server {backend};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
    }}
    server {{
        {listen}
        location / {{
            {location}
        }}
    }}
}}
"
    )
}

/// HAProxy: one thread, connections to the backend shared by all clients.
pub fn haproxy(own: SocketAddr, backend: SocketAddr) -> String {
    haproxy_with(&format!("bind {own}"), backend)
}

/// HAProxy that listens as `bind` says. It would not start where it cannot open two files for each of the connections
/// it allows, although idle ones take one.
pub fn haproxy_with(bind: &str, backend: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    no strict-limits
    maxconn 16384
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    http-reuse always
frontend front
    {bind}
    default_backend back
backend back
    server origin {backend}
"
    )
}

/// HAProxy that counts the requests of each address in a minute, and refuses those beyond a limit that is never reached.
pub fn haproxy_limited(own: SocketAddr, backend: SocketAddr) -> String {
    let limit = "stick-table type ip size 1m expire 2m store http_req_rate(60s)
    http-request track-sc0 src
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000000 }";
    haproxy_with(&format!("bind {own}\n    {limit}"), backend)
}

/// Envoy with the router filter alone.
pub fn envoy(own: SocketAddr, backend: SocketAddr) -> String {
    envoy_with(own, backend, Vec::new(), &[], json!({}))
}

/// Envoy whose backend speaks HTTP/2.
pub fn envoy_calls(own: SocketAddr, backend: SocketAddr) -> String {
    let protocols = json!({"typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }});
    envoy_with(own, backend, Vec::new(), &[], protocols)
}

/// Envoy with a local rate limit, which is never reached.
pub fn envoy_limited(own: SocketAddr, backend: SocketAddr) -> String {
    envoy_with(own, backend, vec![envoy_rate_limit()], &[], json!({}))
}

fn envoy_rate_limit() -> Value {
    let whole =
        json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}, "runtime_key": "always"});
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": {
                "max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "60s"
            },
            "filter_enabled": whole,
            "filter_enforced": whole,
        }
    })
}

/// Envoy with what the full chain of Biplane does, as far as it has it.
pub fn envoy_full(folder: &Path, own: SocketAddr, backend: SocketAddr) -> String {
    let keys = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": SECRET_BASE64URL}]}).to_string();
    let token_check = envoy_token_check(&keys, None);
    let access_log = json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": folder.join(ACCESS_LOG),
            "log_format": {"json_format": {
                "started_at": "%START_TIME%",
                "method": "%REQ(:METHOD)%",
                "path": "%REQ(:PATH)%",
                "protocol": "%PROTOCOL%",
                "status": "%RESPONSE_CODE%",
                "flags": "%RESPONSE_FLAGS%",
                "request_size": "%BYTES_RECEIVED%",
                "response_size": "%BYTES_SENT%",
                "duration": "%DURATION%",
                "upstream_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
                "client_ip": "%DOWNSTREAM_REMOTE_ADDRESS%",
                "user_agent": "%REQ(USER-AGENT)%",
                "request_id": "%REQ(X-REQUEST-ID)%",
                "host": "%REQ(:AUTHORITY)%",
                "upstream": "%UPSTREAM_HOST%",
            }},
        }
    });
    envoy_with(own, backend, vec![token_check, envoy_rate_limit()], &[access_log], json!({}))
}

/// What checks tokens of the bench's issuer by these keys, and remembers so many.
pub fn envoy_token_check(keys: &str, remembered: Option<usize>) -> Value {
    let mut provider = json!({"issuer": ISSUER, "forward": true, "local_jwks": {"inline_string": keys}});
    if let Some(count) = remembered {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": count});
    }
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        }
    })
}

/// Envoy with filters before the router, access logs and options of the cluster.
pub fn envoy_with(
    own: SocketAddr,
    backend: SocketAddr,
    mut filters: Vec<Value>,
    logs: &[Value],
    protocols: Value,
) -> String {
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    }));
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "access_log": logs,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}],
        }]},
    });
    let mut cluster = json!({
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "backend", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": socket(backend)}}]}
        ]},
    });
    if let (Some(cluster), Value::Object(protocols)) = (cluster.as_object_mut(), protocols) {
        cluster.extend(protocols);
    }
    json!({"static_resources": {
        "listeners": [{
            "name": "front",
            "address": socket(own),
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
            ]}],
        }],
        "clusters": [cluster],
    }})
    .to_string()
}

/// Biplane: one service, one route, no plugin.
pub fn biplane(backend: SocketAddr) -> String {
    json!({"_format_version": "3.0", "services": [one_service(backend)]}).to_string()
}

/// Biplane: one service that takes calls of gRPC.
pub fn biplane_calls(backend: SocketAddr) -> String {
    json!({"_format_version": "3.0", "services": [{
        "name": "calls",
        "url": format!("grpc://{backend}"),
        "routes": [{"name": "everything", "paths": ["/"], "protocols": ["grpc"]}],
    }]})
    .to_string()
}

/// Biplane before an upstream that attacks count on, and before the usual one for others.
pub fn biplane_attacked(backend: SocketAddr, attacked: SocketAddr) -> String {
    let route = |path: &str| json!({"name": path.trim_matches('/'), "paths": [path], "strip_path": false});
    let mut gate = route("/gate");
    gate["plugins"] = json!([{"name": "request-termination", "config": {"status_code": 403}}]);
    json!({"_format_version": "3.0", "services": [
        {"name": "attacked", "url": format!("http://{attacked}"), "retries": 0,
         "routes": [{"name": "all", "paths": ["/"], "strip_path": false}, gate]},
        {"name": "usual", "url": format!("http://{backend}"), "routes": [route(PATH)]},
    ]})
    .to_string()
}

/// Biplane with token check, rate limit, correlation id, metrics per route and a JSON access log.
pub fn biplane_full(folder: &Path, backend: SocketAddr) -> String {
    let mut service = one_service(backend);
    service["plugins"] = json!([
        {"name": "jwt", "config": {"claims_to_verify": ["exp"]}},
        {"name": "rate-limiting", "config": {"minute": 1_000_000_000, "policy": "local"}},
    ]);
    json!({
        "_format_version": "3.0",
        "services": [service],
        "consumers": [{"username": "bench", "jwt_secrets": [{"key": ISSUER, "secret": SECRET}]}],
        "plugins": [
            {"name": "correlation-id", "config": {"header_name": "X-Correlation-ID", "generator": "uuid"}},
            {"name": "prometheus", "config": {
                "status_code_metrics": true,
                "latency_metrics": true,
                "bandwidth_metrics": true,
                "upstream_health_metrics": true,
            }},
            {"name": "file-log", "config": {"path": folder.join(ACCESS_LOG)}},
        ],
    })
    .to_string()
}

/// Biplane with many routes over a hundred services, and one more if asked for.
pub fn biplane_routes(backend: SocketAddr, extra_path: Option<&str>) -> String {
    routes(backend, extra_path).to_string()
}

/// The same with as many consumers, of whom one has a key that is called like the path.
pub fn biplane_entities(backend: SocketAddr, extra_path: &str) -> String {
    let mut document = routes(backend, Some(extra_path));
    let key = |index: usize| if index == 0 { extra_path.to_owned() } else { format!("key-{index:05}") };
    let consumer = |index: usize| json!({"username": format!("consumer-{index:05}"), "keyauth_credentials": [{"key": key(index)}]});
    document["consumers"] = (0..ROUTES).map(consumer).collect();
    document.to_string()
}

fn routes(backend: SocketAddr, extra_path: Option<&str>) -> Value {
    let mut services: Vec<Value> = (0..SERVICES).map(|index| service(backend, index)).collect();
    for index in 0..ROUTES {
        let name = format!("route-{index:05}");
        add(
            &mut services[index % SERVICES],
            json!({
                "name": name, "paths": [route_path(index)], "strip_path": false
            }),
        );
    }
    if let Some(path) = extra_path {
        add(&mut services[0], json!({"name": "extra", "paths": [path], "strip_path": false}));
    }
    json!({"_format_version": "3.0", "services": services})
}

const SERVICES: usize = 100;

/// A service with one route for everything.
pub fn one_service(backend: SocketAddr) -> Value {
    let mut service = service(backend, 0);
    add(&mut service, json!({"name": "everything", "paths": ["/"], "strip_path": false}));
    service
}

fn service(backend: SocketAddr, index: usize) -> Value {
    json!({"name": format!("service-{index:05}"), "url": format!("http://{backend}"), "routes": []})
}

fn add(service: &mut Value, route: Value) {
    if let Some(routes) = service["routes"].as_array_mut() {
        routes.push(route);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn backend() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    fn routes(text: &str) -> Vec<Value> {
        let file: Value = serde_json::from_str(text).unwrap();
        let services = file["services"].as_array().unwrap();
        services.iter().flat_map(|service| service["routes"].as_array().unwrap().clone()).collect()
    }

    #[test]
    fn the_file_with_many_routes_has_them_all_once() {
        let paths: HashSet<String> = routes(&biplane_routes(backend(), None))
            .iter()
            .map(|route| route["paths"][0].to_string())
            .collect();
        assert_eq!(paths.len(), ROUTES);
        assert_eq!(routes(&biplane_routes(backend(), Some("/fresh"))).len(), ROUTES + 1);
    }

    #[test]
    fn the_access_log_of_nginx_is_off_unless_asked_for() {
        let text = |log| nginx(Path::new("/place"), backend(), backend(), log);
        assert!(text(NGINX_LOG_OFF).contains("access_log off;"));
        assert!(text(NGINX_LOG_ON).contains("access_log /place/access.log;"));
    }
}
