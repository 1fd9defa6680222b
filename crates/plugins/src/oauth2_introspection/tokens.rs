//! Where tokens stand in requests (RFC 6750 2), and how they are written into a question.

use std::borrow::Cow;

use plugin::{Access, Exchange, Known, media, query};

/// The name of the argument that holds a token (RFC 6750 2.2, 2.3).
pub(super) const ARGUMENT: &str = "access_token";
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// What a search came to.
pub(super) enum Found<'a> {
    Token(Cow<'a, [u8]>),
    /// There is a form that has not been read.
    PerhapsInBody,
    Nothing,
    /// Not the same one everywhere: the service might take another than the one that is asked about.
    Several,
}

/// The token in `Authorization`, else in the query, else in a form.
pub(super) fn find<'a>(exchange: &'a Exchange) -> Found<'a> {
    let request = &exchange.request;
    let headers = request.headers.known_all(Known::Authorization).filter_map(bearer).map(Cow::Borrowed);
    let arguments = |text: &'a [u8]| query::values(text, ARGUMENT).filter(|token| !token.is_empty());
    match only(headers.chain(arguments(request.query().unwrap_or_default()))) {
        Found::Nothing => {}
        found => return found,
    }
    match &exchange.body {
        _ if !has_form(exchange) => Found::Nothing,
        None => Found::PerhapsInBody,
        Some(body) => only(arguments(body)),
    }
}

/// The one that all of them are.
fn only<'a>(mut tokens: impl Iterator<Item = Cow<'a, [u8]>>) -> Found<'a> {
    match tokens.next() {
        None => Found::Nothing,
        Some(token) if tokens.all(|other| other == token) => Found::Token(token),
        Some(_) => Found::Several,
    }
}

/// Takes tokens out of all places that are searched.
pub(super) fn hide(cx: &mut Access<'_>) {
    if cx.request.headers.known_all(Known::Authorization).any(|value| bearer(value).is_some()) {
        cx.headers().remove_known(Known::Authorization);
    }
    if let Some(rest) = query::without(&cx.upstream.query, ARGUMENT) {
        cx.set_upstream_query((!rest.is_empty()).then_some(&rest));
    }
    let rest = if has_form(cx) { cx.body().and_then(|body| query::without(body, ARGUMENT)) } else { None };
    if let Some(rest) = rest {
        cx.set_body(rest);
    }
}

fn has_form(exchange: &Exchange) -> bool {
    let media_type = exchange.request.headers.known(Known::ContentType);
    media_type.is_some_and(|value| media::essence(value).eq_ignore_ascii_case(FORM))
}

/// What follows the scheme `Bearer`, of any case, and a space.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// Writes `text` as a value of a form: all but unreserved characters (RFC 3986 2.3) is percent-encoded.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}
