//! The fields of configurations that say what is limited and how, as Kong's plugins have them in common, and what they
//! come to.

use std::borrow::Cow;
use std::time::Duration;

use model::record;
use model::schema::Value;
use wire::Headers;

use super::MOST_LIMITS;
use super::limit::{Algorithm, Limit, Span};
use super::limiter::{FailureMode, Sharing};
use super::window::Period;
use crate::build::{Build, BuildError};
use crate::flow::Flow;
use crate::redis::Store;
use crate::redis::fields::{FullRedis, Redis};
use crate::refusal::{self, Answer};
use crate::views::Access;

record! {
    /// Limits for units of the calendar. At least one must be given, and a longer one must not allow less than a shorter
    /// one.
    pub struct Periods {
        /// How many per second. At least one period must be given, and a longer one must not allow less than a
        /// shorter one.
        second: Option<f64>, [gt(0), custom_value(countable)];
        /// How many per minute, counted from second zero of each minute.
        minute: Option<f64>, [gt(0), custom_value(countable)];
        /// How many per hour.
        hour: Option<f64>, [gt(0), custom_value(countable)];
        /// How many per day (UTC).
        day: Option<f64>, [gt(0), custom_value(countable)];
        /// How many per calendar month (UTC).
        month: Option<f64>, [gt(0), custom_value(countable)];
        /// How many per calendar year (UTC).
        year: Option<f64>, [gt(0), custom_value(countable)];
    }
    checks: [
        at_least_one_of(&["second", "minute", "hour", "day", "month", "year"]),
        custom(longer_periods_allow_more),
    ]
}

record! {
    /// Where counters are kept.
    pub struct Policy {
        /// Where counters are kept. `local`: in this process. `redis`: in Redis, shared by all gateways that use it.
        /// `cluster` needs a database.
        policy: String = "local", [one_of(&["local", "cluster", "redis"]), custom_value(available_policy)];
        /// Let requests pass, uncounted, while Redis does not answer; otherwise they are answered 500.
        fault_tolerant: bool = true;
        /// What happens while Redis does not answer, in place of what `fault_tolerant` says: requests pass uncounted
        /// (`open`), are answered 500 (`closed`), or are counted in this process alone (`local`).
        failure_mode: Option<String>, [one_of(&["open", "closed", "local"]), extension()];
        /// The Redis server, with `policy: redis`.
        redis: Redis;
    }
    checks: [conditional("policy", equals("redis"), "redis.host", required())]
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

record! {
    /// What clients are told.
    pub struct Telling {
        /// Do not tell clients about limits: neither the rate limit headers nor `Retry-After` are sent.
        hide_client_headers: bool = false;
        /// Status code of a refusal.
        error_code: f64 = 429, [custom_value(status_code)];
        /// Message of a refusal.
        error_message: String = "API rate limit exceeded";
        /// The body of a refusal in place of `error_message` in the usual one.
        answer: Answer, [extension()];
    }
}

record! {
    /// Limits for windows of seconds, and where they are counted.
    pub struct Windows {
        /// Requests per window, one number for each `window_size`; at most eight.
        limit: Vec<f64>, [custom_value(all_countable)];
        /// Lengths of the windows in whole seconds. Windows count from 1970.
        window_size: Vec<f64>, [custom_value(measurable)];
        /// Whether a window ends all at once (`fixed`), or the one before counts as far as it still lies within one
        /// length from now (`sliding`).
        window_type: String = "sliding", [one_of(&["sliding", "fixed"])];
        /// `gcra` counts no windows: requests may come as an even stream of `limit` a `window_size`, and `burst` of
        /// them ahead of it. `window` is what `window_type` says.
        algorithm: String = "window", [one_of(&["window", "gcra"]), extension()];
        /// Requests that may come at once with `algorithm: gcra`, one number for each limit; a tenth of the limit
        /// where it is not given.
        burst: Option<Vec<f64>>, [custom_value(all_countable), extension()];
        /// What counters belong to: instances with the same namespace and windows count together, in Redis also those
        /// of other gateways. The plugin's id where it is not given.
        namespace: Option<String>;
        /// Where requests are counted: in this process (`local`), or in Redis, shared by all gateways that use it.
        /// `cluster` needs a database.
        strategy: String = "local", [one_of(&["cluster", "redis", "local"]), custom_value(available_strategy)];
        /// Seconds between exchanges with Redis, from 0.02: requests are counted here and told there. 0 counts every
        /// request there, exactly; -1 never tells Redis. Needed with `strategy: redis`.
        sync_rate: Option<f64>, [custom_value(possible_rate)];
        /// What happens while Redis does not answer and every request is counted there: requests are counted in this
        /// process (`local`), pass uncounted (`open`), or are answered 500 (`closed`).
        failure_mode: String = "local", [one_of(&["local", "open", "closed"]), extension()];
        /// Names a set of local counters: those of different names are apart.
        dictionary_name: String = "kong_rate_limiting_counters";
        /// Kong's dictionary for locks. There is none here, so that only the default can be given.
        lock_dictionary_name: String = "kong_locks", [custom_value(only_locks)];
        /// Do not count refused requests in sliding windows. They are counted by default, so that who goes on asking
        /// stays out.
        disable_penalty: bool = false;
        /// Most seconds that are added to `Retry-After`, at random.
        retry_after_jitter_max: f64 = 0, [custom_value(possible_jitter)];
    }
    checks: [custom(as_many_windows_as_limits), custom(rates_of_redis)]
}

impl Periods {
    /// The limits, the shortest period first.
    #[must_use]
    pub fn limits(&self) -> Vec<(Period, Limit)> {
        let given = [self.second, self.minute, self.hour, self.day, self.month, self.year];
        let given = Period::ALL.into_iter().zip(given).filter_map(|(period, limit)| Some((period, limit?)));
        given
            .map(|(period, limit)| (period, Limit::new(Span::Calendar(period), Algorithm::Fixed, limit)))
            .collect()
    }
}

impl Policy {
    /// How counters are shared, if they are. `scope` is what they belong to, `interval` the time between two exchanges.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn sharing(
        &self,
        scope: &str,
        interval: Option<Duration>,
        cx: &Build<'_>,
    ) -> Result<Option<Sharing>, BuildError> {
        if self.policy != "redis" {
            return Ok(None);
        }
        let on_failure = match (self.failure_mode.as_deref(), self.fault_tolerant) {
            (Some(mode), _) => FailureMode::named(mode),
            (None, true) => FailureMode::Open,
            (None, false) => FailureMode::Closed,
        };
        let store = Store::open(cx, self.redis.settings("config.redis")?)?;
        Ok(Some(Sharing { store, scope: scope.to_owned(), interval, on_failure }))
    }
}

