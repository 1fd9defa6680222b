//! The fields of configurations that say where Redis is, as Kong's plugins have them (reference schema `redis.*`).

use std::path::Path;
use std::time::Duration;

use model::record;

use super::settings::{Address, Identity, Security, Settings, Topology};
use crate::build::BuildError;

record! {
    /// How to sign in to a Redis server managed by a cloud provider.
    #[allow(dead_code)]
    pub struct CloudAuthentication {
        /// The provider whose identity service is used. None is available in this version.
        auth_provider: Option<String>, [one_of(&["aws", "azure", "gcp"]), referenceable()];
        /// AWS access key id.
        aws_access_key_id: Option<String>, [referenceable(), encrypted()];
        /// ARN of the AWS role to assume.
        aws_assume_role_arn: Option<String>, [referenceable(), encrypted()];
        /// Name of the AWS ElastiCache cluster.
        aws_cache_name: Option<String>, [referenceable()];
        /// The ElastiCache cluster is serverless.
        aws_is_serverless: bool = true;
        /// AWS region of the cluster.
        aws_region: Option<String>, [referenceable()];
        /// Session name to use with the assumed role.
        aws_role_session_name: Option<String>, [referenceable(), encrypted()];
        /// AWS secret access key.
        aws_secret_access_key: Option<String>, [referenceable(), encrypted()];
        /// Client id of the Azure application.
        azure_client_id: Option<String>, [referenceable(), encrypted()];
        /// Client secret of the Azure application.
        azure_client_secret: Option<String>, [referenceable(), encrypted()];
        /// Azure tenant.
        azure_tenant_id: Option<String>, [referenceable(), encrypted()];
        /// Service account of Google Cloud, as JSON.
        gcp_service_account_json: Option<String>, [referenceable(), encrypted()];
    }
}

record! {
    /// How to reach a server, and to sign in to it.
    pub struct Server {
        /// Port of the server.
        port: u16 = 6379, [port(), referenceable()];
        /// User of the server's access control list to sign in as.
        username: Option<String>, [referenceable()];
        /// Password to sign in with.
        password: Option<String>, [referenceable(), encrypted()];
        /// Number of the database. A cluster has only 0.
        database: i64 = 0;
        /// Connect over TLS.
        ssl: bool = false;
        /// Check the server's certificate by the authorities of `KONG_LUA_SSL_TRUSTED_CERTIFICATE`.
        ssl_verify: bool = true;
        /// Name to ask for and to check in the TLS handshake, where it is not the host's.
        server_name: Option<String>, [referenceable()];
        /// Signing in through a cloud provider.
        cloud_authentication: CloudAuthentication;
    }
}

record! {
    /// A Redis server, as Kong's open plugins have it.
    pub struct Redis {
        ..server: Server;
        /// Host name or address of the server.
        host: Option<String>, [referenceable()];
        /// Milliseconds to wait for a connection, and for an answer.
        timeout: i64 = 2000, [timeout()];
    }
}

record! {
    /// A node of a cluster.
    pub struct ClusterNode {
        /// Host name or address of the node.
        ip: String = "127.0.0.1";
        /// Port of the node.
        port: u16 = 6379, [port()];
    }
}

record! {
    /// A sentinel.
    pub struct SentinelNode {
        /// Host name or address of the sentinel.
        host: String = "127.0.0.1";
        /// Port of the sentinel.
        port: u16 = 6379, [port()];
    }
}

