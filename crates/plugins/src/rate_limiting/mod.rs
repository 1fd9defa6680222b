#![doc = include_str!("doc.md")]

mod table;
mod window;

use std::borrow::Cow;
use std::sync::Arc;

use ahash::AHashMap;
use plugin::model::schema::Value;
use plugin::stats::Tally;
use plugin::{Access, Build, BuildError, Flow, Known, Phase, Phases, Plugin, Scopes, record};
use uuid::Uuid;

use table::{Demand, PERIODS, Table, Verdict};
use window::{Period, Window};

record! {
    /// How to sign in to a Redis server managed by a cloud provider.
    pub struct CloudAuthentication {
        /// The provider whose identity service is used.
        auth_provider: Option<String>, [one_of(&["aws", "azure", "gcp"]), referenceable()];
        /// AWS access key id.
        aws_access_key_id: Option<String>, [referenceable(), encrypted()];
        /// ARN of the AWS role to assume.
        aws_assume_role_arn: Option<String>, [referenceable(), encrypted()];
        /// Name of the AWS ElastiCache cluster.
        aws_cache_name: Option<String>, [referenceable()];
        /// The ElastiCache cluster is serverless.
        aws_is_serverless: bool = true;
        /// AWS region of the cluster.
        aws_region: Option<String>, [referenceable()];
        /// Session name to use with the assumed role.
        aws_role_session_name: Option<String>, [referenceable(), encrypted()];
        /// AWS secret access key.
        aws_secret_access_key: Option<String>, [referenceable(), encrypted()];
        /// Client id of the Azure application.
        azure_client_id: Option<String>, [referenceable(), encrypted()];
        /// Client secret of the Azure application.
        azure_client_secret: Option<String>, [referenceable(), encrypted()];
        /// Azure tenant.
        azure_tenant_id: Option<String>, [referenceable(), encrypted()];
        /// Service account of Google Cloud, as JSON.
        gcp_service_account_json: Option<String>, [referenceable(), encrypted()];
    }
}

record! {
    /// The Redis server of policy `redis`.
    pub struct Redis {
        /// Host name or address of the server.
        host: Option<String>, [referenceable()];
        /// Port of the server.
        port: u16 = 6379, [port(), referenceable()];
        /// Milliseconds to wait for the server.
        timeout: i64 = 2000, [timeout()];
        /// User to sign in as.
        username: Option<String>, [referenceable()];
        /// Password to sign in with.
        password: Option<String>, [referenceable(), encrypted()];
        /// Number of the database.
        database: i64 = 0;
        /// Connect over TLS.
        ssl: bool = false;
        /// Check the server's certificate.
        ssl_verify: bool = true;
        /// Name to ask for and to check in the TLS handshake.
        server_name: Option<String>, [referenceable()];
        /// Signing in through a cloud provider.
        cloud_authentication: CloudAuthentication;
    }
}

record! {
    /// Limits how many requests a caller may make in a second, minute, hour, day, month or year.
    pub struct Config {
        /// Requests per second. At least one period must be given, and a longer one must not allow less than a
        /// shorter one.
        second: Option<f64>, [gt(0), custom_value(countable)];
        /// Requests per minute, counted from second zero of each minute.
        minute: Option<f64>, [gt(0), custom_value(countable)];
        /// Requests per hour.
        hour: Option<f64>, [gt(0), custom_value(countable)];
        /// Requests per day (UTC).
        day: Option<f64>, [gt(0), custom_value(countable)];
        /// Requests per calendar month (UTC).
        month: Option<f64>, [gt(0), custom_value(countable)];
        /// Requests per calendar year (UTC).
        year: Option<f64>, [gt(0), custom_value(countable)];
        /// Whose requests are counted together: those of a `consumer` (or else a credential), `credential`,
        /// `ip` address, `service`, value of a `header`, `path`, or `consumer-group`. Where a request has none,
        /// the client's address stands in.
        limit_by: String = "consumer",
            [one_of(&["consumer", "credential", "ip", "service", "header", "path", "consumer-group"])];
        /// The request header whose value identifies the caller, with `limit_by: header`.
        header_name: Option<String>, [header_name()];
        /// The path whose requests are counted together, with `limit_by: path`. Compared as a whole.
        path: Option<String>, [path()];
        /// Where counters are kept. `local`: in this process. `cluster` needs a database; `redis` is not
        /// available in this version.
        policy: String = "local", [one_of(&["local", "cluster", "redis"]), custom_value(available_policy)];
        /// Let requests pass when counters cannot be reached. Local counters always can.
        fault_tolerant: bool = true;
        /// The Redis server, with `policy: redis`.
        redis: Redis;
        /// Do not tell clients about limits: neither the rate limit headers nor `Retry-After` are sent.
        hide_client_headers: bool = false;
        /// Status code of a refusal.
        error_code: f64 = 429, [gt(0), custom_value(status_code)];
        /// Message of a refusal.
        error_message: String = "API rate limit exceeded";
        /// Seconds between exchanges with Redis, with `policy: redis`; -1 counts every request there.
        sync_rate: f64 = (-1), [custom_value(no_sync)];
    }
    checks: [
        at_least_one_of(&["second", "minute", "hour", "day", "month", "year"]),
        custom(longer_periods_allow_more),
        conditional("policy", equals("redis"), "redis.host", required()),
        conditional("limit_by", equals("header"), "header_name", required()),
        conditional("limit_by", equals("path"), "path", required()),
    ]
    shorthands: [
        ("redis_host", "redis.host"),
        ("redis_port", "redis.port"),
        ("redis_username", "redis.username"),
        ("redis_password", "redis.password"),
        ("redis_database", "redis.database"),
        ("redis_timeout", "redis.timeout"),
        ("redis_ssl", "redis.ssl"),
        ("redis_ssl_verify", "redis.ssl_verify"),
        ("redis_server_name", "redis.server_name"),
    ]
}

