//! Clients of HTTP/2 that try to keep the gateway busy at no cost of their own. Each is cut off, and another client is
//! served all the while.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, HEADERS, PING, PRIORITY,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame, get, literal, post,
};
use super::lab::{Lab, OK, PLAIN, Peer, with};
use crate::bounds::Bound;
use crate::settings::{Http2, Settings};

const CALM: End = End::GoAway(ENHANCE_YOUR_CALM);

/// A document whose route never asks an upstream.
fn answering() -> String {
    PLAIN.replace("paths: [/]", "paths: [/nowhere]")
}

/// Another client, whose requests are served before and after.
struct Bystander(Peer);

impl Bystander {
    async fn new(lab: &Lab) -> Self {
        let mut bystander = Self(lab.client());
        bystander.is_served().await;
        bystander
    }

    async fn is_served(&mut self) {
        self.0.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(self.0.response().await.0, 404);
    }
}

/// Floods a connection; how it ends, and after how many rounds.
async fn flood(lab: &Lab, times: usize, bytes: impl FnMut(usize) -> Vec<u8>) -> (End, usize) {
    let mut bystander = Bystander::new(lab).await;
    let attacker = Raw::connect(lab, &[]).await;
    let ended = attacker.flood(times, bytes).await;
    bystander.is_served().await;
    ended
}

