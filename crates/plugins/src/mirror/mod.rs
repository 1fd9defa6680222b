#![doc = include_str!("doc.md")]

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plugin::admin::Endpoint;
use plugin::confidential::Confidential;
use plugin::copies::{Answer, Bounds, CopiedRequest};
use plugin::{
    Access, BodyFilter, BodyMode, Build, BuildError, Detour, Exchange, Flow, HeaderFilter, Headers, Phase,
    Phases, Plugin, Scopes, Source, record,
};

use compare::{Side, differences};
use report::{Example, Outcome, Report};

mod compare;
mod report;
#[cfg(test)]
mod tests;

record! {
    /// Copies requests to another service and compares the answers.
    pub struct Config {
        /// Name or id of the service that gets the copies.
        service: String, [required(), len_min(1)];
        /// The share of requests that is copied, in percent.
        percentage: f64 = 100, [between(0, 100)];
        /// Methods that are copied. A copy does what its request does: name others than these only if that may happen
        /// twice.
        methods: Vec<String> = ["GET", "HEAD", "OPTIONS"], [len_min(1), each(http_method())];
        /// Whether answers are compared.
        compare: bool = true;
        /// Largest body of an answer that is compared, in bytes.
        max_body_bytes: usize = 65_536, [between(0, 4_194_304)];
        /// Copies that may be under way, over all workers. Further requests are not copied, and counted as dropped.
        max_pending: usize = 64, [between(1, 10_000)];
        /// Time for the answer to a copy, in milliseconds.
        timeout: u64 = 10_000, [between(1, 600_000)];
    }
}

/// The room, ready to run.
pub struct Mirror {
    to: Detour,
    share: f64,
    methods: Vec<Box<str>>,
    compare: bool,
    bounds: Bounds,
    max_pending: usize,
    pending: Arc<AtomicUsize>,
    /// By the ordinal of the route.
    reports: Vec<Option<Arc<Report>>>,
    confidential: Arc<Confidential>,
}

/// A request that is to be copied, and what its answer has been so far.
struct Chosen {
    place: Place,
    headers: Headers,
    status: u16,
    body: Vec<u8>,
    too_large: bool,
}

/// A place among the copies under way.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Plugin for Mirror {
    const NAME: &'static str = "mirror";
    const PRIORITY: i64 = 100_002;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter, Phase::BodyFilter];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    const ENDPOINTS: &'static [Endpoint] = report::ENDPOINTS;

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let to = cx.detour_to_service("config.service", &config.service)?;
        let key = format!("{}:{}", Self::NAME, cx.row.id);
        Ok(Self {
            share: config.percentage,
            methods: config.methods.into_iter().map(Into::into).collect(),
            compare: config.compare,
            bounds: Bounds {
                body_bytes: config.max_body_bytes,
                timeout: Duration::from_millis(config.timeout),
            },
            max_pending: config.max_pending,
            pending: cx.services.keep(&key, || Pending(Arc::default())).0.clone(),
            reports: Report::all(cx, to.name()),
            confidential: cx.confidential().clone(),
            to,
        })
    }
}

/// The number of copies under way, over reloads.
struct Pending(Arc<AtomicUsize>);

