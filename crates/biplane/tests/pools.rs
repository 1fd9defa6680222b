//! Bounded connections with several workers: the bound holds over all of them, and nobody is forgotten in the line.

#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "not every test uses all of the rig")]

mod rig;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rig::{BINARY, Folder, Gateway, connect, get, read_head};

/// Clients who ask at the same time, each so often.
const CLIENTS: usize = 24;
const REQUESTS: usize = 50;
const BOUND: usize = 3;

/// Requests at a backend: now, and at most so far.
#[derive(Default)]
struct Served {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A backend that takes a moment for each request.
fn backend(served: &Arc<Served>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = served.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let served = served.clone();
            thread::spawn(move || {
                while read_head(&mut stream).is_some() {
                    let now = served.now.fetch_add(1, Ordering::SeqCst) + 1;
                    served.most.fetch_max(now, Ordering::SeqCst);
                    thread::park_timeout(Duration::from_millis(1));
                    served.now.fetch_sub(1, Ordering::SeqCst);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn two_workers_share_a_bound_and_a_line() {
    let served = Arc::new(Served::default());
    let folder = Folder::new("pools");
    let file = folder.write(
        "kong.yml",
        &format!(
            "_format_version: '3.0'\nservices:\n- name: one\n  host: orders\n  routes:\n  - {{name: all, paths: ['/']}}\n\
             upstreams:\n- name: orders\n  pool: {{max_connections: {BOUND}, queue_timeout: 60}}\n  targets: [{{target: \
             '{}'}}]\n",
            backend(&served)
        ),
    );
    let gateway = Gateway::start(Path::new(BINARY), &folder, |command| {
        command.arg(file).args(["--proxy-listen", "127.0.0.1:0"]);
    });
    let proxy = &*gateway.proxy[0];
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                // Now and then on another connection, which another worker may get.
                for _ in 0..REQUESTS / 10 {
                    let mut stream = connect(proxy);
                    for _ in 0..10 {
                        let head = get(&mut stream, "/").expect("an answer");
                        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                    }
                }
            });
        }
    });
    assert_eq!(served.most.load(Ordering::SeqCst), BOUND);
}
