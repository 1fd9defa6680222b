//! The canary room, through the harness.

use plugin::harness::vouching::Vouching;
use plugin::harness::{Harness, START_MS};
use plugin::room;

use super::Canary;
use super::schedule::Schedule;

fn canary(config: &str) -> Harness {
    let document = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://old.test\n  routes:\n  - {{name: r, paths: [/]}}\n  \
         plugins:\n  - name: canary\n    config: {config}\n"
    );
    Harness::new(room::<Canary>(), &document).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refusal(config: &str) -> String {
    Harness::global(room::<Canary>(), config).err().unwrap_or_else(|| panic!("{config} was taken"))
}

/// Which of a thousand clients go to the canary, told apart by a header.
fn members(harness: &mut Harness) -> Vec<usize> {
    let sent = |number: &usize| {
        let outcome = harness.send(&format!("GET / HTTP/1.1\nX-User: user-{number}\n\n"));
        outcome.sent_to.is_some()
    };
    (0..1000).filter(sent).collect()
}

#[test]
fn a_share_goes_to_the_canary_and_its_members_stay() {
    let config = |percentage: u32| {
        format!("{{percentage: {percentage}, hash: header, hash_header: X-User, upstream_host: new.test}}")
    };
    let mut before: Vec<usize> = Vec::new();
    for (percentage, expected) in [(0, 0..=0), (10, 70..=130), (50, 450..=550), (100, 1000..=1000)] {
        let now = members(&mut canary(&config(percentage)));
        assert!(expected.contains(&now.len()), "{percentage} %: {}", now.len());
        assert!(before.iter().all(|member| now.contains(member)), "who was in stays in at {percentage} %");
        before = now;
    }
}

#[test]
fn the_place_of_the_canary_stands_in_for_that_of_the_service() {
    let all = "percentage: 100, hash: none";
    let sent = |place: &str| {
        let outcome = canary(&format!("{{{all}, {place}}}")).send("GET /a/b?c HTTP/1.1\n\n");
        (outcome.sent_to, outcome.upstream_path, outcome.upstream_query)
    };
    let query = Some("c".to_owned());
    assert_eq!(sent("upstream_host: new.test"), (Some("new.test".into()), "/a/b".into(), query.clone()));
    assert_eq!(sent("upstream_port: 81"), (Some(":81".into()), "/a/b".into(), query.clone()));
    assert_eq!(sent("upstream_uri: /v2"), (None, "/v2".into(), query.clone()));
    let both = sent("upstream_host: new.test, upstream_port: 81, upstream_uri: /v2");
    assert_eq!(both, (Some("new.test:81".into()), "/v2".into(), query));
}

#[test]
fn clients_may_choose_for_themselves() {
    let config = |percentage: u32| {
        format!("{{percentage: {percentage}, upstream_host: n.test, canary_by_header_name: X-Canary}}")
    };
    let sent = |percentage: u32, wish: &str| {
        let request = format!("GET / HTTP/1.1\nX-Canary: {wish}\n\n");
        canary(&config(percentage)).send(&request).sent_to.is_some()
    };
    assert!(sent(0, "always") && !sent(100, "never"));
    assert!(sent(100, "perhaps") && !sent(0, "perhaps"), "anything else leaves it to the share");
}

#[test]
fn consumer_groups_that_are_vouched_for_count() {
    let rooms = [room::<Vouching>(), room::<Canary>()];
    let sent = |hash: &str, vouched: &str| {
        let document = format!(
            "_format_version: '3.0'\nconsumer_groups: [{{name: beta}}, {{name: gold}}]\nservices: [{{name: s, url: 'http://old.test', \
             routes: [{{name: r, paths: [/]}}]}}]\nplugins:\n- {{name: vouching}}\n- {{name: canary, service: s, config: {{hash: \
             {hash}, groups: [beta], upstream_host: new.test}}}}\n"
        );
        let request = format!("GET / HTTP/1.1\n{vouched}\n\n");
        Harness::chain(&rooms, &document).unwrap().send(&request).sent_to.is_some()
    };
    for (vouched, is_beta) in [
        ("vouched-consumer-groups: gold,beta", true),
        ("vouched: beta", true),
        ("vouched-consumer-groups: gold", false),
        ("beta: x", false),
    ] {
        assert_eq!((sent("allow", vouched), sent("deny", vouched)), (is_beta, !is_beta), "{vouched}");
    }
}

#[test]
fn a_schedule_grows_in_steps_and_stays_at_everything() {
    let schedule = Schedule::Growing { start_ms: 1000.0, duration_ms: 100.0, steps: 10.0 };
    let parts: Vec<f64> =
        [0, 999, 1000, 1009, 1010, 1055, 1099, 1100, 9999].map(|now| schedule.parts(now)).to_vec();
    assert_eq!(parts, [0.0, 0.0, 0.0, 0.0, 1.0, 5.0, 9.0, 10.0, 10.0]);
    let at_once = Schedule::Growing { start_ms: 1000.0, duration_ms: 0.0, steps: 10.0 };
    assert_eq!((at_once.parts(999), at_once.parts(1000)), (0.0, 10.0));
}

#[test]
fn a_schedule_with_a_start_survives_restarts() {
    let config = |start: u64| {
        format!("{{start: {start}, duration: 100, hash: header, hash_header: X-User, upstream_host: n}}")
    };
    let start = START_MS / 1000;
    let mut first = canary(&config(start));
    assert_eq!(members(&mut first).len(), 0);
    first.clock.advance(50_000);
    let half = members(&mut first);
    assert!((450..=550).contains(&half.len()), "{}", half.len());
    // A process that starts when half of the time is over.
    let mut restarted = canary(&config(start - 50));
    assert_eq!(members(&mut restarted), half);
    restarted.clock.advance(50_000);
    assert_eq!(members(&mut restarted).len(), 1000);
    restarted.clock.advance(u64::from(u32::MAX));
    assert_eq!(members(&mut restarted).len(), 1000);
}

