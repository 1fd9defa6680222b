//! A service in Consul: its instances that pass their checks, asked for by blocking queries.
//!
//! `GET /v1/health/service/:service?passing` (Consul's HTTP API, "Health" and "Blocking Queries").

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use model::Value;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::sought::Asked;
use super::{Listed, MOST_TARGETS, Next, Source, Tools, Trouble};
use crate::dns::{Follower, Lookups, Name, State};

/// How long an answer may take beside the time that Consul was asked to wait.
const GRACE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const LARGEST: usize = 16 << 20;
/// Where the state of an answer is numbered.
const INDEX: &str = "x-consul-index";
/// The weight of an instance that gives none, as in Consul.
const DEFAULT_WEIGHT: u64 = 1;

/// Addresses that are tried for one question, and how long each may take to let in: all of it is within `GRACE`.
const MOST_TRIED: usize = 3;
const TO_CONNECT: Duration = Duration::from_secs(3);

/// A service in Consul.
pub(super) struct Consul {
    place: Place,
    port: u16,
    /// For `Host`.
    authority: HeaderValue,
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
    token: Option<HeaderValue>,
    /// Path and query, but for what changes from one question to the next.
    question: String,
    wait: Duration,
    /// The number of the state that is known; 0 if none is.
    index: u64,
    connection: Option<SendRequest<Empty<Bytes>>>,
    /// Which of its addresses is asked.
    turn: usize,
}

enum Place {
    Address(IpAddr),
    Name(Arc<Name>, Arc<Woken>),
}

/// Told when something becomes known about a name.
#[derive(Default)]
struct Woken(Notify);

impl Follower for Woken {
    fn addresses_changed(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Consul {
    pub(super) fn new(asked: &Asked, tools: &Tools, lookups: &Lookups) -> Self {
        let bare = asked.host.trim_start_matches('[').trim_end_matches(']');
        let place = match bare.parse() {
            Ok(address) => Place::Address(address),
            Err(_) => {
                let (name, woken) = (lookups.watch(bare), Arc::new(Woken::default()));
                let follower: Arc<dyn Follower> = woken.clone();
                name.follow(Arc::downgrade(&follower));
                Place::Name(name, woken)
            }
        };
        let server_name = ServerName::try_from(bare.to_owned()).ok();
        let authority = HeaderValue::from_str(&format!("{}:{}", asked.host, asked.port));
        Self {
            place,
            port: asked.port,
            authority: authority.unwrap_or_else(|_| HeaderValue::from_static("consul")),
            tls: tools.tls.clone().map(|config| (config, server_name)),
            token: tools.token.clone(),
            question: question(asked),
            wait: asked.wait,
            index: 0,
            connection: None,
            turn: 0,
        }
    }

    /// Asks once. What is known of the state is forgotten when that fails: Consul may be another one when it is back.
    async fn ask(&mut self) -> Result<Vec<Listed>, Trouble> {
        // Consul adds up to a sixteenth to the time it is asked to wait.
        let waits = if self.index > 0 { self.wait + self.wait / 16 } else { Duration::ZERO };
        let answer = match tokio::time::timeout(waits + GRACE, self.exchange()).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::new("no answer in time")),
        };
        answer.inspect_err(|_| {
            self.index = 0;
            self.connection = None;
            // Another server may know better.
            self.turn = self.turn.wrapping_add(1);
        })
    }

