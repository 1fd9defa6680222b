//! That what is told is what happens to the next request, and that asking changes nothing.

use plugin::harness::{Dice, Harness};
use serde_json::{Value, json};

use super::RateLimitStatus;
use crate::key_auth::KeyAuth;
use crate::rate_limiting::RateLimiting;
use crate::rate_limiting_advanced::RateLimitingAdvanced;
use crate::response_ratelimiting::ResponseRatelimiting;
use crate::service_protection::ServiceProtection;

fn rooms() -> [&'static dyn plugin::Definition; 6] {
    [
        plugin::room::<KeyAuth>(),
        plugin::room::<RateLimitStatus>(),
        plugin::room::<RateLimitingAdvanced>(),
        plugin::room::<RateLimiting>(),
        plugin::room::<ServiceProtection>(),
        plugin::room::<ResponseRatelimiting>(),
    ]
}

const STATUS: &str = "- {name: rate-limit-status, route: status}\n";

/// Consumers in groups, three routes, and `plugins`.
fn document(plugins: &str) -> String {
    format!(
        "_format_version: \"3.0\"
services:
- {{name: shop, url: 'http://shop.test', routes: [{{name: orders, paths: [/orders]}}, {{name: carts, paths: [/carts]}}]}}
routes: [{{name: status, paths: [/status]}}]
consumer_groups: [{{name: gold}}, {{name: silver}}]
consumers:
- {{username: ann, keyauth_credentials: [{{key: ann}}]}}
- {{username: bea, groups: [{{name: gold}}, {{name: silver}}], keyauth_credentials: [{{key: bea}}]}}
- {{username: cy, groups: [{{name: silver}}], keyauth_credentials: [{{key: cy}}]}}
- {{username: nobody}}
plugins:
- {{name: key-auth, config: {{anonymous: nobody}}}}
{plugins}"
    )
}

/// A gateway that limits; [`ask`] has it tell meanwhile.
struct Gateway {
    harness: Harness,
    plugins: String,
}

impl Gateway {
    fn new(plugins: &str) -> Self {
        let harness = Harness::chain(&rooms(), &document(plugins)).unwrap();
        Self { harness, plugins: plugins.to_owned() }
    }

    fn get(&mut self, key: &str) -> plugin::harness::Outcome {
        self.harness.send(&format!("GET /orders HTTP/1.1\napikey: {key}\n\n"))
    }

    /// What `status`, an instance, tells the holder of `key`.
    fn ask_of(&mut self, status: &str, key: &str) -> Value {
        self.harness.reload(&document(&format!("{}{status}", self.plugins))).unwrap();
        let outcome = self.harness.send(&format!("GET /status HTTP/1.1\napikey: {key}\n\n"));
        assert_eq!((outcome.status, outcome.answered), (200, true));
        assert_eq!(outcome.header("Cache-Control").as_deref(), Some("no-store"));
        self.harness.reload(&document(&self.plugins)).unwrap();
        serde_json::from_slice(&outcome.body).unwrap()
    }

    fn ask(&mut self, key: &str) -> Value {
        self.ask_of(STATUS, key)
    }
}

/// The members of each limit that are called so.
fn pick(told: &Value, names: &[&str]) -> Value {
    let of = |limit: &Value| names.iter().map(|name| limit[*name].clone()).collect();
    told["limits"].as_array().unwrap().iter().map(of).collect::<Vec<Value>>().into()
}

#[test]
fn what_is_left_is_told_and_asking_does_not_count() {
    let mut gateway =
        Gateway::new("- {name: rate-limiting, instance_name: all, config: {minute: 3, month: 3.5}}\n");
    (0..2).for_each(|_| drop(gateway.get("ann")));
    gateway.harness.clock.advance(15_000);
    let told = gateway.ask("ann");
    let month = 31 * 86_400 - 15;
    assert_eq!(
        told,
        json!({ "consumer": "ann", "limits": [
            { "plugin": "rate-limiting", "instance": "all", "scope": [], "period": "minute", "limit": 3,
              "remaining": 1, "reset": 45, "retry_after": 0 },
            { "plugin": "rate-limiting", "instance": "all", "scope": [], "period": "month", "limit": 3.5,
              "remaining": 2, "reset": month, "retry_after": 0 },
        ] })
    );
    assert_eq!(gateway.ask("ann"), told);
    assert_eq!(pick(&gateway.ask("cy"), &["remaining"]), json!([[3], [4]]), "who has not asked anything");
    assert_eq!([gateway.get("ann").status, gateway.get("ann").status], [200, 429]);
    assert_eq!(pick(&gateway.ask("ann"), &["remaining", "retry_after"]), json!([[0, 45], [1, 0]]));
}

