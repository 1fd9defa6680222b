//! The answer in place of the service's.

use bytes::Bytes;
use plugin::{Access, BuildError, Exchange, Flow, Known};

use super::{AbortConfig, Share};

/// Which requests are answered, and how.
pub struct Abort {
    /// Which.
    pub share: Share,
    status: Option<u16>,
    grpc_status: Option<Box<[u8]>>,
    header: Option<String>,
    message: String,
    body: Option<(String, Bytes)>,
}

impl Abort {
    /// None if nothing says with which status.
    pub fn new(config: AbortConfig) -> Result<Option<Self>, BuildError> {
        if config.status.is_none() && config.grpc_status.is_none() && config.header.is_none() {
            return Ok(None);
        }
        for (field, text) in
            [("config.abort.message", &config.message), ("config.abort.content_type", &config.content_type)]
        {
            if text.chars().any(char::is_control) {
                return Err(BuildError::new(field, format!("control characters cannot be sent in {text:?}")));
            }
        }
        let content_type = config.content_type;
        Ok(Some(Self {
            share: Share::new(config.percentage),
            status: config.status,
            grpc_status: config.grpc_status.map(|status| status.to_string().into_bytes().into()),
            header: config.header,
            message: config.message,
            body: config.body.map(|body| (content_type, Bytes::from(body))),
        }))
    }

    /// Answers the request, unless no status is for it.
    pub fn answer(&self, cx: &mut Access<'_>) -> Flow {
        let demanded = self.demanded(cx);
        let is_call = cx
            .request
            .headers
            .known(Known::ContentType)
            .is_some_and(|kind| kind.starts_with(b"application/grpc"));
        if let (None, true, Some(status)) = (demanded, is_call, &self.grpc_status) {
            let answer =
                cx.answer(200).header("Content-Type", b"application/grpc").header("grpc-status", status);
            return answer.header("grpc-message", percent_encoded(&self.message).as_bytes()).empty();
        }
        let Some(status) = demanded.or(self.status) else { return Flow::Next };
        match &self.body {
            Some((content_type, body)) if !is_call => cx.answer(status).bytes(content_type, body.clone()),
            _ => cx.answer(status).message(self.message.clone()),
        }
    }

    fn demanded(&self, exchange: &Exchange) -> Option<u16> {
        let value = exchange.request.headers.get(self.header.as_ref()?)?;
        let status = std::str::from_utf8(value).ok()?.parse().ok()?;
        (200..600).contains(&status).then_some(status)
    }
}

/// A message as gRPC writes it in a field: bytes beyond printable ASCII, and `%`, are percent-encoded.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
