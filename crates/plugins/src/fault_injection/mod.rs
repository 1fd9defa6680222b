#![doc = include_str!("doc.md")]

mod abort;
mod delay;
mod share;

use std::sync::Arc;

use plugin::model::Value;
use plugin::{Access, Build, BuildError, Exchange, Flow, Phase, Phases, Plugin, Scopes, record};

use abort::Abort;
use delay::{Active, Delay};
use share::Share;

#[cfg(test)]
mod tests;

record! {
    /// A wait before a request goes on.
    pub struct DelayConfig {
        /// Milliseconds that each delayed request waits. Excludes `least` and `most`.
        fixed: Option<i64>, [between(1, 30_000)];
        /// Milliseconds that a delayed request waits at least; each waits for a time of its own up to `most`.
        least: Option<i64>, [between(0, 30_000)];
        /// Milliseconds that a delayed request waits at most.
        most: Option<i64>, [between(1, 30_000)];
        /// A request header whose value, in milliseconds, is the time to wait. A request without it, or with one that is no
        /// number, waits as the other fields say.
        header: Option<String>, [header_name()];
        /// Milliseconds beyond which `header` cannot go.
        header_most: i64 = 5000, [between(1, 30_000)];
        /// How many of a hundred requests are delayed.
        percentage: f64 = 100, [between(0, 100)];
    }
    checks: [mutually_required(&["least", "most"]), custom(in_order)]
}

record! {
    /// An answer in place of the service's.
    pub struct AbortConfig {
        /// Status code of the answer.
        status: Option<u16>, [between(200, 599)];
        /// Status code of the answer to a call of gRPC; that of HTTP is then 200.
        grpc_status: Option<u16>, [between(1, 16)];
        /// A request header whose value is the status code. A request without it, or with a value that is none from 200
        /// to 599, is answered as the other fields say.
        header: Option<String>, [header_name()];
        /// Message of the answer.
        message: String = "fault injected";
        /// The answer's body, sent as it is in place of the message; not to calls of gRPC.
        body: Option<String>;
        /// Media type of `body`.
        content_type: String = "application/json; charset=utf-8";
        /// How many of a hundred requests are answered.
        percentage: f64 = 100, [between(0, 100)];
    }
}

record! {
    /// Delays requests or answers them with errors, to see how clients take that.
    pub struct Config {
        /// A wait before requests go on, or are answered. None unless `fixed`, `least` and `most`, or `header` is given.
        delay: DelayConfig;
        /// An answer in place of the service's. None unless `status`, `grpc_status` or `header` is given.
        abort: AbortConfig;
        /// Only requests that have this header are considered.
        header: Option<String>, [header_name()];
        /// Only requests in which `header` has one of these values are considered.
        header_values: Option<Vec<String>>;
        /// Most requests that are delayed at the same time, in all workers together; more go on without delay.
        max_active: i64 = 100, [between(1, 100_000)];
    }
    checks: [conditional("header_values", len_min(1), "header", required()), custom(some_fault)]
}

fn in_order(delay: &Value) -> Result<(), String> {
    if !delay["fixed"].is_null() && !delay["least"].is_null() {
        return Err("fixed cannot be used with least and most".to_owned());
    }
    match (delay["least"].as_i64(), delay["most"].as_i64()) {
        (Some(least), Some(most)) if least > most => Err("least cannot be larger than most".to_owned()),
        _ => Ok(()),
    }
}

fn some_fault(config: &Value) -> Result<(), String> {
    let given = |fault: &str, fields: &[&str]| fields.iter().any(|field| !config[fault][*field].is_null());
    if given("delay", &["fixed", "most", "header"]) || given("abort", &["status", "grpc_status", "header"]) {
        return Ok(());
    }
    Err("there is no fault to inject: give delay.fixed, delay.least and delay.most, delay.header, abort.status, \
         abort.grpc_status or abort.header"
        .to_owned())
}

/// The room, ready to run.
pub struct FaultInjection {
    only: Option<Condition>,
    delay: Option<Delay>,
    abort: Option<Arc<Abort>>,
    active: Arc<Active>,
}

/// What a request must have to be considered.
struct Condition {
    header: String,
    /// Any value, if none.
    values: Option<Vec<String>>,
}

impl Plugin for FaultInjection {
    const NAME: &'static str = "fault-injection";
    const PRIORITY: i64 = 410;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::ALL;
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let active = cx.services.keep(&cx.row.id.to_string(), Active::default);
        active.admit(u32::try_from(config.max_active).unwrap_or(u32::MAX));
        let values = config.header_values;
        Ok(Self {
            only: config.header.map(|header| Condition { header, values }),
            delay: Delay::new(config.delay),
            abort: Abort::new(config.abort)?.map(Arc::new),
            active,
        })
    }
}

impl Phases for FaultInjection {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if self.only.as_ref().is_some_and(|condition| !condition.holds(cx)) {
            return Flow::Next;
        }
        let abort = self.abort.as_ref().filter(|abort| abort.share.takes(&cx.worker));
        let delayed = self.delay.as_ref().and_then(|delay| delay.of(cx));
        let Some((time, turn)) = delayed.and_then(|time| Some((time, self.active.take()?))) else {
            return abort.map_or(Flow::Next, |abort| abort.answer(cx));
        };
        let (sleep, abort) = (cx.worker.services.clock.sleep(time), abort.cloned());
        Flow::wait(async move {
            sleep.await;
            drop(turn);
            Box::new(move |cx: &mut Access<'_>| abort.map_or(Flow::Next, |abort| abort.answer(cx)))
                as plugin::Resume
        })
    }
}

impl Condition {
    fn holds(&self, exchange: &Exchange) -> bool {
        let mut values = exchange.request.headers.all(&self.header);
        match &self.values {
            None => values.next().is_some(),
            Some(wanted) => values.any(|value| wanted.iter().any(|wanted| wanted.as_bytes() == value)),
        }
    }
}
