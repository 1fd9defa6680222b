//! What is held for services of HTTP/2, and of what they send, while somebody does not take it.

use std::time::Duration;

use h2::Reason;
use http::Response;
use tokio::io::AsyncWriteExt;

use super::GET;
use super::modern::{BOTH, Modern, answer, modern, read, speaking};
use super::services::accept;
use super::versions::{document, post, streaming};
use crate::settings::Settings;
use crate::tests::lab::{Peer, with};

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_body_that_is_not_taken_does_not_grow_with_the_windows_of_the_service() {
    with(&streaming(), Settings::default(), |lab| async move {
        let mut client = lab.client();
        let huge = 16 << 20;
        client.send(&format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {huge}\r\n\r\n")).await;
        let Peer(stream) = accept(lab.upstream().await, &speaking(BOTH)).await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
        let mut service = Modern(builder.handshake(stream).await.unwrap());
        // From then on it reads no more.
        let _request = service.request().await;
        let mut taken = 0;
        let piece = "x".repeat(8 << 10);
        while tokio::time::timeout(Duration::from_millis(100), client.send(&piece)).await.is_ok() {
            taken += piece.len();
            assert!(taken < 512 << 10, "it is kept without bound");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_service_sends_and_nobody_takes_holds_it_back() {
    let document = document().replace("read_timeout: 1000", "read_timeout: 60000");
    with(&document, Settings::default(), |lab| async move {
        let mut clients = Vec::new();
        let mut service = None;
        let (mut taken, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..32 {
            let mut client = lab.client();
            client.send(GET).await;
            clients.push(client);
            if service.is_none() {
                service = Some(modern(&lab, &speaking(BOTH)).await);
            }
            let (_, mut respond) = service.as_mut().unwrap().request().await;
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.reserve_capacity(1 << 30);
            let mut sent = 0;
            let idle = Duration::from_millis(10);
            loop {
                let service = service.as_mut().unwrap();
                let room = async {
                    tokio::select! {
                        room = std::future::poll_fn(|cx| stream.poll_capacity(cx)) => room.unwrap().unwrap(),
                        _ = service.0.accept() => panic!("nothing more is asked for"),
                    }
                };
                let Ok(room) = tokio::time::timeout(idle, room).await else { break };
                stream.send_data(vec![b'x'; room].into(), false).unwrap();
                sent += room;
            }
            taken.push(sent);
            streams.push((stream, respond));
        }
        // A window, and more only once much of it has been passed on; for all together, and what is on its way.
        assert!((256 << 10..320 << 10).contains(&taken[0]), "{taken:?}");
        assert!((4 << 20..5 << 20).contains(&taken.iter().sum::<usize>()), "{taken:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_streams_is_sent_again_as_long_as_all_of_it_was_kept() {
    for (size, again) in [(60 << 10, true), (70 << 10, false)] {
        with(&streaming(), Settings::default(), |lab| async move {
            let Peer(stream) = lab.client();
            let (reading, mut writing) = tokio::io::split(stream);
            let request = post(&"x".repeat(size)).replace("POST", "PUT");
            tokio::task::spawn_local(async move { writing.write_all(request.as_bytes()).await });
            let mut first = modern(&lab, &speaking(BOTH)).await;
            let (refused, mut respond) = first.request().await;
            first.run();
            assert_eq!(read(refused).await.len(), size);
            respond.send_reset(Reason::REFUSED_STREAM);
            if again {
                let mut second = modern(&lab, &speaking(BOTH)).await;
                let (request, respond) = second.request().await;
                second.run();
                assert_eq!(read(request).await.len(), size);
                answer(respond, "ok", &[]);
            }
            let mut client = Peer(tokio::io::join(reading, tokio::io::sink()));
            assert_eq!(client.response().await.0, if again { 200 } else { 502 });
            assert!(lab.opened_no_more());
        })
        .await;
    }
}
