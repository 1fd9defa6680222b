//! Answers in Kong's shapes: plain messages and errors with a code.

use plugin::admin::Answer;
use serde::Serialize;
use serde_json::{Value, json};

/// An answer with the headers that not every answer has.
pub struct Reply {
    /// Status, media type and body.
    pub answer: Answer,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

/// Kong's numbered errors that can happen without a database.
#[derive(Clone, Copy)]
pub enum Fault {
    SchemaViolation,
    InvalidOffset,
    InvalidSize,
    InvalidOptions,
    OperationUnsupported,
    InvalidConfiguration,
}

impl Fault {
    /// Code, name and status.
    fn facts(self) -> (u8, &'static str, u16) {
        match self {
            Fault::SchemaViolation => (2, "schema violation", 400),
            Fault::InvalidOffset => (7, "invalid offset", 400),
            Fault::InvalidSize => (9, "invalid size", 400),
            Fault::InvalidOptions => (11, "invalid options", 400),
            Fault::OperationUnsupported => (12, "operation unsupported", 405),
            Fault::InvalidConfiguration => (14, "invalid declarative configuration", 400),
        }
    }
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        Self::from(Answer::json(status, value))
    }

    /// 200 with JSON.
    pub fn ok(value: &Value) -> Self {
        Self::json(200, value)
    }

    /// `{"message": ...}`
    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }

    /// A body that should be JSON, and where it is not.
    pub fn no_json(error: &serde_json::Error) -> Self {
        Self::message(400, &format!("Cannot parse JSON body: {error}"))
    }

    /// Nothing is there.
    pub fn not_found() -> Self {
        Self::from(Answer::not_found())
    }

    /// A status that comes without a body.
    pub fn empty(status: u16) -> Self {
        Self::from(Answer { status, ..Answer::no_content() })
    }

    /// One of Kong's numbered errors; `more` is an object whose members are added.
    pub fn fault(fault: Fault, message: &str, more: Value) -> Self {
        let (code, name, status) = fault.facts();
        let mut body = json!({ "code": code, "name": name, "message": message });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        Self::json(status, &body)
    }

    /// The same with a header more.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Answer> for Reply {
    fn from(mut answer: Answer) -> Self {
        let headers = std::mem::take(&mut answer.headers);
        Self { answer, headers }
    }
}
