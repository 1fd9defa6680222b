//! Plugins that panic, or wait for ever: they cost their request and nothing else.

use std::time::Duration;

use super::lab::{GET, OK, PLAIN, field, settle, with};
use super::trouble::troubled;
use crate::settings::Settings;

fn asking_for(trouble: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\nX-Trouble: {trouble}\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_upstream_is_a_500_in_the_clients_form_and_the_worker_lives_on() {
    for trouble in ["access", "after a wait"] {
        with(&troubled(PLAIN), Settings::default(), |lab| async move {
            let (mut other, mut upstream) = lab.asked(GET).await;
            let mut client = lab.client();
            client.send(&asking_for(trouble)).await;
            let (status, head, body) = client.response().await;
            assert_eq!((status, field(&head, "connection")), (500, Some("close")), "{head}");
            assert!(body.contains("\"message\":\"An unexpected error occurred\""), "{body}");
            assert_eq!(client.rest().await, "");
            // Whose request was running meanwhile notices nothing.
            upstream.send(OK).await;
            assert_eq!(other.response().await.0, 200);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_over_a_response_is_a_500_until_something_of_it_has_been_sent() {
    with(&troubled(PLAIN), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(&asking_for("header_filter")).await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 500);

        let (mut client, mut upstream) = lab.asked(&asking_for("body_filter")).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ngood").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        client.expect("good").await;
        upstream.send("bad").await;
        assert_eq!(client.rest().await, "", "it is not made to look complete");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_log_comes_after_the_response_and_costs_nothing() {
    with(&troubled(PLAIN), Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked(&asking_for("log")).await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        client.send(GET).await;
        upstream.head().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200, "the connection is as good as before");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_on_one_stream_leaves_the_others_of_its_connection() {
    with(&troubled(PLAIN), Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let request =
            |trouble: &str| http::Request::get("http://h/").header("x-trouble", trouble).body(()).unwrap();
        let (running, _) = client.clone().ready().await.unwrap().send_request(request("none"), true).unwrap();
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        for trouble in ["access", "log"] {
            let mut sender = client.clone().ready().await.unwrap();
            let (failed, _) = sender.send_request(request(trouble), true).unwrap();
            if trouble == "log" {
                let mut upstream = lab.upstream().await;
                upstream.head().await;
                upstream.send(OK).await;
            }
            let expected = if trouble == "log" { 200 } else { 500 };
            assert_eq!(failed.await.unwrap().status().as_u16(), expected, "{trouble}");
        }
        upstream.send(OK).await;
        assert_eq!(running.await.unwrap().status().as_u16(), 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_may_not_wait_for_ever() {
    let settings = Settings { plugin_timeout: Duration::from_secs(7), ..Settings::default() };
    with(&troubled(PLAIN), settings, |lab| async move {
        let start = tokio::time::Instant::now();
        let mut client = lab.client();
        client.send(&asking_for("wait")).await;
        assert_eq!(client.response().await.0, 500);
        assert_eq!(start.elapsed().as_secs(), 7);
        assert!(!lab.local.bounds.reached(crate::bounds::Bound::PluginTimeout), "it has been told of");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_resets_is_not_waited_for_by_a_plugin() {
    with(&troubled(PLAIN), Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let before = lab.holders();
        let request = http::Request::get("http://h/").header("x-trouble", "wait").body(()).unwrap();
        let mut sender = client.clone().ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request, true).unwrap();
        settle().await;
        assert_eq!(lab.holders(), before + 1);
        let start = tokio::time::Instant::now();
        stream.send_reset(h2::Reason::CANCEL);
        while lab.holders() > before {
            settle().await;
        }
        assert!(start.elapsed() < Duration::from_secs(1));
        drop(response);
    })
    .await;
}
