//! A request counts at its target from when that is picked until the exchange has ended, however it ends.

use std::time::Duration;

use tokio::time::sleep;

use super::lab::{GET, PIPE, settle, with};
use super::trouble::troubled;
use crate::settings::Settings;
use crate::worker::Spoken;

/// Two targets that take what is fewest.
const LEAST: &str = r#"
_format_version: "3.0"
services:
- name: one
  host: least.test
  protocol: http
  retries: 1
  connect_timeout: 1000
  read_timeout: 1000
  routes: [{name: all, paths: [/]}]
- name: bytes
  host: least.test
  protocol: tcp
  routes: [{name: bytes, protocols: [tcp], sources: [{ip: 192.0.2.0/24}]}]
upstreams:
- name: least.test
  algorithm: least-connections
  targets: [{target: "10.0.0.1:80"}, {target: "10.0.0.2:80"}]
"#;

#[tokio::test(start_paused = true)]
async fn a_request_counts_until_the_last_byte_of_its_response() {
    with(LEAST, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        assert_eq!(lab.in_flight(), 1);
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").await;
        client.head().await;
        client.expect("ha").await;
        assert_eq!(lab.in_flight(), 1, "half of it is not all of it");
        upstream.send("lf").await;
        client.expect("lf").await;
        settle().await;
        assert_eq!(lab.in_flight(), 0, "a connection that is kept is no request");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_leaves_counts_no_more() {
    for begun in [false, true] {
        with(LEAST, Settings::default(), |lab| async move {
            let (mut client, mut upstream) = lab.asked(GET).await;
            if begun {
                upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await;
                client.head().await;
            }
            assert_eq!(lab.in_flight(), 1);
            drop(client);
            assert_eq!(upstream.rest().await, "");
            settle().await;
            assert_eq!(lab.in_flight(), 0);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_or_panics_counts_no_more() {
    with(&troubled(LEAST), Settings::default(), |lab| async move {
        lab.refuse(2);
        let mut client = lab.client();
        client.send(GET).await;
        assert_eq!(client.response().await.0, 502);
        settle().await;
        assert_eq!(lab.in_flight(), 0, "refused twice");

        let (mut client, _upstream) = lab.asked(GET).await;
        assert_eq!(client.response().await.0, 504);
        settle().await;
        assert_eq!(lab.in_flight(), 0, "too late");

        let panicking = "GET / HTTP/1.1\r\nHost: h\r\nX-Trouble: header_filter\r\n\r\n";
        let (mut client, mut upstream) = lab.asked(panicking).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.0, 500);
        settle().await;
        assert_eq!(lab.in_flight(), 0, "a panic");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_and_a_session_of_bytes_count_until_they_end() {
    with(LEAST, Settings::default(), |lab| async move {
        let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let (mut client, mut upstream) = lab.asked(upgrade).await;
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        upstream.send(switched).await;
        client.head().await;
        assert_eq!(lab.in_flight(), 1);
        let mut bytes = lab.stream_client(Spoken::default());
        bytes.send("hello").await;
        let mut service = lab.upstream().await;
        service.expect("hello").await;
        assert_eq!(lab.in_flight(), 2);
        drop((upstream, service));
        client.rest().await;
        bytes.rest().await;
        drop((client, bytes));
        settle().await;
        assert_eq!(lab.in_flight(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_client_takes_over_its_body_is_not_the_targets() {
    let document = LEAST.replace("least-connections", "latency");
    let settings = Settings { upstream_pool_size: 0, ..Settings::default() };
    with(&document, settings, |lab| async move {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
        let (mut client, mut upstream) = lab.asked(head).await;
        sleep(Duration::from_secs(2)).await;
        let body = "x".repeat(100_000);
        tokio::join!(client.send(&body), upstream.expect(&body));
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
        assert_eq!(lab.measured_targets(), 0);

        // A body that is at hand costs no time.
        let whole = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
        let (mut client, mut upstream) = lab.asked(whole).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
        assert_eq!(lab.measured_targets(), 1);
    })
    .await;
}

/// A target whose failures are counted.
const COUNTED: &str = r#"
_format_version: "3.0"
services:
- {name: one, host: counted.test, protocol: http, retries: 0, routes: [{name: all, paths: [/]}]}
upstreams:
- {name: counted.test, algorithm: p2c, targets: [{target: "10.0.0.1:80"}]}
"#;

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_speaks_against_its_target() {
    // Relayed as it comes, and read whole for a plugin.
    for field in ["", "X-Trouble: whole body\r\n"] {
        let request = &*format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n");
        for half in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n"]
        {
            with(&troubled(COUNTED), Settings::default(), |lab| async move {
                let (mut client, mut upstream) = lab.asked(request).await;
                upstream.send(&format!("HTTP/1.1 200 OK\r\n{half}")).await;
                drop(upstream);
                client.head().await;
                settle().await;
                assert_eq!(lab.failing_targets(), 1);
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_within_a_response_does_not_speak_against_its_target() {
    with(COUNTED, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        client.head().await;
        drop(client);
        assert_eq!(upstream.rest().await, "");
        settle().await;
        assert_eq!(lab.failing_targets(), 0);
    })
    .await;
}

/// A route whose requests run one at a time, and another whose requests are answered by a plugin behind the limit.
const ONE_AT_A_TIME: &str = r#"
_format_version: "3.0"
services:
- {name: one, url: "http://10.0.0.1", routes: [{name: all, paths: [/]}, {name: answered, paths: [/answered]}]}
plugins:
- {name: concurrency-limit, config: {limit: 1, per: plugin}}
- {name: request-termination, route: answered, config: {status_code: 200, content_type: text/plain, body: BODY}}
"#;

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_before_the_client_has_the_end_of_its_response() {
    // Fits between gateway and client without the fields that the gateway adds, and no longer with them.
    let body = "x".repeat(PIPE - 100);
    let document = ONE_AT_A_TIME.replace("BODY", &body);
    with(&document, Settings::default(), |lab| async move {
        let (slow, mut upstream) = lab.asked(GET).await;
        let mut second = lab.client();
        second.send(GET).await;
        assert_eq!(second.response().await.0, 503, "the place is taken");
        upstream.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        settle().await;

        let mut answered = lab.client();
        answered.send("GET /answered HTTP/1.1\r\nHost: h\r\n\r\n").await;
        settle().await;
        let (mut third, mut upstream) = lab.asked(GET).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(third.response().await.0, 200, "two clients still take what has ended");
        drop((slow, answered));
    })
    .await;
}
