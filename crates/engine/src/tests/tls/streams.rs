//! Layer 4 and TLS: ended here, passed through, or begun towards a service.

use std::sync::Arc;
use std::time::Duration;

use plugin::sessions::{SessionEnd, SessionSeries};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::authority::{Authority, Issued};
use super::services::{accept, server};
use super::{client_config, connect, settings};
use crate::settings::Settings;
use crate::tests::lab::{Lab, with};
use crate::worker::Spoken;

const SECURE: Spoken = Spoken { tls: true, http2: false, proxied: false, stream: true };

/// `a.test` is ended here, with a certificate of its own, and `p.test` is passed through. `c` goes without TLS.
fn document(own: &Issued) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    format!(
        "_format_version: '3.0'
certificates:
- {{cert: {}, key: {}, snis: [{{name: a.test}}]}}
services:
- name: ended
  host: 10.0.0.1
  port: 7000
  protocol: tcp
  routes: [{{name: t, protocols: [tls], snis: [a.test, '*.unknown.test']}}]
- name: passed
  host: 10.0.0.2
  port: 7000
  protocol: tcp
  routes: [{{name: p, protocols: [tls_passthrough], snis: [p.test]}}]
- name: clear
  host: 10.0.0.3
  port: 7000
  protocol: tcp
  routes: [{{name: c, protocols: [tcp], destinations: [{{port: 8000}}]}}]
",
        text(&own.certificate),
        text(&own.key)
    )
}

fn count(lab: &Lab, route: &str, end: SessionEnd) -> u64 {
    let all = lab.services.all_kept::<SessionSeries>();
    all.iter().find(|(_, series)| series.route == route).map_or(0, |(_, series)| series.ended(end))
}

