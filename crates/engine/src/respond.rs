//! The one table that turns every failure into a response, and the forms an error message may take (kong.md 3.3).

use std::borrow::Cow;

use plugin::Exchange;
use plugin::guard::Nowhere;
use plugin::reply::Body;
use wire::{Headers, Known, Limit, Reject};

use crate::bounds::Bound;
use crate::protocol::is_grpc;
use crate::settings::Settings;

/// Seconds after which a client that was turned away may try again.
const RETRY_AFTER: u64 = 5;

/// Why the engine could not carry a request out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The client sent something that is not HTTP as we accept it, or went over a bound.
    Malformed {
        /// The status that says so.
        status: u16,
        /// The rule or the bound.
        rule: &'static str,
        /// The bound, where it was one that can be set.
        bound: Option<Bound>,
    },
    /// The client was too slow with its head or body.
    ClientTimeout {
        /// What it exceeded.
        bound: Bound,
    },
    /// The client was too slow to take its response. Nobody is left to answer.
    ClientStalled {
        /// What it exceeded.
        bound: Bound,
    },
    /// The client went away before its request was complete. Nobody is left to answer.
    ClientGone,
    /// A plugin waited for longer than it may.
    PluginTimeout,
    /// The gateway's own code panicked, or a plugin's.
    Panicked,
    /// Memory is short, or open files are.
    Overloaded {
        /// What there is too much of.
        bound: Bound,
    },
    /// The request body is larger than allowed.
    BodyTooLarge,
    /// A plugin wanted the whole request body, and it is larger than what is kept in memory.
    BodyBeyondBuffer,
    /// The request body is larger than a plugin accepts.
    BodyRefused {
        /// What the client is told.
        message: &'static str,
    },
    /// The request is for a host in whose handshakes clients are asked for something else than this one was.
    Misdirected,
    /// No route matched.
    NoRoute,
    /// The route has no service and no plugin answered.
    NoService,
    /// The upstream has no target that could take the request.
    NoPeer,
    /// The upstream has targets, and a plugin lets the request go to none of them now.
    Barred,
    /// The service's host name does not resolve.
    NameResolution,
    /// There are as many connections to the target as its upstream allows, and none became free.
    NoConnection {
        /// The request has waited for one as long as it may; else too many waited already.
        waited: bool,
    },
    /// No connection to the upstream came about.
    ConnectRefused,
    /// The upstream was too slow to connect.
    ConnectTimeout,
    /// The upstream was too slow to take the request or to answer.
    UpstreamTimeout,
    /// The caller's own time for its call has passed.
    CallTimeout,
    /// The request cannot be sent as configuration and plugins have made it.
    Unsendable {
        /// Why.
        rule: &'static str,
    },
    /// The upstream closed or broke the connection before its response.
    UpstreamClosed,
    /// The upstream's response is not HTTP as we accept it.
    UpstreamMalformed {
        /// The rule or the bound.
        rule: &'static str,
    },
    /// A plugin wanted the whole response body, and it is larger than allowed.
    ResponseTooLarge,
}

impl Failure {
    /// Status code and message for the client.
    pub fn response(self) -> (u16, Cow<'static, str>) {
        let (status, message) = match self {
            Self::NoRoute => (404, "no Route matched with those values"),
            Self::NoService => (503, "no Service found with those values"),
            Self::NoPeer | Self::Barred => (503, "failure to get a peer from the ring-balancer"),
            Self::NameResolution => (503, "name resolution failed"),
            Self::NoConnection { .. } => (503, "no connection to the upstream is free"),
            Self::Overloaded { bound: Bound::OpenFiles } => (503, "the gateway is short of connections"),
            Self::Overloaded { .. } => (503, "the gateway is short of memory"),
            Self::BodyRefused { message } => (413, message),
            other => return (other.status(), message_of(other.status())),
        };
        (status, Cow::Borrowed(message))
    }

