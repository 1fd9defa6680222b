#![doc = include_str!("doc.md")]

mod config;
mod groups;
mod queue;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use plugin::limits::{
    Algorithm, Caller, ConsumerName, Decision, FailureMode, Limit, Limited, Limiter, Naming, Refused, Setup,
    Sharing, Span, decide, decide_again,
};
use plugin::redis::Store;
use plugin::refusal::Refusal;
use plugin::{Access, Build, BuildError, Flow, Known, Phase, Phases, Plugin, Resume, Scopes};

pub use config::Config;
use groups::Overrides;
use queue::Queue;

/// The room. See the module documentation.
pub struct RateLimitingAdvanced {
    own: Arc<Inner>,
    overrides: Arc<Overrides>,
}

struct Inner {
    limiter: Limiter,
    fields: Vec<Fields>,
    caller: Caller,
    announces: bool,
    status: u16,
    message: Cow<'static, str>,
    refusal: Option<Refusal>,
    /// Most seconds by which `Retry-After` is spread.
    jitter: u64,
    queue: Option<Queue>,
}

/// The names of a limit's response fields.
struct Fields {
    limit: Box<str>,
    remaining: Box<str>,
}

/// How often a request has waited.
#[derive(Clone, Copy)]
struct Waited(u32);

impl Plugin for RateLimitingAdvanced {
    const NAME: &'static str = "rate-limiting-advanced";
    const PRIORITY: i64 = 910;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let overrides = Arc::new(Overrides::build(&config, cx)?);
        let own = Arc::new(Inner::build(&config, "", cx)?);
        let told = (own.clone(), overrides.clone());
        cx.register_limits(Self::NAME, move |cx| told.1.of(cx).unwrap_or(&told.0).clone())?;
        Ok(Self { own, overrides })
    }
}

impl Inner {
    /// The instance for callers of the group `group`, or for those of none.
    fn build(config: &Config, group: &str, cx: &Build<'_>) -> Result<Self, BuildError> {
        let limits = config.limits()?;
        let fields = config.window_size.iter().map(|size| Fields::of(*size)).collect();
        let id = cx.row.id.to_string();
        let namespace = config.namespace.as_deref().unwrap_or(&id);
        let scope = if group.is_empty() { namespace.to_owned() } else { format!("{namespace}:{group}") };
        // Counters of other windows, and of other dictionaries, are others.
        let labels: Vec<String> =
            limits.iter().map(|limit| format!("{:?}", (limit.span, limit.algorithm))).collect();
        let table = format!("{} {scope} {}", config.dictionary_name, labels.join(" "));
        let queue = match config.throttling.enabled {
            true => Some(Queue::new(&config.throttling, cx.services, &table)),
            false => None,
        };
        // A request that waits asks again, and must not be in its own way.
        let penalty = !config.disable_penalty && queue.is_none();
        let refused = if penalty { Refused::Counted } else { Refused::Forgotten };
        let sharing = sharing(config, &scope, cx)?;
        Ok(Self {
            limiter: Limiter::new(cx.services, Setup { limits, refused, table: &table, sharing }),
            fields,
            caller: Caller::new(namings(config), cx)?,
            announces: !config.hide_client_headers,
            status: config.error_code as u16,
            refusal: Refusal::of(config.error_code as u16, &config.answer, "config.answer")?,
            message: match config.error_message.as_str() {
                "API rate limit exceeded" => Cow::Borrowed("API rate limit exceeded"),
                message => Cow::Owned(message.to_owned()),
            },
            jitter: config.retry_after_jitter_max as u64,
            queue,
        })
    }
}

fn sharing(config: &Config, scope: &str, cx: &Build<'_>) -> Result<Option<Sharing>, BuildError> {
    let rate = config.sync_rate.unwrap_or(-1.0);
    if config.strategy != "redis" {
        return Ok(None);
    }
    let settings = config.redis.settings("config.redis")?;
    let store =
        Store::open(cx.services, settings).map_err(|message| BuildError::new("config.redis.ssl", message))?;
    if rate < 0.0 {
        return Ok(None);
    }
    let on_failure = match config.failure_mode.as_str() {
        "open" => FailureMode::Open,
        "closed" => FailureMode::Closed,
        _ => FailureMode::Local,
    };
    let interval = (rate > 0.0).then(|| Duration::from_secs_f64(rate));
    Ok(Some(Sharing { store, scope: scope.to_owned(), interval, on_failure }))
}

