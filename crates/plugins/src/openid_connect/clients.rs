//! The clients of a room at the provider, and which of them a request is for.
//!
//! A configuration may list several clients, each with a secret, addresses and so on of its own: what stands at the same place
//! of these lists belongs together. Callers choose one by an argument; people who are logging in, or have a session, stay
//! with theirs.

use std::sync::Arc;

use plugin::{Access, Build, BuildError, Exchange, Method, query};

use super::Inner;
use super::config::Config;
use super::login::Arrival;
use super::sources::is_form;

/// Clients of a room at most.
const MOST: usize = 32;

/// The clients.
pub(super) struct Clients {
    all: Box<[Arc<Inner>]>,
    /// Header or argument by which callers choose one.
    argument: String,
}

impl Clients {
    pub(super) fn new(config: &Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let count = config.introspection.client_id.as_ref().map_or(1, Vec::len).max(1);
        if count > MOST {
            return Err(BuildError::new("config.client_id", format!("has more than {MOST} clients")));
        }
        let inner = |number| Inner::new(&of_client(config, number), number, cx).map(Arc::new);
        let all = (0..count).map(inner).collect::<Result<_, _>>()?;
        Ok(Self { all, argument: config.introspection.client_arg.clone() })
    }

    /// The client with that number.
    pub(super) fn numbered(&self, number: usize) -> &Arc<Inner> {
        self.all.get(number).unwrap_or(&self.all[0])
    }

    /// Which client a request is for: the one that it names, or whose login or session it belongs to, or the first. None if
    /// that may stand in its body, which is not at hand.
    pub(super) fn of(&self, cx: &Access<'_>) -> Option<&Arc<Inner>> {
        let [first, _, ..] = &*self.all else { return self.all.first() };
        if let Some(named) = self.named(cx) {
            return Some(named);
        }
        if cx.request.method == Method::Post && is_form(cx) && cx.body().is_none() {
            return None;
        }
        Some(self.all.iter().find(|inner| inner.is_concerned(cx)).unwrap_or(first))
    }

    /// The client that a request names: by its id, or by its place, from one.
    fn named(&self, exchange: &Exchange) -> Option<&Arc<Inner>> {
        let name = self.argument.as_str();
        if name.is_empty() {
            return None;
        }
        let request = &exchange.request;
        let form = exchange.body.as_deref().filter(|_| is_form(exchange));
        let arguments = [request.query(), form].into_iter().flatten();
        let mut arguments = arguments.filter_map(|arguments| query::values(arguments, name).next());
        let value = request.headers.get(name).map(std::borrow::Cow::Borrowed).or_else(|| arguments.next())?;
        let value = std::str::from_utf8(&value).ok()?;
        let by_id = self.all.iter().find(|inner| inner.client.as_deref() == Some(value));
        by_id.or_else(|| self.all.get(value.parse::<usize>().ok()?.checked_sub(1)?))
    }
}

impl Inner {
    /// Whether a request belongs to a login or a session of this client, or tells of the end of one.
    fn is_concerned(&self, exchange: &Exchange) -> bool {
        let comes_back = || {
            let login = self.login.as_ref();
            login.is_some_and(|login| matches!(login.arrival(exchange), Arrival::Answered(_)))
        };
        let sessions = || {
            let sessions = self.sessions.as_ref();
            sessions
                .is_some_and(|sessions| sessions.ended().concerns(exchange) || sessions.are_brought(exchange))
        };
        comes_back() || sessions()
    }
}

/// The configuration with what belongs to one of the clients in the first place of each list.
fn of_client(config: &Config, number: usize) -> Config {
    let mut config = config.clone();
    let asking = &mut config.introspection;
    for list in
        [&mut asking.client_id, &mut asking.client_secret, &mut asking.client_auth, &mut asking.client_alg]
    {
        bring_forward(list, number);
    }
    bring_forward(&mut config.grants.client_jwk, number);
    let login = &mut config.login;
    for list in [
        &mut login.redirect_uri,
        &mut login.login_redirect_uri,
        &mut login.logout_redirect_uri,
        &mut login.unauthorized_redirect_uri,
        &mut login.forbidden_redirect_uri,
        &mut login.unexpected_redirect_uri,
    ] {
        bring_forward(list, number);
    }
    config
}

/// What is not said for a client is as for the first one.
fn bring_forward<T>(list: &mut Option<Vec<T>>, number: usize) {
    if let Some(list) = list.as_mut().filter(|list| number < list.len()) {
        list.swap(0, number);
    }
}
