#![doc = include_str!("doc.md")]

use std::time::Duration;

use plugin::exchange::Timeouts;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// Gives some requests other times than their service allows.
    pub struct Config {
        /// Milliseconds to connect to the service; the service's own time when absent. 0 stands for 60000.
        connect_timeout: Option<i64>, [timeout()];
        /// Milliseconds between two pieces of a request that the service takes; the service's own time when absent. 0
        /// stands for 60000.
        send_timeout: Option<i64>, [timeout()];
        /// Milliseconds between two pieces of a response that come from the service; the service's own time when absent. 0
        /// stands for 60000.
        read_timeout: Option<i64>, [timeout()];
    }
}

/// Milliseconds that 0 stands for.
const DEFAULT: u64 = 60_000;

/// The room, ready to run.
pub struct UpstreamTimeout {
    timeouts: Timeouts,
}

impl Plugin for UpstreamTimeout {
    const NAME: &'static str = "upstream-timeout";
    const PRIORITY: i64 = 400;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self {
            timeouts: Timeouts {
                connect: config.connect_timeout.map(time),
                write: config.send_timeout.map(time),
                read: config.read_timeout.map(time),
            },
        })
    }
}

fn time(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).ok().filter(|time| *time > 0).unwrap_or(DEFAULT))
}

impl Phases for UpstreamTimeout {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        cx.set_timeouts(self.timeouts);
        Flow::Next
    }
}
