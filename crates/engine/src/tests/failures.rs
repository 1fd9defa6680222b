//! Retries, timeouts and broken peers.

use std::time::Duration;

use super::lab::{GET, OK, PLAIN, field, with};
use crate::settings::Settings;

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_tried_again_whatever_the_method() {
    for request in [GET, POST] {
        with(PLAIN, Settings::default(), |lab| async move {
            lab.refuse(2);
            let (mut client, mut upstream) = lab.asked(request).await;
            upstream.send(OK).await;
            assert_eq!(client.response().await.0, 200);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_end_after_the_configured_retries() {
    with(PLAIN, Settings::default(), |lab| async move {
        lab.refuse(10);
        let mut client = lab.client();
        client.send(GET).await;
        assert_eq!(client.response().await.0, 502);
        assert_eq!(lab.still_refusing(), 7, "one attempt and two retries");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_request_is_repeated_and_another_is_not() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, upstream) = lab.asked(GET).await;
        drop(upstream);
        let mut second = lab.upstream().await;
        second.head().await;
        second.send(OK).await;
        assert_eq!(client.response().await.0, 200);
    })
    .await;
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, upstream) = lab.asked(POST).await;
        drop(upstream);
        assert_eq!(client.response().await.0, 502);
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_carries_its_body_again() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").await;
        for last in [false, true] {
            let mut upstream = lab.upstream().await;
            upstream.head().await;
            upstream.expect("abc").await;
            if last {
                upstream.send(OK).await;
                assert_eq!(client.response().await.0, 200);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pooled_connection_that_died_costs_no_retry() {
    let document = PLAIN.replace("retries: 2", "retries: 0");
    with(&document, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        upstream.send(OK).await;
        client.response().await;
        drop(upstream);
        client.send(GET).await;
        let mut second = lab.upstream().await;
        second.head().await;
        second.send(OK).await;
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whatever_the_method_a_pooled_connection_that_took_nothing_is_replaced() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        upstream.send(OK).await;
        client.response().await;
        drop(upstream);
        client.send(POST).await;
        let mut second = lab.upstream().await;
        second.head().await;
        second.expect("abc").await;
        second.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        client.send(POST).await;
        second.head().await;
        drop(second);
        assert_eq!(client.response().await.0, 502, "it may have been carried out");
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_a_504_and_not_asked_again() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        let start = tokio::time::Instant::now();
        client.send(GET).await;
        let _silent = lab.upstream().await;
        let (status, head, _) = client.response().await;
        assert_eq!(status, 504);
        assert!(field(&head, "x-kong-upstream-latency").is_some(), "{head}");
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_cut_short_never_looks_whole() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        drop(upstream);
        let answer = client.rest().await;
        assert!(answer.contains("3\r\nabc\r\n") && !answer.contains("0\r\n\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_a_502_and_its_connection_is_not_used_again() {
    let malformed = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    for response in malformed {
        with(PLAIN, Settings::default(), |lab| async move {
            let (mut client, mut upstream) = lab.asked(GET).await;
            upstream.send(response).await;
            assert_eq!(client.response().await.0, 502, "{response}");
            assert_eq!(upstream.rest().await, "");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_and_a_slow_body_are_408() {
    for request in ["GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na"] {
        with(PLAIN, Settings::default(), |lab| async move {
            let mut client = lab.client();
            client.send(request).await;
            let (status, head, _) = client.response().await;
            assert_eq!(status, 408, "{request}");
            assert_eq!(field(&head, "connection"), Some("close"));
            assert_eq!(client.rest().await, "");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_cut_at_the_time_for_the_whole_head() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        let start = tokio::time::Instant::now();
        for byte in "GET /aaa".bytes() {
            tokio::time::advance(Duration::from_secs(10)).await;
            if tokio::io::AsyncWriteExt::write_u8(&mut client.0, byte).await.is_err() {
                break;
            }
        }
        assert_eq!(client.response().await.0, 408);
        assert!(start.elapsed() <= Duration::from_secs(90), "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ambiguous_framing_is_refused_and_never_forwarded() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client
            .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.send("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let (status, head, _) = client.response().await;
        assert_eq!(status, 400);
        assert_eq!(field(&head, "connection"), Some("close"));
        assert_eq!(client.rest().await, "");
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_a_413() {
    let settings = || Settings { max_body_bytes: 4, ..Settings::default() };
    let bodies =
        ["Content-Length: 5\r\n\r\nabcde", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"];
    for body in bodies {
        with(PLAIN, settings(), |lab| async move {
            let mut client = lab.client();
            client.send(&format!("POST / HTTP/1.1\r\nHost: h\r\n{body}")).await;
            assert_eq!(client.response().await.0, 413, "{body}");
        })
        .await;
    }
}