record! {
    /// A Redis server, a master that sentinels name, or a cluster, as Kong's paid plugins have them.
    #[allow(dead_code)]
    pub struct FullRedis {
        ..server: Server;
        /// Host name or address of the server. Not used with sentinels or a cluster.
        host: String = "127.0.0.1", [referenceable()];
        /// Milliseconds to wait for a connection.
        connect_timeout: i64 = 2000, [timeout()];
        /// Milliseconds to wait for an answer; of this and `read_timeout`, the longer one counts.
        send_timeout: i64 = 2000, [timeout()];
        /// Milliseconds to wait for an answer.
        read_timeout: i64 = 2000, [timeout()];
        /// Name of the master among the sentinels.
        sentinel_master: Option<String>;
        /// The sentinels, asked in this order.
        sentinel_nodes: Option<Vec<SentinelNode>>, [len_min(1)];
        /// User to sign in to the sentinels as.
        sentinel_username: Option<String>, [referenceable()];
        /// Password to sign in to the sentinels with.
        sentinel_password: Option<String>, [referenceable(), encrypted()];
        /// Which server to use. What gateways share is written, so `slave` is refused, and `any`
        /// comes to the master.
        sentinel_role: Option<String>, [one_of(&["any", "master", "slave"])];
        /// Some nodes of the cluster, to begin with.
        cluster_nodes: Option<Vec<ClusterNode>>, [len_min(1)];
        /// Redirections that one exchange follows.
        cluster_max_redirections: i64 = 5;
        /// Exchanges that one worker has with Redis at a time, where `keepalive_backlog` is given. They share one
        /// connection.
        keepalive_pool_size: i64 = 256, [between(1, 2_147_483_646)];
        /// Exchanges beyond `keepalive_pool_size` that may wait. More fail at once. Without it a worker has up to
        /// 4096 exchanges.
        keepalive_backlog: Option<i64>, [between(0, 2_147_483_646)];
        /// A proxy stands before Redis. It has no sentinels, no cluster and no database but 0.
        connection_is_proxied: bool = false;
    }
    checks: [
        mutually_required(&["sentinel_master", "sentinel_role", "sentinel_nodes"]),
    ]
}

record! {
    /// The same, with a word about the proxy.
    pub struct ProxiedRedis {
        ..redis: FullRedis;
        /// The kind of proxy. Nothing that is sent depends on it.
        redis_proxy_type: Option<String>, [one_of(&["envoy_v1.31"])];
    }
}

record! {
    /// The same, or a server on this machine.
    pub struct SocketRedis {
        ..redis: FullRedis;
        /// Unix socket of the server: an absolute path. `host` and `port` then do not count.
        socket: Option<String>;
    }
}

/// Exchanges of a worker at a time where the configuration does not say.
const MOST_IN_FLIGHT: usize = 4096;
/// Kong takes 0 for "no wait at all", with which nothing could ever be reached.
const SHORTEST: i64 = 1;

/// Where a server is, and how long to wait for it.
struct Reach {
    topology: Topology,
    connect_timeout: i64,
    answer_timeout: i64,
    most_in_flight: usize,
}

impl Server {
    /// Refuses what cannot be honoured. `field` is where the fields are.
    fn check(&self, field: &str) -> Result<(), BuildError> {
        self.cloud_authentication.refuse(field)?;
        match self.database {
            0.. => Ok(()),
            _ => Err(BuildError::new(format!("{field}.database"), "databases are numbered from 0")),
        }
    }

    fn settings(&self, reach: Reach) -> Settings {
        let security = Security { verify: self.ssl_verify, server_name: self.server_name.clone() };
        Settings {
            topology: reach.topology,
            identity: Identity { username: self.username.clone(), password: self.password.clone() },
            database: self.database,
            security: self.ssl.then_some(security),
            connect_timeout: milliseconds(reach.connect_timeout),
            answer_timeout: milliseconds(reach.answer_timeout),
            most_in_flight: reach.most_in_flight,
        }
    }
}

impl Redis {
    /// What the fields come to. `field` is where they are, such as `config.redis`.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn settings(&self, field: &str) -> Result<Settings, BuildError> {
        self.server.check(field)?;
        let host = self.host.clone().unwrap_or_default();
        Ok(self.server.settings(Reach {
            topology: Topology::Single(Address { host, port: self.server.port }),
            connect_timeout: self.timeout,
            answer_timeout: self.timeout,
            most_in_flight: MOST_IN_FLIGHT,
        }))
    }
}

