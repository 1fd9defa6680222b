#![doc = include_str!("doc.md")]

use plugin::exchange::BodyLimit;
use plugin::model::Value;
use plugin::{
    Access, BodyLength, Build, BuildError, Exchange, Flow, Known, Phase, Phases, Plugin, Scopes, record,
};

#[cfg(test)]
mod tests;

record! {
    /// Refuses requests with too large a body.
    pub struct Config {
        /// The largest body that passes, in units of `size_unit`.
        allowed_payload_size: i64 = 128, [custom_value(not_negative)];
        /// The unit of `allowed_payload_size`: 1, 1024 or 1024 * 1024 bytes.
        size_unit: String = "megabytes", [one_of(&["bytes", "kilobytes", "megabytes"])];
        /// Whether requests have to announce the length of their body in `Content-Length`. Those with a chunked body need
        /// not.
        require_content_length: bool = false;
    }
}

fn not_negative(size: &Value) -> Result<(), String> {
    match size.as_i64() {
        Some(0..) => Ok(()),
        _ => Err("a size cannot be negative".to_owned()),
    }
}

/// What a client whose body is too large is told.
const TOO_LARGE: &str = "Request size limit exceeded";

/// The room, ready to run.
pub struct RequestSizeLimiting {
    limit: BodyLimit,
    requires_length: bool,
}

impl Plugin for RequestSizeLimiting {
    const NAME: &'static str = "request-size-limiting";
    const PRIORITY: i64 = 951;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: false, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        let unit: u64 = match config.size_unit.as_str() {
            "bytes" => 1,
            "kilobytes" => 1 << 10,
            _ => 1 << 20,
        };
        let size = u64::try_from(config.allowed_payload_size).unwrap_or(0);
        let limit = BodyLimit { bytes: size.saturating_mul(unit), message: TOO_LARGE };
        Ok(Self { limit, requires_length: config.require_content_length })
    }
}

impl Phases for RequestSizeLimiting {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let announced = announced(cx);
        if self.requires_length && announced.is_none() && cx.request.framing != BodyLength::Chunked {
            return cx.answer(411).message("A valid Content-Length header is required");
        }
        // Another plugin may have taken the body already.
        let size = announced.or_else(|| cx.body().map(|body| body.len() as u64));
        if size.is_some_and(|size| size > self.limit.bytes) {
            let status = if expects_to_continue(cx) { 417 } else { 413 };
            return cx.answer(status).message(TOO_LARGE);
        }
        cx.limit_body(self.limit);
        Flow::Next
    }
}

/// The length that `Content-Length` announces.
fn announced(exchange: &Exchange) -> Option<u64> {
    match exchange.request.framing {
        BodyLength::Exact(length) if exchange.request.headers.contains_known(Known::ContentLength) => {
            Some(length)
        }
        _ => None,
    }
}

/// The client waits for leave to send its body, or has done so.
fn expects_to_continue(exchange: &Exchange) -> bool {
    let mut expectations = exchange.request.headers.known_all(Known::Expect);
    expectations.any(|expectation| expectation.eq_ignore_ascii_case(b"100-continue"))
}
