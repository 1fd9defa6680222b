#![doc = include_str!("doc.md")]

use std::sync::Arc;
use std::time::Duration;

use plugin::limits::fields::{Periods, Policy, Refusal, Telling};
use plugin::limits::{Caller, Decision, Limited, Limiter, Naming, Period, Refused, Setup, decide};
use plugin::model::schema::Value;
use plugin::{Access, Build, BuildError, Flow, Known, Phase, Phases, Plugin, Scopes, record};

record! {
    /// Limits how many requests a caller may make in a second, minute, hour, day, month or year.
    pub struct Config {
        ..periods: Periods;
        ..policy: Policy;
        ..telling: Telling;
        /// Whose requests are counted together: those of a `consumer` (or else a credential), `credential`,
        /// `ip` address, `service`, value of a `header`, `path`, or `consumer-group`. Where a request has none,
        /// the client's address stands in.
        limit_by: String = "consumer",
            [one_of(&["consumer", "credential", "ip", "service", "header", "path", "consumer-group"])];
        /// The request header whose value identifies the caller, with `limit_by: header`.
        header_name: Option<String>, [header_name()];
        /// The path whose requests are counted together, with `limit_by: path`. Compared as a whole.
        path: Option<String>, [path()];
        /// Seconds between exchanges with Redis, with `policy: redis`, at least 0.02: requests are counted here and
        /// told there. -1 counts every request there, exactly.
        sync_rate: f64 = (-1), [custom_value(possible_rate)];
    }
    checks: [
        custom(synchronizes_with_redis),
        conditional("limit_by", equals("header"), "header_name", required()),
        conditional("limit_by", equals("path"), "path", required()),
    ]
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
    refusal: Refusal,
}

impl Plugin for RateLimiting {
    const NAME: &'static str = "rate-limiting";
    const PRIORITY: i64 = 910;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let (periods, limits) = config.periods.limits().into_iter().unzip();
        let table = cx.row.id.to_string();
        let interval = (config.sync_rate > 0.0).then(|| Duration::from_secs_f64(config.sync_rate));
        let sharing = config.policy.sharing(&table, interval, cx)?;
        let setup = Setup { limits, refused: Refused::Forgotten, table: &table, sharing };
        let inner = Arc::new(Inner {
            limiter: Limiter::new(cx.services, setup),
            periods,
            caller: Caller::new(vec![naming(&config)], cx)?,
            refusal: config.telling.refusal()?,
        });
        let told = inner.clone();
        cx.register_limits(Self::NAME, move |_| vec![told.clone()])?;
        Ok(Self(inner))
    }
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
        if self.refusal.announces {
            self.announce(cx, decision);
        }
        if decision.verdict.admitted {
            return Flow::Next;
        }
        self.refusal.answer(cx, self.seconds_to_wait(decision))
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
    fn seconds_to_wait(&self, decision: &Decision) -> u64 {
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
