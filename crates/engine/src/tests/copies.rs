//! Copies of requests, and that nobody waits for them.

use std::time::Duration;

use super::lab::{GET, Lab, Peer, with};
use crate::settings::Settings;

const OLD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"id\":1,\"at\":100}";
const AGAIN: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"id\":1,\"at\":101}";
const NOISY: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"id\":1,\"at\":200}";
const WRONG: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"id\":2,\"at\":300}";

fn document(config: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: old\n  url: http://10.0.0.1/v1\n  routes:\n  - {{name: all, paths: [/]}}\n- {{name: \
         new, url: 'http://10.0.0.2/v2'}}\nplugins:\n- name: mirror\n  config: {{service: new{config}}}\n"
    )
}

/// What the Admin API says about the route.
fn report(lab: &Lab) -> serde_json::Value {
    let endpoint = <plugins::mirror::Mirror as plugin::Plugin>::ENDPOINTS
        .iter()
        .find(|endpoint| endpoint.method == "GET")
        .unwrap();
    let call = plugin::admin::Call { parameters: &[], query: None, services: &lab.services };
    let answer: serde_json::Value = serde_json::from_slice(&(endpoint.handle)(&call).body).unwrap();
    answer["data"][0].clone()
}

/// The old service answers what `client` has asked for.
async fn answer_old(client: &mut Peer, old: &mut Peer) {
    old.head().await;
    old.send(OLD).await;
    client.response().await;
}

/// A client whose first request the old service has answered, and that service.
async fn answered(lab: &Lab) -> (Peer, Peer) {
    let mut client = lab.client();
    client.send(GET).await;
    let mut old = lab.upstream().await;
    answer_old(&mut client, &mut old).await;
    (client, old)
}

/// The new service, once a copy has reached it.
async fn copied(lab: &Lab) -> Peer {
    let mut new = lab.upstream().await;
    new.head().await;
    new
}

