//! Sessions to upstreams that bound their connections: who gets a place, who waits, who leaves.

use std::time::Duration;

use plugin::sessions::SessionEnd;
use tokio::time::Instant;

use super::{TCP, series};
use crate::settings::Settings;
use crate::tests::lab::{settle, with};
use crate::worker::{self, Spoken};

/// [`TCP`] at the targets of an upstream with these bounds.
fn bounded(pool: &str) -> String {
    let upstream = format!(
        "upstreams:\n- {{name: pool.test, hash_on: ip, pool: {{{pool}}}, targets: [{{target: '10.0.0.1:7000'}}]}}\n"
    );
    TCP.replace("10.0.0.1", "pool.test") + &upstream
}

#[tokio::test(start_paused = true)]
async fn sessions_are_no_more_than_their_upstream_allows_and_wait_for_each_other() {
    let document = bounded("max_connections: 1, queue_size: 1, queue_timeout: 3");
    with(&document, Settings::default(), |lab| async move {
        let mut first = lab.stream_client(Spoken::default());
        first.send("first").await;
        let mut service = lab.upstream().await;
        service.expect("first").await;
        let mut second = lab.stream_client(Spoken::default());
        second.send("second").await;
        settle().await;
        let mut third = lab.stream_client(Spoken::default());
        assert_eq!(third.rest().await, "", "the line is full");
        assert!(lab.opened_no_more());
        assert_eq!(series(&lab).ended(SessionEnd::NoTarget), 1);
        drop((first, service));
        let mut service = lab.upstream().await;
        service.expect("second").await;
        let start = Instant::now();
        let mut fourth = lab.stream_client(Spoken::default());
        assert_eq!(fourth.rest().await, "", "nobody has left in time");
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert_eq!(series(&lab).ended(SessionEnd::NoTarget), 2);
        lab.refuse(3);
        drop((second, service));
        assert_eq!(lab.stream_client(Spoken::default()).rest().await, "", "nothing came of its connection");
        let mut last = lab.stream_client(Spoken::default());
        last.send("last").await;
        lab.upstream().await.expect("last").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_it_waits_for_a_place_gives_its_own_up_at_once() {
    let document = bounded("max_connections: 1, queue_size: 1, queue_timeout: 3600");
    with(&document, Settings::default(), |lab| async move {
        let mut first = lab.stream_client(Spoken::default());
        first.send("first").await;
        let mut service = lab.upstream().await;
        service.expect("first").await;
        let left = lab.stream_client(Spoken::default());
        settle().await;
        assert_eq!(lab.gate("pool.test").counts(), (1, 1));
        drop(left);
        settle().await;
        assert_eq!(series(&lab).ended(SessionEnd::Left), 1);
        let mut second = lab.stream_client(Spoken::default());
        second.send("second").await;
        // Who has something to be carried stays, even if nothing follows.
        second.finish().await;
        settle().await;
        drop((first, service));
        let mut service = lab.upstream().await;
        service.expect("second").await;
        assert_eq!(series(&lab).ended(SessionEnd::Left), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_ends_its_side_while_it_waits_is_served_where_that_says_nothing() {
    let document = bounded("max_connections: 1, queue_size: 1, queue_timeout: 3600");
    let settings = Settings { ignore_client_abort: true, ..Settings::default() };
    with(&document, settings, |lab| async move {
        let first = lab.stream_client(Spoken::default());
        let service = lab.upstream().await;
        let mut second = lab.stream_client(Spoken::default());
        second.finish().await;
        settle().await;
        drop((first, service));
        let mut service = lab.upstream().await;
        service.send("welcome").await;
        second.expect("welcome").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_connections_of_requests_are_kept_ready_for_sessions() {
    with(&bounded("max_connections: 1, min_idle: 1"), Settings::default(), |lab| async move {
        worker::tidy_up(&lab.local);
        settle().await;
        assert!(lab.opened_no_more());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_cut_while_it_waits_for_its_service_counts_as_one_without() {
    with(
        &bounded("max_connections: 1, queue_size: 1, queue_timeout: 3600"),
        Settings::default(),
        |lab| async move {
            let mut first = lab.stream_client(Spoken::default());
            let _service = lab.upstream().await;
            let mut second = lab.stream_client(Spoken::default());
            second.send("x").await;
            settle().await;
            lab.local.connections.end(true);
            assert_eq!([first.rest().await, second.rest().await], ["", ""]);
            let series = series(&lab);
            assert_eq!((series.ended(SessionEnd::Carried), series.ended(SessionEnd::NoTarget)), (1, 1));
        },
    )
    .await;
}
