//! The master that sentinels name.

use redis::Value;

use super::Fault;
use super::connection::{Connection, Opener};
use super::settings::{Address, Identity};

/// Opens a connection to the master, asking one sentinel after the other. One that names a server which is no master
/// (any more) is as good as one that does not answer.
pub async fn open_master(
    opener: &Opener,
    master: &str,
    nodes: &[Address],
    identity: &Identity,
) -> Result<Connection, Fault> {
    let mut last = Fault::Lost("there is no sentinel".to_owned());
    let share = opener.settings.connect_timeout / u32::try_from(nodes.len().max(1)).unwrap_or(u32::MAX);
    for node in nodes {
        // A sentinel that is silent leaves time for the others.
        match tokio::time::timeout(share, through(opener, master, node, identity)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(fault)) => last = fault,
            Err(_) => last = Fault::Lost(format!("the sentinel {node} or its master did not answer")),
        }
    }
    Err(last)
}

async fn through(
    opener: &Opener,
    master: &str,
    node: &Address,
    identity: &Identity,
) -> Result<Connection, Fault> {
    let sentinel = opener.open(node, identity, 0).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer = sentinel.send(&question).await.map_err(|error| Fault::of(&error))?;
    let found: Option<(String, u16)> = redis::from_redis_value(answer)
        .map_err(|error| Fault::Lost(format!("the sentinel {node} answered: {error}")))?;
    let Some((host, port)) = found else {
        return Err(Fault::Lost(format!("the sentinel {node} knows no master called '{master}'")));
    };
    let address = Address { host, port };
    let settings = &opener.settings;
    let connection = opener.open(&address, &settings.identity, settings.database).await?;
    match role(&connection).await?.as_str() {
        "master" => Ok(connection),
        role => Err(Fault::Lost(format!("{address} is a {role}, though sentinels call it the master"))),
    }
}

async fn role(connection: &Connection) -> Result<String, Fault> {
    let answer = connection.send(&redis::cmd("ROLE")).await.map_err(|error| Fault::of(&error))?;
    let Value::Array(parts) = answer else { return Ok("server of an unknown role".to_owned()) };
    let role = parts.into_iter().next().unwrap_or(Value::Nil);
    redis::from_redis_value(role).map_err(|error| Fault::Lost(error.to_string()))
}
