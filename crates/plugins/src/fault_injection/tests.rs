//! What the fault-injection room does, seen from outside: requests in, outcomes out. The clock stands still but for
//! delays, and the random numbers of the harness are always the same.

use plugin::harness::{Harness, Outcome};

use super::FaultInjection;
use super::delay::Active;

fn harness(config: &str) -> Harness {
    Harness::global(plugin::room::<FaultInjection>(), config).unwrap()
}

/// Sends a request; what came of it and the milliseconds it waited.
fn send(harness: &mut Harness, request: &str) -> (Outcome, u64) {
    let before = harness.clock.now_ms();
    let outcome = harness.send(request);
    (outcome, harness.clock.now_ms() - before)
}

const GET: &str = "GET / HTTP/1.1";

#[test]
fn a_fixed_delay_is_waited_and_the_request_goes_on() {
    let (outcome, waited) = send(&mut harness("{delay: {fixed: 250}}"), GET);
    assert_eq!((outcome.answered, waited), (false, 250));
}

#[test]
fn delays_of_a_range_are_within_it_and_differ() {
    let mut harness = harness("{delay: {least: 10, most: 13}}");
    let mut seen = [0; 14];
    for _ in 0..400 {
        seen[usize::try_from(send(&mut harness, GET).1).unwrap()] += 1;
    }
    assert!(seen[10..].iter().all(|times| *times > 50), "{seen:?}");
}

#[test]
fn a_share_is_drawn() {
    let mut harness = harness("{delay: {fixed: 1, percentage: 25}, abort: {status: 500, percentage: 10}}");
    let (mut delayed, mut aborted, mut both) = (0, 0, 0);
    for _ in 0..4000 {
        let (outcome, waited) = send(&mut harness, GET);
        delayed += waited;
        aborted += u64::from(outcome.answered);
        both += waited * u64::from(outcome.answered);
    }
    // Five standard deviations around the expected 1000, 400 and 100.
    assert!(delayed.abs_diff(1000) < 137 && aborted.abs_diff(400) < 95 && both.abs_diff(100) < 50);
    let mut never = self::harness("{abort: {status: 500, percentage: 0}}");
    assert!((0..1000).all(|_| !never.send(GET).answered));
    let mut always = self::harness("{abort: {status: 500, percentage: 100}}");
    assert!((0..1000).all(|_| always.send(GET).answered));
}

#[test]
fn an_abort_answers_with_a_message_or_a_body() {
    let outcome = harness("{abort: {status: 418, message: teapot}}").send(GET);
    assert_eq!((outcome.status, outcome.message.as_deref()), (418, Some("teapot")));
    let outcome = harness("{abort: {status: 503, body: <p>, content_type: text/html}}").send(GET);
    assert_eq!((outcome.status, &outcome.body[..]), (503, &b"<p>"[..]));
    assert_eq!(outcome.header("Content-Type").as_deref(), Some("text/html"));
    let (outcome, waited) = send(&mut harness("{abort: {status: 500}, delay: {fixed: 7}}"), GET);
    assert_eq!((outcome.status, waited), (500, 7));
}

const CALL: &str = "POST /s/M HTTP/1.1\nContent-Type: application/grpc+proto";

#[test]
fn a_call_of_grpc_has_a_status_of_its_own() {
    let mut harness = harness("{abort: {grpc_status: 14, message: 'no 100% luck'}}");
    let outcome = harness.send(CALL);
    assert_eq!((outcome.status, outcome.body.len()), (200, 0));
    assert_eq!(outcome.header("grpc-status").as_deref(), Some("14"));
    assert_eq!(outcome.header("grpc-message").as_deref(), Some("no 100%25 luck"));
    assert_eq!(outcome.header("content-type").as_deref(), Some("application/grpc"));
    assert!(!harness.send(GET).answered, "others have no status");
    let outcome = self::harness("{abort: {status: 503, body: x}}").send(CALL);
    assert_eq!((outcome.status, outcome.message.as_deref()), (503, Some("fault injected")));
}

