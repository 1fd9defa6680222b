//! Connections of HTTP/2 to services: what many requests at once open, and when one has served enough.

use std::time::Duration;

use h2::Reason;
use h2::client::ResponseFuture;
use tokio::time::{Instant, sleep};

use super::grpc::{GRPC, Upstream, answer, call, calls, read, send, upstream};
use super::lab::with;
use crate::settings::Settings;

/// Serves calls in the background for as long as the connection lasts.
fn serve(mut upstream: Upstream) {
    tokio::task::spawn_local(async move {
        while let Some(Ok((_, respond))) = upstream.0.accept().await {
            answer(respond, "x");
        }
    });
}

async fn status(response: ResponseFuture) -> String {
    let (_, fields, _, trailers) = read(response.await.unwrap()).await;
    let status = trailers.as_ref().unwrap_or(&fields).get("grpc-status").unwrap();
    status.to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn first_calls_at_once_open_one_connection() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let responses = calls(&client, 20).await;
        serve(upstream(&lab).await);
        for response in responses {
            assert_eq!(status(response).await, "0");
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_streams_of_the_first_connection_open_others() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let responses = calls(&client, 5).await;
        let mut carried = Vec::new();
        for calls in [2, 1, 1, 1] {
            let mut upstream = Upstream::limited(lab.upstream().await, 2).await;
            for _ in 0..calls {
                carried.push(upstream.request().await.1);
            }
            serve(upstream);
        }
        for respond in carried {
            answer(respond, "x");
        }
        for response in responses {
            assert_eq!(status(response).await, "0");
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_connection_that_fails_has_failed_as_well() {
    let document = GRPC.replace("retries: 2", "retries: 0");
    with(&document, Settings::default(), |lab| async move {
        lab.refuse_after(1, Duration::from_millis(100));
        let client = lab.http2().await;
        let (begun, responses) = (Instant::now(), calls(&client, 3).await);
        for response in responses {
            assert_eq!(status(response).await, "13");
        }
        assert_eq!(begun.elapsed().as_millis() / 100, 1);
        assert!(lab.opened_no_more(), "nobody has tried on their own");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_hands_the_opening_over() {
    with(GRPC, Settings::default(), |lab| async move {
        lab.refuse_after(1, Duration::from_secs(30));
        let client = lab.http2().await;
        let (leaving, mut body) = send(&client, call("/one")).await;
        sleep(Duration::from_millis(10)).await;
        let responses = calls(&client, 3).await;
        sleep(Duration::from_millis(10)).await;
        assert!(lab.opened_no_more());
        body.send_reset(Reason::CANCEL);
        drop(leaving);
        let begun = Instant::now();
        serve(upstream(&lab).await);
        for response in responses {
            assert_eq!(status(response).await, "0");
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(lab.opened_no_more(), "one of them has opened it for all");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_at_once_hands_the_opening_over() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let mut responses = calls(&client, 3).await;
        drop(lab.upstream().await);
        serve(upstream(&lab).await);
        // The call that was under way may have been looked at.
        assert_eq!(status(responses.remove(0)).await, "13");
        for response in responses {
            assert_eq!(status(response).await, "0");
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_served_enough_takes_no_more_and_ends_with_its_last_call() {
    let settings = Settings { upstream_max_requests: 2, ..Settings::default() };
    with(GRPC, settings, |lab| async move {
        let client = lab.http2().await;
        let first = calls(&client, 1).await.remove(0);
        let mut one = upstream(&lab).await;
        let (_, respond) = one.request().await;
        answer(respond, "x");
        let serving = tokio::task::spawn_local(async move {
            let (_, second) = one.request().await;
            (one, second)
        });
        assert_eq!(status(first).await, "0");
        sleep(Duration::from_millis(10)).await;
        let second = calls(&client, 1).await.remove(0);
        let (mut one, second_respond) = serving.await.unwrap();
        let third = calls(&client, 1).await.remove(0);
        serve(upstream(&lab).await);
        assert_eq!(status(third).await, "0");
        // The first connection lasts for the call that it still carries, and no longer.
        let waiting = tokio::time::timeout(Duration::from_millis(100), one.0.accept()).await;
        assert!(waiting.is_err(), "a call is under way");
        answer(second_respond, "y");
        let (ended, status) = tokio::join!(one.0.accept(), status(second));
        assert_eq!((ended.is_none(), status.as_str()), (true, "0"));
        assert!(lab.opened_no_more());
    })
    .await;
}

/// Serves calls, but for those that it says nothing about. Those are kept.
fn serve_some(mut upstream: Upstream, silent: &'static str) {
    tokio::task::spawn_local(async move {
        let mut kept = Vec::new();
        while let Some(Ok((request, respond))) = upstream.0.accept().await {
            if request.uri().path() == silent { kept.push(respond) } else { answer(respond, "x") }
        }
    });
}

/// Calls that one after the other are sent, and what becomes of each.
async fn statuses(client: &h2::client::SendRequest<bytes::Bytes>, paths: &[&str]) -> Vec<String> {
    let mut statuses = Vec::new();
    for path in paths {
        let (response, mut body) = send(client, call(path)).await;
        body.send_data(bytes::Bytes::new(), true).unwrap();
        statuses.push(status(response).await);
        sleep(Duration::from_millis(10)).await;
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_gone_silent_gets_no_further_calls() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let calls =
            tokio::task::spawn_local(async move { statuses(&client, &["/a", "/silent", "/b"]).await });
        // From here on, nothing is heard of it.
        serve_some(upstream(&lab).await, "/silent");
        serve(upstream(&lab).await);
        assert_eq!(calls.await.unwrap(), ["0", "4", "0"]);
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_others_are_answered_stays_though_one_call_is_not() {
    with(GRPC, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let beside = client.clone();
        let calls =
            tokio::task::spawn_local(async move { statuses(&client, &["/a", "/silent", "/b"]).await });
        serve_some(upstream(&lab).await, "/silent");
        sleep(Duration::from_millis(500)).await;
        assert_eq!(statuses(&beside, &["/c"]).await, ["0"]);
        assert_eq!(calls.await.unwrap(), ["0", "4", "0"]);
        assert!(lab.opened_no_more());
    })
    .await;
}
