#![doc = include_str!("doc.md")]

mod addresses;

use std::net::IpAddr;

use plugin::model::Value;
use plugin::sessions::{Admission, Session};
use plugin::{Access, Build, BuildError, Flow, Phase, Phases, Plugin, Scopes, record};

use addresses::Addresses;

#[cfg(test)]
mod tests;

record! {
    /// Lets clients in, or keeps them out, by their address.
    pub struct Config {
        /// The only addresses that pass: addresses and CIDR ranges of IPv4 and IPv6. At least one of `allow` and `deny`
        /// must be given.
        allow: Option<Vec<String>>, [each(ip_or_cidr())];
        /// Addresses and CIDR ranges that do not pass, even where `allow` holds them.
        deny: Option<Vec<String>>, [each(ip_or_cidr())];
        /// Status code of a refusal; 403 when absent.
        status: Option<f64>, [custom_value(status_code)];
        /// Message of a refusal; it names the client's address when absent.
        message: Option<String>;
    }
    checks: [at_least_one_of(&["allow", "deny"])]
}

fn status_code(code: &Value) -> Result<(), String> {
    let code = code.as_f64().unwrap_or_default();
    if code.fract() == 0.0 && (200.0..600.0).contains(&code) {
        return Ok(());
    }
    Err("expected a status code between 200 and 599".to_owned())
}

/// The room, ready to run.
pub struct IpRestriction {
    /// None lets everybody in.
    allow: Option<Addresses>,
    deny: Addresses,
    status: u16,
    message: Option<String>,
}

impl Plugin for IpRestriction {
    const NAME: &'static str = "ip-restriction";
    const PRIORITY: i64 = 990;
    const RUNS: &'static [Phase] = &[Phase::Access, Phase::Session];
    const SCOPES: Scopes = Scopes::ALL;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "tcp", "tls"];
    const DOC: &'static str = include_str!("doc.md");

    type Config = Config;

    fn build(config: Config, _: &Build<'_>) -> Result<Self, BuildError> {
        let allow = read("config.allow", config.allow.as_deref())?;
        Ok(Self {
            allow: Some(allow).filter(|allow| !allow.is_empty()),
            deny: read("config.deny", config.deny.as_deref())?,
            status: config.status.map_or(403, |status| status as u16),
            message: config.message,
        })
    }
}

fn read(field: &str, entries: Option<&[String]>) -> Result<Addresses, BuildError> {
    let entries = entries.unwrap_or_default().iter().map(String::as_str);
    Addresses::new(entries)
        .map_err(|entry| BuildError::new(field, format!("invalid ip or cidr range: '{entry}'")))
}

impl IpRestriction {
    fn lets_in(&self, address: IpAddr) -> bool {
        !self.deny.contain(address) && self.allow.as_ref().is_none_or(|allow| allow.contain(address))
    }
}

impl Phases for IpRestriction {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let address = cx.client.ip;
        if self.lets_in(address) {
            return Flow::Next;
        }
        let message = match &self.message {
            Some(message) => message.clone(),
            None => format!("IP address not allowed: {}", address.to_canonical()),
        };
        cx.answer(self.status).message(message)
    }

    fn admit(&self, session: &Session) -> Admission {
        if self.lets_in(session.client.ip()) { Admission::Pass } else { Admission::Refuse(self.status) }
    }
}