    /// The status code a client sees.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed { status, .. } => status,
            Self::ClientTimeout { .. } => 408,
            Self::ClientGone | Self::ClientStalled { .. } => 499,
            Self::PluginTimeout | Self::Panicked => 500,
            Self::BodyTooLarge | Self::BodyBeyondBuffer | Self::BodyRefused { .. } => 413,
            Self::NoRoute => 404,
            Self::Misdirected => 421,
            Self::NoService
            | Self::NoPeer
            | Self::Barred
            | Self::NameResolution
            | Self::Overloaded { .. }
            | Self::NoConnection { .. } => 503,
            Self::ConnectRefused
            | Self::Unsendable { .. }
            | Self::UpstreamClosed
            | Self::UpstreamMalformed { .. }
            | Self::ResponseTooLarge => 502,
            Self::ConnectTimeout | Self::UpstreamTimeout | Self::CallTimeout => 504,
        }
    }

    /// The client broke a rule, which is no bound that could be set.
    pub const fn malformed(status: u16, rule: &'static str) -> Self {
        Self::Malformed { status, rule, bound: None }
    }

    /// The client went over a bound.
    pub const fn over(status: u16, rule: &'static str, bound: Bound) -> Self {
        Self::Malformed { status, rule, bound: Some(bound) }
    }

    /// A client sent no more of its body in time, or too little in all.
    pub fn slow_body(by_rate: bool) -> Self {
        Self::ClientTimeout { bound: if by_rate { Bound::MinBodyRate } else { Bound::BodyTimeout } }
    }

    /// A client took no more of its response in time, or too little in all.
    pub fn slow_taking(by_rate: bool) -> Self {
        Self::ClientStalled { bound: if by_rate { Bound::MinSendRate } else { Bound::SendTimeout } }
    }

    /// The bound that was exceeded, where that is worth a line in the log.
    pub fn bound(self) -> Option<Bound> {
        match self {
            Self::ClientTimeout { bound } | Self::ClientStalled { bound } | Self::Overloaded { bound } => {
                Some(bound)
            }
            Self::Malformed { bound, .. } => bound,
            Self::BodyTooLarge => Some(Bound::ClientMaxBodySize),
            Self::BodyBeyondBuffer => Some(Bound::RequestBufferSize),
            Self::ResponseTooLarge => Some(Bound::ResponseBufferSize),
            Self::PluginTimeout => Some(Bound::PluginTimeout),
            _ => None,
        }
    }

    /// Why its service did not answer the request, where that is worth a line in the log.
    pub fn of_service(self) -> Option<&'static str> {
        match self {
            Self::NoPeer => Some("no target can take requests"),
            Self::NameResolution => Some("its name does not resolve"),
            Self::NoConnection { .. } => Some("there are as many connections as its upstream may have"),
            Self::ConnectTimeout => Some("no connection within connect_timeout"),
            Self::UpstreamTimeout => {
                Some("neither a byte taken within write_timeout nor sent within read_timeout")
            }
            Self::UpstreamClosed => Some("the connection was closed before a response"),
            Self::UpstreamMalformed { rule } | Self::Unsendable { rule } => Some(rule),
            _ => None,
        }
    }

    /// Why the request has reached nobody, and so has been sent to nobody; none if it was.
    pub fn nowhere(self) -> Option<Nowhere> {
        match self {
            Self::Barred => Some(Nowhere::Barred),
            Self::NoPeer | Self::NameResolution => Some(Nowhere::NoTarget),
            Self::NoConnection { .. } => Some(Nowhere::NoConnection),
            Self::ConnectRefused | Self::ConnectTimeout => Some(Nowhere::Unreachable),
            _ => None,
        }
    }

    /// The failure came from an upstream that was asked: the response counts as proxied (kong.md 3.5).
    pub fn is_from_upstream(self) -> bool {
        matches!(
            self,
            Self::ConnectRefused
                | Self::ConnectTimeout
                | Self::UpstreamTimeout
                | Self::CallTimeout
                | Self::UpstreamClosed
                | Self::UpstreamMalformed { .. }
                | Self::ResponseTooLarge
        )
    }

    /// The request as such was at fault, before any routing: its `Content-Type` decides the form of the error.
    fn is_protocol_level(self) -> bool {
        let of_request = matches!(
            self,
            Self::Malformed { .. } | Self::ClientTimeout { .. } | Self::BodyTooLarge | Self::BodyBeyondBuffer
        );
        of_request || self.is_from_upstream()
    }
}

impl From<Reject> for Failure {
    fn from(reject: Reject) -> Self {
        let bound = reject.limit.map(|limit| match limit {
            Limit::Head => Bound::MaxHeadSize,
            Limit::Line => Bound::MaxLineSize,
            Limit::Target => Bound::MaxUriSize,
            Limit::Headers => Bound::MaxHeaderCount,
            Limit::ChunkExtension => Bound::ChunkExtension,
            Limit::Trailers => Bound::Trailers,
        });
        Self::Malformed { status: reject.status, rule: reject.reason, bound }
    }
}

/// Kong's message for a status code.
fn message_of(status: u16) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        400 => "Bad request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        411 => "Length required",
        413 => "Payload too large",
        414 => "URI too long",
        417 => "Expectation failed",
        421 => "Misdirected request",
        429 => "Too many requests",
        431 => "Request header or cookie too large",
        500 => "An unexpected error occurred",
        502 => "An invalid response was received from the upstream server",
        503 => "The upstream server is currently unavailable",
        504 => "The upstream server is timing out",
        other => return Cow::Owned(format!("The upstream server responded with {other}")),
    })
}

