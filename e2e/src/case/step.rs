//! One act of a case: what is sent or done, and what must come of it.

use super::Answer;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A step under TLS.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// The server name to ask for; none is asked for without it.
    pub name: Option<String>,
    /// The name of the certificate that must be shown.
    pub shows: Option<String>,
    /// The name of the certificate that the client shows if it is asked.
    pub own: Option<String>,
    /// There must be no session.
    pub refused: bool,
}

/// One act of a case with what must come of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    pub note: String,
    // What is sent.
    pub request: Option<String>,
    pub to: Listener,
    pub tls: Option<Tls>,
    pub host: Option<String>,
    pub without_host: bool,
    pub headers: Map<String, Value>,
    pub body: Option<String>,
    pub json: Option<Value>,
    pub size: Option<usize>,
    pub chunks: Option<Vec<String>>,
    pub trailers: Map<String, Value>,
    pub raw: Option<String>,
    /// A datagram to the listener for them.
    pub datagram: Option<String>,
    pub connection: Option<String>,
    pub read: Option<bool>,
    pub half_close: bool,
    pub repeat: Option<usize>,
    pub parallel: Option<usize>,
    pub eventually: bool,
    pub answer: Option<Value>,
    // What is expected of it.
    pub reply: Option<Value>,
    pub replies: Option<Vec<Value>>,
    pub reads: Option<String>,
    pub closed: bool,
    pub route: Option<String>,
    pub upstream: Option<Value>,
    pub statuses: Option<BTreeMap<String, usize>>,
    pub save: BTreeMap<String, String>,
    // Other acts and expectations.
    pub write_config: Option<String>,
    /// Texts that are written into files of the case's own folder.
    pub write: BTreeMap<String, String>,
    /// Files that are written over, each by another one.
    pub replace: BTreeMap<String, String>,
    /// What becomes of upstreams, by name.
    pub servers: BTreeMap<String, Condition>,
    pub signal: Option<String>,
    /// The gateway ends and starts again.
    pub restart: bool,
    pub stderr: Option<String>,
    pub exit: Option<i32>,
    pub connect: Option<String>,
    pub log: Option<LogLine>,
    pub when_writable: Option<String>,
}

/// How an upstream is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    #[default]
    Up,
    /// It refuses connections, and ends those it has.
    Down,
    /// It answers everything with 503.
    Failing,
}

/// Which listener a request goes to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Listener {
    #[default]
    Proxy,
    Admin,
    Status,
    /// The proxy listener for TLS.
    Secure,
    /// The first and the second listener for streams without TLS, and the one for TLS.
    Stream,
    Stream2,
    #[serde(rename = "stream_tls")]
    StreamTls,
}

/// A JSON line that must appear in a log file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogLine {
    pub file: String,
    /// Members some line must have.
    pub json: Value,
    /// Members that line must not have, as JSON pointers.
    pub absent: Vec<String>,
    /// Texts that must stand nowhere in the file by then.
    pub lacks: Vec<String>,
}

impl Step {
    /// Whether the step talks to a listener at all.
    pub fn is_exchange(&self) -> bool {
        let sends = self.request.is_some() || self.raw.is_some();
        sends || (self.connection.is_some() && self.connect.is_none() && self.datagram.is_none())
    }

    /// What the upstream answers, request by request.
    pub fn answers(&self) -> Result<Vec<Answer>, String> {
        let list = match &self.answer {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
        };
        list.into_iter()
            .map(|one| serde_json::from_value(one).map_err(|error| format!("answer: {error}")))
            .collect()
    }

    pub(super) fn verify(&self) -> Result<(), &'static str> {
        let expects = self.reply.is_some()
            || self.replies.is_some()
            || self.reads.is_some()
            || self.closed
            || self.route.is_some()
            || self.upstream.is_some()
            || self.statuses.is_some()
            || self.tls.as_ref().is_some_and(|tls| tls.refused)
            || self.read == Some(false);
        if self.is_exchange() && !expects {
            return Err("it sends but expects nothing");
        }
        if self.request.is_some() && self.raw.is_some() {
            return Err("it has both `request` and `raw`");
        }
        let acts = self.write_config.is_some()
            || !self.write.is_empty()
            || !self.replace.is_empty()
            || !self.servers.is_empty()
            || self.signal.is_some()
            || self.restart
            || self.stderr.is_some()
            || self.exit.is_some()
            || self.connect.is_some()
            || self.log.is_some()
            || self.datagram.is_some();
        if !self.is_exchange() && !acts {
            return Err("it does nothing");
        }
        Ok(())
    }
}
