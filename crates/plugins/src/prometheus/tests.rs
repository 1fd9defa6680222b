//! What the prometheus room does, seen from outside: requests in, outcomes out.

use std::time::Duration;

use plugin::admin::Call;
use plugin::exchange::{Client, Exchange};
use plugin::harness::Harness;
use plugin::services::{DiscoveryReport, NameCounts, PoolReport, SourceReport, TargetHealth, Worker};
use plugin::sessions::{SessionEnd, SessionSeries};
use plugin::views::Log;
use plugin::{Services, Source};

use super::Prometheus;

fn room() -> &'static dyn plugin::Definition {
    plugin::room::<Prometheus>()
}

fn scrape(services: &std::sync::Arc<Services>) -> String {
    let endpoint = &room().endpoints()[0];
    assert!(endpoint.on_status_listener);
    let answer = (endpoint.handle)(&Call { parameters: &[], query: None, services });
    assert_eq!((answer.status, answer.content_type), (200, "text/plain; charset=UTF-8"));
    String::from_utf8(answer.body).unwrap()
}

/// The value of a sample.
fn sample(page: &str, series: &str) -> Option<u64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

fn document(route: &str, config: &str) -> String {
    format!(
        "_format_version: \"3.0\"\nservices:\n- name: s\n  url: http://h\n  routes:\n  - name: {route}\n    \
         paths: [/]\nplugins:\n- name: prometheus\n  config: {config}\n"
    )
}

const ALL: &str = "{status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true}";
const OK: &str = r#"kong_http_requests_total{service="s",route="r",code="200",source="service",workspace="default",consumer=""}"#;

#[test]
fn the_gateway_itself_is_measured_without_the_plugin() {
    let services = Services::new(2, plugin::clock::Clock::fixed(0), false);
    for (worker, count) in [(0, 3), (1, 4)] {
        let shard = services.stats.shard(worker);
        shard.accepted.add(count);
        shard.closed.add(1);
        shard.refused.add(1);
        shard.requests.add(10 * count);
        shard.writing.set(1);
    }
    let page = scrape(&services);
    let node = services.node_id;
    let connections = |state: &str| {
        let series = format!(
            "kong_nginx_connections_total{{node_id=\"{node}\",subsystem=\"http\",state=\"{state}\"}}"
        );
        sample(&page, &series).unwrap()
    };
    let states = ["accepted", "handled", "active", "reading", "writing", "waiting", "total"];
    assert_eq!(states.map(connections), [9, 7, 5, 0, 2, 3, 70]);
    assert_eq!(
        sample(&page, &format!("kong_nginx_requests_total{{node_id=\"{node}\",subsystem=\"http\"}}")),
        Some(70)
    );
    assert!(
        page.contains(&format!("kong_node_info{{node_id=\"{node}\",version=\"{}\"}} 1\n", services.version))
    );
    assert_eq!(sample(&page, "biplane_log_lines_dropped_total"), Some(0));
}

#[test]
fn responses_and_bytes_are_counted_only_where_switched_on() {
    let mut gateway = Harness::new(room(), &document("r", "{}")).unwrap();
    gateway.send("GET / HTTP/1.1\n\n");
    assert!(!scrape(&gateway.services).contains("route="));
    gateway.reload(&document("r", ALL)).unwrap();
    gateway.send("GET / HTTP/1.1\n\n");
    gateway.upstream.status = 503;
    gateway.send("GET / HTTP/1.1\n\n");
    let page = scrape(&gateway.services);
    assert_eq!(sample(&page, OK), Some(1));
    assert_eq!(sample(&page, &OK.replace("200", "503")), Some(1));
    let egress =
        r#"kong_bandwidth_bytes{service="s",route="r",direction="egress",workspace="default",consumer=""}"#;
    assert_eq!(sample(&page, egress), Some(22));
    let latency = r#"kong_request_latency_ms_count{service="s",route="r",workspace="default"}"#;
    assert_eq!(sample(&page, latency), Some(2));
    for family in
        ["kong_http_requests_total counter", "kong_bandwidth_bytes counter", "kong_kong_latency_ms histogram"]
    {
        assert_eq!(page.matches(&format!("# TYPE {family}\n")).count(), 1, "{family}");
    }
}

#[test]
fn series_survive_a_reload_and_go_with_their_route() {
    let mut gateway = Harness::new(room(), &document("r", ALL)).unwrap();
    gateway.send("GET / HTTP/1.1\n\n");
    gateway.reload(&document("r", ALL)).unwrap();
    gateway.send("GET / HTTP/1.1\n\n");
    assert_eq!(sample(&scrape(&gateway.services), OK), Some(2));
    gateway.reload(&document("other", ALL)).unwrap();
    assert!(!scrape(&gateway.services).contains("route=\"r\""));
}

