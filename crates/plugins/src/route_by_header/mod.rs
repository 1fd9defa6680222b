#![doc = include_str!("doc.md")]

use std::collections::BTreeMap;

use plugin::{Access, Build, BuildError, Detour, Exchange, Flow, Phase, Phases, Plugin, Scopes, record};

#[cfg(test)]
mod tests;

record! {
    /// A condition on headers and where requests go that fulfil it.
    pub struct Rule {
        /// Values by the name of their header. A request fulfils the rule if each header has exactly its value; every
        /// request fulfils a rule without any.
        condition: Option<BTreeMap<String, String>>, [len_min(1)];
        /// Name of the upstream for these requests.
        upstream_name: String, [required()];
    }
}

record! {
    /// Chooses the upstream by headers of the request.
    pub struct Config {
        /// The rules. The first one that a request fulfils counts.
        rules: Vec<Rule> = [];
    }
}

/// The room, ready to run.
pub struct RouteByHeader {
    rules: Vec<Ready>,
}

struct Ready {
    condition: Vec<(Box<str>, Box<str>)>,
    detour: Detour,
}

impl Plugin for RouteByHeader {
    const NAME: &'static str = "route-by-header";
    const PRIORITY: i64 = 850;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let rules = config.rules.into_iter().enumerate();
        let rules = rules.map(|(number, rule)| ready(number, rule, cx)).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }
}

fn ready(number: usize, rule: Rule, cx: &Build<'_>) -> Result<Ready, BuildError> {
    let field = format!("config.rules[{number}].upstream_name");
    let name = rule.upstream_name;
    if !cx.config.upstreams.iter().any(|upstream| upstream.name == name) {
        let known: Vec<&str> = cx.config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        let message = format!("there is no upstream '{name}'; there are: {}", known.join(", "));
        return Err(BuildError::new(field, message));
    }
    let condition =
        rule.condition.iter().flatten().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    Ok(Ready { condition: condition.collect(), detour: cx.detour_to_host(&field, Some(&name), None)? })
}

impl Phases for RouteByHeader {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if let Some(rule) = self.rules.iter().find(|rule| rule.is_fulfilled(cx)) {
            cx.send_to(&rule.detour);
        }
        Flow::Next
    }
}

impl Ready {
    fn is_fulfilled(&self, exchange: &Exchange) -> bool {
        let headers = &exchange.request.headers;
        self.condition.iter().all(|(name, value)| headers.get(name) == Some(value.as_bytes()))
    }
}
