//! A key inside a request body: found, and taken out again.

use std::borrow::Cow;

use wire::{Headers, media};

use super::{Refusal, single};
use crate::object::{self, Object};
use crate::{multipart, query};

/// How a body that may hold a key is to be read.
pub(super) enum Form {
    UrlEncoded,
    Json,
    Multipart { content_type: Vec<u8> },
}

impl Form {
    /// The form of the body with these headers; none for media types that hold no named fields.
    pub fn of(headers: &Headers) -> Option<Self> {
        let content_type = headers.get("Content-Type")?;
        let is = |media_type: &str| media::essence(content_type).eq_ignore_ascii_case(media_type.as_bytes());
        if is("application/x-www-form-urlencoded") {
            Some(Self::UrlEncoded)
        } else if is("application/json") {
            Some(Self::Json)
        } else if is("multipart/form-data") {
            Some(Self::Multipart { content_type: content_type.to_vec() })
        } else {
            None
        }
    }

    /// The key under `name`. A body that cannot be read has none.
    pub fn find<'a>(&self, body: &'a [u8], name: &str) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        match self {
            Self::UrlEncoded => single(query::values(body, name)),
            Self::Multipart { content_type } => {
                let Some(form) = multipart::Form::parse(content_type, body) else { return Ok(None) };
                Ok(single(form.values(name))?.map(|key| Cow::Owned(key.to_vec())))
            }
            Self::Json => {
                let Some(found) = object::member(body, name) else { return Ok(None) };
                if found.repeated || found.value.starts_with(['[', '{']) {
                    return Err(Refusal::Duplicate);
                }
                let key = serde_json::from_str::<String>(found.value).ok();
                Ok(key.map(|key| Cow::Owned(key.into_bytes())))
            }
        }
    }

    /// The body without the field `name`; `None` when there is no such field.
    pub fn without(&self, body: &[u8], name: &str) -> Option<Vec<u8>> {
        match self {
            Self::UrlEncoded => query::without(body, name),
            Self::Multipart { content_type } => {
                let mut form = multipart::Form::parse(content_type, body)?;
                form.remove(name);
                form.is_changed().then(|| form.to_body())
            }
            Self::Json => {
                let mut object = Object::parse(body)?;
                object.remove(name);
                object.is_changed().then(|| object.to_json())
            }
        }
    }
}
