//! One limit by name, and what it is called where it is told.

use std::sync::Arc;

use plugin::limits::fields::{Fields, Periods};
use plugin::limits::{
    Caller, Limit, Limiter, MOST_LIMITS, Period, Readable, Refused, Setup, Sharing, Verdict, Window,
};
use plugin::{Build, Exchange, Headers};

/// A limit by name.
pub(super) struct Named {
    /// How much of it there is.
    pub(super) limiter: Limiter,
    /// Whose responses are counted together.
    pub(super) caller: Arc<Caller>,
    /// The request field that tells the service what is left.
    pub(super) left: Box<str>,
    /// What a client is told that is refused beforehand.
    pub(super) message: String,
    name: Box<str>,
    fields: Vec<Fields>,
}

/// What a caller has used.
pub(super) struct Usage {
    /// The numbers.
    pub(super) verdict: Verdict,
    /// The verdict is on this very response.
    pub(super) is_asked: bool,
    windows: [Window; MOST_LIMITS],
    now_ms: u64,
}

impl Named {
    pub(super) fn new(
        name: &str,
        periods: &Periods,
        table: &str,
        (caller, sharing): (Arc<Caller>, Option<Sharing>),
        cx: &Build<'_>,
    ) -> Self {
        let (periods, limits): (Vec<Period>, Vec<Limit>) = periods.limits().into_iter().unzip();
        let fields = periods.iter().map(|period| Fields::of(&format!("{name}-{}", period.name())));
        Self {
            limiter: Limiter::new(cx.services, Setup { limits, refused: Refused::Forgotten, table, sharing }),
            caller,
            left: format!("X-RateLimit-Remaining-{name}").into(),
            message: format!("API rate limit exceeded for '{name}'"),
            name: name.into(),
            fields: fields.collect(),
        }
    }

    /// What a response costs of this limit, by its field `header`: of several values, the last.
    pub(super) fn cost(&self, headers: &Headers, header: &str) -> u32 {
        let entries = headers.all(header).flat_map(|value| value.split(|byte| *byte == b','));
        let amounts = entries.filter_map(|entry| {
            let at = entry.iter().position(|byte| *byte == b'=')?;
            (entry[..at].trim_ascii() == self.name.as_bytes()).then(|| amount(entry[at + 1..].trim_ascii()))
        });
        amounts.last().unwrap_or_default()
    }

    /// What the caller has used.
    pub(super) fn usage(&self, exchange: &Exchange) -> Usage {
        let now_ms = exchange.record.started_ms;
        let windows = self.limiter.windows(now_ms);
        let verdict = self.caller.identify(exchange, |who| self.limiter.usage(who, &windows, now_ms));
        Usage { verdict, is_asked: false, windows, now_ms }
    }

    /// Counts `amount`, if there is something left.
    pub(super) fn spend(&self, amount: u32, exchange: &Exchange) -> Usage {
        let (worker, now_ms) = (exchange.worker.index, exchange.record.started_ms);
        let windows = self.limiter.windows(now_ms);
        let verdict =
            self.caller.identify(exchange, |who| self.limiter.spend(worker, who, &windows, now_ms, amount));
        Usage { verdict, is_asked: true, windows, now_ms }
    }

    fn remaining<'a>(&'a self, usage: &'a Usage) -> impl Iterator<Item = u32> + 'a {
        let limits = self.limiter.limits().iter().enumerate();
        limits
            .map(|(index, limit)| limit.remaining(&usage.verdict, index, usage.windows[index], usage.now_ms))
    }

    /// Tells the service what is left: that of the period with the least.
    pub(super) fn tell_service(&self, usage: &Usage, headers: &mut Headers) {
        let least = self.remaining(usage).min().unwrap_or_default();
        headers.set(&self.left, itoa::Buffer::new().format(least).as_bytes());
    }

    /// Tells the client about every period.
    pub(super) fn announce(&self, usage: &Usage, headers: &mut Headers) {
        let told = self.limiter.limits().iter().zip(&self.fields).zip(self.remaining(usage));
        for ((limit, fields), remaining) in told {
            fields.set(headers, limit, remaining);
        }
    }
}

impl Readable for Named {
    fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn learns(&self) -> bool {
        self.limiter.on_failure().is_some()
    }
}

/// An amount in decimal: a part of one counts as one, and what is none as nothing.
fn amount(text: &[u8]) -> u32 {
    let is_decimal = text.first().is_some_and(u8::is_ascii_digit)
        && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let number =
        std::str::from_utf8(text).ok().filter(|_| is_decimal).and_then(|text| text.parse::<f64>().ok());
    number.map_or(0, |number| number.ceil() as u32)
}
