//! More than the gateway is to bear: who gives way, and who is turned away.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::grpc::{GRPC, answer, calls, read, upstream};
use super::lab::{GET, Lab, OK, PLAIN, Peer, field, settle, with};
use crate::bounds::Bound;
use crate::descriptors::Descriptors;
use crate::load::{admits, makes_room};
use crate::settings::Settings;
use crate::worker::{self, Spoken};

/// Where the lab's clients come from.
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 99));

fn at_most(max_connections: usize) -> Settings {
    Settings { max_connections, ..Settings::default() }
}

/// A client that has been served once, and the upstream that did.
async fn served(lab: &Lab) -> (Peer, Peer) {
    let (mut client, mut upstream) = lab.asked(GET).await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.0, 200);
    sleep(Duration::from_secs(1)).await;
    (client, upstream)
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_has_been_idle_for_longest_gives_way() {
    with(PLAIN, at_most(3), |lab| async move {
        let (mut first, mut upstream) = served(&lab).await;
        let mut never_used = lab.client();
        sleep(Duration::from_secs(1)).await;
        // It is older, but has been used since.
        first.send(GET).await;
        upstream.head().await;
        upstream.send(OK).await;
        assert_eq!(first.response().await.0, 200);
        let mut busy = lab.client();
        busy.send(GET).await;
        upstream.head().await;
        assert!(admits(&lab.local, ELSEWHERE, 0));
        assert_eq!(never_used.rest().await, "");
        let newcomer = lab.client();
        sleep(Duration::from_millis(10)).await;
        assert!(admits(&lab.local, ELSEWHERE, 0));
        assert_eq!(first.rest().await, "");
        assert_eq!(lab.local.connections.count(), 2);
        upstream.send(OK).await;
        assert_eq!(busy.response().await.0, 200, "whoever is being served is left alone");
        drop(newcomer);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_all_are_busy_the_newcomer_is_refused() {
    with(PLAIN, at_most(1), |lab| async move {
        let (mut busy, mut upstream) = lab.asked(GET).await;
        assert!(!admits(&lab.local, ELSEWHERE, 0));
        assert!(!lab.local.bounds.reached(Bound::MaxConnections), "it has been told of");
        upstream.send(OK).await;
        assert_eq!(busy.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_was_idle_nobody_is_looked_for_again_at_once() {
    with(PLAIN, at_most(1), |lab| async move {
        let (mut busy, mut upstream) = lab.asked(GET).await;
        assert!(!admits(&lab.local, ELSEWHERE, 0));
        upstream.send(OK).await;
        assert_eq!(busy.response().await.0, 200);
        settle().await;
        assert!(!admits(&lab.local, ELSEWHERE, 0), "it is idle by now, and has not been looked at");
        sleep(Duration::from_millis(20)).await;
        assert!(admits(&lab.local, ELSEWHERE, 0));
        assert_eq!(busy.rest().await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_to_a_connection_that_is_refused() {
    let mut settings = at_most(1);
    settings.tls.max_handshakes = 0;
    with(PLAIN, settings, |lab| async move {
        let (mut idle, mut upstream) = served(&lab).await;
        let plain = Spoken::default();
        let no_room_for = [Spoken { tls: true, ..plain }, Spoken { proxied: true, ..plain }];
        let for_streams = no_room_for.map(|spoken| Spoken { stream: true, ..spoken });
        for spoken in no_room_for.into_iter().chain(for_streams) {
            assert_eq!(lab.admit(spoken).rest().await, "");
        }
        lab.local.load.short_of_memory.set(true);
        assert_eq!(lab.admit(Spoken { stream: true, ..plain }).rest().await, "");
        lab.local.load.short_of_memory.set(false);
        assert_eq!(lab.local.stats().refused.value(), 5);
        idle.send(GET).await;
        upstream.head().await;
        upstream.send(OK).await;
        assert_eq!(idle.response().await.0, 200, "it is still there");
        sleep(Duration::from_secs(1)).await;
        let mut newcomer = lab.admit(plain);
        assert_eq!(idle.rest().await, "", "this one is taken");
        newcomer.send(GET).await;
        upstream.head().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http_2_gives_way_only_while_nothing_runs_on_it() {
    with(PLAIN, at_most(1), |lab| async move {
        let client = lab.http2().await;
        let request = || http::Request::get("http://h/").body(()).unwrap();
        let (response, _) = client.clone().ready().await.unwrap().send_request(request(), true).unwrap();
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        assert!(!admits(&lab.local, ELSEWHERE, 0));
        upstream.send(OK).await;
        let mut body = response.await.unwrap().into_body();
        while body.data().await.is_some() {}
        sleep(Duration::from_secs(1)).await;
        assert!(admits(&lab.local, ELSEWHERE, 0));
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_address_has_as_many_connections_as_it_may_unless_it_is_trusted() {
    let few = Settings { max_connections_per_address: 2, ..Settings::default() };
    with(PLAIN, few.clone(), |lab| async move {
        let (mut first, second) = (lab.client(), lab.client());
        assert!(!admits(&lab.local, HERE, 0) && admits(&lab.local, ELSEWHERE, 0));
        assert!(!lab.local.bounds.reached(Bound::MaxConnectionsPerAddress), "it has been told of");
        first.finish().await;
        first.rest().await;
        sleep(Duration::from_secs(1)).await;
        assert!(admits(&lab.local, HERE, 0), "one of them has ended");
        drop(second);
    })
    .await;
    let trusting = Settings { trusted_networks: vec!["192.0.2.0/24".parse().unwrap()], ..few };
    with(PLAIN, trusting, |lab| async move {
        let _clients = [lab.client(), lab.client(), lab.client()];
        assert!(admits(&lab.local, HERE, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_memory_is_short_requests_are_turned_away() {
    with(PLAIN, Settings { max_resident_bytes: 1, ..Settings::default() }, |lab| async move {
        let (mut client, _upstream) = served(&lab).await;
        worker::tidy_up(&lab.local);
        client.send(GET).await;
        let (status, head, _) = client.response().await;
        assert_eq!(
            (status, field(&head, "retry-after"), field(&head, "connection")),
            (503, Some("5"), Some("close"))
        );
        assert_eq!(client.rest().await, "");
        assert!(!lab.local.bounds.reached(Bound::MaxResident), "it has been told of");
    })
    .await;
    with(PLAIN, Settings { max_resident_bytes: u64::MAX, ..Settings::default() }, |lab| async move {
        worker::tidy_up(&lab.local);
        served(&lab).await;
    })
    .await;
}

fn with_files(most_descriptors: i32) -> Settings {
    Settings { most_descriptors, ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_one_of_the_last_files_takes_the_place_of_an_idle_one() {
    with(PLAIN, with_files(100), |lab| async move {
        let (mut idle, mut upstream) = served(&lab).await;
        assert!(admits(&lab.local, ELSEWHERE, 99));
        assert_eq!((lab.local.connections.count(), lab.local.pool.len()), (1, 1), "nobody has to give way");
        assert!(admits(&lab.local, ELSEWHERE, 100));
        assert_eq!(
            (upstream.rest().await.as_str(), lab.local.connections.count()),
            ("", 1),
            "to a service first"
        );
        assert!(admits(&lab.local, ELSEWHERE, 100));
        assert_eq!(idle.rest().await, "");
        assert!(!admits(&lab.local, ELSEWHERE, 100), "nobody is idle");
        assert!(!lab.local.bounds.reached(Bound::OpenFiles), "it has been told of");
        // Others may have let go meanwhile.
        worker::tidy_up(&lab.local);
        assert!(admits(&lab.local, ELSEWHERE, 99));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn as_many_give_way_as_there_are_too_many() {
    with(PLAIN, with_files(100), |lab| async move {
        let clients: Vec<_> = (0..6).map(|_| lab.client()).collect();
        sleep(Duration::from_secs(1)).await;
        assert!(admits(&lab.local, ELSEWHERE, 103));
        assert_eq!(lab.local.connections.count(), 2);
        // Those that come next get numbers that have become free, and there are no more of them for that.
        clients.iter().skip(4).for_each(|_| assert!(admits(&lab.local, ELSEWHERE, 7)));
        let _new = lab.client();
        assert_eq!(lab.local.connections.count(), 3);
        assert!(admits(&lab.local, ELSEWHERE, 7));
        assert_eq!(lab.local.connections.count(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_to_services_and_those_of_clients_share_what_is_too_much() {
    with(PLAIN, with_files(100), |lab| async move {
        let (_served, _upstream) = served(&lab).await;
        let _clients: Vec<_> = (0..4).map(|_| lab.client()).collect();
        sleep(Duration::from_secs(1)).await;
        assert!(admits(&lab.local, ELSEWHERE, 102));
        assert_eq!((lab.local.pool.len(), lab.local.connections.count()), (0, 3), "three were too many");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_of_http_2_to_services_give_way_too() {
    with(GRPC, with_files(100), |lab| async move {
        let client = lab.http2().await;
        let called = calls(&client, 1).await.remove(0);
        let mut upstream = upstream(&lab).await;
        answer(upstream.request().await.1, "message");
        let closed = tokio::task::spawn_local(async move { upstream.0.accept().await.is_none() });
        assert_eq!(read(called.await.unwrap()).await.0, 200);
        settle().await;
        assert!(admits(&lab.local, ELSEWHERE, 100));
        assert_eq!(lab.local.connections.count(), 1, "the client's stays");
        assert!(closed.await.unwrap());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_accepted_may_be_once_an_idle_one_has_gone() {
    with(PLAIN, Settings::default(), |lab| async move {
        let (mut idle, mut upstream) = served(&lab).await;
        // What the system says when the process has none left, when nobody has, and when the client has gone again.
        let [of_process, of_system, gone] = [24, 23, 103].map(io::Error::from_raw_os_error);
        assert!(!makes_room(&lab.local, &of_system) && !makes_room(&lab.local, &gone));
        assert_eq!((lab.local.pool.len(), lab.local.connections.count()), (1, 1));
        assert!(makes_room(&lab.local, &of_process));
        assert_eq!((upstream.rest().await.as_str(), lab.local.connections.count()), ("", 1));
        assert!(makes_room(&lab.local, &of_process));
        assert_eq!(idle.rest().await, "");
        assert!(!makes_room(&lab.local, &of_process), "nobody is left");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_there_are_no_files_for_connections_to_services_requests_are_turned_away() {
    with(PLAIN, with_files(1 << 20), |lab| async move {
        let (mut idle, mut upstream) = served(&lab).await;
        let mut client = lab.client();
        client.send(GET).await;
        upstream.head().await;
        // What the system says when there is none left.
        let none = lab.local.load.descriptors.note::<File>(Err(io::Error::from_raw_os_error(24)));
        assert!(none.is_err());
        let mut turned_away = lab.client();
        turned_away.send(GET).await;
        let (status, head, _) = turned_away.response().await;
        assert_eq!((status, field(&head, "retry-after")), (503, Some("5")));
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200, "what has begun goes on");
        // A second later there are some, for those who have nothing to do give way: to services first.
        worker::tidy_up(&lab.local);
        assert_eq!(upstream.rest().await, "");
        let mut newcomer = lab.client();
        newcomer.send(GET).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        let none = lab.local.load.descriptors.note::<File>(Err(io::Error::from_raw_os_error(24)));
        assert!(none.is_err());
        worker::tidy_up(&lab.local);
        assert_eq!(idle.rest().await, "", "then those of clients");
        upstream.send(OK).await;
        assert_eq!(newcomer.response().await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_to_services_give_way_to_those_of_other_workers() {
    with(PLAIN, with_files(100), |lab| async move {
        let (mut client, mut upstream) = served(&lab).await;
        worker::tidy_up(&lab.local);
        assert_eq!(lab.local.pool.len(), 1, "nobody wants it");
        Descriptors::of(lab.files.clone()).ask_others();
        worker::tidy_up(&lab.local);
        assert_eq!(
            (upstream.rest().await.as_str(), lab.local.connections.count()),
            ("", 1),
            "a client stays"
        );
        client.send(GET).await;
        let mut upstream = lab.upstream().await;
        upstream.head().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200, "nobody is turned away here");
        settle().await;
        worker::tidy_up(&lab.local);
        assert_eq!(lab.local.pool.len(), 1, "once is enough");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn other_workers_are_asked_where_no_connection_to_a_service_is_idle() {
    let of_process = || io::Error::from_raw_os_error(24);
    with(PLAIN, with_files(1 << 20), |lab| async move {
        let (_client, _upstream) = served(&lab).await;
        let other = Descriptors::of(lab.files.clone());
        assert!(admits(&lab.local, ELSEWHERE, 1 << 20) && !other.are_asked_for(), "there was one here");
        assert!(admits(&lab.local, ELSEWHERE, 1 << 20) && other.are_asked_for());
        assert!(!makes_room(&lab.local, &of_process()) && other.are_asked_for());
        assert!(!other.are_asked_for());
        assert!(lab.local.load.descriptors.note::<File>(Err(of_process())).is_err());
        worker::tidy_up(&lab.local);
        assert!(other.are_asked_for());
        worker::tidy_up(&lab.local);
        assert!(!other.are_asked_for(), "there are enough again");
    })
    .await;
}
