//! What an authorization server says about a token (RFC 7662 2.2).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use plugin::Headers;
use plugin::claims::Claims;
use plugin::identity::{Caller, Credential, Holder, OwnFields};
use plugin::model::schema::Value;

/// Members that the upstream is told, and the headers that tell them.
const USUAL: [(&str, &str); 11] = [
    ("scope", "X-Credential-Scope"),
    ("client_id", "X-Credential-Client-ID"),
    ("token_type", "X-Credential-Token-Type"),
    ("exp", "X-Credential-Exp"),
    ("iat", "X-Credential-Iat"),
    ("nbf", "X-Credential-Nbf"),
    ("sub", "X-Credential-Sub"),
    ("aud", "X-Credential-Aud"),
    ("iss", "X-Credential-Iss"),
    ("jti", "X-Credential-Jti"),
    ("username", "X-Credential-Username"),
];

/// An answer.
pub(super) struct Introspected {
    active: Option<Known>,
    until_ms: u64,
}

/// What is known of an active token.
pub(super) struct Known {
    pub(super) username: Option<String>,
    pub(super) client_id: Option<String>,
    /// The fields that tell the upstream.
    pub(super) headers: Headers,
    /// The answer as it came.
    pub(super) json: Box<[u8]>,
    /// How the caller proved who it is.
    pub(super) credential: Credential,
    resolved: ArcSwapOption<Resolved>,
}

/// Who the holder of a token is, in one configuration.
pub(super) struct Resolved {
    edition: u64,
    pub(super) caller: Arc<Caller>,
    pub(super) claims: Option<Arc<Claims>>,
}

impl Introspected {
    /// Reads the answer to `question`; `forwarded` are further members that the upstream is told.
    pub(super) fn read(json: &[u8], question: &[u8], forwarded: &[String]) -> Result<Self, &'static str> {
        let answer: Value =
            plugin::model::serde_json::from_slice(json).map_err(|_| "its answer is no JSON")?;
        let active =
            answer["active"].as_bool().ok_or("its answer does not say whether the token is active")?;
        // An end that cannot be read is none that could be kept to.
        let until_ms = match &answer["exp"] {
            Value::Null => u64::MAX,
            end => milliseconds(end).ok_or("its answer has an exp that is no time")?,
        };
        if !active {
            return Ok(Self { active: None, until_ms: u64::MAX });
        }
        let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (username, client_id) = (text("username"), text("client_id"));
        let (issuer, subject) = (text("iss"), text("sub"));
        let identifier = username.as_ref().or(client_id.as_ref()).or(subject.as_ref());
        let identifier = identifier.map(String::as_str).unwrap_or_default().into();
        // A client may have tokens of many users, so it is the holder only where nobody else is.
        let subject = subject.as_ref().or(username.as_ref()).or(client_id.as_ref()).map(String::as_str);
        let holder = Holder { kind: "introspection", issuer: issuer.as_deref(), subject, token: question };
        let known = Known {
            headers: headers(&answer, forwarded),
            json: json.into(),
            credential: holder.credential(identifier),
            username,
            client_id,
            resolved: ArcSwapOption::empty(),
        };
        Ok(Self { active: Some(known), until_ms })
    }

    /// What is known of the token if it is active and has not ended by then.
    pub(super) fn holds_at(&self, now_ms: u64) -> Option<&Known> {
        self.active.as_ref().filter(|_| now_ms < self.until_ms)
    }

    /// The end of the token, in milliseconds since 1970.
    pub(super) fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

impl Known {
    /// Who the holder is in the configuration of that edition; found out once.
    pub(super) fn resolved(
        &self,
        edition: u64,
        find: impl FnOnce() -> (Arc<Caller>, Option<Arc<Claims>>),
    ) -> Arc<Resolved> {
        if let Some(resolved) = self.resolved.load_full().filter(|resolved| resolved.edition == edition) {
            return resolved;
        }
        let (caller, claims) = find();
        let resolved = Arc::new(Resolved { edition, caller, claims });
        self.resolved.store(Some(resolved.clone()));
        resolved
    }
}

/// The header that tells the upstream a member of this name.
pub(super) fn header_name_of(member: &str) -> String {
    format!("X-Credential-{member}")
}

/// The headers that tell the upstream what the authorization server says; `forwarded` are further members.
pub(super) fn told(forwarded: &[String]) -> OwnFields {
    let usual = USUAL.iter().map(|(_, header)| (*header).to_owned());
    OwnFields::new(usual.chain(forwarded.iter().map(|member| header_name_of(member))))
}

fn headers(answer: &Value, forwarded: &[String]) -> Headers {
    let mut headers = Headers::new();
    // A value that cannot stand in a field is left out.
    let mut tell = |header: &str, value: &Value| match value {
        Value::Null => {}
        Value::String(text) => drop(headers.set(header, text.as_bytes())),
        other => drop(headers.set(header, other.to_string().as_bytes())),
    };
    for (member, header) in USUAL {
        tell(header, &answer[member]);
    }
    for member in forwarded {
        tell(&header_name_of(member), &answer[member.as_str()]);
    }
    headers
}

/// A time in seconds since 1970 (RFC 7519 2, NumericDate) in milliseconds.
fn milliseconds(time: &Value) -> Option<u64> {
    let seconds = time.as_f64().filter(|seconds| *seconds >= 0.0)?;
    Some((seconds * 1000.0) as u64)
}
