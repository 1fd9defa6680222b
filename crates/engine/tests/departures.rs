//! Clients that leave, over real sockets: what the reactor tells of them, and that nobody sleeps through the next
//! request because somebody was looked out for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail anywhere")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use engine::gateway::{Gateway, Parts};
use engine::{Carries, DnsSettings, Listener, Resolver, Settings};
use plugin::Services;
use plugin::clock::Clock;

/// Nothing here takes nearly as long, unless it never ends.
const PATIENCE: Duration = Duration::from_secs(30);

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct Setting {
    gateway: Gateway,
    upstream: TcpListener,
}

impl Setting {
    fn new() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let document = format!(
            "{{_format_version: '3.0', services: [{{name: one, url: 'http://{}', routes: [{{paths: [/]}}]}}]}}",
            upstream.local_addr().unwrap()
        );
        let config = model::declarative::load("test.yml", &document, &plugins::catalog()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let parts = Parts {
            definitions: plugins::ROOMS,
            services: Services::new(1, Clock::default(), false),
            resolver: Resolver::start(DnsSettings::default()).unwrap(),
            settings: Settings::default(),
            listeners: vec![Listener::new(address.into(), Carries::Requests)],
            inherited: Vec::new(),
        };
        let gateway = Gateway::start(parts, Arc::new(config)).unwrap_or_else(|error| panic!("{error:?}"));
        Self { gateway, upstream }
    }

    fn client(&self) -> TcpStream {
        patient(TcpStream::connect(self.gateway.addresses()[0]).unwrap())
    }

    fn accept(&self) -> TcpStream {
        patient(self.upstream.accept().unwrap().0)
    }
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads up to and including `end`.
fn until(stream: &mut TcpStream, end: &[u8]) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
}

/// The connection ends without a further byte.
fn ends(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// A client whose request has reached its service.
fn asked(setting: &Setting) -> (TcpStream, TcpStream) {
    let mut client = setting.client();
    client.write_all(GET).unwrap();
    let mut service = setting.accept();
    until(&mut service, b"\r\n\r\n");
    (client, service)
}

#[test]
fn a_client_that_closes_or_resets_ends_the_work_for_it() {
    let setting = Setting::new();
    let (client, mut service) = asked(&setting);
    drop(client);
    ends(&mut service);
    let (client, mut service) = asked(&setting);
    service.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    client.peek(&mut [0]).unwrap();
    // With bytes that nobody has read, closing is a reset.
    drop(client);
    ends(&mut service);
    let (client, mut service) = asked(&setting);
    client.shutdown(Shutdown::Write).unwrap();
    ends(&mut service);
    ends(&mut { client });
    setting.gateway.stop();
}

#[test]
fn bytes_before_the_end_are_requests_and_are_served() {
    let setting = Setting::new();
    let (mut client, mut service) = asked(&setting);
    client.write_all(GET).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // Once this has passed, the gateway knows of both and waits on.
    service.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    until(&mut client, b"\r\n\r\n");
    service.write_all(OK).unwrap();
    until(&mut client, b"ok");
    until(&mut service, b"\r\n\r\n");
    ends(&mut service);
    ends(&mut client);
    setting.gateway.stop();
}

#[test]
fn a_connection_goes_on_after_its_client_was_looked_out_for() {
    let setting = Setting::new();
    let (mut client, mut service) = asked(&setting);
    for round in 0..50 {
        // The gateway waits by now, or will: either way the next request has to wake it.
        if round % 2 == 1 {
            client.write_all(GET).unwrap();
        }
        service.write_all(OK).unwrap();
        until(&mut client, b"ok");
        if round % 2 == 0 {
            client.write_all(GET).unwrap();
        }
        until(&mut service, b"\r\n\r\n");
    }
    drop(client);
    ends(&mut service);
    setting.gateway.stop();
}
