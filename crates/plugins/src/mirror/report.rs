//! What has been found out about a route's copies: counts, noise, differences, examples. All of it bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugin::admin::{Answer, Call, Endpoint};
use plugin::confidential::Names;
use plugin::figures::{Family, Figure, Kind};
use plugin::{Build, Exchange, Matched, Services};
use serde_json::{Value, json};

use super::compare::{Difference, is_within};

/// Places that are known to be noise, and those that are counted, of one route.
const MAX_PLACES: usize = 500;
/// Examples that are kept of one route: the latest.
const MAX_EXAMPLES: usize = 20;
/// Octets that are kept of a request's target.
const MAX_TARGET: usize = 500;

/// The endpoints of the Admin API.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: "GET", path: "/mirrors", on_status_listener: false, handle: show },
    Endpoint { method: "DELETE", path: "/mirrors", on_status_listener: false, handle: forget },
];

static COPIES: Family = Family {
    name: "mirror_total",
    help: "Copies of requests by what came of them",
    kind: Kind::Counter,
    labels: &["route", "to", "result"],
};

/// What may come of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Sent, and not compared.
    Sent,
    /// Both answers are the same, noise apart.
    Equal,
    /// They are not.
    Different,
    /// There was no answer to the copy.
    Failed,
    /// They differ, and the service did not answer once more to tell whether that is noise.
    Unsettled,
    /// Not sent: as many copies as there may be were under way.
    Dropped,
    /// Not sent: the request or its answer cannot be copied.
    Skipped,
}

impl Outcome {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Sent, "sent"),
        (Self::Equal, "equal"),
        (Self::Different, "different"),
        (Self::Failed, "failed"),
        (Self::Unsettled, "unsettled"),
        (Self::Dropped, "dropped"),
        (Self::Skipped, "skipped"),
    ];
}

/// The report about one route.
pub(super) struct Report {
    route: String,
    to: String,
    counts: Vec<Arc<Figure>>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    noise: BTreeSet<String>,
    differences: BTreeMap<String, u64>,
    /// Differences at places for which there was no room.
    elsewhere: u64,
    examples: VecDeque<Example>,
}

/// A request whose answers differed.
pub(super) struct Example {
    pub(super) at_ms: u64,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) request_id: String,
    pub(super) differences: Vec<Difference>,
}

impl Report {
    /// The reports of one plugin on the routes it applies to, by ordinal; copies go to the service called `to`.
    pub(super) fn all(cx: &Build<'_>, to: &str) -> Vec<Option<Arc<Self>>> {
        let report = |matched: &Arc<Matched>| {
            let route = &matched.route;
            let of_route = cx.row.route.is_none_or(|id| id == route.id);
            let service = matched.service.as_ref().map(|service| service.id);
            let of_service = cx.row.service.is_none_or(|id| Some(id) == service);
            (of_route && of_service).then(|| {
                let name = route.name.clone().unwrap_or_else(|| route.id.to_string());
                let key = format!("{}:{name}", cx.row.id);
                // Made before: the registry is locked while it makes something.
                let made = Self::new(cx.services, name, to);
                cx.services.keep(&key, || made)
            })
        };
        cx.routes.iter().map(report).collect()
    }

    /// An empty report.
    pub(super) fn new(services: &Services, route: String, to: &str) -> Self {
        let figure = |(_, result): &(Outcome, &str)| services.figures.of(&COPIES, &[&route, to, result]);
        let counts = Outcome::ALL.iter().map(figure).collect();
        Self { counts, route, to: to.to_owned(), places: Mutex::default() }
    }

    /// Counts what came of a copy.
    pub(super) fn count(&self, outcome: Outcome) {
        self.counts[outcome as usize].add(1);
    }

    /// Leaves the differences that are not at places known to be noise.
    pub(super) fn without_noise(&self, differences: &mut Vec<Difference>) {
        let places = self.places();
        differences
            .retain(|difference| !places.noise.iter().any(|noise| is_within(&difference.place, noise)));
    }

    /// The service differs from itself at these places.
    pub(super) fn learn(&self, noise: Vec<Difference>) {
        let mut places = self.places();
        for Difference { place, .. } in noise {
            if places.noise.len() < MAX_PLACES {
                places.noise.insert(place);
            }
        }
    }

    /// Notes a request whose answers differ, and where.
    pub(super) fn note(&self, example: Example) {
        let mut places = self.places();
        for difference in &example.differences {
            let known = places.differences.contains_key(&difference.place);
            if known || places.differences.len() < MAX_PLACES {
                *places.differences.entry(difference.place.clone()).or_default() += 1;
            } else {
                places.elsewhere += 1;
            }
        }
        if places.examples.len() == MAX_EXAMPLES {
            places.examples.pop_front();
        }
        places.examples.push_back(example);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As the Admin API shows it.
    pub(super) fn to_json(&self) -> Value {
        let counts = Outcome::ALL.iter().zip(&self.counts);
        let counts: BTreeMap<&str, u64> = counts.map(|((_, name), figure)| (*name, figure.value())).collect();
        let places = self.places();
        json!({
            "route": self.route,
            "to": self.to,
            "counts": counts,
            "noise": places.noise,
            "differences": places.differences,
            "elsewhere": places.elsewhere,
            "examples": places.examples.iter().rev().map(Example::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Example {
    /// The request, so far without differences.
    pub(super) fn of(exchange: &Exchange, names: &Names) -> Self {
        let mut target = Vec::new();
        names.target(exchange.request.target(), |piece| target.extend_from_slice(piece));
        Self {
            at_ms: exchange.record.started_ms,
            method: exchange.request.method.as_str().to_owned(),
            target: String::from_utf8_lossy(&target[..target.len().min(MAX_TARGET)]).into_owned(),
            request_id: String::from_utf8_lossy(&exchange.request_id).into_owned(),
            differences: Vec::new(),
        }
    }

    fn to_json(&self) -> Value {
        let difference =
            |found: &Difference| json!({ "place": found.place, "primary": found.one, "mirror": found.other });
        json!({
            "at": self.at_ms,
            "method": self.method,
            "target": self.target,
            "request_id": self.request_id,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
        })
    }
}

fn show(call: &Call<'_>) -> Answer {
    let reports = call.services.all_kept::<Report>();
    let used = |report: &Arc<Report>| report.counts.iter().any(|figure| figure.value() > 0);
    let data: Vec<Value> =
        reports.iter().filter(|(_, report)| used(report)).map(|(_, report)| report.to_json()).collect();
    Answer::json(200, &json!({ "data": data, "next": null }))
}

/// Forgets noise, differences and examples; counts go on.
fn forget(call: &Call<'_>) -> Answer {
    for (_, report) in call.services.all_kept::<Report>() {
        *report.places() = Places::default();
    }
    Answer::no_content()
}
