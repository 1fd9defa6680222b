//! Where a call goes: a URL, taken apart when a configuration is read.

use std::fmt;
use std::sync::Arc;

use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, uri};

/// An absolute URL of `http` or `https` (RFC 9110 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    origin: Arc<Origin>,
    target: PathAndQuery,
}

/// Whom a connection leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) secure: bool,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// For `Host`; without the port where it is that of the scheme.
    pub(super) authority: HeaderValue,
}

impl Url {
    /// Takes `text` apart. A fragment is left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed: Uri = text.parse().map_err(|error: uri::InvalidUri| format!("is no URL: {error}"))?;
        let secure = match parsed.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("must begin with http:// or https://".to_owned()),
        };
        let authority = parsed.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("holds a user name or a password: send it in a header instead".to_owned());
        }
        let default_port = if secure { 443 } else { 80 };
        let port = match (authority.port(), authority.port_u16()) {
            (None, _) => default_port,
            (Some(_), Some(port)) if port > 0 => port,
            _ => return Err("has a port that is none".to_owned()),
        };
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() {
            return Err("has no host".to_owned());
        }
        let shown = match port == default_port {
            true => authority.host().to_owned(),
            false => format!("{}:{port}", authority.host()),
        };
        let authority = HeaderValue::from_str(&shown).map_err(|_| "has a host that is none")?;
        let target = parsed.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let origin = Arc::new(Origin { secure, host: bare.to_owned(), port, authority });
        Ok(Self { origin, target })
    }

    /// The same server, asked for another path and query.
    ///
    /// # Errors
    /// When `target` is none.
    pub fn with_target(&self, target: &str) -> Result<Self, String> {
        let target = target.parse().map_err(|error: uri::InvalidUri| format!("is no path: {error}"))?;
        Ok(Self { origin: self.origin.clone(), target })
    }

    /// Whether both lead to the same server (RFC 6454 4).
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        let (one, other) = (&self.origin, &other.origin);
        (one.secure, one.port) == (other.secure, other.port) && one.host.eq_ignore_ascii_case(&other.host)
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target.as_str()
    }

    /// The address as messages tell it, see [`told`].
    #[must_use]
    pub fn told(&self) -> String {
        told(&self.to_string()).to_owned()
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.origin.secure
    }

    pub(super) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub(super) fn path_and_query(&self) -> &PathAndQuery {
        &self.target
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.secure { "https" } else { "http" };
        let authority = self.origin.authority.to_str().unwrap_or_default();
        write!(out, "{scheme}://{authority}{}", self.target)
    }
}

/// An address as log lines, messages and metrics tell it: without what may hold a secret, its query.
#[must_use]
pub fn told(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or_default()
}
