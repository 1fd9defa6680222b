//! What a policy has decided: true, false, or an object that says more.

use plugin::identity::OwnFields;
use plugin::{Access, Flow, Headers};
use serde_json::Value;

/// What a client who may not is told, by itself.
const REFUSED: &str = "unauthorized";
const FORBIDDEN: u16 = 403;
/// Longest name of a rule that is told, in bytes.
const LONGEST_NAME: usize = 256;

/// What becomes of a request.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    /// What the policy calls the rule that decided.
    pub(super) rule: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) enum Verdict {
    /// It passes, with this.
    Pass(Additions),
    /// The client gets this.
    Refuse(Refusal),
}

/// What the service is told beyond the request.
#[derive(Debug, Default)]
pub(super) struct Additions {
    headers: Headers,
    /// Their names, where there are any: no client says the same.
    tells: Option<OwnFields>,
    host: Option<Box<[u8]>>,
}

#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    headers: Headers,
    body: Box<[u8]>,
}

impl Decision {
    /// Reads the result of a policy.
    ///
    /// # Errors
    /// What makes no sense about it.
    pub(super) fn read(result: &Value) -> Result<Self, String> {
        match result {
            Value::Bool(allow) => Ok(Self::plain(*allow)),
            Value::Object(members) => {
                let allow = members.get("allow").and_then(Value::as_bool);
                let allow = allow.ok_or("the result has no `allow` that is true or false")?;
                let headers = fields(members.get("headers"))?;
                let verdict = match allow {
                    true => Verdict::Pass(Additions::new(headers)),
                    false => {
                        Verdict::Refuse(Refusal::new(members.get("status"), headers, members.get("message"))?)
                    }
                };
                Ok(Self { verdict, rule: members.get("rule").and_then(Value::as_str).and_then(name) })
            }
            _ => Err("the result is neither true, false nor an object".to_owned()),
        }
    }

    fn plain(allow: bool) -> Self {
        let verdict = match allow {
            true => Verdict::Pass(Additions::default()),
            false => Verdict::Refuse(Refusal {
                status: FORBIDDEN,
                headers: Headers::new(),
                body: body(&Value::from(REFUSED)),
            }),
        };
        Self { verdict, rule: None }
    }

    /// Its size in memory, beyond the type itself.
    pub(super) fn size(&self) -> usize {
        let verdict = match &self.verdict {
            Verdict::Pass(additions) => additions.headers.text_bytes(),
            Verdict::Refuse(refusal) => refusal.headers.text_bytes() + refusal.body.len(),
        };
        verdict + self.rule.as_ref().map_or(0, |rule| rule.len())
    }

    /// Does what was decided.
    pub(super) fn act(&self, cx: &mut Access<'_>) -> Flow {
        match &self.verdict {
            Verdict::Pass(additions) => {
                if let Some(host) = &additions.host {
                    // That it is one has been checked when the decision was read.
                    cx.set_upstream_host(host);
                }
                if let Some(tells) = &additions.tells {
                    cx.forget(tells);
                    cx.headers().append_all(&additions.headers);
                }
                Flow::Next
            }
            Verdict::Refuse(refusal) => {
                let answer = cx.answer(refusal.status).headers(&refusal.headers);
                match refusal.headers.contains("content-type") {
                    true => answer.body(refusal.body.to_vec()),
                    false => answer.bytes("application/json; charset=utf-8", refusal.body.to_vec()),
                }
            }
        }
    }
}

impl Additions {
    fn new(mut headers: Headers) -> Self {
        let host = headers.get("host").map(Box::from);
        headers.remove("host");
        let tells = OwnFields::new(headers.iter().map(|(name, _)| name));
        Self { tells: (!headers.is_empty()).then_some(tells), headers, host }
    }
}

impl Refusal {
    fn new(status: Option<&Value>, headers: Headers, message: Option<&Value>) -> Result<Self, String> {
        let status = match status {
            None | Some(Value::Null) => Ok(FORBIDDEN),
            Some(status) => {
                let number = status.as_u64().and_then(|number| u16::try_from(number).ok());
                let number = number.filter(|number| (200..=599).contains(number));
                number.ok_or_else(|| format!("the status {status} is none between 200 and 599"))
            }
        };
        let message = message.filter(|message| !message.is_null());
        let body = message.map_or_else(|| body(&Value::from(REFUSED)), body);
        Ok(Self { status: status?, headers, body })
    }
}

fn body(message: &Value) -> Box<[u8]> {
    serde_json::json!({ "message": message }).to_string().into_bytes().into()
}

/// The header fields of a result.
fn fields(members: Option<&Value>) -> Result<Headers, String> {
    let mut headers = Headers::new();
    let members = match members {
        None | Some(Value::Null) => return Ok(headers),
        Some(Value::Object(members)) => members,
        Some(_) => return Err("the headers are no object".to_owned()),
    };
    for (name, value) in members {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return Err(format!("the header {name} has a value that is no text")),
            };
            if !headers.append(name, text.as_bytes()) {
                return Err(format!("the header {name} cannot be sent with this name and value"));
            }
        }
    }
    check(&headers)?;
    Ok(headers)
}

/// Checks that no field says how a message is framed: that is the gateway's to say.
fn check(headers: &Headers) -> Result<(), String> {
    for field in headers.entries() {
        if field.known.is_hop_by_hop() || field.name.eq_ignore_ascii_case(b"content-length") {
            return Err(format!("the header {} is not a policy's to set", field.name()));
        }
    }
    match headers.get("host") {
        Some(host) if headers.count("host") > 1 || !plugin::target::is_authority(host) => {
            Err("the header Host is no host".to_owned())
        }
        _ => Ok(()),
    }
}

/// The name of a rule as it can be told in a header and a log line.
fn name(text: &str) -> Option<Box<str>> {
    let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    (!text.trim().is_empty() && text.len() <= LONGEST_NAME && is_plain).then(|| text.trim().into())
}
