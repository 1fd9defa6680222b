//! Where a bearer token may stand in a request (RFC 6750 2).

use std::borrow::Cow;

use plugin::{Access, Exchange, Known, media, query};

use super::config;
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
    cookie: Option<String>,
    hide: bool,
}

/// What a search came to.
pub(super) enum Search<'a> {
    Found(Cow<'a, [u8]>),
    /// It may stand in the body, which is not at hand.
    NeedsBody,
}

impl Sources {
    pub(super) fn new(config: &config::Tokens) -> Self {
        let has = |place: &str| config.bearer_token_param_type.iter().any(|listed| listed == place);
        Self {
            in_header: has("header"),
            in_query: has("query"),
            in_body: has("body"),
            header: config.bearer_token_header_name.clone(),
            cookie: config.bearer_token_cookie_name.clone().filter(|_| has("cookie")),
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
                    add(found, Cow::Borrowed(bearer(value).unwrap_or_else(|| value.trim_ascii())))?;
                }
            }
            None if self.in_header => {
                for token in request.headers.known_all(Known::Authorization).filter_map(bearer) {
                    add(found, Cow::Borrowed(token))?;
                }
            }
            _ => {}
        }
        if let (true, Some(query)) = (self.in_query, request.query()) {
            query::values(query, ARGUMENT).try_for_each(|token| add(found, token))?;
        }
        let Some(name) = &self.cookie else { return Ok(()) };
        let mut tokens =
            request.headers.known_all(Known::Cookie).filter_map(|line| media::cookie(line, name));
        tokens.try_for_each(|token| add(found, Cow::Borrowed(token)))
    }

    /// Takes the token out of all places that are searched, if it is to be hidden. A cookie stays.
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

/// What follows `Bearer`, in any case, and a space.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.trim_ascii_start().split_at_checked(6)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first()?.is_ascii_whitespace();
    is_bearer.then(|| rest.trim_ascii())
}