    async fn exchange(&mut self) -> Result<Vec<Listed>, Trouble> {
        let answer = self.send().await?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(Trouble::new(format!("the answer is {status}{}", advice(status))));
        }
        let index = answer.headers().get(INDEX).and_then(|index| index.to_str().ok()?.parse::<u64>().ok());
        let index = index.ok_or_else(|| Trouble::new("the answer has no X-Consul-Index; is this Consul?"))?;
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| Trouble::new(format!("the answer breaks off: {error}")))?.to_bytes();
        let list = instances(&body)?;
        // An index that goes backwards is of a Consul that begins anew, and one of 0 never waits.
        self.index = if index < self.index { 0 } else { index.max(1) };
        Ok(list)
    }

    /// Sends the question, on the connection at hand if there is one. It may have been closed meanwhile.
    async fn send(&mut self) -> Result<Response<Incoming>, Trouble> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
            && let Ok(answer) = connection.send_request(self.request()?).await
        {
            self.connection = Some(connection);
            return Ok(answer);
        }
        let mut connection = self.connect().await?;
        let answer = connection.send_request(self.request()?).await;
        let answer = answer.map_err(|error| Trouble::new(format!("no answer: {error}")))?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Trouble> {
        let mut question = self.question.clone();
        if self.index > 0 {
            let _ = write!(question, "&index={}&wait={}ms", self.index, self.wait.as_millis());
        }
        let mut request = Request::get(question).header(HOST, self.authority.clone());
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token.clone());
        }
        request.body(Empty::new()).map_err(|error| Trouble::new(error.to_string()))
    }

    /// Connects to one of its addresses, beginning with the one that was good last.
    async fn connect(&mut self) -> Result<SendRequest<Empty<Bytes>>, Trouble> {
        let addresses = self.addresses().await?;
        let mut trouble = Trouble::new("its name has no address");
        for _ in 0..addresses.len().min(MOST_TRIED) {
            let address = SocketAddr::new(addresses[self.turn % addresses.len()], self.port);
            let connected = tokio::time::timeout(TO_CONNECT, self.connect_to(address)).await;
            let late = || Err(Trouble::new(format!("cannot connect to {address}: no answer in time")));
            match connected.unwrap_or_else(|_| late()) {
                Ok(connection) => return Ok(connection),
                Err(reason) => trouble = reason,
            }
            self.turn = self.turn.wrapping_add(1);
        }
        Err(trouble)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Trouble> {
        let failed = |error: io::Error| Trouble::new(format!("cannot connect to {address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        let Some((config, server_name)) = &self.tls else { return begin(stream).await };
        let name = server_name.clone().ok_or_else(|| Trouble::new("its host can be no server name"))?;
        let connected = TlsConnector::from(config.clone()).connect(name, stream).await;
        begin(connected.map_err(failed)?).await
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, Trouble> {
        let (name, woken) = match &self.place {
            Place::Address(address) => return Ok(vec![*address]),
            Place::Name(name, woken) => (name, woken),
        };
        loop {
            let known = name.addresses().clone();
            match (known.list.first(), known.state) {
                (Some(_), _) => return Ok(known.list.iter().map(|record| record.address).collect()),
                (None, State::Pending) => woken.0.notified().await,
                (None, State::Failed(failure)) => {
                    return Err(Trouble::new(format!("its name does not resolve: {failure}")));
                }
                (None, State::Resolved) => return Err(Trouble::new("its name has no address")),
            }
        }
    }
}

impl Source for Consul {
    fn next(&mut self) -> Next<'_> {
        Box::pin(self.ask())
    }
}

async fn begin<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|error| Trouble::new(error.to_string()))?;
    // It ends with the sender.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to Consul ended");
        }
    });
    Ok(sender)
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => ": the token may not read the service and its nodes",
        StatusCode::UNAUTHORIZED => ": it wants a token",
        _ => "",
    }
}

fn question(asked: &Asked) -> String {
    let mut question = "/v1/health/service/".to_owned();
    encode(&asked.service, &mut question);
    question += "?passing";
    if let Some(datacenter) = &asked.datacenter {
        question += "&dc=";
        encode(datacenter, &mut question);
    }
    for tag in &asked.tags {
        question += "&tag=";
        encode(tag, &mut question);
    }
    question
}

/// Percent-encodes what is not unreserved (RFC 3986 2.3).
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

/// The instances in an answer. One without a port, or an address that can be one, cannot be reached and is left out.
fn instances(body: &[u8]) -> Result<Vec<Listed>, Trouble> {
    let unreadable = || Trouble::new("the answer is not a list of instances in JSON");
    let answer: Value = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let entries = answer.as_array().ok_or_else(unreadable)?;
    if entries.len() > MOST_TARGETS {
        return Err(Trouble::new(format!("there are more than {MOST_TARGETS} instances")));
    }
    let list: Vec<Listed> = entries.iter().filter_map(instance).collect();
    if list.len() < entries.len() {
        let left_out = entries.len() - list.len();
        tracing::warn!(left_out, "instances in Consul without an address or a port are left out");
    }
    Ok(list)
}

/// An instance. Its own address wins over that of its node, and its weight is the one for passing checks.
fn instance(entry: &Value) -> Option<Listed> {
    let service = &entry["Service"];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let host = text(&service["Address"]).or_else(|| text(&entry["Node"]["Address"]))?;
    // It becomes part of requests.
    let host = model::targets::host(&host)?;
    let port = service["Port"].as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
    let weight = service["Weights"]["Passing"].as_u64().unwrap_or(DEFAULT_WEIGHT);
    Some(Listed { host, port, weight: u16::try_from(weight).unwrap_or(u16::MAX) })
}
