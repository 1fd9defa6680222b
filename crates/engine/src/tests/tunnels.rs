//! Tunnels of which one side takes nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{Instant, sleep};

use super::lab::{Lab, PIPE, PLAIN, Peer, settle, with};
use crate::settings::Settings;

/// More than both pipes and the gateway hold.
static MUCH: [u8; 1 << 18] = [0; 1 << 18];

/// Both ends of a tunnel.
async fn open(lab: &Lab) -> (Peer, Peer) {
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut client = lab.client();
    client.send(&format!("GET /ws HTTP/1.1\r\nHost: h\r\n{fields}")).await;
    let mut upstream = lab.upstream().await;
    upstream.head().await;
    upstream.send(&format!("HTTP/1.1 101 Switching Protocols\r\n{fields}")).await;
    client.head().await;
    (client, upstream)
}

/// How long a tunnel lasts to which `deaf` takes nothing that `other` sends, but talks every ten seconds.
async fn lasts(deaf: Peer, other: Peer) -> Duration {
    let start = Instant::now();
    let (_kept, mut deaf) = split(deaf.0);
    let (mut heard, mut other) = split(other.0);
    let talking = async {
        while deaf.write_all(b"still here").await.is_ok() {
            sleep(Duration::from_secs(10)).await;
        }
    };
    let sending = async {
        assert!(other.write_all(&MUCH).await.is_err(), "nobody took all of it");
        start.elapsed()
    };
    let hearing = async {
        let mut all = Vec::new();
        heard.read_to_end(&mut all).await.unwrap();
        assert!(all.starts_with(b"still here"));
    };
    tokio::join!(sending, hearing, talking).0
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_off_though_it_talks() {
    let settings = Settings { send_timeout: Duration::from_secs(25), ..Settings::default() };
    with(PLAIN, settings, |lab| async move {
        let (client, upstream) = open(&lab).await;
        assert_eq!(lasts(client, upstream).await.as_secs(), 25);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_takes_nothing_is_cut_off_in_its_own_time() {
    let document = PLAIN.replace("write_timeout: 1000", "write_timeout: 35000");
    with(&document, Settings::default(), |lab| async move {
        let (client, upstream) = open(&lab).await;
        assert_eq!(lasts(upstream, client).await.as_secs(), 35);
    })
    .await;
}

/// It may not read what it is sent any more, and a client may be slow.
#[tokio::test(start_paused = true)]
async fn what_a_service_has_said_before_it_closed_reaches_the_client() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut client, mut upstream) = open(&lab).await;
        // More than the pipe to the client takes at once, so that some is left when the service is gone.
        let answer = &MUCH[..2 * PIPE];
        upstream.0.write_all(answer).await.unwrap();
        drop(upstream);
        for part in ["more", "and more"] {
            client.send(part).await;
            settle().await;
        }
        let mut all = Vec::new();
        client.0.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), answer.len());
    })
    .await;
}
