#![doc = include_str!("doc.md")]

mod question;

use std::sync::Arc;
use std::time::Duration;

use plugin::confidential::Places;
use plugin::identity::OwnFields;
use plugin::outbound::{Answer, Call, Client, Settings, Url};
use plugin::remember::{self, Learned, Memory, Outcome};
use plugin::{
    Access, Build, BuildError, Flow, Headers, Known, Method, Phase, Phases, Plugin, Resume, Scopes, record,
};

use question::Basis;

#[cfg(test)]
mod tests;

record! {
    /// How long decisions are remembered.
    pub struct Remembered {
        /// Seconds for which a request that may pass lets those like it pass. Nothing is remembered with 0.
        ttl: f64 = 0, [between(0, 86400)];
        /// Seconds for which a refusal holds for requests like the refused one. Nothing is remembered with 0.
        refusal_ttl: f64 = 0, [between(0, 86400)];
        /// What requests have in common for which one decision is enough: `method`, `scheme`, `host`, `path`, `query`, `ip` (the
        /// client's address), `headers` (all of `request_headers`), or `header:` and the name of one. Whatever the
        /// service looks at must be among them, or it decides about requests that it has not seen.
        by: Vec<String> = ["method", "scheme", "host", "path", "query", "ip", "headers"], [len_min(1)];
    }
}

record! {
    /// Asks an HTTP service about every request whether it may pass.
    pub struct Config {
        /// The URL that is asked.
        url: String;
        /// The method of the question.
        method: String = "GET", [one_of(&["GET", "HEAD", "POST"])];
        /// Header fields of the request that the service is shown.
        request_headers: Vec<String> = ["Authorization", "Cookie"], [each(header_name())];
        /// Header fields of an answer that lets the request pass which are copied to the request. Those of these names that
        /// the client has sent are always removed.
        upstream_headers: Vec<String> = [], [each(header_name())];
        /// Header fields of any other answer that the client gets.
        client_headers: Vec<String> = ["Content-Type", "Location", "Set-Cookie", "WWW-Authenticate"], [each(header_name())];
        /// Seconds until there must be an answer.
        timeout: f64 = 5, [between(0.001, 60)];
        /// Whether the certificate of a service at `https` is checked.
        ssl_verify: bool = true;
        /// Most bytes of the body of an answer. A service with more to say counts as one that does not answer.
        max_body_size: i64 = 65536, [between(0, 16777216)];
        /// Whether requests pass, with none of `upstream_headers`, while the service does not answer.
        fail_open: bool = false;
        /// What a client is told while the service does not answer.
        status_on_error: i64 = 503, [between(400, 599)];
        /// Whether the service is asked about `OPTIONS` requests, too. Browsers send no credentials with a CORS preflight.
        run_on_preflight: bool = true;
        /// How long decisions are remembered.
        cache: Remembered;
    }
}

/// The room, ready to run.
pub struct ForwardAuth(Arc<Room>);

struct Room {
    client: Arc<Client>,
    url: Url,
    basis: Basis,
    decisions: Arc<Memory<Decision>>,
    upstream_headers: Box<[String]>,
    /// The same, which are nobody else's to tell.
    tells: OwnFields,
    client_headers: Box<[String]>,
    ttl: Duration,
    refusal_ttl: Duration,
    fail_open: bool,
    status_on_error: u16,
    run_on_preflight: bool,
}

/// What the service has said.
enum Decision {
    /// The request may pass, with these fields.
    Pass(Headers),
    /// The client gets this instead.
    Refuse(Refusal),
}

struct Refusal {
    status: u16,
    headers: Headers,
    body: Box<[u8]>,
}

