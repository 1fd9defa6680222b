//! Layer 4: datagrams, over sockets of the loopback, since the kernel is part of what is tested.

use std::future::Future;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plugin::sessions::{SessionEnd, SessionSeries};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::timeout;

use super::lab::{self, Lab};
use crate::bounds;
use crate::listen::{Address, Bound, SocketOptions};
use crate::settings::Settings;
use crate::stream::udp;
use crate::worker::Order;

/// As [`lab::with`], for a time that goes on by itself.
async fn with<F: Future<Output = ()>>(document: &str, settings: Settings, story: impl FnOnce(Rc<Lab>) -> F) {
    let bounded = async |lab| {
        timeout(Duration::from_secs(30), story(lab)).await.expect("the story ends");
    };
    lab::with(document, settings, bounded).await;
}

/// A socket of its own on the loopback.
async fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

fn document(targets: &[SocketAddr], read_timeout: u64) -> String {
    let targets: Vec<String> = targets.iter().map(|target| format!("{{target: '{target}'}}")).collect();
    format!(
        "_format_version: '3.0'
upstreams: [{{name: up, targets: [{}]}}]
services:
- name: one
  host: up
  protocol: udp
  read_timeout: {read_timeout}
  routes: [{{name: all, protocols: [udp], sources: [{{ip: 127.0.0.0/8}}]}}]
",
        targets.join(", ")
    )
}

/// Serves datagrams of a listener; clients send to the address.
fn listen(lab: &Lab) -> SocketAddr {
    serve(lab).0
}

/// The same, with the task that serves.
fn serve(lab: &Lab) -> (SocketAddr, AbortHandle) {
    let any = Address::Inet((Ipv4Addr::LOCALHOST, 0).into());
    serve_on(lab, Bound::open_datagrams(&any, &SocketOptions::default(), 1).unwrap().remove(0))
}

/// The same on a socket that is there.
fn serve_on(lab: &Lab, bound: Bound) -> (SocketAddr, AbortHandle) {
    let Bound::Udp(socket) = bound else { panic!("another") };
    let address = socket.local_addr().unwrap();
    let serving = udp::serve(lab.local.clone(), UdpSocket::from_std(socket).unwrap());
    (address, tokio::task::spawn_local(serving).abort_handle())
}

async fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
    (String::from_utf8_lossy(&buffer[..count]).into_owned(), from)
}

async fn until_sessions(lab: &Lab, count: usize) {
    while lab.local.connections.count() != count {
        yield_now().await;
    }
}

fn series(lab: &Lab) -> Arc<SessionSeries> {
    lab.services.all_kept::<SessionSeries>().pop().unwrap().1
}

