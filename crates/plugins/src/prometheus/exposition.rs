//! Writes the metrics in the Prometheus text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;

use plugin::figures::Kind;
use plugin::services::{NameCounts, PoolReport, SourceReport};
use plugin::sessions::{SessionEnd, SessionSeries};
use plugin::{Services, Source};

use super::Shown;
use super::series::{Histogram, Histograms, KONG_BUCKETS, RouteSeries, Traffic, UPSTREAM_BUCKETS};

/// The states a target may be in, each shown as 0 or 1.
const HEALTH_STATES: [&str; 4] = ["healthchecks_off", "healthy", "unhealthy", "dns_error"];

/// All metrics of this process.
pub fn write(services: &Services) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    node(services, &mut page);
    losses(services, &mut page);
    figures(services, &mut page);
    discovery(services, &mut page);
    let routes: Vec<_> = services.all_kept::<RouteSeries>().into_iter().map(|(_, series)| series).collect();
    let sessions: Vec<_> =
        services.all_kept::<SessionSeries>().into_iter().map(|(_, series)| series).collect();
    requests(&routes, &mut page);
    ended_sessions(&sessions, &mut page);
    bandwidth(&routes, &sessions, &mut page);
    latencies(&routes, &mut page);
    if services.all_kept::<Shown>().iter().any(|(_, shown)| shown.upstream_health) {
        upstream_health(services, &mut page);
    }
    page.0
}

/// A page of metrics under construction.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            self.escaped(text);
            self.0.push('"');
        }
        self.0.push_str(if labels.is_empty() { " " } else { "} " });
        self.line(format_args!("{value}"));
    }

    /// A label's value: backslash, quote and line feed are escaped.
    fn escaped(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text}");
    }
}

fn node(services: &Services, page: &mut Page) {
    let node_id = services.node_id.to_string();
    let node_id = ("node_id", node_id.as_str());
    let http = ("subsystem", "http");
    let stats = &services.stats;
    let handled = stats.sum(|shard| shard.accepted.value());
    let active = handled.saturating_sub(stats.sum(|shard| shard.closed.value()));
    let reading = stats.sum(|shard| shard.reading.value());
    let writing = stats.sum(|shard| shard.writing.value());
    let requests = stats.sum(|shard| shard.requests.value());
    page.family("kong_nginx_connections_total", "gauge", "Number of connections by subsystem");
    for (state, count) in [
        ("accepted", handled + stats.sum(|shard| shard.refused.value())),
        ("active", active),
        ("handled", handled),
        ("reading", reading),
        ("total", requests),
        ("waiting", active.saturating_sub(reading).saturating_sub(writing)),
        ("writing", writing),
    ] {
        page.sample("kong_nginx_connections_total", &[node_id, http, ("state", state)], count);
    }
    page.family("kong_nginx_requests_total", "gauge", "Total number of requests by subsystem");
    page.sample("kong_nginx_requests_total", &[node_id, http], requests);
    page.family("kong_nginx_timers", "gauge", "Number of timers; this gateway has none to count");
    for state in ["pending", "running"] {
        page.sample("kong_nginx_timers", &[("state", state)], 0);
    }
    page.family("kong_datastore_reachable", "gauge", "Configuration store reachable, 0 is unreachable");
    page.sample("kong_datastore_reachable", &[], 1);
    page.family("kong_node_info", "gauge", "Node metadata");
    page.sample("kong_node_info", &[node_id, ("version", services.version)], 1);
}

fn losses(services: &Services, page: &mut Page) {
    page.family("kong_nginx_metric_errors_total", "counter", "Number of metrics that could not be kept");
    page.sample("kong_nginx_metric_errors_total", &[], 0);
    page.family("biplane_log_lines_dropped_total", "counter", "Log lines lost: ring full or sink failing");
    page.sample("biplane_log_lines_dropped_total", &[], services.dropped_log_lines());
}

/// What rooms publish.
fn figures(services: &Services, page: &mut Page) {
    services.figures.each(|family, values| {
        let name = format!("biplane_{}", family.name);
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        page.family(&name, kind, family.help);
        for (labels, value) in values {
            let labels = family.labels.iter().zip(*labels).map(|(label, text)| (*label, text.as_str()));
            page.sample(&name, &labels.collect::<Vec<_>>(), value);
        }
    });
}

/// Where targets come from, and the connections to them.
fn discovery(services: &Services, page: &mut Page) {
    let report = services.discovery();
    names(&report.names, page);
    pools(&report.pools, page);
    sources(&report.sources, page);
}

