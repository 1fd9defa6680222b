//! The three services behind the demo. They know nothing of the gateway.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

/// Connections of one service at a time.
const MOST_CONNECTIONS: usize = 512;
/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Running services, until dropped.
pub struct Services {
    /// Users, orders, products.
    pub addresses: [SocketAddr; 3],
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
enum Service {
    Users,
    Orders,
    Products,
}

/// How often each service was asked, to tell a fresh answer from a kept one.
#[derive(Default)]
struct Asked(AtomicU64);

impl Services {
    /// Starts all three on free ports of loopback.
    pub fn start() -> io::Result<Self> {
        let listen = || TcpListener::bind(("127.0.0.1", 0));
        let listeners = [listen()?, listen()?, listen()?];
        let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); 3];
        for (listener, address) in listeners.iter().zip(&mut addresses) {
            listener.set_nonblocking(true)?;
            *address = listener.local_addr()?;
        }
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || runtime.block_on(serve_all(listeners, stopped));
        let thread = thread::Builder::new().name("demo-services".to_owned()).spawn(serve)?;
        Ok(Self { addresses, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic has already been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

async fn serve_all(listeners: [TcpListener; 3], stopped: oneshot::Receiver<Infallible>) {
    let services = [Service::Users, Service::Orders, Service::Products];
    let mut running = tokio::task::JoinSet::new();
    for (listener, service) in listeners.into_iter().zip(services) {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(running.spawn(serve(listener, service))),
            Err(error) => tracing::error!(%error, "a demo service could not start"),
        }
    }
    // Ends when the sender is dropped; nothing is ever sent.
    let _ = stopped.await;
    running.shutdown().await;
}

async fn serve(listener: tokio::net::TcpListener, service: Service) {
    let asked = Arc::new(Asked::default());
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let asked = Arc::clone(&asked);
        connections.spawn(async move {
            let _slot = slot;
            let answer = service_fn(move |request: Request<Incoming>| {
                let count = asked.0.fetch_add(1, Ordering::Relaxed) + 1;
                let answer = answer(service, count, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a demo service ended early");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(service: Service, count: u64, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match (service, request.method().as_str(), request.uri().path()) {
        (Service::Users, "GET", "/users/me") => Some(me(request, count)),
        (Service::Users, "GET", "/users") => Some(json!({ "users": ["alice", "bob"], "answer": count })),
        (Service::Orders, "GET" | "POST", "/orders") => Some(orders(request, count)),
        (Service::Products, "GET", "/products") => Some(products(request, count)),
        _ => None,
    };
    let status = if body.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let body = body.unwrap_or_else(|| json!({ "error": "there is nothing here" }));
    let mut response = Response::new(Full::new(Bytes::from(format!("{body:#}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn header<'r>(request: &'r Request<Incoming>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

fn me(request: &Request<Incoming>, count: u64) -> Value {
    json!({
        "username": header(request, "x-consumer-username"),
        "credential": header(request, "x-credential-identifier"),
        "request_id": header(request, "x-request-id"),
        "answer": count,
    })
}

fn orders(request: &Request<Incoming>, count: u64) -> Value {
    json!({
        "customer": header(request, "x-consumer-username"),
        "orders": [
            { "id": 1041, "product": "Notebook", "quantity": 3, "total": 13.5 },
            { "id": 1042, "product": "Desk lamp", "quantity": 1, "total": 39.0 },
        ],
        "answer": count,
    })
}

fn products(request: &Request<Incoming>, count: u64) -> Value {
    let mut products = vec![
        json!({ "id": 3, "name": "Desk lamp", "price": 39.0, "stock": 12 }),
        json!({ "id": 1, "name": "Notebook", "price": 4.5, "stock": 340 }),
        json!({ "id": 2, "name": "Fountain pen", "price": 24.9, "stock": 57 }),
    ];
    let by_price = request.uri().query().is_some_and(|query| query.contains("sort=price"));
    if by_price {
        products.sort_by(|left, right| {
            left["price"].as_f64().partial_cmp(&right["price"].as_f64()).unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    json!({
        "products": products,
        "shop": header(request, "x-shop"),
        "warehouse": "W7, internal",
        "answer": count,
    })
}