fn longer_periods_allow_more(config: &Value) -> Result<(), String> {
    let limits = Period::ALL.map(|period| config[period.name()].as_f64());
    for (shorter, limit) in limits.iter().enumerate() {
        for (longer, other) in limits.iter().enumerate().skip(shorter + 1) {
            if let (Some(limit), Some(other)) = (limit, other)
                && other < limit
            {
                let (longer, shorter) = (Period::ALL[longer].name(), Period::ALL[shorter].name());
                return Err(format!(
                    "The limit for {longer}({other:.1}) cannot be lower than the limit for {shorter}({limit:.1})"
                ));
            }
        }
    }
    Ok(())
}

fn countable(limit: &Value) -> Result<(), String> {
    if limit.as_f64().is_some_and(|limit| limit < f64::from(u32::MAX)) {
        return Ok(());
    }
    Err(format!("a limit must be below {}", u32::MAX))
}

fn available_policy(policy: &Value) -> Result<(), String> {
    match policy.as_str() {
        Some("cluster") => {
            Err("expected one of: local, redis (policy 'cluster' needs a database)".to_owned())
        }
        Some("redis") => {
            let message =
                "policy 'redis' is not available: this version counts locally only, use policy 'local'";
            Err(message.to_owned())
        }
        _ => Ok(()),
    }
}

fn status_code(code: &Value) -> Result<(), String> {
    let code = code.as_f64().unwrap_or_default();
    if code.fract() == 0.0 && (200.0..600.0).contains(&code) {
        return Ok(());
    }
    Err("expected a status code between 200 and 599".to_owned())
}

fn no_sync(rate: &Value) -> Result<(), String> {
    if rate.as_f64() == Some(-1.0) {
        return Ok(());
    }
    Err("sync_rate can only be used with policy 'redis', which this version does not have".to_owned())
}

/// The room. See the module documentation.
pub struct RateLimiting {
    limits: Vec<Limit>,
    caller: Caller,
    table: Arc<Table>,
    announces: bool,
    status: u16,
    message: Cow<'static, str>,
}

/// One configured period.
struct Limit {
    period: Period,
    /// Requests admitted: a limit of 2.5 admits three, as the third finds two counted.
    admits: u32,
    text: Box<[u8]>,
}

/// Who counts as one caller.
enum Caller {
    Consumer,
    Group(Arc<FirstGroups>),
    Credential,
    Address,
    Service,
    Header(String),
    Path(String),
}

/// The first group of each consumer that is in one.
struct FirstGroups(AHashMap<Uuid, Uuid>);

impl Plugin for RateLimiting {
    const NAME: &'static str = "rate-limiting";
    const PRIORITY: i64 = 910;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let displaced = cx.services.keep("rate_limiting_counters_displaced", || {
            Tally::new(
                "rate_limiting_counters_displaced",
                "Counters of rate-limiting in use that gave way because the table was full",
            )
        });
        Ok(Self {
            limits: limits(&config),
            caller: caller(&config, cx)?,
            table: cx.services.keep(&cx.row.id.to_string(), || Table::new(displaced)),
            announces: !config.hide_client_headers,
            status: config.error_code as u16,
            message: match config.error_message.as_str() {
                "API rate limit exceeded" => Cow::Borrowed("API rate limit exceeded"),
                _ => Cow::Owned(config.error_message),
            },
        })
    }
}

