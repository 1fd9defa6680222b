//! Which requests end their session.

use plugin::object::Object;
use plugin::{Access, Headers, Method, media, multipart, query};

use super::config::Config;

/// What a request that ends its session looks like.
pub(super) struct Logout {
    methods: Vec<Method>,
    query_argument: String,
    body_field: Option<String>,
}

impl Logout {
    pub(super) fn new(config: &Config) -> Self {
        let method = |name: &String| match name.as_str() {
            "GET" => Method::Get,
            "DELETE" => Method::Delete,
            _ => Method::Post,
        };
        Self {
            methods: config.logout_methods.iter().map(method).collect(),
            query_argument: config.logout_query_arg.clone(),
            body_field: config.read_body_for_logout.then(|| config.logout_post_arg.clone()),
        }
    }

    /// Whether only the body, which has not been read, can tell.
    pub(super) fn needs_body(&self, cx: &Access<'_>) -> bool {
        self.body_field.is_some()
            && self.may(cx)
            && cx.body().is_none()
            && Form::of(&cx.request.headers).is_some()
            && !self.is_in_query(cx)
    }

    /// Whether the request ends its session.
    pub(super) fn is_wanted(&self, cx: &Access<'_>) -> bool {
        let in_body = || {
            let (field, body) = (self.body_field.as_deref()?, cx.body()?);
            Some(has_field(&cx.request.headers, body, field))
        };
        self.may(cx) && (self.is_in_query(cx) || in_body() == Some(true))
    }

    fn may(&self, cx: &Access<'_>) -> bool {
        self.methods.contains(&cx.request.method)
    }

    fn is_in_query(&self, cx: &Access<'_>) -> bool {
        let query = cx.request.query().unwrap_or_default();
        query::values(query, &self.query_argument).next().is_some()
    }
}

/// How a body holds named fields.
enum Form {
    UrlEncoded,
    Json,
    Multipart,
}

impl Form {
    fn of(headers: &Headers) -> Option<Self> {
        let essence = media::essence(headers.get("Content-Type")?);
        let is = |media_type: &str| essence.eq_ignore_ascii_case(media_type.as_bytes());
        if is("application/x-www-form-urlencoded") {
            Some(Self::UrlEncoded)
        } else if is("application/json") {
            Some(Self::Json)
        } else {
            is("multipart/form-data").then_some(Self::Multipart)
        }
    }
}

/// Whether a body has a field of this name. One that cannot be read has none.
fn has_field(headers: &Headers, body: &[u8], name: &str) -> bool {
    match Form::of(headers) {
        Some(Form::UrlEncoded) => query::values(body, name).next().is_some(),
        Some(Form::Json) => Object::parse(body).is_some_and(|object| object.contains(name)),
        Some(Form::Multipart) => {
            let content_type = headers.get("Content-Type").unwrap_or_default();
            multipart::Form::parse(content_type, body).is_some_and(|form| form.values(name).next().is_some())
        }
        None => false,
    }
}
