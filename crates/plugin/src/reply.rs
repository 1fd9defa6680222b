//! Answers made by the gateway itself.

use std::borrow::Cow;

use bytes::Bytes;
use wire::Headers;

use crate::flow::Flow;

/// A response made by a room or by the engine, before it is written in the form the client accepts.
#[derive(Debug, Default)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Fields beyond those the engine sets itself.
    pub headers: Headers,
    /// The body.
    pub body: Body,
    /// The answer stands in for one of the upstream, from a cache say: it is logged and dressed as such.
    pub stands_in: bool,
}

/// The body of a [`Reply`].
#[derive(Debug, Default)]
pub enum Body {
    /// None at all.
    #[default]
    Empty,
    /// A message, written through the error template in the media type the client accepts (kong.md 3.3).
    Message(Cow<'static, str>),
    /// These bytes; the room has set `Content-Type`.
    Bytes(Bytes),
}

impl Reply {
    /// Forgets the answer and keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.headers.clear();
        self.body = Body::Empty;
        self.stands_in = false;
    }
}

/// Builds an answer; every ending returns [`Flow::Answer`].
#[must_use = "an answer needs an ending: message, json, bytes or empty"]
pub struct Answering<'a> {
    reply: &'a mut Reply,
}

impl<'a> Answering<'a> {
    pub(crate) fn new(reply: &'a mut Reply, status: u16) -> Self {
        reply.clear();
        reply.status = status;
        Self { reply }
    }

    /// Adds a response field.
    pub fn header(self, name: &str, value: &[u8]) -> Self {
        self.reply.headers.append(name, value);
        self
    }

    /// Marks the answer as standing in for one of the upstream: it gets the fields of a proxied response and is
    /// logged with the source `upstream`.
    pub fn standing_in(self) -> Self {
        self.reply.stands_in = true;
        self
    }

    /// Adds all fields of `headers`.
    pub fn headers(self, headers: &Headers) -> Self {
        for (name, value) in headers.iter() {
            self.reply.headers.append(name, value);
        }
        self
    }

    /// Ends with a message written through the error template, with a `request_id` (kong.md 3.3).
    pub fn message(self, message: impl Into<Cow<'static, str>>) -> Flow {
        self.reply.body = Body::Message(message.into());
        Flow::Answer
    }

    /// Ends with compact JSON, without a `request_id`.
    pub fn json(self, value: &serde_json::Value) -> Flow {
        self.bytes("application/json; charset=utf-8", value.to_string().into_bytes())
    }

    /// Ends with `body` of the given media type.
    pub fn bytes(self, content_type: &str, body: impl Into<Bytes>) -> Flow {
        self.reply.headers.set("Content-Type", content_type.as_bytes());
        self.reply.body = Body::Bytes(body.into());
        Flow::Answer
    }

    /// Ends with `body` as it is; a media type, if any, has been given as a field.
    pub fn body(self, body: impl Into<Bytes>) -> Flow {
        self.reply.body = Body::Bytes(body.into());
        Flow::Answer
    }

    /// Ends without a body.
    pub fn empty(self) -> Flow {
        self.reply.body = Body::Empty;
        Flow::Answer
    }
}
