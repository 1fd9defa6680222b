//! One question to one address, and what its answer says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use model::entity::{Active, Upstream};
use model::{Config, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::h1::{Limits, Parsed, parse_response};
use wire::{Method, ResponseHead};

use super::counters::Sign;
use super::sign::Judgement;
use crate::tls::{Certificates, Keeper, Trust};
use crate::transport::Stream;
use crate::unsupported::at;

/// What `timeout: 0` stands for.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of the answer to a gRPC call that are looked at.
const LARGEST_MESSAGE: usize = 4096;
/// Fields that a probe writes itself.
const OWN_FIELDS: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// What addresses of an upstream are asked.
pub(crate) struct Probe {
    kind: Kind,
    trust: Option<Arc<Trust>>,
    server_name: Option<String>,
    host_header: Option<String>,
    timeout: Duration,
}

enum Kind {
    /// For a connection.
    Tcp,
    /// For a page; the fields are lines that are ready to be sent.
    Http { path: String, fields: String, names_host: bool },
    /// For the health of a service, by the protocol of `grpc.health.v1`.
    Grpc { service: String, fields: http::HeaderMap },
}

/// What keeps an address from being well.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub sign: Sign,
    pub detail: String,
}

impl Trouble {
    fn tcp(detail: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { sign: Sign::TcpFailure, detail: detail.into().to_string() }
    }

    fn http(detail: String) -> Self {
        Self { sign: Sign::HttpFailure, detail }
    }
}

impl Probe {
    /// The probe of `upstream`. What cannot be honoured is added to `problems`.
    pub fn compile(
        config: &Config,
        upstream: &Upstream,
        keeper: &Keeper,
        certificates: &Certificates,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let active = &upstream.healthchecks.active;
        let wrong = |(field, message): (&str, String)| {
            at(config, "upstreams", upstream.id, &format!("healthchecks.active.{field}"), &message)
        };
        let made = Kind::of(active).and_then(|kind| {
            let trust = Self::trust(upstream, keeper, certificates)?;
            if active.https_sni.as_ref().is_some_and(|name| name.contains('*')) {
                return Err((
                    "https_sni",
                    "no server has a name with a wildcard; write the whole name".to_owned(),
                ));
            }
            let timeout =
                if active.timeout > 0.0 { Duration::from_secs_f64(active.timeout) } else { DEFAULT_TIMEOUT };
            let (server_name, host_header) = (active.https_sni.clone(), upstream.host_header.clone());
            Ok(Self { kind, trust, server_name, host_header, timeout })
        });
        made.map_err(|problem| problems.push(wrong(problem))).ok()
    }

    fn trust(
        upstream: &Upstream,
        keeper: &Keeper,
        certificates: &Certificates,
    ) -> Result<Option<Arc<Trust>>, (&'static str, String)> {
        let trust = match upstream.healthchecks.active.r#type.as_str() {
            "https" => Trust::of_probes(upstream, false, keeper, certificates),
            "grpcs" => Trust::of_probes(upstream, true, keeper, certificates),
            _ => return Ok(None),
        };
        trust.map(Some).map_err(|error| ("type", error.to_string()))
    }

    /// Asks `address`, whose target has this host.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn ask(
        &self,
        address: SocketAddr,
        host: &str,
        judgement: &Judgement,
    ) -> Result<Option<Sign>, Trouble> {
        let late = |_| Trouble { sign: Sign::Timeout, detail: format!("no answer in {:?}", self.timeout) };
        let status = tokio::time::timeout(self.timeout, self.talk(address, host)).await.map_err(late)??;
        match status.map_or(Some(Sign::Success), |status| judgement.of_status(status)) {
            Some(Sign::HttpFailure) => Err(Trouble::http(format!("status {}", status.unwrap_or_default()))),
            sign => Ok(sign),
        }
    }

    /// The status of the answer, where there is one to be judged.
    async fn talk(&self, address: SocketAddr, host: &str) -> Result<Option<u16>, Trouble> {
        let stream = TcpStream::connect(address).await.map_err(Trouble::tcp)?;
        stream.set_nodelay(true).map_err(Trouble::tcp)?;
        let host = self.host_header.as_deref().unwrap_or(host);
        let stream = match &self.trust {
            Some(trust) => {
                let name = self.server_name.as_deref().unwrap_or(host);
                let wanted = trust.wanted(name.as_bytes());
                let wanted = wanted.ok_or_else(|| Trouble::tcp("the host is no server name"))?;
                wanted.secure(Stream::Tcp(stream)).await.map_err(Trouble::tcp)?
            }
            None => Stream::Tcp(stream),
        };
        match &self.kind {
            Kind::Tcp => Ok(None),
            Kind::Http { path, fields, names_host } => {
                let own = if *names_host { String::new() } else { format!("Host: {host}\r\n") };
                let head = format!("GET {path} HTTP/1.1\r\n{own}{fields}Connection: close\r\n\r\n");
                over_http(stream, head.as_bytes()).await.map(Some)
            }
            Kind::Grpc { service, fields } => {
                let scheme = if self.trust.is_some() { "https" } else { "http" };
                let call = Call { scheme, authority: host, service, fields };
                call.send(stream).await.map(|()| None)
            }
        }
    }
}

