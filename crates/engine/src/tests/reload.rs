//! New configurations under running requests.

use super::lab::{OK, PLAIN, with};
use crate::settings::Settings;

#[tokio::test(start_paused = true)]
async fn a_running_request_keeps_the_configuration_it_began_with() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked("GET /old HTTP/1.1\r\nHost: h\r\n\r\n").await;
        lab.reload("_format_version: '3.0'\n");
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        client.send("GET /old HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(client.response().await.0, 404, "the next request of the connection sees the new one");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_request_is_lost_over_many_reloads() {
    with(PLAIN, Settings::default(), |lab| async move {
        let serving = tokio::task::spawn_local({
            let lab = lab.clone();
            async move {
                loop {
                    let mut upstream = lab.upstream().await;
                    tokio::task::spawn_local(async move {
                        while !upstream.head().await.is_empty() {
                            upstream.send(OK).await;
                        }
                    });
                }
            }
        });
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(lab.client());
        }
        for round in 0..50 {
            let path = if round % 2 == 0 { "/svc" } else { "/other" };
            for client in &mut clients {
                client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
            }
            lab.reload(&PLAIN.replace("http://10.0.0.1:80", &format!("http://10.0.0.1:80{path}")));
            for client in &mut clients {
                assert_eq!(client.response().await.0, 200, "round {round}");
            }
        }
        serving.abort();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_lets_a_running_request_finish_and_then_closes() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = lab.asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        lab.local.draining.set(true);
        lab.local.connections.end(false);
        upstream.send(OK).await;
        let (status, head, _) = client.response().await;
        assert_eq!(status, 200);
        assert!(head.contains("Connection: close"), "{head}");
        assert_eq!(client.rest().await, "");
    })
    .await;
}
