//! Connections of HTTP/2 to services: who shares one, and how long it lasts.

use std::time::Duration;

use super::modern::{BOTH, Modern, answer, asked, modern, speaking};
use super::services::{Document, accept};
use super::versions::{classic, document};
use super::{GET, OK};
use crate::settings::Settings;
use crate::tests::lab::{Peer, with};

#[tokio::test(start_paused = true)]
async fn connections_that_nobody_uses_are_not_kept_without_bound() {
    let few = Settings { upstream_pool_size: 0, ..Settings::default() };
    with(&document(), few, |lab| async move {
        let config = speaking(BOTH);
        let (mut client, mut first) = asked(&lab, &config, GET).await;
        answer(first.request().await.1, "ok", &[]);
        let ended = tokio::task::spawn_local(async move { !matches!(first.0.accept().await, Some(Ok(_))) });
        client.response().await;
        lab.reload(&document().replace("host_header: up.test", "host_header: other.test"));
        client.send(GET).await;
        let mut second = modern(&lab, &config).await;
        answer(second.request().await.1, "ok", &[]);
        second.run();
        client.response().await;
        assert!(ended.await.unwrap(), "the first has had its end");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_kept_for_its_time_and_no_longer() {
    let settings = Settings { upstream_idle_timeout: Duration::from_secs(5), ..Settings::default() };
    with(&document(), settings, |lab| async move {
        let (mut client, mut service) = asked(&lab, &speaking(BOTH), GET).await;
        answer(service.request().await.1, "ok", &[]);
        let ended = service.run();
        client.response().await;
        for over in [false, true] {
            tokio::time::sleep(Duration::from_secs(3)).await;
            lab.local.tidy();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(ended.is_finished(), over);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_as_it_is_used_again_costs_no_attempt() {
    let document = document().replace("retries: 2", "retries: 0");
    with(&document, Settings::default(), |lab| async move {
        let config = speaking(BOTH);
        let (mut client, mut service) = asked(&lab, &config, GET).await;
        answer(service.request().await.1, "ok", &[]);
        let ending = tokio::task::spawn_local(async move {
            let _ = service.request().await;
        });
        client.response().await;
        client.send(GET).await;
        ending.await.unwrap();
        let mut service = modern(&lab, &config).await;
        answer(service.request().await.1, "again", &[]);
        service.run();
        assert_eq!(client.response().await.2, "again");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_connection_is_opened_when_the_streams_of_one_run_out() {
    with(&document(), Settings::default(), |lab| async move {
        let config = speaking(BOTH);
        let mut clients = [lab.client(), lab.client(), lab.client()];
        clients[0].send(GET).await;
        let Peer(stream) = accept(lab.upstream().await, &config).await.unwrap();
        let mut one = Modern::on(stream, 2).await;
        let first = one.request().await.1;
        clients[1].send(GET).await;
        let second = one.request().await.1;
        clients[2].send(GET).await;
        let mut other = modern(&lab, &config).await;
        let third = other.request().await.1;
        one.run();
        other.run();
        for (respond, client) in [first, second, third].into_iter().zip(&mut clients) {
            answer(respond, "ok", &[]);
            assert_eq!(client.response().await.0, 200);
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn services_that_do_not_opt_in_share_no_connection_with_those_that_do() {
    with(&document(), Settings::default(), |lab| async move {
        let config = speaking(BOTH);
        let (mut client, mut service) = asked(&lab, &config, GET).await;
        answer(service.request().await.1, "ok", &[]);
        service.run();
        client.response().await;
        for unset in ["", "http2: false"] {
            lab.reload(&Document::new("up.test").with(unset).text());
            client.send(GET).await;
            if unset.is_empty() {
                let mut plain = classic(&lab, &config).await;
                assert_eq!(plain.0.get_ref().1.alpn_protocol(), None, "nothing is offered");
                tokio::task::spawn_local(async move {
                    loop {
                        plain.head().await;
                        plain.send(OK).await;
                    }
                });
            }
            assert_eq!(client.response().await.0, 200);
        }
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_is_told_of_its_client_before_the_handshake_and_streams_of_one_client_share() {
    let document = Document::new("up.test").with("http2: true, proxy_protocol: v1").text();
    with(&document, Settings::default(), |lab| async move {
        let config = speaking(BOTH);
        let mut clients = [lab.client_at("192.0.2.7:5000"), lab.client_at("192.0.2.7:5001")];
        for (client, port) in clients.iter_mut().zip([5000, 5001]) {
            client.send(GET).await;
            let mut peer = lab.upstream().await;
            peer.expect(&format!("PROXY TCP4 192.0.2.7 192.0.2.2 {port} 8000\r\n")).await;
            let mut service = Modern::on(accept(peer, &config).await.unwrap().0, 100).await;
            tokio::task::spawn_local(async move {
                while let Some(Ok((_, respond))) = service.0.accept().await {
                    answer(respond, "ok", &[]);
                }
            });
            assert_eq!(client.response().await.0, 200);
        }
        for client in &mut clients {
            client.send(GET).await;
            assert_eq!(client.response().await.0, 200);
        }
        assert!(lab.opened_no_more());
    })
    .await;
}
