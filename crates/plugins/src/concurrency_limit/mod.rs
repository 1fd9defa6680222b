#![doc = include_str!("doc.md")]

mod adaptive;
mod config;
mod gate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use plugin::exchange::Trouble;
use plugin::figures::{Family, Kind};
use plugin::model::entity::{Consumer, Service};
use plugin::sessions::{Admission, Session};
use plugin::{
    Access, BodyLength, Build, BuildError, Exchange, Flow, HeaderFilter, Known, Matched, Phase, Phases,
    Plugin, Resume, Scopes, Services,
};
use uuid::Uuid;

use config::Config;
use gate::{Entry, Figures, Gate, Limit, Place};

const LABELS: &[&str] = &["plugin", "of"];

static RUNNING: Family =
    Family { name: "concurrency_running", help: "Requests that run", kind: Kind::Gauge, labels: LABELS };
static WAITING: Family = Family {
    name: "concurrency_waiting",
    help: "Requests that wait for others to end",
    kind: Kind::Gauge,
    labels: LABELS,
};
static REFUSED: Family = Family {
    name: "concurrency_refused_total",
    help: "Requests turned away because too many ran and waited",
    kind: Kind::Counter,
    labels: LABELS,
};

static LIMIT: Family = Family {
    name: "concurrency_limit",
    help: "Requests that may run at once",
    kind: Kind::Gauge,
    labels: LABELS,
};

/// The room. See the module documentation.
pub struct ConcurrencyLimit {
    per: Per,
    gates: Arc<Gates>,
    /// How long responses take matters.
    learns: bool,
    queue: Queue,
    refusal: Refusal,
}

/// Whose requests are counted together.
enum Per {
    Plugin,
    Service,
    Route,
    Consumer,
}

struct Queue {
    room: usize,
    patience: Duration,
    priorities: Priorities,
}

/// How important a request is.
struct Priorities {
    header: Option<String>,
    by_consumer: AHashMap<Uuid, u8>,
    by_group: AHashMap<Uuid, u8>,
    otherwise: u8,
}

#[derive(Clone)]
struct Refusal {
    status: u16,
    message: Arc<str>,
    retry_after: u64,
}

/// The gates of a plugin entity, made as they are needed: no more than there are services, routes or consumers.
struct Gates {
    plugin: String,
    limit: Limit,
    services: std::sync::Weak<Services>,
    by_id: [Mutex<AHashMap<Uuid, Arc<Gate>>>; 16],
}

impl Gates {
    fn of(&self, id: Uuid, name: impl Fn() -> String) -> Arc<Gate> {
        let shard = &self.by_id[usize::from(id.as_bytes()[15] & 15)];
        let mut gates = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&id) {
            return gate.clone();
        }
        let made = Arc::new(Gate::new(self.limit, self.figures(&name())));
        gates.insert(id, made.clone());
        made
    }

    /// Forgets the gates of entities that are gone.
    fn forget_all_but(&self, is_known: impl Fn(Uuid) -> bool) {
        for shard in &self.by_id {
            let mut gates = shard.lock().unwrap_or_else(PoisonError::into_inner);
            gates.retain(|id, _| id.is_nil() || is_known(*id));
        }
    }

    fn figures(&self, of: &str) -> Figures {
        let Some(services) = self.services.upgrade() else { return Figures::default() };
        let figure = |family| services.figures.of(family, &[&self.plugin, of]);
        Figures {
            running: figure(&RUNNING),
            waiting: figure(&WAITING),
            refused: figure(&REFUSED),
            limit: figure(&LIMIT),
        }
    }
}

impl Plugin for ConcurrencyLimit {
    const NAME: &'static str = "concurrency-limit";
    const PRIORITY: i64 = 90;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::HeaderFilter, Phase::Session];
    const STREAMS: &'static [&'static str] = &["tcp", "tls", "tls_passthrough", "udp"];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");
    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let limit = limit(&config);
        let plugin = cx.row.id.to_string();
        let key = format!("{plugin}/{}/{limit:?}", config.per);
        let services = Arc::downgrade(cx.services);
        let gates = cx.services.keep(&key, || Gates { plugin, limit, services, by_id: Default::default() });
        gates.forget_all_but(|id| {
            let is_route = || cx.routes.iter().any(|matched| matched.route.id == id);
            cx.config.service(id).is_some() || cx.config.consumer(id).is_some() || is_route()
        });
        Ok(Self {
            per: match config.per.as_str() {
                "route" => Per::Route,
                "consumer" => Per::Consumer,
                "plugin" => Per::Plugin,
                _ => Per::Service,
            },
            gates,
            learns: config.adaptive.enabled,
            queue: Queue {
                room: usize::try_from(config.queue.size).unwrap_or(0),
                patience: Duration::from_secs_f64(config.queue.seconds),
                priorities: priorities(&config.queue, cx)?,
            },
            refusal: Refusal {
                status: config.status as u16,
                message: config.message.into(),
                retry_after: config.retry_after.unsigned_abs(),
            },
        })
    }
}

fn limit(config: &Config) -> Limit {
    let count = |count: i64| usize::try_from(count).unwrap_or(1);
    let adaptive = &config.adaptive;
    if !adaptive.enabled {
        return Limit::Fixed(count(config.limit));
    }
    let (least, most) = (count(adaptive.min), count(config.limit));
    Limit::Adaptive(adaptive::Rules { least, most, tolerance: adaptive.tolerance })
}

