//! HTTP/2 inside TLS: agreed on by ALPN, with clients and with services.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::io::DuplexStream;
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use super::services::{accept, server};
use super::{answer, client_config, connect, settings};
use crate::settings::Settings;
use crate::tests::lab::{PLAIN, Peer, field, with};
use crate::tls::Offer;
use crate::worker::Spoken;

/// A service of gRPC under TLS.
const GRPCS: &str = r#"
_format_version: "3.0"
services:
- name: greeter
  url: grpcs://10.0.0.1:443
  connect_timeout: 1000
  read_timeout: 1000
  retries: 0
  routes:
  - {name: calls, protocols: [grpc, grpcs], paths: [/]}
"#;

async fn speak_http2(client: Peer<TlsStream<DuplexStream>>) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(client.0).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    sender.ready().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_offers_http_2_gets_it_where_the_listener_offers_it_too() {
    let issued = Authority::root().issue(&["x.test"]);
    with(PLAIN, settings(&issued), |lab| async move {
        for (offer, agreed) in [(Offer::Http2, &b"h2"[..]), (Offer::Http1, b"http/1.1")] {
            let mut config = client_config();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let client = connect(lab.tls_client_offered(offer), config, "x.test").await.unwrap();
            assert_eq!(client.0.get_ref().1.alpn_protocol(), Some(agreed));
            if offer == Offer::Http2 {
                let request = Request::get("https://x.test/").body(()).unwrap();
                let (response, _) = speak_http2(client).await.send_request(request, true).unwrap();
                let (_, head) = answer(&lab).await;
                assert_eq!(field(&head, "x-forwarded-proto"), Some("https"), "{head}");
                assert_eq!(response.await.unwrap().status(), 200);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_offers_nothing_speaks_http_1() {
    let issued = Authority::root().issue(&["x.test"]);
    with(PLAIN, settings(&issued), |lab| async move {
        let pipe = lab.tls_client_offered(Offer::Http2);
        let mut client = connect(pipe, client_config(), "x.test").await.unwrap();
        client.send(super::GET).await;
        answer(&lab).await;
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_of_grpc_under_tls_is_spoken_to_over_http_2() {
    let issued = Authority::root().issue(&["10.0.0.1"]);
    with(GRPCS, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let request =
            Request::post("http://h/a").header("content-type", "application/grpc").body(()).unwrap();
        let (response, mut body) = client.clone().send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"name"), true).unwrap();
        let mut config = (*server(&issued)).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let Peer(accepted) = accept(lab.upstream().await, &Arc::new(config)).await.unwrap();
        assert_eq!(accepted.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut upstream = h2::server::handshake(accepted).await.unwrap();
        let (request, mut respond) = upstream.accept().await.unwrap().unwrap();
        assert_eq!(request.uri().scheme_str(), Some("https"));
        respond.send_response(Response::new(()), true).unwrap();
        tokio::task::spawn_local(async move { while let Some(Ok(_)) = upstream.accept().await {} });
        assert_eq!(response.await.unwrap().status(), 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_in_front_speaks_before_the_handshake() {
    let issued = Authority::root().issue(&["x.test"]);
    let trusted_networks = vec!["192.0.2.0/24".parse().unwrap()];
    let proxied =
        Settings { trusted_networks, real_ip_header: "proxy_protocol".to_owned(), ..settings(&issued) };
    with(PLAIN, proxied, |lab| async move {
        let spoken = Spoken { tls: true, http2: true, proxied: true, ..Spoken::default() };
        let mut front = lab.proxied_client(spoken);
        front.send("PROXY TCP4 203.0.113.7 192.0.2.2 40000 8000\r\n").await;
        let mut client = connect(front.0, client_config(), "x.test").await.unwrap();
        client.send(super::GET).await;
        let (_, head) = answer(&lab).await;
        assert_eq!(field(&head, "x-real-ip"), Some("203.0.113.7"), "{head}");
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}