impl Kind {
    fn of(active: &Active) -> Result<Self, (&'static str, String)> {
        let mut lines = String::new();
        let mut fields = http::HeaderMap::new();
        let given = active.headers.iter().flat_map(|headers| headers.iter());
        for (name, value) in given.flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
            if OWN_FIELDS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(("headers", format!("'{name}' is written by the gateway itself")));
            }
            let parsed = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value));
            let (Ok(field), Ok(text)) = parsed else {
                return Err(("headers", format!("the value of '{name}' cannot be sent")));
            };
            lines.push_str(&format!("{name}: {value}\r\n"));
            fields.append(field, text);
        }
        let names_host = fields.contains_key(http::header::HOST);
        Ok(match active.r#type.as_str() {
            "tcp" => Self::Tcp,
            "grpc" | "grpcs" => {
                fields.remove(http::header::HOST);
                Self::Grpc { service: active.http_path.trim_start_matches('/').to_owned(), fields }
            }
            _ => Self::Http { path: active.http_path.clone(), fields: lines, names_host },
        })
    }
}

/// Sends a request and reads the status of the response.
async fn over_http(mut stream: Stream, head: &[u8]) -> Result<u16, Trouble> {
    stream.write_all(head).await.map_err(Trouble::tcp)?;
    stream.flush().await.map_err(Trouble::tcp)?;
    let (limits, mut response) = (Limits::default(), ResponseHead::default());
    let mut received = BytesMut::with_capacity(4096);
    loop {
        match parse_response(&received, &Method::Get, &limits, &mut response) {
            Parsed::Complete { consumed }
                if (100..200).contains(&response.status) && response.status != 101 =>
            {
                let _interim = received.split_to(consumed);
                response.clear();
            }
            Parsed::Complete { .. } => return Ok(response.status),
            Parsed::Reject(reject) => return Err(Trouble::tcp(reject.reason)),
            // The parser bounds what it asks for.
            Parsed::Incomplete => {
                if stream.read_buf(&mut received).await.map_err(Trouble::tcp)? == 0 {
                    return Err(Trouble::tcp(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
            }
        }
    }
}

/// A call of `grpc.health.v1.Health/Check`.
struct Call<'a> {
    scheme: &'static str,
    authority: &'a str,
    service: &'a str,
    fields: &'a http::HeaderMap,
}

impl Call<'_> {
    /// Whether the service says that it serves.
    async fn send(&self, stream: Stream) -> Result<(), Trouble> {
        let (sender, connection) = h2::client::handshake(stream).await.map_err(Trouble::tcp)?;
        tokio::select! {
            answer = self.ask(sender) => answer,
            ended = connection => match ended {
                Ok(()) => Err(Trouble::tcp("the connection was closed without an answer")),
                Err(error) => Err(Trouble::tcp(error)),
            },
        }
    }

    async fn ask(&self, sender: h2::client::SendRequest<Bytes>) -> Result<(), Trouble> {
        let mut sender = sender.ready().await.map_err(Trouble::tcp)?;
        let uri = format!("{}://{}/grpc.health.v1.Health/Check", self.scheme, self.authority);
        let mut request = http::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(Trouble::tcp)?;
        request.headers_mut().extend(self.fields.clone());
        let (response, mut body) = sender.send_request(request, false).map_err(Trouble::tcp)?;
        body.send_data(question(self.service), true).map_err(Trouble::tcp)?;
        let (head, mut body) = response.await.map_err(Trouble::tcp)?.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(Trouble::http(format!("status {}", head.status.as_u16())));
        }
        let mut message = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(Trouble::tcp)?;
            body.flow_control().release_capacity(data.len()).map_err(Trouble::tcp)?;
            if message.len() + data.len() > LARGEST_MESSAGE {
                return Err(Trouble::http("the answer is no HealthCheckResponse".to_owned()));
            }
            message.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.map_err(Trouble::tcp)?;
        let status = trailers.as_ref().unwrap_or(&head.headers).get("grpc-status");
        match status.map(http::HeaderValue::as_bytes) {
            Some(b"0") if is_serving(&message) => Ok(()),
            Some(b"0") => Err(Trouble::http("the service says that it does not serve".to_owned())),
            status => {
                let status = String::from_utf8_lossy(status.unwrap_or(b"missing")).into_owned();
                Err(Trouble::http(format!("grpc-status {status}")))
            }
        }
    }
}

/// A `HealthCheckRequest` (field 1 is the name of the service) as a message of gRPC.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits of it")]
fn put_varint(message: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        message.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    message.put_u8(value as u8);
}

/// Whether a message of gRPC is a `HealthCheckResponse` whose field 1 is SERVING (1).
fn is_serving(message: &[u8]) -> bool {
    let Some((frame, fields)) = message.split_at_checked(5) else { return false };
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    frame[0] == 0 && usize::try_from(length) == Ok(fields.len()) && fields == [1 << 3, 1]
}

#[cfg(test)]
mod tests;
