//! Connections that a proxy in front makes for clients: the PROXY protocol.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::lab::{GET, PLAIN, field, with};
use crate::settings::Settings;
use crate::worker::Spoken;

const HEADER: &str = "PROXY TCP4 203.0.113.7 192.0.2.2 40000 8000\r\n";

fn settings(trusted: &str) -> Settings {
    let trusted_networks = vec![trusted.parse().unwrap()];
    Settings { trusted_networks, real_ip_header: "proxy_protocol".to_owned(), ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_trusted_proxy_says_who_the_client_is() {
    for (trusted, address) in [("192.0.2.0/24", "203.0.113.7"), ("198.51.100.0/24", "192.0.2.1")] {
        with(PLAIN, settings(trusted), |lab| async move {
            let mut client = lab.proxied_client(Spoken::default());
            client.send(&format!("{HEADER}{GET}")).await;
            let mut upstream = lab.upstream().await;
            let head = upstream.head().await;
            assert_eq!(field(&head, "x-real-ip"), Some(address), "{head}");
            assert_eq!(field(&head, "x-forwarded-for"), Some(address), "{head}");
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(client.response().await.0, 200);
            // The header is of the connection: the next request has none.
            client.send(GET).await;
            assert_eq!(field(&upstream.head().await, "x-real-ip"), Some(address));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_ipv4_is_one_however_its_address_is_written() {
    with(PLAIN, settings("::ffff:192.0.2.0/120"), |lab| async move {
        let mut client = lab.proxied_client(Spoken::default());
        client.send(&format!("PROXY TCP6 ::ffff:203.0.113.7 ::ffff:192.0.2.2 40000 8000\r\n{GET}")).await;
        let head = lab.upstream().await.head().await;
        assert_eq!(field(&head, "x-real-ip"), Some("203.0.113.7"), "{head}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_header_in_pieces_is_read_and_a_wrong_or_missing_one_closes_without_a_word() {
    with(PLAIN, settings("192.0.2.0/24"), |lab| async move {
        let mut client = lab.proxied_client(Spoken { http2: true, ..Spoken::default() });
        for piece in HEADER.split_inclusive(' ') {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        client.send(GET).await;
        assert_eq!(field(&lab.upstream().await.head().await, "x-real-ip"), Some("203.0.113.7"));
        for wrong in [GET, "PROXY TCP4 1.2.3.4\r\n"] {
            let mut client = lab.proxied_client(Spoken::default());
            client.send(wrong).await;
            assert_eq!(client.rest().await, "");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_announces_nothing_is_not_waited_for() {
    with(PLAIN, settings("192.0.2.0/24"), |lab| async move {
        let mut client = lab.proxied_client(Spoken::default());
        let start = tokio::time::Instant::now();
        assert_eq!(client.rest().await, "");
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn those_who_are_still_to_be_announced_are_bounded_in_number() {
    let mut settings = settings("192.0.2.0/24");
    settings.tls.max_handshakes = 1;
    with(PLAIN, settings, |lab| async move {
        let mut waiting = lab.proxied_client(Spoken::default());
        let start = tokio::time::Instant::now();
        assert_eq!(lab.proxied_client(Spoken::default()).rest().await, "");
        assert_eq!((start.elapsed(), lab.local.stats().refused.value()), (Duration::ZERO, 1));
        // Who has been announced does not count any more.
        waiting.send(&format!("{HEADER}{GET}")).await;
        lab.upstream().await.head().await;
        let mut next = lab.proxied_client(Spoken::default());
        next.send(&format!("{HEADER}{GET}")).await;
        lab.upstream().await.head().await;
    })
    .await;
}

/// A header of version 2 for a client, with an extension of nothing (`PP2_TYPE_NOOP`) that makes it `size` bytes long.
fn header_of(size: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend((size - 16).to_be_bytes());
    header.extend([203, 0, 113, 7, 192, 0, 2, 2, 0x9c, 0x40, 0x1f, 0x40, 0x04]);
    header.extend((size - 16 - 12 - 3).to_be_bytes());
    header.resize(size.into(), 0);
    header
}

#[tokio::test(start_paused = true)]
async fn a_header_longer_than_the_protocol_promises_closes_before_it_has_come() {
    with(PLAIN, settings("192.0.2.0/24"), |lab| async move {
        for spoken in [Spoken::default(), Spoken { http2: true, ..Spoken::default() }] {
            let mut client = lab.proxied_client(spoken);
            client.0.write_all(&header_of(536)).await.unwrap();
            client.send(GET).await;
            assert_eq!(field(&lab.upstream().await.head().await, "x-real-ip"), Some("203.0.113.7"));
            let mut client = lab.proxied_client(spoken);
            let start = tokio::time::Instant::now();
            // What says how long it is to be is enough.
            client.0.write_all(&header_of(537)[..16]).await.unwrap();
            assert_eq!((client.rest().await.as_str(), start.elapsed()), ("", Duration::ZERO));
        }
    })
    .await;
}
