#![doc = include_str!("doc.md")]

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use plugin::figures::{Family, Kind};
use plugin::hedge::{After, Hedge, Latencies};
use plugin::model::schema::Value;
use plugin::repeat::{Backoff, Budget, Policy};
use plugin::{Access, Build, BuildError, Flow, Matched, Method, Phase, Phases, Plugin, Scopes, record};

record! {
    /// The wait before a request is sent again: anywhere between nothing and a bound that doubles each time.
    pub struct Waits {
        /// Seconds of the first bound.
        seconds: f64 = 0.025, [between(0, 60)];
        /// Seconds that the bound does not grow beyond.
        max_seconds: f64 = 0.25, [between(0, 60)];
    }
}

record! {
    /// How many requests are sent again, over all requests of a service in the last ten seconds.
    pub struct Share {
        /// Share of its requests: 0.2 is every fifth.
        ratio: f64 = 0.2, [between(0, 1)];
        /// So many a second in any case, for services with few requests.
        min_per_second: i64 = 3, [between(0, 100000)];
    }
}

record! {
    /// A second try beside the first, at another target, when no response has begun for long.
    pub struct Beside {
        /// Whether there is one.
        enabled: bool = false;
        /// It begins when the first has taken longer than so many percent of the responses of late.
        percentile: f64 = 95, [between(50, 99.9)];
        /// But not before so many seconds.
        min_seconds: f64 = 0.01, [between(0, 60)];
        /// It begins after so many seconds, whatever others took.
        seconds: Option<f64>, [between(0.001, 60)];
    }
}

record! {
    /// Sends a request again when its service could not be reached, broke off, or answered with certain statuses.
    pub struct Config {
        /// Tries after the first. Takes the place of the service's `retries`.
        retries: i64 = 2, [between(0, 20)];
        /// Troubles after which it is sent again: `connect` (no connection, or none in time), `reset` (the connection
        /// ended before the response), `timeout` (a try took longer than `try_timeout`).
        on: Vec<String> = ["connect", "reset", "timeout"], [each(one_of(&["connect", "reset", "timeout"]))];
        /// Status codes of responses after which it is sent again. The last response is passed on as it is.
        statuses: Vec<i64> = [502, 503, 504], [each(between(400, 599))];
        /// Methods of requests that may be sent again though the service may have had them. Others are only sent again
        /// when no connection came about.
        methods: Vec<String> = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"], [each(custom_value(method))];
        /// The wait before each further try.
        backoff: Waits;
        /// Seconds for one try, up to the head of its response. Requests whose body is passed on while it comes have no
        /// such bound. Without it, the service's timeouts are all there is, and a service that has had the request and
        /// stays silent is not asked again.
        try_timeout: Option<f64>, [between(0.001, 3600)];
        /// Seconds for all tries and the waits between them, up to the head of the response.
        deadline: Option<f64>, [between(0.001, 3600)];
        /// The header that tells the service how many milliseconds of `deadline` are left; empty for none. Calls of gRPC
        /// have their `grpc-timeout` lowered, too.
        deadline_header: String = "X-Request-Timeout-Ms", [custom_value(header_or_nothing)];
        /// How many requests are sent again.
        budget: Share;
        /// A second try beside the first one.
        hedge: Beside;
    }
    checks: [custom_fields(waits_grow)]
}

fn method(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match Method::from_bytes(text.as_bytes()) {
        Some(_) if text.bytes().all(|byte| !byte.is_ascii_lowercase()) => Ok(()),
        _ => Err(format!("'{text}' is no method such as GET")),
    }
}

fn header_or_nothing(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    if name.is_empty() || plugin::Headers::new().set(name, b"1") {
        return Ok(());
    }
    Err(format!("'{name}' is no name of a header"))
}

fn waits_grow(config: &Value, faults: &mut plugin::model::schema::Faults) {
    let backoff = &config["backoff"];
    if backoff["max_seconds"].as_f64() < backoff["seconds"].as_f64() {
        faults.field("backoff.max_seconds", "must not be less than backoff.seconds");
    }
    if config["deadline"].as_f64() < config["try_timeout"].as_f64() && config["deadline"].is_number() {
        faults.field("deadline", "must not be less than try_timeout");
    }
}

static REPEATED: Family = Family {
    name: "retries_total",
    help: "Requests sent to a service once more",
    kind: Kind::Counter,
    labels: &["plugin", "service"],
};
static DENIED: Family = Family {
    name: "retries_denied_total",
    help: "Requests not sent to a service once more because its budget was used up",
    kind: Kind::Counter,
    labels: &["plugin", "service"],
};

