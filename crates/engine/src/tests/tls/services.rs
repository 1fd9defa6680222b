//! Connections to services under TLS: what name they ask for, how long they last, and who shares them.

use std::io;
use std::sync::Arc;

use rustls::server::WantsServerCert;
use rustls::{ConfigBuilder, HandshakeKind, ServerConfig, WantsVerifier};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::authority::{Authority, Issued};
use super::{GET, OK, pair, provider};
use crate::settings::Settings;
use crate::tests::lab::{Lab, Peer, with};

pub type Service = Peer<TlsStream<DuplexStream>>;

/// A document with one service under TLS.
#[derive(Clone)]
pub struct Document {
    fields: String,
    entities: String,
}

impl Document {
    pub fn new(host_header: &str) -> Self {
        let fields = "name: one, url: 'https://up.test:443', routes: [{paths: [/]}], \
             connect_timeout: 1000, read_timeout: 1000, retries: 2"
            .to_owned();
        let entities = format!(
            "upstreams:\n- {{name: up.test, host_header: {host_header}, targets: [{{target: '10.0.0.1:443'}}]}}\n"
        );
        Self { fields, entities }
    }

    /// Further fields of the service.
    pub fn with(mut self, fields: &str) -> Self {
        if !fields.is_empty() {
            self.fields.push_str(&format!(", {fields}"));
        }
        self
    }

    /// The service is verified by these authorities, if it is.
    pub fn trusting(mut self, authorities: &[&Authority]) -> Self {
        self.entities.push_str("ca_certificates:\n");
        let mut ids = Vec::new();
        for (number, authority) in authorities.iter().enumerate() {
            let id = format!("9ad4b0a5-7a53-4a08-8a3c-0d1e3f1b6f0{number}");
            self.entities.push_str(&format!("- {{id: {id}, cert: {}}}\n", text(&authority.pem())));
            ids.push(id);
        }
        let ids = ids.join(", ");
        self.with(&format!("ca_certificates: [{ids}]"))
    }

    /// The service is shown this certificate.
    pub fn showing(mut self, issued: &Issued) -> Self {
        let id = "9ad4b0a5-7a53-4a08-8a3c-0d1e3f1b6f20";
        let (cert, key) = (text(&issued.certificate), text(&issued.key));
        self.entities.push_str(&format!("certificates:\n- {{id: {id}, cert: {cert}, key: {key}}}\n"));
        self.with(&format!("client_certificate: {id}"))
    }

    pub fn text(&self) -> String {
        format!("_format_version: '3.0'\nservices:\n- {{{}}}\n{}", self.fields, self.entities)
    }
}

fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

pub fn server_builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions().unwrap()
}

/// A service that shows `issued`.
pub fn server(issued: &Issued) -> Arc<ServerConfig> {
    let builder: ConfigBuilder<ServerConfig, WantsServerCert> = server_builder().with_no_client_auth();
    Arc::new(builder.with_cert_resolver(pair(issued).resolver()))
}

/// The service's side of a handshake.
pub async fn accept(peer: Peer, server: &Arc<ServerConfig>) -> io::Result<Service> {
    TlsAcceptor::from(server.clone()).accept(peer.0).await.map(Peer)
}

/// Sends a request and answers it on a connection the gateway opens. The service's end, and the head it got.
pub async fn visit<S: AsyncRead + AsyncWrite + Unpin>(
    lab: &Lab,
    client: &mut Peer<S>,
    server: &Arc<ServerConfig>,
    request: &str,
) -> (Service, String) {
    client.send(request).await;
    let mut service = accept(lab.upstream().await, server).await.unwrap();
    let head = again(client, &mut service).await;
    (service, head)
}

/// Answers a request that comes on a connection that is open already.
async fn again<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Peer<S>, service: &mut Service) -> String {
    let head = service.head().await;
    service.send(OK).await;
    assert_eq!(client.response().await.0, 200);
    head
}

fn asked_for(service: &Service) -> Option<&str> {
    service.0.get_ref().1.server_name()
}

