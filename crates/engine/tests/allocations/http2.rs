//! The same over HTTP/2, whose crates `h2` and `http` allocate. How much of it is theirs is measured with a server that is
//! nothing but they, and answers with the same fields.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::Bytes;
use http::Response;
use http::header::{HeaderName, HeaderValue};

use super::{PLAIN, Speech, TOKEN, gateway, per_repetition, upstream, with_chain};

/// What the gateway allocates for a stream beyond what the crates do: its task, its box and its timer among them. A chain
/// of plugins adds nothing.
const OURS: usize = 5;
/// What the crates allocate for a request and an answer as here, and for a field more of an answer.
const THEIRS: usize = 17;
const THEIRS_PER_FIELD: usize = 2;

/// The fields of an answer.
const ANSWER: &[Field<'static>] = &[
    ("content-type", "application/json"),
    ("content-length", "11"),
    ("server", "kong/3.9.3"),
    ("via", "1.1 kong/3.9.3"),
    ("x-kong-upstream-latency", "1"),
    ("x-kong-proxy-latency", "1"),
    ("x-kong-request-id", "0123456789abcdef0123456789abcdef"),
];

/// What the plugins add to it.
const ANSWER_OF_CHAIN: &[Field<'static>] = &[
    ("kong-request-id", "01234567-89ab-cdef-0123-456789abcdef"),
    ("ratelimit-limit", "1000000"),
    ("ratelimit-remaining", "999999"),
    ("ratelimit-reset", "1"),
    ("x-ratelimit-limit-second", "1000000"),
    ("x-ratelimit-remaining-second", "999999"),
];

pub fn plain_proxying_allocates_what_is_named() {
    let fields: &[Field] = &[("user-agent", "test"), ("accept", "*/*")];
    let gateway = gateway(&PLAIN.replace("UPSTREAM", &upstream().to_string()), Speech::Http2);
    let mut client = Client::connect(gateway.addresses()[0], fields);
    let allocations = per_repetition(|| client.exchange());
    drop(client);
    gateway.stop();
    let theirs = of_the_crates(fields, ANSWER);
    assert!(allocations <= theirs + OURS, "{allocations}, of which {theirs} are of the crates");
    assert!(theirs <= THEIRS, "{theirs}");
}

pub fn a_chain_allocates_what_is_named() {
    let authorization = format!("Bearer {TOKEN}");
    let fields: &[Field] = &[("accept", "*/*"), ("authorization", &authorization)];
    let allocations = with_chain(|document| {
        let gateway = gateway(&document.replace("UPSTREAM", &upstream().to_string()), Speech::Http2);
        let mut client = Client::connect(gateway.addresses()[0], fields);
        let allocations = per_repetition(|| client.exchange());
        drop(client);
        gateway.stop();
        allocations
    });
    let theirs = of_the_crates(fields, &[ANSWER, ANSWER_OF_CHAIN].concat());
    assert!(allocations <= theirs + OURS, "{allocations}, of which {theirs} are of the crates");
    assert!(theirs <= THEIRS + THEIRS_PER_FIELD * ANSWER_OF_CHAIN.len(), "{theirs}");
}

type Field<'a> = (&'a str, &'a str);

/// A client that sends the same request again and again, each on a stream of its own.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    number: u32,
    /// Memory for payloads.
    payload: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr, fields: &[Field<'_>]) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(4, 0, &[])).unwrap();
        stream.write_all(&frame(4, 1, &[])).unwrap();
        let pseudo = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "example.test"),
            (":path", "/path?query=1"),
        ];
        let block: Vec<u8> = pseudo.iter().chain(fields).flat_map(|field| literal(*field)).collect();
        // HEADERS, with the ends of section and stream.
        Self { stream, request: frame(1, 5, &block), number: 1, payload: vec![0; 16 << 10] }
    }

    fn exchange(&mut self) {
        self.request[5..9].copy_from_slice(&self.number.to_be_bytes());
        self.stream.write_all(&self.request).unwrap();
        while !self.ends_stream() {}
        self.number += 2;
    }

    /// Takes a frame; whether it is the last of the stream, whose answer has to be 200.
    fn ends_stream(&mut self) -> bool {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).unwrap();
        let length = usize::from(header[1]) << 8 | usize::from(header[2]);
        self.stream.read_exact(&mut self.payload[..length]).unwrap();
        let (kind, flags) = (header[3], header[4]);
        assert!(kind != 7 && kind != 3, "the stream or the connection was ended");
        if kind == 1 {
            let first = self.payload.iter().find(|byte| **byte >> 5 != 1);
            assert_eq!(first, Some(&0x88), "the status is 200");
        }
        kind <= 1 && flags & 1 == 1
    }
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, flags, 0, 0, 0, 0], payload].concat()
}

/// A field that the other side is not to remember.
fn literal((name, value): Field<'_>) -> Vec<u8> {
    let string = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        let mut bytes = if length < 127 { vec![length] } else { vec![127, length - 127] };
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    [vec![0], string(name), string(value)].concat()
}

/// Allocations per request of a server that is nothing but the crates.
fn of_the_crates(fields: &[Field<'_>], answer: &[Field<'static>]) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.to_vec();
    thread::spawn(move || serve(listener, &answer));
    let mut client = Client::connect(address, fields);
    per_repetition(|| client.exchange())
}

fn serve(listener: TcpListener, fields: &[Field<'_>]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let (stream, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut answer = Response::new(());
            answer.headers_mut().reserve(fields.len());
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                answer.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
            }
            let mut body = respond.send_response(answer, false).unwrap();
            body.send_data(Bytes::copy_from_slice(b"{\"ok\":true}"), true).unwrap();
        }
    });
}
