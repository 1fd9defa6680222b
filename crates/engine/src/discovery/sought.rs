//! What tells one list from another, and who gives it.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use model::Value;
use model::entity::Discovery;
use rustls::ClientConfig;
use serde_json::json;

use super::consul::Consul;
use super::file::Targets;
use super::{Purpose, Source, Tools};
use crate::dns::Lookups;

/// Where Consul is found unless something else is said.
const CONSUL: &str = "http://127.0.0.1:8500";
/// How long Consul may keep a question, unless something else is said.
const WAIT: f64 = 300.0;

/// A list that is wanted. Who wants the same shares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Sought {
    /// That in a file.
    File {
        /// Where it is.
        path: String,
    },
    /// That of a service in Consul.
    Consul(Asked),
}

/// A service that Consul is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) service: String,
    pub(super) tags: Vec<String>,
    pub(super) datacenter: Option<String>,
    /// The environment variable that has the token.
    pub(super) token_env: Option<String>,
    pub(super) wait: Duration,
}

/// A field of `discovery`, and what is wrong with it.
type Wrong = (&'static str, String);

impl Sought {
    /// What `discovery` asks for.
    pub(super) fn of(discovery: &Discovery) -> Result<Self, Wrong> {
        if discovery.source == "file" {
            return Ok(Self::File { path: discovery.path.clone().unwrap_or_default() });
        }
        let (tls, host, port) = place(discovery.address.as_deref().unwrap_or(CONSUL))?;
        Ok(Self::Consul(Asked {
            tls,
            host,
            port,
            service: discovery.service.clone().unwrap_or_default(),
            tags: discovery.tags.clone().unwrap_or_default(),
            datacenter: discovery.datacenter.clone(),
            token_env: discovery.token_env.clone(),
            wait: Duration::from_secs_f64(discovery.wait.unwrap_or(WAIT)),
        }))
    }

    /// The kind of the source, as the configuration has it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Consul(_) => "consul",
        }
    }

    /// What is looked for, for log lines.
    pub(super) fn subject(&self) -> &str {
        match self {
            Self::File { path } => path,
            Self::Consul(asked) => &asked.service,
        }
    }

    /// All of it but what may change without it becoming another list, for those who keep it.
    pub(super) fn identity(&self) -> Value {
        match self {
            Self::File { path } => json!({ "source": "file", "path": path }),
            Self::Consul(asked) => {
                let Asked { tls, host, port, service, tags, datacenter, .. } = asked;
                json!({ "source": "consul", "tls": tls, "host": host, "port": port, "service": service,
                    "tags": tags, "datacenter": datacenter })
            }
        }
    }

    /// What its source needs. Without a purpose to serve, the environment need not be that of the gateway.
    pub(super) fn tools(
        &self,
        purpose: Purpose,
        tls: impl Fn() -> Result<Arc<ClientConfig>, String>,
    ) -> Result<Tools, Wrong> {
        let Self::Consul(asked) = self else { return Ok(Tools::default()) };
        let token = asked.token_env.as_deref().filter(|_| purpose == Purpose::Serve).map(token);
        let tls = asked.tls.then(tls).transpose().map_err(|error| ("address", error))?;
        Ok(Tools { tls, token: token.transpose().map_err(|error| ("token_env", error))? })
    }

    /// Who gives the list.
    pub(super) fn source(&self, tools: &Tools, lookups: &Lookups) -> Box<dyn Source> {
        match self {
            Self::File { path } => Box::new(Targets::new(path)),
            Self::Consul(asked) => Box::new(Consul::new(asked, tools, lookups)),
        }
    }
}

/// Scheme, host and port of an address.
fn place(address: &str) -> Result<(bool, String, u16), Wrong> {
    let wrong = || ("address", format!("'{address}' is not a URL like {CONSUL}: scheme, host and port only"));
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => return Err(wrong()),
    };
    let authority = uri.authority().ok_or_else(wrong)?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok((tls, authority.host().to_owned(), port))
}

/// The token in an environment variable. It is marked as a secret, and never shown.
fn token(variable: &str) -> Result<HeaderValue, String> {
    let value = std::env::var(variable)
        .map_err(|_| format!("the environment variable {variable} is not set; it has to hold the token"))?;
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("the environment variable {variable} holds what cannot be a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_scheme_host_and_port() {
        let found = |address| place(address).map(|(tls, host, port)| format!("{tls} {host} {port}"));
        assert_eq!(found("http://consul.internal:8500").as_deref(), Ok("false consul.internal 8500"));
        assert_eq!(found("https://[::1]/").as_deref(), Ok("true [::1] 443"));
        for wrong in ["consul:8500", "ftp://consul", "http://consul/v1", "http://me:secret@consul", ""] {
            assert!(found(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        // The one variable that every test has.
        let value = token("PATH").unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
        assert!(token("BIPLANE_NO_SUCH_VARIABLE").unwrap_err().contains("BIPLANE_NO_SUCH_VARIABLE"));
    }
}
