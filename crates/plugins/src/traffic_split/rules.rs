//! Requests that go to one service whatever the weights say.

use plugin::{Build, BuildError, Detour, Exchange, cohort, query};

use super::Match;

/// A rule, ready to run.
pub(super) struct Rule {
    on: On,
    name: Box<str>,
    /// Any value if there are none.
    values: Vec<Box<[u8]>>,
    /// None for the route's own service.
    pub(super) detour: Option<Detour>,
}

enum On {
    Header,
    Cookie,
    Query,
}

impl Rule {
    pub(super) fn new(number: usize, rule: &Match, cx: &Build<'_>) -> Result<Self, BuildError> {
        let field = format!("config.matches[{number}].service");
        let on = match rule.on.as_str() {
            "header" => On::Header,
            "cookie" => On::Cookie,
            _ => On::Query,
        };
        Ok(Self {
            on,
            name: rule.name.as_str().into(),
            values: rule.values.iter().map(|value| value.as_bytes().into()).collect(),
            detour: super::detour(&field, rule.service.as_deref(), cx)?,
        })
    }

    /// Whether the request has one of the values.
    pub(super) fn is_fulfilled(&self, exchange: &Exchange) -> bool {
        let fits = |value: &[u8]| self.values.is_empty() || self.values.iter().any(|known| **known == *value);
        let request = &exchange.request;
        match self.on {
            On::Header => request.headers.get(&self.name).is_some_and(fits),
            On::Cookie => cohort::cookie(exchange, &self.name).is_some_and(fits),
            On::Query => {
                let query = request.query().unwrap_or_default();
                query::values(query, &self.name).any(|value| fits(&value))
            }
        }
    }
}
