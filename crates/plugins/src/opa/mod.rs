#![doc = include_str!("doc.md")]

mod cache;
mod config;
mod decision;
mod dependencies;
mod document;
mod local;
mod reads;
mod server;

use std::sync::Arc;

use plugin::aside::Aside;
use plugin::exchange::BodyLimit;
use plugin::figures::{Family, Figure, Kind};
use plugin::outbound::told;
use plugin::remember::{Digest, Outcome as Remembered};
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Resume, Scopes};

use cache::{Cache, Told};
use config::Config;
use decision::{Decision, Verdict};
use document::Document;
use local::{Input, Pace, Policy, Trouble};
use server::Server;

#[cfg(test)]
mod tests;

static DECISIONS: Family = Family {
    name: "opa_decisions_total",
    help: "Requests by what a policy has decided about them; `failed` counts those without a decision",
    kind: Kind::Counter,
    labels: &["plugin", "path", "decision"],
};

/// The member of the log line that tells the decision.
const LOG_FIELD: &str = "opa";
const BODY_TOO_LARGE: &str = "The body is larger than policies are told";

/// The room, ready to run.
pub struct Opa(Arc<Room>);

struct Room {
    document: Document,
    cache: Cache,
    source: Source,
    path: String,
    passed: Outcome,
    refused: Outcome,
    failed: Outcome,
    body_limit: BodyLimit,
    fail_open: bool,
    status_on_error: u16,
    debug_header: Option<String>,
}

/// Something that may become of a request, and how it is told.
struct Outcome {
    verb: &'static str,
    /// Where the policy does not name its rule.
    told: Box<str>,
    count: Arc<Figure>,
}

/// Who decides.
enum Source {
    Server(Arc<Server>),
    /// A policy, and the threads for when it takes long.
    Policy(Arc<Policy>, Arc<Aside>),
}

/// Why nothing was decided.
#[derive(Clone, Copy)]
enum Undecided<'a> {
    /// There was no answer.
    NoAnswer,
    /// The answer is no decision.
    NoDecision(&'a str),
}

impl Plugin for Opa {
    const NAME: &'static str = "opa";
    const PRIORITY: i64 = 920;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: false, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let (source, cache) = source(&config, cx)?;
        let (plugin, path) = (cx.row.id.to_string(), told(&config.opa_path));
        let outcome = |verb, decision| Outcome {
            verb,
            told: format!("{verb}: {path}").into(),
            count: cx.services.figures.of(&DECISIONS, &[&plugin, path, decision]),
        };
        Ok(Self(Arc::new(Room {
            document: Document::new(&config, cx)?,
            source,
            cache,
            body_limit: BodyLimit {
                bytes: u64::try_from(config.max_body_size).unwrap_or(0),
                message: BODY_TOO_LARGE,
            },
            fail_open: config.fail_open,
            status_on_error: u16::try_from(config.status_on_error).unwrap_or(500),
            passed: outcome("allow", "allowed"),
            refused: outcome("deny", "denied"),
            failed: outcome("failed", "failed"),
            path: path.to_owned(),
            debug_header: config.debug_header,
        })))
    }
}

impl Phases for Opa {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let room = &self.0;
        if room.document.needs_body(cx) {
            let length = cx.body().map(|body| body.len() as u64);
            match length {
                None => {
                    cx.limit_body(room.body_limit);
                    return Flow::ReadBody;
                }
                // Another plugin has had it read.
                Some(length) if length > room.body_limit.bytes => {
                    return cx.answer(413).message(BODY_TOO_LARGE);
                }
                Some(_) => {}
            }
        }
        let mut input = Vec::new();
        if room.cache.needs_input() {
            room.document.write(cx, &mut input);
        }
        let key = room.cache.key(cx, &room.document, &input);
        if let Some(told) = key.and_then(|key| room.cache.look(&key)) {
            return room.settle(cx, &told);
        }
        if input.is_empty() {
            room.document.write(cx, &mut input);
        }
        match &room.source {
            Source::Server(server) => Room::ask(room, server, key, input),
            Source::Policy(policy, aside) => room.evaluate(cx, policy, aside, key, &input),
        }
    }
}