fn namings(config: &Config) -> Vec<Naming> {
    let name = |identifier: &str| match identifier {
        "ip" => Naming::Address,
        "credential" => Naming::Credential,
        "service" => Naming::Service,
        "route" => Naming::Route,
        "header" => Naming::Header(config.header_name.clone().unwrap_or_default()),
        "path" => Naming::Path(config.path.clone().unwrap_or_default()),
        "consumer-group" => Naming::Group,
        _ => match config.counter_key.as_deref() {
            Some("consumer.username") => Naming::ConsumerBy(ConsumerName::Username),
            Some("consumer.custom_id") => Naming::ConsumerBy(ConsumerName::CustomId),
            Some(_) => Naming::Consumer,
            None => Naming::ConsumerOrCredential,
        },
    };
    match config.compound_identifier.as_deref() {
        None | Some([]) => vec![name(&config.identifier)],
        Some(identifiers) => identifiers.iter().map(|identifier| name(identifier)).collect(),
    }
}

impl Config {
    fn limits(&self) -> Result<Vec<Limit>, BuildError> {
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
}

impl Fields {
    /// Those of a window of so many seconds, which has a name where Kong has one for it.
    fn of(size: f64) -> Self {
        let name = match size as u64 {
            1 => "Second".to_owned(),
            60 => "Minute".to_owned(),
            3600 => "Hour".to_owned(),
            86_400 => "Day".to_owned(),
            2_592_000 => "Month".to_owned(),
            31_536_000 => "Year".to_owned(),
            other => other.to_string(),
        };
        Self {
            limit: format!("X-RateLimit-Limit-{name}").into(),
            remaining: format!("X-RateLimit-Remaining-{name}").into(),
        }
    }
}

impl Phases for RateLimitingAdvanced {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        decide(self.overrides.of(cx).unwrap_or(&self.own), cx)
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
        if !decision.verdict.admitted
            && let Some(wait) = self.wait(cx)
        {
            return wait;
        }
        if self.announces {
            self.announce(cx, decision);
        }
        if decision.verdict.admitted {
            return Flow::Next;
        }
        let retry_after = self.seconds_to_wait(decision) + cx.worker.random() % (self.jitter + 1);
        if self.announces {
            cx.decorate().set_number(Known::RetryAfter, retry_after);
        }
        match &self.refusal {
            Some(refusal) => refusal.answer(cx, retry_after),
            None => cx.answer(self.status).message(self.message.clone()),
        }
    }
}

impl Inner {
    /// Has a refused request wait for its next try, if there is a queue with a place for it.
    fn wait(self: &Arc<Self>, cx: &mut Access<'_>) -> Option<Flow> {
        let queue = self.queue.as_ref()?;
        let Waited(times) = cx.state::<Waited>().copied().unwrap_or(Waited(0));
        let place = queue.enter(times)?;
        cx.remember(Waited(times + 1));
        let (this, interval) = (self.clone(), queue.interval);
        Some(Flow::wait(async move {
            tokio::time::sleep(interval).await;
            drop(place);
            let resume: Resume = Box::new(move |cx| decide_again(&this, cx));
            resume
        }))
    }

    /// Seconds until a refused request has room.
    fn seconds_to_wait(&self, decision: &Decision) -> u64 {
        let Decision { verdict, windows, now_ms } = decision;
        let limits = self.limiter.limits().iter().enumerate();
        let waits = limits.map(|(index, limit)| limit.wait_ms(verdict, index, windows[index], *now_ms));
        waits.max().unwrap_or(0).div_ceil(1000).max(1)
    }

    /// Tells the client about every limit, and about the one that leaves it the least room.
    fn announce(&self, cx: &mut Access<'_>, decision: &Decision) {
        let Decision { verdict, windows, now_ms } = decision;
        let mut tightest: Option<(u32, usize)> = None;
        let headers = cx.decorate();
        for (index, (limit, fields)) in self.limiter.limits().iter().zip(&self.fields).enumerate() {
            let remaining = limit.remaining(verdict, index, windows[index], *now_ms);
            headers.set(&fields.limit, &limit.text);
            headers.set(&fields.remaining, itoa::Buffer::new().format(remaining).as_bytes());
            if tightest.is_none_or(|(least, _)| remaining <= least) {
                tightest = Some((remaining, index));
            }
        }
        let Some((remaining, index)) = tightest else { return };
        let limit = &self.limiter.limits()[index];
        let reset = match verdict.admitted {
            true => limit.reset(verdict, index, windows[index], *now_ms),
            false => self.seconds_to_wait(decision),
        };
        headers.set_known(Known::RateLimitLimit, &limit.text);
        headers.set_number(Known::RateLimitRemaining, remaining.into());
        headers.set_number(Known::RateLimitReset, reset);
    }
}

#[cfg(test)]
mod tests;
