//! What a client sends to the endpoints: in the query and in a form or JSON body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plugin::object;
use plugin::{Exchange, Headers, media, query};

use super::reply::Problem;

/// The parameters of a request.
pub(super) struct Parameters<'a> {
    query: &'a [u8],
    body: Option<(Form, &'a [u8])>,
}

/// How a body holds parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    UrlEncoded,
    Json,
}

impl Form {
    /// The form of the body with these headers, if it holds any.
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let essence = media::essence(headers.get("Content-Type")?);
        if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Some(Self::UrlEncoded)
        } else {
            essence.eq_ignore_ascii_case(b"application/json").then_some(Self::Json)
        }
    }

    /// The parameter called `name`.
    pub(super) fn find(self, body: &[u8], name: &str) -> Result<Option<String>, Problem> {
        match self {
            Self::UrlEncoded => single(body, name),
            Self::Json => match object::member(body, name) {
                None => Ok(None),
                Some(found) if found.repeated => Err(repeated(name)),
                Some(found) => Ok(serde_json::from_str(found.value).ok()),
            },
        }
    }
}

impl<'a> Parameters<'a> {
    pub(super) fn new(exchange: &'a Exchange) -> Self {
        let form = Form::of(&exchange.request.headers);
        let body = form.zip(exchange.body.as_deref());
        Self { query: exchange.request.query().unwrap_or_default(), body }
    }

    /// The parameter called `name`; what is in the body counts before what is in the query. An empty one is none (RFC
    /// 6749 3.1).
    pub(super) fn find(&self, name: &str) -> Result<Option<String>, Problem> {
        let in_query = single(self.query, name)?;
        let in_body = match self.body {
            Some((form, body)) => form.find(body, name)?,
            None => None,
        };
        Ok(in_body.or(in_query).filter(|value| !value.is_empty()))
    }
}

/// The only argument of this name (RFC 6749 3.1: none may be there twice).
fn single(text: &[u8], name: &str) -> Result<Option<String>, Problem> {
    let mut values = query::values(text, name);
    let first = values.next();
    if values.next().is_some() {
        return Err(repeated(name));
    }
    Ok(first.and_then(|value| String::from_utf8(value.into_owned()).ok()))
}

fn repeated(name: &str) -> Problem {
    Problem::new("invalid_request", format!("{name} is there more than once"))
}

/// By what a client proves itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    /// It stands in the header, and not among the parameters.
    pub(super) in_header: bool,
}

impl Proof {
    /// The proof among the parameters, or else in the header field `field` (RFC 6749 2.3.1).
    pub(super) fn of(parameters: &Parameters<'_>, headers: &Headers, field: &str) -> Result<Self, Problem> {
        let client_id = parameters.find("client_id")?;
        let client_secret = parameters.find("client_secret")?;
        let header = headers.get(field).filter(|_| client_id.is_none() || client_secret.is_none());
        match header.and_then(basic) {
            Some((id, _)) if client_id.as_ref().is_some_and(|other| *other != id) => Err(Problem::new(
                "invalid_request",
                "client_id is not the one that the header names".to_owned(),
            )),
            Some((id, secret)) => {
                Ok(Self { client_id: Some(id), client_secret: Some(secret), in_header: true })
            }
            None => Ok(Self { client_id, client_secret, in_header: header.is_some() }),
        }
    }
}

/// Name and password of a `Basic` header.
fn basic(value: &[u8]) -> Option<(String, String)> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(5)?;
    let encoded = rest.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"basic") || encoded.len() == rest.len() {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
