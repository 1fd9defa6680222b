//! Handshakes that go wrong, or never end.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::authority::Authority;
use super::{GET, answer, client_config, connect, settings};
use crate::settings::Settings;
use crate::tests::lab::{PLAIN, with};
use crate::tls::Offer;

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_come_to_the_point_is_let_go() {
    let default = Authority::root().issue(&["x.test"]);
    // Nothing, the beginning of a ClientHello, and one that takes its time over every byte.
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        with(PLAIN, settings(&default), |lab| async move {
            let mut client = lab.tls_client();
            client.write_all(begin).await.unwrap();
            let start = Instant::now();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!((start.elapsed(), rest.len()), (Duration::from_secs(10), 0));
            assert_eq!(lab.local.connections.count(), 0);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_tls_is_closed_and_reaches_no_service() {
    let default = Authority::root().issue(&["x.test"]);
    let endless = [&b"\x16\x03\x01\xff\xff"[..], &[0; 64]].concat();
    for bytes in [GET.as_bytes(), b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", &endless, &[0xff; 64]] {
        with(PLAIN, settings(&default), |lab| async move {
            let mut client = lab.tls_client();
            client.write_all(bytes).await.unwrap();
            let start = Instant::now();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert!(rest.len() < 16, "an alert at most: {rest:?}");
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert!(lab.opened_no_more());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_certificate_the_handshake_fails() {
    with(PLAIN, Settings::default(), |lab| async move {
        assert!(connect(lab.tls_client(), client_config(), "x.test").await.is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn handshakes_are_bounded_and_those_beyond_are_counted() {
    let mut settings = settings(&Authority::root().issue(&["x.test"]));
    settings.tls.max_handshakes = 2;
    with(PLAIN, settings, |lab| async move {
        let waiting = [lab.tls_client(), lab.tls_client()];
        let mut refused = lab.tls_client();
        assert_eq!(refused.read(&mut [0]).await.unwrap(), 0);
        let stats = lab.local.stats();
        assert_eq!((stats.accepted.value(), stats.refused.value()), (2, 1));
        drop(waiting);
        tokio::task::yield_now().await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            // A connection whose handshake is done does not count.
            let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
            client.send(GET).await;
            answer(&lab).await;
            assert_eq!(client.response().await.0, 200);
            clients.push(client);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_halfway_holds_up_no_other() {
    let default = Authority::root().issue(&["x.test"]);
    with(PLAIN, settings(&default), |lab| async move {
        let mut hello = Vec::new();
        let name = ServerName::try_from("x.test").unwrap();
        ClientConnection::new(Arc::new(client_config()), name).unwrap().write_tls(&mut hello).unwrap();
        let mut halfway = lab.tls_client();
        halfway.write_all(&hello).await.unwrap();
        halfway.read_u8().await.unwrap();
        let start = Instant::now();
        connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_handshakes() {
    let default = Authority::root().issue(&["x.test"]);
    with(PLAIN, settings(&default), |lab| async move {
        let _waiting = lab.tls_client();
        let (_orders, mut orders) = tokio::sync::watch::channel(crate::worker::Order::Drain);
        let start = Instant::now();
        lab.drain(&mut orders).await;
        assert!(start.elapsed() < Duration::from_secs(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_agrees_on_http_2_and_does_not_speak_it_is_let_go() {
    let default = Authority::root().issue(&["x.test"]);
    let settings = Settings { head_timeout: Duration::from_secs(20), ..settings(&default) };
    with(PLAIN, settings, |lab| async move {
        let mut config = client_config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = connect(lab.tls_client_offered(Offer::Http2), config, "x.test").await.unwrap();
        let start = Instant::now();
        // However it ends.
        let _ = client.0.read_to_end(&mut Vec::new()).await;
        assert_eq!(start.elapsed(), Duration::from_secs(20));
    })
    .await;
}