impl Plugin for ForwardAuth {
    const NAME: &'static str = "forward-auth";
    const PRIORITY: i64 = 945;
    const RUNS: &'static [Phase] = &[Phase::Access];
    const SCOPES: Scopes = Scopes::ALL;
    const PROTOCOLS: &'static [&'static str] = &["grpc", "grpcs", "http", "https", "ws", "wss"];
    const DOC: &'static str = include_str!("doc.md");
    const AUTHENTICATES: bool = true;

    type Config = Config;

    fn credentials(config: &Config, places: &mut Places) {
        for name in &config.request_headers {
            match Known::classify(name.as_bytes()) {
                // Nobody knows which of the cookies lets a caller in.
                Known::Cookie => ["Cookie", "Set-Cookie"].iter().for_each(|name| places.header(name)),
                Known::Other | Known::ApiKey => places.header(name),
                _ => {}
            }
        }
    }

    fn build(config: Config, cx: &Build<'_>) -> Result<Self, BuildError> {
        let timeout = Duration::from_secs_f64(config.timeout);
        let bounds = Settings {
            verify: config.ssl_verify,
            connect_timeout: timeout,
            timeout,
            largest_answer: usize::try_from(config.max_body_size).unwrap_or(0),
            ..Settings::default()
        };
        let client = Client::open(cx.services, bounds);
        let url = client.url(cx.services, &config.url);
        let url = url.map_err(|wrong| BuildError::new("config.url", wrong))?;
        Ok(Self(Arc::new(Room {
            client,
            url,
            basis: Basis::new(&config, cx)?,
            decisions: Memory::open(cx.services, Self::NAME, &remember::Settings::default()),
            tells: OwnFields::new(config.upstream_headers.iter().map(String::as_str)),
            upstream_headers: config.upstream_headers.into(),
            client_headers: config.client_headers.into(),
            ttl: Duration::from_secs_f64(config.cache.ttl),
            refusal_ttl: Duration::from_secs_f64(config.cache.refusal_ttl),
            fail_open: config.fail_open,
            status_on_error: u16::try_from(config.status_on_error).unwrap_or(503),
            run_on_preflight: config.run_on_preflight,
        })))
    }
}

impl Phases for ForwardAuth {
    fn access(&self, cx: &mut Access<'_>) -> Flow {
        let room = &self.0;
        if !room.run_on_preflight && cx.request.method == Method::Options {
            cx.forget(&room.tells);
            return Flow::Next;
        }
        let remembers = room.ttl.max(room.refusal_ttl) > Duration::ZERO;
        let key = remembers.then(|| room.basis.key(cx));
        if let Some(outcome) = key.and_then(|key| room.decisions.look(&key)) {
            return room.act(cx, &outcome);
        }
        let (room, call) = (room.clone(), room.basis.call(cx));
        Flow::wait(async move {
            let asking = room.clone();
            let asked = async move { asking.ask(call).await };
            let outcome = match key {
                Some(key) => room.decisions.fetch(key, asked).await,
                None => room.decisions.alone(asked).await,
            };
            let resume: Resume = Box::new(move |cx| room.act(cx, &outcome));
            resume
        })
    }
}

impl Room {
    async fn ask(&self, call: Call) -> Result<Learned<Decision>, String> {
        let answer = self.client.send(&self.url, &call).await;
        let answer = answer.map_err(|fault| format!("{}: {fault}", self.url.told()))?;
        let passes = answer.is_success();
        let headers = chosen(&answer, if passes { &self.upstream_headers } else { &self.client_headers });
        let size = headers.text_bytes() + answer.body.len();
        if passes {
            return Ok(Learned::new(Decision::Pass(headers), self.ttl).holding(size));
        }
        let refusal = Refusal { status: answer.status, headers, body: answer.body.as_ref().into() };
        // A service in trouble is asked again by the next request.
        let ttl = if answer.status < 500 { self.refusal_ttl } else { Duration::ZERO };
        Ok(Learned::new(Decision::Refuse(refusal), ttl).holding(size))
    }

    fn act(&self, cx: &mut Access<'_>, outcome: &Outcome<Decision>) -> Flow {
        // Not before: the service may be shown what the client has sent in them.
        cx.forget(&self.tells);
        match outcome.as_deref() {
            Ok(Decision::Pass(headers)) => {
                cx.headers().append_all(headers);
                Flow::Next
            }
            Ok(Decision::Refuse(refusal)) => {
                cx.answer(refusal.status).headers(&refusal.headers).body(refusal.body.to_vec())
            }
            Err(_) if self.fail_open => Flow::Next,
            Err(_) => cx.answer(self.status_on_error).message("The authorization service does not answer"),
        }
    }
}

/// The fields of `answer` with these names.
fn chosen(answer: &Answer, names: &[String]) -> Headers {
    let mut headers = Headers::new();
    for name in names {
        for value in answer.headers.all(name) {
            headers.append(name, value);
        }
    }
    headers
}
