#![doc = include_str!("doc.md")]

mod admin;
mod breaker;
mod config;
mod instead;
mod machine;
mod stored;
mod table;
mod through;
mod window;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;
use plugin::admin::Endpoint;
use plugin::exchange::{Trouble, Try};
use plugin::guard::Instead;
use plugin::refusal::{Refusal, header_fields};
use plugin::{
    Access, BodyFilter, BodyMode, Build, BuildError, Exchange, Flow, HeaderFilter, Known, Log, Matched,
    Phase, Phases, Plugin, Scopes, Source,
};
use uuid::Uuid;

use breaker::{Breaker, Counts, Subject};
use config::{Config, Failures};
use instead::Fallback;
use machine::{Outcome, Rules};
use stored::Keeping;
use table::{Key, Place, Table};
use through::Through;

/// The room. See the module documentation.
pub struct CircuitBreaker(Arc<Inner>);

struct Inner {
    plugin: String,
    per: Per,
    /// By the route's place in the configuration.
    own: AHashMap<usize, Own>,
    table: Arc<Table>,
    rules: Rules,
    failures: Failures,
    slow_seconds: f64,
    /// How long a try takes matters by itself.
    times_tries: bool,
    refusal: Refusal,
    fallback: Fallback,
}

/// What has a breaker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Per {
    Service,
    Route,
    Target,
    Plugin,
}

/// What requests of a route have to do with as long as no room sends them elsewhere.
struct Own {
    /// None where each target has one.
    breaker: Option<Arc<Breaker>>,
    counts: Arc<Counts>,
}

impl Plugin for CircuitBreaker {
    const NAME: &'static str = "circuit-breaker";
    const PRIORITY: i64 = 95;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter, Phase::BodyFilter, Phase::Log];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = admin::ENDPOINTS;
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let per = match config.per.as_str() {
            "route" => Per::Route,
            "target" => Per::Target,
            "plugin" => Per::Plugin,
            _ => Per::Service,
        };
        let plugin = cx.row.id.to_string();
        let table = cx.services.keep(&format!("{plugin}/{}", config.per), Table::default);
        table.forget_all_but(|key| {
            let knows_route = || cx.routes.iter().any(|matched| matched.route.id == key.route);
            (key.service.is_nil() || cx.config.service(key.service).is_some())
                && (key.route.is_nil() || knows_route())
        });
        let rules = config::rules(&config)?;
        let answer = &config.answer;
        let headers = header_fields("config.answer.headers", &answer.content_type, answer.headers.as_ref())?;
        let mut inner = Inner {
            own: AHashMap::new(),
            slow_seconds: config.window.slow_seconds,
            times_tries: per == Per::Target && config.window.slow_ratio.is_some(),
            fallback: Fallback::new(&config, cx)?,
            refusal: Refusal::new(answer.status as u16, headers, &answer.body),
            failures: config.failures,
            plugin,
            per,
            table,
            rules,
        };
        let routes = cx.routes_in_scope().filter(|matched| matched.service.is_some());
        inner.own = routes.map(|matched| (matched.ordinal, inner.own(matched, cx))).collect();
        Ok(Self(Arc::new(inner)))
    }
}

impl Inner {
    fn own(&self, matched: &Matched, cx: &Build<'_>) -> Own {
        let subject = self.subject(matched, matched.service.as_deref(), String::new());
        let counts = Arc::new(Counts::new(&subject, cx.services));
        let service = matched.service.as_ref().map_or(Uuid::nil(), |service| service.id);
        let key = match self.per {
            Per::Target => return Own { breaker: None, counts },
            Per::Plugin => Key { service: Uuid::nil(), route: Uuid::nil(), place: Place::Home },
            Per::Service => Key { service, route: Uuid::nil(), place: Place::Home },
            Per::Route => Key { service, route: matched.route.id, place: Place::Home },
        };
        Own { breaker: self.table.of(key, || subject, cx.services, cx.services.steady.now_ms()), counts }
    }

    fn subject(
        &self,
        matched: &Matched,
        service: Option<&plugin::model::entity::Service>,
        target: String,
    ) -> Subject {
        let named = |name: &Option<String>, id: Uuid| name.clone().unwrap_or_else(|| id.to_string());
        let service = service.map(|service| named(&service.name, service.id)).unwrap_or_default();
        let route = &matched.route;
        Subject {
            plugin: self.plugin.clone(),
            service: if self.per == Per::Plugin { String::new() } else { service },
            route: if self.per == Per::Route { named(&route.name, route.id) } else { String::new() },
            target,
        }
    }

    /// The breaker that a request to `target` has to do with, by where it is really sent. One per target is known only
    /// with the target.
    fn breaker(&self, exchange: &Exchange, target: Option<SocketAddr>, now: u64) -> Option<Arc<Breaker>> {
        let matched = exchange.matched.as_ref()?;
        let own = || self.own.get(&matched.ordinal)?.breaker.clone();
        let place = match (self.per, target, &exchange.detour) {
            (Per::Plugin, ..) => return own(),
            (Per::Target, None, _) => return None,
            (Per::Target, Some(target), _) => Place::Target(target),
            (_, _, None) => return own(),
            (_, _, Some(detour)) if detour.service().is_some() => Place::Home,
            (_, _, Some(detour)) => Place::Host(detour.shared_name()),
        };
        let service = exchange.service()?;
        let route = if self.per == Per::Route { matched.route.id } else { Uuid::nil() };
        let shown = match &place {
            Place::Home => String::new(),
            Place::Host(name) => name.to_string(),
            Place::Target(address) => address.to_string(),
        };
        let subject = || self.subject(matched, Some(service), shown);
        self.table.of(Key { service: service.id, route, place }, subject, &exchange.worker.services, now)
    }

