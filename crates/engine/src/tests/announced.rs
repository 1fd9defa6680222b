//! Services that are told of their clients by the PROXY protocol: what they are told, and who shares a connection.

use super::lab::{GET, Lab, OK, PLAIN, Peer, with};
use crate::settings::Settings;
use crate::worker::Spoken;

fn announcing(version: &str) -> String {
    PLAIN.replace("retries: 2", &format!("retries: 2\n  proxy_protocol: {version}"))
}

/// Answers the next request on a connection that is open.
async fn answer(client: &mut Peer, service: &mut Peer) {
    service.head().await;
    service.send(OK).await;
    assert_eq!(client.response().await.0, 200);
}

/// Sends `request` and answers it on the connection that the gateway opens for it, which begins with `header`.
async fn visit(lab: &Lab, client: &mut Peer, request: &str, header: &str) -> Peer {
    client.send(request).await;
    let mut service = lab.upstream().await;
    service.expect(header).await;
    answer(client, &mut service).await;
    service
}

#[tokio::test(start_paused = true)]
async fn a_connection_begins_with_its_client_and_serves_nobody_else() {
    with(&announcing("v1"), Settings::default(), |lab| async move {
        let mut first = lab.client_at("192.0.2.7:5000");
        let mut second = lab.client_at("192.0.2.7:5001");
        let header = "PROXY TCP4 192.0.2.7 192.0.2.2 5000 8000\r\n";
        let mut of_first = visit(&lab, &mut first, GET, header).await;
        let header = "PROXY TCP4 192.0.2.7 192.0.2.2 5001 8000\r\n";
        let mut of_second = visit(&lab, &mut second, GET, header).await;
        for _ in 0..2 {
            first.send(GET).await;
            answer(&mut first, &mut of_first).await;
            second.send(GET).await;
            answer(&mut second, &mut of_second).await;
        }
        assert!(lab.opened_no_more(), "both go on with their own");
        // What is not to be told uses none of them, and the other version neither.
        lab.reload(PLAIN);
        let mut plain = visit(&lab, &mut first, GET, "").await;
        lab.reload(&announcing("v2"));
        first.send(GET).await;
        let mut service = lab.upstream().await;
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x02\x13\x88\x1f\x40";
        assert_eq!(service.bytes(expected.len()).await, expected);
        answer(&mut first, &mut service).await;
        lab.reload(PLAIN);
        second.send(GET).await;
        answer(&mut second, &mut plain).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_client_behind_a_trusted_proxy_is_told() {
    let trusting =
        Settings { trusted_networks: vec!["192.0.2.0/24".parse().unwrap()], ..Settings::default() };
    let of = |ip: &str| format!("GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: {ip}\r\n\r\n");
    with(&announcing("v1"), trusting, |lab| async move {
        let mut front = lab.client();
        let header = "PROXY TCP4 203.0.113.1 192.0.2.2 0 8000\r\n";
        let mut one = visit(&lab, &mut front, &of("203.0.113.1"), header).await;
        let header = "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 0 8000\r\n";
        let _two = visit(&lab, &mut front, &of("2001:db8::1"), header).await;
        front.send(&of("203.0.113.1")).await;
        answer(&mut front, &mut one).await;
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_in_front_announces_is_passed_on_with_its_port() {
    let trusted_networks = vec!["192.0.2.0/24".parse().unwrap()];
    let real_ip_header = "proxy_protocol".to_owned();
    let settings = Settings { trusted_networks, real_ip_header, ..Settings::default() };
    with(&announcing("v1"), settings, |lab| async move {
        let mut front = lab.proxied_client(Spoken { proxied: true, ..Spoken::default() });
        front.send("PROXY TCP4 203.0.113.7 192.0.2.2 40000 8000\r\n").await;
        let header = "PROXY TCP4 203.0.113.7 192.0.2.2 40000 8000\r\n";
        visit(&lab, &mut front, GET, header).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_replaces_a_dead_one_announces_the_client_again() {
    with(&announcing("v1"), Settings::default(), |lab| async move {
        let mut client = lab.client();
        let header = "PROXY TCP4 192.0.2.1 192.0.2.2 5000 8000\r\n";
        drop(visit(&lab, &mut client, GET, header).await);
        visit(&lab, &mut client, GET, header).await;
    })
    .await;
}
