//! What is known about a request and who sends it. Found out when a rule asks, and once.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::net::IpAddr;

use plugin::{Exchange, query, target};

use super::expression::{Fact, Failure, List, Value};
use super::rules::Rules;
use super::vocabulary::{Marks, Vocabulary};

/// The effort that all conditions together may be for one request: about a millisecond.
const EFFORT: usize = 50_000;

/// See the module documentation.
pub(super) struct Facts<'x> {
    pub(super) exchange: &'x Exchange,
    rules: &'x Rules,
    /// The number of the rule that is being looked at.
    rule: Cell<usize>,
    effort: Cell<usize>,
    roles: OnceCell<Marks>,
    scopes: OnceCell<Marks>,
    role_names: OnceCell<Vec<&'x str>>,
    scope_names: OnceCell<Vec<&'x str>>,
}

impl<'x> Facts<'x> {
    pub(super) fn new(exchange: &'x Exchange, rules: &'x Rules) -> Self {
        Self {
            exchange,
            rules,
            rule: Cell::new(0),
            effort: Cell::new(EFFORT),
            roles: OnceCell::new(),
            scopes: OnceCell::new(),
            role_names: OnceCell::new(),
            scope_names: OnceCell::new(),
        }
    }

    /// From here on, parts of the path are those that the rule of that number names.
    pub(super) fn look_at(&self, rule: usize) {
        self.rule.set(rule);
    }

