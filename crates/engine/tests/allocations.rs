//! Allocations per request of a warm gateway, counted over the whole process with the real plugins.
//!
//! The client and the upstream of these stories allocate nothing themselves. What is left is named where it is
//! allowed. Background work (a tick a second) is spread over the requests, so the figures are rounded down.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail anywhere")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use engine::Listener;
use engine::gateway::{Gateway, Parts};
use engine::{DnsSettings, Resolver, Settings};
use plugin::Services;
use plugin::clock::Clock;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counting is process-wide: one story at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const WARM_UP: usize = 200;
const COUNTED: usize = 1000;

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}";

fn gateway(document: &str) -> Gateway {
    let config = model::declarative::load("test.yml", document, &plugins::catalog()).unwrap();
    let parts = Parts {
        definitions: plugins::ROOMS,
        services: Services::new(1, Clock::default(), false),
        resolver: Resolver::start(DnsSettings::default()).unwrap(),
        settings: Settings::default(),
        listeners: vec![Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
            backlog: 16,
            tls: false,
            http2: false,
            proxied: false,
            carries: engine::Carries::Requests,
        }],
        inherited: Vec::new(),
    };
    Gateway::start(parts, Arc::new(config)).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Answers every head with [`RESPONSE`]; after an upgrade it returns what it is sent.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => filled += count,
        }
        let request = &buffer[..filled];
        if !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"hello") {
            continue;
        }
        if buffer[..filled].windows(9).any(|window| window == b"websocket") {
            let switch =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(switch).unwrap();
            return echo(stream);
        }
        filled = 0;
        stream.write_all(RESPONSE).unwrap();
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..count]).unwrap();
    }
}

/// Sends `request` and reads a response whose body ends with `end`.
fn exchange(stream: &mut TcpStream, request: &[u8], end: &[u8]) {
    stream.write_all(request).unwrap();
    let mut buffer = [0; 4096];
    let mut filled = 0;
    while !buffer[..filled].ends_with(end) {
        let count = stream.read(&mut buffer[filled..]).unwrap();
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&buffer[..filled]));
        filled += count;
    }
    let head = &buffer[..12.min(filled)];
    assert!(end != b"true}" || head == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&buffer[..filled]));
}

/// Allocations per repetition of `story`, once it is warm.
fn per_repetition(mut story: impl FnMut()) -> usize {
    for _ in 0..WARM_UP {
        story();
    }
    let region = Region::new(GLOBAL);
    for _ in 0..COUNTED {
        story();
    }
    let change = region.change();
    (change.allocations + change.reallocations) / COUNTED
}

fn per_request(document: &str, request: &[u8]) -> usize {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let gateway = gateway(&document.replace("UPSTREAM", &upstream().to_string()));
    let mut client = TcpStream::connect(gateway.addresses()[0]).unwrap();
    client.set_nodelay(true).unwrap();
    let allocations = per_repetition(|| exchange(&mut client, request, b"true}"));
    drop(client);
    gateway.stop();
    allocations
}

const PLAIN: &str = "
_format_version: '3.0'
services:
- name: one
  url: http://UPSTREAM
  routes:
  - name: all
    paths: [/]
";

#[test]
fn plain_proxying_allocates_nothing() {
    let request =
        b"GET /path?query=1 HTTP/1.1\r\nHost: example.test\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";
    assert_eq!(per_request(PLAIN, request), 0);
}

#[test]
fn a_small_post_allocates_only_its_body() {
    let request = b"POST /path HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello";
    assert!(per_request(PLAIN, request) <= 1);
}

#[test]
fn jwt_and_limits_and_logs_allocate_what_is_named() {
    let folder = std::env::temp_dir().join(format!("biplane-allocations-{}", std::process::id()));
    let document = format!(
        "{PLAIN}
plugins:
- {{name: jwt}}
- {{name: rate-limiting, config: {{second: 1000000, policy: local}}}}
- {{name: correlation-id, config: {{generator: uuid, echo_downstream: true}}}}
- {{name: prometheus, config: {{status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true}}}}
- {{name: file-log, config: {{path: {}/access.log}}}}
consumers:
- username: alice
  jwt_secrets:
  - {{key: issuer, secret: secret}}
",
        folder.display()
    );
    // HS256 of {\"iss\":\"issuer\"} with the key \"secret\".
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJpc3N1ZXIifQ.\
                 FgSmi1aRikqCuBD_FwCa6yla30DVc9AgnyF-HAII--U";
    let request = format!(
        "GET /path?query=1 HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let allocations = per_request(&document, request.as_bytes());
    let _ = std::fs::remove_dir_all(folder);
    assert_eq!(allocations, 0, "a warm chain works in memory it has");
}

#[test]
fn a_websocket_message_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let gateway = gateway(&PLAIN.replace("UPSTREAM", &upstream().to_string()));
    let mut client = TcpStream::connect(gateway.addresses()[0]).unwrap();
    let upgrade =
        b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".as_slice();
    exchange(&mut client, upgrade, b"\r\n\r\n");
    assert_eq!(per_repetition(|| exchange(&mut client, b"a message", b"a message")), 0);
    drop(client);
    gateway.stop();
}