fn limits(config: &Config) -> Vec<Limit> {
    let given = [config.second, config.minute, config.hour, config.day, config.month, config.year];
    let given = Period::ALL.into_iter().zip(given).filter_map(|(period, limit)| Some((period, limit?)));
    given
        .map(|(period, limit)| {
            let text = limit.to_string().into_bytes().into_boxed_slice();
            Limit { period, admits: limit.ceil() as u32, text }
        })
        .collect()
}

fn caller(config: &Config, cx: &Build<'_>) -> Result<Caller, BuildError> {
    Ok(match config.limit_by.as_str() {
        "consumer-group" => Caller::Group(cx.shared(|cx| {
            let ids = cx.config.consumers.iter().map(|consumer| consumer.id);
            let first = |id| Some((id, cx.config.groups_of(id).first().copied()?));
            Ok(FirstGroups(ids.filter_map(first).collect()))
        })?),
        "credential" => Caller::Credential,
        "ip" => Caller::Address,
        "service" => Caller::Service,
        "header" => Caller::Header(config.header_name.clone().unwrap_or_default()),
        "path" => Caller::Path(config.path.clone().unwrap_or_default()),
        _ => Caller::Consumer,
    })
}

impl Phases for RateLimiting {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let now = cx.record.started_ms / 1000;
        let mut windows = [Window::default(); PERIODS];
        let mut demands = [Demand::default(); PERIODS];
        for (index, limit) in self.limits.iter().enumerate() {
            windows[index] = limit.period.window(now);
            let (period, ordinal) = (limit.period as usize, windows[index].ordinal);
            demands[index] = Demand { period, ordinal, limit: limit.admits };
        }
        let verdict = self.table.take(self.key(cx), &demands[..self.limits.len()]);
        if self.announces {
            self.announce(cx, &verdict, &windows, now);
        }
        if verdict.admitted {
            return Flow::Next;
        }
        cx.answer(self.status).message(self.message.clone())
    }
}

impl RateLimiting {
    /// The counter's key. The kind of identifier is part of it: an address never equals a header's value.
    fn key(&self, cx: &Access<'_>) -> u128 {
        let identity = &cx.identity;
        let consumer = || identity.consumer().map(|consumer| consumer.id);
        let credential = || identity.credential().map(|credential| credential.id);
        let id = match &self.caller {
            Caller::Consumer => consumer().or_else(credential),
            Caller::Group(groups) => consumer().and_then(|id| groups.0.get(&id).copied()),
            Caller::Credential => credential(),
            Caller::Service => {
                cx.matched.as_ref().and_then(|matched| matched.service.as_ref()).map(|service| service.id)
            }
            Caller::Header(name) => {
                if let Some(value) = cx.request.headers.get(name) {
                    return self.table.key(1, value);
                }
                None
            }
            Caller::Path(path) if cx.normalized_path == path.as_bytes() => {
                return self.table.key(2, path.as_bytes());
            }
            Caller::Path(_) | Caller::Address => None,
        };
        match (id, cx.client.ip.to_canonical()) {
            (Some(id), _) => self.table.key(3, id.as_bytes()),
            (None, std::net::IpAddr::V4(address)) => self.table.key(4, &address.octets()),
            (None, std::net::IpAddr::V6(address)) => self.table.key(4, &address.octets()),
        }
    }

    /// Tells the client about every period, and about the one that leaves it the least room.
    fn announce(&self, cx: &mut Access<'_>, verdict: &Verdict, windows: &[Window; PERIODS], now: u64) {
        let mut tightest: Option<(u32, usize)> = None;
        let headers = cx.decorate();
        for (index, limit) in self.limits.iter().enumerate() {
            let remaining = limit.admits - verdict.used[index].min(limit.admits);
            headers.set_known(limit.period.limit_field(), &limit.text);
            headers.set_number(limit.period.remaining_field(), remaining.into());
            if tightest.is_none_or(|(least, _)| remaining <= least) {
                tightest = Some((remaining, index));
            }
        }
        let Some((remaining, index)) = tightest else { return };
        let reset = windows[index].end.saturating_sub(now).max(1);
        headers.set_known(Known::RateLimitLimit, &self.limits[index].text);
        headers.set_number(Known::RateLimitRemaining, remaining.into());
        headers.set_number(Known::RateLimitReset, reset);
        if !verdict.admitted {
            headers.set_number(Known::RetryAfter, reset);
        }
    }
}

#[cfg(test)]
mod tests;
