#![doc = include_str!("doc.md")]

use std::sync::Arc;

use plugin::limits::fields::{Telling, Windows};
use plugin::limits::{Naming, Particulars, Windowed, decide};
use plugin::redis::fields::FullRedis;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

record! {
    /// Limits how many requests reach a service in several windows at once, whoever makes them.
    pub struct Config {
        ..windows: Windows;
        ..telling: Telling;
        /// Redis, with `strategy: redis`.
        redis: FullRedis;
    }
}

/// The room. See the module documentation.
pub struct ServiceProtection(Arc<Windowed>);

impl Plugin for ServiceProtection {
    const NAME: &'static str = "service-protection";
    const PRIORITY: i64 = 901;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: false, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let (namings, redis) = (vec![Naming::Service], &config.redis);
        let particulars = Particulars { namings, redis, group: "", asks_again: false };
        let limits = Arc::new(Windowed::build(&config.windows, &config.telling, particulars, cx)?);
        let told = limits.clone();
        cx.register_limits(Self::NAME, move |_| vec![told.clone()])?;
        Ok(Self(limits))
    }
}

impl Phases for ServiceProtection {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        decide(&self.0, cx)
    }
}

#[cfg(test)]
mod tests;