impl FailureMode {
    fn named(name: &str) -> Self {
        match name {
            "open" => Self::Open,
            "closed" => Self::Closed,
            _ => Self::Local,
        }
    }
}

/// What clients are told, ready to be told.
pub struct Refusal {
    /// Whether they are told about limits.
    pub announces: bool,
    status: u16,
    message: Cow<'static, str>,
    own: Option<refusal::Refusal>,
}

impl Telling {
    /// What the fields come to.
    ///
    /// # Errors
    /// A field of `answer` that cannot be sent.
    pub fn refusal(&self) -> Result<Refusal, BuildError> {
        let status = self.error_code as u16;
        Ok(Refusal {
            announces: !self.hide_client_headers,
            status,
            own: refusal::Refusal::of(status, &self.answer, "config.answer")?,
            message: match self.error_message.as_str() {
                "API rate limit exceeded" => Cow::Borrowed("API rate limit exceeded"),
                message => Cow::Owned(message.to_owned()),
            },
        })
    }
}

/// The names of the response fields that tell a client about one limit.
pub struct Fields {
    limit: Box<str>,
    remaining: Box<str>,
}

impl Fields {
    /// Those of the limit called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self {
            limit: format!("X-RateLimit-Limit-{name}").into(),
            remaining: format!("X-RateLimit-Remaining-{name}").into(),
        }
    }

    /// Tells of the limit, and what remains of it.
    pub fn set(&self, headers: &mut Headers, limit: &Limit, remaining: u32) {
        headers.set(&self.limit, &limit.text);
        headers.set(&self.remaining, itoa::Buffer::new().format(remaining).as_bytes());
    }
}

impl Refusal {
    /// Refuses a request that it is worth sending again after `seconds`.
    pub fn answer(&self, cx: &mut Access<'_>, seconds: u64) -> Flow {
        match &self.own {
            Some(own) => own.answer(cx, seconds),
            None => cx.answer(self.status).message(self.message.clone()),
        }
    }
}

