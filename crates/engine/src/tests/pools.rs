//! Bounds on the connections to an address: who waits for one, for how long, and which are kept ready.

use std::fs::File;
use std::io;
use std::time::Duration;

use h2::client::ResponseFuture;
use tokio::time::{Instant, sleep};

use super::grpc::{GRPC, Upstream, answer, calls, read};
use super::lab::{GET, Lab, OK, Peer, field, settle, with};
use crate::settings::Settings;
use crate::worker;

/// A service at these targets, with these bounds.
fn document(pool: &str, targets: &[&str]) -> String {
    let targets: Vec<String> = targets.iter().map(|target| format!("{{target: '{target}'}}")).collect();
    format!(
        "_format_version: '3.0'\nservices:\n- {{name: one, host: pool.test, protocol: http, retries: 2, \
         routes: [{{name: all, paths: [/]}}]}}\nupstreams:\n- {{name: pool.test, hash_on: ip, pool: {{{pool}}}, \
         targets: [{}]}}\n",
        targets.join(", ")
    )
}

fn one(pool: &str) -> String {
    document(pool, &["10.0.0.1:80"])
}

/// A client that has sent a request.
async fn asking(lab: &Lab) -> Peer {
    let mut client = lab.client();
    client.send(GET).await;
    settle().await;
    client
}

async fn answered(client: &mut Peer) {
    assert_eq!(client.response().await.2, "ok");
}

