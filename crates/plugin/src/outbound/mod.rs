//! Calls that rooms make to other servers: issuers of tokens, services that decide about requests, stores of secrets.
//!
//! HTTP/1.1 with connections that are used again, TLS as the operator's settings have it, and a bound on everything: time,
//! the size of an answer, calls at a time. Redirections are not followed, and no proxy is used that is not named. The request of a client
//! is never sent this way.
//!
//! ```text
//! let client = Client::open(cx.services, Settings::default());           // when the room is built
//! let url = client.url(cx.services, &config.url).map_err(|wrong| BuildError::new("config.url", wrong))?;
//! let answer = client.send(&url, &Call::get()).await?;                   // in the future of a `Flow::wait`
//! ```

mod address;
mod certificate;
mod connection;
#[cfg(any(test, feature = "harness"))]
pub mod loopback;
mod proxies;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::time::timeout;
use wire::{Headers, Method};

pub use address::{Url, told};
pub use certificate::OwnCertificate;
use connection::{Connection, Pool, open};
pub use proxies::{Exception, Proxies, Proxy, ProxyFields};

use crate::services::Services;

const AGENT: &str = concat!("biplane/", env!("CARGO_PKG_VERSION"));

/// The bounds of a client's calls. Clients of the same bounds share connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether certificates are checked.
    pub verify: bool,
    /// Longest wait for a connection, looking up the name and the TLS handshake included.
    pub connect_timeout: Duration,
    /// Longest that a call takes, with everything.
    pub timeout: Duration,
    /// Most bytes of the body of an answer.
    pub largest_answer: usize,
    /// Calls at a time over all workers; more are not begun.
    pub most_at_once: usize,
    /// How long a connection may be idle before it is not used again.
    pub longest_idle: Duration,
    /// Through whom connections are made.
    pub proxies: Proxies,
    /// Speak HTTP/1.0, for servers and proxies that know nothing newer. Connections are kept where the server wants that.
    pub is_old: bool,
    /// What is shown to servers that ask for a certificate.
    pub certificate: Option<OwnCertificate>,
}

impl Default for Settings {
    /// Certificates are checked; 5 s to connect, 10 s in all; a mebibyte; 1024 calls at a time. Connections are idle for 50 s
    /// at most: servers commonly close theirs after a minute.
    fn default() -> Self {
        Self {
            verify: true,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            largest_answer: 1 << 20,
            most_at_once: 1024,
            longest_idle: Duration::from_secs(50),
            proxies: Proxies::default(),
            is_old: false,
            certificate: None,
        }
    }
}

/// What is sent, beside where to.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The fields, beyond those about the connection and the length of the body, which are left out, and `Host`, which is
    /// the URL's. `User-Agent` is the gateway's own unless it is among them.
    pub headers: Headers,
    /// The body; empty is none.
    pub body: Bytes,
    /// The call may be made a second time where it is not known what became of it on a connection that had been idle.
    pub repeatable: bool,
}

impl Call {
    /// A `GET` without fields.
    #[must_use]
    pub fn get() -> Self {
        Self { method: Method::Get, headers: Headers::new(), body: Bytes::new(), repeatable: true }
    }

    /// A question by `POST`, which does no harm if it is asked twice. Set `repeatable` to false for one that does.
    #[must_use]
    pub fn post(content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut headers = Headers::new();
        headers.set("Content-Type", content_type.as_bytes());
        Self { method: Method::Post, headers, body: body.into(), repeatable: true }
    }

    /// With this field in place of any of its name. A value that cannot be sent is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.set(name, value);
        self
    }
}

