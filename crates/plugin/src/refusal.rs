//! Refusals with a body of their own, which may tell when it is worth trying again. Made at reload; a request that is not
//! refused pays nothing for them.

use std::collections::BTreeMap;

use model::record;
use wire::{Headers, Known};

use crate::build::BuildError;
use crate::flow::Flow;
use crate::views::Access;

/// What stands in a body for the seconds after which it is worth trying again.
const RETRY_AFTER: &str = "$(retry_after)";

record! {
    /// The body of a refusal, in place of the usual one.
    pub struct Answer {
        /// The body. `$(retry_after)` stands for the seconds after which it is worth trying again. The usual body, with
        /// the message in the media type that the client accepts, where it is not given.
        body: Option<String>, [len_max(65536)];
        /// The media type of `body`.
        content_type: String = "application/json";
        /// Further header fields, beside `body`.
        headers: Option<BTreeMap<String, String>>, [keys(header_name())];
    }
}

/// A refusal, its body cut where the seconds go.
pub struct Refusal {
    status: u16,
    headers: Headers,
    body: Vec<String>,
}

impl Refusal {
    /// The refusal with this body.
    #[must_use]
    pub fn new(status: u16, headers: Headers, body: &str) -> Self {
        Self { status, headers, body: body.split(RETRY_AFTER).map(str::to_owned).collect() }
    }

    /// The refusal that `answer`, the value of the field `place`, describes; none where it has no body.
    ///
    /// # Errors
    /// A header field that cannot be sent, or one without a body that it would go with.
    pub fn of(status: u16, answer: &Answer, place: &str) -> Result<Option<Self>, BuildError> {
        let fields = format!("{place}.headers");
        match &answer.body {
            Some(body) => {
                let headers = header_fields(&fields, &answer.content_type, answer.headers.as_ref())?;
                Ok(Some(Self::new(status, headers, body)))
            }
            None if answer.headers.is_some() => {
                Err(BuildError::new(fields, format!("goes with a body: give {place}.body")))
            }
            None => Ok(None),
        }
    }

    /// Answers with it, where it is worth trying again after `seconds`.
    pub fn answer(&self, cx: &mut Access<'_>, seconds: u64) -> Flow {
        let body = self.body.join(&seconds.to_string());
        cx.answer(self.status).headers(&self.headers).body(body.into_bytes())
    }
}

/// The fields of an answer with a body of this media type; `place` is the field that `others` come from.
///
/// # Errors
/// A value that cannot be sent.
pub fn header_fields(
    place: &str,
    content_type: &str,
    others: Option<&BTreeMap<String, String>>,
) -> Result<Headers, BuildError> {
    let mut headers = Headers::new();
    headers.set_known(Known::ContentType, content_type.as_bytes());
    for (name, value) in others.into_iter().flatten() {
        if !headers.set(name, value.as_bytes()) {
            return Err(BuildError::new(format!("{place}.{name}"), "is no value of a header field"));
        }
    }
    Ok(headers)
}
