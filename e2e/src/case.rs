//! The shape of a case file. Unknown keys are errors: a misspelt expectation must never pass.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A case: a configuration, what to send, what to expect.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Case {
    /// The declarative configuration as text.
    pub config: Option<String>,
    /// Or a file under `e2e/`, taken byte for byte.
    pub config_file: Option<String>,
    /// The name the configuration is written under.
    pub config_name: Option<String>,
    pub env: BTreeMap<String, String>,
    pub args: Vec<String>,
    /// Key pairs made at run time, by name: the kind.
    pub keys: BTreeMap<String, String>,
    pub tokens: BTreeMap<String, TokenSpec>,
    /// Who signs certificates, by name.
    pub authorities: Vec<String>,
    /// Certificates made at run time, by name.
    pub certificates: BTreeMap<String, CertificateSpec>,
    /// An upstream under TLS.
    pub secure_upstream: Option<SecureUpstream>,
    /// Host names the gateway resolves to an upstream of the case listening on this port.
    pub hosts: BTreeMap<String, u16>,
    /// Configurations for `biplane check`.
    pub checks: Vec<Check>,
    /// The gateway must end at its start instead of serving.
    pub refuses: Option<Refusal>,
    /// Requests and other acts, in order; each is a [`Step`].
    pub steps: Vec<Value>,
}

/// A certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateSpec {
    pub names: Vec<String>,
    /// The name of an authority.
    pub by: String,
    /// An RSA key instead of an elliptic one.
    #[serde(default)]
    pub rsa: bool,
    /// Its time is over.
    #[serde(default)]
    pub expired: bool,
    /// The URL of a responder of OCSP that it names.
    pub responder: Option<String>,
}

/// An upstream under TLS.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecureUpstream {
    /// The name of the certificate it shows.
    pub shows: String,
    /// The name of an authority: clients must show a certificate of it.
    pub clients: Option<String>,
}

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

/// A signed JWT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenSpec {
    pub alg: String,
    /// The shared secret of an HS algorithm.
    #[serde(default)]
    pub secret: String,
    /// The name of a key in `keys` for the others.
    #[serde(default)]
    pub key: String,
    /// More header members, or other values for `alg` and `typ`.
    #[serde(default)]
    pub header: Map<String, Value>,
    #[serde(default)]
    pub claims: Map<String, Value>,
}

/// One run of `biplane check`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Check {
    pub note: String,
    pub config: String,
    pub config_name: Option<String>,
    pub exit: i32,
    /// Texts the output must hold; `~` begins a regular expression.
    pub says: Vec<String>,
    pub lacks: Vec<String>,
}

/// How a start fails.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    pub exit: i32,
    /// Texts the output must hold.
    #[serde(default)]
    pub says: Vec<String>,
}

/// What the upstream answers instead of an echo.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Answer {
    pub status: Option<u16>,
    pub headers: Map<String, Value>,
    pub body: Option<String>,
    pub json: Option<Value>,
    /// A body of so many bytes.
    pub size: Option<usize>,
    pub chunks: Option<Vec<String>>,
    pub trailers: BTreeMap<String, String>,
    /// Bytes sent before the answer, such as a 103.
    pub interim: Vec<String>,
    /// The whole answer, byte for byte.
    pub raw: Option<String>,
    pub delay_ms: u64,
    /// The pause after each chunk.
    pub pause_ms: u64,
    /// Close instead of answering.
    pub close: bool,
    pub close_after: bool,
    /// `false`: no Content-Length, the body ends with the connection.
    pub length: bool,
    /// Answer 101 with `headers`, then send back every byte.
    pub upgrade: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            status: None,
            headers: Map::new(),
            body: None,
            json: None,
            size: None,
            chunks: None,
            trailers: BTreeMap::new(),
            interim: Vec::new(),
            raw: None,
            delay_ms: 0,
            pause_ms: 0,
            close: false,
            close_after: false,
            length: true,
            upgrade: false,
        }
    }
}

