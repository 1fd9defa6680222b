//! Fields about what gateways share: the places of sessions, and of what the provider has answered.

use std::path::Path;
use std::sync::Arc;

use plugin::memcached;
use plugin::redis::fields::FullRedis;
use plugin::redis::{Address, Security, Store};
use plugin::shared::{Joint, Values};
use plugin::web_session::shared::Shared;
use plugin::{Build, BuildError, record};

use super::Config;

record! {
    /// What gateways share.
    pub struct Sharing {
        /// Host of the memcached with sessions, with `session_storage: memcached`.
        session_memcached_host: String = "127.0.0.1";
        /// Its port.
        session_memcached_port: i64 = 11211, [between(0, 65535)];
        /// What keys begin with there; `sessions` without it. At most 100 visible characters.
        session_memcached_prefix: Option<String>;
        /// Its Unix socket: an absolute path. Host and port then do not count.
        session_memcached_socket: Option<String>;
        /// Speak TLS with it.
        session_memcached_ssl: Option<bool>;
        /// Check its certificate by the authorities of `KONG_LUA_SSL_TRUSTED_CERTIFICATE`.
        session_memcached_ssl_verify: bool = true;
        /// Keep lists of the sessions of a subject, where sessions are in Redis or memcached.
        session_store_metadata: bool = false;
        /// What gateways share with `cluster_cache_strategy: redis`: what the provider says of tokens (`introspection`), and
        /// the tokens that it gives (`tokens`).
        cluster_cache_items: Vec<String> = ["introspection"], [each(one_of(&["introspection", "tokens"]))];
        /// Whether gateways share what they remember, by Redis.
        cluster_cache_strategy: String = "off", [one_of(&["off", "redis"])];
        /// The Redis server with what gateways share.
        cluster_cache_redis: FullRedis;
    }
}

/// What keys begin with where nothing is said.
const PREFIX: &str = "sessions";
/// The same for what the provider has answered.
const CACHE_PREFIX: &str = "openid-connect";
/// Longest prefix of keys in memcached, which has bounds for keys.
const LONGEST_PREFIX: usize = 100;

/// The places, ready to be used.
#[derive(Clone, Default)]
pub struct Places {
    /// That of sessions, if they are not in their cookies.
    pub sessions: Option<Shared>,
    /// What gateways with the same sessions do once for all: nobody goes on without it.
    pub with_sessions: Option<Arc<Joint>>,
    /// What they remember together: where it does not answer, each goes on alone.
    pub cache: Option<Arc<Joint>>,
}

impl Places {
    /// The places that the configuration names.
    pub fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let sessions = sessions(config, cx)?;
        let secret = secret(config);
        let with_sessions = sessions
            .as_ref()
            .zip(secret.as_ref())
            .map(|(sessions, secret)| Joint::new(sessions.values.clone(), &sessions.prefix, secret));
        let sharing = &config.sharing;
        if sharing.cluster_cache_strategy == "off" {
            return Ok(Self { sessions, with_sessions, cache: None });
        }
        let Some(secret) = secret else {
            let message = "'redis' needs a 'session_secret', or else a 'client_secret', so that what gateways share is sealed";
            return Err(BuildError::new("config.cluster_cache_strategy", message));
        };
        let store = Store::open(cx, sharing.cluster_cache_redis.settings("config.cluster_cache_redis")?)?;
        let cache = Some(Joint::new(Values::Redis(store), CACHE_PREFIX, &secret));
        Ok(Self { sessions, with_sessions, cache })
    }

    /// Where it is known what is good once: logins and proofs. This process alone knows without one.
    pub fn once(&self) -> Option<&Arc<Joint>> {
        self.with_sessions.as_ref().or(self.cache.as_ref())
    }
}

impl Sharing {
    /// What gateways remember together of `item`.
    pub fn has(&self, item: &str) -> bool {
        self.cluster_cache_items.iter().any(|listed| listed == item)
    }

    fn memcached(&self) -> Result<(memcached::Settings, String), BuildError> {
        let refuse = |name: &str, message: &str| {
            Err(BuildError::new(format!("config.session_memcached_{name}"), message))
        };
        let is_secure = self.session_memcached_ssl == Some(true);
        let socket = self.session_memcached_socket.as_deref().filter(|path| !path.is_empty());
        let place = match socket {
            Some(path) if !Path::new(path).is_absolute() => return refuse("socket", "is no absolute path"),
            Some(_) if is_secure => {
                return refuse("ssl", "a Unix socket does not leave this machine: leave it out");
            }
            Some(path) => memcached::Place::Socket(path.into()),
            None => memcached::Place::Host(Address {
                host: self.session_memcached_host.clone(),
                port: u16::try_from(self.session_memcached_port).unwrap_or_default(),
            }),
        };
        let prefix = self.session_memcached_prefix.clone().filter(|prefix| !prefix.is_empty());
        let prefix = prefix.unwrap_or_else(|| PREFIX.to_owned());
        if prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("prefix", "has to be at most 100 visible characters, without spaces");
        }
        let security = Security { verify: self.session_memcached_ssl_verify, server_name: None };
        Ok((memcached::Settings { place, security: is_secure.then_some(security) }, prefix))
    }
}

/// Where sessions are, if not in their cookies.
fn sessions(config: &Config, cx: &Build<'_>) -> Result<Option<Shared>, BuildError> {
    let redis = &config.sessions.redis;
    match config.sessions.session_storage.as_str() {
        "cookie" => Ok(None),
        "redis" => {
            let store = Store::open(cx, redis.redis.settings("config.redis")?)?;
            let prefix = redis.prefix.clone().filter(|prefix| !prefix.is_empty());
            let prefix = prefix.unwrap_or_else(|| PREFIX.to_owned());
            Ok(Some(Shared { values: Values::Redis(store), prefix }))
        }
        // Kong has the same under two names.
        _ => {
            let (settings, prefix) = config.sharing.memcached()?;
            let store = memcached::Store::open(cx, settings, "config.session_memcached_ssl")?;
            Ok(Some(Shared { values: Values::Memcached(store), prefix }))
        }
    }
}

/// What only gateways with this configuration know.
fn secret(config: &Config) -> Option<Vec<u8>> {
    let of_client = config.introspection.client_secret.as_ref().and_then(|secrets| secrets.first());
    let secrets = [config.sessions.session_secret.as_ref(), of_client];
    let secret = secrets.into_iter().flatten().find(|secret| !secret.is_empty())?;
    Some(secret.as_bytes().to_vec())
}
