//! Services that may be spoken to over HTTP/2: what each connection comes to, and that requests do not notice.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::modern::{BOTH, Modern, answer, asked, modern, read, read_whole, speaking};
use super::services::{Document, Service, accept};
use super::{GET, OK};
use crate::settings::Settings;
use crate::tests::lab::{Lab, PLAIN, Peer, field, with};

pub fn document() -> String {
    Document::new("up.test").with("http2: true").text()
}

/// The same, for requests whose bodies are passed on as they come.
pub fn streaming() -> String {
    document().replace("paths: [/]", "paths: [/], request_buffering: false")
}

/// The next connection the gateway opens, which comes to HTTP/1.1.
pub async fn classic(lab: &Lab, config: &Arc<ServerConfig>) -> Service {
    let service = accept(lab.upstream().await, config).await.unwrap();
    assert_ne!(service.0.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    service
}

pub fn post(body: &str) -> String {
    format!("POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test(start_paused = true)]
async fn a_service_that_chooses_http_2_is_spoken_to_in_it_on_one_connection() {
    with(&document(), Settings::default(), |lab| async move {
        let (mut client, mut service) = asked(&lab, &speaking(BOTH), &post("hello")).await;
        let (request, respond) = service.request().await;
        assert_eq!(request.uri(), "https://up.test/a?b");
        assert_eq!(request.headers()["content-length"], "5");
        assert_eq!((request.headers().get("connection"), request.headers().get("host")), (None, None));
        tokio::task::spawn_local(async move {
            assert_eq!(read(request).await, "hello");
            answer(respond, "one", &[]);
            let (_, respond) = service.request().await;
            answer(respond, "two", &[("x-late", "1")]);
            service.run();
        });
        let (status, head, body) = client.response().await;
        assert_eq!((status, body.as_str(), field(&head, "x-a")), (200, "one", Some("1")));
        client.send(GET).await;
        assert_eq!(client.response().await.2, "two");
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_choose_http_2_is_spoken_to_in_http_1_and_its_connection_kept() {
    for protocols in [&["http/1.1"][..], &[]] {
        with(&document(), Settings::default(), |lab| async move {
            let mut client = lab.client();
            client.send(GET).await;
            let mut service = classic(&lab, &speaking(protocols)).await;
            for _ in 0..3 {
                service.head().await;
                service.send(OK).await;
                assert_eq!(client.response().await.0, 200);
                client.send(GET).await;
            }
            service.head().await;
            assert!(lab.opened_no_more());
            // One that closes is replaced, by one that may speak another version.
            drop(service);
            let mut service = modern(&lab, &speaking(BOTH)).await;
            answer(service.request().await.1, "ok", &[]);
            service.run();
            assert_eq!(client.response().await.0, 200);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_may_be_sent_again_over_the_other_version_whatever_its_body() {
    let chunked =
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: 1\r\n\r\n";
    let small = chunked.replace("X-T: 1\r\n", "");
    let cases = [
        (document(), &*small, "\r\nContent-Length: 2\r\n", "ab"),
        (document(), chunked, "\r\nTransfer-Encoding: chunked\r\n", "2\r\nab\r\n0\r\nX-T: 1\r\n\r\n"),
        (streaming(), chunked, "\r\nTransfer-Encoding: chunked\r\n", "2\r\nab\r\n0\r\nX-T: 1\r\n\r\n"),
        (
            streaming(),
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
            "\r\nContent-Length: 2\r\n",
            "ab",
        ),
        (streaming(), GET, "\r\n", ""),
    ];
    for (document, request, framing, body) in cases {
        with(&document, Settings::default(), |lab| async move {
            let (mut client, mut first) = asked(&lab, &speaking(BOTH), request).await;
            let (refused, mut respond) = first.request().await;
            let first = first.run();
            assert_eq!(read(refused).await.len(), if body.is_empty() { 0 } else { 2 });
            respond.send_reset(Reason::REFUSED_STREAM);
            let mut second = classic(&lab, &speaking(&["http/1.1"])).await;
            let head = second.head().await;
            assert!(head.contains(framing), "{head}");
            second.expect(body).await;
            second.send(OK).await;
            assert_eq!(client.response().await.0, 200);
            first.abort();
            first.await.unwrap_err();
            client.send(GET).await;
            assert!(second.head().await.starts_with("GET / "), "nothing was sent behind the request");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_given_back_by_a_dead_connection_of_http_1_goes_on_over_http_2() {
    with(&document(), Settings::default(), |lab| async move {
        let mut client = lab.client();
        let body = "x".repeat(9000);
        client.send(&post(&body).replace("POST", "PUT")).await;
        let mut first = classic(&lab, &speaking(&["http/1.1"])).await;
        first.head().await;
        drop(first);
        let mut second = modern(&lab, &speaking(BOTH)).await;
        let (request, respond) = second.request().await;
        second.run();
        assert_eq!(read(request).await, body);
        answer(respond, "ok", &[]);
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn chunks_that_a_service_did_not_take_are_sent_over_http_2_without_their_frames() {
    let body = "y".repeat(70_000);
    let request = format!(
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n{body}\r\n0\r\nX-T: 1\r\n\r\n"
    );
    with(&document(), Settings::default(), |lab| async move {
        let Peer(stream) = lab.client();
        let (reading, mut writing) = tokio::io::split(stream);
        tokio::task::spawn_local(async move { writing.write_all(request.as_bytes()).await });
        let mut first = classic(&lab, &speaking(&["http/1.1"])).await;
        first.head().await;
        // The way to it is full before it says that it has had enough.
        tokio::time::sleep(Duration::from_millis(1)).await;
        first.0.shutdown().await.unwrap();
        let mut second = modern(&lab, &speaking(BOTH)).await;
        let (request, respond) = second.request().await;
        second.run();
        let (received, trailers) = read_whole(request).await;
        assert_eq!((received.len(), received == body), (70_000, true));
        assert_eq!(trailers.unwrap()["x-t"], "1");
        answer(respond, "ok", &[]);
        let mut client = Peer(tokio::io::join(reading, tokio::io::sink()));
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_to_websocket_goes_over_http_1_though_http_2_is_at_hand() {
    let upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    with(&document(), Settings::default(), |lab| async move {
        let config = speaking(BOTH);
        let (mut client, mut service) = asked(&lab, &config, GET).await;
        answer(service.request().await.1, "ok", &[]);
        service.run();
        client.response().await;
        client.send(upgrade).await;
        let mut tunnel = classic(&lab, &config).await;
        assert_eq!(tunnel.0.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        tunnel.head().await;
        tunnel.send(&format!("{switch}hello")).await;
        client.head().await;
        client.expect("hello").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn interim_responses_reach_clients_of_http_1() {
    with(&document(), Settings::default(), |lab| async move {
        let (mut client, mut service) = asked(&lab, &speaking(BOTH), GET).await;
        let (_, mut respond) = service.request().await;
        service.run();
        for status in [100, 103] {
            let hint = Response::builder().status(status).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hint).unwrap();
        }
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 103 ") && field(&head, "link") == Some("</a>"), "{head}");
        answer(respond, "ok", &[]);
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn trailers_follow_a_body_of_announced_length() {
    with(&document(), Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let request = Request::get("http://h/").body(()).unwrap();
        let (response, _) = client.clone().send_request(request, true).unwrap();
        let mut service = modern(&lab, &speaking(BOTH)).await;
        answer(service.request().await.1, "ok", &[("x-late", "1")]);
        service.run();
        let response = response.await.unwrap();
        assert_eq!(response.headers()["content-length"], "2");
        let mut body = response.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "ok");
        while let Some(piece) = body.data().await {
            assert_eq!(piece.unwrap().len(), 0);
        }
        assert_eq!(body.trailers().await.unwrap().unwrap()["x-late"], "1");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_ended_is_not_reset_and_one_that_nobody_wants_is() {
    with(&document(), Settings::default(), |lab| async move {
        let (mut client, mut service) = asked(&lab, &speaking(BOTH), GET).await;
        let (_, mut respond) = service.request().await;
        let head = Response::builder().header("content-length", 2).body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data(Bytes::from_static(b"ok"), false).unwrap();
        let ended = Rc::new(Notify::new());
        let told = ended.clone();
        let reset = tokio::task::spawn_local(async move {
            // The end comes apart from the last byte, as it does from many servers.
            tokio::select! {
                reset = std::future::poll_fn(|cx| stream.poll_reset(cx)) => panic!("{reset:?}"),
                _ = service.0.accept() => panic!("the connection goes on"),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            stream.send_data(Bytes::new(), true).unwrap();
            told.notify_one();
            let (_, mut respond) = service.request().await;
            service.run();
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap()
        });
        assert_eq!(client.response().await.2, "ok");
        ended.notified().await;
        client.send(GET).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        client.finish().await;
        assert_eq!(client.rest().await, "");
        assert_eq!(reset.await.unwrap(), Reason::CANCEL);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_is_a_504_and_a_body_it_does_not_take_holds_its_client_back() {
    with(&streaming(), Settings::default(), |lab| async move {
        let (mut client, mut service) = asked(&lab, &speaking(BOTH), GET).await;
        tokio::task::spawn_local(async move {
            let mut silent = Vec::new();
            while let Some(Ok(request)) = service.0.accept().await {
                silent.push(request);
            }
        });
        assert_eq!(client.response().await.0, 504);
        let huge = 16 << 20;
        client.send(&format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {huge}\r\n\r\n")).await;
        let body = "x".repeat(huge);
        let sent = tokio::time::timeout(Duration::from_millis(500), client.send(&body)).await;
        assert!(sent.is_err(), "the client is held back");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cleartext_service_is_known_to_speak_http_2() {
    let document = PLAIN.replace("retries: 2", "http2: true");
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(&post("hello")).await;
        let mut service = Modern::on(lab.upstream().await.0, 100).await;
        let (request, respond) = service.request().await;
        service.run();
        assert_eq!(request.uri(), "http://10.0.0.1/a?b");
        assert_eq!(read(request).await, "hello");
        answer(respond, "ok", &[]);
        assert_eq!(client.response().await.2, "ok");
    })
    .await;
}