#[tokio::test(start_paused = true)]
async fn tls_ends_here_with_the_certificate_of_the_server_name() {
    let root = Authority::root();
    let (own, default) = (root.issue(&["a.test"]), root.issue(&["default.test"]));
    with(&document(&own), settings(&default), |lab| async move {
        for (name, shown) in [("a.test", &own), ("x.unknown.test", &default)] {
            // What is spoken inside is not for the gateway to choose.
            let mut config = client_config();
            config.alpn_protocols = vec![b"mqtt".to_vec()];
            let mut client = connect(lab.stream_client(SECURE).0, config, name).await.unwrap();
            let session = client.0.get_ref().1;
            assert_eq!(session.peer_certificates().unwrap()[0], shown.der(), "{name}");
            assert_eq!(session.alpn_protocol(), None);
            client.send("hello").await;
            let mut service = lab.upstream().await;
            service.expect("hello").await;
            service.send("welcome").await;
            service.finish().await;
            // With a farewell: a client of rustls would take the end for a break otherwise.
            assert_eq!(client.rest().await, "welcome");
            client.finish().await;
            assert_eq!(service.rest().await, "");
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(count(&lab, "t", SessionEnd::Carried), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_that_breaks_off_is_not_made_to_look_complete() {
    let root = Authority::root();
    let own = root.issue(&["a.test"]);
    with(&document(&own), settings(&own), |lab| async move {
        let mut client = connect(lab.stream_client(SECURE).0, client_config(), "a.test").await.unwrap();
        client.send("hello").await;
        let mut service = lab.upstream().await;
        service.expect("hello").await;
        // Silence is no orderly end.
        let mut rest = Vec::new();
        let broken = tokio::io::AsyncReadExt::read_to_end(&mut client.0, &mut rest).await;
        assert_eq!(broken.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_is_passed_through_to_a_service_that_shows_its_own_certificate() {
    let root = Authority::root();
    let (own, of_service) = (root.issue(&["a.test"]), root.issue(&["p.test"]));
    with(&document(&own), settings(&own), |lab| async move {
        let server = server(&of_service);
        for spoken in [SECURE, Spoken { tls: false, ..SECURE }] {
            let pipe = lab.stream_client(spoken).0;
            let (client, service) = tokio::join!(connect(pipe, client_config(), "p.test"), async {
                accept(lab.upstream().await, &server).await.unwrap()
            });
            let (mut client, mut service) = (client.unwrap(), service);
            assert_eq!(client.0.get_ref().1.peer_certificates().unwrap()[0], of_service.der());
            client.send("hello").await;
            service.expect("hello").await;
            service.send("welcome").await;
            service.finish().await;
            assert_eq!(client.rest().await, "welcome");
        }
        let mut other = lab.stream_client(SECURE);
        let refused = connect(other_pipe(&mut other), client_config(), "nobody.test").await;
        assert!(refused.is_err());
        assert_eq!(lab.local.streams.unrouted.value(), 1);
    })
    .await;
}

fn other_pipe(peer: &mut crate::tests::lab::Peer) -> tokio::io::DuplexStream {
    std::mem::replace(&mut peer.0, tokio::io::duplex(1).0)
}

#[tokio::test(start_paused = true)]
async fn where_tls_may_be_passed_through_others_are_carried_as_they_are() {
    let own = Authority::root().issue(&["a.test"]);
    with(&document(&own), settings(&own), |lab| async move {
        let clear = Spoken { tls: false, ..SECURE };
        let mut client = lab.stream_client(clear);
        client.send("\x16\x03 looks like it at first").await;
        lab.upstream().await.expect("\x16\x03 looks like it at first").await;

        // A service that speaks first.
        let start = Instant::now();
        let mut client = lab.stream_client(clear);
        let mut service = lab.upstream().await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        service.send("220 ready").await;
        client.expect("220 ready").await;

        // Another name under TLS than those that are passed through.
        let pipe = lab.stream_client(clear).0;
        let connecting = tokio::task::spawn_local(connect(pipe, client_config(), "other.test"));
        let mut service = lab.upstream().await;
        assert_eq!(service.bytes(1).await, [22]);
        drop(service);
        assert!(connecting.await.unwrap().is_err());
        sleep(Duration::from_secs(1)).await;
        assert_eq!((count(&lab, "p", SessionEnd::Carried), lab.local.streams.unrouted.value()), (0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_says_where_to_is_not_listened_to_for_ever() {
    let own = Authority::root().issue(&["a.test"]);
    with(&document(&own), settings(&own), |lab| async move {
        // A record that goes on, octet by octet, to the length that it has announced.
        let start = Instant::now();
        let mut client = lab.stream_client(SECURE).0;
        client.write_all(&[22, 3, 1, 0x3f, 0xf4, 1, 0, 0x3f, 0xf0]).await.unwrap();
        while client.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        assert!((10..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        // Without end, and without TLS, each at once.
        let start = Instant::now();
        for garbage in
            [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], b"GET / HTTP/1.1\r\n\r\n", &[22, 3, 1, 0, 0]]
        {
            let mut client = lab.stream_client(SECURE);
            client.0.write_all(garbage).await.unwrap();
            assert_eq!(client.rest().await, "");
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(lab.local.streams.unrouted.value(), 4);
        assert!(lab.opened_no_more());
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn handshakes_of_streams_are_bounded_in_number() {
    let own = Authority::root().issue(&["a.test"]);
    let mut settings = settings(&own);
    settings.tls.max_handshakes = 1;
    with(&document(&own), settings, |lab| async move {
        let waiting = lab.stream_client(SECURE);
        sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        assert_eq!(lab.stream_client(SECURE).rest().await, "");
        assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for its turn");
        drop(waiting);
        sleep(Duration::from_millis(1)).await;
        let client = connect(lab.stream_client(SECURE).0, client_config(), "a.test").await.unwrap();
        // A session that is carried is no handshake any more.
        let _service = lab.upstream().await;
        assert!(connect(lab.stream_client(SECURE).0, client_config(), "a.test").await.is_ok());
        drop(client);
    })
    .await;
}

/// A service under TLS that is verified, at an upstream with a name.
fn verified(authority: &Authority) -> String {
    let id = "9ad4b0a5-7a53-4a08-8a3c-0d1e3f1b6f01";
    let cert = serde_json::Value::from(authority.pem()).to_string();
    format!(
        "_format_version: '3.0'
ca_certificates: [{{id: {id}, cert: {cert}}}]
upstreams: [{{name: up.test, host_header: 's.test:7000', targets: [{{target: '10.0.0.1:7000'}}]}}]
services:
- name: s
  host: up.test
  protocol: tls
  tls_verify: true
  ca_certificates: [{id}]
  retries: 1
  connect_timeout: 1000
  routes: [{{name: r, protocols: [tcp], destinations: [{{port: 8000}}]}}]
"
    )
}

#[tokio::test(start_paused = true)]
async fn a_service_under_tls_is_verified_and_asked_for_by_its_name() {
    let (root, other) = (Authority::root(), Authority::root());
    let (right, wrong) = (root.issue(&["s.test"]), other.issue(&["s.test"]));
    with(&verified(&root), Settings::default(), |lab| async move {
        let clear = Spoken { tls: false, ..SECURE };
        let mut client = lab.stream_client(clear);
        let mut service = accept(lab.upstream().await, &server(&right)).await.unwrap();
        assert_eq!(service.0.get_ref().1.server_name(), Some("s.test"));
        assert_eq!(service.0.get_ref().1.alpn_protocol(), None);
        client.send("hello").await;
        service.expect("hello").await;
        client.finish().await;
        assert_eq!(service.rest().await, "", "the end comes with a farewell");
        service.send("bye").await;
        service.finish().await;
        assert_eq!(client.rest().await, "bye");

        let mut client = lab.stream_client(clear);
        let wrong: Arc<_> = server(&wrong);
        for _ in 0..2 {
            assert!(accept(lab.upstream().await, &wrong).await.is_err());
        }
        assert_eq!(client.rest().await, "");
        assert_eq!(count(&lab, "r", SessionEnd::Unreachable), 1);
    })
    .await;
}
