//! Upstreams that speak HTTP/2: gRPC calls in all shapes, connections shared by many, streams refused.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::DuplexStream;

use super::lab::{Lab, Peer, field, with};
use crate::settings::Settings;

pub const GRPC: &str = r#"
_format_version: "3.0"
services:
- name: greeter
  url: grpc://10.0.0.1:50051
  read_timeout: 1000
  retries: 2
  routes:
  - {name: calls, protocols: [grpc, grpcs], paths: [/]}
  - {name: plain, protocols: [http], paths: [/plain], strip_path: false}
  - {name: secure, protocols: [grpcs], paths: [/secure]}
"#;

/// An upstream's end of a connection.
pub struct Upstream(pub Connection<DuplexStream, Bytes>);

impl Upstream {
    pub async fn accept(peer: Peer) -> Self {
        Self(h2::server::handshake(peer.0).await.unwrap())
    }

    pub async fn limited(peer: Peer, streams: u32) -> Self {
        let builder = h2::server::Builder::new().max_concurrent_streams(streams).clone();
        Self(builder.handshake(peer.0).await.unwrap())
    }

    /// The next request; the connection is driven on in the background.
    pub async fn request(&mut self) -> (Request<RecvStream>, SendResponse<Bytes>) {
        self.0.accept().await.unwrap().unwrap()
    }

    /// Lets the connection go on by itself.
    pub fn run(mut self) {
        tokio::task::spawn_local(async move { while let Some(Ok(_)) = self.0.accept().await {} });
    }
}

pub fn call(path: &str) -> Request<()> {
    Request::post(format!("http://h{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

pub async fn send(client: &SendRequest<Bytes>, request: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
    client.clone().ready().await.unwrap().send_request(request, false).unwrap()
}

/// Calls that are sent at once.
pub async fn calls(client: &SendRequest<Bytes>, count: usize) -> Vec<ResponseFuture> {
    let mut responses = Vec::new();
    for _ in 0..count {
        let (response, mut body) = send(client, call("/one")).await;
        body.send_data(Bytes::new(), true).unwrap();
        responses.push(response);
    }
    responses
}

fn trailers(name: &'static str, value: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    trailers
}

pub fn answer(mut respond: SendResponse<Bytes>, body: &'static str) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), false).unwrap();
    stream.send_trailers(trailers("grpc-status", "0")).unwrap();
}

pub async fn read(response: Response<RecvStream>) -> (u16, HeaderMap, String, Option<HeaderMap>) {
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        text.extend_from_slice(&piece.unwrap());
    }
    let trailers = body.trailers().await.unwrap();
    (head.status.as_u16(), head.headers, String::from_utf8(text).unwrap(), trailers)
}

pub async fn upstream(lab: &Lab) -> Upstream {
    Upstream::accept(lab.upstream().await).await
}

#[tokio::test(start_paused = true)]
async fn a_call_passes_with_its_trailers() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, call("/greet.Greeter/Hello?a=b")).await;
        body.send_data(Bytes::from_static(b"name"), true).unwrap();
        let mut upstream = upstream(&lab).await;
        let (request, respond) = upstream.request().await;
        assert_eq!(request.uri(), "http://10.0.0.1:50051/greet.Greeter/Hello?a=b");
        let fields = request.headers();
        assert_eq!(
            (fields["te"].as_bytes(), fields["x-forwarded-host"].as_bytes()),
            (&b"trailers"[..], &b"h"[..])
        );
        assert_eq!((fields.get("connection"), fields.get("host")), (None, None));
        upstream.run();
        assert_eq!(request.into_body().data().await.unwrap().unwrap(), "name");
        answer(respond, "hello name");
        let (status, fields, text, trailers) = read(response.await.unwrap()).await;
        assert_eq!((status, text.as_str()), (200, "hello name"));
        assert_eq!(
            (fields["content-type"].as_bytes(), fields["via"].as_bytes()),
            (&b"application/grpc"[..], &b"2 kong/3.9.3"[..])
        );
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    })
    .await;
}