fn stream_of(round: usize) -> u32 {
    u32::try_from(round * 2 + 1).unwrap()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A frame a round, of which a client may send about 1000 within ten seconds.
async fn is_bounded(bytes: impl Fn(usize) -> Vec<u8> + Copy) {
    with(&answering(), Settings::default(), |lab| async move {
        let (end, rounds) = flood(&lab, 10_000, bytes).await;
        assert_eq!(end, CALM);
        assert!((900..3000).contains(&rounds), "{rounds}");
        assert!(!lab.local.bounds.reached(Bound::Http2ControlFrames), "it has been told of");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pings_settings_priorities_and_unknown_frames_are_bounded() {
    is_bounded(|_| frame(PING, 0, 0, &[7; 8])).await;
    is_bounded(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])).await;
    is_bounded(|round| frame(PRIORITY, 0, stream_of(round % 1000 + 1), &[0, 0, 0, 0, 16])).await;
    is_bounded(|_| frame(0xbe, 0, 0, &[])).await;
    is_bounded(|_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())).await;
}

#[tokio::test(start_paused = true)]
async fn the_bound_on_control_frames_can_be_set_and_time_renews_it() {
    let http2 = Http2 { max_control_frames: 10, ..Http2::default() };
    with(&answering(), Settings { http2, ..Settings::default() }, |lab| async move {
        let (end, rounds) = flood(&lab, 100, |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])).await;
        assert_eq!(end, CALM);
        assert!(rounds < 100, "{rounds}");
        let mut patient = Raw::connect(&lab, &[]).await;
        for _ in 0..20 {
            sleep(Duration::from_secs(2)).await;
            patient.write(&frame(PING, 0, 0, &[1; 8])).await;
            patient.until(PING, 0).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_reset_at_once_are_bounded() {
    // All in one piece: the crate's own bound, on streams that were reset before they were looked at.
    with(&answering(), Settings::default(), |lab| async move {
        let burst: Vec<u8> =
            (0..200).flat_map(|round| [get(stream_of(round)), reset(stream_of(round))].concat()).collect();
        let (end, _) = flood(&lab, 1, move |_| burst.clone()).await;
        assert_eq!(end, CALM);
        assert!(!lab.local.bounds.reached(Bound::Http2Excess), "it has been told of");
    })
    .await;
    // One by one, each on its way to an upstream before it is reset.
    with(PLAIN, Settings::default(), |lab| async move {
        let attacker = Raw::connect(&lab, &[]).await;
        let pair = |round: usize| {
            let stream = stream_of(round / 2);
            if round.is_multiple_of(2) { get(stream) } else { reset(stream) }
        };
        let (end, rounds) = attacker.flood(20_000, pair).await;
        assert_eq!(end, CALM);
        assert!(rounds < 3000, "{rounds}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn resets_that_a_client_provokes_are_bounded() {
    with(PLAIN, Settings::default(), |lab| async move {
        let attacker = Raw::connect(&lab, &[]).await;
        let faulty = |round: usize| {
            let stream = stream_of(round);
            // A window that grows beyond all bounds is an error of its stream (RFC 9113 6.9.1).
            [get(stream), frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat()
        };
        let (end, rounds) = attacker.flood(1000, faulty).await;
        assert_eq!(end, CALM);
        assert!(rounds <= 200, "{rounds}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn continuations_without_end_are_bounded() {
    with(&answering(), Settings::default(), |lab| async move {
        let (end, rounds) = flood(&lab, 1000, |round| match round {
            0 => frame(HEADERS, END_STREAM, 1, &block("GET")),
            _ => frame(CONTINUATION, 0, 1, &literal("x", "y")),
        })
        .await;
        assert_eq!(end, CALM);
        assert!(rounds < 100, "{rounds}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_header_list_that_is_large_only_when_unpacked_is_not_unpacked() {
    // One field that the other side remembers, and then a thousand references to it of one byte each.
    let value = "v".repeat(100);
    let mut bomb = block("GET");
    bomb.extend([&[0x40, 1, b'x', 100], value.as_bytes()].concat());
    bomb.extend([0xbe; 4000]);
    with(&answering(), Settings::default(), |lab| async move {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
        let (end, _) = flood(&lab, 1, move |_| request.clone()).await;
        assert_eq!(end, CALM);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_header_list_above_the_bound_is_refused_and_the_connection_lives() {
    with(&answering(), Settings::default(), |lab| async move {
        let mut bystander = Bystander::new(&lab).await;
        let mut client = Raw::connect(&lab, &[]).await;
        let mut large = block("GET");
        (0..150).for_each(|_| large.extend(literal("x", &"v".repeat(100))));
        client.write(&frame(HEADERS, END_STREAM, 1, &large[..10_000])).await;
        client.write(&frame(CONTINUATION, END_HEADERS, 1, &large[10_000..])).await;
        let refused = client.until(HEADERS, 1).await;
        // A status that the static table lacks, 431, where 404 and 200 would be entries of it.
        assert_eq!(refused.payload[0] & 0x3f, 8, "{refused:?}");
        client.write(&get(3)).await;
        client.until(HEADERS, 3).await;
        bystander.is_served().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_above_the_bound_on_heads_is_refused_where_header_lists_may_be_larger() {
    let mut settings = Settings::default();
    settings.request_limits.max_head_bytes = 1000;
    with(&answering(), settings, |lab| async move {
        let mut client = Raw::connect(&lab, &[]).await;
        for (stream, fields, is_refused) in [(1, 1, false), (3, 12, true)] {
            let mut head = block("GET");
            (0..fields).for_each(|_| head.extend(literal("x", &"v".repeat(100))));
            client.write(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)).await;
            let answer = client.until(HEADERS, stream).await;
            // 431 is a status that the static table lacks.
            assert_eq!(answer.payload[0] & 0x3f == 8, is_refused, "{answer:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn data_frames_without_data_are_bounded() {
    with(PLAIN, Settings::default(), |lab| async move {
        let attacker = Raw::connect(&lab, &[]).await;
        let (end, rounds) =
            attacker.flood(10_000, |round| if round == 0 { post(1) } else { frame(DATA, 0, 1, &[]) }).await;
        assert_eq!(end, CALM);
        assert!(rounds < 1500, "{rounds}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_refused_and_other_streams_live() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = Raw::connect(&lab, &[]).await;
        client.write(&post(1)).await;
        let start = Instant::now();
        let mut answered = None;
        while answered.is_none() {
            client.write(&frame(DATA, 0, 1, b"x")).await;
            let next = tokio::time::timeout(Duration::from_secs(1), client.until(HEADERS, 1)).await;
            answered = next.ok();
            assert!(start.elapsed().as_secs() < 15, "it trickles on");
        }
        assert!(!lab.local.bounds.reached(Bound::MinBodyRate), "it has been told of");
        client.write(&get(3)).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send(OK).await;
        client.until(HEADERS, 3).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_window_that_never_opens_costs_its_stream_and_no_other() {
    with(PLAIN, Settings { send_timeout: Duration::from_secs(5), ..Settings::default() }, |lab| async move {
        // SETTINGS_INITIAL_WINDOW_SIZE is nothing.
        let mut client = Raw::connect(&lab, &[0, 4, 0, 0, 0, 0]).await;
        let start = Instant::now();
        client.write(&get(1)).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send(OK).await;
        client.until(HEADERS, 1).await;
        client.write(&[get(3), frame(WINDOW_UPDATE, 0, 3, &100_u32.to_be_bytes())].concat()).await;
        let mut other = lab.upstream().await;
        other.head().await;
        other.send(OK).await;
        assert_eq!(client.until(DATA, 3).await.payload, b"ok");
        client.until(RST_STREAM, 1).await;
        assert!((4..=6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert!(!lab.local.bounds.reached(Bound::SendTimeout), "it has been told of");
        client.write(&[get(5), frame(WINDOW_UPDATE, 0, 5, &100_u32.to_be_bytes())].concat()).await;
        other.head().await;
        other.send(OK).await;
        assert_eq!(client.until(DATA, 5).await.payload, b"ok");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_window_that_opens_octet_by_octet_is_cut_after_the_grace() {
    with(PLAIN, Settings::default(), |lab| async move {
        let mut client = Raw::connect(&lab, &[0, 4, 0, 0, 0, 0]).await;
        client.write(&get(1)).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(1000))).await;
        client.until(HEADERS, 1).await;
        let start = Instant::now();
        loop {
            assert!(start.elapsed().as_secs() < 15, "it trickles on");
            client.write(&frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await;
            let reset = tokio::time::timeout(Duration::from_secs(1), client.until(RST_STREAM, 1)).await;
            if reset.is_ok() {
                break;
            }
        }
        assert!(start.elapsed().as_secs() >= 9);
        assert!(!lab.local.bounds.reached(Bound::MinSendRate), "it has been told of");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_its_windows_and_does_not_read_is_not_buffered_for() {
    with(PLAIN, Settings::default(), |lab| async move {
        // SETTINGS_INITIAL_WINDOW_SIZE is 1 GiB, and so is the window of the connection.
        let mut client = Raw::connect(&lab, &[0, 4, 0x40, 0, 0, 0]).await;
        client.write(&frame(WINDOW_UPDATE, 0, 0, &0x4000_0000_u32.to_be_bytes())).await;
        client.write(&get(1)).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let piece = "x".repeat(16 << 10);
        let mut taken = 0;
        while tokio::time::timeout(Duration::from_millis(100), upstream.send(&piece)).await.is_ok() {
            taken += piece.len();
            assert!(taken < 512 << 10, "it is buffered for without bound");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_introduce_itself_is_let_go() {
    let settings = Settings {
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(20),
        ..Settings::default()
    };
    // Who speaks HTTP/2 is told of the end, and has a moment to hear of it.
    for (begin, limit) in [("", 20), ("PRI * HTTP/2.0", 10), ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 22)] {
        with(PLAIN, settings.clone(), |lab| async move {
            let mut client = lab.modern_client();
            client.send(begin).await;
            let start = Instant::now();
            // Whatever it is told: frames need not be text.
            client.0.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(start.elapsed().as_secs(), limit, "{begin}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_bound_are_refused_and_the_others_served() {
    let http2 = Http2 { max_streams: 10, ..Http2::default() };
    with(PLAIN, Settings { http2, ..Settings::default() }, |lab| async move {
        let mut client = Raw::connect(&lab, &[]).await;
        for round in 0..20 {
            client.write(&get(stream_of(round))).await;
        }
        let refused = client.until(RST_STREAM, stream_of(10)).await;
        assert_eq!(refused.payload, h2::Reason::REFUSED_STREAM.into_bytes());
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send(OK).await;
        while client.frame().await.unwrap().kind != DATA {}
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_writes_and_never_reads_ends_with_the_idle_time() {
    let settings = Settings {
        idle_timeout: Duration::from_secs(20),
        send_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    for request in [false, true] {
        with(PLAIN, settings.clone(), |lab| async move {
            let mut client = Raw::connect(&lab, &[]).await;
            let start = Instant::now();
            if request {
                client.write(&get(1)).await;
                let mut upstream = lab.upstream().await;
                upstream.head().await;
                let body = "x".repeat(200 << 10);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                // The gateway takes no more than it can pass on.
                let answer = [head.as_bytes(), body.as_bytes()].concat();
                let _ = tokio::time::timeout(Duration::from_secs(1), upstream.0.write_all(&answer)).await;
            }
            let pings = frame(PING, 0, 0, &[7; 8]).repeat(10_000);
            let _ = tokio::time::timeout(Duration::from_secs(60), client.write(&pings)).await;
            while lab.local.connections.count() > 0 {
                sleep(Duration::from_secs(1)).await;
                assert!(start.elapsed().as_secs() < 70, "it stays");
            }
        })
        .await;
    }
}

trait IntoBytes {
    fn into_bytes(self) -> Vec<u8>;
}

impl IntoBytes for h2::Reason {
    fn into_bytes(self) -> Vec<u8> {
        u32::from(self).to_be_bytes().to_vec()
    }
}