static HEDGED: Family = Family {
    name: "hedges_total",
    help: "Requests sent to a second target while the first had not answered",
    kind: Kind::Counter,
    labels: &["plugin", "service"],
};
static WON: Family = Family {
    name: "hedges_won_total",
    help: "Requests that the second target answered first",
    kind: Kind::Counter,
    labels: &["plugin", "service"],
};

/// The room. See the module documentation.
pub struct UpstreamRetry {
    /// By the route's place in the configuration; those of one service share a budget.
    policies: AHashMap<usize, Arc<Policy>>,
}

impl Plugin for UpstreamRetry {
    const NAME: &'static str = "upstream-retry";
    const PRIORITY: i64 = 85;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let of_row = |matched: &&Arc<Matched>| {
            let service = matched.service.as_ref().map(|service| service.id);
            cx.row.route.is_none_or(|route| route == matched.route.id)
                && cx.row.service.is_none_or(|wanted| service == Some(wanted))
        };
        let mut of_service = AHashMap::new();
        let made = cx.routes.iter().filter(of_row).filter_map(|matched| {
            let service = matched.service.as_ref()?;
            let made = of_service.entry(service.id).or_insert_with(|| {
                let name = service.name.clone().unwrap_or_else(|| service.id.to_string());
                let hedge = hedge(&config.hedge, &name, cx);
                Arc::new(policy(&config, budget(&config.budget, &name, cx), hedge))
            });
            Some((matched.ordinal, made.clone()))
        });
        Ok(Self { policies: made.collect() })
    }
}

/// The budget of a service: it outlives reloads as long as it is the same.
fn budget(share: &Share, service: &str, cx: &Build<'_>) -> Arc<Budget> {
    let plugin = cx.row.id.to_string();
    let key = format!("{plugin}/{service}/{}/{}", share.ratio, share.min_per_second);
    cx.services.keep(&key, || {
        let mut budget = Budget::new(share.ratio, u32::try_from(share.min_per_second).unwrap_or(0));
        budget.taken = cx.services.figures.of(&REPEATED, &[&plugin, service]);
        budget.denied = cx.services.figures.of(&DENIED, &[&plugin, service]);
        budget
    })
}

/// When a second try begins. What is known of a service outlives reloads.
fn hedge(wanted: &Beside, service: &str, cx: &Build<'_>) -> Option<Hedge> {
    let plugin = cx.row.id.to_string();
    let after = match wanted.seconds {
        Some(seconds) => After::Fixed(Duration::from_secs_f64(seconds)),
        None => {
            let key = format!("{plugin}/{service}/{}", wanted.percentile);
            let latencies = cx.services.keep(&key, || Latencies::new(wanted.percentile));
            After::Percentile { latencies, least: Duration::from_secs_f64(wanted.min_seconds) }
        }
    };
    let figure = |family| cx.services.figures.of(family, &[&plugin, service]);
    wanted.enabled.then(|| Hedge { after, begun: figure(&HEDGED), won: figure(&WON) })
}

fn policy(config: &Config, budget: Arc<Budget>, hedge: Option<Hedge>) -> Policy {
    let on = |trouble: &str| config.on.iter().any(|wanted| wanted == trouble);
    let mut statuses: Vec<u16> =
        config.statuses.iter().filter_map(|status| u16::try_from(*status).ok()).collect();
    statuses.sort_unstable();
    let backoff = Backoff {
        first: Duration::from_secs_f64(config.backoff.seconds),
        most: Duration::from_secs_f64(config.backoff.max_seconds),
    };
    Policy {
        repeats: u32::try_from(config.retries).unwrap_or(0),
        methods: config.methods.iter().filter_map(|name| Method::from_bytes(name.as_bytes())).collect(),
        on_unreachable: on("connect"),
        on_reset: on("reset"),
        on_timeout: on("timeout") && config.try_timeout.is_some(),
        on_statuses: statuses.into(),
        backoff,
        per_try: config.try_timeout.map(Duration::from_secs_f64),
        deadline: config.deadline.map(Duration::from_secs_f64),
        deadline_field: Some(config.deadline_header.as_str()).filter(|name| !name.is_empty()).map(Box::from),
        hedge,
        budget,
    }
}

impl Phases for UpstreamRetry {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let policy = cx.matched.as_ref().and_then(|matched| self.policies.get(&matched.ordinal));
        if let Some(policy) = policy {
            policy.budget.note(cx.worker.services.clock.now_ms());
            cx.repeat_by(policy.clone());
        }
        Flow::Next
    }
}

#[cfg(test)]
mod tests;