/// A trailer section of so many fields.
fn many_trailers(count: u32) -> HeaderMap {
    (0..count).map(|number| ("x-repeated".parse().unwrap(), number.into())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_with_more_trailers_than_fields_may_be_is_refused() {
    let mut settings = Settings::default();
    settings.request_limits.max_headers = 20;
    with(GRPC, settings, |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, call("/call")).await;
        body.send_data(Bytes::from_static(b"x"), false).unwrap();
        body.send_trailers(many_trailers(20)).unwrap();
        let mut upstream = upstream(&lab).await;
        let (request, respond) = upstream.request().await;
        tokio::task::spawn_local(async move {
            let mut unanswered = Vec::new();
            while let Some(Ok(request)) = upstream.0.accept().await {
                unanswered.push(request);
            }
        });
        let (_, _, text, trailers) = read(Response::new(request.into_body())).await;
        assert_eq!((text.as_str(), trailers.unwrap().len()), ("x", 20));
        answer(respond, "");
        assert_eq!(response.await.unwrap().status(), 200);
        let (response, mut body) = send(&client, call("/call")).await;
        body.send_data(Bytes::from_static(b"x"), false).unwrap();
        body.send_trailers(many_trailers(21)).unwrap();
        assert_eq!(response.await.unwrap().status(), 431);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_with_more_trailers_than_fields_may_be_breaks_off() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        for (count, whole) in [(100, true), (101, false)] {
            let (response, mut body) = send(&client, call("/call")).await;
            body.send_data(Bytes::new(), true).unwrap();
            // The one before has ended.
            let mut upstream = upstream(&lab).await;
            let (_, mut respond) = upstream.request().await;
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_trailers(many_trailers(count)).unwrap();
            let driven = tokio::task::spawn_local(async move { upstream.0.accept().await.is_some() });
            let received = async { response.await?.into_body().trailers().await };
            assert_eq!(received.await.is_ok_and(|fields| fields.is_some()), whole, "{count}");
            driven.abort();
            driven.await.unwrap_err();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_flow_both_ways_at_once() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, call("/chat")).await;
        body.send_data(Bytes::from_static(b"one"), false).unwrap();
        let mut upstream = upstream(&lab).await;
        let (request, mut respond) = upstream.request().await;
        upstream.run();
        let mut received = request.into_body();
        assert_eq!(received.data().await.unwrap().unwrap(), "one");
        let mut sent = respond.send_response(Response::new(()), false).unwrap();
        sent.send_data(Bytes::from_static(b"1"), false).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!(response.body_mut().data().await.unwrap().unwrap(), "1");
        body.send_data(Bytes::from_static(b"two"), false).unwrap();
        assert_eq!(received.data().await.unwrap().unwrap(), "two");
        body.send_trailers(trailers("x-sum", "2")).unwrap();
        assert!(received.data().await.is_none());
        assert_eq!(received.trailers().await.unwrap().unwrap()["x-sum"], "2");
        sent.send_trailers(trailers("grpc-status", "0")).unwrap();
        assert_eq!(read(response).await.3.unwrap()["grpc-status"], "0");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn calls_share_a_connection_until_its_streams_run_out() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (first, mut body) = send(&client, call("/first")).await;
        body.send_data(Bytes::new(), true).unwrap();
        let mut one = Upstream::limited(lab.upstream().await, 2).await;
        let (_, first_respond) = one.request().await;
        let (second, mut body) = send(&client, call("/second")).await;
        body.send_data(Bytes::new(), true).unwrap();
        let (_, second_respond) = one.request().await;
        let (third, mut body) = send(&client, call("/third")).await;
        body.send_data(Bytes::new(), true).unwrap();
        let mut other = upstream(&lab).await;
        let (request, third_respond) = other.request().await;
        assert_eq!(request.uri().path(), "/third");
        one.run();
        other.run();
        for (respond, response) in [(first_respond, first), (second_respond, second), (third_respond, third)]
        {
            answer(respond, "x");
            assert_eq!(read(response.await.unwrap()).await.2, "x");
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_sent_again_on_another_connection() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, call("/one")).await;
        body.send_data(Bytes::from_static(b"name"), true).unwrap();
        let mut first = upstream(&lab).await;
        let (_, mut respond) = first.request().await;
        respond.send_reset(Reason::REFUSED_STREAM);
        first.run();
        let mut second = upstream(&lab).await;
        let (request, respond) = second.request().await;
        second.run();
        assert_eq!(request.into_body().data().await.unwrap().unwrap(), "name");
        answer(respond, "again");
        assert_eq!(read(response.await.unwrap()).await.2, "again");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_while_its_messages_still_come_is_sent_again_with_all_of_them() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, call("/chat")).await;
        body.send_data(Bytes::from_static(b"one, "), false).unwrap();
        // It takes no more than what was on its way before it said so.
        let builder = h2::server::Builder::new().initial_window_size(0).clone();
        let mut one = Upstream(builder.handshake(lab.upstream().await.0).await.unwrap());
        let (request, mut respond) = one.request().await;
        one.run();
        let mut received = request.into_body();
        assert_eq!(received.data().await.unwrap().unwrap(), "one, ");
        body.send_data(Bytes::from_static(b"two, "), false).unwrap();
        respond.send_reset(Reason::REFUSED_STREAM);
        let mut other = upstream(&lab).await;
        let (request, respond) = other.request().await;
        other.run();
        body.send_data(Bytes::from_static(b"three"), true).unwrap();
        let (mut received, mut text) = (request.into_body(), Vec::new());
        while let Some(piece) = received.data().await {
            let piece = piece.unwrap();
            received.flow_control().release_capacity(piece.len()).unwrap();
            text.extend_from_slice(&piece);
        }
        assert_eq!(String::from_utf8(text).unwrap(), "one, two, three");
        answer(respond, "yes");
        assert_eq!(read(response.await.unwrap()).await.2, "yes");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_been_looked_at_is_not_repeated() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, call("/one")).await;
        body.send_data(Bytes::from_static(b"name"), true).unwrap();
        let mut upstream = upstream(&lab).await;
        let (_, mut respond) = upstream.request().await;
        respond.send_reset(Reason::INTERNAL_ERROR);
        upstream.run();
        let (status, fields, text, _) = read(response.await.unwrap()).await;
        assert_eq!((status, text.as_str()), (502, ""));
        assert_eq!(
            (fields["grpc-status"].as_bytes(), fields["content-type"].as_bytes()),
            (&b"13"[..], &b"application/grpc"[..])
        );
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_a_timeout_and_its_stream_is_reset() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let (response, mut body) = send(&client, call("/one")).await;
        body.send_data(Bytes::new(), true).unwrap();
        let mut upstream = upstream(&lab).await;
        let (_, mut respond) = upstream.request().await;
        upstream.run();
        assert_eq!(response.await.unwrap().headers()["grpc-status"], "4");
        let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, Reason::CANCEL);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_speak_grpc_is_told_so() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let plain = Request::get("http://h/").body(()).unwrap();
        let (response, _) = client.clone().ready().await.unwrap().send_request(plain, true).unwrap();
        let (status, _, text, _) = read(response.await.unwrap()).await;
        assert_eq!(status, 415);
        assert!(text.contains("Non-gRPC request matched gRPC route"), "{text}");
        let (response, _body) = send(&client, call("/secure")).await;
        let (status, fields, ..) = read(response.await.unwrap()).await;
        assert_eq!((status, fields["grpc-status"].as_bytes()), (200, &b"1"[..]));
        assert_eq!(fields["grpc-message"], "gRPC request matched gRPCs route");
        let mut old = lab.client();
        old.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
            .await;
        let (status, head, _) = old.response().await;
        assert_eq!((status, field(&head, "upgrade")), (426, Some("HTTP/2")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http_1_may_call_an_upstream_of_http_2() {
    with(GRPC, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client
            .send("POST /plain HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
            .await;
        let mut upstream = upstream(&lab).await;
        let (request, respond) = upstream.request().await;
        assert_eq!(request.headers().get("transfer-encoding"), None);
        upstream.run();
        let mut body = request.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "ab");
        assert!(body.data().await.is_none_or(|last| last.unwrap().is_empty()) && body.is_end_stream());
        answer(respond, "hello");
        let head = client.head().await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        client.expect("5\r\nhello\r\n0\r\ngrpc-status: 0\r\n\r\n").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn interim_responses_without_end_are_not_passed_on_without_end() {
    for (count, expected) in [(16, 200), (17, 502)] {
        with(GRPC, Settings::default(), |lab| async move {
            let client = lab.http2().await;
            let (response, mut body) = send(&client, call("/greet.Greeter/Hello")).await;
            body.send_data(Bytes::new(), true).unwrap();
            let mut upstream = upstream(&lab).await;
            let (_request, mut respond) = upstream.request().await;
            upstream.run();
            for _ in 0..count {
                respond.send_informational(Response::builder().status(103).body(()).unwrap()).unwrap();
            }
            answer(respond, "hello");
            assert_eq!(response.await.unwrap().status().as_u16(), expected);
        })
        .await;
    }
}
