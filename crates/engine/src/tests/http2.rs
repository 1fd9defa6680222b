//! Clients that speak HTTP/2, in front of upstreams that speak HTTP/1.1.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use super::frames::{DATA, END_STREAM, GOAWAY, HEADERS, PING, Raw, frame, number, post};
use super::lab::{PLAIN, field, with};
use crate::settings::Settings;

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

async fn send(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    ended: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    client.clone().ready().await.unwrap().send_request(request, ended).unwrap()
}

async fn read(response: Response<RecvStream>) -> (u16, HeaderMap, String, Option<HeaderMap>) {
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        text.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.unwrap();
    (head.status.as_u16(), head.headers, String::from_utf8(text).unwrap(), trailers)
}

#[tokio::test(start_paused = true)]
async fn a_request_reaches_the_upstream_as_http_1_and_its_answer_comes_back() {
    with(PLAIN, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, _) = send(&client, get("http://shop.test/a?b=c"), true).await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
        assert_eq!(field(&head, "x-forwarded-host"), Some("shop.test"));
        assert_eq!(field(&head, "via"), Some("2 kong/3.9.3"));
        assert_eq!(field(&head, "transfer-encoding"), None);
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nConnection: x-a\r\n\r\nhello").await;
        let (status, fields, body, trailers) = read(response.await.unwrap()).await;
        assert_eq!((status, body.as_str(), trailers), (200, "hello", None));
        assert_eq!((fields["content-length"].as_bytes(), fields.get("x-a")), (&b"5"[..], None));
        // The second request finds the connection to the upstream idle.
        let (response, _) = send(&client, get("http://shop.test/"), true).await;
        upstream.head().await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(read(response.await.unwrap()).await.0, 204);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bodies_and_trailers_pass_both_ways_piece_by_piece() {
    let document = PLAIN.replace("paths: [/]", "paths: [/]\n    request_buffering: false");
    with(&document, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let request = Request::post("http://h/").header("te", "trailers").body(()).unwrap();
        let (response, mut body) = send(&client, request, false).await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        body.send_data(Bytes::from_static(b"ab"), false).unwrap();
        upstream.expect("2\r\nab\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
        let mut response = response.await.unwrap();
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "one");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        upstream.expect("0\r\nx-sum: 1\r\n\r\n").await;
        upstream.send("0\r\nX-Done: yes\r\n\r\n").await;
        let (_, _, rest, trailers) = read(response).await;
        assert_eq!((rest.as_str(), trailers.unwrap()["x-done"].as_bytes()), ("", &b"yes"[..]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_small_body_of_unknown_length_is_sent_whole() {
    with(PLAIN, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, Request::post("http://h/").body(()).unwrap(), false).await;
        body.send_data(Bytes::from_static(b"abc"), true).unwrap();
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert_eq!(field(&head, "content-length"), Some("3"), "{head}");
        upstream.expect("abc").await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(read(response.await.unwrap()).await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resets_its_stream_ends_the_work_for_it() {
    with(PLAIN, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut stream) = send(&client, get("http://h/"), true).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        stream.send_reset(Reason::CANCEL);
        assert_eq!(upstream.rest().await, "", "the upstream's connection is closed");
        drop(response);
        let (response, _) = send(&client, get("http://h/"), true).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(read(response.await.unwrap()).await.2, "ok", "its other streams go on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_resets_the_stream() {
    with(PLAIN, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, _) = send(&client, get("http://h/"), true).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
        let mut response = response.await.unwrap();
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "one");
        drop(upstream);
        let error = response.body_mut().data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_up_nobody_else() {
    with(PLAIN, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (slow, _) = send(&client, get("http://h/slow"), true).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let slow = slow.await.unwrap();
        let piece = "x".repeat(16 << 10);
        let mut taken = 0;
        while tokio::time::timeout(Duration::from_millis(100), upstream.send(&piece)).await.is_ok() {
            taken += piece.len();
            assert!(taken < 4 << 20, "a stuck stream must not be buffered for without bound");
        }
        let (quick, _) = send(&client, get("http://h/quick"), true).await;
        let mut other = lab.upstream().await;
        other.head().await;
        other.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick").await;
        assert_eq!(read(quick.await.unwrap()).await.2, "quick");
        drop(slow);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn interim_responses_and_answers_without_body_keep_their_form() {
    with(PLAIN, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (mut response, _) = send(&client, Request::head("http://h/").body(()).unwrap(), true).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream
            .send(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            )
            .await;
        let hints = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((hints.status().as_u16(), hints.headers()["link"].as_bytes()), (103, &b"</a>"[..]));
        let (status, fields, body, _) = read(response.await.unwrap()).await;
        assert_eq!((status, fields["content-length"].as_bytes(), body.as_str()), (200, &b"9"[..], ""));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_gateways_own_answers_are_whole() {
    let document = PLAIN.replace("paths: [/]", "paths: [/here]");
    with(&document, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, _) = send(&client, get("http://h/elsewhere"), true).await;
        let (status, fields, body, _) = read(response.await.unwrap()).await;
        assert_eq!(status, 404);
        assert_eq!(fields["content-length"].to_str().unwrap(), body.len().to_string());
        assert!(body.contains("no Route matched with those values"), "{body}");
        let request = Request::get("http://h/here").header("content-length", "+1").body(()).unwrap();
        let (response, _) = send(&client, request, true).await;
        let failed = response.await.map(|response| response.status().as_u16());
        assert!(failed.is_err() || failed.is_ok_and(|status| status == 400));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_gateways_own_answers_to_head_are_whole_without_their_body() {
    let document = PLAIN.replace("paths: [/]", "paths: [/here]");
    with(&document, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, _) = send(&client, get("http://h/elsewhere"), true).await;
        let (_, of_get, ..) = read(response.await.unwrap()).await;
        let head = Request::head("http://h/elsewhere").body(()).unwrap();
        let (response, _) = send(&client, head, true).await;
        let response = response.await.expect("the stream is not reset");
        assert!(response.body().is_end_stream());
        let (status, fields, body, _) = read(response).await;
        assert_eq!((status, &fields["content-length"], body.as_str()), (404, &of_get["content-length"], ""));
        // Over HTTP/1.1 it is no other.
        let mut old = lab.client();
        for method in ["HEAD", "GET"] {
            old.send(&format!("{method} /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n")).await;
            let head = old.head().await;
            let length = field(&head, "content-length").unwrap();
            assert_eq!(length.as_bytes(), of_get["content-length"].as_bytes());
            assert_eq!(head.to_ascii_lowercase().matches("content-length").count(), 1, "{head}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_may_still_speak_http_1() {
    with(PLAIN, Settings::default(), |lab| async move {
        for first in
            ["POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "PRI / HTTP/1.1\r\nHost: h\r\n\r\n"]
        {
            let mut client = lab.modern_client();
            client.send(first).await;
            let mut upstream = lab.upstream().await;
            assert!(upstream.head().await.starts_with(&first[..4]));
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            assert_eq!(client.response().await.0, 200);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_ends_after_the_idle_time() {
    with(PLAIN, Settings { idle_timeout: Duration::from_secs(5), ..Settings::default() }, |lab| async move {
        let client = lab.http2().await;
        let start = tokio::time::Instant::now();
        while lab.local.connections.count() > 0 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(start.elapsed() < Duration::from_secs(11), "the idle connection stays");
        }
        assert!(start.elapsed() >= Duration::from_secs(4));
        assert!(client.ready().await.is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_meets_the_end_of_an_idle_connection_is_answered() {
    let document = PLAIN.replace("paths: [/]", "paths: [/nowhere]");
    with(
        &document,
        Settings { idle_timeout: Duration::from_secs(5), ..Settings::default() },
        |lab| async move {
            let mut client = Raw::connect(&lab, &[]).await;
            let goaway = client.until(GOAWAY, 0).await;
            assert_eq!(number(&goaway.payload[..4]), u32::MAX >> 1, "any request is still welcome");
            let ping = client.until(PING, 0).await;
            client.write(&post(1)).await;
            client.write(&frame(DATA, END_STREAM, 1, &[])).await;
            client.until(HEADERS, 1).await;
            client.write(&frame(PING, 1, 0, &ping.payload)).await;
            let goaway = client.until(GOAWAY, 0).await;
            assert_eq!(number(&goaway.payload[..4]), 1, "the last request that was served");
            while client.frame().await.is_some() {}
            assert_eq!(lab.local.connections.count(), 0);
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_takes_as_many_requests_as_it_may() {
    let document = PLAIN.replace("paths: [/]", "paths: [/nowhere]");
    with(&document, Settings { max_requests_per_connection: 3, ..Settings::default() }, |lab| async move {
        let client = lab.http2().await;
        for _ in 0..3 {
            assert!(client.clone().ready().await.is_ok());
            let (response, _) = send(&client, get("http://h/"), true).await;
            assert_eq!(read(response.await.unwrap()).await.0, 404);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(client.ready().await.is_err());
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_has_to_wait_while_its_bodies_are_not_taken() {
    let document = PLAIN.replace("paths: [/]", "paths: [/]\n    request_buffering: false");
    with(&document.replace("timeout: 1000", "timeout: 60000"), Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (mut uploads, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let (response, mut body) =
                send(&client, Request::post("http://h/").body(()).unwrap(), false).await;
            let upstream = lab.upstream().await;
            let mut sent = 0;
            body.reserve_capacity(1 << 30);
            let room = Duration::from_millis(100);
            while let Ok(Some(Ok(room))) =
                tokio::time::timeout(room, poll_fn(|cx| body.poll_capacity(cx))).await
            {
                body.send_data(vec![b'x'; room].into(), false).unwrap();
                sent += room;
            }
            taken.push(sent);
            uploads.push((response, body, upstream));
        }
        // A window, and what is on its way to the service.
        assert!((256 << 10..400 << 10).contains(&taken[0]), "{taken:?}");
        assert!(taken.iter().sum::<usize>() < 2 << 20, "{taken:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_running_requests_finish_and_takes_no_more() {
    with(PLAIN, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, _) = send(&client, get("http://h/"), true).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        let (orders, mut received) = tokio::sync::watch::channel(crate::worker::Order::Drain);
        let draining = lab.drain(&mut received);
        let story = async {
            // Until the client has heard of it.
            while client.clone().ready().await.is_ok() {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast").await;
            assert_eq!(read(response.await.unwrap()).await.2, "last");
        };
        tokio::join!(draining, story);
        drop(orders);
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_becomes_a_websocket() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.http2().await;
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
            client = client.ready().await.unwrap();
        }
        let mut request = Request::builder().method("CONNECT").uri("http://h/chat").body(()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, mut up) = client.send_request(request, false).unwrap();
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        assert_eq!(field(&head, "upgrade"), Some("websocket"));
        assert_eq!(field(&head, "sec-websocket-key").map(str::len), Some(24));
        upstream
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
            .await;
        let response = response.await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().get("sec-websocket-accept")), (200, None));
        let mut down = response.into_body();
        up.send_data(Bytes::from_static(b"ping"), false).unwrap();
        upstream.expect("ping").await;
        upstream.send("pong").await;
        assert_eq!(down.data().await.unwrap().unwrap(), "pong");
        up.send_data(Bytes::new(), true).unwrap();
        assert_eq!(upstream.rest().await, "");
        drop(upstream);
        assert!(down.data().await.is_none_or(|last| last.unwrap().is_empty()));
    })
    .await;
}
