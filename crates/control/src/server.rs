//! The listeners: bounded connections, bounded times, a thread that ends.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Control;
use crate::call::Door;
use crate::intake::Intake;

/// Connections of one listener at a time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 256;
/// Time for a request's head, and for a connection to stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may be used. Nothing here lasts longer, so this ends those whose client stopped reading.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Time for what is still being answered once the end has come.
const GRACE: Duration = Duration::from_secs(2);
/// Pause when no connection can be accepted, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest head of a request.
const LARGEST_HEAD: usize = 64 * 1024;
/// Threads that work on answers.
const MOST_WORKERS: usize = 8;

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
    let intake = Arc::new(Intake::new(control));
    let body = move || {
        runtime.block_on(run(&intake, listeners, stopped));
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

async fn run(intake: &Arc<Intake>, listeners: Vec<(TcpListener, Door)>, stopped: watch::Receiver<bool>) {
    let mut accepting = JoinSet::new();
    for (listener, door) in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                accepting.spawn(accept(Arc::clone(intake), listener, door, stopped.clone()));
            }
            Err(error) => tracing::error!(%error, "a control listener could not be used"),
        }
    }
    accepting.join_all().await;
}

async fn accept(
    intake: Arc<Intake>,
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
                let (intake, stopped) = (Arc::clone(&intake), stopped.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    connection(intake, stream, door, stopped).await;
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

async fn connection(intake: Arc<Intake>, stream: TcpStream, door: Door, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let intake = Arc::clone(&intake);
        async move { Ok::<_, Infallible>(intake.answer(request, door).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .title_case_headers(true)
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
