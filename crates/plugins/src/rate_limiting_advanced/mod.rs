#![doc = include_str!("doc.md")]

mod config;
mod groups;
mod queue;

use std::sync::Arc;

use plugin::limits::{
    Caller, ConsumerName, Decision, Limited, Limiter, Naming, Particulars, Windowed, decide, decide_again,
};
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Resume, Scopes};

pub use config::Config;
use groups::Overrides;
use queue::Queue;

/// The room. See the module documentation.
pub struct RateLimitingAdvanced {
    own: Arc<Inner>,
    overrides: Arc<Overrides>,
}

struct Inner {
    windowed: Windowed,
    queue: Option<Queue>,
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
        cx.register_limits(Self::NAME, move |cx| vec![told.1.of(cx).unwrap_or(&told.0).clone()])?;
        Ok(Self { own, overrides })
    }
}

impl Inner {
    /// The instance for callers of the group `group`, or for those of none.
    fn build(config: &Config, group: &str, cx: &Build<'_>) -> Result<Self, BuildError> {
        let throttles = config.throttling.enabled;
        let (namings, redis) = (namings(config, cx)?, &config.redis.redis);
        let particulars = Particulars { namings, redis, group, asks_again: throttles };
        let windowed = Windowed::build(&config.windows, &config.telling, particulars, cx)?;
        let queue = throttles.then(|| Queue::new(&config.throttling, cx.services, &windowed.table));
        Ok(Self { windowed, queue })
    }
}

fn namings(config: &Config, cx: &Build<'_>) -> Result<Vec<Naming>, BuildError> {
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
    let compound = config.compound_identifier.as_deref().unwrap_or_default();
    let mut namings: Vec<Naming> = compound.iter().map(|identifier| name(identifier)).collect();
    if let Some(claim) = &config.claim_name {
        namings.push(Naming::Claim(cx.wanted_claims()?.want(claim)));
    }
    if namings.is_empty() {
        namings.push(name(&config.identifier));
    }
    Ok(namings)
}

impl Phases for RateLimitingAdvanced {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        decide(self.overrides.of(cx).unwrap_or(&self.own), cx)
    }
}

impl Limited for Inner {
    fn limiter(&self) -> &Limiter {
        &self.windowed.limiter
    }

    fn caller(&self) -> &Caller {
        &self.windowed.caller
    }

    fn conclude(self: &Arc<Self>, cx: &mut Access<'_>, decision: &Decision) -> Flow {
        if !decision.verdict.admitted
            && let Some(wait) = self.wait(cx)
        {
            return wait;
        }
        self.windowed.tell(cx, decision)
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
}

#[cfg(test)]
mod tests;
