#![doc = include_str!("doc.md")]

mod book;
mod counts;
mod query;
mod report;
mod store;

use std::sync::Arc;

use plugin::admin::Endpoint;
use plugin::model::schema::Value;
use plugin::{Build, BuildError, Exchange, HeaderFilter, Log, Phase, Phases, Plugin, Scopes, Source, record};

use book::Book;
use counts::{Sums, Whose};

/// Under which name the book is kept.
const BOOK: &str = "usage";
/// What is said where there is no database.
const NO_DATABASE: &str = "usage needs a database: set KONG_USAGE_DATABASE to a file that outlives the process, or \
                           KONG_PREFIX to a folder that does";
/// The largest cost of a request, in units.
const LARGEST_COST: f64 = 1_000_000.0;

record! {
    /// Counts requests, errors, bytes and cost units for each consumer, route and day.
    pub struct Config {
        /// What a request costs, in units of your choice, with at most three decimals. Requests that the gateway answers
        /// itself cost nothing.
        cost: f64 = 1, [custom_value(chargeable)];
        /// The response header in which the service says what a request costs, in place of `cost`.
        cost_header: Option<String>, [header_name()];
        /// Keep that header from the client.
        hide_cost_header: bool = true;
        /// Charge `cost` for responses of the service with a status of 400 and above, too. What `cost_header` says is
        /// always charged.
        charge_errors: bool = false;
    }
}

fn chargeable(cost: &Value) -> Result<(), String> {
    let cost = cost.as_f64().unwrap_or_default();
    let thousandths = cost * 1000.0;
    if (0.0..=LARGEST_COST).contains(&cost) && (thousandths - thousandths.round()).abs() < 1e-6 {
        return Ok(());
    }
    Err(format!("expected a number from 0 to {LARGEST_COST} with at most three decimals"))
}

/// The room. See the module documentation.
pub struct Usage {
    /// None where a configuration is only checked.
    book: Option<Arc<Book>>,
    cost: u32,
    cost_header: Option<Box<str>>,
    hides: bool,
    charges_errors: bool,
}

impl Plugin for Usage {
    const NAME: &'static str = "usage";
    const PRIORITY: i64 = 12;
    const RUNS: &'static [Phase] = &[Phase::HeaderFilter, Phase::Log];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = report::ENDPOINTS;

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self {
            book: if cx.services.dry_run { None } else { Some(open(cx)?) },
            cost: (config.cost * 1000.0).round() as u32,
            cost_header: config.cost_header.map(Into::into),
            hides: config.hide_cost_header,
            charges_errors: config.charge_errors,
        })
    }
}

fn open(cx: &Build<'_>) -> Result<Arc<Book>, BuildError> {
    let Some(settings) = cx.services.usage() else { return Err(BuildError::new("name", NO_DATABASE)) };
    let book = cx.services.keep(BOOK, || Book::start(cx.services, settings));
    cx.services.finish_at_end(&book);
    Ok(book)
}

impl Phases for Usage {
    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        let (Some(name), Some(book)) = (&self.cost_header, &self.book) else { return };
        let Some(value) = cx.response.headers.get(name) else { return };
        if cx.source == Source::Upstream {
            match thousandths(value) {
                Some(cost) => cx.charge(cost),
                None => book.refuse_cost(),
            }
        }
        if self.hides {
            cx.headers().remove(name);
        }
    }

    fn log(&self, cx: &Log<'_>) {
        let Some(book) = &self.book else { return };
        let whose = Whose {
            started_ms: cx.record.started_ms,
            consumer: cx.identity.consumer(),
            matched: cx.matched.as_ref(),
        };
        book.count(cx.worker.index, whose, &self.sums(cx));
    }
}

impl Usage {
    fn sums(&self, exchange: &Exchange) -> Sums {
        let (record, status) = (&exchange.record, exchange.response.status);
        // Who left before there was a response has no status.
        let failed = status >= 400 || status == 0;
        let charged = exchange.source == Source::Upstream && (self.charges_errors || !failed);
        Sums {
            requests: 1,
            errors: failed.into(),
            server_errors: (status >= 500).into(),
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            cost: record.cost.unwrap_or(if charged { self.cost } else { 0 }).into(),
        }
    }
}

/// A number of units in thousandths, rounded; none for what is no number, or not within the bounds.
fn thousandths(text: &[u8]) -> Option<u32> {
    let units: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    (0.0..=LARGEST_COST).contains(&units).then_some((units * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests;
