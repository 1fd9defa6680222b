#![doc = include_str!("doc.md")]

mod compile;
mod config;
mod expression;
mod facts;
mod paths;
mod rules;
mod sources;
mod vocabulary;

use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes};

use config::Config;
use facts::Facts;
use rules::{Rules, Verdict};

#[cfg(test)]
mod tests;

/// The member of the log line that names the rule that decided.
const LOG_FIELD: &str = "authorization";

/// The room, ready to run.
pub struct Authorization {
    rules: Rules,
    message: String,
    challenge: String,
    debug_header: Option<String>,
}

impl Plugin for Authorization {
    const NAME: &'static str = "authorization";
    const PRIORITY: i64 = 940;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        Ok(Self {
            rules: compile::compile(&config, cx)?,
            message: config.message,
            challenge: config.challenge,
            debug_header: config.debug_header,
        })
    }
}

impl Phases for Authorization {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let decision = self.rules.decide(&Facts::new(cx, &self.rules));
        let name = self.rules.name_of(decision);
        let (count, told) = match decision.verdict {
            Verdict::Allowed => (&name.counts.allowed, &name.allowed),
            _ => (&name.counts.denied, &name.denied),
        };
        count.add(1);
        cx.add_log_field(LOG_FIELD, told.as_bytes());
        if let Some(header) = &self.debug_header {
            cx.decorate().set(header, told.as_bytes());
        }
        match decision.verdict {
            Verdict::Allowed => Flow::Next,
            Verdict::Unauthorized => {
                cx.answer(401).header("WWW-Authenticate", self.challenge.as_bytes()).message("Unauthorized")
            }
            Verdict::Forbidden => cx.answer(403).message(self.message.clone()),
            Verdict::LacksScope => {
                let challenge = name.lacking.as_deref().unwrap_or(&self.challenge);
                cx.answer(403).header("WWW-Authenticate", challenge.as_bytes()).message(self.message.clone())
            }
        }
    }
}
