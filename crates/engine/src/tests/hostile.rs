//! Clients and upstreams that try to make one message look like two.

use super::lab::{PLAIN, field, with};
use crate::settings::Settings;

#[tokio::test(start_paused = true)]
async fn a_decoded_path_cannot_add_fields_to_the_request() {
    let document = PLAIN.replace("paths: [/]", "paths: ['~/a/[^/]+']");
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        let path = "/a/x%0d%0aX-Consumer-Username:%20admin%0d%0aTransfer-Encoding:%20chunked%0d%0aZ:/b";
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        let head = lab.upstream().await.head().await;
        assert_eq!(field(&head, "x-consumer-username"), None, "{head}");
        assert_eq!(field(&head, "transfer-encoding"), None, "{head}");
        assert!(field(&head, "x-forwarded-prefix").is_some_and(|prefix| prefix.contains("%0D%0A")), "{head}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_large_chunked_body_survives_a_refused_connection() {
    with(PLAIN, Settings::default(), |lab| async move {
        lab.refuse(1);
        let mut client = lab.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let piece = "x".repeat(0x8000);
        for _ in 0..3 {
            client.send(&format!("8000\r\n{piece}\r\n")).await;
        }
        client.send("0\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        let sent = upstream.rest_until("0\r\n\r\n").await;
        assert_eq!(sent.matches('x').count(), 3 * 0x8000);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_stops_reading_is_a_504() {
    let document = PLAIN.replace("paths: [/]", "paths: [/]\n    request_buffering: false");
    with(&document, Settings::default(), |lab| async move {
        let (mut client, _upstream) =
            lab.asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").await;
        let piece = "x".repeat(0x8000);
        while tokio::time::timeout(std::time::Duration::from_millis(100), client.send(&piece)).await.is_ok() {
        }
        assert_eq!(client.response().await.0, 504);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_take_a_head_is_a_504() {
    let document =
        PLAIN.replace("write_timeout: 1000", "write_timeout: 500").replace("retries: 2", "retries: 0");
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        // With a small body, which goes with the head, it is more than the pipe to the upstream holds.
        let (field, body) = ("x".repeat(15_500), "y".repeat(4 << 10));
        let start = tokio::time::Instant::now();
        client
            .send(&format!(
                "POST / HTTP/1.1\r\nHost: h\r\nA: {field}\r\nB: {field}\r\nContent-Length: 4096\r\n\r\n{body}"
            ))
            .await;
        let _upstream = lab.upstream().await;
        assert_eq!(client.response().await.0, 504);
        assert_eq!(start.elapsed(), std::time::Duration::from_millis(500));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_may_answer_before_it_has_read_a_buffered_body() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        // Head and body together are more than the pipe to the upstream holds.
        let body = "x".repeat(64 << 10);
        client
            .send(&format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
        assert_eq!(client.response().await.0, 401);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connection_names_only_what_the_client_sent_and_not_without_bound() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Drop: 1\r\nConnection: x-drop, host, via\r\n\r\n").await;
        let head = lab.upstream().await.head().await;
        assert_eq!(field(&head, "x-drop"), None, "{head}");
        assert!(field(&head, "host").is_some() && field(&head, "via").is_some(), "{head}");
    })
    .await;
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(&format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {}x\r\n\r\n", "a,".repeat(33))).await;
        assert_eq!(client.response().await.0, 400);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connect_is_refused() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n").await;
        let (status, head, _) = client.response().await;
        assert_eq!(status, 405);
        assert_eq!(field(&head, "connection"), Some("close"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_to_another_protocol_than_was_asked_for_is_no_tunnel() {
    for fields in
        ["Connection: Upgrade\r\nUpgrade: h2c\r\n", "", "Upgrade: websocket\r\nUpgrade: websocket\r\n"]
    {
        with(PLAIN, Settings::default(), |lab| async move {
            let mut client = lab.client();
            client
                .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await;
            let mut upstream = lab.upstream().await;
            upstream.head().await;
            upstream.send(&format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nevil")).await;
            let (status, head, body) = client.response().await;
            assert_eq!(status, 502, "{head}");
            assert!(!body.contains("evil"), "{body}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_wrong_from_its_first_chunk_is_a_502_and_the_client_stays() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n").await;
        let (status, head, _) = client.response().await;
        assert_eq!((status, field(&head, "transfer-encoding")), (502, None), "{head}");
        client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(lab.upstream().await.head().await.starts_with("GET /next "));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_side_within_a_body_is_told_so() {
    for framing in ["Content-Length: 10", "Content-Length: 100000", "Transfer-Encoding: chunked"] {
        with(PLAIN, Settings::default(), |lab| async move {
            let mut client = lab.client();
            client.send(&format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n5\r\nabc")).await;
            client.finish().await;
            let (status, head, _) = client.response().await;
            assert_eq!((status, field(&head, "connection")), (400, Some("close")), "{head}");
            assert_eq!(client.rest().await, "");
        })
        .await;
    }
}
