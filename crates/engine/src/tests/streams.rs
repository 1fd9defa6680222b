//! Layer 4: connections without TLS, from the first byte to the last.

use std::sync::Arc;
use std::time::Duration;

use plugin::sessions::{SessionEnd, SessionSeries};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::lab::{Lab, eventually, settle, with};
use crate::load::admits;
use crate::settings::Settings;
use crate::worker::{Order, Spoken};

mod places;

/// A route of `tcp` for everybody in the lab.
const TCP: &str = r#"
_format_version: "3.0"
services:
- name: one
  host: 10.0.0.1
  port: 7000
  protocol: tcp
  connect_timeout: 1000
  write_timeout: 2000
  read_timeout: 5000
  retries: 2
  routes:
  - name: all
    protocols: [tcp]
    sources: [{ip: 192.0.2.0/24}]
"#;

fn series(lab: &Lab) -> Arc<SessionSeries> {
    lab.services.all_kept::<SessionSeries>().pop().unwrap().1
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_each_end_is_passed_on_alone() {
    with(TCP, Settings::default(), |lab| async move {
        let mut client = lab.stream_client(Spoken::default());
        client.send("hello").await;
        let mut service = lab.upstream().await;
        service.expect("hello").await;
        service.send("welcome").await;
        client.expect("welcome").await;
        client.finish().await;
        assert_eq!(service.rest().await, "");
        service.send("and more").await;
        client.expect("and more").await;
        service.finish().await;
        assert_eq!(client.rest().await, "");

        let mut client = lab.stream_client(Spoken::default());
        let mut service = lab.upstream().await;
        service.send("I speak first").await;
        service.finish().await;
        assert_eq!(client.rest().await, "I speak first");
        client.send("so I hear").await;
        client.finish().await;
        assert_eq!(service.rest().await, "so I hear");
        settle().await;
        let series = series(&lab);
        assert_eq!((&*series.service, &*series.route, series.ended(SessionEnd::Carried)), ("one", "all", 2));
        assert_eq!((series.ingress(), series.egress()), (14, 28));
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_route_is_closed_and_counted() {
    with(&TCP.replace("192.0.2.0/24", "198.51.100.0/24"), Settings::default(), |lab| async move {
        let mut client = lab.stream_client(Spoken::default());
        assert_eq!(client.rest().await, "");
        assert!(lab.opened_no_more());
        assert_eq!(lab.local.streams.unrouted.value(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_connected_to_is_tried_again_as_often_as_the_service_says() {
    with(TCP, Settings::default(), |lab| async move {
        lab.refuse(2);
        let mut client = lab.stream_client(Spoken::default());
        client.send("x").await;
        let mut service = lab.upstream().await;
        service.expect("x").await;
        drop((client, service));
        lab.refuse(4);
        let mut client = lab.stream_client(Spoken::default());
        assert_eq!(client.rest().await, "");
        assert_eq!(lab.still_refusing(), 1);
        assert_eq!(series(&lab).ended(SessionEnd::Unreachable), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_panics_over_a_session_costs_that_session_only() {
    let troubled = |place: &str| {
        format!("{TCP}plugins:\n- {{name: trouble, protocols: [tcp], config: {{header: {place}}}}}\n")
    };
    with(&troubled("admit"), Settings::default(), |lab| async move {
        let mut client = lab.stream_client(Spoken::default());
        assert_eq!(client.rest().await, "");
        assert!(lab.opened_no_more());
        assert_eq!(series(&lab).ended(SessionEnd::Refused(500)), 1);
    })
    .await;
    with(&troubled("log_session"), Settings::default(), |lab| async move {
        for number in 1..=2 {
            let mut client = lab.stream_client(Spoken::default());
            client.send("hello").await;
            let mut service = lab.upstream().await;
            service.expect("hello").await;
            drop((client, service));
            settle().await;
            assert_eq!(series(&lab).ended(SessionEnd::Carried), number);
        }
        assert_eq!(lab.local.connections.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_come_to_the_point_has_the_time_to_connect_each_time() {
    with(&TCP.replace("protocol: tcp\n", "protocol: tls\n"), Settings::default(), |lab| async move {
        let start = Instant::now();
        let mut client = lab.stream_client(Spoken::default());
        let _silent = [lab.upstream().await, lab.upstream().await, lab.upstream().await];
        assert_eq!(client.rest().await, "");
        assert_eq!(start.elapsed(), Duration::from_secs(3), "an attempt and two retries, of a second each");
        assert_eq!(series(&lab).ended(SessionEnd::Unreachable), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_route_without_a_service_leads_nowhere() {
    let document = "{_format_version: '3.0', routes: [{protocols: [tcp], sources: [{ip: 0.0.0.0/0}]}]}";
    with(document, Settings::default(), |lab| async move {
        assert_eq!(lab.stream_client(Spoken::default()).rest().await, "");
        assert_eq!(series(&lab).ended(SessionEnd::NoTarget), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_in_which_nothing_moves_ends_with_the_read_timeout_of_the_service() {
    with(TCP, Settings::default(), |lab| async move {
        let start = Instant::now();
        let mut client = lab.stream_client(Spoken::default());
        let mut service = lab.upstream().await;
        for _ in 0..3 {
            sleep(Duration::from_secs(4)).await;
            service.send("x").await;
            client.expect("x").await;
        }
        assert_eq!(client.rest().await, "");
        assert_eq!(service.rest().await, "");
        assert_eq!(start.elapsed(), Duration::from_secs(17));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_bytes_slows_the_other_down_and_is_not_waited_for_without_end() {
    let settings = Settings { send_timeout: Duration::from_secs(3), ..Settings::default() };
    with(TCP, settings, |lab| async move {
        let start = Instant::now();
        let mut client = lab.stream_client(Spoken::default());
        let mut service = lab.upstream().await;
        let writing = tokio::task::spawn_local(async move {
            let mut taken = 0;
            while let Ok(count) = service.0.write(&[b'x'; 1000]).await {
                taken += count;
            }
            taken
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!writing.is_finished());
        let taken = writing.await.unwrap();
        assert!(taken < 128 << 10, "{taken} bytes are held for a client that takes none");
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        client.0.read_to_end(&mut Vec::new()).await.unwrap();

        let start = Instant::now();
        let mut client = lab.stream_client(Spoken::default());
        let _service = lab.upstream().await;
        while client.0.write(&[b'x'; 1000]).await.is_ok() {}
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_between_sides_of_different_pace() {
    with(TCP, Settings::default(), |lab| async move {
        let mut client = lab.stream_client(Spoken::default());
        let mut service = lab.upstream().await;
        let sent: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        tokio::task::spawn_local(async move {
            service.0.write_all(&sent).await.unwrap();
            service.finish().await;
        });
        let mut received: Vec<u8> = Vec::new();
        let mut piece = [0; 7001];
        loop {
            sleep(Duration::from_millis(100)).await;
            match client.0.read(&mut piece).await.unwrap() {
                0 => break,
                count => received.extend(&piece[..count]),
            }
        }
        assert!(received == expected, "{} bytes", received.len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_in_front_says_where_a_connection_comes_from_if_it_is_trusted() {
    let document = TCP.replace("ip: 192.0.2.0/24", "ip: 203.0.113.7, port: 40000");
    for (trusted, served) in [("192.0.2.0/24", true), ("198.51.100.0/24", false)] {
        let settings = Settings { trusted_networks: vec![trusted.parse().unwrap()], ..Settings::default() };
        with(&document, settings, |lab| async move {
            let mut client = lab.stream_client(Spoken { proxied: true, ..Spoken::default() });
            client.send("PROXY TCP4 203.0.113.7 192.0.2.2 40000 8000\r\nhello").await;
            if served {
                lab.upstream().await.expect("hello").await;
            } else {
                assert_eq!(client.rest().await, "");
                assert!(lab.opened_no_more());
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn sources_may_be_named_by_the_ipv6_addresses_that_map_them() {
    for (range, served) in [("::ffff:192.0.2.0/120", true), ("::ffff:192.0.3.0/120", false)] {
        let document = TCP.replace("192.0.2.0/24", &format!("'{range}'"));
        with(&document, Settings::default(), |lab| async move {
            let mut client = lab.stream_client(Spoken::default());
            client.send("hello").await;
            if served {
                lab.upstream().await.expect("hello").await;
            } else {
                assert_eq!(client.rest().await, "");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_told_where_its_connection_comes_from() {
    let document = TCP.replace("retries: 2", "retries: 2\n  proxy_protocol: v1");
    let document = document.replace("192.0.2.0/24", "0.0.0.0/0");
    let trusted = Settings { trusted_networks: vec!["192.0.2.0/24".parse().unwrap()], ..Settings::default() };
    for (settings, source) in
        [(Settings::default(), None), (trusted, Some("203.0.113.7 192.0.2.2 9000 8000"))]
    {
        with(&document, settings, |lab| async move {
            let proxied = Spoken { proxied: true, ..Spoken::default() };
            let mut client = lab.stream_client(proxied);
            client.send("PROXY TCP4 203.0.113.7 203.0.113.8 9000 7000\r\nhello").await;
            let mut service = lab.upstream().await;
            match source {
                Some(source) => service.expect(&format!("PROXY TCP4 {source}\r\nhello")).await,
                None => service.expect("PROXY TCP4 192.0.2.").await,
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_end_in_peace_when_the_gateway_stops_and_at_once_when_told_so() {
    with(TCP, Settings::default(), |lab| async move {
        let (sender, mut orders) = watch::channel(Order::Drain);
        let mut client = lab.stream_client(Spoken::default());
        let mut service = lab.upstream().await;
        client.send("x").await;
        service.expect("x").await;
        let draining = tokio::task::spawn_local({
            let lab = lab.clone();
            async move { lab.drain(&mut orders).await }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!draining.is_finished());
        service.send("y").await;
        client.expect("y").await;
        sender.send_replace(Order::Stop);
        draining.await.unwrap();
        assert_eq!(client.rest().await, "");
        assert_eq!(lab.local.connections.count(), 0);
        let series = series(&lab);
        assert_eq!((series.ended(SessionEnd::Carried), series.ingress(), series.egress()), (1, 1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sessions_count_among_the_connections_and_do_not_give_way() {
    with(TCP, Settings { max_connections: 1, ..Settings::default() }, |lab| async move {
        let mut client = lab.stream_client(Spoken::default());
        let mut service = lab.upstream().await;
        assert_eq!(lab.local.connections.count(), 1);
        assert!(!admits(&lab.local, "192.0.2.99".parse().unwrap(), 0));
        client.send("x").await;
        service.expect("x").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_turned_away_while_memory_is_short() {
    with(TCP, Settings::default(), |lab| async move {
        lab.local.load.short_of_memory.set(true);
        assert_eq!(lab.stream_client(Spoken::default()).rest().await, "");
        assert!(lab.opened_no_more());
        lab.local.load.short_of_memory.set(false);
        lab.stream_client(Spoken::default()).send("x").await;
        lab.upstream().await.expect("x").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_does_not_keep_an_old_configuration_alive() {
    with(TCP, Settings::default(), |lab| async move {
        let old = Arc::downgrade(&lab.local.snapshot());
        let mut client = lab.stream_client(Spoken::default());
        let mut service = lab.upstream().await;
        lab.reload("_format_version: '3.0'\n");
        lab.local.tidy();
        assert!(eventually(|| old.strong_count() == 0));
        client.send("x").await;
        service.expect("x").await;
        assert_eq!(lab.stream_client(Spoken::default()).rest().await, "", "the new one has no such route");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_route_and_its_service_have_against_each_other_is_a_problem() {
    with(TCP, Settings::default(), |lab| async move {
        for (protocol, route, problem) in [
            ("tcp", "{paths: [/]}", "requests cannot be sent to a service over 'tcp'"),
            ("http", "{protocols: [tcp], sources: [{port: 1}]}", "its service is reached over 'http'"),
            ("tls", "{protocols: [udp], sources: [{port: 1}]}", "datagrams cannot be sent"),
            ("tls", "{protocols: [tls_passthrough], snis: [a.test]}", "not put into TLS once more"),
            ("tls", "{protocols: [tcp], sources: [{port: 1}]}", ""),
            ("tcp", "{protocols: [tcp, udp, tls], sources: [{port: 1}]}", ""),
            ("udp", "{protocols: [tcp, udp], sources: [{port: 1}]}", ""),
            ("tcp", "{protocols: [tls_passthrough], snis: [a.test]}", ""),
        ] {
            let document = format!(
                "{{_format_version: '3.0', services: [{{host: h.test, protocol: {protocol}, routes: [{route}]}}]}}"
            );
            let told = lab.compile(&document).err().unwrap_or_default();
            assert!(told.contains(problem), "{document}: {told}");
            assert_eq!(told.is_empty(), problem.is_empty(), "{document}: {told}");
            let disabled = document.replace("host:", "enabled: false, host:");
            assert!(lab.compile(&disabled).is_ok(), "{disabled}");
        }
    })
    .await;
}