impl FullRedis {
    /// What the fields come to. `field` is where they are, such as `config.redis`.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn settings(&self, field: &str) -> Result<Settings, BuildError> {
        self.server.check(field)?;
        let backlog = self.keepalive_backlog.map(|backlog| self.keepalive_pool_size + backlog);
        Ok(self.server.settings(Reach {
            topology: self.topology(field)?,
            connect_timeout: self.connect_timeout,
            answer_timeout: self.send_timeout.max(self.read_timeout),
            most_in_flight: backlog.map_or(MOST_IN_FLIGHT, |most| usize::try_from(most).unwrap_or(1)),
        }))
    }

    fn topology(&self, field: &str) -> Result<Topology, BuildError> {
        let refuse = |name: &str, message: &str| Err(BuildError::new(format!("{field}.{name}"), message));
        let (sentinels, cluster) = (&self.sentinel_nodes, &self.cluster_nodes);
        if sentinels.is_some() && cluster.is_some() {
            return refuse("cluster_nodes", "either a cluster or sentinels, not both");
        }
        let several = sentinels.is_some() || cluster.is_some();
        if self.connection_is_proxied && (several || self.server.database != 0) {
            let message = "a proxy has no sentinels, no cluster and no database but 0: leave those out";
            return refuse("connection_is_proxied", message);
        }
        if let Some(nodes) = cluster {
            if self.server.database != 0 {
                return refuse("database", "a cluster has only database 0");
            }
            let nodes = nodes.iter().map(|node| Address { host: node.ip.clone(), port: node.port });
            let most_redirections = usize::try_from(self.cluster_max_redirections).unwrap_or(0).min(64);
            return Ok(Topology::Cluster { nodes: nodes.collect(), most_redirections });
        }
        let (Some(nodes), Some(master)) = (sentinels, &self.sentinel_master) else {
            return Ok(Topology::Single(Address { host: self.host.clone(), port: self.server.port }));
        };
        if self.sentinel_role.as_deref() == Some("slave") {
            return refuse("sentinel_role", "replicas take no writes: write 'master'");
        }
        let nodes = nodes.iter().map(|node| Address { host: node.host.clone(), port: node.port });
        let identity =
            Identity { username: self.sentinel_username.clone(), password: self.sentinel_password.clone() };
        Ok(Topology::Sentinel { master: master.clone(), nodes: nodes.collect(), identity })
    }
}

impl SocketRedis {
    /// What the fields come to. `field` is where they are, such as `config.redis`.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn settings(&self, field: &str) -> Result<Settings, BuildError> {
        let settings = self.redis.settings(field)?;
        let Some(path) = self.socket.as_deref().filter(|path| !path.is_empty()) else { return Ok(settings) };
        let refuse = |message: &str| Err(BuildError::new(format!("{field}.socket"), message));
        match settings.topology {
            _ if !Path::new(path).is_absolute() => refuse("is no absolute path"),
            Topology::Single(_) if settings.security.is_some() => {
                refuse("a Unix socket does not leave this machine, and is not spoken TLS on: leave 'ssl' out")
            }
            Topology::Single(_) => Ok(Settings { topology: Topology::Socket(path.into()), ..settings }),
            _ => refuse("is one server: leave out either the socket or sentinels and cluster"),
        }
    }
}

impl CloudAuthentication {
    fn refuse(&self, field: &str) -> Result<(), BuildError> {
        let Some(provider) = &self.auth_provider else { return Ok(()) };
        let message =
            format!("signing in through '{provider}' is not available: use 'username' and 'password'");
        Err(BuildError::new(format!("{field}.cloud_authentication.auth_provider"), message))
    }
}

fn milliseconds(number: i64) -> Duration {
    Duration::from_millis(number.max(SHORTEST).unsigned_abs())
}