#[test]
fn a_schedule_without_a_start_begins_once() {
    let document = |retries: u32| {
        format!(
            "_format_version: '3.0'\nservices:\n- {{name: s, url: http://old.test, retries: {retries}}}\nplugins:\n- name: \
             canary\n  service: s\n  config: {{duration: 100, hash: none, upstream_host: n}}\n"
        )
    };
    let mut harness = Harness::new(room::<Canary>(), &document(1)).unwrap();
    assert!(harness.send("GET / HTTP/1.1\n\n").sent_to.is_none());
    harness.clock.advance(100_000);
    harness.reload(&document(2)).unwrap();
    assert!(harness.send("GET / HTTP/1.1\n\n").sent_to.is_some(), "a reload has not begun it anew");
}

#[test]
fn groups_are_in_or_out() {
    let document = |hash: &str| {
        format!(
            "_format_version: '3.0'\nconsumer_groups:\n- name: testers\nconsumers:\n- username: ann\n  \
             keyauth_credentials: [{{key: ann}}]\n  groups: [{{name: testers}}]\n- username: bob\n  \
             keyauth_credentials: [{{key: bob}}]\n  acls: [{{group: early}}]\n- username: eve\n  keyauth_credentials: \
             [{{key: eve}}]\nplugins:\n- {{name: key-auth}}\n- name: canary\n  config: {{hash: {hash}, groups: [testers, \
             early], upstream_host: n}}\n"
        )
    };
    for (hash, expected) in [("allow", [true, true, false]), ("deny", [false, false, true])] {
        let mut harness = Harness::chain(crate::ROOMS, &document(hash)).unwrap();
        let sent = ["ann", "bob", "eve"]
            .map(|key| harness.send(&format!("GET / HTTP/1.1\napikey: {key}\n\n")).sent_to.is_some());
        assert_eq!(sent, expected, "{hash}");
    }
}

#[test]
fn a_consumer_stays_wherever_it_comes_from() {
    let document = "_format_version: '3.0'\nconsumers:\n- username: ann\n  keyauth_credentials: [{key: ann}]\nplugins:\n- {name: \
                    key-auth, config: {anonymous: ann}}\n- {name: canary, config: {HASHpercentage: 50, upstream_host: n}}\n";
    // The consumer is the default.
    for (hash, places) in [("", 1), ("hash: ip, ", 2)] {
        let mut harness = Harness::chain(crate::ROOMS, &document.replace("HASH", hash)).unwrap();
        let from = |harness: &mut Harness, address: u8| {
            harness.peer = ([192, 0, 2, address], 1).into();
            harness.send("GET / HTTP/1.1\napikey: ann\n\n").sent_to
        };
        let seen: std::collections::BTreeSet<_> =
            (1..=20).map(|address| from(&mut harness, address)).collect();
        assert_eq!(seen.len(), places, "{hash}");
    }
}

#[test]
fn what_another_plugin_has_sent_to_another_service_is_left_alone() {
    let document = |matches: &str| {
        format!(
            "_format_version: '3.0'\nservices:\n- {{name: blue, url: 'http://blue.test', routes: [{{name: r, paths: [/]}}]}}\n- \
             {{name: green, url: 'http://green.test'}}\nplugins:\n- {{name: traffic-split, config: {{services: [{{}}], matches: \
             [{{on: query, name: release, service: {matches}}}]}}}}\n- {{name: canary, config: {{upstream_uri: /v2, upstream_host: \
             next.test, canary_by_header_name: X-Canary, percentage: 100}}}}\n"
        )
    };
    let mut harness = Harness::chain(crate::ROOMS, &document("green")).unwrap();
    let green = harness.send("GET /a?release HTTP/1.1\nX-Canary: always\n\n");
    assert_eq!((green.sent_to.as_deref(), green.upstream_path.as_str()), (Some("green"), "/a"));
    assert_eq!(harness.send("GET /a HTTP/1.1\n\n").sent_to.as_deref(), Some("next.test"));
}

#[test]
fn requests_stay_while_the_canary_cannot_be_asked() {
    let place = "upstream_host: n.test, upstream_uri: /v2";
    for (fallback, expected) in [("true", (None, "/a")), ("false", (Some("n.test"), "/v2"))] {
        let config = format!("{{percentage: 100, upstream_fallback: {fallback}, {place}}}");
        let mut harness = canary(&config);
        harness.unreachable.lock().unwrap().push("n.test".into());
        let outcome = harness.send("GET /a HTTP/1.1\n\n");
        assert_eq!((outcome.sent_to.as_deref(), outcome.upstream_path.as_str()), expected);
        harness.unreachable.lock().unwrap().clear();
        assert_eq!(harness.send("GET /a HTTP/1.1\n\n").upstream_path, "/v2");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let cases = [
        ("{percentage: 10}", "upstream_host"),
        ("{hash: allow, upstream_host: n}", "config.groups: hash: allow needs groups"),
        ("{hash: header, upstream_host: n}", "config.hash_header: hash: header needs"),
        ("{upstream_uri: v2}", "config.upstream_uri: a path begins with '/'"),
        ("{upstream_port: 0}", "config.upstream_port: nobody listens"),
        ("{upstream_uri: /v2, upstream_fallback: true}", "config.upstream_fallback: needs upstream_host"),
        ("{percentage: 101, upstream_host: n}", "between 0 and 100"),
    ];
    for (config, expected) in cases {
        let refusal = refusal(config);
        assert!(refusal.contains(expected), "{config}: {refusal}");
    }
}
