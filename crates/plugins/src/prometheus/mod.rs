#![doc = include_str!("doc.md")]

mod exposition;
mod series;

use std::sync::Arc;

use plugin::admin::{Answer, Call, Endpoint};
use plugin::model::schema::Value;
use plugin::views::Log;
use plugin::{Build, BuildError, Phase, Phases, Plugin, Scopes, record};

use series::{Observation, Series};

record! {
    /// Which metrics are kept for the requests the plugin sees.
    pub struct Config {
        /// Tell consumers apart in `kong_http_requests_total` and `kong_bandwidth_bytes`. Otherwise the label
        /// `consumer` is empty.
        per_consumer: bool = false;
        /// Count responses by status code: `kong_http_requests_total`.
        status_code_metrics: bool = false;
        /// Metrics of AI plugins. This version has none of them, so it cannot be switched on.
        ai_metrics: bool = false, [custom_value(nothing_to_measure)];
        /// Keep latencies: `kong_kong_latency_ms`, `kong_upstream_latency_ms` and `kong_request_latency_ms`.
        latency_metrics: bool = false;
        /// Count bytes: `kong_bandwidth_bytes`.
        bandwidth_metrics: bool = false;
        /// Show the health of upstream targets: `kong_upstream_target_health`.
        upstream_health_metrics: bool = false;
        /// Metrics of WebAssembly filters. This version runs none, so it cannot be switched on.
        wasm_metrics: Option<bool>, [custom_value(nothing_to_measure)];
    }
}

fn nothing_to_measure(wanted: &Value) -> Result<(), String> {
    if wanted.as_bool() == Some(true) {
        return Err("this version has nothing of the kind to measure: leave it off".to_owned());
    }
    Ok(())
}

/// The room. See the module documentation.
pub struct Prometheus {
    series: Arc<Series>,
    per_consumer: bool,
    status_codes: bool,
    latencies: bool,
    bandwidth: bool,
    /// Tells the exposition what to show; held so that it is kept.
    _shown: Arc<Shown>,
}

/// What an instance wants shown beyond what it counts.
struct Shown {
    upstream_health: bool,
}

impl Plugin for Prometheus {
    const NAME: &'static str = "prometheus";
    const PRIORITY: i64 = 13;
    const RUNS: &'static [Phase] = &[Phase::Log];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] =
        &[Endpoint { method: "GET", path: "/metrics", on_status_listener: true, handle: metrics }];
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let shown = Shown { upstream_health: config.upstream_health_metrics };
        let key = format!("{}:{}", cx.row.id, shown.upstream_health);
        Ok(Self {
            series: cx.shared(|cx| Ok(Series::of_snapshot(cx)))?,
            per_consumer: config.per_consumer,
            status_codes: config.status_code_metrics,
            latencies: config.latency_metrics,
            bandwidth: config.bandwidth_metrics,
            _shown: cx.services.keep(&key, || shown),
        })
    }
}

impl Phases for Prometheus {
    fn log(&self, cx: &Log<'_>) {
        let Some(matched) = &cx.matched else { return };
        let Some(series) = self.series.route(matched.ordinal) else { return };
        let worker = cx.worker.index;
        let consumer = cx.identity.consumer().filter(|_| self.per_consumer).map(AsRef::as_ref);
        let at = Observation { worker, consumer };
        if self.status_codes {
            series.count_status(&at, cx.response.status, cx.source);
        }
        if self.bandwidth {
            series.count_bytes(&at, cx.record.request_bytes, cx.record.response_bytes);
        }
        if self.latencies {
            series.count_latencies(worker, cx.record.latencies());
        }
    }
}

fn metrics(call: &Call<'_>) -> Answer {
    let body = exposition::write(call.services).into_bytes();
    Answer { status: 200, content_type: "text/plain; charset=UTF-8", body, headers: Vec::new() }
}

#[cfg(test)]
mod tests;
