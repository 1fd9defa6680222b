//! Responses under TLS arrive whole, and where they do not, that can be told.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::authority::Authority;
use super::{GET, OK, answer, client_config, connect, settings};
use crate::settings::Settings;
use crate::tests::lab::{PLAIN, with};

fn secure() -> Settings {
    settings(&Authority::root().issue(&["x.test"]))
}

#[tokio::test(start_paused = true)]
async fn the_last_response_arrives_whole_although_its_reader_is_slow() {
    with(PLAIN, secure(), |lab| async move {
        let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        let body = "x".repeat(1 << 20);
        let sending = tokio::task::spawn_local(async move {
            upstream.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            upstream
        });
        client.head().await;
        let mut taken = 0;
        let mut piece = [0; 1000];
        // Ends with an error where the farewell is missing.
        while let count @ 1.. = client.0.read(&mut piece).await.unwrap() {
            taken += count;
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(taken, 1 << 20);
        sending.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_response_needs_no_further_request_to_arrive() {
    with(PLAIN, secure(), |lab| async move {
        let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
        client.send(GET).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        // More than the pipe to the client holds, and less than TLS would take besides.
        let body = "y".repeat(56 << 10);
        upstream.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        upstream.send(&body).await;
        // It runs into the full pipe before anything is read.
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = Instant::now();
        assert_eq!(client.response().await.2.len(), 56 << 10);
        assert_eq!(start.elapsed(), Duration::ZERO);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_in_time() {
    with(PLAIN, secure(), |lab| async move {
        let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
        client.send(GET).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        let body = "z".repeat(1 << 20);
        let start = Instant::now();
        let message = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert!(upstream.0.write_all(message.as_bytes()).await.is_err(), "the service is let go, too");
        assert_eq!(start.elapsed().as_secs(), 60);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_broke_off_has_no_farewell() {
    for (sent, whole) in [("ok", true), ("o", false)] {
        with(PLAIN, secure(), |lab| async move {
            let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
            client.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n").await;
            let mut upstream = lab.upstream().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let last = if whole { "0\r\n\r\n" } else { "" };
            upstream.send(&format!("{:x}\r\n{sent}\r\n{last}", sent.len())).await;
            drop(upstream);
            let mut rest = Vec::new();
            let outcome = client.0.read_to_end(&mut rest).await;
            assert!(rest.ends_with(sent.as_bytes()));
            assert_eq!(outcome.is_ok(), whole);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_when_its_time_is_over() {
    with(PLAIN, secure(), |lab| async move {
        let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
        client.send(GET).await;
        answer(&lab).await;
        client.response().await;
        let start = Instant::now();
        assert_eq!(client.rest().await, "");
        assert_eq!(start.elapsed().as_secs(), 65);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_runs_under_tls_in_both_directions() {
    with(PLAIN, secure(), |lab| async move {
        let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        client.send(&format!("GET / HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n")).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 101"));
        client.send("ping").await;
        upstream.expect("ping").await;
        let large = "p".repeat(200 << 10);
        let sent = large.clone();
        let sending = tokio::task::spawn_local(async move {
            upstream.send(&sent).await;
            upstream
        });
        client.expect(&large).await;
        drop(sending.await.unwrap());
        assert_eq!(client.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_leave_while_its_response_is_awaited_is_not_served_on() {
    let patient = PLAIN.replace("read_timeout: 1000", "read_timeout: 2000000000");
    with(&patient, secure(), |lab| async move {
        let mut client = connect(lab.tls_client(), client_config(), "x.test").await.unwrap();
        client.send(GET).await;
        let (mut upstream, _) = answer(&lab).await;
        client.response().await;
        // Another request, of which more comes while it is awaited, and then one that nobody waits for.
        client.send(GET).await;
        upstream.head().await;
        client.send(GET).await;
        tokio::task::yield_now().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        upstream.head().await;
        client.0.shutdown().await.unwrap();
        assert_eq!(upstream.rest().await, "");
    })
    .await;
}
