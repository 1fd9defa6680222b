//! What the request-size-limiting room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome};

use super::RequestSizeLimiting;

fn send(config: &str, request: &str, size: usize) -> Outcome {
    let mut harness = Harness::global(plugin::room::<RequestSizeLimiting>(), config).unwrap();
    harness.send_bytes(request, &vec![b'x'; size])
}

#[track_caller]
fn assert_too_large(outcome: &Outcome, status: u16) {
    assert!(outcome.answered);
    assert_eq!((outcome.status, outcome.message.as_deref()), (status, Some("Request size limit exceeded")));
}

const CHUNKED: &str = "POST / HTTP/1.1\nTransfer-Encoding: chunked";

#[test]
fn exactly_the_limit_passes() {
    for (unit, limit) in [("bytes", 3), ("kilobytes", 3 << 10), ("megabytes", 3 << 20)] {
        let config = format!("{{allowed_payload_size: 3, size_unit: {unit}}}");
        for request in ["POST / HTTP/1.1", CHUNKED] {
            assert!(!send(&config, request, limit).answered, "{unit} {request}");
            assert_too_large(&send(&config, request, limit + 1), 413);
        }
    }
    assert!(!send("{allowed_payload_size: 0}", "GET / HTTP/1.1", 0).answered);
    assert_too_large(&send("{allowed_payload_size: 0}", "POST / HTTP/1.1", 1), 413);
}

#[test]
fn megabytes_are_the_default() {
    let of = |length| send("{}", &format!("POST / HTTP/1.1\nContent-Length: {length}"), 0);
    assert!(!of(128 << 20).answered);
    assert_too_large(&of((128 << 20) + 1), 413);
}

#[test]
fn a_limit_beyond_all_numbers_is_none() {
    let config = "{allowed_payload_size: 9223372036854775807}";
    assert!(!send(config, "POST / HTTP/1.1", 10).answered);
}

#[test]
fn who_waits_for_leave_does_not_get_it() {
    let config = "{allowed_payload_size: 1, size_unit: kilobytes}";
    assert_too_large(&send(config, "POST / HTTP/1.1\nExpect: 100-Continue", 1025), 417);
    assert!(!send(config, "POST / HTTP/1.1\nExpect: 100-continue", 1024).answered);
}

#[test]
fn a_length_can_be_required() {
    let config = "{require_content_length: true, allowed_payload_size: 10, size_unit: bytes}";
    for method in ["GET", "POST"] {
        let outcome = send(config, &format!("{method} / HTTP/1.1"), 0);
        let message = Some("A valid Content-Length header is required");
        assert_eq!((outcome.status, outcome.message.as_deref()), (411, message));
    }
    assert!(!send(config, "POST / HTTP/1.1\nContent-Length: 0", 0).answered);
    assert!(!send(config, "POST / HTTP/1.1", 10).answered);
    assert!(!send(config, CHUNKED, 10).answered);
    assert_too_large(&send(config, CHUNKED, 11), 413);
}

#[test]
fn a_negative_size_is_refused() {
    let refusal = Harness::global(plugin::room::<RequestSizeLimiting>(), "{allowed_payload_size: -1}").err();
    assert!(refusal.is_some_and(|refusal| refusal.contains("a size cannot be negative")));
}