/// What came back, whatever the status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The fields.
    pub headers: Headers,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the status is one of success (RFC 9110 15.3).
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection came about.
    Unreachable(String),
    /// The time was over.
    Late(Duration),
    /// The connection broke, or what came is no HTTP.
    Broken(String),
    /// The body is larger than this.
    TooLarge(usize),
    /// As many calls as may be are under way.
    Busy,
    /// The call cannot be sent.
    Unsendable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(out, "no connection to {why}"),
            Self::Late(limit) => write!(out, "no answer within {limit:?}"),
            Self::Broken(why) => write!(out, "no whole answer: {why}"),
            Self::TooLarge(most) => write!(out, "the answer is larger than {most} bytes"),
            Self::Busy => out.write_str("too many calls at a time"),
            Self::Unsendable(why) => write!(out, "the call cannot be sent: {why}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Makes calls. Kept over reloads.
pub struct Client {
    settings: Settings,
    tls: Result<Arc<ClientConfig>, String>,
    pool: Pool,
    under_way: AtomicUsize,
}

/// One call among those under way.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that did not come to an answer on a connection.
struct Lost {
    fault: Fault,
    /// The server may have seen it.
    sent: bool,
}

impl Client {
    /// The client with these settings. Nothing is connected before the first call.
    #[must_use]
    pub fn open(services: &Services, settings: Settings) -> Arc<Self> {
        let key = format!("outbound {settings:?}");
        services.keep(&key, || {
            let tls = match services.dry_run {
                true => Err("a configuration that is only checked calls nobody".to_owned()),
                false => services.client_tls(settings.verify).and_then(|tls| match &settings.certificate {
                    Some(certificate) => certificate.shown_with(&tls),
                    None => Ok(tls),
                }),
            };
            Self::apart(settings, tls, services.workers)
        })
    }

    /// A client that nobody shares, for who makes calls before there are services: with this TLS, for so many threads.
    #[must_use]
    pub fn apart(settings: Settings, tls: Result<Arc<ClientConfig>, String>, threads: usize) -> Self {
        let (pool, under_way) = (Pool::new(threads, settings.longest_idle), AtomicUsize::new(0));
        Self { settings, tls, pool, under_way }
    }

    /// A URL that this client can call.
    ///
    /// # Errors
    /// What is wrong with it, or that TLS cannot be spoken.
    pub fn url(&self, services: &Services, text: &str) -> Result<Url, String> {
        let url = Url::parse(text)?;
        match &self.tls {
            Err(why) if url.is_secure() && !services.dry_run => Err(format!("cannot be reached: {why}")),
            _ => Ok(url),
        }
    }

    /// Makes a call and reads the answer, within the bounds of the settings.
    ///
    /// # Errors
    /// Why there is no answer. One of any status is an answer.
    pub async fn send(&self, url: &Url, call: &Call) -> Result<Answer, Fault> {
        let place = Place(&self.under_way);
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= self.settings.most_at_once {
            return Err(Fault::Busy);
        }
        let limit = self.settings.timeout;
        let outcome = timeout(limit, self.exchange(url, call)).await.unwrap_or(Err(Fault::Late(limit)));
        drop(place);
        outcome
    }

    /// Sends on an idle connection, or else on a new one. Idle ones may have been closed by the server meanwhile.
    async fn exchange(&self, url: &Url, call: &Call) -> Result<Answer, Fault> {
        while let Some(mut connection) = self.pool.take(url.origin()) {
            if connection.ready().await.is_err() {
                continue;
            }
            match self.over(connection, url, call).await {
                Ok(answer) => return Ok(answer),
                Err(Lost { sent: false, .. }) => {}
                Err(Lost { fault: Fault::Broken(_), .. }) if call.repeatable => break,
                Err(Lost { fault, .. }) => return Err(fault),
            }
        }
        let connection = self.connect(url).await?;
        self.over(connection, url, call).await.map_err(|lost| lost.fault)
    }

    async fn connect(&self, url: &Url) -> Result<Connection, Fault> {
        let tls = match url.is_secure() {
            true => Some(self.tls.clone().map_err(Fault::Unreachable)?),
            false => None,
        };
        let limit = self.settings.connect_timeout;
        timeout(limit, open(url.origin(), tls, &self.settings.proxies)).await.unwrap_or_else(|_| {
            Err(Fault::Unreachable(format!("{}: none within {limit:?}", url.origin().host)))
        })
    }

    async fn over(&self, mut connection: Connection, url: &Url, call: &Call) -> Result<Answer, Lost> {
        let proxy = self.settings.proxies.of(url.origin()).filter(|_| !url.is_secure());
        let mut request = request(url, call, proxy).map_err(|fault| Lost { fault, sent: true })?;
        if self.settings.is_old {
            *request.version_mut() = Version::HTTP_10;
        }
        let answer = connection.try_send_request(request).await.map_err(|mut lost| Lost {
            sent: lost.take_message().is_none(),
            fault: Fault::Broken(lost.error().to_string()),
        })?;
        let answer = self.read(answer).await.map_err(|fault| Lost { fault, sent: true })?;
        self.pool.give_back(url.origin(), connection);
        Ok(answer)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Answer, Fault> {
        let (head, body) = answer.into_parts();
        let most = self.settings.largest_answer;
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Fault::TooLarge(most),
                None => Fault::Broken(error.to_string()),
            }
        })?;
        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            headers.append(name.as_str(), value.as_bytes());
        }
        Ok(Answer { status: head.status.as_u16(), headers, body: body.to_bytes() })
    }
}

/// `proxy` is who is shown the whole request.
fn request(url: &Url, call: &Call, proxy: Option<&Proxy>) -> Result<Request<Full<Bytes>>, Fault> {
    let unsendable = |error: &dyn fmt::Display| Fault::Unsendable(error.to_string());
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.as_str().parse().map_err(|error| unsendable(&error))?;
    *request.uri_mut() = match proxy.is_some() {
        true => url.to_string().parse().map_err(|error: http::uri::InvalidUri| unsendable(&error))?,
        false => url.path_and_query().clone().into(),
    };
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let mut own_agent = true;
    for field in call.headers.entries() {
        // The length is that of the body at hand.
        if field.known.is_hop_by_hop() || field.name.eq_ignore_ascii_case(b"content-length") {
            continue;
        }
        let name = HeaderName::from_bytes(field.name).map_err(|error| unsendable(&error))?;
        let value = HeaderValue::from_bytes(field.value).map_err(|error| unsendable(&error))?;
        if name == USER_AGENT && std::mem::take(&mut own_agent) {
            headers.remove(USER_AGENT);
        }
        headers.append(name, value);
    }
    headers.insert(HOST, url.origin().authority.clone());
    if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.as_ref()) {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}