impl Phases for Mirror {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let method = cx.request.method.as_str();
        let listed = self.methods.iter().any(|known| &**known == method);
        // 53 bits are what a float holds.
        let chance = (cx.worker.random() >> 11) as f64 / (1_u64 << 53) as f64 * 100.0;
        if !listed || chance >= self.share {
            return Flow::Next;
        }
        let before = self.pending.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.pending.clone());
        if before >= self.max_pending {
            self.count(cx, Outcome::Dropped);
            return Flow::Next;
        }
        cx.remember(Chosen { place, headers: Headers::new(), status: 0, body: Vec::new(), too_large: false });
        Flow::Next
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        if cx.source != Source::Upstream || cx.record.upstream_status.is_none() {
            return;
        }
        let status = cx.response.status;
        let mut headers = cx.response.headers.clone();
        // What other rooms add to every response is not the service's.
        headers
            .retain(|field| !cx.decorations.entries().any(|own| own.name.eq_ignore_ascii_case(field.name)));
        if let Some(chosen) = cx.state::<Chosen>() {
            (chosen.status, chosen.headers) = (status, headers);
            cx.want_body(BodyMode::Observe);
        }
    }

    fn body_filter(&self, cx: &mut BodyFilter<'_>) {
        let (piece, last) = (cx.piece(), cx.is_last());
        let Some(chosen) = cx.state::<Chosen>().filter(|chosen| chosen.status != 0) else { return };
        if self.compare {
            chosen.too_large |= piece.len() > self.bounds.body_bytes.saturating_sub(chosen.body.len());
            if !chosen.too_large {
                chosen.body.extend_from_slice(piece);
            }
        }
        if last && let Some(chosen) = cx.take_state::<Chosen>() {
            self.send(cx, *chosen);
        }
    }
}

impl Mirror {
    fn report(&self, exchange: &Exchange) -> Option<&Arc<Report>> {
        self.reports.get(exchange.matched.as_ref()?.ordinal)?.as_ref()
    }

    fn count(&self, exchange: &Exchange, outcome: Outcome) {
        if let Some(report) = self.report(exchange) {
            report.count(outcome);
        }
    }

    /// Sends the copy, in a task apart, now that the request has been answered whole.
    fn send(&self, cx: &BodyFilter<'_>, chosen: Chosen) {
        let Some(report) = self.report(cx).cloned() else { return };
        let copy = match cx.copy_request() {
            Ok(copy) => copy,
            Err(reason) => {
                return report.count(if reason == "busy" { Outcome::Dropped } else { Outcome::Skipped });
            }
        };
        let copied = Copied {
            copy: copy.clone(),
            to: self.to.clone(),
            bounds: self.bounds,
            compare: self.compare && !chosen.too_large,
            repeatable: matches!(cx.upstream_method().as_str(), "GET" | "HEAD" | "OPTIONS"),
            example: Example::of(cx, self.confidential.names()),
            chosen,
            report,
        };
        copy.spawn(Box::pin(copied.run()));
    }
}

/// A copy on its way, and what its answer is compared with.
struct Copied {
    copy: Rc<dyn CopiedRequest>,
    to: Detour,
    bounds: Bounds,
    compare: bool,
    /// The service may be asked the same once more.
    repeatable: bool,
    example: Example,
    chosen: Chosen,
    report: Arc<Report>,
}

impl Copied {
    async fn run(mut self) {
        let outcome = self.outcome().await;
        self.report.count(outcome);
        if outcome == Outcome::Different {
            self.report.note(self.example);
        }
        drop(self.chosen.place);
    }

    async fn outcome(&mut self) -> Outcome {
        let Ok(answer) = self.copy.clone().send(Some(self.to.clone()), self.bounds).await else {
            return Outcome::Failed;
        };
        if !self.compare {
            return Outcome::Sent;
        }
        let mut found = differences(&self.chosen.side(), &side(&answer));
        self.report.without_noise(&mut found);
        if !found.is_empty() && self.repeatable {
            // Whatever the service says differently when it is asked once more, is noise.
            let Ok(again) = self.copy.clone().send(None, self.bounds).await else {
                return Outcome::Unsettled;
            };
            self.report.learn(differences(&self.chosen.side(), &side(&again)));
            self.report.without_noise(&mut found);
        }
        self.example.differences = found;
        if self.example.differences.is_empty() { Outcome::Equal } else { Outcome::Different }
    }
}

impl Chosen {
    fn side(&self) -> Side<'_> {
        Side { status: self.status, headers: &self.headers, body: &self.body }
    }
}

fn side(answer: &Answer) -> Side<'_> {
    Side { status: answer.status, headers: &answer.headers, body: &answer.body }
}