    /// Answers a request that is not let through, or sends it elsewhere.
    fn stand_in(&self, cx: &mut Access<'_>, key: Option<&stored::Key>, wait_ms: u64, now: u64) -> Instead {
        if let Some(counts) = self.counts(cx) {
            counts.refused.add(1);
        }
        match self.fall_back(cx, key, b"open", now) {
            Some(instead) => instead,
            None => self.refuse(cx, wait_ms),
        }
    }

    /// Finds something for a request that gets to nobody: to clients it is all the same why nobody answers.
    fn fall_back(
        &self,
        cx: &mut Access<'_>,
        key: Option<&stored::Key>,
        why: &[u8],
        now: u64,
    ) -> Option<Instead> {
        let instead = self.fallback.stand_in(cx, key, why, now)?;
        if let Some(counts) = self.counts(cx) {
            counts.stood_in.add(1);
        }
        Some(instead)
    }

    fn counts(&self, cx: &Access<'_>) -> Option<&Counts> {
        let own = self.own.get(&cx.matched.as_ref()?.ordinal)?;
        Some(&own.counts)
    }

    fn refuse(&self, cx: &mut Access<'_>, wait_ms: u64) -> Instead {
        let seconds = wait_ms.div_ceil(1000).max(1);
        cx.decorate().set_number(Known::RetryAfter, seconds);
        let _answered = self.refusal.answer(cx, seconds);
        Instead::Answered
    }

    /// What a response, or the failure to get one, says about who was asked at last, for `since` or since the first try.
    fn outcome(&self, cx: &HeaderFilter<'_>, since: Option<Instant>) -> Outcome {
        let record = &cx.record;
        if cx.source == Source::Gateway {
            return record.tries.last().map_or(Outcome::Nothing, |attempt| self.outcome_of(attempt));
        }
        let Some(status) = record.upstream_status else { return Outcome::Nothing };
        let has =
            |name: &Option<String>| name.as_ref().is_some_and(|name| cx.response.headers.contains(name));
        if !has(&self.failures.exempt_header) && (self.fails_with(status) || has(&self.failures.header)) {
            return Outcome::Failure;
        }
        let took = match (since.or(record.upstream_started), record.upstream_answered) {
            (Some(started), Some(answered)) => answered.saturating_duration_since(started).as_secs_f64(),
            _ => 0.0,
        };
        Outcome::Success { slow: took > self.slow_seconds }
    }

    /// What a try that failed says about who was asked.
    fn outcome_of(&self, attempt: &Try) -> Outcome {
        match (attempt.trouble, attempt.failed) {
            (Some(Trouble::Unwelcome), Some(status)) if self.fails_with(status) => Outcome::Failure,
            (Some(Trouble::Unwelcome), _) => Outcome::Success { slow: false },
            (Some(Trouble::Unreachable), _) => self.fails_by("connect"),
            (Some(Trouble::Timeout), _) => self.fails_by("timeout"),
            (Some(Trouble::Reset), _) => self.fails_by("reset"),
            (Some(Trouble::Malformed), _) => self.fails_by("malformed"),
            (Some(Trouble::Superseded) | None, _) => Outcome::Nothing,
        }
    }

    fn fails_with(&self, status: u16) -> bool {
        self.failures.statuses.contains(&i64::from(status))
    }

    fn fails_by(&self, error: &str) -> Outcome {
        if self.failures.errors.iter().any(|known| known == error) {
            return Outcome::Failure;
        }
        Outcome::Nothing
    }
}

impl Phases for CircuitBreaker {
    /// Whether the request gets through is decided when it is known where it goes: later rooms may send it elsewhere.
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let key = match &self.0.fallback {
            Fallback::Cached { .. } => stored::key(cx),
            _ => None,
        };
        let clock = cx.worker.services.steady.clone();
        cx.guard_by(Rc::new(Through::new(self.0.clone(), clock, key)));
        Flow::Next
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        let Some(through) = cx.guard_as::<Through>() else { return };
        let outcome = through.settle(cx);
        through.keeping.set(None);
        let Some(key) = through.key.take() else { return };
        if let Fallback::Cached { store, .. } = &self.0.fallback
            && cx.source == Source::Upstream
            && matches!(outcome, Outcome::Success { .. })
            && let Some(keeping) = Keeping::begin(cx, key, store, cx.worker.services.steady.now_ms())
        {
            through.keeping.set(Some(keeping));
            cx.want_body(BodyMode::Observe);
        }
    }

    fn body_filter(&self, cx: &mut BodyFilter<'_>) {
        let (piece, last) = (cx.piece(), cx.is_last());
        let Some(through) = cx.guard_as::<Through>() else { return };
        let Some(mut keeping) = through.keeping.take() else { return };
        if !keeping.push(piece) {
            return;
        }
        if last {
            keeping.finish();
        } else {
            through.keeping.set(Some(keeping));
        }
    }

    fn log(&self, cx: &Log<'_>) {
        let error = match cx.record.broken {
            Some(Trouble::Timeout) => "stalled",
            Some(_) => "broken",
            None => return,
        };
        if let Some(through) = cx.guard_as::<Through>()
            && self.0.fails_by(error) == Outcome::Failure
        {
            through.take_back();
        }
    }
}

#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
