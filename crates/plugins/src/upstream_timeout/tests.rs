//! What the upstream-timeout room does, seen from outside: which times a request gets.

use std::time::Duration;

use plugin::exchange::Timeouts;
use plugin::harness::Harness;

use super::UpstreamTimeout;

fn timeouts(config: &str) -> Timeouts {
    Harness::global(plugin::room::<UpstreamTimeout>(), config).unwrap().send("GET / HTTP/1.1").timeouts
}

#[test]
fn times_that_are_given_replace_the_services() {
    let all = timeouts("{connect_timeout: 1, send_timeout: 2, read_timeout: 3}");
    let milliseconds = |time| Some(Duration::from_millis(time));
    assert_eq!(all, Timeouts { connect: milliseconds(1), write: milliseconds(2), read: milliseconds(3) });
    let one = timeouts("{read_timeout: 2147483646}");
    assert_eq!(one, Timeouts { read: milliseconds(2_147_483_646), ..Timeouts::default() });
    assert_eq!(timeouts("{}"), Timeouts::default());
}

#[test]
fn nothing_is_a_minute() {
    assert_eq!(timeouts("{connect_timeout: 0}").connect, Some(Duration::from_secs(60)));
}

#[test]
fn times_out_of_bounds_are_refused() {
    for config in ["{read_timeout: -1}", "{send_timeout: 2147483647}"] {
        let refusal = Harness::global(plugin::room::<UpstreamTimeout>(), config).err().unwrap_or_default();
        assert!(refusal.contains("value should be between 0 and 2147483646"), "{config}: {refusal}");
    }
}
