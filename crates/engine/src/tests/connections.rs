//! Keep-alive, pipelining, reuse, half-close, upgrade.

use std::time::Duration;

use super::lab::{OK, PLAIN, field, with};
use crate::settings::Settings;

#[tokio::test(start_paused = true)]
async fn both_connections_are_reused() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        for path in ["/a", "/b"] {
            assert!(upstream.head().await.starts_with(&format!("GET {path} HTTP/1.1\r\n")));
            upstream.send(OK).await;
            let (status, head, body) = client.response().await;
            assert_eq!((status, body.as_str()), (200, "ok"));
            assert_eq!(field(&head, "connection"), Some("keep-alive"));
            if path == "/a" {
                client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").await;
            }
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        for path in ["/1", "/2"] {
            assert!(upstream.head().await.starts_with(&format!("GET {path} ")));
            upstream.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}")).await;
            assert_eq!(client.response().await.2, path);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closed_its_sending_side_gets_its_answer_where_that_is_ignored() {
    let ignoring = Settings { ignore_client_abort: true, ..Settings::default() };
    with(PLAIN, ignoring, |lab| async move {
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.finish().await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send(OK).await;
        assert!(client.rest().await.ends_with("\r\n\r\nok"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client
            .send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
            .await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "upgrade"), Some("websocket"), "{head}");
        upstream
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi")
            .await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        client.expect("hi").await;
        upstream.expect("early").await;
        client.send("ping").await;
        upstream.expect("ping").await;
        upstream.send("pong").await;
        upstream.finish().await;
        client.expect("pong").await;
        client.finish().await;
        assert_eq!(client.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_which_nothing_moves_is_closed_in_time() {
    let settings = Settings { tunnel_timeout: Duration::from_secs(30), ..Settings::default() };
    with(PLAIN, settings, |lab| async move {
        let mut client = lab.client();
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.send(&format!("GET /ws HTTP/1.1\r\nHost: h\r\n{fields}")).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send(&format!("HTTP/1.1 101 Switching Protocols\r\n{fields}")).await;
        client.head().await;
        let start = tokio::time::Instant::now();
        // What moves either way counts.
        tokio::time::sleep(Duration::from_secs(20)).await;
        client.send("ping").await;
        upstream.expect("ping").await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        upstream.send("pong").await;
        client.expect("pong").await;
        assert_eq!((client.rest().await, upstream.rest().await), (String::new(), String::new()));
        assert_eq!(start.elapsed(), Duration::from_secs(70));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_101_that_nobody_asked_for_is_a_502() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) =
            lab.asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").await;
        upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
        assert_eq!(client.response().await.0, 502);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_time() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        let start = tokio::time::Instant::now();
        assert_eq!(client.rest().await, "");
        assert_eq!(start.elapsed(), Settings::default().idle_timeout);
    })
    .await;
}
