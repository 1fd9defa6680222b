#![doc = include_str!("doc.md")]

use std::sync::{Arc, OnceLock};

use plugin::limits::{Entry, Inquiry, Register, Span, Standing, Target};
use plugin::model::schema::Value;
use plugin::{Access, Build, BuildError, Flow, Matched, Phase, Phases, Plugin, Resume, Scopes, record};
use serde_json::{Map, json};

/// Routes that can be told about at once.
const MOST_ROUTES: usize = 50;

record! {
    /// Answers requests with what is left of their caller's rate limits, without counting them.
    pub struct Config {
        /// Routes, by name or id, whose limits are told; at most 50. Without it, those that hold wherever a route and its
        /// service have none of their own.
        routes: Option<Vec<String>>, [custom_value(bounded)];
    }
}

fn bounded(routes: &Value) -> Result<(), String> {
    match routes.as_array().map(Vec::len) {
        Some(0) => Err("name a route, or leave the field out".to_owned()),
        Some(count) if count > MOST_ROUTES => Err(format!("at most {MOST_ROUTES} routes")),
        _ => Ok(()),
    }
}

/// The room. See the module documentation.
pub struct RateLimitStatus {
    register: Arc<Register>,
    routes: Option<Vec<Arc<Matched>>>,
    /// Known once all rooms have been built, so it is made with the first request.
    places: OnceLock<Vec<Place>>,
}

/// Somewhere a caller may send requests, with the limits that may hold there, the first to be asked first.
struct Place {
    matched: Option<Arc<Matched>>,
    entries: Vec<Arc<Entry>>,
}

impl Plugin for RateLimitStatus {
    const NAME: &'static str = "rate-limit-status";
    const PRIORITY: i64 = 915;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let find = |name: &String| {
            let found = cx.config.find("routes", name).map(|route| route.id);
            let matched = cx.routes.iter().find(|matched| Some(matched.route.id) == found);
            matched
                .cloned()
                .ok_or_else(|| BuildError::new("config.routes", format!("there is no route '{name}'")))
        };
        let routes = config.routes.as_ref().map(|names| names.iter().map(find).collect()).transpose()?;
        Ok(Self { register: cx.limits()?, routes, places: OnceLock::new() })
    }
}

impl Phases for RateLimitStatus {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if !matches!(cx.request.method.as_str(), "GET" | "HEAD") {
            return cx.answer(405).header("Allow", b"GET, HEAD").message("Method not allowed");
        }
        let asked: Vec<Asked> = self.places().iter().flat_map(|place| place.ask(cx)).collect();
        let worker = cx.worker.index;
        Flow::wait(async move {
            let mut limits = Vec::new();
            for asked in asked {
                // One after the other: a store that does not answer is waited for once.
                for standing in asked.inquiry.standings(worker).await {
                    limits.push(asked.tell(&standing));
                }
            }
            let resume: Resume = Box::new(move |cx| answer(cx, &limits));
            resume
        })
    }
}

fn answer(cx: &mut Access<'_>, limits: &[Value]) -> Flow {
    let consumer =
        cx.identity.consumer().map(|consumer| consumer.username.clone().or(consumer.custom_id.clone()));
    let body = json!({ "consumer": consumer.flatten(), "limits": limits });
    cx.answer(200).header("Cache-Control", b"no-store").json(&body)
}

impl RateLimitStatus {
    fn places(&self) -> &[Place] {
        let place = |matched: Option<&Arc<Matched>>| Place {
            matched: matched.cloned(),
            entries: self.register.entries_for(matched.map(AsRef::as_ref)),
        };
        self.places.get_or_init(|| match &self.routes {
            Some(routes) => routes.iter().map(|matched| place(Some(matched))).collect(),
            None => vec![place(None)],
        })
    }
}

impl Place {
    /// The limits that would decide about a request of the caller: of each plugin one instance.
    fn ask(&self, cx: &Access<'_>) -> Vec<Asked> {
        let consumer = cx.identity.consumer_id();
        let target = Target { matched: self.matched.as_deref(), path: None };
        let mut asked: Vec<Asked> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.is_for(consumer)) {
            if asked.iter().all(|asked| asked.entry.plugin != entry.plugin) {
                asked.extend(entry.limits(cx).into_iter().map(|limits| {
                    let inquiry = Inquiry::new(limits, cx, &target);
                    Asked { entry: entry.clone(), matched: self.matched.clone(), inquiry }
                }));
            }
        }
        asked
    }
}

/// A question on its way.
struct Asked {
    entry: Arc<Entry>,
    matched: Option<Arc<Matched>>,
    inquiry: Inquiry,
}

impl Asked {
    fn tell(&self, standing: &Standing) -> Value {
        let mut told = Map::new();
        let mut member = |name: &str, value: Value| told.insert(name.to_owned(), value);
        if let Some(matched) = &self.matched {
            member(
                "route",
                json!(matched.route.name.clone().unwrap_or_else(|| matched.route.id.to_string())),
            );
        }
        member("plugin", json!(self.entry.plugin));
        member("instance", json!(self.entry.instance));
        member("scope", json!(self.entry.scope()));
        if let Some(name) = self.inquiry.name() {
            member("name", json!(name));
        }
        match standing.span {
            Span::Calendar(period) => member("period", json!(period.name())),
            Span::Seconds(size) => member("window_size", json!(size)),
        };
        // It is a number as it was configured.
        member("limit", serde_json::from_slice(&standing.limit).unwrap_or_default());
        if let Some(burst) = standing.burst {
            member("burst", json!(burst));
        }
        let left = standing.left;
        member("remaining", json!(left.map(|left| left.remaining)));
        member("reset", json!(left.map(|left| left.reset)));
        member("retry_after", json!(left.map(|left| left.retry_after)));
        if left.is_none() {
            let reason =
                if self.inquiry.is_open() { "depends on the route" } else { "the store does not answer" };
            member("unknown", json!(reason));
        }
        Value::Object(told)
    }
}

#[cfg(test)]
mod tests;
