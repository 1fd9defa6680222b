//! One connection to one server: TCP or a Unix socket, TLS where asked for, signing in, and the task that drives it.

use std::path::Path;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::Fault;
use super::settings::{Address, Identity, Settings};

/// Commands that wait to be written; beyond it, senders wait.
const QUEUE: usize = 256;

/// What connections are opened with.
pub struct Opener {
    /// The configuration.
    pub settings: Settings,
    /// TLS, where the configuration asks for it.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A connection that all tasks of a worker use together. The last clone ends it.
#[derive(Clone)]
pub struct Connection {
    commands: MultiplexedConnection,
    _driver: Arc<Driver>,
}

/// The task that reads and writes. It would wait for what is owed by a server that has stopped, so it is ended.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Sends a command and waits for its answer.
    pub async fn send(&self, command: &redis::Cmd) -> RedisResult<Value> {
        // An error of the server may come as a value.
        self.commands.clone().send_packed_command(command).await?.extract_error()
    }

    /// Sends `ASKING` and a command behind it, so that nothing comes in between.
    pub async fn send_asking(&self, command: &redis::Cmd) -> RedisResult<Value> {
        let mut both = redis::pipe();
        both.add_command(redis::cmd("ASKING")).add_command(command.clone());
        let mut answers = self.commands.clone().send_packed_commands(&both, 1, 1).await?;
        answers.pop().unwrap_or(Value::Nil).extract_error()
    }
}

impl Opener {
    /// Opens a connection to `address` as `identity`. Choosing a database is left out for the first one.
    pub async fn open(
        &self,
        address: &Address,
        identity: &Identity,
        database: i64,
    ) -> Result<Connection, Fault> {
        let lost = |text: String| Fault::Lost(format!("{address}: {text}"));
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await;
        let stream = stream.map_err(|error| lost(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| lost(error.to_string()))?;
        let begun = match (&self.tls, &self.settings.security) {
            (Some(tls), Some(security)) => {
                let name = security.server_name.as_deref().unwrap_or(&address.host).to_owned();
                let name = ServerName::try_from(name).map_err(|error| lost(error.to_string()))?;
                let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
                begin(stream.map_err(|error| lost(error.to_string()))?, identity, database).await
            }
            _ => begin(stream, identity, database).await,
        };
        begun.map_err(|error| lost(error.to_string()))
    }

    /// Opens a connection to the Unix socket at `path`.
    pub async fn open_socket(
        &self,
        path: &Path,
        identity: &Identity,
        database: i64,
    ) -> Result<Connection, Fault> {
        let lost = |text: String| Fault::Lost(format!("{}: {text}", path.display()));
        let stream = UnixStream::connect(path).await.map_err(|error| lost(error.to_string()))?;
        begin(stream, identity, database).await.map_err(|error| lost(error.to_string()))
    }
}

async fn begin<S>(stream: S, identity: &Identity, database: i64) -> RedisResult<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Naming the library is refused by old servers and by proxies in between.
    let mut info = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
    if let Some(username) = &identity.username {
        info = info.set_username(username);
    }
    if let Some(password) = &identity.password {
        info = info.set_password(password);
    }
    // Whoever waits has a deadline of its own.
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let (commands, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
    let driver = Driver(tokio::spawn(driver).abort_handle());
    Ok(Connection { commands, _driver: Arc::new(driver) })
}

/// Whether the server answers a ping.
pub async fn ping(connection: &Connection) -> Result<(), Fault> {
    connection.send(&redis::cmd("PING")).await.map(drop).map_err(|error| Fault::of(&error))
}
