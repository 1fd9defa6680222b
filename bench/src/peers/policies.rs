//! Biplane with one thing more than a bare proxy: a way to balance, a limit, a breaker. What each costs is what it adds to
//! the bare proxy in the same run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::configuration::one_service;
use crate::backend::ADDRESSES;

/// What is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// An upstream of several targets, by each algorithm.
    RoundRobin,
    LeastConnections,
    Latency,
    ConsistentHashing,
    StickySessions,
    TwoChoices,
    /// rate-limiting, counted here.
    Local,
    /// The same without a word of it to clients.
    Untold,
    /// rate-limiting-advanced, counted here, by each algorithm.
    Sliding,
    Fixed,
    Smooth,
    /// The same two in Redis, for every request and in intervals.
    Redis,
    RedisInIntervals,
    SlidingInRedis,
    SlidingInIntervals,
    /// circuit-breaker, by failures in a row and by shares over a window.
    Breaker,
    BreakerWithWindow,
    /// upstream-retry.
    Retry,
    /// concurrency-limit.
    Concurrency,
    /// mirror, of one request in a hundred and of all.
    MirrorSome,
    MirrorAll,
    /// canary, of half of the requests.
    Canary,
    /// usage, in a database of its own.
    Usage,
}

/// More than any load reaches.
const NEVER: u64 = 1_000_000_000;

impl Policy {
    /// The name in the tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::RoundRobin => "Biplane, round-robin",
            Self::LeastConnections => "Biplane, least-connections",
            Self::Latency => "Biplane, latency",
            Self::ConsistentHashing => "Biplane, consistent-hashing by ip",
            Self::StickySessions => "Biplane, sticky-sessions, all new",
            Self::TwoChoices => "Biplane, p2c",
            Self::Local => "Biplane, rate-limiting",
            Self::Untold => "Biplane, rate-limiting, no header fields",
            Self::Sliding => "Biplane, advanced, sliding",
            Self::Fixed => "Biplane, advanced, fixed",
            Self::Smooth => "Biplane, advanced, gcra",
            Self::Redis => "Biplane, rate-limiting, Redis for each",
            Self::RedisInIntervals => "Biplane, rate-limiting, sync_rate 0.1",
            Self::SlidingInRedis => "Biplane, advanced, Redis for each",
            Self::SlidingInIntervals => "Biplane, advanced, sync_rate 0.1",
            Self::Breaker => "Biplane, circuit-breaker",
            Self::BreakerWithWindow => "Biplane, circuit-breaker, window",
            Self::Retry => "Biplane, upstream-retry",
            Self::Concurrency => "Biplane, concurrency-limit",
            Self::MirrorSome => "Biplane, mirror, 1 %",
            Self::MirrorAll => "Biplane, mirror, 100 %",
            Self::Canary => "Biplane, canary, 50 %",
            Self::Usage => "Biplane, usage",
        }
    }

    /// The file: one service with one route, as for the bare proxy, and the policy.
    pub fn file(self, backend: SocketAddr, redis: Option<SocketAddr>) -> String {
        let mut service = one_service(backend);
        let mut document = json!({"_format_version": "3.0"});
        let other = json!({"name": "other", "url": format!("http://{backend}")});
        match self.upstream() {
            Some(mut upstream) => {
                upstream["name"] = json!("several");
                let target = |address: &Ipv4Addr| json!({"target": format!("{address}:{}", backend.port())});
                upstream["targets"] = ADDRESSES.iter().map(target).collect();
                document["upstreams"] = json!([upstream]);
                service["url"] = json!("http://several");
            }
            None => service["plugins"] = json!([self.plugin(backend, redis)]),
        }
        document["services"] = json!([service, other]);
        document.to_string()
    }

    fn upstream(self) -> Option<Value> {
        Some(match self {
            Self::RoundRobin => json!({"algorithm": "round-robin"}),
            Self::LeastConnections => json!({"algorithm": "least-connections"}),
            Self::Latency => json!({"algorithm": "latency"}),
            Self::ConsistentHashing => json!({"algorithm": "consistent-hashing", "hash_on": "ip"}),
            Self::StickySessions => {
                json!({"algorithm": "sticky-sessions", "sticky_sessions_cookie": "server"})
            }
            Self::TwoChoices => json!({"algorithm": "p2c"}),
            _ => return None,
        })
    }

    fn plugin(self, backend: SocketAddr, redis: Option<SocketAddr>) -> Value {
        let port = redis.map_or(0, |redis| redis.port());
        let redis = json!({"host": "127.0.0.1", "port": port});
        let named = |name: &str, config: Value| json!({"name": name, "config": config});
        let advanced = |more: Value| {
            let mut config = json!({"limit": [NEVER], "window_size": [60], "identifier": "ip"});
            if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
                config.extend(more);
            }
            named("rate-limiting-advanced", config)
        };
        match self {
            Self::Untold => named(
                "rate-limiting",
                json!({"minute": NEVER, "limit_by": "ip", "hide_client_headers": true}),
            ),
            Self::Sliding => advanced(json!({})),
            Self::Fixed => advanced(json!({"window_type": "fixed"})),
            Self::Smooth => advanced(json!({"algorithm": "gcra", "burst": [NEVER]})),
            Self::Redis => {
                let config = json!({"minute": NEVER, "limit_by": "ip", "policy": "redis", "redis": redis});
                named("rate-limiting", config)
            }
            Self::RedisInIntervals => {
                let config = json!({"minute": NEVER, "limit_by": "ip", "policy": "redis", "sync_rate": 0.1, "redis": redis});
                named("rate-limiting", config)
            }
            Self::SlidingInRedis => advanced(json!({"strategy": "redis", "sync_rate": 0, "redis": redis})),
            Self::SlidingInIntervals => {
                advanced(json!({"strategy": "redis", "sync_rate": 0.1, "redis": redis}))
            }
            Self::Breaker => named("circuit-breaker", json!({})),
            Self::BreakerWithWindow => {
                let window = json!({"failure_ratio": 0.5, "slow_ratio": 0.5});
                named("circuit-breaker", json!({"window": window}))
            }
            Self::Retry => named("upstream-retry", json!({})),
            Self::Concurrency => named("concurrency-limit", json!({"limit": 100_000})),
            Self::MirrorSome => named("mirror", json!({"service": "other", "percentage": 1})),
            Self::MirrorAll => named("mirror", json!({"service": "other", "percentage": 100})),
            Self::Canary => {
                let to = json!({"percentage": 50, "hash": "none", "upstream_host": "127.0.0.1", "upstream_port": backend.port()});
                named("canary", to)
            }
            Self::Usage => named("usage", json!({})),
            _ => named("rate-limiting", json!({"minute": NEVER, "limit_by": "ip", "policy": "local"})),
        }
    }

    /// What the gateway's environment has to say for it; `folder` is its own.
    pub fn environment(self, folder: &Path) -> Option<(&'static str, PathBuf)> {
        (self == Self::Usage).then(|| ("KONG_USAGE_DATABASE", folder.join("usage.db")))
    }

    /// Whether it counts in Redis.
    pub fn needs_redis(self) -> bool {
        matches!(self, Self::Redis | Self::RedisInIntervals | Self::SlidingInRedis | Self::SlidingInIntervals)
    }
}
