//! The listeners under TLS: HTTP/1.1 and HTTP/2 by what the handshake agrees on, and clients that never finish one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use control::{Bounds, Listening};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio_rustls::TlsConnector;

use crate::support::Plane;

const NAME: &str = "admin.test";

/// A plane whose listeners speak TLS and offer `protocols`, and a client that believes it.
fn plane(protocols: &[&[u8]]) -> (Plane, ClientConfig) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let chain = vec![cert.der().clone()];
    let mut server = builder.unwrap().with_no_client_auth().with_single_cert(chain, key.into()).unwrap();
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let secure = Some(Arc::new(server));
    let listening = || {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Listening { socket, secure: secure.clone() }
    };
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    (Plane::start_on(listening(), listening(), Bounds::default()), client)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}

/// All that comes back for a request to `address`.
fn ask(address: SocketAddr, config: &ClientConfig, target: &str) -> String {
    let client = ClientConnection::new(Arc::new(config.clone()), name()).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The status and body of the answer to a request over HTTP/2.
fn ask_over_http2(plane: &Plane, client: ClientConfig, request: http::Request<()>) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(plane.admin()).await.unwrap();
        let stream = TlsConnector::from(Arc::new(client)).connect(name(), tcp).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request, true).unwrap().0.await.unwrap();
        let (head, mut body) = response.into_parts();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            text.extend_from_slice(&piece.unwrap());
        }
        (head.status.as_u16(), String::from_utf8(text).unwrap())
    })
}

#[test]
fn both_listeners_answer_under_tls() {
    let (plane, client) = plane(&[b"http/1.1"]);
    let admin = ask(plane.admin(), &client, "/services");
    assert!(admin.starts_with("HTTP/1.1 200 OK") && admin.contains("one.test"), "{admin}");
    let status = ask(plane.status(), &client, "/status");
    assert!(status.starts_with("HTTP/1.1 200 OK"), "{status}");
    // Through the other door there is nothing more than in cleartext.
    assert!(ask(plane.status(), &client, "/services").starts_with("HTTP/1.1 404"));
}

#[test]
fn http_2_is_spoken_where_it_is_agreed_on() {
    let (plane, mut client) = plane(&[b"h2", b"http/1.1"]);
    assert!(ask(plane.admin(), &client, "/").starts_with("HTTP/1.1 200 OK"));
    client.alpn_protocols = vec![b"h2".to_vec()];
    let request = http::Request::get(format!("https://{NAME}/services")).body(()).unwrap();
    let (status, body) = ask_over_http2(&plane, client, request);
    assert!(status == 200 && body.contains("one.test"), "{status} {body}");
}

#[test]
fn pages_are_told_apart_over_http_2_as_over_http_1() {
    let (plane, mut client) = plane(&[b"h2"]);
    client.alpn_protocols = vec![b"h2".to_vec()];
    for (host, field, value, status) in [
        ("127.0.0.1:8001", "origin", "https://127.0.0.1:8001", 200),
        ("127.0.0.1:8001", "origin", "https://127.0.0.1:8002", 403),
        ("127.0.0.1:8001", "accept-language", "de", 200),
        ("evil.test:8001", "accept-language", "de", 403),
    ] {
        let request = http::Request::get(format!("https://{host}/status")).header(field, value);
        let (answered, body) = ask_over_http2(&plane, client.clone(), request.body(()).unwrap());
        assert_eq!(answered, status, "{host} {value}: {body}");
    }
}

#[test]
fn who_speaks_no_tls_gets_no_answer_and_holds_up_nobody() {
    let (plane, client) = plane(&[b"http/1.1"]);
    let mut clear = TcpStream::connect(plane.admin()).unwrap();
    clear.write_all(b"GET /services HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    clear.read_to_end(&mut answer).unwrap();
    assert!(answer.len() < 16, "an alert at most: {answer:?}");
    let silent: Vec<_> = (0..16).map(|_| TcpStream::connect(plane.admin()).unwrap()).collect();
    assert!(ask(plane.admin(), &client, "/").starts_with("HTTP/1.1 200 OK"));
    // A stop does not wait for them, either.
    plane.running.stop();
    drop(silent);
}
