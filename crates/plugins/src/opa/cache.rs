//! Decisions remembered for requests that are alike, whoever has decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plugin::likeness::{self, Trait};
use plugin::remember::{self, Digest, KeyParts, Learned, Memory, Outcome};
use plugin::{Build, BuildError, Exchange};

use super::config::Config;
use super::decision::{Decision, Verdict};
use super::document::Document;
use super::reads::Path;

/// What was told: a decision, or why it is none.
pub(super) type Told = Result<Decision, String>;

/// What is remembered, and for how long.
pub(super) struct Cache {
    decisions: Arc<Memory<Told>>,
    /// What all keys begin with, of whoever decides: other rules, other decisions.
    begin: KeyParts,
    likeness: Box<[Likeness]>,
    ttl: Duration,
    refusal_ttl: Duration,
}

/// What requests have in common for which one decision is enough.
enum Likeness {
    /// All that is told of them.
    Input,
    Consumer,
    Claims,
    Trait(Trait),
}

impl Cache {
    /// The memory of this name, in which decisions hold over reloads, as long as the configuration of the room stays.
    pub(super) fn lasting(name: &'static str, config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        Self::new(name, config, cx, &[])
    }

    /// The same, but decisions hold until the next reload: what they depend on may be in files and other entities.
    pub(super) fn passing(name: &'static str, config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self::new(name, config, cx, &NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes())
    }

    fn new(name: &'static str, config: &Config, cx: &Build<'_>, era: &[u8]) -> Result<Self, BuildError> {
        let mut begin = KeyParts::default();
        begin.add(cx.row.config.to_string().as_bytes());
        begin.add(era);
        Ok(Self {
            decisions: Memory::open(cx.services, name, &remember::Settings::default()),
            begin,
            likeness: config.cache.by.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
            ttl: Duration::from_secs_f64(config.cache.ttl),
            refusal_ttl: Duration::from_secs_f64(config.cache.refusal_ttl),
        })
    }

    /// Whether anything is remembered.
    pub(super) fn is_on(&self) -> bool {
        !self.ttl.max(self.refusal_ttl).is_zero()
    }

    /// Whether the key is made of all that is told of a request.
    pub(super) fn needs_input(&self) -> bool {
        self.likeness.iter().any(|one| matches!(one, Likeness::Input))
    }

    /// Checks that requests that are alike are so in everything that a policy looks at.
    ///
    /// # Errors
    /// What it looks at besides.
    pub(super) fn check(&self, reads: &BTreeSet<Path>) -> Result<(), BuildError> {
        let covered = |path: &&Path| self.likeness.iter().any(|one| one.covers(path));
        let Some(other) = reads.iter().find(|path| !covered(path)) else { return Ok(()) };
        let part = [&["input".to_owned()], other.as_slice()].concat().join(".");
        let message = format!("the policies look at {part}: name what has it, or 'input' for everything");
        Err(BuildError::new("config.cache.by", message))
    }

    /// What stands for requests like this one; none where nothing is remembered. `input` is there if it is needed.
    pub(super) fn key(&self, exchange: &Exchange, document: &Document, input: &[u8]) -> Option<Digest> {
        if !self.is_on() {
            return None;
        }
        let mut key = self.begin.clone();
        for one in &self.likeness {
            match one {
                Likeness::Input => key.add(input),
                Likeness::Consumer => {
                    let consumer = exchange.identity.consumer_id();
                    key.add(consumer.as_ref().map_or(&[][..], |id| id.as_bytes()));
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

    /// What `asked` finds out, unless somebody is asking already.
    pub(super) async fn ask<A>(&self, key: Option<Digest>, asked: A) -> Outcome<Told>
    where
        A: Future<Output = Result<Learned<Told>, String>> + Send + 'static,
    {
        match key {
            Some(key) => self.decisions.fetch(key, asked).await,
            None => self.decisions.alone(asked).await,
        }
    }

    /// Remembers what was told here, if it is a decision.
    pub(super) fn remember(&self, key: Digest, told: Told) -> Outcome<Told> {
        self.decisions.learn(key, self.learned(told))
    }

    /// What was told, with the time for which it holds.
    pub(super) fn learned(&self, told: Told) -> Learned<Told> {
        match told {
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
        }
    }
}

impl Likeness {
    /// Whether requests with this in common have the same at `path` in the input.
    fn covers(&self, path: &Path) -> bool {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (self, path.as_slice()) {
            (Self::Input, _)
            | (Self::Consumer, ["consumer", ..])
            | (Self::Claims, ["claims", ..])
            | (Self::Trait(Trait::Address), ["client_ip"]) => true,
            (Self::Trait(Trait::Header(header)), ["request", "http", "headers", name, ..]) => {
                header.eq_ignore_ascii_case(name)
            }
            (Self::Trait(one), ["request", "http", member, ..]) => {
                let told = match one {
                    Trait::Method => "method",
                    Trait::Scheme => "scheme",
                    Trait::Host => "host",
                    Trait::Path => "path",
                    Trait::Query => "querystring",
                    Trait::Address | Trait::Header(_) => return false,
                };
                told == *member
            }
            _ => false,
        }
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