/// How many names have addresses.
fn names(names: &NameCounts, page: &mut Page) {
    let counts = [
        ("failed", names.failed),
        ("pending", names.pending),
        ("resolved", names.resolved),
        ("stale", names.stale),
    ];
    if counts.iter().any(|(_, count)| *count > 0) {
        let help = "Host names in use; stale ones keep addresses that could not be renewed";
        page.family("biplane_dns_names", "gauge", help);
        for (state, count) in counts {
            page.sample("biplane_dns_names", &[("state", state)], count);
        }
    }
}

/// Connections to addresses that bound them.
fn pools(pools: &[PoolReport], page: &mut Page) {
    let mut figure = |name: &str, help: &str, of: fn(&PoolReport) -> u32| {
        if !pools.is_empty() {
            page.family(name, "gauge", help);
        }
        for pool in pools {
            page.sample(name, &[("upstream", &pool.upstream), ("address", &pool.address)], of(pool));
        }
    };
    let help = "Connections to an address of an upstream that bounds them";
    figure("biplane_upstream_connections", help, |pool| pool.connections);
    let help = "Requests that wait for a connection to an address of an upstream";
    figure("biplane_upstream_waiting_requests", help, |pool| pool.waiting);
}

/// Which sources of targets answer.
fn sources(sources: &[SourceReport], page: &mut Page) {
    let mut figure = |name: &str, help: &str, of: &dyn Fn(&SourceReport) -> Option<u64>| {
        let figures: Vec<_> = sources.iter().filter_map(|source| Some((source, of(source)?))).collect();
        if figures.is_empty() {
            return;
        }
        page.family(name, "gauge", help);
        for (source, figure) in figures {
            page.sample(name, &[("upstream", &source.upstream), ("source", source.source)], figure);
        }
    };
    let up = "Whether the source of an upstream's targets answers; if not, the last list is kept";
    figure("biplane_discovery_up", up, &|source| Some(source.up.into()));
    let targets = "Targets in the last good list of a source";
    figure("biplane_discovery_targets", targets, &|source| Some(source.targets as u64));
    let restored = "Whether the list of a source is that of the last run, which it has not renewed yet";
    figure("biplane_discovery_restored", restored, &|source| Some(source.restored.into()));
    let expired = "Whether the list of the last run is too old to be used, and the source has given no other";
    figure("biplane_discovery_expired", expired, &|source| Some(source.expired.into()));
    let age = "Seconds since a source last gave a list";
    figure("biplane_discovery_age_seconds", age, &|source| source.age.map(|age| age.as_secs()));
}

fn requests(routes: &[Arc<RouteSeries>], page: &mut Page) {
    // Ordered by label; removed and added again, a route may have two series for a while, which are one to readers.
    let mut counts: BTreeMap<(&str, &str, u16, &str, String), u64> = BTreeMap::new();
    for series in routes {
        series.each_traffic(|consumer, traffic| {
            traffic.each_status(|code, source, count| {
                let source = if source == Source::Upstream { "service" } else { "kong" };
                let labels = (&*series.service, &*series.route, code, source, consumer.to_owned());
                *counts.entry(labels).or_default() += count;
            });
        });
    }
    if counts.is_empty() {
        return;
    }
    let name = "kong_http_requests_total";
    page.family(name, "counter", "HTTP status codes per consumer/service/route in Kong");
    for ((service, route, code, source, consumer), count) in counts {
        let code = code.to_string();
        let labels = [
            ("service", service),
            ("route", route),
            ("code", &code),
            ("source", source),
            ("workspace", "default"),
            ("consumer", &consumer),
        ];
        page.sample(name, &labels, count);
    }
}

/// Sessions on layer 4. They are counted whether or not the plugin is set up, since it never sees one.
fn ended_sessions(sessions: &[Arc<SessionSeries>], page: &mut Page) {
    let counts = sessions.iter().flat_map(|series| {
        let end = SessionEnd::Carried;
        let carried = [(series, "service", end.code(), series.ended(end))];
        carried
            .into_iter()
            .filter(|(.., count)| *count > 0)
            .chain(series.others().map(move |(code, count)| (series, "kong", code, count)))
    });
    let mut counts = counts.peekable();
    if counts.peek().is_none() {
        return;
    }
    let name = "kong_stream_sessions_total";
    page.family(name, "counter", "Stream status codes per service/route in Kong");
    for (series, source, code, count) in counts {
        let code = code.to_string();
        let labels = [
            ("service", &*series.service),
            ("route", &series.route),
            ("code", &code),
            ("source", source),
            ("workspace", "default"),
        ];
        page.sample(name, &labels, count);
    }
}

