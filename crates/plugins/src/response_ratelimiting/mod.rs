#![doc = include_str!("doc.md")]

mod names;

use std::sync::Arc;
use std::time::Duration;

use plugin::limits::fields::{Periods, Policy};
use plugin::limits::{Caller, FailureMode, Naming};
use plugin::model::schema::{Map, Value};
use plugin::{
    Access, Build, BuildError, Flow, HeaderFilter, Phase, Phases, Plugin, Resume, Scopes, Source, record,
};
use tokio::task::JoinSet;

use names::Named;

record! {
    /// Limits what callers use up, by what the responses of the service say that they cost.
    pub struct Config {
        ..policy: Policy;
        /// The limits by name, at least one. A name stands in header fields.
        limits: Map<Periods>, [len_min(1), keys(custom_value(is_part_of_a_field))];
        /// The response header in which the service says what its response costs: `NAME=AMOUNT, ...`.
        header_name: String = "x-kong-limit", [header_name()];
        /// Whose responses are counted together: those of a `consumer` (or else a credential), `credential` or `ip`
        /// address. Where a request has none, the client's address stands in.
        limit_by: String = "consumer", [one_of(&["consumer", "credential", "ip"])];
        /// Refuse requests of who has nothing left of one of the limits, whether they would use it or not.
        block_on_first_violation: bool = false;
        /// Do not tell clients about limits: no rate limit headers are sent.
        hide_client_headers: bool = false;
    }
}

fn is_part_of_a_field(name: &Value) -> Result<(), String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match name.as_str().is_some_and(|name| !name.is_empty() && name.bytes().all(is_part)) {
        true => Ok(()),
        false => Err("a limit's name stands in header fields: letters, digits, '-' and '_'".to_owned()),
    }
}

/// The time between two exchanges with Redis while there is something to tell. Others learn of what was used here after
/// so long at most.
const SOON: Duration = Duration::from_millis(20);

/// The room. See the module documentation.
pub struct ResponseRatelimiting(Arc<Inner>);

struct Inner {
    limits: Vec<Arc<Named>>,
    header: Box<str>,
    blocks: bool,
    announces: bool,
}

impl Plugin for ResponseRatelimiting {
    const NAME: &'static str = "response-ratelimiting";
    const PRIORITY: i64 = 900;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let naming = match config.limit_by.as_str() {
            "credential" => Naming::Credential,
            "ip" => Naming::Address,
            _ => Naming::ConsumerOrCredential,
        };
        let caller = Arc::new(Caller::new(vec![naming], cx)?);
        let limits = config.limits.iter().map(|(name, periods)| {
            let scope = format!("{}:{name}", cx.row.id);
            let sharing = config.policy.sharing(&scope, Some(SOON), cx)?;
            Ok(Arc::new(Named::new(name, periods, &scope, (caller.clone(), sharing), cx)))
        });
        let limits = limits.collect::<Result<Vec<_>, BuildError>>()?;
        let told = limits.clone();
        cx.register_limits(Self::NAME, move |_| told.iter().map(|named| named.clone() as _).collect())?;
        Ok(Self(Arc::new(Inner {
            limits,
            header: config.header_name.into(),
            blocks: config.block_on_first_violation,
            announces: !config.hide_client_headers,
        })))
    }
}

impl Phases for ResponseRatelimiting {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let Some(first) = self.0.limits.first() else { return Flow::Next };
        if first.limiter.on_failure().is_none() {
            return self.0.admit(cx);
        }
        match first.limiter.is_silent() {
            true => self.0.without_store(cx),
            false => self.0.ask(cx),
        }
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        if cx.source == Source::Upstream && self.0.counts() {
            self.0.settle(cx);
        }
        cx.headers().remove(&self.0.header);
    }
}

impl Inner {
    /// Learns from Redis what the caller has used, of all limits at once.
    fn ask(self: &Arc<Self>, cx: &Access<'_>) -> Flow {
        let (this, worker, now_ms) = (self.clone(), cx.worker.index, cx.record.started_ms);
        let question =
            |limit: &Arc<Named>| limit.caller.identify(cx, |who| limit.limiter.question(who, now_ms));
        let questions: Vec<_> = self.limits.iter().map(question).collect();
        Flow::wait(async move {
            let mut exchanges = JoinSet::new();
            for (index, question) in questions.into_iter().enumerate() {
                let this = this.clone();
                exchanges.spawn(async move { this.limits[index].limiter.learn(worker, &question).await });
            }
            let mut known = true;
            while let Some(learnt) = exchanges.join_next().await {
                known &= matches!(learnt, Ok(Ok(())));
            }
            let resume: Resume = Box::new(move |cx| match known {
                true => this.admit(cx),
                false => this.without_store(cx),
            });
            resume
        })
    }

    /// The failure mode takes over.
    fn without_store(&self, cx: &mut Access<'_>) -> Flow {
        for limit in &self.limits {
            // The service would believe what a client says.
            cx.headers().remove(&limit.left);
        }
        match self.limits.first() {
            Some(first) => first.limiter.do_without_store(cx, |cx| self.admit(cx)),
            None => Flow::Next,
        }
    }

    /// Tells the service what the caller has left, unless nothing is left and that is enough to refuse it.
    fn admit(&self, cx: &mut Access<'_>) -> Flow {
        for limit in &self.limits {
            let usage = limit.usage(cx);
            if self.blocks && !usage.verdict.admitted {
                if self.announces {
                    limit.announce(&usage, cx.decorate());
                }
                return cx.answer(429).message(limit.message.clone());
            }
            limit.tell_service(&usage, cx.headers());
        }
        Flow::Next
    }

    /// Whether responses are counted: not while Redis is away, except where this process is to go on alone.
    fn counts(&self) -> bool {
        let Some(first) = self.limits.first() else { return false };
        matches!(first.limiter.on_failure(), None | Some(FailureMode::Local)) || !first.limiter.is_silent()
    }

    /// Counts what the response costs, or refuses it if something of what it costs was used up before.
    fn settle(&self, cx: &mut HeaderFilter<'_>) {
        let mut refused = self.limits.iter().any(|limit| {
            let cost = limit.cost(&cx.response.headers, &self.header);
            cost > 0 && !limit.usage(cx).verdict.admitted
        });
        for limit in &self.limits {
            let usage = match limit.cost(&cx.response.headers, &self.header) {
                amount @ 1.. if !refused => limit.spend(amount, cx),
                _ => limit.usage(cx),
            };
            // Another response may have come in between.
            refused |= !usage.verdict.admitted && usage.is_asked;
            if self.announces {
                limit.announce(&usage, cx.headers());
            }
        }
        if refused {
            cx.withhold(429);
        }
    }
}

#[cfg(test)]
mod tests;