/// Runs one exchange through the log phase of an instance on `worker`.
fn log(gateway: &Harness, document: &str, workers: &[usize], prepare: impl Fn(&mut Exchange)) {
    let catalog = plugin::model::Catalog { plugins: vec![room().schema()], entities: Vec::new() };
    let config = plugin::model::declarative::load("kong.yml", document, &catalog).unwrap();
    let service = config.services.first().cloned();
    let route = config.routes[0].clone();
    let matched = plugin::Matched { route, service, ordinal: 0, route_json: "{}".into(), service_json: None };
    let routes = [std::sync::Arc::new(matched)];
    let shared = plugin::build::Shared::default();
    let row = &config.plugins[0];
    let cx =
        plugin::Build { config: &config, row, routes: &routes, services: &gateway.services, shared: &shared };
    let instance = room().build(row, &cx).unwrap();
    for worker in workers {
        let worker = std::rc::Rc::new(Worker::new(*worker, gateway.services.clone()));
        let mut exchange = Exchange::new(worker, Client::default());
        exchange.begin(std::time::Instant::now());
        exchange.matched = Some(routes[0].clone());
        exchange.response.status = 200;
        exchange.source = Source::Upstream;
        prepare(&mut exchange);
        instance.log(&Log::new(&exchange, 0));
    }
}

#[test]
fn histograms_are_cumulative_over_all_workers() {
    let document = document("r", ALL);
    let gateway = Harness::new(room(), &document).unwrap();
    log(&gateway, &document, &[0, 1, 1], |exchange| {
        let start = exchange.record.started;
        exchange.record.upstream_started = Some(start + Duration::from_millis(6));
        exchange.record.upstream_answered = Some(start + Duration::from_millis(106));
        exchange.record.close(start + Duration::from_secs(70));
    });
    let page = scrape(&gateway.services);
    let labels = r#"service="s",route="r",workspace="default""#;
    let bucket =
        |name: &str, bound: &str| sample(&page, &format!("{name}_bucket{{{labels},le=\"{bound}\"}}"));
    let upstream = "kong_upstream_latency_ms";
    assert_eq!(["80", "100", "250", "+Inf"].map(|bound| bucket(upstream, bound)), [0, 3, 3, 3].map(Some));
    assert_eq!(["60000", "+Inf"].map(|bound| bucket("kong_request_latency_ms", bound)), [0, 3].map(Some));
    assert_eq!(sample(&page, &format!("{upstream}_sum{{{labels}}}")), Some(300));
    assert_eq!(sample(&page, OK), Some(3));
    let buckets = page.lines().filter(|line| line.starts_with("kong_kong_latency_ms_bucket"));
    assert_eq!(buckets.count(), 18);
}

#[test]
fn requests_that_never_got_a_response_count_as_499_and_routeless_ones_not_at_all() {
    let document = document("r", ALL);
    let gateway = Harness::new(room(), &document).unwrap();
    log(&gateway, &document, &[0], |exchange| {
        exchange.response.status = 0;
        exchange.source = Source::Gateway;
    });
    log(&gateway, &document, &[0], |exchange| exchange.matched = None);
    let page = scrape(&gateway.services);
    let lines: Vec<_> = page.lines().filter(|line| line.starts_with("kong_http_requests_total")).collect();
    assert_eq!(
        lines,
        [format!("{} 1", OK.replace("200", "499").replace("source=\"service\"", "source=\"kong\""))]
    );
}