impl Answer {
    /// The body with its media type, unless `headers` names one.
    pub fn content(&self, echo: &Value) -> (Vec<u8>, Option<&'static str>) {
        let json = match (&self.json, &self.body, self.size) {
            (Some(json), ..) => Some(json),
            (None, None, None) => Some(echo),
            _ => None,
        };
        let named = self.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        let media_type = if json.is_some() { "application/json" } else { "text/plain" };
        let body = match json {
            Some(json) => json.to_string().into_bytes(),
            None => self.body.clone().unwrap_or_else(|| "x".repeat(self.size.unwrap_or(0))).into_bytes(),
        };
        (body, (!named).then_some(media_type))
    }

    /// The head with this status, ending in the blank line.
    pub fn head(&self, status: u16, framing: &str) -> String {
        let mut head = format!("HTTP/1.1 {status} Echo\r\nServer: echo\r\n{framing}");
        for (name, value) in lines(&self.headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

/// The header lines of a map whose values are texts, numbers or lists of them.
pub(crate) fn lines(headers: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = Vec::new();
    for (name, value) in headers {
        match value {
            Value::Array(values) => lines.extend(values.iter().map(|value| (name.clone(), text(value)))),
            value => lines.push((name.clone(), text(value))),
        }
    }
    lines
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
    /// Files that are written over, each by another one.
    pub replace: BTreeMap<String, String>,
    /// What becomes of upstreams, by name.
    pub servers: BTreeMap<String, Condition>,
    pub signal: Option<String>,
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
}

impl Case {
    /// Reads a case and checks the shape of every step.
    pub fn parse(text: &str) -> Result<Case, String> {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let case: Case = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if case.steps.is_empty() && case.checks.is_empty() && case.refuses.is_none() {
            return Err("a case needs steps, checks or refuses".to_owned());
        }
        for (index, step) in case.steps.iter().enumerate() {
            let step: Step = serde_json::from_value(step.clone())
                .map_err(|error| format!("step {}: {error}", index + 1))?;
            step.verify().map_err(|error| format!("step {}: {error}", index + 1))?;
            crate::judge::verify(&step).map_err(|error| format!("step {}: {error}", index + 1))?;
        }
        Ok(case)
    }

    /// Whether only a gateway started by the runner can take this case.
    pub fn needs_own_process(&self) -> bool {
        let acts = ["write_config", "replace", "signal", "stderr", "exit", "connect", "log", "datagram"];
        let local = |step: &Value| {
            acts.iter().any(|key| step.get(key).is_some()) || step.get("to").is_some_and(|to| to == "status")
        };
        !self.env.is_empty()
            || !self.args.is_empty()
            || !self.hosts.is_empty()
            || !self.checks.is_empty()
            || self.refuses.is_some()
            || self.steps.iter().any(local)
    }
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

    fn verify(&self) -> Result<(), &'static str> {
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
            || !self.replace.is_empty()
            || !self.servers.is_empty()
            || self.signal.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_file_has_the_right_shape() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let files = crate::find_cases(&folder).unwrap();
        assert!(files.len() > 100, "only {} cases under {}", files.len(), folder.display());
        let broken: Vec<String> = files
            .iter()
            .filter_map(|file| {
                let error = Case::parse(&std::fs::read_to_string(file).unwrap()).err()?;
                Some(format!("{}: {error}", file.display()))
            })
            .collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn a_step_that_expects_nothing_or_misspells_something_is_refused() {
        let parse = |steps: &str| Case::parse(&format!("config: x\nsteps:\n{steps}")).map(|_| ());
        assert!(parse("- {request: GET /, reply: 200}").is_ok());
        assert!(parse("- {request: GET /}").unwrap_err().contains("expects nothing"));
        assert!(parse("- {request: GET /, repyl: 200}").unwrap_err().contains("repyl"));
        assert!(parse("- {note: nothing}").unwrap_err().contains("does nothing"));
    }
}
