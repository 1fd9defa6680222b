//! What the room makes of its settings, and the budget that it keeps.

use std::time::Duration;

use plugin::harness::Harness;

use super::UpstreamRetry;

const ROOM: &dyn plugin::Definition = plugin::room::<UpstreamRetry>();

fn document(config: &str) -> String {
    format!(
        "_format_version: \"3.0\"\nservices:\n- name: orders\n  url: http://127.0.0.1:1\n  routes:\n  \
         - {{name: a, paths: [/a]}}\n  - {{name: b, paths: [/b]}}\n  plugins:\n  - {{name: upstream-retry, config: {config}}}\n"
    )
}

#[test]
fn requests_make_the_budget_that_they_draw_on() {
    let mut harness = Harness::new(ROOM, &document("{budget: {ratio: 0.5, min_per_second: 0}}")).unwrap();
    (0..10).for_each(|_| drop(harness.send("GET /a HTTP/1.1\n\n")));
    let budget = |harness: &Harness| harness.services.all_kept::<plugin::repeat::Budget>().pop().unwrap().1;
    let taken = |harness: &Harness| {
        let now = harness.clock.now_ms();
        (0..100).filter(|_| budget(harness).take(now)).count()
    };
    assert_eq!(taken(&harness), 5);
    harness.reload(&document("{retries: 1, budget: {ratio: 0.5, min_per_second: 0}}")).unwrap();
    assert_eq!(taken(&harness), 0, "a reload fills nothing up");
    assert_eq!((budget(&harness).taken.value(), budget(&harness).denied.value()), (5, 195));
}

#[test]
fn a_late_service_is_asked_again_only_where_a_try_has_a_bound() {
    let policy = |config: &str| {
        let value = <super::Config as plugin::model::schema::Record>::schema()
            .check(&serde_json::from_str(config).unwrap())
            .unwrap();
        let config = <super::Config as plugin::model::schema::Record>::from_value(&value).unwrap();
        super::policy(&config, std::sync::Arc::new(plugin::repeat::Budget::new(0.0, 0)), None)
    };
    assert!(!policy("{}").on_timeout);
    let bounded = policy("{\"try_timeout\": 0.5, \"statuses\": [504, 503]}");
    assert!(bounded.on_timeout && bounded.per_try == Some(Duration::from_millis(500)));
    assert_eq!(&*bounded.on_statuses, &[503, 504]);
    assert!(policy("{\"deadline_header\": \"\"}").deadline_field.is_none());
}

#[test]
fn senseless_settings_are_refused() {
    for (config, says) in [
        ("{backoff: {seconds: 1}}", "must not be less than backoff.seconds"),
        ("{deadline: 1, try_timeout: 2}", "must not be less than try_timeout"),
        ("{methods: [get]}", "no method"),
        ("{statuses: [200]}", "between 400 and 599"),
        ("{on: [malformed]}", "expected one of"),
        ("{deadline_header: 'a b'}", "no name of a header"),
    ] {
        let refusal = Harness::new(ROOM, &document(config)).err().unwrap_or_default();
        assert!(refusal.contains(says), "{config}: {refusal}");
    }
}
