//! Proxies through which calls are made, and the fields that name them. No form of their credentials can be printed.

use std::fmt;
use std::net::IpAddr;

use http::HeaderValue;
use model::record;

use super::address::{Origin, Url};
use crate::build::BuildError;
use crate::remember::Digest;

record! {
    /// Proxies for calls to other servers.
    pub struct ProxyFields {
        /// Proxy for requests over `http`, as `http://proxy.example:3128`. It is shown the whole request.
        http_proxy: Option<String>;
        /// What that proxy is sent as `Proxy-Authorization`, such as `Basic ZGVtbzp0ZXN0`.
        http_proxy_authorization: Option<String>, [referenceable(), encrypted()];
        /// Proxy for requests over `https`, as `http://proxy.example:3128`. It is asked for a tunnel (`CONNECT`) and sees nothing
        /// of what goes through.
        https_proxy: Option<String>;
        /// What that proxy is sent as `Proxy-Authorization`.
        https_proxy_authorization: Option<String>, [referenceable(), encrypted()];
        /// Hosts that are asked without a proxy, with commas between them: a name stands for all names below it, too; a port
        /// may follow; `*` stands for all hosts.
        no_proxy: Option<String>;
    }
}

/// A proxy that speaks HTTP in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authorization: Option<HeaderValue>,
}

/// Proxies for calls to `http` and to `https`; none is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Shown the whole URL (RFC 9112 3.2.2).
    pub plain: Option<Proxy>,
    /// Asked for a tunnel (RFC 9110 9.3.6).
    pub secure: Option<Proxy>,
    /// Who is asked without either.
    pub except: Vec<Exception>,
}

/// Hosts that are asked without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    hosts: Hosts,
    /// Only at this port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    /// This name and those below it, in lower case.
    Domain(String),
    Address(IpAddr),
}

impl ProxyFields {
    /// The proxies; `prefix` stands before the names of fields in errors: `config.`.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn proxies(&self, prefix: &str) -> Result<Proxies, BuildError> {
        let proxy = |name: &str, address: &Option<String>, authorization: &Option<String>| {
            let wrong = |field: &str, why: String| BuildError::new(format!("{prefix}{field}"), why);
            let Some(address) = address else {
                return match authorization {
                    Some(_) => {
                        Err(wrong(name, "is needed where there is an authorization for it".to_owned()))
                    }
                    None => Ok(None),
                };
            };
            let proxy = Proxy::parse(address).map_err(|why| wrong(name, why))?;
            let field = format!("{name}_authorization");
            proxy.authorized(authorization.as_deref()).map(Some).map_err(|why| wrong(&field, why))
        };
        let listed = self.no_proxy.iter().flat_map(|hosts| hosts.split(',')).map(str::trim);
        let except = listed.filter(|host| !host.is_empty()).map(Exception::parse).collect::<Result<_, _>>();
        Ok(Proxies {
            plain: proxy("http_proxy", &self.http_proxy, &self.http_proxy_authorization)?,
            secure: proxy("https_proxy", &self.https_proxy, &self.https_proxy_authorization)?,
            except: except.map_err(|why| BuildError::new(format!("{prefix}no_proxy"), why))?,
        })
    }
}

impl Proxies {
    /// Through whom a server is asked.
    pub(super) fn of(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.secure { &self.secure } else { &self.plain };
        proxy.as_ref().filter(|_| !self.except.iter().any(|except| except.holds(&origin.host, origin.port)))
    }
}

impl Proxy {
    /// The one at a host and a port that asks for no credentials.
    #[must_use]
    pub fn at(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, authorization: None }
    }

    /// The one at a URL of `http`; a path behind it does not count.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)?;
        if url.is_secure() {
            return Err("must begin with http://: proxies are not spoken with over TLS".to_owned());
        }
        Ok(Self::at(&url.origin().host, url.origin().port))
    }

    /// The same with credentials, the whole value of `Proxy-Authorization`.
    ///
    /// # Errors
    /// That they cannot stand in a field.
    pub fn authorized(self, credentials: Option<&str>) -> Result<Self, String> {
        let value = credentials.map(HeaderValue::from_str).transpose();
        let authorization = value.map_err(|_| "has a character that cannot stand in a field".to_owned())?;
        Ok(Self { authorization, ..self })
    }
}

/// Tells one from another, and nothing of credentials: clients are kept by it.
impl fmt::Debug for Proxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.authorization.as_ref().map(|value| Digest::of([value.as_bytes()]));
        out.debug_struct("Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("authorization", &digest)
            .finish()
    }
}

impl Exception {
    /// One entry of a list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self { hosts: Hosts::All, port: None });
        }
        if text.contains('/') {
            return Err(format!("'{text}' is no host: networks and URLs have no place here"));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(Self { hosts: Hosts::Address(address), port: None });
        }
        let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let port =
            port.map(str::parse).transpose().map_err(|_| format!("'{text}' has a port that is none"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_start_matches('.');
        match host.parse() {
            _ if host.is_empty() => Err(format!("'{text}' names no host")),
            Ok(address) => Ok(Self { hosts: Hosts::Address(address), port }),
            Err(_) => Ok(Self { hosts: Hosts::Domain(host.to_ascii_lowercase()), port }),
        }
    }

    fn holds(&self, host: &str, port: u16) -> bool {
        let is_host = match &self.hosts {
            Hosts::All => true,
            Hosts::Address(address) => host.parse() == Ok(*address),
            Hosts::Domain(domain) => is_within(host, domain),
        };
        is_host && self.port.is_none_or(|own| own == port)
    }
}

/// Whether a host is called so, or by a name below that one. Addresses have none.
fn is_within(host: &str, domain: &str) -> bool {
    let Some(start) = host.len().checked_sub(domain.len()) else { return false };
    let is_tail = host.get(start..).is_some_and(|tail| tail.eq_ignore_ascii_case(domain));
    is_tail && (start == 0 || host.as_bytes()[start - 1] == b'.') && host.parse::<IpAddr>().is_err()
}
