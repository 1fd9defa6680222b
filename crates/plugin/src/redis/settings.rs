//! Where a Redis is, as whom to sign in, and how long to wait.

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

/// Who signs in; nobody where both are absent.
#[derive(Clone, Default)]
pub struct Identity {
    /// A user of the server's access control list.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// How many servers there are, and how the one to ask is found.
#[derive(Clone)]
pub enum Topology {
    /// One server.
    Single(Address),
    /// One server on this machine, by its Unix socket.
    Socket(PathBuf),
    /// The master that sentinels name.
    Sentinel {
        /// Its name among them.
        master: String,
        /// The sentinels.
        nodes: Vec<Address>,
        /// Who signs in to them.
        identity: Identity,
    },
    /// A cluster.
    Cluster {
        /// Some of its nodes, to begin with.
        nodes: Vec<Address>,
        /// Redirections that one exchange follows.
        most_redirections: usize,
    },
}

/// How TLS is spoken.
#[derive(Clone, PartialEq, Eq)]
pub struct Security {
    /// Whether the server's certificate is checked.
    pub verify: bool,
    /// The name asked for and checked, where it is not the host's.
    pub server_name: Option<String>,
}

/// All about one Redis.
#[derive(Clone)]
pub struct Settings {
    /// The servers.
    pub topology: Topology,
    /// Who signs in.
    pub identity: Identity,
    /// The database chosen.
    pub database: i64,
    /// TLS, if it is spoken.
    pub security: Option<Security>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer.
    pub answer_timeout: Duration,
    /// Exchanges of one worker at a time; more are not begun.
    pub most_in_flight: usize,
}

impl Settings {
    /// Longest that an exchange takes, a new connection included.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.connect_timeout.max(self.answer_timeout)
    }

    /// The servers in words, without a secret.
    #[must_use]
    pub fn place(&self) -> String {
        let list = |nodes: &[Address]| nodes.iter().map(Address::to_string).collect::<Vec<_>>().join(", ");
        match &self.topology {
            Topology::Single(address) => address.to_string(),
            Topology::Socket(path) => format!("unix:{}", path.display()),
            Topology::Sentinel { master, nodes, .. } => format!("{master} by sentinels {}", list(nodes)),
            Topology::Cluster { nodes, .. } => format!("cluster {}", list(nodes)),
        }
    }

    /// What tells these settings from all others, without showing a secret.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = Vec::new();
        let mut add = |part: &str| {
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part.as_bytes());
        };
        add(&self.place());
        let sentinels = match &self.topology {
            Topology::Sentinel { identity, .. } => identity.clone(),
            _ => Identity::default(),
        };
        for identity in [&self.identity, &sentinels] {
            add(&format!("{:?}{:?}", identity.username, identity.password));
        }
        add(&self.database.to_string());
        if let Some(security) = &self.security {
            add(&format!("{}{:?}", security.verify, security.server_name));
        }
        let redirections = match &self.topology {
            Topology::Cluster { most_redirections, .. } => *most_redirections,
            _ => 0,
        };
        let bounds = (self.connect_timeout, self.answer_timeout, self.most_in_flight, redirections);
        add(&format!("{bounds:?}"));
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &text).to_string()
    }
}
