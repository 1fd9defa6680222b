//! Bodies on their way: both directions, back-pressure, framing for old clients, interim responses.

use std::time::Duration;

use super::lab::{PLAIN, field, with};
use crate::settings::Settings;

#[tokio::test(start_paused = true)]
async fn a_chunked_body_and_its_trailers_pass_both_ways_piece_by_piece() {
    let document = PLAIN.replace("paths: [/]", "paths: [/]\n    request_buffering: false");
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client
            .send(
                "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            )
            .await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        upstream.expect("2\r\nab\r\n").await;
        // The response begins while the request is still being sent.
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
        let head = client.head().await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        client.expect("3\r\none\r\n").await;
        client.send("1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n").await;
        upstream.expect("1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n").await;
        upstream.send("0\r\nX-Done: yes\r\n\r\n").await;
        client.expect("0\r\nX-Done: yes\r\n\r\n").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_the_upstream() {
    with(PLAIN, Settings { send_timeout: Duration::from_secs(5), ..Settings::default() }, |lab| async move {
        let (mut client, mut upstream) = lab.asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let piece = "x".repeat(64 << 10);
        let mut taken = 0;
        while tokio::time::timeout(Duration::from_secs(1), upstream.send(&piece)).await.is_ok() {
            taken += piece.len();
            assert!(taken < 4 << 20, "a stuck client must not be buffered for without bound");
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        let rest = client.rest().await;
        assert!(rest.len() < 100_000_000, "the connection is given up");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_close_delimited_response_is_chunked_for_new_clients_and_closed_for_old_ones() {
    for (version, chunked) in [("1.1", true), ("1.0", false)] {
        with(PLAIN, Settings::default(), |lab| async move {
            let (mut client, mut upstream) =
                lab.asked(&format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n")).await;
            upstream.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
            drop(upstream);
            let head = client.head().await;
            assert_eq!(field(&head, "transfer-encoding").is_some(), chunked, "{head}");
            if chunked {
                client.expect("5\r\nhello\r\n0\r\n\r\n").await;
            } else {
                assert_eq!(field(&head, "connection"), Some("close"));
                assert_eq!(client.rest().await, "hello");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_without_a_body_have_none_and_keep_the_connection() {
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Some("9")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Some("9")),
    ];
    for (method, response, length) in cases {
        with(PLAIN, Settings::default(), |lab| async move {
            let (mut client, mut upstream) =
                lab.asked(&format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n")).await;
            upstream.send(response).await;
            let head = client.head().await;
            assert_eq!(field(&head, "content-length"), length, "{head}");
            client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
            assert!(upstream.head().await.starts_with("GET /next "));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_100_gets_it_once_a_body_is_wanted() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
        client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
        client.send("hi").await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "expect"), None, "{head}");
        upstream.expect("hi").await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn early_hints_pass_and_a_100_of_the_upstream_does_not() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        upstream
            .send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n")
            .await;
        assert_eq!(client.head().await, "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n");
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_request_ends_the_connection() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) =
            lab.asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nstart").await;
        upstream.expect("start").await;
        upstream.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        let (status, _, body) = client.response().await;
        assert_eq!((status, body.as_str()), (413, "big"));
        assert_eq!(client.rest().await, "");
        assert_eq!(upstream.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_trailers_of_a_small_request_are_passed_on_and_to_another_upstream_as_well() {
    with(PLAIN, Settings::default(), |lab| async move {
        lab.refuse(1);
        let mut client = lab.client();
        client.send("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        client.send("0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        assert_eq!(field(&head, "content-length"), None, "{head}");
        upstream.expect("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.response().await.0, 200);
        // The connections are both at the end of the exchange.
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(field(&upstream.head().await, "transfer-encoding"), None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_small_chunked_body_is_buffered_and_a_large_one_streams() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        client.send("0\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "content-length"), Some("3"), "{head}");
        upstream.expect("abc").await;
    })
    .await;
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let piece = "x".repeat(0x8000);
        for _ in 0..3 {
            client.send(&format!("8000\r\n{piece}\r\n")).await;
        }
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        client.send("2\r\nyz\r\n0\r\n\r\n").await;
        let sent = upstream.rest_until("0\r\n\r\n").await;
        let data: usize = sent.matches('x').count();
        assert_eq!(data, 3 * 0x8000);
        assert!(sent.ends_with("2\r\nyz\r\n0\r\n\r\n"));
    })
    .await;
}
