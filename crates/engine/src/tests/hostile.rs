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
async fn a_body_that_was_lost_with_its_upstream_is_not_sent_again_empty() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        drop(upstream);
        client.send(&"x".repeat(1000)).await;
        assert_eq!(client.response().await.0, 502);
        assert!(lab.opened_no_more());
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