#[test]
fn only_requests_with_the_header_are_considered() {
    let mut any = harness("{abort: {status: 500}, header: X-Chaos}");
    assert!(!any.send(GET).answered);
    assert!(any.send("GET / HTTP/1.1\nx-chaos: whatever").answered);
    let mut some = harness("{abort: {status: 500}, header: X-Chaos, header_values: [a, b]}");
    for (request, expected) in [
        ("GET / HTTP/1.1\nX-Chaos: b", true),
        ("GET / HTTP/1.1\nX-Chaos: c\nX-Chaos: a", true),
        ("GET / HTTP/1.1\nX-Chaos: A", false),
        (GET, false),
    ] {
        assert_eq!(some.send(request).answered, expected, "{request}");
    }
}

#[test]
fn requests_may_ask_for_faults_within_bounds() {
    let mut harness = harness("{delay: {header: X-Delay, header_most: 90}, abort: {header: X-Abort}}");
    for (field, expected) in [
        ("X-Delay: 40", (200, 40)),
        ("X-Delay: 4000", (200, 90)),
        ("X-Delay: 99999999999999999999999", (200, 90)),
        ("X-Delay: 0", (200, 0)),
        ("X-Delay: -5", (200, 0)),
        ("X-Delay: soon", (200, 0)),
        ("X-Abort: 429", (429, 0)),
        ("X-Abort: 101", (200, 0)),
        ("X-Abort: 600", (200, 0)),
        ("X-Abort: 503\nX-Delay: 5", (503, 5)),
    ] {
        let (outcome, waited) = send(&mut harness, &format!("GET / HTTP/1.1\n{field}"));
        assert_eq!((outcome.status, waited), expected, "{field}");
    }
    let mut with_default =
        self::harness("{delay: {fixed: 7, header: X-Delay}, abort: {status: 500, header: X-Abort}}");
    let (outcome, waited) = send(&mut with_default, "GET / HTTP/1.1\nX-Delay: 3\nX-Abort: 404");
    assert_eq!((outcome.status, waited), (404, 3));
    let (outcome, waited) = send(&mut with_default, "GET / HTTP/1.1\nX-Delay: x\nX-Abort: y");
    assert_eq!((outcome.status, waited), (500, 7));
}

#[test]
fn beyond_the_most_requests_go_on_without_delay() {
    let mut harness = harness("{delay: {fixed: 100}, abort: {status: 500}, max_active: 1}");
    let (_, active) = harness.services.all_kept::<Active>().pop().unwrap();
    let waiting = active.take();
    assert!(waiting.is_some());
    let (outcome, waited) = send(&mut harness, GET);
    assert_eq!((outcome.status, waited), (500, 0));
    drop(waiting);
    assert_eq!((0..3).map(|_| send(&mut harness, GET).1).collect::<Vec<_>>(), [100; 3]);
}

#[test]
fn what_makes_no_fault_is_refused() {
    for (config, says) in [
        ("{}", "there is no fault to inject"),
        ("{delay: {percentage: 5}, abort: {percentage: 5}}", "there is no fault to inject"),
        ("{delay: {least: 5, most: 4}}", "least cannot be larger than most"),
        ("{delay: {least: 5}}", "all or none of these fields must be set: 'least', 'most'"),
        ("{delay: {fixed: 1, least: 5, most: 6}}", "fixed cannot be used with least and most"),
        ("{delay: {fixed: 30001}}", "value should be between 1 and 30000"),
        ("{abort: {status: 199}}", "value should be between 200 and 599"),
        ("{abort: {status: 500, percentage: 101}}", "value should be between 0 and 100"),
        ("{abort: {status: 500}, header_values: [a]}", "header"),
        ("{abort: {status: 500, message: \"a\\nb\"}}", "config.abort.message"),
    ] {
        let refusal = Harness::global(plugin::room::<FaultInjection>(), config).err().unwrap_or_default();
        assert!(refusal.contains(says), "{config}: {refusal}");
    }
}
