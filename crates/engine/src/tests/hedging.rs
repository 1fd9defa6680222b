//! A second try beside the first: when it begins, whose response is passed on, and what becomes of the other one.

use std::time::Duration;

use super::lab::{OK, with};
use crate::settings::Settings;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n";

const HEDGED: &str = r#"
_format_version: "3.0"
services:
- name: one
  host: pool
  protocol: http
  read_timeout: 5000
  routes:
  - name: all
    paths: [/]
  plugins:
  - name: upstream-retry
    config: {retries: 0, hedge: {enabled: true, seconds: 0.1}}
upstreams:
- name: pool
  targets: [{target: "10.0.0.1:80"}, {target: "10.0.0.2:80"}]
"#;

#[tokio::test(start_paused = true)]
async fn the_second_is_asked_the_same_and_the_first_is_hung_up_on() {
    with(HEDGED, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(GET).await;
        let mut first = lab.upstream().await;
        let asked = first.head().await;
        assert!(lab.opened_no_more(), "not before its time");
        let began = tokio::time::Instant::now();
        let mut second = lab.upstream().await;
        assert_eq!(began.elapsed().as_millis() / 10, 10);
        assert_eq!(second.head().await, asked.replace("Host: 10.0.0.1", "Host: 10.0.0.2"));
        second.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        assert_eq!(first.rest().await, "");
        client.send(GET).await;
        second.head().await;
        second.send(OK).await;
        assert_eq!(client.response().await.0, 200, "the connection of the winner serves again");
        assert_eq!(lab.in_flight(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_first_that_answers_late_may_still_be_the_first() {
    with(HEDGED, Settings::default(), |lab| async move {
        let (mut client, mut first) = lab.asked(GET).await;
        let mut second = lab.upstream().await;
        second.head().await;
        first.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst").await;
        assert_eq!(client.response().await.2, "first");
        assert_eq!(second.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_try_that_fails_leaves_the_word_to_the_other() {
    for fails in [0, 1] {
        with(HEDGED, Settings::default(), |lab| async move {
            let mut client = lab.client();
            client.send(GET).await;
            let mut tries = Vec::new();
            for _ in 0..2 {
                let mut upstream = lab.upstream().await;
                upstream.head().await;
                tries.push(upstream);
            }
            drop(tries.remove(fails));
            tokio::time::sleep(Duration::from_millis(10)).await;
            tries[0].send(OK).await;
            assert_eq!(client.response().await.0, 200, "{fails}");
        })
        .await;
    }
    with(HEDGED, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(GET).await;
        let (mut first, mut second) = (lab.upstream().await, lab.upstream().await);
        first.head().await;
        second.head().await;
        drop((first, second));
        assert_eq!(client.response().await.0, 502, "both have failed");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_answers_in_time_is_asked_alone_and_so_is_a_post() {
    with(HEDGED, Settings::default(), |lab| async move {
        for request in [GET, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"] {
            let (mut client, mut upstream) = lab.asked(request).await;
            let late = if request == GET { 90 } else { 1000 };
            tokio::time::sleep(Duration::from_millis(late)).await;
            upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
            assert_eq!(client.response().await.0, 200);
            assert!(lab.opened_no_more());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn neither_try_opens_more_connections_than_the_upstream_allows() {
    let document =
        HEDGED.replace("  targets:", "  pool: {max_connections: 1, queue_timeout: 60}\n  targets:");
    with(&document, Settings::default(), |lab| async move {
        let [mut one, mut other] = [lab.client(), lab.client()];
        one.send(GET).await;
        let mut first = lab.upstream().await;
        first.head().await;
        let mut second = lab.upstream().await;
        second.head().await;
        other.send(GET).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(lab.opened_no_more(), "both tries of the other wait, each at its target");
        second.send(OK).await;
        assert_eq!(one.response().await.0, 200);
        assert_eq!(first.rest().await, "", "its place is for a try that waits");
        second.head().await;
        let mut third = lab.upstream().await;
        third.head().await;
        third.send(OK).await;
        assert_eq!(other.response().await.0, 200);
        assert!(lab.opened_no_more());
        assert_eq!(lab.in_flight(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_both() {
    with(HEDGED, Settings::default(), |lab| async move {
        let (client, mut first) = lab.asked(GET).await;
        let mut second = lab.upstream().await;
        second.head().await;
        drop(client);
        assert_eq!(first.rest().await, "");
        assert_eq!(second.rest().await, "");
    })
    .await;
}