/// Turns a failure into the reply the client gets.
pub fn fail(exchange: &mut Exchange, failure: Failure, settings: &Settings) {
    let (status, message) = failure.response();
    let fallback = failure.is_protocol_level().then(|| fallback_form(&exchange.request.headers, settings));
    exchange.reply.clear();
    exchange.reply.status = status;
    if matches!(failure, Failure::Overloaded { .. }) {
        exchange.reply.headers.set_number(Known::RetryAfter, RETRY_AFTER);
    }
    let form = accepted_form(&exchange.request.headers, fallback.unwrap_or(Form::Json));
    write_message(exchange, &message, form);
}

/// Writes a templated message of a plugin's answer in the form the client accepts.
pub fn render(exchange: &mut Exchange) {
    if let Body::Message(message) = &mut exchange.reply.body {
        let message = std::mem::take(message);
        let form = accepted_form(&exchange.request.headers, Form::Json);
        write_message(exchange, &message, form);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Html,
    Xml,
    Plain,
    Grpc,
}

const FORMS: [(&str, Form); 4] = [
    ("application/json", Form::Json),
    ("text/html", Form::Html),
    ("application/xml", Form::Xml),
    ("text/plain", Form::Plain),
];

fn accepted_form(headers: &Headers, otherwise: Form) -> Form {
    if is_grpc(headers) {
        return Form::Grpc;
    }
    match headers.known(Known::Accept) {
        None => otherwise,
        Some(accept) => {
            let offers = FORMS.map(|(name, _)| name);
            wire::media::best_match(accept, &offers).map_or(Form::Json, |index| FORMS[index].1)
        }
    }
}

fn fallback_form(headers: &Headers, settings: &Settings) -> Form {
    let named = |value: &[u8]| {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        FORMS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(essence)).map(|(_, form)| *form)
    };
    headers
        .known(Known::ContentType)
        .and_then(named)
        .or_else(|| named(settings.error_default_type.as_bytes()))
        .unwrap_or(Form::Plain)
}

fn write_message(exchange: &mut Exchange, message: &str, form: Form) {
    let id = std::str::from_utf8(&exchange.request_id).unwrap_or_default();
    let reply = &mut exchange.reply;
    let (content_type, body) = match form {
        Form::Json => {
            let mut quoted = Vec::with_capacity(message.len() + 2);
            plugin::serialize::string(&mut quoted, message.as_bytes());
            let quoted = String::from_utf8(quoted).unwrap_or_default();
            let body = format!("{{\n  \"message\":{quoted},\n  \"request_id\":\"{id}\"\n}}");
            ("application/json; charset=utf-8", body)
        }
        Form::Plain => ("text/plain; charset=utf-8", format!("{message}\nrequest_id: {id}\n")),
        Form::Html => ("text/html; charset=utf-8", html(&escape(message), id)),
        Form::Xml => ("application/xml; charset=utf-8", xml(&escape(message), id)),
        Form::Grpc => return write_grpc(reply),
    };
    reply.headers.set("Content-Type", content_type.as_bytes());
    reply.body = Body::Bytes(body.into());
}

fn html(message: &str, id: &str) -> String {
    format!(
        "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n  \
         <body>\n    <h1>Error</h1>\n    <p>{message}.</p>\n    <p>request_id: {id}</p>\n  </body>\n</html>\n"
    )
}

fn xml(message: &str, id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>{message}</message>\n  \
         <requestid>{id}</requestid>\n</error>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn write_grpc(reply: &mut plugin::Reply) {
    let (code, name) = match reply.status {
        200 => ("0", "OK"),
        400 => ("3", "InvalidArgument"),
        401 => ("16", "Unauthenticated"),
        403 => ("7", "PermissionDenied"),
        404 => ("5", "NotFound"),
        409 => ("6", "AlreadyExists"),
        429 => ("8", "ResourceExhausted"),
        499 => ("1", "Canceled"),
        501 => ("12", "Unimplemented"),
        503 => ("14", "Unavailable"),
        504 => ("4", "DeadlineExceeded"),
        500..=599 => ("13", "Internal"),
        _ => ("3", "InvalidArgument"),
    };
    reply.headers.set("Content-Type", b"application/grpc");
    reply.headers.set("grpc-status", code.as_bytes());
    reply.headers.set("grpc-message", name.as_bytes());
    reply.body = Body::Empty;
}