#[tokio::test]
async fn each_client_has_a_session_and_gets_its_own_answers() {
    let service = socket().await;
    with(&document(&[service.local_addr().unwrap()], 60_000), Settings::default(), |lab| async move {
        let listener = listen(&lab);
        let (one, two) = (socket().await, socket().await);
        let mut seen = Vec::new();
        for (client, text) in [(&one, "a"), (&two, "b"), (&one, "c"), (&two, "")] {
            client.send_to(text.as_bytes(), listener).await.unwrap();
            let (got, from) = receive(&service).await;
            assert_eq!(got, text);
            seen.push(from);
        }
        assert!(seen[0] == seen[2] && seen[1] == seen[3] && seen[0] != seen[1], "{seen:?}");
        service.send_to(b"for two", seen[1]).await.unwrap();
        service.send_to(&[b'x'; 60_000], seen[0]).await.unwrap();
        assert_eq!(receive(&two).await, ("for two".to_owned(), listener));
        assert_eq!(receive(&one).await, ("x".repeat(60_000), listener));
        assert_eq!(lab.local.connections.count(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_client_of_ipv4_is_one_on_a_socket_for_both_families_too() {
    let service = socket().await;
    let settings = Settings { max_connections_per_address: 1, ..Settings::default() };
    with(&document(&[service.local_addr().unwrap()], 60_000), settings, |lab| async move {
        let both = SocketOptions { only_v6: Some(false), ..SocketOptions::default() };
        let any = Address::Inet((Ipv6Addr::UNSPECIFIED, 0).into());
        // There are machines without IPv6, and ports of IPv6 that somebody has in IPv4.
        let Some(mut bound) = (0..20).find_map(|_| Bound::open_datagrams(&any, &both, 1).ok()) else {
            return;
        };
        let port = serve_on(&lab, bound.remove(0)).0.port();
        let client = socket().await;
        client.send_to(b"one", (Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (got, from) = receive(&service).await;
        assert_eq!(got, "one");
        service.send_to(b"back", from).await.unwrap();
        assert_eq!(receive(&client).await.0, "back");
        assert_eq!(lab.local.connections.from(Ipv4Addr::LOCALHOST.into()), 1);
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_with_silence() {
    let service = socket().await;
    with(&document(&[service.local_addr().unwrap()], 20), Settings::default(), |lab| async move {
        let listener = listen(&lab);
        let client = socket().await;
        client.send_to(b"first", listener).await.unwrap();
        receive(&service).await;
        until_sessions(&lab, 0).await;
        assert_eq!((series(&lab).ended(SessionEnd::Carried), series(&lab).ingress()), (1, 5));
        client.send_to(b"second", listener).await.unwrap();
        assert_eq!(receive(&service).await.0, "second");
    })
    .await;
}

#[tokio::test]
async fn the_client_that_has_been_silent_for_longest_gives_way() {
    let service = socket().await;
    let settings = Settings { max_udp_sessions: 2, ..Settings::default() };
    with(&document(&[service.local_addr().unwrap()], 60_000), settings, |lab| async move {
        let listener = listen(&lab);
        let clients = [socket().await, socket().await, socket().await];
        let mut seen = Vec::new();
        for number in [0, 1, 0, 2] {
            clients[number].send_to(b"x", listener).await.unwrap();
            seen.push(receive(&service).await.1);
        }
        until_sessions(&lab, 2).await;
        assert_eq!(lab.local.streams.displaced.value(), 1);
        service.send_to(b"still here", seen[0]).await.unwrap();
        assert_eq!(receive(&clients[0]).await.0, "still here");
        clients[0].send_to(b"x", listener).await.unwrap();
        assert_eq!(receive(&service).await.1, seen[0], "the first client has kept its session");
    })
    .await;
}

#[tokio::test]
async fn datagrams_without_a_route_or_beyond_a_bound_go_nowhere() {
    let service = socket().await;
    let address = service.local_addr().unwrap();
    let settings = Settings { max_connections_per_address: 1, ..Settings::default() };
    with(&document(&[address], 60_000), settings, |lab| async move {
        let listener = listen(&lab);
        let (one, two) = (socket().await, socket().await);
        one.send_to(b"x", listener).await.unwrap();
        receive(&service).await;
        two.send_to(b"y", listener).await.unwrap();
        while lab.local.stats().refused.value() == 0 {
            yield_now().await;
        }
        lab.reload(&document(&[address], 60_000).replace("127.0.0.0/8", "10.0.0.0/8"));
        one.send_to(b"z", listener).await.unwrap();
        assert_eq!(receive(&service).await.0, "z", "a session keeps what it began with");
        assert_eq!(lab.local.connections.count(), 1);
    })
    .await;
    with(&document(&[address], 60_000), Settings::default(), |lab| async move {
        lab.local.load.short_of_memory.set(true);
        socket().await.send_to(b"x", listen(&lab)).await.unwrap();
        while lab.local.stats().refused.value() == 0 {
            yield_now().await;
            assert_eq!(lab.local.connections.count(), 0, "no session begins while memory is short");
        }
    })
    .await;
    with(&document(&[address], 60_000).replace("127.", "10."), Settings::default(), |lab| async move {
        socket().await.send_to(b"x", listen(&lab)).await.unwrap();
        while lab.local.streams.unrouted.value() == 0 {
            yield_now().await;
        }
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_session_without_a_file_for_it_is_dropped_and_turns_no_request_away() {
    let service = socket().await;
    let no_files = Settings { most_descriptors: 0, ..Settings::default() };
    with(&document(&[service.local_addr().unwrap()], 60_000), no_files, |lab| async move {
        socket().await.send_to(b"x", listen(&lab)).await.unwrap();
        while lab.local.streams.dropped.value() == 0 {
            yield_now().await;
            assert_eq!(lab.local.connections.count(), 0);
        }
        assert!(lab.local.load.take_on().is_ok());
        assert!(!lab.local.bounds.reached(bounds::Bound::OpenFiles), "it has been told of");
        assert_eq!(series(&lab).ended(SessionEnd::Unreachable), 1);
    })
    .await;
}

#[tokio::test]
async fn a_target_that_refuses_ends_the_session_and_the_next_one_gets_its_turn() {
    let (service, closed) = (socket().await, socket().await);
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    with(&document(&[refusing], 60_000), Settings::default(), |lab| async move {
        socket().await.send_to(b"x", listen(&lab)).await.unwrap();
        while series(&lab).ended(SessionEnd::Unreachable) == 0 {
            yield_now().await;
        }
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
    let targets = [refusing, service.local_addr().unwrap()];
    with(&document(&targets, 60_000), Settings::default(), |lab| async move {
        let listener = listen(&lab);
        let client = socket().await;
        let mut answered = false;
        // Twice at most: targets take turns.
        for _ in 0..2 {
            client.send_to(b"x", listener).await.unwrap();
            let refused = series(&lab).ended(SessionEnd::Unreachable);
            let mut buffer = [0; 8];
            while !answered && series(&lab).ended(SessionEnd::Unreachable) == refused {
                answered = service.try_recv_from(&mut buffer).is_ok();
                yield_now().await;
            }
        }
        assert!(answered);
    })
    .await;
}

#[tokio::test]
async fn answers_on_their_way_still_come_when_listener_and_gateway_go() {
    let service = socket().await;
    with(&document(&[service.local_addr().unwrap()], 60_000), Settings::default(), |lab| async move {
        let (listener, serving) = serve(&lab);
        let client = socket().await;
        client.send_to(b"ask", listener).await.unwrap();
        let (_, from) = receive(&service).await;
        serving.abort();
        let (_sender, mut orders) = watch::channel(Order::Drain);
        let draining = tokio::task::spawn_local({
            let lab: Rc<Lab> = lab.clone();
            async move { lab.drain(&mut orders).await }
        });
        yield_now().await;
        service.send_to(b"answer", from).await.unwrap();
        assert_eq!(receive(&client).await.0, "answer");
        draining.await.unwrap();
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_first_answer_says_that_a_target_is_there() {
    let service = socket().await;
    let document = document(&[service.local_addr().unwrap()], 60_000)
        .replace("targets:", "algorithm: latency, healthchecks: {passive: {type: tcp}}, targets:");
    with(&document, Settings::default(), |lab| async move {
        let listener = listen(&lab);
        let client = socket().await;
        client.send_to(b"ask", listener).await.unwrap();
        let (_, from) = receive(&service).await;
        assert_eq!(lab.measured_targets(), 0, "nothing is known of who has not answered");
        service.send_to(b"answer", from).await.unwrap();
        assert_eq!(receive(&client).await.0, "answer");
        assert_eq!(lab.measured_targets(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_answers_lets_others_have_their_turn() {
    let service = socket().await;
    with(&document(&[service.local_addr().unwrap()], 60_000), Settings::default(), |lab| async move {
        let listener = listen(&lab);
        let client = socket().await;
        client.send_to(b"ask", listener).await.unwrap();
        let (_, from) = receive(&service).await;
        for _ in 0..100 {
            service.try_send_to(b"answer", from).unwrap();
        }
        let mut turns = Vec::new();
        while turns.iter().sum::<usize>() < 100 {
            yield_now().await;
            let mut got = 0;
            // Past what the runtime knows of the socket.
            while SockRef::from(&client).recv(&mut [MaybeUninit::uninit(); 8]).is_ok() {
                got += 1;
            }
            turns.push(got);
        }
        assert!(turns.iter().all(|got| *got <= 32), "{turns:?}");
    })
    .await;
}

#[tokio::test]
async fn a_datagram_that_is_too_large_for_its_way_says_nothing_of_the_target() {
    let service = socket().await;
    let document = document(&[service.local_addr().unwrap()], 60_000)
        .replace("targets:", "algorithm: p2c, targets:")
        .replace("127.0.0.0/8", "'::1/128'");
    with(&document, Settings::default(), |lab| async move {
        // There are machines without IPv6.
        let any = Address::Inet((Ipv6Addr::LOCALHOST, 0).into());
        let Ok(mut bound) = Bound::open_datagrams(&any, &SocketOptions::default(), 1) else { return };
        let (listener, _) = serve_on(&lab, bound.remove(0));
        let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        client.send_to(b"small", listener).await.unwrap();
        let (_, before) = receive(&service).await;
        // More than a datagram of IPv4 holds.
        client.send_to(&[b'x'; 65_520], listener).await.unwrap();
        client.send_to(b"small", listener).await.unwrap();
        let (got, after) = receive(&service).await;
        assert_eq!((got.as_str(), after), ("small", before), "the session goes on");
        assert_eq!((lab.failing_targets(), lab.local.streams.dropped.value()), (0, 1));
    })
    .await;
}
