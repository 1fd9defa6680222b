#![doc = include_str!("doc.md")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use plugin::limits::{
    Algorithm, Caller, Decision, FailureMode, Limit, Limited, Limiter, Naming, Period, Refused, Setup,
    Sharing, Span, decide,
};
use plugin::model::schema::Value;
use plugin::redis::Store;
use plugin::redis::fields::Redis;
use plugin::refusal::{Answer, Refusal};
use plugin::{Access, Build, BuildError, Flow, Known, Phase, Phases, Plugin, Scopes, record};

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
        /// Do not tell clients about limits: neither the rate limit headers nor `Retry-After` are sent.
        hide_client_headers: bool = false;
        /// Status code of a refusal.
        error_code: f64 = 429, [gt(0), custom_value(status_code)];
        /// Message of a refusal.
        error_message: String = "API rate limit exceeded";
        /// The body of a refusal in place of `error_message` in the usual one.
        answer: Answer, [extension()];
        /// Seconds between exchanges with Redis, with `policy: redis`, at least 0.02: requests are counted here and
        /// told there. -1 counts every request there, exactly.
        sync_rate: f64 = (-1), [custom_value(possible_rate)];
    }
    checks: [
        at_least_one_of(&["second", "minute", "hour", "day", "month", "year"]),
        custom(longer_periods_allow_more),
        custom(synchronizes_with_redis),
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

fn possible_rate(rate: &Value) -> Result<(), String> {
    match rate.as_f64() {
        Some(rate) if rate == -1.0 || (0.02..=86_400.0).contains(&rate) => Ok(()),
        _ => Err("expected -1, or seconds from 0.02 to 86400".to_owned()),
    }
}

fn synchronizes_with_redis(config: &Value) -> Result<(), String> {
    if config["policy"] == "redis" || config["sync_rate"].as_f64() == Some(-1.0) {
        return Ok(());
    }
    Err("sync_rate can only be used with policy 'redis'".to_owned())
}

/// The room. See the module documentation.
pub struct RateLimiting(Arc<Inner>);

struct Inner {
    limiter: Limiter,
    periods: Vec<Period>,
    caller: Caller,
    announces: bool,
    status: u16,
    message: Cow<'static, str>,
    refusal: Option<Refusal>,
}

impl Plugin for RateLimiting {
    const NAME: &'static str = "rate-limiting";
    const PRIORITY: i64 = 910;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let (periods, limits) = limits(&config).into_iter().unzip();
        let table = cx.row.id.to_string();
        let sharing = sharing(&config, &table, cx)?;
        let setup = Setup { limits, refused: Refused::Forgotten, table: &table, sharing };
        let inner = Arc::new(Inner {
            limiter: Limiter::new(cx.services, setup),
            periods,
            caller: Caller::new(vec![naming(&config)], cx)?,
            announces: !config.hide_client_headers,
            status: config.error_code as u16,
            refusal: Refusal::of(config.error_code as u16, &config.answer, "config.answer")?,
            message: match config.error_message.as_str() {
                "API rate limit exceeded" => Cow::Borrowed("API rate limit exceeded"),
                _ => Cow::Owned(config.error_message),
            },
        });
        let told = inner.clone();
        cx.register_limits(Self::NAME, move |_| told.clone())?;
        Ok(Self(inner))
    }
}

fn limits(config: &Config) -> Vec<(Period, Limit)> {
    let given = [config.second, config.minute, config.hour, config.day, config.month, config.year];
    let given = Period::ALL.into_iter().zip(given).filter_map(|(period, limit)| Some((period, limit?)));
    given
        .map(|(period, limit)| (period, Limit::new(Span::Calendar(period), Algorithm::Fixed, limit)))
        .collect()
}

fn sharing(config: &Config, scope: &str, cx: &Build<'_>) -> Result<Option<Sharing>, BuildError> {
    if config.policy != "redis" {
        return Ok(None);
    }
    let settings = config.redis.settings("config.redis")?;
    let store =
        Store::open(cx.services, settings).map_err(|message| BuildError::new("config.redis.ssl", message))?;
    let on_failure = match (config.failure_mode.as_deref(), config.fault_tolerant) {
        (Some("local"), _) => FailureMode::Local,
        (Some("open"), _) | (None, true) => FailureMode::Open,
        _ => FailureMode::Closed,
    };
    let interval = (config.sync_rate > 0.0).then(|| Duration::from_secs_f64(config.sync_rate));
    Ok(Some(Sharing { store, scope: scope.to_owned(), interval, on_failure }))
}

fn naming(config: &Config) -> Naming {
    match config.limit_by.as_str() {
        "consumer-group" => Naming::Group,
        "credential" => Naming::Credential,
        "ip" => Naming::Address,
        "service" => Naming::Service,
        "header" => Naming::Header(config.header_name.clone().unwrap_or_default()),
        "path" => Naming::Path(config.path.clone().unwrap_or_default()),
        _ => Naming::ConsumerOrCredential,
    }
}

impl Phases for RateLimiting {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        decide(&self.0, cx)
    }
}

impl Limited for Inner {
    fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn conclude(self: &Arc<Self>, cx: &mut Access<'_>, decision: &Decision) -> Flow {
        if self.announces {
            self.announce(cx, decision);
        }
        if decision.verdict.admitted {
            return Flow::Next;
        }
        match &self.refusal {
            Some(refusal) => refusal.answer(cx, self.wait(decision)),
            None => cx.answer(self.status).message(self.message.clone()),
        }
    }
}

impl Inner {
    /// Tells the client about every period, and about the one that leaves it the least room.
    fn announce(&self, cx: &mut Access<'_>, decision: &Decision) {
        let Decision { verdict, windows, now_ms } = decision;
        let mut tightest: Option<(u32, usize)> = None;
        let headers = cx.decorate();
        for (index, (limit, period)) in self.limiter.limits().iter().zip(&self.periods).enumerate() {
            let remaining = limit.remaining(verdict, index, windows[index], *now_ms);
            headers.set_known(period.limit_field(), &limit.text);
            headers.set_number(period.remaining_field(), remaining.into());
            if tightest.is_none_or(|(least, _)| remaining <= least) {
                tightest = Some((remaining, index));
            }
        }
        let Some((remaining, index)) = tightest else { return };
        let reset = windows[index].end.saturating_sub(now_ms / 1000).max(1);
        headers.set_known(Known::RateLimitLimit, &self.limiter.limits()[index].text);
        headers.set_number(Known::RateLimitRemaining, remaining.into());
        headers.set_number(Known::RateLimitReset, reset);
        if !verdict.admitted {
            headers.set_number(Known::RetryAfter, reset);
        }
    }

    /// Seconds until a refused request has room, as `Retry-After` tells them: the longest window that is full ends then.
    fn wait(&self, decision: &Decision) -> u64 {
        let Decision { verdict, windows, now_ms } = decision;
        let limits = self.limiter.limits().iter().zip(windows).enumerate();
        let full = limits
            .filter(|(index, (limit, window))| limit.remaining(verdict, *index, **window, *now_ms) == 0);
        let end = full.map(|(_, (_, window))| window.end).max().unwrap_or(0);
        end.saturating_sub(now_ms / 1000).max(1)
    }
}

#[cfg(test)]
mod tests;