/// Who decides, and what is remembered of that.
fn source(config: &Config, cx: &Build<'_>) -> Result<(Source, Cache), BuildError> {
    let Some(rego) = &config.rego else {
        let server = Arc::new(Server::new(config, cx)?);
        return Ok((Source::Server(server), Cache::lasting(Opa::NAME, config, cx)?));
    };
    let aside = cx.services.keep(Opa::NAME, || Aside::new("policies"));
    let policy = Policy::new(rego, &config.opa_path)?;
    let cache = Cache::passing("rego", config, cx)?;
    if cache.is_on() {
        cache.check(&policy.reads()?)?;
    }
    Ok((Source::Policy(Arc::new(policy), aside), cache))
}

impl Room {
    fn ask(room: &Arc<Self>, server: &Arc<Server>, key: Option<Digest>, input: Vec<u8>) -> Flow {
        let (room, server) = (room.clone(), server.clone());
        Flow::wait(async move {
            let asking = room.clone();
            let asked = async move { server.ask(&input).await.map(|told| asking.cache.learned(told)) };
            let told = room.cache.ask(key, asked).await;
            let resume: Resume = Box::new(move |cx| room.settle(cx, &told));
            resume
        })
    }

    fn evaluate(
        self: &Arc<Self>,
        cx: &mut Access<'_>,
        policy: &Arc<Policy>,
        aside: &Aside,
        key: Option<Digest>,
        input: &[u8],
    ) -> Flow {
        let input = match Input::read(input) {
            Ok(input) => input,
            Err(trouble) => return self.conclude(cx, key, Err(trouble)),
        };
        if !policy.is_slow() {
            match policy.evaluate(&input, Pace::Quick) {
                Err(Trouble::Late) => {}
                result => return self.conclude(cx, key, result),
            }
        }
        let (room, beside, input) = (self.clone(), policy.clone(), Arc::new(input));
        let same = input.clone();
        match aside.run(move || beside.evaluate(&same, Pace::Full)) {
            // What takes long is not decided then, but what had only to wait for a processor is.
            Err(_) => self.conclude(cx, key, policy.evaluate(&input, Pace::Patient)),
            Ok(pending) => Flow::wait(async move {
                let result = pending.get().await.unwrap_or_else(|| Err(Trouble::lost()));
                let resume: Resume = Box::new(move |cx| room.conclude(cx, key, result));
                resume
            }),
        }
    }

    fn conclude(
        &self,
        cx: &mut Access<'_>,
        key: Option<Digest>,
        result: Result<serde_json::Value, Trouble>,
    ) -> Flow {
        let told = result.map_err(|trouble| trouble.to_string()).and_then(|result| Decision::read(&result));
        match key {
            Some(key) => self.settle(cx, &self.cache.remember(key, told)),
            None => self.follow(cx, &told),
        }
    }

    fn settle(&self, cx: &mut Access<'_>, told: &Remembered<Told>) -> Flow {
        match told.as_deref() {
            Ok(told) => self.follow(cx, told),
            Err(_) => self.give_up(cx, Undecided::NoAnswer),
        }
    }

    fn follow(&self, cx: &mut Access<'_>, told: &Told) -> Flow {
        match told {
            Ok(decision) => self.act(cx, decision),
            Err(why) => self.give_up(cx, Undecided::NoDecision(why)),
        }
    }

    fn act(&self, cx: &mut Access<'_>, decision: &Decision) -> Flow {
        let outcome = match decision.verdict {
            Verdict::Pass(_) => &self.passed,
            Verdict::Refuse(_) => &self.refused,
        };
        match &decision.rule {
            Some(rule) => self.tell(cx, outcome, &format!("{}: {rule}", outcome.verb)),
            None => self.tell(cx, outcome, &outcome.told),
        }
        decision.act(cx)
    }

    fn give_up(&self, cx: &mut Access<'_>, undecided: Undecided<'_>) -> Flow {
        self.tell(cx, &self.failed, &self.failed.told);
        match undecided {
            Undecided::NoAnswer if self.fail_open => return Flow::Next,
            // That there is no answer, whoever has asked has told.
            Undecided::NoAnswer => {}
            Undecided::NoDecision(why) => tracing::debug!(path = self.path, why, "a policy has not decided"),
        }
        cx.answer(self.status_on_error).message("An unexpected error occurred")
    }

    fn tell(&self, cx: &mut Access<'_>, outcome: &Outcome, told: &str) {
        outcome.count.add(1);
        cx.add_log_field(LOG_FIELD, told.as_bytes());
        if let Some(header) = &self.debug_header {
            cx.decorate().set(header, told.as_bytes());
        }
    }
}
