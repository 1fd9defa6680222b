//! Allocations per request of a warm gateway, counted over the whole process with the real plugins.
//!
//! The client and the upstream of these stories allocate nothing themselves, or are a process of their own. What is left
//! is named where it is allowed. Background work (a tick a second) is spread over the requests, so the figures are
//! rounded down.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail anywhere")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

mod http2;
mod idle;
mod tls;

use engine::Listener;
use engine::gateway::{Gateway, Parts};
use engine::{DnsSettings, Resolver, Settings};
use libtest_mimic::{Arguments, Trial};
use plugin::clock::Clock;
use plugin::{Services, usage};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 200;
const COUNTED: usize = 1000;

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}";

/// A story that panics if it does not hold.
type Story = (&'static str, fn());

const STORIES: [Story; 17] = [
    ("plain_proxying_allocates_nothing", plain_proxying_allocates_nothing),
    ("no_way_to_balance_allocates_anything", no_way_to_balance_allocates_anything),
    ("a_small_post_allocates_only_its_body", a_small_post_allocates_only_its_body),
    ("a_chain_of_plugins_allocates_nothing", a_chain_of_plugins_allocates_nothing),
    (
        "a_request_that_passes_all_guards_allocates_nothing",
        a_request_that_passes_all_guards_allocates_nothing,
    ),
    ("several_local_limits_allocate_nothing", several_local_limits_allocate_nothing),
    ("choosing_a_release_allocates_nothing", choosing_a_release_allocates_nothing),
    ("counting_usage_allocates_nothing", counting_usage_allocates_nothing),
    ("a_websocket_message_allocates_nothing", a_websocket_message_allocates_nothing),
    ("a_connection_without_a_request_is_small", idle::a_connection_without_a_request_is_small),
    ("a_connection_between_requests_becomes_small", idle::a_connection_between_requests_becomes_small),
    ("half_a_head_is_small", idle::half_a_head_is_small),
    ("half_a_body_is_small", idle::half_a_body_is_small),
    ("plain_proxying_under_tls_allocates_what_rustls_does", tls::plain_proxying_allocates_what_rustls_does),
    ("a_chain_of_plugins_under_tls_allocates_what_rustls_does", tls::a_chain_allocates_what_rustls_does),
    ("plain_proxying_over_http2_allocates_what_is_named", http2::plain_proxying_allocates_what_is_named),
    ("a_chain_of_plugins_over_http2_allocates_what_is_named", http2::a_chain_allocates_what_is_named),
];

fn main() -> ExitCode {
    if let Ok(gateway) = std::env::var(tls::RELAY) {
        return tls::relay(&gateway);
    }
    let mut arguments = Arguments::from_args();
    // Counting is process-wide: one story at a time.
    arguments.test_threads = Some(1);
    let trial = |(name, story): Story| {
        Trial::test(name, move || {
            story();
            Ok(())
        })
    };
    libtest_mimic::run(&arguments, STORIES.into_iter().map(trial).collect()).exit_code()
}

/// How clients speak.
#[derive(Clone, Copy)]
enum Speech {
    Clear,
    Tls,
    Http2,
}

fn gateway(document: &str, speech: Speech) -> Gateway {
    let mut settings = Settings::default();
    settings.tls.default_certificates = engine::default_pairs(None).unwrap();
    let config = model::declarative::load("test.yml", document, &plugins::catalog()).unwrap();
    let services = Services::new(1, Clock::default(), false);
    // So often that some writes fall into every story that counts usage.
    let interval = Duration::from_millis(20);
    services.keep_usage(usage::Settings { interval, ..usage::Settings::at(":memory:") });
    let parts = Parts {
        definitions: plugins::ROOMS,
        services,
        resolver: Resolver::start(DnsSettings::default()).unwrap(),
        settings,
        listeners: vec![Listener {
            tls: matches!(speech, Speech::Tls),
            http2: matches!(speech, Speech::Http2),
            ..Listener::new(SocketAddr::from(([127, 0, 0, 1], 0)).into(), engine::Carries::Requests)
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
    let gateway = gateway(&document.replace("UPSTREAM", &upstream().to_string()), Speech::Clear);
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

const PLAIN_REQUEST: &[u8] =
    b"GET /path?query=1 HTTP/1.1\r\nHost: example.test\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";

fn plain_proxying_allocates_nothing() {
    assert_eq!(per_request(PLAIN, PLAIN_REQUEST), 0);
}

/// An upstream of two targets.
const BALANCED: &str = "
_format_version: '3.0'
services:
- name: one
  host: pool.test
  protocol: http
  routes: [{name: all, paths: [/]}]
upstreams:
- name: pool.test
  FIELDS
  targets: [{target: 'UPSTREAM'}, {target: 'OTHER', weight: 7}]
";

fn no_way_to_balance_allocates_anything() {
    let cookies = b"GET /path?query=1 HTTP/1.1\r\nHost: example.test\r\nCookie: a=b; sid=x\r\n\r\n";
    let ways: [(&str, &[u8]); 10] = [
        ("slow_start: 3600", PLAIN_REQUEST),
        ("pool: {max_connections: 8, min_idle: 2, idle_timeout: 30, max_lifetime: 3600}", PLAIN_REQUEST),
        ("algorithm: least-connections", PLAIN_REQUEST),
        ("algorithm: latency", PLAIN_REQUEST),
        ("algorithm: p2c", PLAIN_REQUEST),
        ("hash_on: path", PLAIN_REQUEST),
        ("hash_on: query_arg\n  hash_on_query_arg: query", PLAIN_REQUEST),
        ("hash_on: header\n  hash_on_header: X-None\n  hash_fallback: ip", PLAIN_REQUEST),
        ("hash_on: cookie\n  hash_on_cookie: sid", cookies),
        // Even where the cookie is set anew each time.
        ("algorithm: sticky-sessions\n  sticky_sessions_cookie: sid", cookies),
    ];
    for (fields, request) in ways {
        let document = BALANCED.replace("FIELDS", fields).replace("OTHER", &upstream().to_string());
        assert_eq!(per_request(&document, request), 0, "{fields}");
    }
}

fn a_small_post_allocates_only_its_body() {
    let request = b"POST /path HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello";
    assert!(per_request(PLAIN, request) <= 1);
}

/// What everything passes through in the chain of these stories.
const PLUGINS: &str = "
plugins:
- {name: jwt}
- {name: rate-limiting, config: {second: 1000000, policy: local}}
- {name: correlation-id, config: {generator: uuid, echo_downstream: true}}
- {name: prometheus, config: {status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true}}
- {name: file-log, config: {path: FOLDER/access.log}}
consumers:
- username: alice
  jwt_secrets:
  - {key: issuer, secret: secret}
";

/// HS256 of {\"iss\":\"issuer\"} with the key \"secret\".
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJpc3N1ZXIifQ.\
                     FgSmi1aRikqCuBD_FwCa6yla30DVc9AgnyF-HAII--U";

/// Runs `story` with a document whose plugins may write to a folder of their own.
fn with_chain<T>(story: impl FnOnce(&str) -> T) -> T {
    let folder = std::env::temp_dir().join(format!("biplane-allocations-{}", std::process::id()));
    let plugins = PLUGINS.replace("FOLDER", &folder.display().to_string());
    let outcome = story(&format!("{PLAIN}{plugins}"));
    let _ = std::fs::remove_dir_all(folder);
    outcome
}

fn authorized_request() -> String {
    format!(
        "GET /path?query=1 HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    )
}

fn a_chain_of_plugins_allocates_nothing() {
    let allocations = with_chain(|document| per_request(document, authorized_request().as_bytes()));
    assert_eq!(allocations, 0, "a warm chain works in memory it has");
}

/// Plugins that let most requests pass.
const GUARDS: &str = "
plugins:
- {name: bot-detection, config: {allow: ['^nobody'], deny: ['^curl/']}}
- {name: ip-restriction, config: {allow: [127.0.0.0/8, '::1'], deny: [127.0.0.2, '2001:db8::/32']}}
- {name: request-size-limiting, config: {allowed_payload_size: 1}}
- {name: fault-injection, config: {header: X-Chaos, abort: {status: 500}, delay: {fixed: 5}}}
- {name: upstream-timeout, config: {read_timeout: 60000}}
";

fn a_request_that_passes_all_guards_allocates_nothing() {
    assert_eq!(per_request(&format!("{PLAIN}{GUARDS}"), PLAIN_REQUEST), 0);
}

fn several_local_limits_allocate_nothing() {
    let limits = "
plugins:
- {name: rate-limiting-advanced, config: {limit: [1000000, 9000000], window_size: [1, 60]}}
- {name: rate-limiting, config: {second: 1000000, minute: 9000000, month: 9000000}}
";
    assert_eq!(per_request(&format!("{PLAIN}{limits}"), PLAIN_REQUEST), 0);
}

/// Ways to choose a release, an automatic canary among them: on either side of it, and between two comparisons.
const RELEASES: &str = "
plugins:
- {name: traffic-split, config: {services: [{service: one, weight: 30}, {weight: 70}], hash_on: header, hash_on_header: User-Agent}}
- {name: canary, config: {upstream_host: 127.0.0.1, hash: none, automatic: {steps: [50, 90], interval: 604800}}}
";

fn choosing_a_release_allocates_nothing() {
    let place = format!("upstream_port: {}, hash", upstream().port());
    let releases = RELEASES.replace("hash: none", &format!("{place}: none"));
    assert_eq!(per_request(&format!("{PLAIN}{releases}"), PLAIN_REQUEST), 0);
}

/// The upstream names no cost, so that the fixed one is charged.
const COUNTED_USAGE: &str = "
plugins:
- {name: key-auth}
- {name: usage, config: {cost: 0.5, cost_header: X-Usage-Cost}}
consumers:
- {username: alice, keyauth_credentials: [{key: secret}]}
";

fn counting_usage_allocates_nothing() {
    let request = b"GET /path HTTP/1.1\r\nHost: example.test\r\napikey: secret\r\n\r\n";
    assert_eq!(per_request(&format!("{PLAIN}{COUNTED_USAGE}"), request), 0);
}

fn a_websocket_message_allocates_nothing() {
    let gateway = gateway(&PLAIN.replace("UPSTREAM", &upstream().to_string()), Speech::Clear);
    let mut client = TcpStream::connect(gateway.addresses()[0]).unwrap();
    let upgrade =
        b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".as_slice();
    exchange(&mut client, upgrade, b"\r\n\r\n");
    assert_eq!(per_repetition(|| exchange(&mut client, b"a message", b"a message")), 0);
    drop(client);
    gateway.stop();
}
