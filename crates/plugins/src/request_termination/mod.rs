#![doc = include_str!("doc.md")]

mod echo;

use bytes::Bytes;
use plugin::model::Value;
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, query, record};
use serde_json::json;

#[cfg(test)]
mod tests;

/// Media type of a `body` that names none, and of messages.
const JSON: &str = "application/json; charset=utf-8";

record! {
    /// Answers requests in place of the upstream service.
    pub struct Config {
        /// Status code of the answer.
        status_code: u16 = 503, [between(100, 599)];
        /// Text of the answer, sent as `{"message": "..."}`. Excludes `body` and `content_type`.
        message: Option<String>;
        /// Media type of `body`; `application/json; charset=utf-8` when absent.
        content_type: Option<String>;
        /// The answer's body, sent as it is. Excludes `message`.
        body: Option<String>;
        /// Whether the answer shows the request as the gateway saw it, with the route and service it found. Excludes
        /// `body` and `content_type`.
        echo: bool = false;
        /// Only requests that have a header or a query argument of this name are answered; others go upstream.
        trigger: Option<String>, [header_name()];
    }
    checks: [custom(check_texts)]
}

/// The room, ready to run.
pub struct RequestTermination {
    status: u16,
    trigger: Option<String>,
    answer: Answer,
}

enum Answer {
    Empty,
    Body { content_type: String, body: Bytes },
    Echo(echo::Echo),
}

impl Plugin for RequestTermination {
    const NAME: &'static str = "request-termination";
    const PRIORITY: i64 = 2;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes { consumer: true, consumer_group: true, route: true, service: true };
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let status = config.status_code;
        if status < 200 {
            let message = format!("status {status} is informational: an answer needs one from 200 to 599");
            return Err(BuildError::new("config.status_code", message));
        }
        if let Some(unfit) = config.content_type.as_ref().filter(|value| value.chars().any(char::is_control))
        {
            let message = format!("invalid media type: {unfit:?}");
            return Err(BuildError::new("config.content_type", message));
        }
        let message = present(config.message).or_else(|| default_message(status).map(str::to_owned));
        let answer = match (config.echo, present(config.body), message) {
            (true, _, message) => Answer::Echo(echo::Echo::new(message, cx)),
            (false, Some(body), _) => {
                let content_type = present(config.content_type).unwrap_or_else(|| JSON.to_owned());
                Answer::Body { content_type, body: body.into() }
            }
            (false, None, Some(message)) => {
                let body = json!({ "message": message }).to_string().into();
                Answer::Body { content_type: JSON.to_owned(), body }
            }
            (false, None, None) => Answer::Empty,
        };
        Ok(Self { status, trigger: config.trigger, answer })
    }
}

impl Phases for RequestTermination {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        if !self.is_triggered(cx) {
            return Flow::Next;
        }
        match &self.answer {
            Answer::Empty => cx.answer(self.status).empty(),
            Answer::Body { content_type, body } => cx.answer(self.status).bytes(content_type, body.clone()),
            Answer::Echo(echo) => echo.answer(self.status, cx),
        }
    }
}

impl RequestTermination {
    fn is_triggered(&self, cx: &Access<'_>) -> bool {
        self.trigger.as_ref().is_none_or(|name| {
            let mut arguments = query::values(cx.request.query().unwrap_or_default(), name);
            cx.request.headers.contains(name) || arguments.next().is_some()
        })
    }
}

/// The text of an answer without a message of its own (kong.md 4.2).
fn default_message(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "Unauthorized",
        404 => "Not found",
        405 => "Method not allowed",
        500 => "An unexpected error occurred",
        502 => "Bad Gateway",
        503 => "Service unavailable",
        _ => return None,
    })
}

fn present(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn check_texts(config: &Value) -> Result<(), String> {
    let given = |name: &str| config[name].as_str().is_some_and(|text| !text.is_empty());
    if given("message") && (given("content_type") || given("body")) {
        return Err("message cannot be used with content_type or body".to_owned());
    }
    if given("content_type") && !given("body") {
        return Err("content_type requires a body".to_owned());
    }
    if config["echo"] == true && given("body") {
        return Err("echo cannot be used with content_type and body".to_owned());
    }
    Ok(())
}