async fn refused(client: &mut Peer) {
    let (status, _, body) = client.response().await;
    assert_eq!(status, 503);
    assert!(body.contains("no connection to the upstream is free"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_connection_that_becomes_free_in_the_order_of_coming() {
    with(&one("max_connections: 1, queue_timeout: 60"), Settings::default(), |lab| async move {
        let mut first = asking(&lab).await;
        let mut service = lab.upstream().await;
        service.head().await;
        let [mut second, mut third] = [asking(&lab).await, asking(&lab).await];
        for client in [&mut first, &mut second, &mut third] {
            assert!(lab.opened_no_more());
            service.send(OK).await;
            answered(client).await;
            settle().await;
        }
        // Three heads on one connection: two of them have not been read yet.
        assert_eq!(service.rest_until("\r\n\r\n").await.matches("GET / ").count(), 1);
        assert_eq!(service.rest_until("\r\n\r\n").await.matches("GET / ").count(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_when_a_connection_ends_however_it_does() {
    with(&one("max_connections: 1, queue_timeout: 60"), Settings::default(), |lab| async move {
        let mut broken = asking(&lab).await;
        let mut service = lab.upstream().await;
        service.head().await;
        let mut second = asking(&lab).await;
        service.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
        drop(service);
        broken.rest().await;
        let mut service = lab.upstream().await;
        service.head().await;
        let mut third = asking(&lab).await;
        drop(second);
        assert_eq!(service.rest().await, "", "its client has left");
        let mut service = lab.upstream().await;
        service.head().await;
        service.send(OK).await;
        answered(&mut third).await;
        second = asking(&lab).await;
        service.head().await;
        service.send(OK).await;
        answered(&mut second).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_keeps_its_place() {
    with(&one("max_connections: 1, queue_timeout: 0.5"), Settings::default(), |lab| async move {
        let (mut client, mut service) =
            lab.asked("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        service
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        client.head().await;
        refused(&mut asking(&lab).await).await;
        drop((client, service));
        settle().await;
        let _client = asking(&lab).await;
        lab.upstream().await.head().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_that_nor_in_a_longer_line() {
    let bounds = "max_connections: 1, queue_size: 1, queue_timeout: 3";
    with(&one(bounds), Settings::default(), |lab| async move {
        let _first = asking(&lab).await;
        let mut service = lab.upstream().await;
        service.head().await;
        let begun = Instant::now();
        let mut second = asking(&lab).await;
        refused(&mut asking(&lab).await).await;
        assert!(begun.elapsed() < Duration::from_millis(100), "the line is full");
        refused(&mut second).await;
        let waited = begun.elapsed().as_millis();
        assert!((3000..3100).contains(&waited), "once, whatever `retries` is: {waited}");
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_the_line_is_full_another_target_is_asked() {
    let bounds = "max_connections: 1, queue_size: 1, queue_timeout: 60";
    let document = document(bounds, &["10.0.0.1:80", "10.0.0.2:80"]);
    with(&document, Settings::default(), |lab| async move {
        let mut hosts = Vec::new();
        let mut held = Vec::new();
        for _ in 0..2 {
            let client = asking(&lab).await;
            let mut service = lab.upstream().await;
            hosts.push(field(&service.head().await, "host").unwrap().to_owned());
            let waiting = asking(&lab).await;
            assert!(lab.opened_no_more());
            held.push((client, service, waiting));
        }
        hosts.sort();
        assert_eq!(hosts, ["10.0.0.1", "10.0.0.2"], "though all have the same key");
        refused(&mut asking(&lab).await).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_is_passed_over() {
    with(&one("max_connections: 1, queue_timeout: 60"), Settings::default(), |lab| async move {
        let mut first = asking(&lab).await;
        let mut service = lab.upstream().await;
        service.head().await;
        let second = asking(&lab).await;
        let mut third = asking(&lab).await;
        drop(second);
        settle().await;
        service.send(OK).await;
        answered(&mut first).await;
        service.head().await;
        service.send(OK).await;
        answered(&mut third).await;
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_after_its_time_idle_or_not() {
    with(&one("idle_timeout: 5, max_lifetime: 12"), Settings::default(), |lab| async move {
        let mut client = asking(&lab).await;
        let mut service = lab.upstream().await;
        service.head().await;
        service.send(OK).await;
        answered(&mut client).await;
        for _ in 0..2 {
            sleep(Duration::from_secs(4)).await;
            lab.local.tidy();
            assert_eq!(lab.local.pool.len(), 1, "within both times");
            client.send(GET).await;
            service.head().await;
            service.send(OK).await;
            answered(&mut client).await;
            settle().await;
        }
        sleep(Duration::from_secs(4)).await;
        lab.local.tidy();
        assert_eq!(service.rest().await, "", "it has served for twelve seconds");
        client.send(GET).await;
        let mut service = lab.upstream().await;
        service.head().await;
        service.send(OK).await;
        answered(&mut client).await;
        sleep(Duration::from_secs(5)).await;
        lab.local.tidy();
        assert_eq!((lab.local.pool.len(), service.rest().await.as_str()), (0, ""), "idle for five");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_way_to_those_who_wait_elsewhere() {
    with(&one("max_connections: 1"), Settings::default(), |lab| async move {
        let mut client = asking(&lab).await;
        let mut service = lab.upstream().await;
        service.head().await;
        service.send(OK).await;
        answered(&mut client).await;
        settle().await;
        assert_eq!(lab.local.pool.len(), 1);
        lab.local.yield_idle();
        assert_eq!(lab.local.pool.len(), 1, "nobody waits");
        let gate = lab.gate("pool.test");
        let mut elsewhere = crate::upstream::gate::Place::take(&gate, Some(1)).unwrap();
        tokio::time::timeout(Duration::from_secs(1), lab.local.roused.notified()).await.expect("it is told");
        lab.local.yield_idle();
        assert_eq!(service.rest().await, "");
        let called = tokio::time::timeout(Duration::from_secs(1), elsewhere.called()).await;
        assert!(called.is_ok_and(|call| call.is_some()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_opened_ahead_and_replaced() {
    let document = document("min_idle: 2, idle_timeout: 30", &["10.0.0.1:80", "10.0.0.2:80"]);
    with(&document, Settings::default(), |lab| async move {
        worker::tidy_up(&lab.local);
        settle().await;
        assert_eq!(lab.local.pool.len(), 4, "two for each");
        let mut ready = Vec::new();
        for _ in 0..4 {
            ready.push(lab.upstream().await);
        }
        let _client = asking(&lab).await;
        assert!(lab.opened_no_more(), "one of them is used");
        assert_eq!(lab.local.pool.len(), 3);
        worker::tidy_up(&lab.local);
        settle().await;
        assert_eq!(lab.local.pool.len(), 4);
        ready.push(lab.upstream().await);
        assert!(lab.opened_no_more());
        sleep(Duration::from_secs(31)).await;
        worker::tidy_up(&lab.local);
        settle().await;
        assert_eq!(lab.local.pool.len(), 4);
        for _ in 0..4 {
            lab.upstream().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_opened_ahead_keep_to_the_bound() {
    with(&one("min_idle: 5, max_connections: 3"), Settings::default(), |lab| async move {
        lab.refuse(1);
        worker::tidy_up(&lab.local);
        settle().await;
        assert_eq!(lab.local.pool.len(), 0, "it failed, and is tried again the next time");
        worker::tidy_up(&lab.local);
        settle().await;
        assert_eq!(lab.local.pool.len(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_would_not_be_kept_are_not_opened_ahead() {
    let none = Settings { upstream_pool_size: 0, ..Settings::default() };
    with(&one("min_idle: 1"), none, |lab| async move {
        worker::tidy_up(&lab.local);
        settle().await;
        assert!(lab.opened_no_more());
    })
    .await;
    // One that is worn out as soon as it is open.
    let few = Settings { upstream_max_requests: 0, ..Settings::default() };
    with(&one("min_idle: 5"), few, |lab| async move {
        worker::tidy_up(&lab.local);
        settle().await;
        let _opened = lab.upstream().await;
        assert!(lab.opened_no_more() && lab.local.pool.len() == 0);
    })
    .await;
    let two = Settings { upstream_pool_size: 2, ..Settings::default() };
    with(&one("min_idle: 5"), two, |lab| async move {
        // What the system says when it has no files left.
        let none = lab.local.load.descriptors.note::<File>(Err(io::Error::from_raw_os_error(24)));
        assert!(none.is_err());
        worker::tidy_up(&lab.local);
        settle().await;
        assert!(lab.opened_no_more());
        worker::tidy_up(&lab.local);
        settle().await;
        let _kept = (lab.upstream().await, lab.upstream().await);
        assert!(lab.opened_no_more() && lab.local.pool.len() == 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_counts_for_an_upstream_serves_no_other() {
    let direct = "services:\n- {name: two, url: 'http://10.0.0.1:80', routes: [{name: two, paths: [/two]}]}";
    let document = one("max_connections: 1").replace("services:", direct);
    with(&document, Settings::default(), |lab| async move {
        let mut client = asking(&lab).await;
        let mut service = lab.upstream().await;
        service.head().await;
        service.send(OK).await;
        answered(&mut client).await;
        client.send("GET /two HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut other = lab.upstream().await;
        other.head().await;
        other.send(OK).await;
        answered(&mut client).await;
        client.send(GET).await;
        service.head().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_sets_no_bound_opens_as_many_as_it_takes() {
    with(&one(""), Settings::default(), |lab| async move {
        for _ in 0..20 {
            let _client = asking(&lab).await;
            lab.upstream().await.head().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_refused_bounds_nobody() {
    with(&one(""), Settings::default(), |lab| async move {
        // Only who builds the plugins finds out.
        let wrong = one("max_connections: 1") + "plugins:\n- {name: sender, config: {service: nowhere}}\n";
        assert!(lab.compile(&wrong).is_err());
        let clients = [asking(&lab).await, asking(&lab).await];
        let _services = [lab.upstream().await, lab.upstream().await];
        drop(clients);
        settle().await;
        lab.reload(&one("max_connections: 1, queue_timeout: 0.5"));
        let _one = (asking(&lab).await, lab.upstream().await);
        refused(&mut asking(&lab).await).await;
        assert!(lab.opened_no_more());
    })
    .await;
}

async fn succeeds(response: ResponseFuture) {
    let (_, fields, _, trailers) = read(response.await.unwrap()).await;
    assert_eq!(trailers.as_ref().unwrap_or(&fields).get("grpc-status").unwrap(), "0");
}

/// A service of gRPC with these bounds.
fn grpc(pool: &str) -> String {
    let upstream = format!(
        "upstreams:\n- {{name: pool.test, pool: {{{pool}}}, targets: [{{target: '10.0.0.1:50051'}}]}}\n"
    );
    GRPC.replace("url: grpc://10.0.0.1:50051", "host: pool.test\n  protocol: grpc") + &upstream
}

/// Serves calls in the background for as long as the connection lasts.
fn serve(mut service: Upstream) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(async move {
        while let Some(Ok((_, respond))) = service.0.accept().await {
            answer(respond, "x");
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http2_ends_after_its_time_or_gives_way() {
    with(&grpc("max_connections: 1, max_lifetime: 5"), Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let mut responses = calls(&client, 1).await;
        settle().await;
        let first = serve(Upstream::accept(lab.upstream().await).await);
        succeeds(responses.remove(0)).await;
        sleep(Duration::from_secs(6)).await;
        responses = calls(&client, 1).await;
        settle().await;
        let second = serve(Upstream::accept(lab.upstream().await).await);
        succeeds(responses.remove(0)).await;
        first.await.unwrap();
        settle().await;
        lab.local.yield_idle();
        settle().await;
        assert!(!second.is_finished(), "nobody waits");
        let mut elsewhere = crate::upstream::gate::Place::take(&lab.gate("pool.test"), Some(1)).unwrap();
        lab.local.yield_idle();
        second.await.unwrap();
        assert!(elsewhere.called().await.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_of_http2_are_bounded_and_calls_wait_for_room_on_them() {
    let document = grpc("max_connections: 1, queue_timeout: 60");
    with(&document, Settings::default(), |lab| async move {
        let client = lab.http2().await;
        let mut responses = calls(&client, 5).await;
        settle().await;
        let mut service = Upstream::limited(lab.upstream().await, 2).await;
        // Two at a time, in the order of coming; each end makes room for another.
        let first = service.request().await.1;
        let second = service.request().await.1;
        assert!(lab.opened_no_more());
        answer(first, "x");
        let third = service.request().await.1;
        answer(second, "x");
        answer(third, "x");
        answer(service.request().await.1, "x");
        answer(service.request().await.1, "x");
        service.run();
        for response in responses.drain(..) {
            succeeds(response).await;
        }
        assert!(lab.opened_no_more());
    })
    .await;
}
