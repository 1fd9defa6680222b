//! Limits for windows of seconds, ready to run: what the rooms that have them do alike.

use std::sync::Arc;

use super::caller::{Caller, Naming};
use super::decide::{Decision, Limited};
use super::fields::{Fields, Refusal, Telling, Windows};
use super::limiter::{Limiter, Setup};
use super::table::Refused;
use crate::Known;
use crate::build::{Build, BuildError};
use crate::flow::Flow;
use crate::redis::fields::FullRedis;
use crate::views::Access;

/// What is particular to an instance.
pub struct Particulars<'a> {
    /// Where counters may be shared.
    pub redis: &'a FullRedis,
    /// Whose requests are counted together.
    pub namings: Vec<Naming>,
    /// The group it is for, by its id; empty for everybody.
    pub group: &'a str,
    /// Refused requests ask again, and must not be in their own way.
    pub asks_again: bool,
}

/// The limits of an instance, and what its clients are told of them.
pub struct Windowed {
    /// The limits.
    pub limiter: Limiter,
    /// Whose requests are counted together.
    pub caller: Caller,
    /// The name of its counters.
    pub table: String,
    fields: Vec<Fields>,
    refusal: Refusal,
    /// Most seconds by which `Retry-After` is spread.
    jitter: u64,
}

impl Windowed {
    /// What the fields come to.
    ///
    /// # Errors
    /// A field that cannot be honoured.
    pub fn build(
        windows: &Windows,
        telling: &Telling,
        particulars: Particulars<'_>,
        cx: &Build<'_>,
    ) -> Result<Self, BuildError> {
        let limits = windows.limits()?;
        let (id, group) = (cx.row.id.to_string(), particulars.group);
        let namespace = windows.namespace.as_deref().unwrap_or(&id);
        let scope = if group.is_empty() { namespace.to_owned() } else { format!("{namespace}:{group}") };
        // Counters of other windows, and of other dictionaries, are others.
        let labels: Vec<String> =
            limits.iter().map(|limit| format!("{:?}", (limit.span, limit.algorithm))).collect();
        let table = format!("{} {scope} {}", windows.dictionary_name, labels.join(" "));
        let penalty = !windows.disable_penalty && !particulars.asks_again;
        let refused = if penalty { Refused::Counted } else { Refused::Forgotten };
        let sharing = windows.sharing(particulars.redis, &scope, cx)?;
        Ok(Self {
            limiter: Limiter::new(cx.services, Setup { limits, refused, table: &table, sharing }),
            caller: Caller::new(particulars.namings, cx)?,
            table,
            fields: windows.window_size.iter().map(|size| Fields::of(&named(*size))).collect(),
            refusal: telling.refusal()?,
            jitter: windows.retry_after_jitter_max as u64,
        })
    }

    /// Tells the client about its limits, and refuses the request if one has no room left.
    pub fn tell(&self, cx: &mut Access<'_>, decision: &Decision) -> Flow {
        if self.refusal.announces {
            self.announce(cx, decision);
        }
        if decision.verdict.admitted {
            return Flow::Next;
        }
        let retry_after = self.seconds_to_wait(decision) + cx.worker.random() % (self.jitter + 1);
        if self.refusal.announces {
            cx.decorate().set_number(Known::RetryAfter, retry_after);
        }
        self.refusal.answer(cx, retry_after)
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
            fields.set(headers, limit, remaining);
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

impl Limited for Windowed {
    fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn conclude(self: &Arc<Self>, cx: &mut Access<'_>, decision: &Decision) -> Flow {
        self.tell(cx, decision)
    }
}

/// What a window of so many seconds is called in fields: by a name where Kong has one for it.
fn named(size: f64) -> String {
    match size as u64 {
        1 => "Second".to_owned(),
        60 => "Minute".to_owned(),
        3600 => "Hour".to_owned(),
        86_400 => "Day".to_owned(),
        2_592_000 => "Month".to_owned(),
        31_536_000 => "Year".to_owned(),
        other => other.to_string(),
    }
}