#[test]
fn what_responses_may_still_cost_is_told_by_name() {
    let mut gateway = Gateway::new(
        "- {name: response-ratelimiting, instance_name: costs, config: {limits: {videos: {minute: 10}, images: {hour: 5, \
         minute: 3}}}}\n",
    );
    gateway.harness.upstream.headers.push(("X-Kong-Limit", "videos=4, images=3".to_owned()));
    gateway.get("ann");
    let told = gateway.ask("ann");
    let videos = json!({ "plugin": "response-ratelimiting", "instance": "costs", "scope": [], "name": "videos",
        "period": "minute", "limit": 10, "remaining": 6, "reset": 60, "retry_after": 0 });
    assert!(told["limits"].as_array().unwrap().contains(&videos), "{told}");
    let mut each = pick(&told, &["name", "period", "remaining", "retry_after"]).as_array().unwrap().clone();
    each.sort_by_key(ToString::to_string);
    assert_eq!(
        Value::from(each),
        json!([["images", "hour", 2, 0], ["images", "minute", 0, 60], ["videos", "minute", 6, 0],])
    );
    assert_eq!(gateway.ask("ann"), told, "asking costs nothing");
    assert!(pick(&gateway.ask("cy"), &["remaining"]).as_array().unwrap().contains(&json!([10])));
}

#[test]
fn what_a_service_bears_is_told_where_a_route_of_it_is_named() {
    let mut gateway = Gateway::new(
        "- {name: service-protection, service: shop, config: {limit: [3], window_size: [60], window_type: fixed}}\n",
    );
    gateway.get("bea");
    assert_eq!(gateway.ask("ann")["limits"], json!([]));
    let named = "- {name: rate-limit-status, route: status, config: {routes: [orders]}}\n";
    let told = gateway.ask_of(named, "ann");
    let names = ["route", "plugin", "scope", "window_size", "limit", "remaining"];
    assert_eq!(
        pick(&told, &names),
        json!([["orders", "service-protection", ["service"], 60, 3, 2]]),
        "whoever has asked"
    );
}

#[test]
fn what_is_told_is_what_the_next_request_meets() {
    let id = "id: 7b8e3c9a-6d7e-4b57-9a52-0c1b2b3f4d5e";
    let kinds = [
        "window_type: fixed",
        "window_type: sliding",
        "window_type: sliding, disable_penalty: true",
        "algorithm: gcra, burst: [2, 9]",
    ];
    for kind in kinds {
        let limits = format!("config: {{limit: [4, 20], window_size: [10, 60], {kind}}}");
        let mut gateway = Gateway::new(&format!("- {{name: rate-limiting-advanced, {id}, {limits}}}\n"));
        let (mut dice, mut refused) = (Dice::new(1), 0);
        for turn in 0..100 {
            // Now and then long enough for all windows to end.
            let pause = if turn % 25 == 0 { 120_000 } else { 4000 };
            gateway.harness.clock.advance(dice.below(pause));
            let told = gateway.ask("ann");
            let left = |index: usize| told["limits"][index]["remaining"].as_u64().unwrap();
            let wait = told["limits"].as_array().unwrap().iter().map(|limit| limit["retry_after"].as_u64());
            let outcome = gateway.get("ann");
            let header = |name: &str| outcome.header(name).unwrap().parse::<u64>().unwrap();
            if outcome.status == 200 {
                assert_eq!(wait.max().unwrap(), Some(0), "{kind} {turn}: {told}");
                let now = [header("X-RateLimit-Remaining-10"), header("X-RateLimit-Remaining-Minute")];
                assert_eq!([left(0), left(1)], [now[0] + 1, now[1] + 1], "{kind} {turn}: {told}");
            } else {
                assert_eq!(outcome.status, 429);
                assert!(left(0).min(left(1)) == 0, "{kind} {turn}: {told}");
                if !kind.ends_with("sliding") {
                    assert_eq!(wait.max().unwrap(), Some(header("Retry-After")), "{kind} {turn}: {told}");
                }
                refused += 1;
            }
        }
        assert!((7..95).contains(&refused), "{kind}: {refused} of 100 refused");
    }
}