    /// Takes the effort from what is left of it.
    pub(super) fn spend(&self, effort: usize) -> Result<(), Failure> {
        let left = self.effort.get().checked_sub(effort);
        self.effort.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Failure::Effort)
    }

    /// Whether the caller has proved anything: a credential, a token, groups.
    pub(super) fn is_authenticated(&self) -> bool {
        let identity = &self.exchange.identity;
        identity.credential().is_some() || identity.claims.is_some() || identity.groups.is_some()
    }

    pub(super) fn client_address(&self) -> IpAddr {
        self.exchange.client.ip
    }

    /// The roles that matter and the caller has.
    pub(super) fn roles(&self) -> &Marks {
        self.roles.get_or_init(|| {
            marked(&self.rules.roles, |show| self.rules.sources.each_role(self.exchange, show))
        })
    }

    /// The scopes that matter and the caller's token has.
    pub(super) fn scopes(&self) -> &Marks {
        self.scopes.get_or_init(|| {
            marked(&self.rules.scopes, |show| self.rules.sources.each_scope(self.exchange, show))
        })
    }

    /// Whether there is such a thing.
    pub(super) fn has(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Header(name) => self.exchange.request.headers.contains(name),
            Fact::Argument(name) => self.arguments(name).next().is_some(),
            _ => !matches!(self.value(fact), Err(Failure::Absent)),
        }
    }

    /// # Errors
    /// [`Failure::Absent`] where there is no such thing; another one where it cannot be told.
    pub(super) fn value<'v>(&'v self, fact: &Fact) -> Result<Value<'v>, Failure> {
        let exchange = self.exchange;
        match fact {
            Fact::Method => Ok(Value::text(exchange.request.method.as_str())),
            Fact::Path => text(&exchange.normalized_path),
            Fact::Host => self.host(),
            Fact::Scheme => Ok(Value::text(exchange.scheme.as_str())),
            Fact::Time => {
                let now = i64::try_from(exchange.record.started_ms);
                now.map(Value::Moment).map_err(|_| Failure::Arithmetic)
            }
            Fact::Header(name) => self.header(name),
            Fact::Argument(name) => {
                let mut values = self.arguments(name);
                let value = values.next().ok_or(Failure::Absent)?;
                if values.next().is_some() {
                    return Err(Failure::Ambiguous);
                }
                owned_text(value)
            }
            Fact::Parameter(number) => {
                let path = &exchange.normalized_path;
                let rule = self.rules.list.get(self.rule.get());
                let mut patterns = rule.iter().flat_map(|rule| &rule.patterns);
                text(patterns.find_map(|pattern| pattern.parameter(*number, path)).ok_or(Failure::Absent)?)
            }
            Fact::ClientAddress => {
                let address = exchange.client.ip.to_canonical().to_string();
                Ok(Value::made_text(address))
            }
            Fact::Authenticated => Ok(Value::Bool(self.is_authenticated())),
            Fact::Claim(number) => {
                let claims = exchange.identity.claims.as_deref();
                let claim = claims.and_then(|claims| claims.json(*number));
                claim.map(Value::of_json).ok_or(Failure::Absent)
            }
            Fact::Roles => {
                let sources = &self.rules.sources;
                let names = self.role_names.get_or_init(|| listed(|show| sources.each_role(exchange, show)));
                Ok(Value::List(List::Names(names)))
            }
            Fact::Scopes => {
                let sources = &self.rules.sources;
                let names =
                    self.scope_names.get_or_init(|| listed(|show| sources.each_scope(exchange, show)));
                Ok(Value::List(List::Names(names)))
            }
            Fact::RouteName => {
                let route = exchange.matched.as_ref().map(|matched| &matched.route);
                named(route.and_then(|route| route.name.as_deref()))
            }
            Fact::ServiceName => named(exchange.service().and_then(|service| service.name.as_deref())),
            _ => self.of_consumer(fact),
        }
    }

    fn of_consumer(&self, fact: &Fact) -> Result<Value<'x>, Failure> {
        let consumer = self.exchange.identity.consumer().ok_or(Failure::Absent)?;
        match fact {
            Fact::ConsumerId => Ok(Value::made_text(consumer.id.to_string())),
            Fact::Username => named(consumer.username.as_deref()),
            Fact::CustomId => named(consumer.custom_id.as_deref()),
            Fact::Tags => Ok(Value::List(List::Tags(consumer.tags.as_deref().unwrap_or_default()))),
            _ => Ok(Value::List(List::Groups(self.rules.sources.groups(self.exchange)))),
        }
    }

    /// The host in lower case, without port.
    fn host(&self) -> Result<Value<'x>, Failure> {
        let (host, _) = target::split_host_port(self.exchange.request.host().ok_or(Failure::Absent)?);
        match text(host)? {
            Value::Text(host) if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                Ok(Value::made_text(host.to_ascii_lowercase()))
            }
            host => Ok(host),
        }
    }

    /// The values of a field with commas between them, as they mean the same (RFC 9110 5.3).
    fn header(&self, name: &str) -> Result<Value<'x>, Failure> {
        let headers = &self.exchange.request.headers;
        let first = headers.get(name).ok_or(Failure::Absent)?;
        if headers.count(name) == 1 {
            return text(first);
        }
        owned_text(Cow::Owned(headers.all(name).collect::<Vec<_>>().join(&b", "[..])))
    }

    fn arguments(&self, name: &str) -> impl Iterator<Item = Cow<'x, [u8]>> {
        query::values(self.exchange.request.query().unwrap_or_default(), name)
    }
}

fn marked<'x>(vocabulary: &Vocabulary, each: impl FnOnce(&mut dyn FnMut(&'x str))) -> Marks {
    let mut marks = Marks::default();
    if !vocabulary.is_empty() {
        each(&mut |name| {
            if let Some(number) = vocabulary.find(name) {
                marks.set(number);
            }
        });
    }
    marks
}

fn listed<'x>(each: impl FnOnce(&mut dyn FnMut(&'x str))) -> Vec<&'x str> {
    let mut names = Vec::new();
    each(&mut |name| {
        if !names.contains(&name) {
            names.push(name);
        }
    });
    names
}

fn named(name: Option<&str>) -> Result<Value<'_>, Failure> {
    name.map(Value::text).ok_or(Failure::Absent)
}

fn text(bytes: &[u8]) -> Result<Value<'_>, Failure> {
    str::from_utf8(bytes).map(Value::text).map_err(|_| Failure::Text)
}

fn owned_text(bytes: Cow<'_, [u8]>) -> Result<Value<'_>, Failure> {
    match bytes {
        Cow::Borrowed(bytes) => text(bytes),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Value::made_text).map_err(|_| Failure::Text),
    }
}
