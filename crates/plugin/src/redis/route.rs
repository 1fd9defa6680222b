//! From a request to the connection that can answer it, whatever the servers look like.

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::connection::{Connection, Opener, ping};
use super::request::Request;
use super::settings::{Address, Topology};
use super::{Fault, sentinel};

/// A way to the server or servers, on which all tasks of a worker travel.
pub enum Route {
    /// To one server.
    One(Connection),
    /// To the masters of a cluster.
    Cluster(Mutex<Cluster>),
}

impl Route {
    /// Opens a way to what the settings name.
    pub async fn open(opener: &Opener) -> Result<Self, Fault> {
        let settings = &opener.settings;
        match &settings.topology {
            Topology::Single(address) => {
                Ok(Self::One(opener.open(address, &settings.identity, settings.database).await?))
            }
            Topology::Socket(path) => {
                Ok(Self::One(opener.open_socket(path, &settings.identity, settings.database).await?))
            }
            Topology::Sentinel { master, nodes, identity } => {
                Ok(Self::One(sentinel::open_master(opener, master, nodes, identity).await?))
            }
            Topology::Cluster { nodes, .. } => {
                Ok(Self::Cluster(Mutex::new(Cluster::open(opener, nodes).await?)))
            }
        }
    }

    /// Whether everybody at its end answers.
    pub async fn check(&self) -> Result<(), Fault> {
        match self {
            Self::One(connection) => ping(connection).await,
            // Opening it has asked every master.
            Self::Cluster(_) => Ok(()),
        }
    }

    /// Carries an exchange out.
    pub async fn run(&self, request: &Request<'_>, opener: &Opener) -> Result<Value, Fault> {
        match self {
            Self::One(connection) => {
                evaluate(connection, request, false).await.map_err(|error| Fault::of(&error))
            }
            Self::Cluster(cluster) => run_in_cluster(cluster, request, opener).await,
        }
    }
}

async fn run_in_cluster(
    cluster: &Mutex<Cluster>,
    request: &Request<'_>,
    opener: &Opener,
) -> Result<Value, Fault> {
    let Topology::Cluster { most_redirections, .. } = opener.settings.topology else {
        return Err(Fault::Refused("not a cluster".to_owned()));
    };
    let key = request.key();
    let mut connection = cluster.lock().await.connection_for(key, opener).await?;
    let mut asking = false;
    for _ in 0..=most_redirections {
        let error = match evaluate(&connection, request, asking).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some((target, stays)) = redirection(&error) else { return Err(Fault::of(&error)) };
        let mut cluster = cluster.lock().await;
        let host = (!target.host.is_empty()).then_some(target.host).or_else(|| cluster.host_of(key));
        let address = Address { host: host.unwrap_or_default(), port: target.port };
        connection = cluster.redirected(key, address, stays, opener).await?;
        asking = !stays;
    }
    Err(Fault::Refused(format!("more than {most_redirections} redirections (cluster_max_redirections)")))
}

/// Where an error sends to, and for good or once only.
fn redirection(error: &RedisError) -> Option<(Address, bool)> {
    let stays = match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => true,
        ErrorKind::Server(ServerErrorKind::Ask) => false,
        _ => return None,
    };
    // The detail is `SLOT HOST:PORT`.
    let (_, target) = error.detail()?.trim().rsplit_once(' ')?;
    let (host, port) = target.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((Address { host, port: port.parse().ok()? }, stays))
}

/// Sends a request; a script by its digest, and in full to a server that has not seen it.
async fn evaluate(connection: &Connection, request: &Request<'_>, asking: bool) -> Result<Value, RedisError> {
    let send = async |command: redis::Cmd| match asking {
        true => connection.send_asking(&command).await,
        false => connection.send(&command).await,
    };
    match send(request.command()).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            send(request.in_full()).await
        }
        outcome => outcome,
    }
}
