//! Where a token may stand in a request.

use std::borrow::Cow;

use plugin::web_session::cookie;
use plugin::{Access, Exchange, Known, media, query};

use super::Refusal;

/// The places that are searched.
pub(super) struct Sources {
    pub(super) arguments: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) headers: Vec<String>,
}

impl Sources {
    /// The one token of a request; the same token in several places is one.
    pub(super) fn find<'a>(&self, exchange: &'a Exchange) -> Result<Cow<'a, [u8]>, Refusal> {
        let request = &exchange.request;
        let mut found = None;
        if let Some(query) = request.query() {
            for name in &self.arguments {
                query::values(query, name).try_for_each(|token| add(&mut found, token))?;
            }
        }
        for name in &self.cookies {
            let mut tokens =
                request.headers.known_all(Known::Cookie).filter_map(|line| media::cookie(line, name));
            tokens.try_for_each(|token| add(&mut found, Cow::Borrowed(token)))?;
        }
        for name in &self.headers {
            let mut tokens = request.headers.all(name).filter_map(bearer);
            tokens.try_for_each(|token| add(&mut found, Cow::Borrowed(token)))?;
        }
        found.ok_or(Refusal::NoToken)
    }

    /// Takes tokens out of all places that are searched.
    pub(super) fn hide(&self, cx: &mut Access<'_>) {
        for name in &self.headers {
            if cx.request.headers.all(name).any(|value| bearer(value).is_some()) {
                cx.headers().remove(name);
            }
        }
        for name in &self.arguments {
            if let Some(rest) = query::without(&cx.upstream.query, name) {
                cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
            }
        }
        cookie::hide(&self.cookies, cx.headers());
    }
}

fn add<'a>(found: &mut Option<Cow<'a, [u8]>>, token: Cow<'a, [u8]>) -> Result<(), Refusal> {
    match found {
        _ if token.is_empty() => Ok(()),
        None => {
            *found = Some(token);
            Ok(())
        }
        Some(known) if *known == token => Ok(()),
        Some(_) => Err(Refusal::SeveralTokens),
    }
}

/// What follows `Bearer` or `bearer` and a space.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let rest = value.trim_ascii_start();
    let rest = rest.strip_prefix(b"Bearer").or_else(|| rest.strip_prefix(b"bearer"))?;
    rest.first()?.is_ascii_whitespace().then(|| rest.trim_ascii())
}