/// Lets copies come to their end that are answered.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_has_its_answer_before_the_copy_is_sent() {
    with(&document(""), Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET /a?b HTTP/1.1\r\nHost: h\r\nX-Mine: 1\r\n\r\n").await;
        let mut old = lab.upstream().await;
        assert!(old.head().await.starts_with("GET /v1/a?b "));
        old.send(OLD).await;
        assert_eq!(client.response().await.0, 200);
        // The copy is on its way and silent; the connection goes on.
        let mut new = lab.upstream().await;
        let copied = new.head().await;
        assert!(copied.starts_with("GET /v2/a?b ") && copied.contains("X-Mine: 1"), "{copied}");
        client.send("DELETE /c HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(old.head().await.starts_with("DELETE /v1/c "));
        old.send(OLD).await;
        assert_eq!(client.response().await.0, 200, "and is not copied itself");
        new.send(OLD).await;
        settle().await;
        assert_eq!(report(&lab)["counts"]["equal"], 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn noise_is_learnt_from_the_service_and_the_rest_is_told() {
    with(&document(""), Settings::default(), |lab| async move {
        let (mut client, mut old) = answered(&lab).await;
        let mut new = copied(&lab).await;
        new.send(NOISY).await;
        // The difference may be noise: the service is asked once more, on its own connection.
        assert!(old.head().await.starts_with("GET /v1 "));
        old.send(AGAIN).await;
        client.send(GET).await;
        answer_old(&mut client, &mut old).await;
        new.head().await;
        new.send(WRONG).await;
        old.head().await;
        old.send(OLD).await;
        settle().await;
        let report = report(&lab);
        assert_eq!(report["noise"], serde_json::json!(["body.at"]));
        assert_eq!(report["differences"], serde_json::json!({"body.id": 1}));
        assert_eq!((&report["counts"]["equal"], &report["counts"]["different"]), (&1.into(), &1.into()));
        assert_eq!(report["examples"][0]["differences"][0]["mirror"], "2");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn copies_are_bounded_in_number_time_and_size() {
    with(
        &document(", max_pending: 1, timeout: 5000, max_body_bytes: 20"),
        Settings::default(),
        |lab| async move {
            let (mut client, mut old) = answered(&lab).await;
            let _new = copied(&lab).await;
            client.send(GET).await;
            answer_old(&mut client, &mut old).await;
            assert_eq!(report(&lab)["counts"]["dropped"], 1, "one is under way, and there may be one");
            tokio::time::sleep(Duration::from_secs(6)).await;
            assert_eq!(report(&lab)["counts"]["failed"], 1, "nobody answered in time");
            client.send(GET).await;
            answer_old(&mut client, &mut old).await;
            let mut new = copied(&lab).await;
            new.send("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n012345678901234567890").await;
            settle().await;
            assert_eq!(report(&lab)["counts"]["failed"], 2, "more than may be kept");
            assert_eq!(report(&lab)["counts"]["dropped"], 1, "its place was free again");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_something_is_not_sent_to_the_service_again() {
    with(&document(", methods: [POST]"), Settings::default(), |lab| async move {
        let (mut client, mut old) =
            lab.asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}").await;
        old.bytes(2).await;
        old.send(OLD).await;
        client.response().await;
        let mut new = lab.upstream().await;
        assert!(new.head().await.starts_with("POST /v2 "));
        assert_eq!(new.bytes(2).await, b"{}");
        new.send(WRONG).await;
        settle().await;
        assert_eq!(report(&lab)["counts"]["different"], 1);
        client.send("DELETE /c HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(old.head().await.starts_with("DELETE "), "nothing came in between");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_compare_is_sent_and_no_more() {
    with(&document(", max_body_bytes: 16"), Settings::default(), |lab| async move {
        let (_client, _old) = answered(&lab).await;
        let mut new = copied(&lab).await;
        new.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        settle().await;
        assert_eq!(
            (&report(&lab)["counts"]["sent"], &report(&lab)["counts"]["different"]),
            (&1.into(), &0.into())
        );
    })
    .await;
}

/// What is counted of one request that is answered by the old service.
async fn counted(document: String, request: &'static str) -> serde_json::Value {
    let (told, heard) = tokio::sync::oneshot::channel();
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send(request).await;
        answer_old(&mut client, &mut lab.upstream().await).await;
        settle().await;
        told.send(report(&lab)["counts"].clone()).unwrap();
    })
    .await;
    heard.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_copied_is_skipped() {
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(counted(document(""), upgrade).await["skipped"], 1);
    let streamed =
        document(", methods: [POST]").replace("paths: [/]", "paths: [/], request_buffering: false");
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(counted(streamed, post).await["skipped"], 1, "its body was passed on and not kept");
}

#[tokio::test(start_paused = true)]
async fn a_request_of_a_configuration_that_has_gone_is_not_copied() {
    with(&document(""), Settings::default(), |lab| async move {
        let (mut client, mut old) = lab.asked(GET).await;
        lab.reload(&document(", percentage: 99.9"));
        old.send(OLD).await;
        client.response().await;
        settle().await;
        assert_eq!(report(&lab)["counts"]["skipped"], 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_has_so_many_copies_under_way_and_no_more() {
    with(&document(", max_pending: 1000, timeout: 5000"), Settings::default(), |lab| async move {
        let (mut client, mut old) = answered(&lab).await;
        for _ in 0..256 {
            client.send(GET).await;
            answer_old(&mut client, &mut old).await;
        }
        assert_eq!(report(&lab)["counts"]["dropped"], 1);
        tokio::time::sleep(Duration::from_secs(6)).await;
        client.send(GET).await;
        answer_old(&mut client, &mut old).await;
        assert_eq!(report(&lab)["counts"]["dropped"], 1, "when their time was over, there was room again");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn noise_is_asked_for_where_the_request_itself_went() {
    let elsewhere =
        "- name: other\n  url: http://10.0.0.3/other\nplugins:\n- {name: sender, config: {service: other}}\n";
    let document = document("").replace("plugins:\n", elsewhere);
    with(&document, Settings::default(), |lab| async move {
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Elsewhere: 1\r\n\r\n").await;
        let mut other = lab.upstream().await;
        assert!(other.head().await.starts_with("GET /other "));
        other.send(OLD).await;
        client.response().await;
        let mut new = lab.upstream().await;
        assert!(new.head().await.starts_with("GET /v2 "));
        new.send(NOISY).await;
        assert!(other.head().await.starts_with("GET /other "));
    })
    .await;
}
