//! Requests that a room sends elsewhere than to the service of their route.

use super::lab::{OK, PLAIN, with};
use crate::settings::Settings;

fn document(config: &str, scope: &str) -> String {
    format!(
        "{PLAIN}- name: two\n  url: http://10.0.0.2:81/v2\n- name: off\n  url: http://10.0.0.3\n  enabled: false\n\
         upstreams:\n- name: blue\n  host_header: blue.test\n  targets:\n  - target: 10.0.0.4:82\n\
         plugins:\n- name: sender\n  config: {config}\n  {scope}\n"
    )
}

/// The request line and `Host` that an upstream gets for a request that is sent elsewhere.
async fn sent(config: &'static str) -> (String, String) {
    let (told, heard) = tokio::sync::oneshot::channel();
    with(&document(config, ""), Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET /a?b HTTP/1.1\r\nHost: h\r\nX-Elsewhere: 1\r\n\r\n").await;
        let mut upstream = lab.upstream().await;
        let head = upstream.head().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.0, 200);
        told.send(head).unwrap();
    })
    .await;
    let head = heard.await.unwrap();
    let line = |start: &str| head.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    (line("GET"), line("Host:"))
}

#[tokio::test(start_paused = true)]
async fn another_service_is_asked_with_its_own_path() {
    assert_eq!(sent("{service: two}").await, ("GET /v2/a?b HTTP/1.1".into(), "Host: 10.0.0.2:81".into()));
}

#[tokio::test(start_paused = true)]
async fn a_host_a_port_or_an_upstream_stands_in_for_the_service_s_own() {
    let path = "GET /a?b HTTP/1.1".to_owned();
    assert_eq!(sent("{host: 10.0.0.9}").await, (path.clone(), "Host: 10.0.0.9".into()));
    assert_eq!(sent("{port: 8081}").await, (path.clone(), "Host: 10.0.0.1:8081".into()));
    assert_eq!(sent("{host: blue}").await, (path, "Host: blue.test".into()));
}

#[tokio::test(start_paused = true)]
async fn the_next_request_of_a_connection_goes_its_own_way() {
    with(&document("{service: two}", "service: one"), Settings::default(), |lab| async move {
        let mut client = lab.client();
        for (fields, expected) in [("X-Elsewhere: 1\r\n", "GET /v2/ "), ("", "GET / ")] {
            client.send(&format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).await;
            let mut upstream = lab.upstream().await;
            assert!(upstream.head().await.starts_with(expected), "{expected}");
            upstream.send(OK).await;
            assert_eq!(client.response().await.0, 200);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_way_that_leads_nowhere_is_an_error_of_the_configuration() {
    with(PLAIN, Settings::default(), |lab| async move {
        let problem = |config: &str, scope: &str| lab.compile(&document(config, scope)).err().unwrap();
        let unknown = problem("{service: tow}", "");
        assert!(unknown.contains("there is no service 'tow'") && unknown.contains("one, two"), "{unknown}");
        let disabled = problem("{service: off}", "");
        assert!(disabled.contains("the service 'off' is disabled"), "{disabled}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_route_without_a_service_can_only_be_sent_to_another_service() {
    with(PLAIN, Settings::default(), |lab| async move {
        let document = |config: &str| {
            let document = document(config, "route: bare");
            format!("{document}routes:\n- name: bare\n  paths: [/bare]\n")
        };
        let problem = lab.compile(&document("{host: blue}")).err().unwrap();
        assert!(problem.contains("the plugin's route has no service"), "{problem}");
        lab.reload(&document("{service: two}"));
        let mut client = lab.client();
        client.send("GET /bare/x HTTP/1.1\r\nHost: h\r\nX-Elsewhere: 1\r\n\r\n").await;
        assert!(lab.upstream().await.head().await.starts_with("GET /v2/x "));
    })
    .await;
}