fn priorities(queue: &config::Queue, cx: &Build<'_>) -> Result<Priorities, BuildError> {
    let none = BTreeMap::new();
    let groups = queue.group_priorities.as_ref().unwrap_or(&none);
    let mut by_group: AHashMap<Uuid, u8> = AHashMap::new();
    for (name, priority) in groups {
        let Some(group) = cx.config.find("consumer_groups", name) else {
            let field = format!("config.queue.group_priorities.{name}");
            return Err(BuildError::new(field, "there is no consumer group of that name"));
        };
        by_group.insert(group.id, *priority as u8);
    }
    let of = |id: Uuid| cx.config.groups_of(id).iter().filter_map(|group| by_group.get(group)).max().copied();
    let by_consumer = if by_group.is_empty() {
        AHashMap::new()
    } else {
        cx.config.consumers.iter().filter_map(|consumer| Some((consumer.id, of(consumer.id)?))).collect()
    };
    let (header, otherwise) = (queue.priority_header.clone(), queue.priority as u8);
    Ok(Priorities { header, by_consumer, by_group, otherwise })
}

impl Priorities {
    fn of(&self, exchange: &Exchange) -> u8 {
        let told = || {
            let value = exchange.request.headers.get(self.header.as_ref()?)?;
            std::str::from_utf8(value).ok()?.trim().parse::<u8>().ok().filter(|priority| *priority <= 100)
        };
        let identity = &exchange.identity;
        let of_groups = || {
            if self.by_group.is_empty() {
                return None;
            }
            let own = identity.consumer_id().and_then(|consumer| self.by_consumer.get(&consumer));
            let vouched = identity.consumer_groups.iter().flat_map(|groups| groups.ids.iter());
            vouched.filter_map(|group| self.by_group.get(group)).chain(own).max().copied()
        };
        told().or_else(of_groups).unwrap_or(self.otherwise)
    }
}

impl Phases for ConcurrencyLimit {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        // Who is let nowhere is not made to wait for that, and takes nobody's place.
        if cx.is_barred() {
            return Flow::Next;
        }
        let matched = cx.matched.as_deref();
        let gate = matched.and_then(|matched| self.gate(matched, cx.service(), cx.identity.consumer()));
        let Some(gate) = gate else { return Flow::Next };
        let priority = self.queue.priorities.of(cx);
        match gate.enter(priority, self.queue.room) {
            Entry::In(place) => {
                cx.remember_until_end(place);
                Flow::Next
            }
            Entry::Full => refuse(cx, &self.refusal),
            Entry::Wait(waiting) => {
                let (refusal, patience) = (self.refusal.clone(), self.queue.patience);
                Flow::wait(async move {
                    let place = tokio::time::timeout(patience, waiting).await.unwrap_or_else(|_| {
                        gate.note_late();
                        None
                    });
                    let resume: Resume = Box::new(move |cx: &mut Access<'_>| match place {
                        Some(place) => {
                            cx.remember_until_end(place);
                            Flow::Next
                        }
                        None => refuse(cx, &refusal),
                    });
                    resume
                })
            }
        }
    }

    /// Sessions do not wait: who finds no place is refused.
    fn admit(&self, session: &Session) -> Admission {
        let Some(gate) = self.gate(&session.matched, session.matched.service.as_ref(), None) else {
            return Admission::Pass;
        };
        match gate.enter(0, 0) {
            Entry::In(place) => Admission::Hold(Box::new(place)),
            Entry::Full | Entry::Wait(_) => Admission::Refuse(self.refusal.status),
        }
    }

    fn header_filter(&self, cx: &mut HeaderFilter<'_>) {
        if !self.learns {
            return;
        }
        let now = gate::now();
        if let Some(took) = time_taken(cx, now)
            && let Some(place) = cx.state::<Place>()
        {
            place.took(took, now);
        }
    }
}

/// How long a response took the service, up to its head, or how long one that never came did; none where nothing can be
/// said: the pace of a client that sends its body meanwhile is not the service's, and failing fast is not being fast.
fn time_taken(exchange: &Exchange, now: Instant) -> Option<Duration> {
    let record = &exchange.record;
    let bodiless = matches!(exchange.request.framing, BodyLength::None | BodyLength::Exact(0));
    let [only] = record.tries.as_slice() else { return None };
    if !bodiless && exchange.body.is_none() {
        return None;
    }
    let until = match only.trouble {
        None => {
            record.upstream_answered.filter(|_| record.upstream_status.is_some_and(|status| status < 500))?
        }
        Some(Trouble::Timeout) => now,
        Some(_) => return None,
    };
    Some(until.saturating_duration_since(record.upstream_started?))
}

fn refuse(cx: &mut Access<'_>, refusal: &Refusal) -> Flow {
    cx.decorate().set_number(Known::RetryAfter, refusal.retry_after);
    cx.answer(refusal.status).message(refusal.message.to_string())
}

impl ConcurrencyLimit {
    /// The gate of a request that goes to `service`, wherever it came in.
    fn gate(
        &self,
        matched: &Matched,
        service: Option<&Arc<Service>>,
        consumer: Option<&Arc<Consumer>>,
    ) -> Option<Arc<Gate>> {
        Some(match self.per {
            Per::Plugin => self.gates.of(Uuid::nil(), String::new),
            Per::Route => {
                let route = &matched.route;
                self.gates.of(route.id, || route.name.clone().unwrap_or_else(|| route.id.to_string()))
            }
            Per::Service => {
                let service = service?;
                self.gates.of(service.id, || service.name.clone().unwrap_or_else(|| service.id.to_string()))
            }
            Per::Consumer => match consumer {
                Some(consumer) => self
                    .gates
                    .of(consumer.id, || consumer.username.clone().unwrap_or_else(|| consumer.id.to_string())),
                // Those that nobody knows share one.
                None => self.gates.of(Uuid::nil(), String::new),
            },
        })
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