impl Windows {
    /// The limits, in the order of the configuration.
    ///
    /// # Errors
    /// Bursts that belong to no limit.
    pub fn limits(&self) -> Result<Vec<Limit>, BuildError> {
        let smooth = self.algorithm == "gcra";
        if self.burst.as_ref().is_some_and(|burst| !smooth || burst.len() != self.limit.len()) {
            let message = "bursts are given with 'algorithm: gcra', one for each limit";
            return Err(BuildError::new("config.burst", message));
        }
        let limits = self.limit.iter().zip(&self.window_size).enumerate();
        Ok(limits
            .map(|(index, (limit, size))| {
                let algorithm = match (smooth, self.window_type.as_str()) {
                    (true, _) => {
                        let given = self.burst.as_ref().and_then(|burst| burst.get(index).copied());
                        Algorithm::Smooth { burst: given.unwrap_or(limit / 10.0).ceil() as u32 }
                    }
                    (false, "fixed") => Algorithm::Fixed,
                    _ => Algorithm::Sliding,
                };
                Limit::new(Span::Seconds(*size as u32), algorithm, *limit)
            })
            .collect())
    }

    /// How counters of `scope` are shared, if they are.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn sharing(
        &self,
        redis: &FullRedis,
        scope: &str,
        cx: &Build<'_>,
    ) -> Result<Option<Sharing>, BuildError> {
        if self.strategy != "redis" {
            return Ok(None);
        }
        let store = Store::open(cx, redis.settings("config.redis")?)?;
        let rate = self.sync_rate.unwrap_or(-1.0);
        if rate < 0.0 {
            return Ok(None);
        }
        let on_failure = FailureMode::named(&self.failure_mode);
        let interval = (rate > 0.0).then(|| Duration::from_secs_f64(rate));
        Ok(Some(Sharing { store, scope: scope.to_owned(), interval, on_failure }))
    }
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
    match limit.as_f64().is_some_and(|limit| limit < f64::from(u32::MAX)) {
        true => Ok(()),
        false => Err(format!("a limit must be below {}", u32::MAX)),
    }
}

fn available_policy(policy: &Value) -> Result<(), String> {
    match policy.as_str() {
        Some("cluster") => {
            Err("expected one of: local, redis (policy 'cluster' needs a database)".to_owned())
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

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn all_countable(limits: &Value) -> Result<(), String> {
    match numbers(limits).iter().all(|limit| *limit > 0.0 && *limit < f64::from(u32::MAX)) {
        true => Ok(()),
        false => Err(format!("expected numbers above 0 and below {}", u32::MAX)),
    }
}

fn measurable(sizes: &Value) -> Result<(), String> {
    let is_size = |size: &f64| size.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(size);
    match numbers(sizes).iter().all(is_size) {
        true => Ok(()),
        false => Err("expected whole seconds, at least 1".to_owned()),
    }
}

fn available_strategy(strategy: &Value) -> Result<(), String> {
    match strategy.as_str() {
        Some("cluster") => {
            Err("expected one of: local, redis (strategy 'cluster' needs a database)".to_owned())
        }
        _ => Ok(()),
    }
}

fn possible_rate(rate: &Value) -> Result<(), String> {
    match rate.as_f64() {
        Some(rate) if rate == -1.0 || rate == 0.0 || (0.02..=86_400.0).contains(&rate) => Ok(()),
        _ => Err("expected -1, 0, or seconds from 0.02 to 86400".to_owned()),
    }
}

fn only_locks(name: &Value) -> Result<(), String> {
    match name.as_str() {
        Some("kong_locks") => Ok(()),
        _ => Err("there is no dictionary for locks here: leave lock_dictionary_name out".to_owned()),
    }
}

fn possible_jitter(jitter: &Value) -> Result<(), String> {
    match jitter.as_f64() {
        Some(jitter) if (0.0..=1_000_000.0).contains(&jitter) => Ok(()),
        _ => Err("expected seconds from 0 to 1000000".to_owned()),
    }
}

fn as_many_windows_as_limits(config: &Value) -> Result<(), String> {
    let (limits, windows) = (numbers(&config["limit"]).len(), numbers(&config["window_size"]).len());
    match limits {
        0 => Err("at least one limit and window_size are needed".to_owned()),
        _ if limits != windows => Err("You must provide the same number of windows and limits".to_owned()),
        _ if limits > MOST_LIMITS => Err(format!("at most {MOST_LIMITS} limits")),
        _ => Ok(()),
    }
}

fn rates_of_redis(config: &Value) -> Result<(), String> {
    let rate = config["sync_rate"].as_f64();
    match (config["strategy"] == "redis", rate) {
        (true, None) => {
            Err("sync_rate is needed with strategy 'redis': 0 counts every request there".to_owned())
        }
        (false, Some(rate)) if rate >= 0.0 => {
            Err("sync_rate can only be used with strategy 'redis'".to_owned())
        }
        _ => Ok(()),
    }
}