fn bandwidth(routes: &[Arc<RouteSeries>], sessions: &[Arc<SessionSeries>], page: &mut Page) {
    let mut bytes: BTreeMap<(&str, &str, &str, String), u64> = BTreeMap::new();
    for series in sessions {
        for (direction, count) in [("egress", series.egress()), ("ingress", series.ingress())] {
            if count > 0 {
                let labels = (&*series.service, &*series.route, direction, String::new());
                *bytes.entry(labels).or_default() += count;
            }
        }
    }
    for series in routes {
        series.each_traffic(|consumer, traffic: &Traffic| {
            for (direction, counter) in [("egress", &traffic.egress), ("ingress", &traffic.ingress)] {
                if counter.value() > 0 {
                    let labels = (&*series.service, &*series.route, direction, consumer.to_owned());
                    *bytes.entry(labels).or_default() += counter.value();
                }
            }
        });
    }
    if bytes.is_empty() {
        return;
    }
    page.family("kong_bandwidth_bytes", "counter", "Total bandwidth (ingress/egress) throughput in bytes");
    for ((service, route, direction, consumer), count) in bytes {
        let labels = [
            ("service", service),
            ("route", route),
            ("direction", direction),
            ("workspace", "default"),
            ("consumer", &consumer),
        ];
        page.sample("kong_bandwidth_bytes", &labels, count);
    }
}

fn latencies(routes: &[Arc<RouteSeries>], page: &mut Page) {
    let name = "kong_kong_latency_ms";
    let help = "Latency added by Kong in ms, including plugins, for each service/route";
    histogram(routes, page, (name, help), &KONG_BUCKETS, |histograms| &histograms.kong);
    let name = "kong_request_latency_ms";
    let help = "Total latency incurred during requests in ms, for each service/route";
    histogram(routes, page, (name, help), &UPSTREAM_BUCKETS, |histograms| &histograms.request);
    let name = "kong_upstream_latency_ms";
    let help = "Latency added by upstream response in ms, for each service/route";
    histogram(routes, page, (name, help), &UPSTREAM_BUCKETS, |histograms| &histograms.upstream);
}

/// Counts per bucket, what exceeds them all, and the sum.
type Totals<const N: usize> = ([u64; N], u64, u64);

fn histogram<const N: usize>(
    routes: &[Arc<RouteSeries>],
    page: &mut Page,
    (name, help): (&str, &str),
    bounds: &[u64; N],
    of: impl Fn(&Histograms) -> &Histogram<N>,
) {
    let mut totals: BTreeMap<(&str, &str), Totals<N>> = BTreeMap::new();
    for series in routes {
        for shard in series.histograms().map(&of) {
            let (buckets, above, sum) =
                totals.entry((&series.service, &series.route)).or_insert(([0; N], 0, 0));
            for (total, counter) in buckets.iter_mut().zip(&shard.buckets) {
                *total += counter.value();
            }
            *above += shard.above.value();
            *sum += shard.sum.value();
        }
    }
    if totals.is_empty() {
        return;
    }
    page.family(name, "histogram", help);
    for ((service, route), (buckets, above, sum)) in totals {
        let labels = [("service", service), ("route", route), ("workspace", "default")];
        let mut cumulative = 0;
        for (bound, count) in bounds.iter().zip(buckets) {
            cumulative += count;
            bucket(page, name, &labels, &bound.to_string(), cumulative);
        }
        bucket(page, name, &labels, "+Inf", cumulative + above);
        page.sample(&format!("{name}_count"), &labels, cumulative + above);
        page.sample(&format!("{name}_sum"), &labels, sum);
    }
}

fn bucket(page: &mut Page, name: &str, labels: &[(&str, &str); 3], bound: &str, count: u64) {
    let [service, route, workspace] = *labels;
    page.sample(&format!("{name}_bucket"), &[service, route, workspace, ("le", bound)], count);
}

fn upstream_health(services: &Services, page: &mut Page) {
    let name = "kong_upstream_target_health";
    page.family(
        name,
        "gauge",
        "Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, \
         value is 1 when state is populated.",
    );
    for target in services.target_health() {
        for state in HEALTH_STATES {
            let labels = [
                ("upstream", target.upstream.as_str()),
                ("target", &target.target),
                ("address", &target.address),
                ("state", state),
                ("subsystem", "http"),
            ];
            page.sample(name, &labels, u8::from(state == target.state));
        }
    }
}
