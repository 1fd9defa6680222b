#![doc = include_str!("doc.md")]

mod admin;
mod breaker;
mod config;
mod machine;
mod stored;
mod window;

use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use plugin::admin::Endpoint;
use plugin::exchange::Trouble;
use plugin::refusal::{Refusal, header_fields};
use plugin::{
    Access, BodyFilter, BodyMode, Build, BuildError, Detour, Flow, HeaderFilter, Headers, Known, Matched,
    Phase, Phases, Plugin, Scopes, Source,
};

use breaker::{Breaker, Subject};
use config::{Config, Failures};
use machine::{Outcome, Pass, Rules, Verdict};
use stored::{Keeping, Store};

/// The room. See the module documentation.
pub struct CircuitBreaker {
    breakers: Breakers,
    rules: Arc<Rules>,
    failures: Failures,
    slow_seconds: f64,
    refusal: Refusal,
    fallback: Fallback,
}

/// Which breaker a request has to do with.
enum Breakers {
    /// This one.
    One(Arc<Breaker>),
    /// That of its route or its route's service, by the route's place in the configuration.
    ByRoute(AHashMap<usize, Arc<Breaker>>),
}

/// What a request that is not let through gets.
enum Fallback {
    /// The refusal.
    None,
    /// The last good response.
    Cached { store: Arc<Store>, max_age_ms: u64 },
    /// A fixed answer.
    Static { status: u16, headers: Headers, body: Bytes },
    /// The response of another service.
    Service(Detour),
}

/// What is remembered of a request that was let through. Whatever becomes of it, its pass is given back.
struct Through {
    breaker: Arc<Breaker>,
    rules: Arc<Rules>,
    pass: Option<Pass>,
    /// Where its response is kept, should it be a good one.
    key: Option<stored::Key>,
    clock: plugin::clock::Clock,
    keeping: Option<Keeping>,
}

impl Through {
    fn settle(&mut self, outcome: Outcome) {
        if let Some(pass) = self.pass.take() {
            self.breaker.settle(pass, outcome, &self.rules, self.clock.now_ms());
        }
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        self.settle(Outcome::Nothing);
    }
}

impl Plugin for CircuitBreaker {
    const NAME: &'static str = "circuit-breaker";
    const PRIORITY: i64 = 95;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter, Phase::BodyFilter];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = admin::ENDPOINTS;
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let answer = &config.answer;
        let headers = header_fields("config.answer.headers", &answer.content_type, answer.headers.as_ref())?;
        Ok(Self {
            breakers: breakers(&config.per, cx),
            rules: Arc::new(config::rules(&config)?),
            slow_seconds: config.window.slow_seconds,
            fallback: fallback(&config, cx)?,
            refusal: Refusal::new(answer.status as u16, headers, &answer.body),
            failures: config.failures,
        })
    }
}

fn breakers(per: &str, cx: &Build<'_>) -> Breakers {
    let plugin = cx.row.id.to_string();
    let make = |service: String, route: String| {
        let subject = Subject { plugin: plugin.clone(), service, route };
        let key = format!("{plugin}/{}/{}", subject.service, subject.route);
        cx.services.keep(&key, || Breaker::new(subject, cx.services))
    };
    if per == "plugin" {
        return Breakers::One(make(String::new(), String::new()));
    }
    let of_row = |matched: &&Arc<Matched>| {
        let service = matched.service.as_ref().map(|service| service.id);
        cx.row.route.is_none_or(|route| route == matched.route.id)
            && cx.row.service.is_none_or(|wanted| service == Some(wanted))
    };
    let made = cx.routes.iter().filter(of_row).filter_map(|matched| {
        let service = matched.service.as_ref()?;
        let service = service.name.clone().unwrap_or_else(|| service.id.to_string());
        let route = if per == "route" {
            matched.route.name.clone().unwrap_or_else(|| matched.route.id.to_string())
        } else {
            String::new()
        };
        Some((matched.ordinal, make(service, route)))
    });
    Breakers::ByRoute(made.collect())
}

fn fallback(config: &Config, cx: &Build<'_>) -> Result<Fallback, BuildError> {
    let wanted = &config.fallback;
    Ok(match wanted.r#type.as_str() {
        "cached" => Fallback::Cached {
            store: cx.services.keep("circuit-breaker", Store::new),
            max_age_ms: wanted.max_age.unsigned_abs() * 1000,
        },
        "static" => {
            let place = "config.fallback.headers";
            let headers = header_fields(place, &wanted.content_type, wanted.headers.as_ref())?;
            let body = Bytes::from(wanted.body.clone().into_bytes());
            Fallback::Static { status: wanted.status as u16, headers, body }
        }
        "service" => {
            let field = "config.fallback.service";
            let message = "fallback.type: service needs the name of a service here";
            let name = wanted.service.as_deref().ok_or_else(|| BuildError::new(field, message))?;
            Fallback::Service(cx.detour_to_service(field, name)?)
        }
        _ => Fallback::None,
    })
}

