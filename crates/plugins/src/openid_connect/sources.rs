//! Where a bearer token may stand in a request (RFC 6750 2).

use std::borrow::Cow;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use plugin::web_session::cookie;
use plugin::{Access, Exchange, Known, media, query};

use super::config::Config;
use super::possession::Demand;
use super::refusal::Refusal;

/// The argument of queries and bodies with a token.
const ARGUMENT: &str = "access_token";

/// The places that are searched.
pub(super) struct Sources {
    in_header: bool,
    in_query: bool,
    in_body: bool,
    /// A header that has nothing but tokens, in place of `Authorization`.
    header: Option<String>,
    /// At most one.
    cookie: Vec<String>,
    /// Tokens may come with a proof (RFC 9449 7.1).
    takes_proven: bool,
    /// Cookie that has to say the same as a claim of the token.
    session_cookie: Option<String>,
    hide: bool,
}

/// What a search came to.
pub(super) enum Search<'a> {
    Found(Cow<'a, [u8]>),
    /// It may stand in the body, which is not at hand.
    NeedsBody,
}

impl Sources {
    pub(super) fn new(config: &Config) -> Self {
        let takes_proven = Demand::of(&config.possession.proof_of_possession_dpop) != Demand::Off;
        let config = &config.tokens;
        let has = |place: &str| config.bearer_token_param_type.iter().any(|listed| listed == place);
        Self {
            in_header: has("header"),
            in_query: has("query"),
            in_body: has("body"),
            header: config.bearer_token_header_name.clone(),
            cookie: config.bearer_token_cookie_name.iter().filter(|_| has("cookie")).cloned().collect(),
            takes_proven,
            session_cookie: config.jwt_session_cookie.clone(),
            hide: config.hide_credentials,
        }
    }

    /// The one token of a request; the same token in several places is one.
    pub(super) fn find<'a>(&self, exchange: &'a Exchange) -> Result<Search<'a>, Refusal> {
        let mut found = None;
        self.search_head(exchange, &mut found)?;
        let form = self.in_body && is_form(exchange);
        match (found, form, &exchange.body) {
            (Some(token), ..) => Ok(Search::Found(token)),
            (None, true, None) => Ok(Search::NeedsBody),
            (None, true, Some(body)) => {
                let mut found = None;
                query::values(body, ARGUMENT).try_for_each(|token| add(&mut found, token))?;
                found.map(Search::Found).ok_or(Refusal::Missing)
            }
            (None, false, _) => Err(Refusal::Missing),
        }
    }

    fn search_head<'a>(
        &self,
        exchange: &'a Exchange,
        found: &mut Option<Cow<'a, [u8]>>,
    ) -> Result<(), Refusal> {
        let request = &exchange.request;
        match &self.header {
            Some(name) if self.in_header => {
                for value in request.headers.all(name) {
                    add(found, Cow::Borrowed(self.token(value).unwrap_or_else(|| value.trim_ascii())))?;
                }
            }
            None if self.in_header => {
                let values = request.headers.known_all(Known::Authorization);
                for token in values.filter_map(|value| self.token(value)) {
                    add(found, Cow::Borrowed(token))?;
                }
            }
            _ => {}
        }
        if let (true, Some(query)) = (self.in_query, request.query()) {
            query::values(query, ARGUMENT).try_for_each(|token| add(found, token))?;
        }
        let Some(name) = self.cookie.first() else { return Ok(()) };
        let mut tokens =
            request.headers.known_all(Known::Cookie).filter_map(|line| media::cookie(line, name));
        tokens.try_for_each(|token| add(found, Cow::Borrowed(token)))
    }

    /// The token in the value of a header.
    fn token<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        of_scheme("bearer", value).or_else(|| of_scheme("dpop", value).filter(|_| self.takes_proven))
    }

    /// Whether a token comes by the scheme of those that come with a proof, and by no other.
    pub(super) fn comes_with_proof(&self, exchange: &Exchange, token: &[u8]) -> bool {
        let name = self.header.as_deref().unwrap_or("Authorization");
        let mut values = exchange.request.headers.all(name);
        let only = values.next().filter(|_| values.next().is_none());
        self.takes_proven && self.in_header && only.and_then(|value| of_scheme("dpop", value)) == Some(token)
    }

    /// Checks that a JSON Web Token comes with the cookie of its session, where that is wanted. `named` is what the token says.
    pub(super) fn check_session(
        &self,
        exchange: &Exchange,
        token: &[u8],
        named: Option<&str>,
    ) -> Result<(), Refusal> {
        let Some(name) = &self.session_cookie else { return Ok(()) };
        if plugin::jose::Header::of(token).is_err() {
            return Ok(());
        }
        let mut lines = exchange.request.headers.known_all(Known::Cookie);
        let cookie = lines.find_map(|line| media::cookie(line, name));
        let is_same = |cookie: &[u8]| {
            named.is_some_and(|named| verify_slices_are_equal(cookie, named.as_bytes()).is_ok())
        };
        match cookie.is_some_and(is_same) {
            true => Ok(()),
            false => Err(Refusal::Invalid("a token of another session")),
        }
    }

    /// Takes the token out of all places that are searched, if it is to be hidden.
    pub(super) fn hide(&self, cx: &mut Access<'_>) {
        if !self.hide {
            return;
        }
        if self.in_header {
            match &self.header {
                Some(name) => drop(cx.headers().remove(name)),
                None => drop(cx.headers().remove_known(Known::Authorization)),
            }
        }
        cookie::hide(&self.cookie, cx.headers());
        if self.in_query
            && let Some(rest) = query::without(&cx.upstream.query, ARGUMENT)
        {
            cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
        }
        if self.in_body
            && is_form(cx)
            && let Some(rest) = cx.body().and_then(|body| query::without(body, ARGUMENT))
        {
            cx.set_body(rest);
        }
    }
}

/// Whether the body is one that browsers make of a form.
pub(super) fn is_form(exchange: &Exchange) -> bool {
    let content_type = exchange.request.headers.get("Content-Type").unwrap_or_default();
    media::essence(content_type).eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

fn add<'a>(found: &mut Option<Cow<'a, [u8]>>, token: Cow<'a, [u8]>) -> Result<(), Refusal> {
    match found {
        _ if token.is_empty() => Ok(()),
        None => {
            *found = Some(token);
            Ok(())
        }
        Some(known) if *known == token => Ok(()),
        Some(_) => Err(Refusal::Several),
    }
}

/// What follows the name of the scheme, in any case, and a space.
fn of_scheme<'a>(scheme: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let (name, rest) = value.trim_ascii_start().split_at_checked(scheme.len())?;
    let is_it = name.eq_ignore_ascii_case(scheme.as_bytes()) && rest.first()?.is_ascii_whitespace();
    is_it.then(|| rest.trim_ascii())
}
