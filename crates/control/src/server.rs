//! The listeners: bounded connections, bounded times, bounded bodies, one load of a configuration at a time.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Control;
use crate::call::{Call, Door, segments};
use crate::reply::Reply;
use crate::resource;

/// Connections of one listener at a time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 256;
/// Time for a request's head, and for a connection to stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may be used. Nothing here lasts longer, so this ends those whose client stopped reading.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Time for what is still being answered once the end has come.
const GRACE: Duration = Duration::from_secs(2);
/// Pause when no connection can be accepted, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest head of a request.
const LARGEST_HEAD: usize = 64 * 1024;
/// Largest declarative configuration.
const LARGEST_CONFIG: usize = 64 * 1024 * 1024;
/// Largest body of any other request.
const LARGEST_BODY: usize = 1024 * 1024;
/// Configurations that may be in memory at a time, read or being read.
const MOST_CONFIGS: usize = 4;
/// Threads that work on answers.
const MOST_WORKERS: usize = 8;
/// Seconds after which a refused load may be tried again.
const RETRY_AFTER: &str = "60";

/// A running control plane. It stops when dropped.
pub struct Running {
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    admin: Vec<SocketAddr>,
    status: Vec<SocketAddr>,
}

/// Listens on an address, ready for [`serve`].
///
/// # Errors
/// Those of the operating system.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Serves the Admin API and the status listener on a thread of their own.
///
/// # Errors
/// Those of the operating system.
pub fn serve(
    control: Arc<Control>,
    admin: Vec<TcpListener>,
    status: Vec<TcpListener>,
) -> io::Result<Running> {
    let (stop, stopped) = watch::channel(false);
    let (admin_addresses, status_addresses) = (addresses(&admin)?, addresses(&status)?);
    let with = |door: Door| move |listener: TcpListener| (listener, door);
    let listeners: Vec<(TcpListener, Door)> =
        admin.into_iter().map(with(Door::Admin)).chain(status.into_iter().map(with(Door::Status))).collect();
    for (listener, _) in &listeners {
        listener.set_nonblocking(true)?;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_WORKERS)
        .thread_name("control")
        .build()?;
    let server =
        Arc::new(Server { control, loading: Semaphore::new(1), configs: Semaphore::new(MOST_CONFIGS) });
    let body = move || {
        runtime.block_on(run(&server, listeners, stopped));
        runtime.shutdown_timeout(GRACE);
    };
    let thread = thread::Builder::new().name("control".to_owned()).spawn(body)?;
    Ok(Running { stop, thread: Mutex::new(Some(thread)), admin: admin_addresses, status: status_addresses })
}

fn addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
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

struct Server {
    control: Arc<Control>,
    loading: Semaphore,
    configs: Semaphore,
}

async fn run(server: &Arc<Server>, listeners: Vec<(TcpListener, Door)>, stopped: watch::Receiver<bool>) {
    let mut accepting = JoinSet::new();
    for (listener, door) in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                accepting.spawn(accept(Arc::clone(server), listener, door, stopped.clone()));
            }
            Err(error) => tracing::error!(%error, "a control listener could not be used"),
        }
    }
    accepting.join_all().await;
}

async fn accept(
    server: Arc<Server>,
    listener: tokio::net::TcpListener,
    door: Door,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
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
                let (server, stopped) = (Arc::clone(&server), stopped.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    connection(server, stream, door, stopped).await;
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

async fn connection(server: Arc<Server>, stream: TcpStream, door: Door, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request, door).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let over = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = stopped.wait_for(|stop| *stop) => None,
        () = sleep(CONNECTION_TIMEOUT) => None,
    };
    let result = match over {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a control connection ended early");
    }
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, door: Door) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let version = self.control.kong_version;
        let reply = self.reply(request, door).await;
        let latency = started.elapsed().as_millis().to_string();
        response(reply.with("X-Kong-Admin-Latency", latency).with("Server", format!("kong/{version}")))
    }

    async fn reply(self: Arc<Self>, request: Request<Incoming>, door: Door) -> Reply {
        let is_load =
            door == Door::Admin && request.method() == "POST" && segments(request.uri().path()) == ["config"];
        if !is_load {
            return match self.call(request, door, LARGEST_BODY).await {
                Ok(call) => work(call).await,
                Err(reply) => reply,
            };
        }
        // Waits for its turn, so that not all connections can fill memory with configurations.
        let _turn = self.configs.acquire().await;
        let call = match self.call(request, door, LARGEST_CONFIG).await {
            Ok(call) => call,
            Err(reply) => return reply,
        };
        match self.loading.try_acquire() {
            Ok(_only_one) => work(call).await,
            Err(_) => Reply::message(429, "Currently loading previous configuration")
                .with("Retry-After", RETRY_AFTER.to_owned()),
        }
    }

    async fn call(&self, request: Request<Incoming>, door: Door, largest: usize) -> Result<Call, Reply> {
        let (head, body) = request.into_parts();
        let text = |name: HeaderName| {
            let value = head.headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        let method = match head.method.as_str() {
            "HEAD" => "GET",
            method => method,
        };
        Ok(Call {
            control: Arc::clone(&self.control),
            door,
            method: method.to_owned(),
            segments: segments(head.uri.path()),
            query: head.uri.query().map(str::to_owned),
            content_type: text(CONTENT_TYPE),
            body: read(body, largest).await?,
        })
    }
}

/// Reads a body within its bounds.
async fn read(body: Incoming, largest: usize) -> Result<Bytes, Reply> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_large = || Reply::message(413, &format!("request body is larger than {largest} bytes"));
    if body.size_hint().lower() > largest as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, largest).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Reply::message(400, "Bad request")),
        Err(_) => Err(Reply::message(408, "Request timeout")),
    }
}

/// Answers a call on a thread that may be slow. A fault of ours there is an answer, not a lost connection.
async fn work(call: Call) -> Reply {
    let answered = tokio::task::spawn_blocking(move || resource::answer(&call)).await;
    answered.unwrap_or_else(|_| Reply::message(500, "An unexpected error occurred"))
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let Reply { answer, headers } = reply;
    let has_body = !answer.body.is_empty();
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    if has_body {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    }
    fields.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            fields.insert(name, value);
        }
    }
    response
}
