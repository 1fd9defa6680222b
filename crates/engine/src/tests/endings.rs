//! How connections begin and end: what is on the books, what is lent and given back, what a stop leaves undone.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::lab::{GET, PLAIN, Peer, field, with};
use crate::settings::Settings;
use crate::worker::Order;

#[tokio::test(start_paused = true)]
async fn a_request_that_came_before_the_stop_is_answered() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (_orders, mut listener) = watch::channel(Order::Drain);
        let mut client = lab.client();
        client.send(GET).await;
        let answer = async {
            let mut upstream = lab.upstream().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            client.response().await
        };
        let (_, (status, head, _)) = tokio::join!(lab.drain(&mut listener), answer);
        assert_eq!((status, field(&head, "connection")), (200, Some("close")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_another_process_takes_over_a_silent_connection_gets_one_more_request() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (_orders, mut listener) = watch::channel(Order::HandOver);
        let mut client = lab.client();
        let mut upstream = None;
        for last in [false, true] {
            let answer = async {
                client.send(GET).await;
                let upstream = match &mut upstream {
                    Some(upstream) => upstream,
                    none => none.insert(lab.upstream().await),
                };
                upstream.head().await;
                upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                client.response().await
            };
            let (status, head, _) = if last {
                // Long after connections would have been closed otherwise.
                let late = async {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    answer.await
                };
                tokio::join!(lab.drain(&mut listener), late).1
            } else {
                answer.await
            };
            assert_eq!(
                (status, field(&head, "connection")),
                (200, Some(if last { "close" } else { "keep-alive" }))
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_told_between_two_frames_before_the_gateway_goes() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (_orders, mut listener) = watch::channel(Order::Drain);
        let (mut client, mut upstream) =
            lab.asked("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        let accepted =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        upstream.send(accepted).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        // The service is in the middle of a frame.
        upstream.send("\u{2}\u{4}ab").await;
        client.expect("\u{2}\u{4}ab").await;
        let begin = tokio::time::Instant::now();
        let told = async {
            assert_eq!(upstream.bytes(8).await, crate::websocket::FAREWELL_TO_SERVICE);
            assert_eq!(begin.elapsed().as_secs(), 29);
            upstream.send("cd").await;
            client.expect("cd").await;
            assert_eq!(client.bytes(4).await, crate::websocket::FAREWELL_TO_CLIENT);
            assert_eq!(client.rest().await, "");
            drop((client, upstream));
        };
        tokio::join!(lab.drain(&mut listener), told);
        assert_eq!(begin.elapsed().as_secs(), 29);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_gateway_is_gone_does_not_wait_for_running_requests() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (orders, mut listener) = watch::channel(Order::Run);
        let (mut client, _upstream) = lab.asked(GET).await;
        drop(orders);
        lab.drain(&mut listener).await;
        assert_eq!(client.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_have_numbers_of_their_own_and_count_their_requests() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (mut session, mut client) = lab.session();
            client.send("x").await;
            assert!(session.await_request().await);
            let exchange = &session.parts().work.exchange;
            seen.push((exchange.connection, exchange.requests));
            session.rest();
        }
        assert_eq!(seen, [(0, 0), (1, 0)], "though both worked in the same memory");
        assert_eq!(lab.workspaces_made(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_its_client_closes_gives_its_memory_back() {
    with(PLAIN, Settings::default(), |lab| async move {
        for begun in ["", "", "GET / HTTP/1.1\r\n", "G"] {
            let mut client = lab.client();
            client.send(begun).await;
            client.finish().await;
            assert_eq!(client.rest().await, "");
        }
        // Counting counts, too.
        assert_eq!(lab.workspaces_made(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_after_the_last_response_is_listened_to_for_a_moment_and_not_to_much() {
    for (pieces, seconds) in [(0, 2), (16, 2), (64, 0)] {
        with(PLAIN, Settings { max_body_bytes: 10, ..Settings::default() }, |lab| async move {
            let mut client = lab.client();
            client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n").await;
            assert_eq!(client.response().await.0, 413);
            let start = Instant::now();
            for _ in 0..pieces {
                // Whoever has been cut off may find that out while writing.
                let _ = client.0.write_all(&[b'x'; 32 << 10]).await;
            }
            while lab.local.connections.count() > 0 {
                sleep(Duration::from_millis(100)).await;
                assert!(start.elapsed().as_secs() < 10, "it stays");
            }
            assert_eq!(start.elapsed().as_secs(), seconds, "after {pieces} pieces");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_was_lost_with_an_upstream_is_not_repeated() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, upstream) =
            lab.asked("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").await;
        // The upstream breaks off just when the body begins to come.
        drop(upstream);
        client.send("begin").await;
        assert_eq!(client.response().await.0, 502);
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test]
async fn a_broken_response_that_ends_with_its_connection_is_a_reset_whatever_else_the_client_has_sent() {
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    ] {
        with(PLAIN, Settings::default(), |lab| async move {
            let mut client: Peer<TcpStream> = lab.tcp_client().await;
            client.send(request).await;
            let mut upstream = lab.upstream().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            client.rest_until("hello").await;
            drop(upstream);
            let end = client.0.read_to_end(&mut Vec::new()).await;
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{request:?}");
        })
        .await;
    }
}
