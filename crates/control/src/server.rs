//! The listeners: bounded connections, bounded times, a thread that ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::Control;
use crate::call::Door;
use crate::intake::Intake;

/// How long a connection may be used. Nothing here lasts longer, so this ends those whose client stopped reading.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Time for a handshake of TLS. Until it is done the connection takes one of the places.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one HTTP/2 connection at a time.
const MOST_STREAMS: u32 = 32;
/// How long an HTTP/2 connection may be silent before its client has to show that it is there, and has time for that.
const PING_TIMES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));
/// Time for what is still being answered once the end has come.
const GRACE: Duration = Duration::from_secs(2);
/// Pause when no connection can be accepted, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest head of a request.
const LARGEST_HEAD: usize = 64 * 1024;
/// Threads that work on answers.
const MOST_WORKERS: usize = 8;

/// What clients of a listener may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// Time for a request's head, and for a connection to stay idle.
    pub head_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 256, head_timeout: Duration::from_secs(60) }
    }
}

/// A listener with what is spoken on it.
pub struct Listening {
    /// Where connections come from.
    pub socket: TcpListener,
    /// Under TLS, how. What the handshake agrees on is spoken, HTTP/1.1 or HTTP/2; in cleartext it is HTTP/1.1.
    pub secure: Option<Arc<ServerConfig>>,
}

impl From<TcpListener> for Listening {
    fn from(socket: TcpListener) -> Self {
        Self { socket, secure: None }
    }
}

/// A running control plane. It stops when dropped.
pub struct Running {
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    admin: Vec<SocketAddr>,
    status: Vec<SocketAddr>,
}

/// Serves the Admin API and the status listener on a thread of their own.
///
/// # Errors
/// Those of the operating system.
pub fn serve(
    control: Arc<Control>,
    admin: Vec<Listening>,
    status: Vec<Listening>,
    bounds: Bounds,
) -> io::Result<Running> {
    let (stop, stopped) = watch::channel(false);
    let (admin_addresses, status_addresses) = (addresses(&admin)?, addresses(&status)?);
    let with = |door: Door| move |listening: Listening| (listening, door);
    let listeners: Vec<(Listening, Door)> =
        admin.into_iter().map(with(Door::Admin)).chain(status.into_iter().map(with(Door::Status))).collect();
    for (listening, _) in &listeners {
        listening.socket.set_nonblocking(true)?;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_WORKERS)
        .thread_name("control")
        .build()?;
    let intake = Arc::new(Intake::new(control));
    let body = move || {
        runtime.block_on(run(&intake, listeners, bounds, stopped));
        runtime.shutdown_timeout(GRACE);
    };
    let thread = thread::Builder::new().name("control".to_owned()).spawn(body)?;
    Ok(Running { stop, thread: Mutex::new(Some(thread)), admin: admin_addresses, status: status_addresses })
}

fn addresses(listeners: &[Listening]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(|listening| listening.socket.local_addr()).collect()
}

impl Running {
    /// Where the Admin API listens, with the ports that were taken.
    #[must_use]
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin
    }

    /// Where the status listeners are.
    #[must_use]
    pub fn status_addresses(&self) -> &[SocketAddr] {
        &self.status
    }

    /// Stops accepting, finishes what is being answered within two seconds, and ends.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic has already been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(
    intake: &Arc<Intake>,
    listeners: Vec<(Listening, Door)>,
    bounds: Bounds,
    stopped: watch::Receiver<bool>,
) {
    let mut accepting = JoinSet::new();
    for (Listening { socket, secure }, door) in listeners {
        match tokio::net::TcpListener::from_std(socket) {
            Ok(listener) => {
                let secure = secure.map(TlsAcceptor::from);
                let entrance = Entrance { intake: Arc::clone(intake), door, bounds, secure, at_home: false };
                accepting.spawn(accept(entrance, listener, stopped.clone()));
            }
            Err(error) => tracing::error!(%error, "a control listener could not be used"),
        }
    }
    accepting.join_all().await;
}

/// Where connections of one listener lead.
#[derive(Clone)]
struct Entrance {
    intake: Arc<Intake>,
    door: Door,
    bounds: Bounds,
    secure: Option<TlsAcceptor>,
    /// The client has come to a loopback address.
    at_home: bool,
}

async fn accept(entrance: Entrance, listener: tokio::net::TcpListener, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(entrance.bounds.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let at_home = stream.local_addr().is_ok_and(|local| local.ip().to_canonical().is_loopback());
                let (entrance, stopped) = (Entrance { at_home, ..entrance.clone() }, stopped.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    connection(entrance, stream, stopped).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control plane could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    // Each connection ends by itself: it hears of the stop and has a bounded time.
    connections.join_all().await;
}

async fn connection(entrance: Entrance, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
    let Some(acceptor) = &entrance.secure else { return speak_http1(entrance, stream, stopped).await };
    let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        _ = stopped.wait_for(|stop| *stop) => return,
    };
    match shaken {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            speak_http2(entrance, stream, stopped).await;
        }
        Ok(Ok(stream)) => speak_http1(entrance, stream, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS session with a client of the control plane"),
        Err(_) => tracing::debug!("a handshake with the control plane took too long"),
    }
}

async fn speak_http1(
    entrance: Entrance,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    stopped: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(entrance.bounds.head_timeout)
        .max_header_size(LARGEST_HEAD)
        // Nothing is read beyond it, but the whole of it has to fit.
        .max_buf_size(LARGEST_HEAD + 1)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service_fn(|request| answer(entrance.clone(), request)));
    let connection = std::pin::pin!(connection);
    until_over(connection, http1::Connection::graceful_shutdown, stopped).await;
}

async fn speak_http2(
    entrance: Entrance,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    stopped: watch::Receiver<bool>,
) {
    let (interval, patience) = PING_TIMES;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(LARGEST_HEAD as u32)
        .keep_alive_interval(interval)
        .keep_alive_timeout(patience)
        .serve_connection(TokioIo::new(stream), service_fn(move |request| answer(entrance.clone(), request)));
    let connection = std::pin::pin!(connection);
    until_over(connection, http2::Connection::graceful_shutdown, stopped).await;
}

async fn answer(entrance: Entrance, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(entrance.intake.answer(request, entrance.door, entrance.at_home).await)
}

/// Serves a connection until it ends, its time is over, or the control plane stops.
async fn until_over<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    shut_down: impl FnOnce(Pin<&mut C>),
    mut stopped: watch::Receiver<bool>,
) {
    let over = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = stopped.wait_for(|stop| *stop) => None,
        () = sleep(CONNECTION_TIMEOUT) => None,
    };
    let result = match over {
        Some(result) => result,
        None => {
            shut_down(connection.as_mut());
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a control connection ended early");
    }
}