#[test]
fn the_instance_that_would_decide_is_told() {
    let row = |name: &str, scope: &str| {
        format!("- {{name: rate-limiting, instance_name: {name}, {scope} config: {{minute: 5}}}}\n")
    };
    let mut gateway = Gateway::new(
        &[
            row("all", ""),
            row("silver", "consumer_group: silver,"),
            row("gold", "consumer_group: gold,"),
            row("shop", "service: shop,"),
            row("orders", "route: orders,"),
            row("gold-orders", "consumer_group: gold, route: orders,"),
            row("cy", "consumer: cy,"),
            row("cy-shop", "consumer: cy, service: shop,"),
            "- {name: rate-limiting-advanced, instance_name: more, config: {limit: [7], window_size: [9]}}\n"
                .to_owned(),
        ]
        .concat(),
    );
    for (key, everywhere) in [("ann", "all"), ("none", "all"), ("bea", "silver"), ("cy", "cy")] {
        let told = gateway.ask(key);
        let names = pick(&told, &["instance", "window_size"]);
        // Precedence first; a member of two groups has what the document says first.
        assert!(names.as_array().unwrap().contains(&json!([everywhere, null])), "{key}: {names}");
        assert!(names.as_array().unwrap().contains(&json!(["more", 9])), "{key}: {names}");
        assert_eq!(names.as_array().unwrap().len(), 2, "{key}: {names}");
    }
    let status = "- {name: rate-limit-status, route: status, config: {routes: [orders, carts, status]}}\n";
    for (key, orders, carts, elsewhere) in [
        ("ann", "orders", "shop", "all"),
        ("bea", "gold-orders", "silver", "silver"),
        ("cy", "cy-shop", "cy-shop", "cy"),
    ] {
        let told = gateway.ask_of(status, key);
        let mut names = pick(&told, &["route", "instance"]);
        names.as_array_mut().unwrap().retain(|pair| pair[1] != "more");
        assert_eq!(names, json!([["orders", orders], ["carts", carts], ["status", elsewhere]]), "{key}");
    }
    let told = gateway.ask_of(status, "bea");
    let scopes = pick(&told, &["scope"]);
    assert!(scopes.as_array().unwrap().contains(&json!([["route", "consumer_group"]])), "{scopes}");
}

#[test]
fn limits_of_enforced_groups_are_told_in_place_of_the_instances_own() {
    let mut gateway = Gateway::new(
        "- {name: rate-limiting-advanced, consumer_group: gold, config: {limit: [100], window_size: [60]}}
- {name: rate-limiting-advanced, consumer: bea, config: {limit: [3], window_size: [60], consumer_groups: [gold], \
         enforce_consumer_groups: true}}
",
    );
    assert_eq!(pick(&gateway.ask("bea"), &["limit", "remaining"]), json!([[100, 100]]));
}

#[test]
fn what_depends_on_the_route_is_told_for_routes_only() {
    let mut gateway = Gateway::new("- {name: rate-limiting, config: {minute: 5, limit_by: service}}\n");
    (0..2).for_each(|_| drop(gateway.get("ann")));
    let told = gateway.ask("ann");
    assert_eq!(pick(&told, &["limit", "remaining", "unknown"]), json!([[5, null, "depends on the route"]]));
    // Whoever asked: the service has been asked twice, by the first route of the harness.
    let status = "- {name: rate-limit-status, route: status, config: {routes: [carts, status]}}\n";
    assert_eq!(
        pick(&gateway.ask_of(status, "cy"), &["route", "remaining"]),
        json!([["carts", 3], ["status", 5]])
    );

    let mut gateway =
        Gateway::new("- {name: rate-limiting, config: {minute: 5, limit_by: path, path: /orders}}\n");
    (0..2).for_each(|_| drop(gateway.get("ann")));
    assert_eq!(pick(&gateway.ask("cy"), &["remaining"]), json!([[3]]));
}

#[test]
fn only_reading_is_answered_and_routes_have_to_exist() {
    let mut harness = Harness::chain(&rooms(), &document(STATUS)).unwrap();
    let outcome = harness.send("POST /status HTTP/1.1\n\n{}");
    assert_eq!((outcome.status, outcome.header("Allow").as_deref()), (405, Some("GET, HEAD")));
    assert_eq!(harness.send("GET /status HTTP/1.1\n\n").body, br#"{"consumer":"nobody","limits":[]}"#);
    let refused = |routes: &str| {
        let row = format!("- {{name: rate-limit-status, route: status, config: {{routes: [{routes}]}}}}\n");
        Harness::chain(&rooms(), &document(&row)).map(drop).unwrap_err()
    };
    assert!(refused("nowhere").contains("config.routes: there is no route 'nowhere'"));
    assert!(refused("").contains("name a route"));
    assert!(refused(&["orders"; 51].join(", ")).contains("at most 50 routes"));
}
