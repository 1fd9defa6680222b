//! Decisions of an OPA server, asked by its REST API (`POST /v1/data/PATH` with an `input`) and remembered.

use std::sync::Arc;
use std::time::Duration;

use plugin::likeness::{self, Trait};
use plugin::outbound::{Answer, Call, Client, Settings, Url};
use plugin::remember::{self, Digest, Learned, Memory, Outcome, Parts};
use plugin::{Build, BuildError, Exchange};
use serde_json::Value;

use super::config::Config;
use super::decision::{Decision, Verdict};
use super::document::Document;

/// Bytes of an answer at most.
const LARGEST_ANSWER: usize = 1 << 20;

/// Where decisions come from.
pub(super) struct Server {
    client: Arc<Client>,
    url: Url,
    decisions: Arc<Memory<Told>>,
    /// Of the configuration: other rules, other decisions.
    fingerprint: Digest,
    likeness: Box<[Likeness]>,
    ttl: Duration,
    refusal_ttl: Duration,
}

/// What the server has told: a decision, or why its answer is none.
pub(super) type Told = Result<Decision, String>;

/// What requests have in common for which one decision is enough.
enum Likeness {
    /// All that the server is told.
    Input,
    Consumer,
    Claims,
    Trait(Trait),
}

impl Server {
    pub(super) fn new(name: &'static str, config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let timeout = Duration::from_secs_f64(config.timeout);
        let bounds = Settings {
            verify: config.ssl_verify,
            connect_timeout: timeout,
            timeout,
            largest_answer: LARGEST_ANSWER,
            ..Settings::default()
        };
        let client = Client::open(cx.services, bounds);
        let url = client.url(cx.services, &url(config));
        Ok(Self {
            client,
            url: url.map_err(|wrong| BuildError::new("config.opa_host", wrong))?,
            decisions: Memory::open(cx.services, name, &remember::Settings::default()),
            fingerprint: Digest::of([cx.row.config.to_string().as_bytes()]),
            likeness: config.cache.by.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
            ttl: Duration::from_secs_f64(config.cache.ttl),
            refusal_ttl: Duration::from_secs_f64(config.cache.refusal_ttl),
        })
    }

    /// What stands for requests like this one; none where nothing is remembered.
    pub(super) fn key(&self, exchange: &Exchange, document: &Document, input: &[u8]) -> Option<Digest> {
        if self.ttl.max(self.refusal_ttl).is_zero() {
            return None;
        }
        let mut key = Parts::default();
        key.add(self.fingerprint.as_ref());
        for one in &self.likeness {
            match one {
                Likeness::Input => key.add(input),
                Likeness::Consumer => {
                    let consumer = exchange.identity.consumer();
                    key.add(consumer.map_or(&[][..], |consumer| consumer.id.as_bytes()));
                }
                Likeness::Claims => {
                    let mut claims = Vec::new();
                    document.write_claims(exchange, &mut claims);
                    key.add(&claims);
                }
                Likeness::Trait(one) => one.add(&mut key, exchange),
            }
        }
        Some(key.digest())
    }

    /// What is remembered for requests like this one.
    pub(super) fn look(&self, key: &Digest) -> Option<Outcome<Told>> {
        self.decisions.look(key)
    }

    /// Asks, unless somebody is asking already.
    pub(super) async fn ask(self: Arc<Self>, key: Option<Digest>, input: Vec<u8>) -> Outcome<Told> {
        let server = self.clone();
        let asked = async move { server.call(&input).await };
        match key {
            Some(key) => self.decisions.fetch(key, asked).await,
            None => self.decisions.alone(asked).await,
        }
    }

    async fn call(&self, input: &[u8]) -> Result<Learned<Told>, String> {
        let question = [b"{\"input\":", input, b"}"].concat();
        let answer = self.client.send(&self.url, &Call::post("application/json", question)).await;
        let answer = answer.map_err(|fault| format!("{}: {fault}", self.url.told()))?;
        if answer.status >= 500 {
            return Err(format!("{}: answers {}", self.url.told(), answer.status));
        }
        let told = read(&answer);
        Ok(match told {
            // What makes no sense may be mended at any moment.
            Err(why) => Learned::new(Err(why), Duration::ZERO),
            Ok(decision) => {
                let ttl = match decision.verdict {
                    Verdict::Pass(_) => self.ttl,
                    Verdict::Refuse(_) => self.refusal_ttl,
                };
                let size = decision.size();
                Learned::new(Ok(decision), ttl).holding(size)
            }
        })
    }
}

fn read(answer: &Answer) -> Told {
    if answer.status != 200 {
        return Err(format!("the server answers {}", answer.status));
    }
    let answer: Value =
        serde_json::from_slice(&answer.body).map_err(|_| "the answer is no JSON".to_owned())?;
    // A server says nothing of a rule that has no value, or that it does not know.
    Decision::read(answer.get("result").ok_or("the rule has no value")?)
}

fn url(config: &Config) -> String {
    let Config { opa_protocol, opa_host, opa_port, opa_path, .. } = config;
    match opa_host.contains(':') && !opa_host.starts_with('[') {
        true => format!("{opa_protocol}://[{opa_host}]:{opa_port}{opa_path}"),
        false => format!("{opa_protocol}://{opa_host}:{opa_port}{opa_path}"),
    }
}

fn named(name: &str) -> Result<Likeness, BuildError> {
    Ok(match name {
        "input" => Likeness::Input,
        "consumer" => Likeness::Consumer,
        "claims" => Likeness::Claims,
        _ => Likeness::Trait(Trait::named(name).ok_or_else(|| {
            let message = format!("'{name}' is none of input, consumer, claims, {}", likeness::NAMES);
            BuildError::new("config.cache.by", message)
        })?),
    })
}
