//! Clients of HTTP/1.1 that leave while their response is awaited.

use super::lab::{GET, OK, PLAIN, with};
use super::trouble::troubled;
use crate::settings::Settings;

/// No wait of the service ends by itself while a story runs.
fn patient() -> String {
    PLAIN.replace("read_timeout: 1000", "read_timeout: 2000000000")
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_has_left_is_given_up() {
    with(&patient(), Settings::default(), |lab| async move {
        let (client, mut upstream) = lab.asked(GET).await;
        let holders = lab.holders();
        drop(client);
        assert_eq!(upstream.rest().await, "", "the service is told by the end of its connection");
        tokio::task::yield_now().await;
        assert!(lab.holders() < holders, "nothing is left of the connection");
        assert!(lab.opened_no_more() && lab.local.pool.len() == 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_clients_side_counts_as_leaving_unless_it_is_to_be_ignored() {
    with(&patient(), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        client.finish().await;
        assert_eq!((upstream.rest().await, client.rest().await), (String::new(), String::new()));
    })
    .await;
    let ignoring = Settings { ignore_client_abort: true, ..Settings::default() };
    with(&patient(), ignoring, |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        client.finish().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_sent_more_is_not_taken_for_one_that_has_left() {
    with(&patient(), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(&format!("{GET}{GET}")).await;
        client.finish().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        upstream.head().await;
        assert_eq!(upstream.rest().await, "", "nothing is behind the second request");
        assert_eq!(client.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_response_is_awaited_belongs_to_the_next_request() {
    with(&patient(), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        for part in ["GET /next HT", "TP/1.1\r\nHost: h\r\n\r\n"] {
            client.send(part).await;
            tokio::task::yield_now().await;
        }
        for expected in ["GET /next HTTP/1.1\r\n", ""] {
            upstream.send(OK).await;
            assert_eq!(client.response().await.0, 200);
            if !expected.is_empty() {
                let head = upstream.head().await;
                assert!(head.starts_with(expected), "{head}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_may_leave_before_its_body_is_taken_and_after() {
    with(&patient(), Settings::default(), |lab| async move {
        let (mut client, _upstream) =
            lab.asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nbegin").await;
        client.finish().await;
        assert_eq!(client.response().await.0, 400, "a body that breaks off is another thing");
        let (mut client, mut upstream) =
            lab.asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").await;
        upstream.expect("abc").await;
        client.finish().await;
        assert_eq!((upstream.rest().await, client.rest().await), (String::new(), String::new()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_ends_with_its_reader() {
    with(&patient(), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(GET).await;
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
        client.head().await;
        client.expect("3\r\none\r\n").await;
        drop(client);
        assert_eq!(upstream.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_not_waited_for_when_nobody_wants_the_response() {
    let waiting = Settings { plugin_timeout: std::time::Duration::MAX / 4, ..Settings::default() };
    with(&troubled(PLAIN), waiting, |lab| async move {
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Trouble: wait\r\n\r\n").await;
        let holders = lab.holders();
        client.finish().await;
        assert_eq!(client.rest().await, "");
        assert!(lab.holders() <= holders && lab.opened_no_more());
    })
    .await;
}
