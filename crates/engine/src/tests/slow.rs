//! Clients that are slow on purpose: always quick enough for a timeout, never quick enough to come to an end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::lab::{Lab, OK, PLAIN, Peer, field, with};
use crate::bounds::Bound;
use crate::settings::Settings;

const SECOND: Duration = Duration::from_secs(1);

/// Sends an octet a second until the gateway answers: the status, its time, and how the connection is left.
async fn trickle(client: &mut Peer, octets: impl Iterator<Item = u8>) -> (u16, u64, String) {
    let start = Instant::now();
    let mut answer = Vec::new();
    for octet in octets {
        // Whoever has been cut off may find that out while writing.
        let _ = client.0.write_all(&[octet]).await;
        if timeout(SECOND, client.0.read_buf(&mut answer)).await.is_ok() {
            break;
        }
    }
    client.0.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, start.elapsed().as_secs(), answer)
}

async fn still_serves(lab: &Lab) {
    let (mut other, mut upstream) = lab.asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    upstream.send(OK).await;
    assert_eq!(other.response().await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_ends_with_the_time_for_heads() {
    with(PLAIN, Settings { head_timeout: SECOND * 20, ..Settings::default() }, |lab| async move {
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nX: ").await;
        let (status, time, _) = trickle(&mut client, std::iter::repeat(b'a')).await;
        assert_eq!(status, 408);
        assert!((19..=21).contains(&time), "{time}");
        assert!(!lab.local.bounds.reached(Bound::HeadTimeout), "it has been told of");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_cut_after_the_grace() {
    let streaming = PLAIN.replace("paths: [/]", "paths: [/]\n    request_buffering: false");
    for document in [PLAIN, &streaming] {
        for framing in ["Content-Length: 1000", "Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            with(document, Settings::default(), |lab| async move {
                let mut client = lab.client();
                client.send(&format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")).await;
                let (status, time, answer) =
                    trickle(&mut client, b"1\r\na\r\n".iter().copied().cycle()).await;
                assert_eq!((status, field(&answer, "connection")), (408, Some("close")), "{framing}");
                assert!((9..=12).contains(&time), "{framing}: {time}");
                assert!(!lab.local.bounds.reached(Bound::MinBodyRate), "it has been told of");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_pace_is_demanded_the_next_octet_of_a_body_still_has_its_time() {
    let settings = Settings { min_body_rate: 0, body_timeout: SECOND * 20, ..Settings::default() };
    for framing in ["Content-Length: 1000", "Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        with(PLAIN, settings.clone(), |lab| async move {
            let mut client = lab.client();
            let start = Instant::now();
            client.send(&format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")).await;
            sleep(SECOND * 19).await;
            client.send("1\r\na").await;
            assert_eq!(client.response().await.0, 408, "{framing}");
            assert_eq!(start.elapsed(), SECOND * 39, "{framing}");
            assert!(!lab.local.bounds.reached(Bound::BodyTimeout), "it has been told of");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_the_pace_or_may_take_its_time_is_taken() {
    let unbounded = Settings { min_body_rate: 0, ..Settings::default() };
    for (settings, piece) in [(Settings::default(), 150), (unbounded, 1)] {
        with(PLAIN, settings, |lab| async move {
            let mut client = lab.client();
            client
                .send(&format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", piece * 60))
                .await;
            for _ in 0..60 {
                sleep(SECOND).await;
                client.send(&"x".repeat(piece)).await;
            }
            let mut upstream = lab.upstream().await;
            upstream.head().await;
            upstream.bytes(piece * 60).await;
            upstream.send(OK).await;
            assert_eq!(client.response().await.0, 200);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_a_body_slowly_is_not_the_clients_fault() {
    let document = PLAIN.replace("paths: [/]", "paths: [/]\n    request_buffering: false");
    let document = document.replace("timeout: 1000", "timeout: 60000");
    // Far more than the upstream takes.
    let settings = Settings { min_body_rate: 1 << 20, ..Settings::default() };
    with(&document, settings, |lab| async move {
        let mut client = lab.client();
        let body = "x".repeat(200 << 10);
        let request = format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let sending = client.send(&request);
        let taking = async {
            let mut upstream = lab.upstream().await;
            upstream.head().await;
            for _ in 0..25 {
                sleep(SECOND * 5).await;
                upstream.bytes(8 << 10).await;
            }
            upstream.send(OK).await;
            upstream
        };
        let ((), _upstream) = tokio::join!(sending, taking);
        assert_eq!(client.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_taken_octet_by_octet_is_cut_after_the_grace() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let body = "x".repeat(400 << 10);
        let start = Instant::now();
        let answering = async {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            upstream.0.write_all(head.as_bytes()).await?;
            upstream.0.write_all(body.as_bytes()).await?;
            // Until the gateway lets go of it.
            upstream.0.read_u8().await
        };
        let taking = async {
            loop {
                sleep(SECOND).await;
                if client.0.read_u8().await.is_err() || lab.local.connections.count() == 0 {
                    break;
                }
            }
        };
        let (answered, ()) = tokio::join!(answering, taking);
        assert!(answered.is_err(), "the upstream is let go, too");
        // What the pipe holds is worth some time on top of the grace, one timeout at most.
        assert!((10..=75).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert!(!lab.local.bounds.reached(Bound::MinSendRate), "it has been told of");
        lab.refuse(0);
        still_serves(&lab).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_wait_for_the_answers_before_them_to_be_taken() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = lab.client();
        lab.refuse(usize::MAX);
        let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let start = Instant::now();
        let _ = client.0.write_all(request.repeat(9000).as_bytes()).await;
        while lab.local.connections.count() > 0 {
            sleep(SECOND).await;
        }
        assert!(start.elapsed() <= SECOND * 75, "{:?}", start.elapsed());
        // As many as have their answers in the pipe.
        assert!(lab.local.stats().requests.value() < 300, "{}", lab.local.stats().requests.value());
        lab.refuse(0);
        still_serves(&lab).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_behind_many_requests_at_once_has_no_more_time_than_others() {
    let document = PLAIN.replace("paths: [/]", "paths: [/nowhere]");
    let mut settings = Settings { head_timeout: SECOND * 20, ..Settings::default() };
    // So that all responses find room between gateway and client.
    settings.response_headers.server = false;
    settings.response_headers.response_latency = false;
    settings.response_headers.request_id = false;
    with(&document, settings, |lab| async move {
        let mut client = lab.client();
        let start = Instant::now();
        // More than a task may do before it has to let others have their turn.
        let burst = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(140);
        client.send(&(burst + "GET / HTTP/1.1\r\nX: ")).await;
        let answers = client.rest().await;
        assert_eq!((answers.matches(" 404 ").count(), answers.matches(" 408 ").count()), (140, 1));
        assert_eq!(start.elapsed(), SECOND * 20);
    })
    .await;
}
