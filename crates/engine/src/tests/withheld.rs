//! Responses of which a plugin lets nothing through: the client gets another status and no content, and nobody waits for
//! the rest.

use super::lab::{GET, PLAIN, field, with};
use super::trouble::troubled;
use crate::settings::Settings;

const WITHHELD: &str = "GET / HTTP/1.1\r\nHost: h\r\nX-Trouble: withhold\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn what_has_come_whole_is_skipped_and_both_connections_serve_on() {
    with(&troubled(PLAIN), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(WITHHELD).await;
        let fields =
            "Content-Type: text/plain\r\nETag: \"1\"\r\nExpires: 0\r\nX-Other: o\r\nContent-Length: 3";
        upstream.send(&format!("HTTP/1.1 200 Fine\r\n{fields}\r\n\r\nbad")).await;
        let (status, head, _) = client.response().await;
        assert_eq!((status, field(&head, "content-length")), (429, Some("0")), "{head}");
        assert_eq!((field(&head, "x-other"), field(&head, "connection")), (Some("o"), Some("keep-alive")));
        assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{head}");
        for gone in ["content-type", "etag", "expires"] {
            assert_eq!(field(&head, gone), None, "{head}");
        }
        client.send(GET).await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.response().await.2, "ok");
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_has_not_come_is_not_waited_for() {
    for framing in [
        "Content-Length: 9\r\n\r\n",
        "Content-Length: 9\r\n\r\nbad",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n",
        "\r\nbad",
    ] {
        with(&troubled(PLAIN), Settings::default(), |lab| async move {
            let (mut client, mut upstream) = lab.asked(WITHHELD).await;
            upstream.send(&format!("HTTP/1.1 200 OK\r\n{framing}")).await;
            let (status, head, _) = client.response().await;
            assert_eq!((status, field(&head, "content-length")), (429, Some("0")), "{framing}: {head}");
            assert_eq!(upstream.rest().await, "", "its connection is given up");
            client.send(GET).await;
            let mut other = lab.upstream().await;
            other.head().await;
            other.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            assert_eq!(client.response().await.2, "ok", "{framing}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_and_a_change_of_protocols_are_withheld_too() {
    with(&troubled(PLAIN), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(&WITHHELD.replace("GET", "HEAD")).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 429 ") && field(&head, "content-length").is_none(), "{head}");

        let upgrade = "X-Trouble: withhold\r\nConnection: Upgrade\r\nUpgrade: websocket";
        client.send(&WITHHELD.replace("X-Trouble: withhold", upgrade)).await;
        upstream.head().await;
        upstream
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        assert_eq!(client.response().await.0, 429);
        assert_eq!(upstream.rest().await, "", "it speaks another protocol now");
    })
    .await;
}
