#![doc = include_str!("doc.md")]

mod known;

use plugin::{Access, Build, BuildError, Flow, Headers, Known, Phase, Phases, Plugin, Scopes, record};
use regex::bytes::{RegexSet, RegexSetBuilder};

#[cfg(test)]
mod tests;

record! {
    /// Keeps bots out, by what they say they are.
    pub struct Config {
        /// Regular expressions for the `User-Agent` of clients that pass whatever else is said of them.
        allow: Vec<String> = [];
        /// Regular expressions for the `User-Agent` of clients that do not pass, beside those that are known as bots.
        deny: Vec<String> = [];
    }
}

/// Bytes that the compiled expressions of a list may take.
const MOST_COMPILED: usize = 10 << 20;

/// The room, ready to run. Each list is searched in one pass, however long it is.
pub struct BotDetection {
    allow: RegexSet,
    deny: RegexSet,
}

impl Plugin for BotDetection {
    const NAME: &'static str = "bot-detection";
    const PRIORITY: i64 = 2500;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::NO_CONSUMER;
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        let list = |field: &str, patterns: &[String]| {
            compiled(patterns).map_err(|error| BuildError::new(field, error.to_string()))
        };
        Ok(Self { allow: list("config.allow", &config.allow)?, deny: list("config.deny", &config.deny)? })
    }
}

/// Compiles a list. Classes are those of ASCII, and a dot is any byte, as in Kong's expressions.
fn compiled(patterns: &[String]) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(patterns).unicode(false).size_limit(MOST_COMPILED).build()
}

impl Phases for BotDetection {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        match self.refusal(&cx.request.headers) {
            None => Flow::Next,
            Some((status, message)) => cx.answer(status).message(message),
        }
    }
}

impl BotDetection {
    fn refusal(&self, headers: &Headers) -> Option<(u16, &'static str)> {
        let mut agents = headers.known_all(Known::UserAgent);
        let agent = agents.next()?;
        if agents.next().is_some() {
            return Some((400, "Only one User-Agent header allowed"));
        }
        self.is_bot(agent).then_some((403, "Forbidden"))
    }

    fn is_bot(&self, agent: &[u8]) -> bool {
        !self.allow.is_match(agent) && (self.deny.is_match(agent) || known::BOTS.is_match(agent))
    }
}
