//! What a client or the gateway alone has caused does not speak against the target of the request.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::Instant;

use super::grpc::{GRPC, Upstream, answer, call, read, send};
use super::lab::{GET, Lab, field, settle, with};
use crate::settings::Settings;

/// A service whose targets are counted, by these fields of it and of its route.
fn counted(service: &str, route: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- {{name: one, host: counted.test, {service}, \
         routes: [{{name: all, paths: [/], {route}}}]}}\nupstreams:\n- {{name: counted.test, algorithm: p2c, \
         targets: [{{target: '10.0.0.1:80'}}, {{target: '10.0.0.2:80'}}]}}\n"
    )
}

/// What an upstream of HTTP/2 is asked by `request`: its target. It answers with success.
async fn asked_over_http2(lab: &Lab, request: &[u8]) -> String {
    let mut client = lab.client();
    tokio::io::AsyncWriteExt::write_all(&mut client.0, request).await.unwrap();
    let dialled = tokio::select! {
        dialled = lab.upstream() => dialled,
        head = client.head() => panic!("{head}"),
    };
    let mut upstream = Upstream::accept(dialled).await;
    let (request, respond) = upstream.request().await;
    upstream.run();
    answer(respond, "x");
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    request.uri().path_and_query().unwrap().as_str().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_its_call_no_time_says_nothing_of_the_target() {
    let upstream =
        "upstreams:\n- {name: counted.test, algorithm: p2c, targets: [{target: '10.0.0.1:50051'}]}\n";
    let document =
        GRPC.replace("url: grpc://10.0.0.1:50051", "host: counted.test\n  protocol: grpc") + upstream;
    with(&document, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        for (timeout, failing) in [(Some("5m"), 0), (None, 1)] {
            let mut request = call("/one");
            if let Some(timeout) = timeout {
                request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
            }
            let (response, mut body) = send(&client, request).await;
            body.send_data(Bytes::new(), true).unwrap();
            let silent = async {
                let mut upstream = Upstream::accept(lab.upstream().await).await;
                let asked = upstream.request().await;
                upstream.run();
                asked
            };
            let (_asked, response) = tokio::join!(silent, response);
            let (status, fields, ..) = read(response.unwrap()).await;
            assert_eq!((status, fields["grpc-status"].as_bytes()), (504, &b"4"[..]));
            settle().await;
            assert_eq!(lab.failing_targets(), failing, "{timeout:?}");
            lab.local.http2_pool.sweep(Duration::ZERO);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whatever_stands_in_a_query_goes_on_over_http2() {
    let document = counted("protocol: http, http2: true, read_timeout: 1000", "strip_path: false");
    for (sent, expected) in [
        (&b"/a?q={\"a\":1}"[..], "/a?q=%7B%22a%22:1%7D"),
        (b"/a?q=<b>&r=`", "/a?q=%3Cb%3E&r=%60"),
        (b"/a?q=caf\xc3\xa9&r=\"", "/a?q=caf%C3%A9&r=%22"),
        (b"/a?q=caf\xc3\xa9%20x", "/a?q=caf\u{e9}%20x"),
    ] {
        with(&document, Settings::default(), |lab| async move {
            let request = [b"GET ", sent, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
            assert_eq!(asked_over_http2(&lab, &request).await, expected);
            assert_eq!(lab.failing_targets(), 0);
        })
        .await;
    }
}

/// Asserts that a request whose `Host` cannot be sent on is refused, and no target blamed. Whether one is dialled.
async fn refuses_host(document: &str, host: &str, dials: bool) {
    with(document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(&GET.replace("Host: h", &format!("Host: {host}"))).await;
        let refused = tokio::time::timeout(Duration::from_secs(10), client.response());
        assert_eq!(refused.await.expect("nobody has to be asked for that").0, 400);
        settle().await;
        assert_eq!((lab.failing_targets(), lab.opened_no_more()), (0, !dials));
        client.send(&GET.replace("Host: h", "Host: sound.test")).await;
        lab.upstream().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_sent_over_http2_is_the_clients_fault() {
    refuses_host(&counted("protocol: http, http2: true", "preserve_host: true"), "a%41", true).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_no_server_name_is_the_clients_fault() {
    for http2 in ["", ", http2: true"] {
        refuses_host(&counted(&format!("protocol: https{http2}"), "preserve_host: true"), "a!b", false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_end_its_stream_is_waited_for_and_not_the_target() {
    let body_timeout = Duration::from_secs(20);
    let settings = Settings { body_timeout, min_body_rate: 0, ..Settings::default() };
    with(&counted("protocol: http, write_timeout: 1000", ""), settings, |lab| async move {
        let client = lab.http2().await;
        let request = Request::post("http://h/").header("content-length", 100_000).body(()).unwrap();
        let begun = Instant::now();
        let (response, mut body) = send(&client, request).await;
        body.send_data(vec![b'x'; 100_000].into(), false).unwrap();
        let taking = async {
            let mut upstream = lab.upstream().await;
            assert_eq!(field(&upstream.head().await, "content-length"), Some("100000"));
            // All that comes; the last bytes do not, for they would complete it.
            upstream.rest().await
        };
        let (taken, response) = tokio::join!(taking, response);
        assert_eq!(response.unwrap().status(), 408);
        assert!(taken.len() < 100_000);
        assert_eq!(begun.elapsed().as_secs(), 20);
        settle().await;
        assert_eq!(lab.failing_targets(), 0);
    })
    .await;
}
