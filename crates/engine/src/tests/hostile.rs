//! Appendix of the review, not to be committed as it is.

use super::lab::{PLAIN, with};
use crate::settings::Settings;

#[tokio::test(start_paused = true)]
async fn a_decoded_line_end_in_a_stripped_prefix_does_not_end_a_field() {
    let document = PLAIN.replace("paths: [/]", "paths: ['~/a/[^/]+']");
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET /a/x%0d%0aX-Evil:%201/b HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let head = lab.upstream().await.head().await;
        assert!(!head.contains("\nX-Evil"), "{head}");
        assert!(head.contains("X-Forwarded-Prefix: /a/x%0D%0AX-Evil:%201\r\n"), "{head}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_not_asked_for_again() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send("nonsense\r\n\r\n").await;
        let again = tokio::time::timeout(std::time::Duration::from_millis(500), lab.upstream()).await;
        assert!(again.is_err(), "asked again");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_large_chunked_body_survives_a_refused_connection() {
    with(PLAIN, Settings::default(), |lab| async move {
        lab.refuse(1);
        let mut client = lab.client();
        let piece = "x".repeat(0x8000);
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            client.send(&format!("8000\r\n{piece}\r\n")).await;
        }
        client.send("0\r\n\r\n").await;
        let upstream = tokio::time::timeout(std::time::Duration::from_millis(500), lab.upstream()).await;
        assert!(upstream.is_ok(), "not tried again");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_read_is_not_the_clients_fault() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        let piece = "x".repeat(0x8000);
        while tokio::time::timeout(std::time::Duration::from_millis(10), client.send(&piece)).await.is_ok() {}
        assert_eq!(client.response().await.0, 504);
    })
    .await;
}