impl Phases for CircuitBreaker {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let Some(breaker) = self.breaker(cx) else { return Flow::Next };
        let clock = cx.worker.services.clock.clone();
        let now = clock.now_ms();
        let key = match &self.fallback {
            Fallback::Cached { .. } => stored::key(cx),
            _ => None,
        };
        match breaker.admit(&self.rules, now) {
            Verdict::Pass(pass) => {
                let (breaker, rules) = (breaker.clone(), self.rules.clone());
                cx.remember(Through { breaker, rules, pass: Some(pass), key, clock, keeping: None });
                Flow::Next
            }
            Verdict::Refused(left) => match self.stand_in(cx, breaker, key.as_ref(), now) {
                Some(answer) => answer,
                None => self.refuse(cx, left),
            },
        }
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        let outcome = self.outcome(cx);
        let upstreams = cx.source == Source::Upstream;
        let Some(through) = cx.state::<Through>() else { return };
        through.settle(outcome);
        through.keeping = None;
        let now = through.clock.now_ms();
        let Some(key) = through.key.take() else { return };
        if let Fallback::Cached { store, .. } = &self.fallback
            && upstreams
            && matches!(outcome, Outcome::Success { .. })
            && let Some(keeping) = Keeping::begin(cx, key, store, now)
        {
            cx.want_body(BodyMode::Observe);
            if let Some(through) = cx.state::<Through>() {
                through.keeping = Some(keeping);
            }
        }
    }

    fn body_filter(&self, cx: &mut BodyFilter<'_>) {
        let (piece, last) = (cx.piece(), cx.is_last());
        let Some(through) = cx.state::<Through>() else { return };
        let Some(mut keeping) = through.keeping.take() else { return };
        if !keeping.push(piece) {
            return;
        }
        if last {
            keeping.finish();
        } else {
            through.keeping = Some(keeping);
        }
    }
}

impl CircuitBreaker {
    /// The breaker of a request. One per target would be chosen where a target is: after this phase.
    fn breaker(&self, cx: &Access<'_>) -> Option<&Arc<Breaker>> {
        match &self.breakers {
            Breakers::One(breaker) => Some(breaker),
            Breakers::ByRoute(breakers) => breakers.get(&cx.matched.as_ref()?.ordinal),
        }
    }

    fn stand_in(
        &self,
        cx: &mut Access<'_>,
        breaker: &Breaker,
        key: Option<&stored::Key>,
        now: u64,
    ) -> Option<Flow> {
        let (status, headers, body) = match &self.fallback {
            Fallback::None => return None,
            Fallback::Service(detour) => {
                let own = cx.matched.as_ref().and_then(|matched| matched.service.as_ref()).map(|own| own.id);
                // To itself, it would get all the requests that it is to be spared.
                if own == detour.service().map(|service| service.id) {
                    return None;
                }
                cx.decorate().set("X-Circuit-Breaker", b"open");
                cx.send_to(detour);
                breaker.stood_in.add(1);
                return Some(Flow::Next);
            }
            Fallback::Static { status, headers, body } => (*status, headers, body),
            Fallback::Cached { store, max_age_ms } => {
                let found = store.find(key?)?;
                let age = now.saturating_sub(found.stored_ms);
                if age > *max_age_ms {
                    return None;
                }
                cx.decorate().set_number(Known::Age, age / 1000);
                breaker.stood_in.add(1);
                let answer = cx.answer(found.status).header("X-Circuit-Breaker", b"open");
                return Some(answer.headers(&found.headers).body(found.body.clone()));
            }
        };
        breaker.stood_in.add(1);
        let answer = cx.answer(status).header("X-Circuit-Breaker", b"open");
        Some(answer.headers(headers).body(body.clone()))
    }

    fn refuse(&self, cx: &mut Access<'_>, left_ms: u64) -> Flow {
        let seconds = left_ms.div_ceil(1000).max(1);
        cx.decorate().set_number(Known::RetryAfter, seconds);
        self.refusal.answer(cx, seconds)
    }

    /// What a response, or the failure to get one, says about the service.
    fn outcome(&self, cx: &HeaderFilter<'_>) -> Outcome {
        let record = &cx.record;
        if cx.source == Source::Gateway {
            let error = match record.tries.last().and_then(|attempt| attempt.trouble) {
                Some(Trouble::Unreachable) => "connect",
                Some(Trouble::Timeout) => "timeout",
                Some(Trouble::Reset) => "reset",
                Some(Trouble::Malformed) => "malformed",
                Some(Trouble::Unwelcome) => return Outcome::Failure,
                None => return Outcome::Nothing,
            };
            let fails = self.failures.errors.iter().any(|known| known == error);
            return if fails { Outcome::Failure } else { Outcome::Nothing };
        }
        let Some(status) = record.upstream_status else { return Outcome::Nothing };
        let has =
            |name: &Option<String>| name.as_ref().is_some_and(|name| cx.response.headers.contains(name));
        let by_status = self.failures.statuses.contains(&i64::from(status));
        if !has(&self.failures.exempt_header) && (by_status || has(&self.failures.header)) {
            return Outcome::Failure;
        }
        let took = match (record.upstream_started, record.upstream_answered) {
            (Some(started), Some(answered)) => answered.saturating_duration_since(started).as_secs_f64(),
            _ => 0.0,
        };
        Outcome::Success { slow: took > self.slow_seconds }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