#[test]
fn consumers_are_told_apart_up_to_a_bound_and_labels_are_escaped() {
    let document = document("r", "{status_code_metrics: true, per_consumer: true}");
    let gateway = Harness::new(room(), &document).unwrap();
    let counter = std::cell::Cell::new(0_u128);
    let workers = vec![0; 10_003];
    let consumer = consumer();
    log(&gateway, &document, &workers, |exchange| {
        let number = counter.get();
        counter.set(number + 1);
        let name = if number == 0 { "a\"b\\c\nd".to_owned() } else { format!("c{number}") };
        let (id, username) = (uuid::Uuid::from_u128(number + 1), Some(name));
        let consumer = plugin::model::entity::Consumer { id, username, ..consumer.clone() };
        exchange.identity.caller = Some(plugin::identity::Caller::anonymous(std::sync::Arc::new(consumer)));
    });
    let page = scrape(&gateway.services);
    let of =
        |consumer: &str| sample(&page, &OK.replace("consumer=\"\"", &format!("consumer=\"{consumer}\"")));
    assert_eq!(
        [of(r#"a\"b\\c\nd"#), of("c9999"), of("c10000"), of("__overflow__")],
        [Some(1), Some(1), None, Some(3)]
    );
    assert_eq!(sample(&page, "biplane_prometheus_consumers_refused_total"), Some(3));
}

fn consumer() -> plugin::model::entity::Consumer {
    let document = "_format_version: \"3.0\"\nconsumers: [{username: a}]\n";
    let catalog = plugin::model::Catalog::default();
    let config = plugin::model::declarative::load("kong.yml", document, &catalog).unwrap();
    plugin::model::entity::Consumer::clone(&config.consumers[0])
}

#[test]
fn target_health_is_shown_where_an_instance_wants_it() {
    let mut gateway = Harness::new(room(), &document("r", "{}")).unwrap();
    gateway.services.report_health(|| {
        let (target, address) = ("t:80".to_owned(), "10.0.0.1:80".to_owned());
        vec![TargetHealth { upstream: "u".to_owned(), target, address, state: "unhealthy", discovered: None }]
    });
    assert!(!scrape(&gateway.services).contains("kong_upstream_target_health"));
    gateway.reload(&document("r", "{upstream_health_metrics: true}")).unwrap();
    let page = scrape(&gateway.services);
    for (state, expected) in [("healthy", 0), ("unhealthy", 1), ("healthchecks_off", 0), ("dns_error", 0)] {
        let series = format!(
            "kong_upstream_target_health{{upstream=\"u\",target=\"t:80\",address=\"10.0.0.1:80\",state=\"{state}\",subsystem=\"http\"}}"
        );
        assert_eq!(sample(&page, &series), Some(expected), "{state}");
    }
    gateway.reload(&document("r", "{}")).unwrap();
    assert!(!scrape(&gateway.services).contains("kong_upstream_target_health"));
}

#[test]
fn sources_of_targets_and_names_are_shown_where_there_are_any() {
    let gateway = Harness::new(room(), &document("r", "{}")).unwrap();
    let page = scrape(&gateway.services);
    for family in ["biplane_discovery_", "biplane_dns_names", "biplane_upstream_"] {
        assert!(!page.contains(family));
    }
    gateway.services.report_discovery(|| {
        let source = |upstream: &str, up, targets, age: Option<u64>| SourceReport {
            upstream: upstream.to_owned(),
            source: "file",
            up,
            targets,
            age: age.map(Duration::from_secs),
            restored: upstream == "a",
            expired: upstream == "b",
            trouble: None,
        };
        DiscoveryReport {
            sources: vec![source("a", false, 3, Some(70)), source("b", true, 0, None)],
            names: NameCounts { resolved: 2, stale: 1, ..NameCounts::default() },
            pools: vec![PoolReport {
                upstream: "a".to_owned(),
                address: "10.0.0.1:80".to_owned(),
                connections: 8,
                waiting: 5,
            }],
        }
    });
    let page = scrape(&gateway.services);
    let value = |name: &str, labels: &str| sample(&page, &format!("biplane_{name}{{{labels}}}"));
    let (a, b) = ("upstream=\"a\",source=\"file\"", "upstream=\"b\",source=\"file\"");
    assert_eq!((value("discovery_up", a), value("discovery_up", b)), (Some(0), Some(1)));
    assert_eq!((value("discovery_targets", a), value("discovery_targets", b)), (Some(3), Some(0)));
    assert_eq!((value("discovery_restored", a), value("discovery_restored", b)), (Some(1), Some(0)));
    assert_eq!((value("discovery_expired", a), value("discovery_expired", b)), (Some(0), Some(1)));
    assert_eq!((value("discovery_age_seconds", a), value("discovery_age_seconds", b)), (Some(70), None));
    let pool = "upstream=\"a\",address=\"10.0.0.1:80\"";
    assert_eq!(value("upstream_connections", pool), Some(8));
    assert_eq!(value("upstream_waiting_requests", pool), Some(5));
    let names = |state: &str| value("dns_names", &format!("state=\"{state}\""));
    assert_eq!(["resolved", "stale", "failed", "pending"].map(names), [Some(2), Some(1), Some(0), Some(0)]);
}

#[test]
fn metrics_that_do_not_exist_cannot_be_switched_on() {
    let refused = |config: &str| Harness::global(room(), config).map(drop).unwrap_err();
    assert!(refused("{ai_metrics: true}").contains("nothing of the kind"));
    assert!(refused("{wasm_metrics: true}").contains("nothing of the kind"));
}

#[test]
fn sessions_on_layer_4_are_shown_without_the_plugin_having_seen_them() {
    let gateway = Harness::new(room(), &document("r", "{}")).unwrap();
    assert!(!scrape(&gateway.services).contains("kong_stream_sessions_total"));
    let series = gateway.services.keep("s", || SessionSeries::new("db".to_owned(), "tcp".to_owned()));
    series.count(SessionEnd::Carried, 3, 4);
    series.count(SessionEnd::Carried, 3, 4);
    series.count(SessionEnd::NoTarget, 0, 0);
    for status in [503, 429, 200] {
        series.count(SessionEnd::Refused(status), 0, 0);
    }
    let page = scrape(&gateway.services);
    let name = "kong_stream_sessions_total{service=\"db\",route=\"tcp\",";
    for (labels, count) in [
        ("code=\"200\",source=\"service\"", Some(2)),
        ("code=\"502\",source=\"kong\"", None),
        ("code=\"503\",source=\"kong\"", Some(2)),
        ("code=\"429\",source=\"kong\"", Some(1)),
        ("code=\"200\",source=\"kong\"", Some(1)),
    ] {
        assert_eq!(sample(&page, &format!("{name}{labels},workspace=\"default\"}}")), count, "{labels}");
    }
    let bytes = "kong_bandwidth_bytes{service=\"db\",route=\"tcp\",direction=";
    for (direction, count) in [("ingress", 6), ("egress", 8)] {
        let labels = format!("{bytes}\"{direction}\",workspace=\"default\",consumer=\"\"}}");
        assert_eq!(sample(&page, &labels), Some(count), "{direction}");
    }
}
