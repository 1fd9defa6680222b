//! Edits of a JSON, form or multipart body.

use std::borrow::Cow;

use plugin::multipart::Form;
use plugin::object::Object;
use plugin::{Headers, Known, media, serialize};

use super::arguments;
use super::rules::{Rendered, Rules};

/// The kinds of bodies that can be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
    /// `multipart/form-data`
    Multipart,
}

impl Kind {
    /// The kind of the body that `headers` announce. A compressed one cannot be edited.
    pub fn of(headers: &Headers) -> Option<Self> {
        let plain = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
        if !headers.known_all(Known::ContentEncoding).all(plain) {
            return None;
        }
        // What a parameter says is nothing that the service goes by.
        let value = media::essence(headers.known(Known::ContentType)?).to_ascii_lowercase();
        let mentions = |kind: &str| value.windows(kind.len()).any(|part| part == kind.as_bytes());
        if mentions("application/json") {
            Some(Self::Json)
        } else if mentions("multipart/form-data") {
            Some(Self::Multipart)
        } else if mentions("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            None
        }
    }
}

/// The body after the edits of `rules`; `None` if it is malformed or nothing changed.
pub fn edited(
    kind: Kind,
    content_type: &[u8],
    body: &[u8],
    rules: &Rules,
    rendered: &Rendered,
) -> Option<Vec<u8>> {
    match kind {
        Kind::Json => json(body, rules, rendered),
        Kind::Form => arguments::edited(body, rules, rendered),
        Kind::Multipart => multipart(content_type, body, rules, rendered),
    }
}

fn json(body: &[u8], rules: &Rules, rendered: &Rendered) -> Option<Vec<u8>> {
    let mut object = if body.is_empty() { Object::empty() } else { Object::parse(body)? };
    let mut text = Vec::new();
    rules.apply(&mut object, |value| {
        text.clear();
        serialize::string(&mut text, rendered.text(value));
        Cow::Owned(String::from_utf8_lossy(&text).into_owned())
    });
    object.is_changed().then(|| object.to_json())
}

fn multipart(content_type: &[u8], body: &[u8], rules: &Rules, rendered: &Rendered) -> Option<Vec<u8>> {
    let mut form = Form::parse(content_type, body)?;
    rules.apply(&mut form, |value| Cow::Borrowed(rendered.text(value)));
    form.is_changed().then(|| form.to_body())
}