fn to(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_opened_ahead_is_for_the_name_that_requests_ask_for() {
    let authority = Authority::root();
    let document = Document::new("api.test").trusting(&[&authority]).text();
    let document = document.replace("host_header: api.test", "host_header: api.test, pool: {min_idle: 1}");
    with(&document, Settings::default(), |lab| async move {
        crate::worker::tidy_up(&lab.local);
        let server = server(&authority.issue(&["api.test"]));
        let mut service = accept(lab.upstream().await, &server).await.unwrap();
        assert_eq!(asked_for(&service), Some("api.test"));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let mut client = lab.client();
        client.send(GET).await;
        again(&mut client, &mut service).await;
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_server_name_is_the_host_the_service_is_sent() {
    let server = server(&Authority::root().issue(&["x.test"]));
    with(&Document::new("secure.test:8443").text(), Settings::default(), |lab| async move {
        let mut client = lab.client();
        let (service, head) = visit(&lab, &mut client, &server, GET).await;
        assert_eq!(asked_for(&service), Some("secure.test"));
        assert!(head.contains("Host: secure.test:8443\r\n"), "{head}");
        let direct = Document::new("x.test").text().replace("https://up.test:443", "https://10.0.0.9:443");
        lab.reload(&direct);
        let (service, head) = visit(&lab, &mut client, &server, GET).await;
        assert_eq!(asked_for(&service), None, "an address is no server name");
        assert!(head.contains("Host: 10.0.0.9\r\n"), "{head}");
        lab.reload(&direct.replace("10.0.0.9", "[2001:db8::9]"));
        let (service, head) = visit(&lab, &mut client, &server, GET).await;
        assert_eq!(asked_for(&service), None);
        assert!(head.contains("Host: [2001:db8::9]\r\n"), "{head}");
        let preserving = direct.replace("paths: [/]", "paths: [/], preserve_host: true");
        lab.reload(&preserving);
        let (service, head) = visit(&lab, &mut client, &server, &to("client.test:1")).await;
        assert_eq!(asked_for(&service), Some("client.test"));
        assert!(head.contains("Host: client.test:1\r\n"), "{head}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_only_requests_that_want_the_same_name() {
    let server = server(&Authority::root().issue(&["x.test"]));
    let document = Document::new("up.test").text().replace("paths: [/]", "paths: [/], preserve_host: true");
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        let (first, _) = visit(&lab, &mut client, &server, &to("a.test")).await;
        let (second, _) = visit(&lab, &mut client, &server, &to("b.test")).await;
        let mut opened = [first, second];
        for (host, service) in [("A.test:80", 0), ("b.test", 1), ("a.test.", 0)] {
            client.send(&to(host)).await;
            again(&mut client, &mut opened[service]).await;
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_two_identities_share_a_connection() {
    let [root, other, third] = [Authority::root(), Authority::root(), Authority::root()];
    let server = server(&root.issue(&["secure.test"]));
    let plain = Document::new("secure.test");
    let verified = plain.clone().trusting(&[&root]).with("tls_verify: true");
    let documents = [
        plain.clone(),
        verified.clone(),
        verified.clone().with("tls_verify_depth: 3"),
        plain.clone().trusting(&[&root, &other]).with("tls_verify: true"),
        plain.clone().trusting(&[&root, &third]).with("tls_verify: true"),
        plain.clone().showing(&root.issue(&["client.test"])),
        plain.clone().showing(&root.issue(&["client.test"])),
    ];
    let cleartext = plain.text().replace("https://", "http://");
    with(&cleartext.clone(), Settings::default(), |lab| async move {
        let (mut client, mut clear) = lab.asked(GET).await;
        clear.send(OK).await;
        client.response().await;
        let mut services = Vec::new();
        for document in &documents {
            lab.reload(&document.text());
            services.push(visit(&lab, &mut client, &server, GET).await.0);
        }
        // All of them are still open, and each serves its own: a reload closes nothing.
        for (document, service) in documents.iter().zip(&mut services) {
            lab.reload(&document.text());
            client.send(GET).await;
            again(&mut client, service).await;
        }
        lab.reload(&cleartext);
        client.send(GET).await;
        clear.head().await;
        clear.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_said_farewell_is_not_written_to() {
    let server = server(&Authority::root().issue(&["x.test"]));
    let document = Document::new("secure.test").text().replace("retries: 2", "retries: 0");
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        let (mut service, _) = visit(&lab, &mut client, &server, GET).await;
        service.0.shutdown().await.unwrap();
        let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na";
        let _second = visit(&lab, &mut client, &server, post).await;
        lab.local.pool.sweep();
        assert_eq!(lab.local.pool.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_never_connected_gets_what_stands_in_and_who_was_sent_to_does_not() {
    let server = server(&Authority::root().issue(&["x.test"]));
    let breaker =
        "plugins:\n- {name: circuit-breaker, config: {fallback: {type: static, status: 203, body: '[]'}}}\n";
    let document = Document::new("secure.test").text() + breaker;
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(GET).await;
        let mut silent = Vec::new();
        for _ in 0..3 {
            silent.push(lab.upstream().await);
        }
        let (status, head, _) = client.response().await;
        assert_eq!(status, 203, "no handshake has ended");
        assert!(head.contains("X-Circuit-Breaker: unreachable\r\n"), "{head}");
        client.send(GET).await;
        let mut service = accept(lab.upstream().await, &server).await.unwrap();
        service.head().await;
        let (status, ..) = client.response().await;
        assert_eq!(status, 504, "it may be at work");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sessions_with_a_service_are_resumed_and_not_by_another_identity() {
    let root = Authority::root();
    let server = server(&root.issue(&["secure.test"]));
    let settings = Settings { upstream_pool_size: 0, ..Settings::default() };
    let plain = Document::new("secure.test");
    let verified = plain.clone().trusting(&[&root]).with("tls_verify: true").text();
    let plain = plain.text();
    with(&plain.clone(), settings, |lab| async move {
        let mut client = lab.client();
        for (document, kind) in [
            (&plain, HandshakeKind::Full),
            (&plain, HandshakeKind::Resumed),
            // Resuming would skip the verification.
            (&verified, HandshakeKind::Full),
            (&verified, HandshakeKind::Resumed),
        ] {
            lab.reload(document);
            let (service, _) = visit(&lab, &mut client, &server, GET).await;
            assert_eq!(service.0.get_ref().1.handshake_kind(), Some(kind));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn large_bodies_go_both_ways_under_tls() {
    let server = server(&Authority::root().issue(&["x.test"]));
    with(&Document::new("secure.test").text(), Settings::default(), |lab| async move {
        let mut client = lab.client();
        let body = "b".repeat(300 << 10);
        let sending = tokio::task::spawn_local({
            let body = body.clone();
            async move {
                let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
                client.send(&head).await;
                client.send(&body).await;
                client.response().await
            }
        });
        let mut service = accept(lab.upstream().await, &server).await.unwrap();
        service.head().await;
        service.expect(&body).await;
        service.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        let (status, _, received) = sending.await.unwrap();
        assert_eq!((status, received.len()), (200, body.len()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_ends_with_the_connection_needs_a_farewell_to_be_whole() {
    let server = server(&Authority::root().issue(&["x.test"]));
    for farewell in [true, false] {
        let server = server.clone();
        with(&Document::new("secure.test").text(), Settings::default(), |lab| async move {
            let mut client = lab.client();
            client.send(GET).await;
            let mut service = accept(lab.upstream().await, &server).await.unwrap();
            service.head().await;
            service.send("HTTP/1.1 200 OK\r\n\r\nall of it").await;
            if farewell {
                service.0.shutdown().await.unwrap();
            }
            drop(service);
            let answer = client.head().await + &client.rest_until("all of it\r\n").await;
            let ended = if farewell { client.rest_until("0\r\n\r\n").await } else { client.rest().await };
            assert_eq!(ended.ends_with("0\r\n\r\n"), farewell, "{answer}{ended}");
        })
        .await;
    }
}
