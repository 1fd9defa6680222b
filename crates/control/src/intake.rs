//! From a request to its answer: bounded bodies, one load of a configuration at a time, the headers of every answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use hyper::{Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::Control;
use crate::call::{Call, Door, segments};
use crate::pages::{Page, Pages};
use crate::reply::Reply;
use crate::resource;

/// Time for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest declarative configuration.
const LARGEST_CONFIG: usize = 64 * 1024 * 1024;
/// Largest body of any other request.
const LARGEST_BODY: usize = 1024 * 1024;
/// Configurations that may be in memory at a time, read or being read.
const MOST_CONFIGS: usize = 4;
/// Seconds after which a refused load may be tried again.
const RETRY_AFTER: &str = "60";

/// Takes requests in for one control plane.
pub struct Intake {
    control: Arc<Control>,
    loading: Arc<Semaphore>,
    configs: Arc<Semaphore>,
    pages: Pages,
}

impl Intake {
    /// An intake with nothing in it.
    pub fn new(control: Arc<Control>) -> Self {
        let pages = Pages::named_in(&control.settings_shown);
        let (loading, configs) = (Semaphore::new(1), Semaphore::new(MOST_CONFIGS));
        Self { control, loading: Arc::new(loading), configs: Arc::new(configs), pages }
    }

    /// Answers a request, which came to a loopback address or not.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        door: Door,
        at_home: bool,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let version = self.control.kong_version;
        let admitted = match door {
            Door::Admin => self.pages.admit(&request, at_home),
            Door::Status => Ok(()),
        };
        let page = Page::of(&request, &self.pages).filter(|_| admitted.is_ok());
        let reply = match admitted {
            Ok(()) => self.reply(request, door).await,
            Err(stranger) => Reply::message(403, stranger.message()),
        };
        let latency = started.elapsed().as_millis().to_string();
        let reply = reply.with("X-Kong-Admin-Latency", latency).with("Server", format!("kong/{version}"));
        response(reply, page)
    }

    async fn reply(self: Arc<Self>, request: Request<Incoming>, door: Door) -> Reply {
        let is_load =
            door == Door::Admin && request.method() == "POST" && segments(request.uri().path()) == ["config"];
        if !is_load {
            return match self.call(request, door, LARGEST_BODY).await {
                Ok(call) => work(call, ()).await,
                Err(reply) => reply,
            };
        }
        // Waits for its turn, so that not all connections can fill memory with configurations.
        let turn = Arc::clone(&self.configs).acquire_owned().await;
        let call = match self.call(request, door, LARGEST_CONFIG).await {
            Ok(call) => call,
            Err(reply) => return reply,
        };
        match Arc::clone(&self.loading).try_acquire_owned() {
            Ok(only_one) => work(call, (turn, only_one)).await,
            Err(_) => Reply::message(429, "Currently loading previous configuration")
                .with("Retry-After", RETRY_AFTER.to_owned()),
        }
    }

    async fn call(&self, request: Request<Incoming>, door: Door, largest: usize) -> Result<Call, Reply> {
        let (head, body) = request.into_parts();
        let text = |name: HeaderName| {
            let value = head.headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        let method = match head.method.as_str() {
            "HEAD" => "GET",
            method => method,
        };
        Ok(Call {
            control: Arc::clone(&self.control),
            door,
            method: method.to_owned(),
            segments: segments(head.uri.path()),
            query: head.uri.query().map(str::to_owned),
            content_type: text(CONTENT_TYPE),
            body: read(body, largest).await?,
        })
    }
}

/// Reads a body within its bounds.
async fn read(body: Incoming, largest: usize) -> Result<Bytes, Reply> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_large = || Reply::message(413, &format!("request body is larger than {largest} bytes"));
    if body.size_hint().lower() > largest as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, largest).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Reply::message(400, "Bad request")),
        Err(_) => Err(Reply::message(408, "Request timeout")),
    }
}

/// Answers a call on a thread that may be slow. A fault of ours there is an answer, not a lost connection. What the call holds
/// is held until the work is done: it goes on without a client that has left.
async fn work(call: Call, held: impl Send + 'static) -> Reply {
    let answer = move || {
        let reply = resource::answer(&call);
        drop(held);
        reply
    };
    let answered = tokio::task::spawn_blocking(answer).await;
    answered.unwrap_or_else(|_| Reply::message(500, "An unexpected error occurred"))
}

/// The answer, which `page` may read.
fn response(reply: Reply, page: Option<Page>) -> Response<Full<Bytes>> {
    let Reply { answer, headers } = reply;
    let has_body = !answer.body.is_empty();
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    if has_body {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    }
    fields.insert(VARY, HeaderValue::from_static("Origin"));
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            fields.insert(name, value);
        }
    }
    if let Some(page) = page {
        page.welcome(fields);
    }
    response
}
