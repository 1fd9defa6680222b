//! What the correlation-id room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, START_MS};
use plugin::{HeaderFilter, Phases};

use super::CorrelationId;

fn harness(config: &str) -> Harness {
    Harness::global(plugin::room::<CorrelationId>(), config).unwrap()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

#[test]
fn a_uuid_goes_upstream_and_into_the_log_but_not_back_to_the_client() {
    let mut harness = harness("{generator: uuid}");
    let outcome = harness.send("GET / HTTP/1.1");
    let id = outcome.upstream_header("Kong-Request-ID").unwrap();
    assert!(is_uuid(&id), "{id}");
    assert_eq!(outcome.log_fields, [("correlation_id".to_owned(), id.clone())]);
    assert_eq!(outcome.header("Kong-Request-ID"), None);
    let next = harness.send("GET / HTTP/1.1").upstream_header("Kong-Request-ID").unwrap();
    assert_ne!(next, id);
}

#[test]
fn the_counter_grows_behind_one_uuid_that_survives_a_reload() {
    let mut harness = harness("{}");
    let split = |id: String| {
        let (uuid, number) =
            id.split_once('#').map(|(uuid, number)| (uuid.to_owned(), number.to_owned())).unwrap();
        (uuid, number.parse::<u64>().unwrap())
    };
    let send = |harness: &mut Harness| {
        split(harness.send("GET / HTTP/1.1").upstream_header("Kong-Request-ID").unwrap())
    };
    let (uuid, number) = send(&mut harness);
    assert!(is_uuid(&uuid));
    let (same, next) = send(&mut harness);
    assert_eq!(same, uuid);
    assert!(next > number);
    harness.reload("{_format_version: \"3.0\", plugins: [{name: correlation-id}]}").unwrap();
    let (kept, later) = send(&mut harness);
    assert_eq!(kept, uuid);
    assert!(later > next);
}

#[test]
fn a_tracker_names_address_port_process_connection_and_time() {
    let mut harness = harness("{generator: tracker}");
    let id = harness.send("GET / HTTP/1.1").upstream_header("Kong-Request-ID").unwrap();
    let parts: Vec<&str> = id.split('-').collect();
    assert_eq!(parts[..2], ["127.0.0.1", "8000"]);
    assert_eq!(parts[2], std::process::id().to_string());
    assert_eq!(parts[4..], ["1", &format!("{}.000", START_MS / 1000)]);
    let other = harness.send("GET / HTTP/1.1").upstream_header("Kong-Request-ID").unwrap();
    assert_ne!(other, id, "another connection has another number");
}

#[test]
fn the_longest_tracker_fits() {
    let mut harness = harness("{generator: tracker}");
    harness.clock.set(u64::MAX);
    let id = harness.send("GET / HTTP/1.1").upstream_header("Kong-Request-ID").unwrap();
    assert!(id.ends_with("18446744073709551.615"), "{id}");
    assert!(id.len() - "127.0.0.1".len() + 45 + 2 * 20 < super::LONGEST);
}

#[test]
fn what_the_client_sent_is_kept() {
    let mut harness = harness("{echo_downstream: true, header_name: X-Id}");
    let outcome = harness.send("GET / HTTP/1.1\nx-id: mine");
    assert_eq!(outcome.upstream_header("X-Id").as_deref(), Some("mine"));
    assert_eq!(outcome.header("X-Id").as_deref(), Some("mine"));
    assert_eq!(outcome.log_fields, [("correlation_id".to_owned(), "mine".to_owned())]);
}

#[test]
fn an_empty_value_is_replaced_and_of_several_the_first_counts() {
    let mut harness = harness("{echo_downstream: true, header_name: X-Id, generator: uuid}");
    let outcome = harness.send("GET / HTTP/1.1\nX-Id:");
    assert!(is_uuid(&outcome.upstream_header("X-Id").unwrap()));
    let outcome = harness.send("GET / HTTP/1.1\nX-Id: one\nX-Id: two");
    assert_eq!(outcome.header("X-Id").as_deref(), Some("one"));
    assert_eq!(outcome.upstream_headers.count("X-Id"), 2);
}

#[test]
fn the_echo_replaces_what_the_upstream_sent() {
    let mut harness = harness("{echo_downstream: true}");
    harness.upstream.headers.push(("Kong-Request-ID", "theirs".to_owned()));
    let outcome = harness.send("GET / HTTP/1.1");
    assert_eq!(outcome.header("Kong-Request-ID"), outcome.upstream_header("Kong-Request-ID"));
    assert_eq!(outcome.headers.count("Kong-Request-ID"), 1);
}

#[test]
fn an_answer_of_another_plugin_carries_the_id_too() {
    use crate::request_termination::RequestTermination;
    let document = "{_format_version: \"3.0\", plugins: [{name: correlation-id, config: {echo_downstream: true}}, \
                    {name: request-termination}]}";
    let chain = [plugin::room::<CorrelationId>(), plugin::room::<RequestTermination>()];
    let outcome = Harness::chain(&chain, document).unwrap().send("GET / HTTP/1.1\nKong-Request-ID: mine");
    assert_eq!((outcome.status, outcome.header("Kong-Request-ID").as_deref()), (503, Some("mine")));
}

#[test]
fn a_response_without_a_route_gets_an_id_of_its_own() {
    use plugin::exchange::{Client, Exchange};
    use plugin::services::Worker;
    let harness = harness("{echo_downstream: true, generator: uuid}");
    let worker = std::rc::Rc::new(Worker::new(0, harness.services.clone()));
    let room = CorrelationId {
        header_name: "X-Id".to_owned(),
        generator: super::Generator::Uuid,
        echo_downstream: true,
    };
    let mut exchange = Exchange::new(worker, Client::default());
    room.header_filter(&mut HeaderFilter::new(&mut exchange, 0));
    assert!(is_uuid(std::str::from_utf8(exchange.response.headers.get("X-Id").unwrap()).unwrap()));
    exchange.request.headers.set("X-Id", b"mine");
    room.header_filter(&mut HeaderFilter::new(&mut exchange, 0));
    assert_eq!(exchange.response.headers.get("X-Id"), Some(&b"mine"[..]));
}

#[test]
fn wrong_settings_are_refused() {
    let refusal = |config| Harness::global(plugin::room::<CorrelationId>(), config).err().unwrap();
    assert!(refusal("{generator: snowflake}").contains("expected one of"));
    assert!(refusal("{header_name: \"a b\"}").contains("bad header name"));
    assert!(refusal("{echo: true}").contains("unknown field"));
}
