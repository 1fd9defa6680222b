//! Connections to helpers: opened when needed, kept by the thread that opened them while they are idle.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::Origin;
use super::{Fault, Proxies, Proxy};

/// Idle connections of a thread at most, over all servers; the oldest gives way.
const MOST_IDLE: usize = 32;

/// A connection that is ready for a request, or will be.
pub(super) type Connection = SendRequest<Full<Bytes>>;

struct Idle {
    origin: Arc<Origin>,
    connection: Connection,
    since: Instant,
}

/// Idle connections, by thread: a worker meets no other one's lock.
pub(super) struct Pool {
    shards: Box<[Mutex<Vec<Idle>>]>,
    longest_idle: Duration,
}

impl Pool {
    /// For so many threads; where there are more, some of them share.
    pub(super) fn new(threads: usize, longest_idle: Duration) -> Self {
        Self { shards: (0..threads.max(1)).map(|_| Mutex::default()).collect(), longest_idle }
    }

    /// An idle connection to `origin`, the one used last.
    pub(super) fn take(&self, origin: &Arc<Origin>) -> Option<Connection> {
        let mut idle = self.of_this_thread();
        idle.retain(|one| one.since.elapsed() < self.longest_idle && !one.connection.is_closed());
        let found = idle.iter().rposition(|one| Arc::ptr_eq(&one.origin, origin) || one.origin == *origin)?;
        Some(idle.remove(found).connection)
    }

    /// Keeps a connection whose answer has come whole.
    pub(super) fn give_back(&self, origin: &Arc<Origin>, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.of_this_thread();
        if idle.len() >= MOST_IDLE {
            idle.remove(0);
        }
        idle.push(Idle { origin: origin.clone(), connection, since: Instant::now() });
    }

    fn of_this_thread(&self) -> MutexGuard<'_, Vec<Idle>> {
        let shard = &self.shards[thread_number() % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads by the order in which they first asked.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(next));
            next
        })
    })
}

/// Opens a connection, under TLS with `tls`, through a proxy if there is one for it.
pub(super) async fn open(
    origin: &Origin,
    tls: Option<Arc<ClientConfig>>,
    proxies: &Proxies,
) -> Result<Connection, Fault> {
    let proxy = proxies.of(origin);
    let (host, port) = proxy.map_or((origin.host.as_str(), origin.port), |proxy| (&proxy.host, proxy.port));
    let failed = |error: io::Error| Fault::Unreachable(format!("{host}:{port}: {error}"));
    let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let Some(tls) = tls else { return begin(stream).await };
    if let Some(proxy) = proxy {
        tunnel(&mut stream, origin, proxy).await.map_err(failed)?;
    }
    let name = ServerName::try_from(origin.host.clone());
    let name = name.map_err(|error| Fault::Unreachable(format!("{}: {error}", origin.host)))?;
    begin(TlsConnector::from(tls).connect(name, stream).await.map_err(failed)?).await
}

/// Has a proxy open a tunnel (RFC 9110 9.3.6).
async fn tunnel(stream: &mut TcpStream, origin: &Origin, proxy: &Proxy) -> io::Result<()> {
    /// Bytes of the head of its answer.
    const LONGEST: usize = 8192;
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    let target = format!("{host}:{}", origin.port);
    let mut asked = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        asked.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
    }
    asked.extend(b"\r\n");
    stream.write_all(&asked).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        // Byte by byte: what follows the head is the server's.
        head.push(stream.read_u8().await?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match (head.starts_with(b"HTTP/1."), status) {
        (true, [b'2', _, _]) => Ok(()),
        _ => Err(io::Error::other(format!("the proxy opens no tunnel: {}", String::from_utf8_lossy(status)))),
    }
}

async fn begin<S>(stream: S) -> Result<Connection, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|error| Fault::Unreachable(error.to_string()))?;
    // It ends with the sender, or when the server closes.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a helper ended");
        }
    });
    Ok(sender)
}
